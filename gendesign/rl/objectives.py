"""What an agent is trained to do: TD3+BC and IQL, with the losses of torchrl and the settings of the papers.

Q(s, a) is fitted to r + gamma V(s'), V(s') = 0 where the environment ended and only there.

- TD3+BC: V(s') = min_i Q_i'(s', a'(s') + noise); the actor minimises -c Q(s, a(s)) / mean |Q| + (a(s) - a)^2.
- IQL: V fits an expectile of Q(s, a) over the data's actions, L(u) = |tau - 1(u < 0)| u^2; the actor maximises
  exp(beta (Q - V)) log pi(a | s), the exponential at most 100.

Fujimoto and Gu 2021, arXiv 2106.06860. Kostrikov et al. 2021, arXiv 2110.06169. Bou et al. 2023, TorchRL,
arXiv 2306.00577.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from gendesign.building import Configurable, finite, whole
from gendesign.errors import ConfigError, MissingExtraError
from gendesign.rl.agent import Agent, perceptron
from gendesign.rl.replay import Replay

SMALL = 1e-3
"""Added to the deviation of observations before they are divided by it."""


class Learner(ABC):
    """Loss, optimisers and target networks of one agent in training.

    Args:
        agent: is changed in place.
        method: the settings.
        loss: torchrl's loss module, whose actor is the agent.
        soft_update: moves the targets.
    """

    def __init__(self, agent: Agent, method: Objective, loss: Any, soft_update: Any) -> None:
        self.agent, self.method, self.loss, self.soft_update = agent, method, loss, soft_update
        self.optimisers: dict[str, torch.optim.Optimizer] = {}

    @abstractmethod
    def update(self, rows: Any, step: int, total: int) -> dict[str, float]:
        """One step on a batch.

        Args:
            rows: a TensorDict of rows.
            step: which, from 0.
            total: how many there will be.

        Returns:
            Losses by name.
        """

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors and plain data."""
        return {
            "loss": self.loss.state_dict(),
            "optimisers": {name: each.state_dict() for name, each in self.optimisers.items()},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`."""
        self.loss.load_state_dict(state["loss"])
        for name, each in self.optimisers.items():
            each.load_state_dict(state["optimisers"][name])

    def rows(self, replay: Replay, chosen: Int[Tensor, " B"]) -> Any:
        """A batch as torchrl's losses read it."""
        from tensordict import TensorDict

        ended = replay.terminated[chosen, None]
        after = {
            "observation": replay.next_observations[chosen],
            "reward": self.method.reward_scale * replay.rewards[chosen, None],
            "done": ended,
            "terminated": ended,
        }
        now = {"observation": replay.observations[chosen], "action": replay.actions[chosen]}
        return TensorDict({**now, "next": after}, batch_size=[len(chosen)])


@dataclass(frozen=True)
class Objective(Configurable, ABC):
    """Settings that TD3+BC and IQL share.

    Args:
        discount: gamma.
        polyak: share of the new weights in a target's update.
        lr: of Adam, for every network.
        batch_size: rows a step.
        width: of hidden layers, in actor and critics.
        depth: number of hidden layers.
        normalise: the agent standardises observations by the data's statistics.
        reward_scale: factor of rewards; papers divide by (best - worst return) / 1000.
        noise: deviation that a deterministic agent is believed with, in half ranges of actions.

    Raises:
        ConfigError: a setting out of range.
    """

    discount: float = 0.99
    polyak: float = 0.005
    lr: float = 3e-4
    batch_size: int = 256
    width: int = 256
    depth: int = 2
    normalise: bool = True
    reward_scale: float = 1.0
    noise: float = 0.1

    def __post_init__(self) -> None:
        for name in ("discount", "polyak", "lr", "reward_scale", "noise"):
            finite(name, getattr(self, name), above=0.0)
        if self.discount > 1 or self.polyak > 1:
            raise ConfigError(f"discount and polyak must be at most 1, got {self.discount} and {self.polyak}")
        whole("batch_size", self.batch_size), whole("width", self.width), whole("depth", self.depth)

    @property
    def stochastic(self) -> bool:
        """Whether the agent learns the deviation of its actions."""
        return False

    def agent(self, replay: Replay) -> Agent:
        """An agent for these data, its weights drawn from the global stream."""
        agent = Agent(
            replay.observations.shape[1], replay.action_low, replay.action_high,
            width=self.width, depth=self.depth, stochastic=self.stochastic, noise=self.noise,
        )  # fmt: skip
        if self.normalise:
            mean, std = replay.statistics()
            agent.mean.copy_(mean), agent.std.copy_(std + SMALL)
        return agent

    @abstractmethod
    def learner(self, agent: Agent) -> Learner:
        """What trains the agent; draws critics from the global stream.

        Raises:
            MissingExtraError: torchrl is not installed.
        """

    def critic(self, agent: Agent, *, acts: bool) -> Any:
        """A network of (observation, action), or of the observation, to one number."""
        from tensordict.nn import TensorDictModule

        network = _Critic(agent, acts=acts, width=self.width, depth=self.depth)
        reads = ["observation", "action"] if acts else ["observation"]
        return TensorDictModule(
            network, in_keys=reads, out_keys=["state_action_value" if acts else "state_value"]
        )


class _Critic(nn.Module):
    """Reads observations as the agent does."""

    mean: Tensor
    std: Tensor

    def __init__(self, agent: Agent, *, acts: bool, width: int, depth: int) -> None:
        super().__init__()
        self.register_buffer("mean", agent.mean.clone())
        self.register_buffer("std", agent.std.clone())
        inputs = agent.observations + (len(agent.reach) if acts else 0)
        self.network = perceptron(inputs, 1, width=width, depth=depth)

    def forward(self, observations: Tensor, *actions: Tensor) -> Tensor:
        return self.network(torch.cat([(observations - self.mean) / self.std, *actions], dim=-1))


@dataclass(frozen=True)
class TD3BC(Objective):
    """TD3 with a term of behaviour cloning.

    Args:
        critic_weight: c above, alpha in the paper: 0 would clone behaviour alone, infinity is TD3.
        policy_noise: of the target's action, in half ranges.
        noise_clip: largest such noise.
        actor_every: the actor and the targets move at every such step of the critics.
    """

    critic_weight: float = 2.5
    policy_noise: float = 0.2
    noise_clip: float = 0.5
    actor_every: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        finite("critic_weight", self.critic_weight, above=0.0)
        finite("policy_noise", self.policy_noise, at_least=0.0)
        finite("noise_clip", self.noise_clip, at_least=0.0)
        whole("actor_every", self.actor_every)

    def learner(self, agent: Agent) -> Learner:
        objectives, modules = _torchrl()
        actor = modules.TensorDictModule(_Unit(agent), in_keys=["observation"], out_keys=["action"])
        loss = objectives.TD3BCLoss(
            actor,
            self.critic(agent, acts=True),
            bounds=(-1.0, 1.0),
            policy_noise=self.policy_noise,
            noise_clip=self.noise_clip,
            alpha=self.critic_weight,
            loss_function="l2",
        )
        loss.make_value_estimator(gamma=self.discount)
        return _TD3BCLearner(agent, self, loss, objectives.SoftUpdate(loss, tau=self.polyak))


class _TD3BCLearner(Learner):
    method: TD3BC

    def __init__(self, agent: Agent, method: TD3BC, loss: Any, soft_update: Any) -> None:
        super().__init__(agent, method, loss, soft_update)
        for name, part in (("actor", loss.actor_network_params), ("critic", loss.qvalue_network_params)):
            self.optimisers[name] = torch.optim.Adam(part.parameters(), lr=method.lr)

    def update(self, rows: Any, step: int, total: int) -> dict[str, float]:
        critic = _descend(self.loss.qvalue_loss(rows)[0], self.optimisers["critic"])
        if (step + 1) % self.method.actor_every:
            return {"critic": critic}
        actor = _descend(self.loss.actor_loss(rows)[0], self.optimisers["actor"])
        self.soft_update.step()
        return {"critic": critic, "actor": actor}


@dataclass(frozen=True)
class IQL(Objective):
    """Implicit Q-learning: no action outside the data is ever asked about.

    Args:
        expectile: tau.
        temperature: beta, in 1 / (scaled reward).
    """

    expectile: float = 0.7
    temperature: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        finite("temperature", self.temperature, at_least=0.0)
        if not 0 < finite("expectile", self.expectile) < 1:
            raise ConfigError(f"expectile must be in (0, 1), got {self.expectile}")

    @property
    def stochastic(self) -> bool:
        """It learns the deviation."""
        return True

    def learner(self, agent: Agent) -> Learner:
        objectives, modules = _torchrl()
        from torchrl.modules import IndependentNormal

        law = modules.TensorDictModule(_UnitLaw(agent), in_keys=["observation"], out_keys=["loc", "scale"])
        draw = modules.ProbabilisticTensorDictModule(
            in_keys=["loc", "scale"], out_keys=["action"], distribution_class=IndependentNormal
        )
        loss = objectives.IQLLoss(
            modules.ProbabilisticTensorDictSequential(law, draw),
            self.critic(agent, acts=True),
            self.critic(agent, acts=False),
            loss_function="l2",
            temperature=self.temperature,
            expectile=self.expectile,
        )
        loss.make_value_estimator(gamma=self.discount)
        return _IQLLearner(agent, self, loss, objectives.SoftUpdate(loss, tau=self.polyak))


class _IQLLearner(Learner):
    method: IQL

    def __init__(self, agent: Agent, method: IQL, loss: Any, soft_update: Any) -> None:
        super().__init__(agent, method, loss, soft_update)
        critics = [*loss.qvalue_network_params.parameters(), *loss.value_network_params.parameters()]
        self.optimisers["critics"] = torch.optim.Adam(critics, lr=method.lr)
        self.optimisers["actor"] = torch.optim.Adam(loss.actor_network_params.parameters(), lr=method.lr)

    def update(self, rows: Any, step: int, total: int) -> dict[str, float]:
        # the paper's schedule: the actor's rate falls as a cosine to 0
        for group in self.optimisers["actor"].param_groups:
            group["lr"] = self.method.lr * 0.5 * (1 + math.cos(math.pi * step / max(1, total)))
        found = self.loss(rows)
        parts = {name: found[f"loss_{name}"] for name in ("actor", "qvalue", "value")}
        # the three share no parameter that both would move, so one backward pass is three
        torch.stack(list(parts.values())).sum().backward()
        for each in self.optimisers.values():
            each.step()
            each.zero_grad(set_to_none=True)
        self.soft_update.step()
        return {name: float(part.detach()) for name, part in parts.items()}


class _Unit(nn.Module):
    """The agent's action as the losses see it, in [-1, 1]."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.agent = agent

    def forward(self, observations: Tensor) -> Tensor:
        return self.agent.unit(observations)


class _UnitLaw(_Unit):
    """The same with its deviation."""

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        mean = self.agent.unit(observations)
        return mean, self.agent.unit_std().expand_as(mean)


def _descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> float:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def _torchrl() -> tuple[Any, Any]:
    try:
        import tensordict.nn
        import torchrl.objectives
    except ImportError as error:
        raise MissingExtraError("torchrl", "rl") from error
    return torchrl.objectives, tensordict.nn

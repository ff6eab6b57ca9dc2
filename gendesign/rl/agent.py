"""An actor network that is a policy: what offline reinforcement learning trains, guides with, and acts by.

    a(s) = mid + reach tanh f((s - m) / d),   mid, reach: middle and half range of the actions,

and the law N(a; a(s), (reach sd)^2). A deterministic agent (TD3) is believed with a stated sd; a stochastic one (IQL)
has learned its own.

Fujimoto and Gu 2021, A Minimalist Approach to Offline Reinforcement Learning, arXiv 2106.06860.
Kostrikov et al. 2021, Offline Reinforcement Learning with Implicit Q-Learning, arXiv 2110.06169.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from gendesign.building import build, describe, finite, whole
from gendesign.errors import CheckpointError, ConfigError
from gendesign.pretrained import load_weights, read_pretrained, write_pretrained
from gendesign.rl.policies import Gaussian, Policy

LOG_STD = (-5.0, 2.0)
"""Bounds of a learned log-deviation, of half the actions' range."""


def perceptron(inputs: int, outputs: int, *, width: int, depth: int) -> nn.Sequential:
    """Layers of `width` with ReLU between them."""
    sizes = [inputs, *[width] * depth]
    layers: list[nn.Module] = []
    for before, after in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


class Agent(nn.Module, Policy):
    """An actor with the law of its actions.

    Args:
        observations: S.
        action_low: lower bound of each action.
        action_high: upper bound of each action.
        width: of the hidden layers.
        depth: number of hidden layers.
        stochastic: the law's deviation is learned; otherwise it is `noise`.
        noise: deviation that a deterministic agent is believed with, and may explore with, in half ranges.

    Raises:
        ConfigError: a size, bounds that are none, or a noise not above 0.
    """

    mean: Tensor
    std: Tensor
    middle: Tensor
    reach: Tensor

    def __init__(
        self,
        observations: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        *,
        width: int = 256,
        depth: int = 2,
        stochastic: bool = False,
        noise: float = 0.1,
    ) -> None:
        super().__init__()
        whole("observations", observations), whole("width", width), whole("depth", depth)
        self.noise = finite("noise", noise, above=0.0)
        low, high = torch.tensor(action_low), torch.tensor(action_high)
        if low.shape != high.shape or not len(low) or not bool((low < high).all()):
            raise ConfigError(
                f"expected bounds low < high of each action, got {list(action_low)} and {list(action_high)}"
            )
        self.observations, self.stochastic = observations, stochastic
        self.network = perceptron(observations, len(low), width=width, depth=depth)
        if stochastic:
            self.log_std = nn.Parameter(torch.zeros(len(low)))
        for name, value in (
            ("mean", torch.zeros(observations)),
            ("std", torch.ones(observations)),
            ("middle", (low + high) / 2),
            ("reach", (high - low) / 2),
        ):
            self.register_buffer(name, value.float())

    def unit(self, observations: Float[Tensor, "*B S"]) -> Float[Tensor, "*B A"]:
        """The action in [-1, 1]."""
        return self.network((observations - self.mean) / self.std).tanh()

    def unit_std(self) -> Float[Tensor, " A"]:
        """The law's deviation, in half ranges."""
        if not self.stochastic:
            return torch.full_like(self.reach, self.noise)
        return self.log_std.clamp(*LOG_STD).exp()

    def forward(self, observations: Float[Tensor, "*B S"]) -> Float[Tensor, "*B A"]:
        """The action in the environment's units, in the precision of the observations.

        Raises:
            ConfigError: observations of another environment.
        """
        if observations.shape[-1] != self.observations:
            raise ConfigError(
                f"the agent reads {self.observations} numbers an observation, got {observations.shape[-1]}"
            )
        return (self.middle + self.reach * self.unit(observations.to(self.mean))).to(observations)

    def law(self, *, noise: float | None = None) -> Gaussian:
        """The agent's Gaussian policy.

        Args:
            noise: deviation in half ranges, instead of the agent's own.
        """
        spread = self.unit_std() if noise is None else torch.full_like(self.reach, noise)
        return Gaussian(self.forward, self.reach * spread)

    def log_prob(
        self, actions: Float[Tensor, "*B A"], observations: Float[Tensor, "*B S"]
    ) -> Float[Tensor, "*B"]:
        return self.law().log_prob(actions, observations)

    def residuals(
        self, actions: Float[Tensor, "*B A"], observations: Float[Tensor, "*B S"]
    ) -> Float[Tensor, "*B A"]:
        return self.law().residuals(actions, observations)

    def sample(self, observations: Float[Tensor, "*B S"], *, generator: Generator) -> Float[Tensor, "*B A"]:
        """One action of the law a row, which may leave the bounds."""
        return self.law().sample(observations, generator=generator)

    @torch.no_grad()
    def act(self, observations: NDArray[Any]) -> NDArray[np.float64]:
        """The law's means as arrays, [*B, S] to [*B, A]."""
        seen = torch.as_tensor(np.asarray(observations, dtype=np.float64))
        return self(seen.to(self.mean.device)).cpu().numpy()


def save_agent(
    agent: Agent,
    folder: str | Path,
    *,
    environment: str = "",
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write a folder of config.yaml and model.safetensors, whole or not at all.

    Args:
        agent: what is written.
        folder: new, empty, or of an earlier agent, which is replaced.
        environment: gymnasium's EnvSpec as JSON; "" where not known.
        provenance: method, data and seed, plain data.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
    """
    about = {"agent": describe(agent), "environment": environment, "provenance": dict(provenance or {})}
    write_pretrained(folder, about, agent.state_dict())


def load_agent(folder: str | Path) -> Agent:
    """Read what `save_agent` wrote; no code of the folder is run. Parameters do not ask for gradients.

    Raises:
        CheckpointError: the folder is no agent, is damaged, or names code that is not an agent's.
    """
    config, weights = read_pretrained(Path(folder).expanduser())
    if "agent" not in config:
        raise CheckpointError(f"{folder}: is no agent (its config.yaml has no key agent)")
    try:
        agent = build(config["agent"], kinds=(Agent,))
    except ConfigError as error:
        raise CheckpointError(f"{folder}: {error}") from error
    if not isinstance(agent, Agent):
        raise CheckpointError(f"{folder}: is no agent")
    load_weights(agent, weights, str(folder))
    return agent.eval().requires_grad_(False)

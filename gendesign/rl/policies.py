"""Policies: how likely an action is, given what was observed.

    log pi(a | s), one number a row, differentiable in both.

A policy is anything with `log_prob(actions, observations)`. Those of this file are Gaussian,

    pi(a | s) = N(a; mu(s), sd(s)^2),

the same of u = arctanh(a), whose density of a carries the change of variables

    log pi(a | s) = log N(u; mu(s), sd(s)^2) - sum_i log(1 - a_i^2),

a function of the user's, and a module of torchrl. Where log pi = -|e|^2/2 + rest, `residuals` gives e, from which
guidance takes a curvature that always bends down.

Haarnoja et al. 2018, Soft Actor-Critic, arXiv 1801.01290 (appendix C: tanh).
Bou et al. 2023, TorchRL, arXiv 2306.00577.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gendesign.building import Configurable, finite
from gendesign.errors import ConfigError, MissingExtraError

EDGE = 1e-6
"""Actions of a tanh policy count as at most this close to -1 and 1, where arctanh is infinite."""

Mean = Callable[[Tensor], Tensor]
Spread = float | Sequence[float] | Tensor | Callable[[Tensor], Tensor]


@runtime_checkable
class Trajectories(Protocol):
    """What guidance asks of a codec whose designs are rows [B, H, n] of observations, actions and more.

    Attributes:
        observation_columns: which of the n numbers of a row are the observation.
        action_columns: which are the action.
    """

    observation_columns: Sequence[int]
    action_columns: Sequence[int]

    def relax(self, x: Tensor) -> Tensor:
        """Encoded designs to rows in the user's units, differentiable."""


def precision_of(policy: Any) -> torch.dtype | None:
    """The type of numbers that a policy's network takes; None where it has none, and takes any."""
    for part in (policy, *getattr(policy, "__dict__", {}).values()):
        first = next(part.parameters(), None) if isinstance(part, torch.nn.Module) else None
        if first is not None:
            return first.dtype
    return None


class Policy(Configurable, ABC):
    """A law of actions given observations."""

    @abstractmethod
    def log_prob(
        self, actions: Float[Tensor, "*B A"], observations: Float[Tensor, "*B S"]
    ) -> Float[Tensor, "*B"]:
        """Log pi(a | s) in nats, differentiable.

        Args:
            actions: in the environment's units.
            observations: in the environment's units.
        """

    def residuals(
        self, actions: Float[Tensor, "*B A"], observations: Float[Tensor, "*B S"]
    ) -> Float[Tensor, "*B A"] | None:
        """E with log pi = -|e|^2/2 + what bends little; None: not known."""
        return None


class Gaussian(Policy):
    """N(a; mu(s), sd(s)^2), coordinates independent.

    Args:
        mean: mu, from observations [..., S] to [..., A]: a function or a torch module.
        std: sd, above 0: one number, one a coordinate, or a function of the observations.

    Raises:
        ConfigError: mean is no function, or a std is not above 0.
    """

    def __init__(self, mean: Mean | Any, std: Spread) -> None:
        if not callable(mean):
            raise ConfigError(
                f"mean must be a function of observations [..., S] giving [..., A], got {mean!r}"
            )
        self.mean, self.std = mean, std
        if not callable(std):
            numbers = torch.as_tensor(std, dtype=torch.float64).flatten()
            if not len(numbers) or not bool((numbers.isfinite() & (numbers > 0)).all()):
                raise ConfigError(f"std must be above 0, got {std!r}")

    def _standardised(self, points: Tensor, observations: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.mean(observations)
        if mean.shape != points.shape:
            raise ConfigError(
                f"the policy gives actions of shape {list(mean.shape)} for observations of shape "
                f"{list(observations.shape)}; the trajectories have actions of shape {list(points.shape)}"
            )
        std = self.std(observations) if callable(self.std) else torch.as_tensor(self.std).to(points)
        return (points - mean) / std, std.expand_as(points)

    def log_prob(
        self, actions: Float[Tensor, "*B A"], observations: Float[Tensor, "*B S"]
    ) -> Float[Tensor, "*B"]:
        e, std = self._standardised(actions, observations)
        return -(0.5 * e**2 + std.log() + 0.5 * math.log(2 * math.pi)).sum(-1)

    def residuals(
        self, actions: Float[Tensor, "*B A"], observations: Float[Tensor, "*B S"]
    ) -> Float[Tensor, "*B A"]:
        return self._standardised(actions, observations)[0]

    def sample(self, observations: Float[Tensor, "*B S"], *, generator: Generator) -> Float[Tensor, "*B A"]:
        """One action a row."""
        mean = self.mean(observations)
        std = self.std(observations) if callable(self.std) else torch.as_tensor(self.std).to(mean)
        z = torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)
        return mean + std * z


class Deterministic(Gaussian):
    """An actor's action, with the noise that it is to be believed with: N(a; action(s), noise^2).

    Args:
        action: from observations [..., S] to actions [..., A], such as the actor of TD3.
        noise: standard deviation, in the actions' units.
    """

    def __init__(self, action: Mean, *, noise: float = 0.1) -> None:
        super().__init__(action, finite("noise", noise, above=0.0))


class TanhGaussian(Gaussian):
    """A = tanh(u), u ~ N(mu(s), sd(s)^2): the actors of soft actor-critic, with actions in (-1, 1).

    Args:
        mean: mu of u, from observations [..., S] to [..., A].
        std: sd of u.
    """

    def log_prob(
        self, actions: Float[Tensor, "*B A"], observations: Float[Tensor, "*B S"]
    ) -> Float[Tensor, "*B"]:
        inside = actions.clamp(-1 + EDGE, 1 - EDGE)
        return super().log_prob(inside.atanh(), observations) - torch.log1p(-(inside**2)).sum(-1)

    def residuals(
        self, actions: Float[Tensor, "*B A"], observations: Float[Tensor, "*B S"]
    ) -> Float[Tensor, "*B A"]:
        return super().residuals(actions.clamp(-1 + EDGE, 1 - EDGE).atanh(), observations)

    def sample(self, observations: Float[Tensor, "*B S"], *, generator: Generator) -> Float[Tensor, "*B A"]:
        return super().sample(observations, generator=generator).tanh()


class FunctionPolicy(Policy):
    """A policy from a function.

    Args:
        function: takes actions [..., A] and observations [..., S], returns log pi(a | s), [...], written with
            differentiable operations of torch.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor] | Any) -> None:
        if not callable(function):
            raise ConfigError(f"expected a function of actions and observations, got {function!r}")
        self.function = function

    def log_prob(
        self, actions: Float[Tensor, "*B A"], observations: Float[Tensor, "*B S"]
    ) -> Float[Tensor, "*B"]:
        found = self.function(actions, observations)
        if found.shape != actions.shape[:-1]:
            raise ConfigError(
                f"the policy's function returned shape {list(found.shape)} for actions of shape "
                f"{list(actions.shape)}; it must return one number a row, {list(actions.shape[:-1])}"
            )
        return found


class TorchRLPolicy(Policy):
    """A stochastic actor of torchrl: anything with `get_dist(tensordict)`, such as `ProbabilisticActor`.

    Args:
        actor: the module.
        observation_key: under which it reads observations.

    Raises:
        ConfigError: the module has no distribution; wrap a deterministic actor in `Deterministic`.
        MissingExtraError: tensordict is not installed.
    """

    def __init__(self, actor: Any, *, observation_key: str = "observation") -> None:
        try:
            from tensordict import TensorDict
        except ImportError as error:
            raise MissingExtraError("tensordict", "rl") from error
        if not hasattr(actor, "get_dist"):
            raise ConfigError(
                f"{type(actor).__name__} has no get_dist; wrap a deterministic actor in Deterministic(actor, noise=...)"
            )
        self.actor, self.observation_key, self._pack = actor, observation_key, TensorDict

    def log_prob(
        self, actions: Float[Tensor, "*B A"], observations: Float[Tensor, "*B S"]
    ) -> Float[Tensor, "*B"]:
        rows = self._pack({self.observation_key: observations}, batch_size=observations.shape[:-1])
        found = self.actor.get_dist(rows).log_prob(actions)
        # laws of independent coordinates give one number a coordinate
        return found.sum(-1) if found.ndim == actions.ndim else found

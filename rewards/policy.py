"""Trajectories by what a policy, or the environment's own reward, thinks of them.

    r(tau) = sum_h log pi(a_h | s_h)        in nats,
    r(tau) = sum_h gamma^h r_h              the return, up to the first terminal row.

A trajectory is an array [H, n] of rows in the environment's units; columns say what the numbers of a row are.

Jackson et al. 2024, Policy-Guided Diffusion, arXiv 2404.06356.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import finite, whole
from gendesign.designs import Design
from gendesign.errors import ConfigError
from gendesign.rewards.base import DifferentiableReward
from gendesign.rl.policies import Policy, Trajectories, precision_of


class TrajectoryReward(DifferentiableReward):
    """Base of rewards that read rows [H, n]; subclasses write `relaxed`."""

    source = "the policy that is given"

    def __init__(self, columns: Sequence[int], *, width: int | None = None) -> None:
        self.columns = list(columns)
        self.width = None if width is None else whole("width", width)
        if not self.columns or any(not isinstance(c, int) or c < 0 for c in self.columns):
            raise ConfigError(f"columns must be whole numbers from 0, at least one, got {list(columns)}")

    def unreadable(self, design: Design) -> str:
        """Anything but finite rows with the columns that are read."""
        if isinstance(design, str):
            return "expected a trajectory [H, n], got a string"
        if np.ndim(design) != 2 or np.shape(design)[1] <= max(self.columns):
            return f"expected a trajectory [H, n] with column {max(self.columns)}, got shape {list(np.shape(design))}"
        if self.width not in (None, np.shape(design)[1]):
            return f"expected a trajectory [H, {self.width}], got shape {list(np.shape(design))}"
        return "" if np.isfinite(design).all() else "expected finite numbers"

    def score(self, designs: Sequence[Any]) -> list[float]:
        """One after the other, since lengths may vary."""
        with torch.no_grad():
            return [float(self.relaxed(torch.tensor(np.asarray(d, dtype=np.float64))[None])) for d in designs]


class PolicyLikelihood(TrajectoryReward):
    """Log-likelihood of a trajectory's actions given its observations.

    Args:
        policy: pi.
        observation_columns: which numbers of a row are the observation.
        action_columns: which are the action.
        gradient: "both" differentiates by actions and observations; "actions" takes observations as given.

    Raises:
        ConfigError: no policy, or columns that are none.
    """

    name = "policy-likelihood"
    unit = "nats"

    def __init__(
        self,
        policy: Policy | Any,
        *,
        observation_columns: Sequence[int],
        action_columns: Sequence[int],
        gradient: Literal["both", "actions"] = "both",
    ) -> None:
        super().__init__([*observation_columns, *action_columns])
        if not hasattr(policy, "log_prob"):
            raise ConfigError(f"a policy needs log_prob(actions, observations), {policy!r} has none")
        if not len(observation_columns) or not len(action_columns):
            raise ConfigError("name at least one observation column and one action column")
        self.policy, self.gradient = policy, gradient
        self.observation_columns, self.action_columns = list(observation_columns), list(action_columns)

    @classmethod
    def of(
        cls, policy: Policy | Any, codec: Trajectories | Any, *, gradient: Literal["both", "actions"] = "both"
    ) -> PolicyLikelihood:
        """With the columns of a codec of trajectories."""
        return cls(
            policy,
            observation_columns=list(codec.observation_columns),
            action_columns=list(codec.action_columns),
            gradient=gradient,
        )

    def relaxed(self, x: Float[Tensor, "B H n"]) -> Float[Tensor, " B"]:
        return self.policy.log_prob(*self._read(x)).sum(-1)

    def residuals(self, x: Float[Tensor, "B H n"]) -> Float[Tensor, "B R"] | None:
        known = getattr(self.policy, "residuals", None)
        e = None if known is None else known(*self._read(x))
        return None if e is None else e.flatten(1)

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.to(precision_of(self.policy) or x.dtype)
        observations = x[..., self.observation_columns]
        return x[
            ..., self.action_columns
        ], observations.detach() if self.gradient == "actions" else observations


class TrajectoryReturn(TrajectoryReward):
    """The return of a trajectory, as its own rewards say.

    Args:
        reward_column: which number of a row is the reward.
        terminal_column: which is above 0.5 where the episode ends; later rows count nothing. None: there is none.
        discount: gamma.
        width: n, where other rows are to be refused; None: any that has the columns.
    """

    name = "return"
    unit = "environment's reward"
    source = "the trajectory's own rewards"

    def __init__(
        self,
        reward_column: int,
        *,
        terminal_column: int | None = None,
        discount: float = 1.0,
        width: int | None = None,
    ) -> None:
        columns = [reward_column] if terminal_column is None else [reward_column, terminal_column]
        super().__init__(columns, width=width)
        self.discount = finite("discount", discount, above=0.0)
        if discount > 1:
            raise ConfigError(f"discount must be at most 1, got {discount}")

    def relaxed(self, x: Float[Tensor, "B H n"]) -> Float[Tensor, " B"]:
        rewards = x[..., self.columns[0]]
        weight = self.discount ** torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        if len(self.columns) > 1:
            ended = (x[..., self.columns[1]].detach() > 0.5).cumsum(-1)
            before = torch.cat([torch.zeros_like(ended[:, :1]), ended[:, :-1]], 1)
            weight = weight * (before == 0)
        return (rewards * weight).sum(-1)

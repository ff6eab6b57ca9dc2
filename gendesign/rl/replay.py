"""Transitions to learn from: rows of one or several sources, each with its share of every batch.

A row is (s, a, r, s', terminated). A truncated episode's last row has a value beyond it, a terminated one's has none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Generator, Tensor

from gendesign.building import finite
from gendesign.errors import ConfigError, DataError
from gendesign.rl.trajectories import Trajectories, flatten


@dataclass(frozen=True)
class Replay:
    """Rows and how often each is drawn.

    Args:
        observations: [R, S].
        actions: [R, A], in half ranges from the middle: -1 and 1 are the bounds.
        rewards: [R].
        next_observations: [R, S].
        terminated: [R].
        probability: [R], of being the row that is drawn.
        action_low: the bounds, in the environment's units.
        action_high: the same.
    """

    observations: Float[Tensor, "R S"]
    actions: Float[Tensor, "R A"]
    rewards: Float[Tensor, " R"]
    next_observations: Float[Tensor, "R S"]
    terminated: Bool[Tensor, " R"]
    probability: Float[Tensor, " R"]
    action_low: list[float]
    action_high: list[float]

    @classmethod
    def of(
        cls,
        *sources: Trajectories,
        shares: Sequence[float] = (),
        weights: Sequence[NDArray[np.float64] | None] = (),
    ) -> Replay:
        """The rows of several sources.

        Args:
            sources: at least one; the first one's bounds of actions hold.
            shares: of each batch that come from each source, relative; () draws every row as often as any other.
            weights: how much each episode of a source counts, relative, [E]; None: all alike.

        Raises:
            DataError: bounds are not known, or the sources are of different environments.
            ConfigError: shares or weights that are none.
        """
        first = sources[0]
        if first.action_low is None or first.action_high is None:
            raise DataError("the bounds of actions are not known; name the environment")
        flat = [flatten(source) for source in sources]
        widths = [(part["observations"].shape[1], part["actions"].shape[1]) for part in flat]
        if len(set(widths)) > 1:
            raise DataError(
                f"sources differ: rows of (observations, actions) are {' and '.join(map(str, widths))}"
            )
        if shares and len(shares) != len(sources):
            raise ConfigError(
                f"expected one share a source, got {len(shares)} shares for {len(sources)} sources"
            )
        masses: list[NDArray[np.float64]] = []
        for i, source in enumerate(sources):
            given = weights[i] if i < len(weights) else None
            each = _row_weights(source, given)
            if shares:
                each = each / each.sum() * finite("a share", float(shares[i]), at_least=0.0)
            masses.append(each)
        mass = np.concatenate(masses)
        if not mass.sum() > 0:
            raise ConfigError("shares and weights are all 0")
        columns = {name: np.concatenate([part[name] for part in flat]) for name in flat[0]}
        low, high = np.asarray(first.action_low), np.asarray(first.action_high)
        unit = 2 * (columns["actions"] - low) / (high - low) - 1
        return cls(
            observations=_single(columns["observations"]),
            actions=_single(np.clip(unit, -1, 1)),
            rewards=_single(columns["rewards"]),
            next_observations=_single(columns["next_observations"]),
            terminated=torch.tensor(columns["terminals"]),
            probability=torch.tensor(mass / mass.sum()),
            action_low=low.tolist(),
            action_high=high.tolist(),
        )

    def __len__(self) -> int:
        return len(self.rewards)

    def digest(self) -> str:
        """Of every row and how often it is drawn."""
        found = hashlib.sha256(repr((self.action_low, self.action_high)).encode())
        for name in ("observations", "actions", "rewards", "next_observations", "terminated", "probability"):
            column = getattr(self, name).contiguous()
            found.update(f"{name} {tuple(column.shape)}".encode() + column.numpy().tobytes())
        return found.hexdigest()

    def draw(self, size: int, *, generator: Generator) -> Int[Tensor, " B"]:
        """Numbers of `size` rows, drawn with replacement."""
        edges = self.probability.cumsum(0)
        u = torch.rand(size, dtype=torch.float64, generator=generator) * edges[-1]
        return torch.searchsorted(edges, u, right=True).clamp(max=len(self) - 1)

    def statistics(self) -> tuple[Float[Tensor, " S"], Float[Tensor, " S"]]:
        """Mean and deviation of the observations that are drawn."""
        weight = self.probability[:, None]
        mean = (weight * self.observations.double()).sum(0)
        variance = (weight * (self.observations.double() - mean) ** 2).sum(0)
        return mean.float(), variance.sqrt().float()


def _row_weights(source: Trajectories, given: NDArray[np.float64] | None) -> NDArray[np.float64]:
    lengths = [len(episode) for episode in source.episodes]
    if given is None:
        return np.ones(sum(lengths))
    given = np.asarray(given, dtype=np.float64)
    if given.shape != (len(lengths),) or not np.isfinite(given).all() or (given < 0).any():
        raise ConfigError(f"expected one weight of at least 0 for each of {len(lengths)} episodes")
    if not given.any():
        raise ConfigError("the weights of all episodes are 0")
    return np.repeat(given, lengths)


def _single(values: NDArray[Any]) -> Tensor:
    return torch.tensor(np.asarray(values, dtype=np.float32))

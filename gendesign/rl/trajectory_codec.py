"""Segments of trajectories as the N numbers that a continuous process works on.

A design is H rows (observation, action, reward, terminal) in the environment's units. An action a in [low,
high] becomes

    u = arctanh(c),   c = 2 (a - low) / (high - low) - 1, clipped to [-(1 - clip), 1 - clip],

and every column but the last is standardised with the statistics of training rows; terminal t in {0, 1}
becomes 2 t - 1. Decoded actions are inside their bounds. Log-densities are of u, not of a.

Jackson et al. 2024, Policy-Guided Diffusion, arXiv 2404.06356.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendesign.array_codecs import VectorSequenceCodec
from gendesign.building import finite, whole
from gendesign.designs import Array
from gendesign.errors import ConfigError


class TrajectoryCodec(VectorSequenceCodec):
    """Segments [H, S + A + 2].

    Args:
        observations: S.
        action_low: lower bound of each action.
        action_high: upper bound of each action.
        steps: H.
        clip: actions nearer to a bound than this, of half the range, are moved there, where arctanh is finite.
        mean: of each column, of actions after arctanh; with `std` left out, the codec has to be fitted before use.
        std: of each column.

    Raises:
        ConfigError: bounds that are none, or a clip outside (0, 1).
    """

    def __init__(
        self,
        observations: int,
        action_low: Sequence[float],
        action_high: Sequence[float],
        *,
        steps: int = 32,
        clip: float = 0.01,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        whole("observations", observations)
        if not len(action_low) == len(action_high) > 0 or not all(
            finite("action_low", low) < finite("action_high", high)
            for low, high in zip(action_low, action_high, strict=True)
        ):
            raise ConfigError(
                f"expected bounds low < high of each action, got {list(action_low)} and {list(action_high)}"
            )
        if not 0 < clip < 1:
            raise ConfigError(f"clip must be in (0, 1), got {clip}")
        self.clip, self.low, self.high = clip, tuple(action_low), tuple(action_high)
        count = len(self.low)
        self.observation_columns = list(range(observations))
        self.action_columns = list(range(observations, observations + count))
        names = [f"observation{i + 1}" for i in range(observations)]
        names += [f"action{i + 1}" for i in range(count)]
        super().__init__([*names, "reward", "terminal"], steps, mean=mean, std=std)

    def _with(self, mean: list[float], std: list[float]) -> TrajectoryCodec:
        return TrajectoryCodec(
            len(self.observation_columns), self.low, self.high,
            steps=self.steps, clip=self.clip, mean=mean, std=std,
        )  # fmt: skip

    def fit(self, rows: Sequence[Any] | Array) -> TrajectoryCodec:
        """A codec with the statistics of these segments; rewards that never change keep a spread of 1."""
        values = self._squashed(np.array(rows, dtype=np.float64))
        reward = values[..., -2]
        flat = reward.size > 0 and np.ptp(reward) == 0
        base = float(reward.flat[0]) if flat else 0.0
        if flat:  # any spread passes the parent's check
            values[..., -2] += np.linspace(-1, 1, reward.size).reshape(reward.shape)
        values[..., -1] = np.linspace(0, 1, reward.size).reshape(reward.shape)
        fitted = super().fit(values)
        mean, std = (list(each) for each in fitted._statistics())
        mean[-1], std[-1] = 0.5, 0.5
        if flat:
            mean[-2], std[-2] = base, 1.0
        return self._with(mean, std)

    def _squashed(self, values: Array) -> Array:
        low, high = np.array(self.low), np.array(self.high)
        scaled = 2 * (values[..., self.action_columns] - low) / (high - low) - 1
        values = values.copy()
        values[..., self.action_columns] = np.arctanh(np.clip(scaled, self.clip - 1, 1 - self.clip))
        return values

    def _scaled(self, values: Array) -> Array:
        return super()._scaled(self._squashed(values))

    def _restored(self, x: Tensor) -> Tensor:
        rows = super()._restored(x)
        low, high = (torch.tensor(each, dtype=x.dtype, device=x.device) for each in (self.low, self.high))
        first, after = self.action_columns[0], self.action_columns[-1] + 1
        actions = low + (high - low) * (rows[..., first:after].tanh() + 1) / 2
        return torch.cat([rows[..., :first], actions, rows[..., after:]], dim=-1)

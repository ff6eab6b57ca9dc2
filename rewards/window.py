"""A wanted range of a measured quantity, as a reward.

    w(v) = - max(low - v, 0) - max(v - high, 0)

0 inside [low, high], falling linearly outside; a side may be open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import finite
from gendesign.errors import ConfigError


@dataclass(frozen=True)
class Window:
    """A range of numbers.

    Args:
        low: lowest wanted value; -inf for none.
        high: highest wanted value; inf for none.
    """

    low: float = -math.inf
    high: float = math.inf

    @classmethod
    def read(cls, target: Sequence[float | None] | None) -> Window | None:
        """The window that a user writes as (low, high), null for an open side; None where none is written.

        Raises:
            ConfigError: not two rising numbers.
        """
        if target is None:
            return None
        if isinstance(target, str) or len(target) != 2 or all(edge is None for edge in target):
            raise ConfigError(
                f"target must be [low, high], null for an open side such as [null, 40], got {target!r}"
            )
        low = -math.inf if target[0] is None else finite("target", target[0])
        high = math.inf if target[1] is None else finite("target", target[1])
        if low > high:
            raise ConfigError(f"target must satisfy low <= high, got {list(target)!r}")
        return cls(low, high)

    def __call__(self, values: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """Minus the distance of each value to the range."""
        return -torch.relu(self.low - values) - torch.relu(values - self.high)

    def __str__(self) -> str:
        """Such as `4-7`, `at least 4` or `at most 7`."""
        if math.isinf(self.low):
            return f"at most {self.high:g}"
        return f"at least {self.low:g}" if math.isinf(self.high) else f"{self.low:g} to {self.high:g}"

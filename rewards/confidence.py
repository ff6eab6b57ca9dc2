"""Cautious rewards: what a reward is likely to be at least.

    r_kappa(x) = r(x) - kappa * std(x)

An ensemble disagrees where its training data said little, and that is where steering finds scores that are
too good. The bound takes the disagreement off. Reference: Auer, "Using confidence bounds for
exploitation-exploration trade-offs" (2002, JMLR 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from gendesign.building import finite
from gendesign.errors import RewardError, UnsupportedError
from gendesign.rewards.base import Reward, Scores
from gendesign.rewards.composition import Composition, Number


class LowerConfidenceBound(Composition):
    """reward - kappa * std: what the reward is likely to be at least.

    Steering then avoids what the reward's ensemble disagrees on.

    Args:
        reward: a reward whose scores carry a standard deviation (an ensemble, or a composition of some).
        kappa: standard deviations to subtract, at least 0.
        name: name in tables.
    """

    def __init__(self, reward: Reward, *, kappa: float = 1.0, name: str = "") -> None:
        super().__init__([reward], name=name)
        self.kappa = finite("kappa", kappa, at_least=0.0)
        self.name = name or f"{reward.label} - {kappa:g} std"

    def combine(self, values: Sequence[Number]) -> Number:
        # the bound itself is taken where the standard deviation is at hand: join, relaxed_moments
        return values[0]

    def spread(self, values: Sequence[Number], stds: Sequence[Number]) -> Number:
        return stds[0]

    def join(self, values: Sequence[npt.NDArray[np.float64]], scores: Sequence[Scores]) -> Scores:
        (part,) = scores
        if part.std is None:
            raise RewardError(self._no_std())
        return Scores(values[0] - self.kappa * part.std, part.status, part.std, part.message)

    def relaxed_moments(
        self, x: Float[Tensor, "B ..."]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"] | None]:
        self._require_differentiable()
        mean, std = self.parts[0].relaxed_moments(x)
        if std is None:
            raise UnsupportedError(self._no_std())
        return mean - self.kappa * std, std

    def relaxed(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        return self.relaxed_moments(x)[0]

    def _no_std(self) -> str:
        return (
            "LowerConfidenceBound needs a reward with a standard deviation, "
            f"and {self.parts[0].label!r} gives none; use an ensemble"
        )

"""Fitting: the same reward, of designs that are what was asked for; others are INVALID, with the reason.

A template can be lost where designs are decoded (a scaffold of a molecule); what a reward says of such a design is no
answer to the question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.designs import Design
from gendesign.rewards.base import Reward, Scores


class Fitting(Reward):
    """A reward with one more reason why a design has no value.

    Args:
        reward: what is asked of designs that fit.
        departs: why a design does not; "" where it does.
    """

    def __init__(self, reward: Reward, departs: Callable[[Design], str]) -> None:
        self.reward = reward
        self.departs = departs
        self.parts = tuple(Fitting(part, departs) for part in getattr(reward, "parts", ()))
        for name in ("name", "unit", "direction", "source", "trained_on", "alphabet", "differentiable"):
            setattr(self, name, getattr(reward, name))
        self.name = reward.label

    def wishes(self, values: Sequence[Any]) -> list[tuple[str, Any] | None]:
        """As the reward's own: see `Composition.wishes`."""
        own = getattr(self.reward, "wishes", None)
        return [("{}", value) for value in values] if own is None else own(values)

    @property
    def version(self) -> str:
        return self.reward.version

    def unreadable(self, design: Design) -> str:
        return self.reward.unreadable(design) or self.departs(design)

    def canonical(self, design: Design) -> Design:
        return self.reward.canonical(design)

    def score(self, designs: Sequence[Design]) -> Scores:
        return self.reward(designs)

    def relaxed(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        return self.reward.relaxed(x)

    def relaxed_moments(
        self, x: Float[Tensor, "B ..."]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"] | None]:
        return self.reward.relaxed_moments(x)

    def to(self, device: str | torch.device) -> Reward:
        self.reward.to(device)
        return self

"""Rewards that are read off a DNA sequence directly: its GC content.

    GC(x) = (#G + #C) / (#A + #C + #G + #T)

With a target window [low, high] the reward is minus the distance to the window: 0 inside, falling linearly
outside. Letters are read in either case, as in tables that are trained on: `acgt` is scored as `ACGT`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import finite
from gendesign.designs import Design
from gendesign.errors import ConfigError
from gendesign.rewards.base import DifferentiableReward
from gendesign.rewards.letters import UpperCaseReward, misspelt

LETTERS = "ACGT"
"""The letters of DNA in the order of `DNACodec`'s tokens."""


def not_dna(design: Design) -> str:
    """Why a design is not a DNA sequence of the letters A, C, G, T in either case; "" if it is one."""
    return misspelt(design, LETTERS, kind="a DNA sequence")


class DNAReward(UpperCaseReward):
    """Base class of rewards of DNA."""

    alphabet = LETTERS

    def unreadable(self, design: Design) -> str:
        return not_dna(design)


class GCContent(DNAReward, DifferentiableReward):
    """Fraction of G and C, or closeness of that fraction to a window.

    Args:
        target: (low, high), fractions in [0, 1]; None = the fraction itself is raised.

    Raises:
        ConfigError: the window is not two rising fractions.
    """

    unit = "fraction"

    def __init__(self, *, target: Sequence[float] | None = None) -> None:
        self.name = "gc-content"
        self.low, self.high = None, None
        if target is not None:
            if len(target) != 2:
                raise ConfigError(f"target must be two fractions (low, high), got {target!r}")
            self.low, self.high = (finite("target", edge, at_least=0.0) for edge in target)
            if not self.low <= self.high <= 1.0:
                raise ConfigError(f"target must satisfy 0 <= low <= high <= 1, got {target!r}")
            self.name = f"gc-content in {self.low:g}-{self.high:g}"

    def score(self, designs: Sequence[str]) -> Tensor:
        gc = [(d.count("G") + d.count("C")) / len(d) for d in designs]
        return self._value(torch.tensor(gc, dtype=torch.float64))

    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, " B"]:
        letters = x[..., : len(LETTERS)].sum(1)  # a PAD token beyond the four letters counts for nothing
        return self._value((letters[:, 1] + letters[:, 2]) / letters.sum(1))

    def _value(self, gc: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        if self.low is None or self.high is None:
            return gc
        return -torch.relu(self.low - gc) - torch.relu(gc - self.high)

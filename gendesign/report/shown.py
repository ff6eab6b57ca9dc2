"""A set of designs as the page names, colours and measures it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gendesign.designs import Design
from gendesign.metrics.distances import mean_pairwise_distance
from gendesign.metrics.reference import Reference
from gendesign.report.figures import Series

if TYPE_CHECKING:
    from gendesign.design_set import DesignSet

Floats = NDArray[np.float64]

NUCLEIC: Mapping[str, str] = {"A": "A", "C": "C", "G": "G", "T": "T", "U": "T"}
"""Colours of bases, as names in the palette."""

_GROUPS = {"DE": "T", "KRH": "C", "STNQCGP": "G", "AVLIMFWY": "A"}  # acidic, basic, polar, hydrophobic
PROTEIN: Mapping[str, str] = {letter: colour for group, colour in _GROUPS.items() for letter in group}
"""Colours of amino acids by the chemistry of their side chains."""


@dataclass(frozen=True)
class Shown:
    """One set of designs.

    Args:
        label: what readers call it.
        colour: its name in the palette.
        run: the designs and everything measured of them.
    """

    label: str
    colour: str
    run: "DesignSet"

    @property
    def designs(self) -> list[Design]:
        """The designs."""
        return self.run.designs

    @property
    def texts(self) -> list[str]:
        """The designs that are text: all of them, or none."""
        return [design for design in self.run.designs if isinstance(design, str)]

    @cached_property
    def apart(self) -> float:
        """Mean distance of two designs."""
        return mean_pairwise_distance(self.run.designs, distance=self.run.form.distances)

    def values(self, name: str | None) -> Floats:
        """Scores by a reward, NaN where there are none; shape [designs]."""
        scores = self.run.scores.get(name) if name is not None else None
        return np.full(len(self.designs), np.nan) if scores is None else scores.values

    @property
    def naturalness(self) -> Floats:
        """Nats a part, NaN where there is none; shape [designs]."""
        return self._fitting(self.run.naturalness)

    def novelty(self, name: str) -> Floats:
        """A figure that compares with training, NaN where there is none; shape [designs]."""
        return self._fitting(self.run.novelty.get(name))

    def _fitting(self, values: Floats | None) -> Floats:
        if values is None or len(values) != len(self.designs):
            return np.full(len(self.designs), np.nan)
        return np.asarray(values, dtype=np.float64)

    def series(self, values: Floats) -> Series:
        """Values as figures take them."""
        return Series(self.label, self.colour, values, filled=self.colour == "steered")


@dataclass(frozen=True)
class Role:
    """A reward and its part in the run.

    Args:
        name: of the reward.
        role: "guide" or "held-out".
        unit: of its values.
        decimals: shown; None for three significant digits.
        natural: its values at percentiles 0..100 of natural sequences, or None.
    """

    name: str
    role: str
    unit: str
    decimals: int | None
    natural: Floats | None

    def compares_with(self, other: "Role") -> bool:
        """Whether values of the two are in one unit; what has none compares with nothing but itself."""
        return self.name == other.name or self.unit == other.unit != ""


def sequences_of(run: "DesignSet") -> Reference | None:
    """The reference, where it is one of sequences."""
    return run.reference if isinstance(run.reference, Reference) else None


def alphabet_of(run: "DesignSet") -> str:
    """The reference's alphabet; without one, the first known alphabet that the designs fit."""
    reference = sequences_of(run)
    if reference is not None:
        return reference.alphabet
    letters = set("".join(design for design in run.designs if isinstance(design, str)))
    for alphabet in ("ACGT", "ACGU", "ACDEFGHIKLMNPQRSTVWY"):
        if letters <= set(alphabet):
            return alphabet
    return "".join(sorted(letters))

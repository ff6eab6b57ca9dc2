"""What keeps a DNA sequence from being made: restriction sites, homopolymers, extreme GC, forbidden motifs.

    r(x) = - (number of problems in x)

0 means that a sequence can be ordered. Used alone it is a reward; inside a `Threshold` with `at_least: 0` it
is a filter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

import numpy as np

from gendesign.building import finite, whole
from gendesign.errors import ConfigError
from gendesign.rewards.base import Scores
from gendesign.rewards.dna import DNAReward, not_dna

IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC",
    "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")


class SynthesisProblems(DNAReward):
    """Minus the number of features that a synthesis provider refuses or a cloning step cannot stand.

    Args:
        sites: sites to avoid on both strands: names of restriction enzymes (`BsaI`, `EcoRI`) or IUPAC
            sequences (`GGTCTC`).
        forbidden: further sequences (IUPAC) to avoid, on the given strand only.
        max_homopolymer: longest allowed run of one letter; None = any.
        gc: (low, high): allowed GC fraction of every window; None = any.
        gc_window: letters in that window; None, or a design shorter than it = the whole design.
        prefix: constant sequence before the design, so that sites across the joint are seen.
        suffix: constant sequence after it.

    Raises:
        ConfigError: an unknown enzyme, a site that is not IUPAC, or a limit out of range.
    """

    unit = "problems"

    def __init__(
        self,
        *,
        sites: Sequence[str] = (),
        forbidden: Sequence[str] = (),
        max_homopolymer: int | None = None,
        gc: Sequence[float] | None = None,
        gc_window: int | None = None,
        prefix: str = "",
        suffix: str = "",
    ) -> None:
        self.name = "synthesis"
        self.patterns: dict[str, re.Pattern[str]] = {}
        for site in sites:
            sequence = site_sequence(site)
            self.patterns[site] = _pattern(sequence, sequence.translate(COMPLEMENT)[::-1])
        for sequence in forbidden:
            self.patterns[sequence] = _pattern(_iupac(sequence, sequence))
        self.max_homopolymer = None if max_homopolymer is None else whole("max_homopolymer", max_homopolymer)
        self.gc_window = None if gc_window is None else whole("gc_window", gc_window)
        self.gc: tuple[float, float] | None = None
        if gc is not None:
            if len(gc) != 2 or not 0 <= finite("gc", gc[0]) <= finite("gc", gc[1]) <= 1:
                raise ConfigError(f"gc must be two fractions 0 <= low <= high <= 1, got {gc!r}")
            self.gc = (float(gc[0]), float(gc[1]))
        self.prefix, self.suffix = _plain(prefix), _plain(suffix)
        if not self.patterns and self.max_homopolymer is None and self.gc is None:
            raise ConfigError(
                "SynthesisProblems has nothing to check; give sites, forbidden, max_homopolymer or gc"
            )

    def score(self, designs: Sequence[str]) -> Scores:
        problems = [self.problems(design) for design in designs]
        values = np.array([-float(len(found)) for found in problems])
        return Scores(values, message=tuple("; ".join(found) for found in problems))

    def problems(self, design: str) -> list[str]:
        """Each problem of a design and its place, counted from 1 (0 and below: in the prefix)."""
        text, offset = self.prefix + design + self.suffix, len(self.prefix)
        found = [
            f"{name} at {match.start() + 1 - offset}"
            for name, pattern in self.patterns.items()
            for match in pattern.finditer(text)
            if match.start() < offset + len(design)
            and match.end(1) > offset  # not within the constant context alone
        ]
        place = 1
        for letter, group in groupby(design):
            run = len(list(group))
            if self.max_homopolymer is not None and run > self.max_homopolymer:
                found.append(f"{run} {letter} in a row at {place}")
            place += run
        return found + self._gc_problems(design)

    def _gc_problems(self, design: str) -> list[str]:
        """At most one: the window furthest outside the allowed range."""
        if self.gc is None:
            return []
        width = min(self.gc_window or len(design), len(design))
        strong = np.array([letter in "GC" for letter in design], dtype=np.float64)
        fractions = np.convolve(strong, np.ones(width), mode="valid") / width
        outside = np.maximum(self.gc[0] - fractions, fractions - self.gc[1])
        worst = int(outside.argmax())
        if outside[worst] <= 1e-9:
            return []
        return [f"GC {fractions[worst]:.0%} in {width} letters at {worst + 1}"]


def site_sequence(site: str) -> str:
    """The recognition sequence (IUPAC) of an enzyme's name, or of a sequence the sequence itself.

    Raises:
        ConfigError: neither.
    """
    if not isinstance(site, str):
        raise ConfigError(f"expected the name of a restriction enzyme or a site such as GGTCTC, got {site!r}")
    if site and set(site) <= set(IUPAC):
        return site
    from Bio import Restriction  # heavy: all of REBASE

    enzyme = getattr(Restriction, site, None) if site.isidentifier() else None
    if enzyme is None or not hasattr(enzyme, "site"):
        raise ConfigError(
            f"expected a restriction enzyme such as BsaI or a site such as GGTCTC, got {site!r}"
        )
    return _iupac(str(enzyme.site), site)


def _iupac(sequence: str, given: str) -> str:
    if not sequence or not set(sequence) <= set(IUPAC):
        raise ConfigError(f"expected a DNA sequence of IUPAC letters, got {given!r}")
    return sequence


def _plain(sequence: str) -> str:
    if sequence != "" and not_dna(sequence):
        raise ConfigError(f"prefix and suffix: {not_dna(sequence)}")
    return sequence.upper()


def _pattern(*sequences: str) -> re.Pattern[str]:
    """Any of the sequences wherever it starts (look-ahead: matches may overlap); group 1 is the site."""
    choices = ("".join(f"[{IUPAC[letter]}]" for letter in sequence) for sequence in dict.fromkeys(sequences))
    return re.compile(f"(?=({'|'.join(choices)}))")

"""Sequences on the page: letters in colour, words and logo, copied stretches, composition."""

import itertools
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from markupsafe import Markup

from gendesign.designs import Design
from gendesign.metrics import summary as metrics
from gendesign.report.content import Content, Floats, Row, Words
from gendesign.report.likeness import likeness, logo
from gendesign.report.shown import NUCLEIC, Shown, alphabet_of, sequences_of
from gendesign.report.text import NONE, median, percent

COPIED = 25
"""Letters; two sequences of a yeast's genome that share so long a stretch share it by descent, not by chance."""


class Sequences(Content):
    """Text."""

    later = "sequences.html.jinja"
    two = "positions in which two designs differ, mean"
    from_training = "positions that differ from the nearest training sequence, median"
    nearest_said = "From nearest is the share of positions that differ from the nearest training sequence."

    @cached_property
    def alphabet(self) -> str:
        """Letters in order."""
        return alphabet_of(self.run)

    @property
    def words(self) -> Words:
        letter = "base" if set(self.alphabet) <= set("ACGTU") else "letter"
        return Words(letter, "letter", "length", "sequences", "natural sequences", "a lower bound")

    def variables(self) -> dict[str, Any]:
        return likeness(self.run, self.sets, self.alphabet) | logo(self.sets, self.alphabet)

    def show(self, design: Design) -> Markup:
        return coloured(str(design), self.alphabet)

    def distance(self, value: float) -> str:
        return percent(100 * value)

    def apart(self, value: float) -> str:
        return f"any two differ in {percent(100 * value)} of positions, mean"

    def missing(self) -> list[str]:
        if self.run.reference is None:
            return ["The backbone has no reference file, so nothing is compared with natural sequences."]
        return []

    def variety(self) -> Sequence[Row]:
        word = self.word

        def copies(one: Shown) -> str:
            known = one.novelty("longest_copied")
            known = known[np.isfinite(known)]
            return f"{copied(median(known), word)} (most {copied(known.max(), word)})" if len(known) else NONE

        def long_copies(one: Shown) -> str:
            values = one.novelty("longest_copied")
            return f"{(values >= COPIED).sum()} of {len(values)}" if np.isfinite(values).any() else NONE

        def gc(one: Shown) -> str:
            return percent(100 * _mean(metrics.gc_content(one.texts)))

        def runs(one: Shown) -> str:
            longest = metrics.longest_run(one.texts)
            return f"{np.median(longest):.0f} (most {longest.max()})" if len(longest) else NONE

        rows: list[Row] = [
            ("Longest copied stretch", "letters in a row that training may hold, median", copies),
            (f"Copies of {COPIED} letters or more", "designs with such a stretch", long_copies),
        ]
        if set(self.alphabet) <= set("ACGTU"):
            rows.append(("GC content", "share of G and C, mean", gc))
        return [*rows, ("Longest run of one letter", "median", runs)]

    @property
    def word(self) -> int:
        """Length of the shortest copied stretch that can be seen."""
        reference = sequences_of(self.run)
        return 16 if reference is None else reference.word

    def natural_cells(self) -> dict[str, str]:
        reference = sequences_of(self.run)
        facts = {} if reference is None else reference.natural_facts
        if not facts.get("num", 0) > 1:
            return {}
        cells = {"Distinct": f"{facts.get('distinct', np.nan):,.0f} of {facts['num']:,.0f}"}
        if "mean_distance" in facts:
            cells["Difference between two"] = percent(100 * facts["mean_distance"])
        if "gc" in facts:
            cells["GC content"] = percent(100 * facts["gc"])
        if {"median_run", "longest_run"} <= facts.keys():
            longest = f"{facts['median_run']:.0f} (most {facts['longest_run']:.0f})"
            cells["Longest run of one letter"] = longest
        return cells


def copied(length: float, word: int) -> str:
    """The length of a copied stretch as text; those shorter than a word are not seen."""
    if np.isnan(length):
        return NONE
    return f"{length:.0f}" if length >= word else f"< {word}"


def _mean(values: Floats) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def coloured(design: str, alphabet: str) -> Markup:
    """A design in groups of ten letters, runs of one base in one coloured element.

    Args:
        design: any text; it is escaped.
        alphabet: letters in order; only nucleotides are coloured.

    Returns:
        HTML whose text is the design, without added white space.
    """
    nucleic = set(alphabet) <= set(NUCLEIC)
    groups = []
    for start in range(0, len(design), 10):
        parts = []
        for letter, run in itertools.groupby(design[start : start + 10]):
            letters, colour = "".join(run), NUCLEIC.get(letter) if nucleic else None
            parts.append(
                Markup('<i class="{}">{}</i>').format(colour, letters) if colour else Markup.escape(letters)
            )
        groups.append(Markup("<span>{}</span>").format(Markup("").join(parts)))
    return Markup("").join(groups)

"""Sequence liabilities of proteins: short motifs that are glycosylated, degraded, or pair wrongly.

    r(x) = - (number of liabilities in x)

0 means that none was found. Motifs are regular expressions, and those that overlap all count. Used alone it is a
reward; inside a `Threshold` with `at_least: 0` it is a filter. A motif is a warning, not a measurement: whether a site
reacts depends on the fold.

Reference: Jarasch et al. 2015, Developability assessment during the selection of novel therapeutic antibodies,
doi 10.1002/jps.24430; N-glycosylation is PROSITE PS00001.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from gendesign.errors import ConfigError
from gendesign.rewards.base import Scores
from gendesign.rewards.protein import ProteinReward

MOTIFS = {
    "N-glycosylation": "N[^P][ST][^P]|N[^P][ST]$",
    "deamidation": "N[GS]",
    "isomerisation": "D[GS]",
    "cleavage": "DP",
    "oxidation": "[MW]",
    "cysteine": "C",
    "odd cysteine": "^[^C]*C(?:[^C]*C[^C]*C)*[^C]*$",
    "integrin binding": "RGD|LDV",
    "pyroglutamate": "^[QE]",
    "repeat": r"(.)\1{4}",
}
"""Liabilities by name: the asparagine of N-X-S/T without proline beside it; NG and NS; DG and DS; the acid-labile DP;
methionine and tryptophan; every cysteine; a cysteine too many for pairs (once a design); integrin motifs; a glutamine
or glutamate in front; five times the same residue."""


class SequenceLiabilities(ProteinReward):
    """Minus the number of liabilities.

    Args:
        kinds: which of `MOTIFS`; None = N-glycosylation, deamidation, isomerisation, cleavage and odd cysteine.
        patterns: further ones, a regular expression of upper-case letters by name.

    Raises:
        ConfigError: an unknown kind, a pattern that cannot be read or matches everywhere, or nothing to look for.
    """

    unit = "liabilities"

    def __init__(
        self, *, kinds: Sequence[str] | None = None, patterns: Mapping[str, str] | None = None
    ) -> None:
        self.name = "liabilities"
        if kinds is None:
            kinds = ("N-glycosylation", "deamidation", "isomerisation", "cleavage", "odd cysteine")
        unknown = [kind for kind in kinds if kind not in MOTIFS]
        if isinstance(kinds, str) or unknown:
            raise ConfigError(f"kinds must be some of {', '.join(MOTIFS)}; got {kinds!r}")
        if not isinstance(patterns, Mapping | None):
            raise ConfigError(f"patterns must be regular expressions by name, got {patterns!r}")
        chosen = {kind: MOTIFS[kind] for kind in kinds} | dict(patterns or {})
        if not chosen:
            raise ConfigError("SequenceLiabilities has nothing to look for; give kinds or patterns")
        # look-ahead: matches may overlap
        self.patterns = {name: _compiled(name, pattern) for name, pattern in chosen.items()}

    def score(self, designs: Sequence[str]) -> Scores:
        found = [self.sites(design) for design in designs]
        values = np.array([-float(len(sites)) for sites in found])
        return Scores(values, message=tuple("; ".join(sites) for sites in found))

    def sites(self, design: str) -> list[str]:
        """Each liability of a design and the residue where it begins, counted from 1."""
        return [
            f"{name} at {match.start() + 1}"
            for name, pattern in self.patterns.items()
            for match in pattern.finditer(design)
        ]


def _compiled(name: str, pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(f"(?=(?:{pattern}))")
        empty = re.compile(pattern).match("")
    except (re.error, TypeError) as error:
        raise ConfigError(
            f"the pattern of {name!r} is no regular expression: {error}; got {pattern!r}"
        ) from error
    if empty:
        raise ConfigError(
            f"the pattern of {name!r} matches the empty sequence, so it is everywhere: {pattern!r}"
        )
    return compiled

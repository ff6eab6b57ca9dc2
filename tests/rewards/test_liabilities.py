"""Liabilities: each motif found where it is, counted from 1, and not found where it is not."""

import numpy as np
import pytest

from gendesign.errors import ConfigError
from gendesign.rewards import SequenceLiabilities, Status, Threshold


@pytest.mark.parametrize(
    ("kind", "design", "sites"),
    [
        ("N-glycosylation", "ANFTA", [2]),
        ("N-glycosylation", "ANPTA", []),  # proline within
        ("N-glycosylation", "ANFTP", []),  # and after
        ("N-glycosylation", "ANFS", [2]),  # at the end
        ("N-glycosylation", "NNTSA", [1, 2]),  # overlapping
        ("deamidation", "NGNSNA", [1, 3]),
        ("isomerisation", "DGDSDP", [1, 3]),
        ("cleavage", "ADPDG", [2]),
        ("oxidation", "AMWA", [2, 3]),
        ("cysteine", "CACC", [1, 3, 4]),
        ("odd cysteine", "ACA", [1]),
        ("odd cysteine", "ACCA", []),
        ("odd cysteine", "CCC", [1]),
        ("odd cysteine", "AAA", []),
        ("integrin binding", "ARGDLDV", [2, 5]),
        ("pyroglutamate", "QEA", [1]),
        ("pyroglutamate", "AQE", []),
        ("repeat", "GAAAAAG", [2]),
        ("repeat", "GAAAAG", []),
    ],
)
def test_each_motif(kind: str, design: str, sites: list[int]) -> None:
    reward = SequenceLiabilities(kinds=[kind])
    scores = reward([design])
    assert scores.values[0] == -len(sites) and (sites or not np.signbit(scores.values[0]))  # 0, not -0
    assert scores.message[0] == "; ".join(f"{kind} at {site}" for site in sites)


def test_a_pattern_of_ones_own_and_as_a_filter() -> None:
    reward = SequenceLiabilities(kinds=[], patterns={"KK": "KK", "ends in K": "K$"})
    assert reward(["KKK", "AAA"]).values.tolist() == [-3.0, 0.0]
    clean = Threshold(reward, SequenceLiabilities(kinds=["cysteine"]), at_least=0.0)
    assert list(clean(["KKC", "KKA"]).status) == [Status.INVALID, Status.OK]


def test_several_kinds_add_up_and_no_protein_is_invalid() -> None:
    scores = SequenceLiabilities()(["NGTADPC", "AXA", "aax"])
    assert scores.values[0] == -4.0  # glycosylation and deamidation at 1, cleavage, one cysteine
    assert list(scores.status) == [Status.OK, Status.INVALID, Status.INVALID]


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="kinds"):
        SequenceLiabilities(kinds=["glycosylation"])
    with pytest.raises(ConfigError, match="kinds"):
        SequenceLiabilities(kinds="cysteine")
    with pytest.raises(ConfigError, match="nothing to look for"):
        SequenceLiabilities(kinds=[])
    with pytest.raises(ConfigError, match="regular expression"):
        SequenceLiabilities(patterns={"broken": "N["})
    with pytest.raises(ConfigError, match="everywhere"):
        SequenceLiabilities(patterns={"none": "A*"})

"""Synthesis problems: sites on both strands, runs, GC windows, and the joints to constant context."""

from typing import Any

import pytest

from gendesign.errors import ConfigError
from gendesign.rewards import GCContent, Status, SynthesisProblems, Threshold


@pytest.mark.parametrize(
    ("settings", "design", "problems"),
    [
        ({"sites": ["BsaI"]}, "AAGGTCTCAA", ["BsaI at 3"]),
        ({"sites": ["BsaI"]}, "AAGAGACCAA", ["BsaI at 3"]),  # the other strand
        ({"sites": ["GGTCTC"]}, "GGTCTCGAGACC", ["GGTCTC at 1", "GGTCTC at 7"]),
        ({"sites": ["EcoRI"]}, "GAATTC", ["EcoRI at 1"]),  # a palindrome is one site
        ({"sites": ["GANTC"]}, "GACTCGAGTC", ["GANTC at 1", "GANTC at 6"]),
        ({"forbidden": ["TATA"]}, "TATATA", ["TATA at 1", "TATA at 3"]),  # overlapping
        ({"forbidden": ["AAC"]}, "GTT", []),  # one strand only
        ({"max_homopolymer": 3}, "AAAACCCGGGG", ["4 A in a row at 1", "4 G in a row at 8"]),
        ({"gc": [0.3, 0.7]}, "ACGT", []),
        ({"gc": [0.3, 0.7]}, "AAAT", ["GC 0% in 4 letters at 1"]),
        ({"gc": [0.3, 0.7], "gc_window": 4}, "ACGTGGGGACGT", ["GC 100% in 4 letters at 5"]),
        (
            {"sites": ["EcoRI"], "prefix": "GAATTC", "suffix": "TTC"},
            "CCGAA",
            ["EcoRI at 3"],
        ),  # the context alone is not its fault
        ({"sites": ["BsaI"], "prefix": "ggtc"}, "TCAA", ["BsaI at -3"]),
    ],
)
def test_problems_and_their_places(settings: dict[str, Any], design: str, problems: list[str]) -> None:
    reward = SynthesisProblems(**settings)
    assert reward.problems(design) == problems
    scores = reward([design])
    assert scores.values.tolist() == [-float(len(problems))]
    assert scores.message == ("; ".join(problems),)


def test_as_a_filter() -> None:
    reward = Threshold(GCContent(), SynthesisProblems(sites=["BsaI"]), at_least=0.0)
    scores = reward(["GGTCTC", "GGTCAC", "XX"])
    assert list(scores.status) == [Status.INVALID, Status.OK, Status.INVALID]
    assert "BsaI at 1" in scores.message[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "nothing to check"),
        ({"sites": ["NoSuchEnzymeI"]}, "enzyme such as BsaI"),
        ({"sites": [""]}, "enzyme"),
        ({"forbidden": ["AXA"]}, "IUPAC"),
        ({"max_homopolymer": 0}, "max_homopolymer"),
        ({"gc": [0.7, 0.3]}, "gc must be"),
        ({"gc": [0.3, 0.7], "gc_window": 0}, "gc_window"),
        ({"max_homopolymer": 3, "prefix": "NN"}, "prefix"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SynthesisProblems(**settings)

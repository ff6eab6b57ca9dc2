"""A reward of designs that fit: everything but the status of the others is the reward's own."""

from __future__ import annotations

import torch

from gendesign.rewards.base import Status
from gendesign.rewards.composition import WeightedSum
from gendesign.rewards.dna import GCContent
from gendesign.rewards.fitting import Fitting


def departs(design: object) -> str:
    return "" if str(design).startswith("A") else "it does not begin with A"


def test_only_designs_that_fit_have_a_value() -> None:
    plain = GCContent()
    fitting = Fitting(plain, departs)
    designs = ["ACGT", "CCGT", "AXGT", "ACGT"]
    found, own = fitting(designs), plain(designs)
    assert found.status[1] == Status.INVALID and "begin with A" in found.message[1]
    assert found.status[2] == own.status[2] and found.message[2] == own.message[2]
    assert found.values[[0, 3]].tolist() == own.values[[0, 3]].tolist()
    assert (fitting.label, fitting.unit, fitting.differentiable) == (
        plain.label,
        plain.unit,
        plain.differentiable,
    )
    x = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 3]]), 4).double()
    assert torch.equal(fitting.relaxed(x), plain.relaxed(x))
    assert fitting.relaxed_moments(x)[1] is None
    assert fitting.to("cpu") is fitting and fitting.version == plain.version


def test_parts_fit_too() -> None:
    both = Fitting(WeightedSum([GCContent(), GCContent()]), departs)
    assert len(both.parts) == 2 and both.parts[0](["CCGT"]).status == (Status.INVALID,)

"""Equal states are found, whatever their length, and no others are taken for equal."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from gendesign.diffusion.masked import TokenPrediction
from gendesign.steering.particles import Particles
from gendesign.steering.sharing import match, packed


@pytest.mark.parametrize(("length", "ids"), [(1, 2), (3, 5), (20, 5), (21, 5), (80, 2), (70, 300)])
@pytest.mark.parametrize("in_time", [False, True])
@pytest.mark.parametrize("with_known", [False, True])
def test_equal_states_are_found(length: int, ids: int, in_time: bool, with_known: bool) -> None:
    noise = Generator().manual_seed(length)
    few = torch.randint(ids, (6, length), generator=noise)
    few[1:3] = few[0]
    few[1, 0] = few[2, -1] = (few[0, 0] + 1) % ids  # differ from another at one end only
    x, t = few[torch.randint(6, (40,), generator=noise)], torch.randint(2, (40,), generator=noise) / 3
    known = particles(few[[3, 0, 3]], torch.tensor([0.0, 1 / 3, 0.0]).to(t)) if with_known else None
    source, fresh = match(x, t, known, in_time=in_time)
    seen = [] if known is None else [key(a, b, in_time) for a, b in zip(known.x, known.t, strict=True)]
    asked = seen + [key(x[i], t[i], in_time) for i in fresh.tolist()]
    assert [asked[row] for row in source.tolist()] == [key(a, b, in_time) for a, b in zip(x, t, strict=True)]
    assert len(set(asked[len(seen) :])) == len(fresh) and not set(asked[len(seen) :]) & set(seen)


def particles(x: Tensor, t: Tensor) -> Particles:
    """Of which `match` reads x and t alone."""
    none, rows = torch.zeros(len(x)).double(), torch.arange(len(x))
    seen = TokenPrediction(torch.zeros(*x.shape, 4))
    return Particles(x, t, seen, none, torch.ones(len(x), dtype=torch.bool), rows, rows, none, none)


def key(x: Tensor, t: Tensor, in_time: bool) -> Any:
    return (*x.tolist(), t.item() if in_time else 0.0)


def test_rows_are_packed_one_to_one() -> None:
    every = torch.cartesian_prod(*[torch.arange(5)] * 5)
    assert len(packed(every).unique(dim=0)) == 5**5 and packed(every).shape == (5**5, 1)
    assert packed(torch.zeros(0, 3, dtype=torch.long)).shape[0] == 0
    long = torch.randint(5, (4, 200), generator=Generator().manual_seed(0))
    assert packed(long).shape == (4, 10)  # three bits a letter
    big = torch.full((2, 3), 2**61, dtype=torch.long)
    big[1, 1] -= 1
    assert packed(big).shape == (2, 3) and not torch.equal(*packed(big))

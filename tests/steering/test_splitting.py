"""Results do not depend on how work is split: to the bit, for every method, on tokens and on numbers.

The denoisers here are deterministic and compute in float64, row by row, so that every difference would be the
sampler's: rows a call, their order within a call, and the other designs of a run.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gendesign.diffusion.solvers import Churn, Heun
from gendesign.diffusion.unmasking import Ancestral, FirstHitting, KTokens
from gendesign.run import design
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.guidance import Guidance
from gendesign.steering.particles import make_plan
from gendesign.steering.proposals import PlugIn, VarianceAware
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.smc import SMC
from gendesign.steering.svdd import SVDD
from gendesign.steering.token_proposals import FirstOrder, MaskedExact
from gendesign.steering.unsteered import Unsteered
from gendesign.steering.value import PosteriorSamples

LETTERS = (0.4, 0.3, 0.2, 0.1)
EITHER: list[Steering] = [
    Unsteered(),
    BestOfN(candidates=4),
    BestOfN(candidates=4, selection="resample", alpha=0.5),
    SVDD(candidates=3, alpha=0.5),
    SVDD(candidates=3, selection="argmax"),
    SVDD(candidates=3, alpha=0.5, value=PosteriorSamples(2, soft=True)),
    SMC(particles=5, alpha=0.5),
    SMC(particles=5, alpha=0.5, resampling="multinomial", potential="max", keep="best"),
    Guidance(alpha=0.5),
]


def name_of(method: Any) -> str:
    parts = [
        type(part).__name__
        for part in vars(method).values()
        if not isinstance(part, int | float | str | None)
    ]
    return "-".join(
        [type(method).__name__, *parts, *(v for v in vars(method).values() if isinstance(v, str))]
    )


def shuffled(backbone: Any) -> None:
    """Let the network see the rows of each call in another order; what it says of each is put back in its place."""
    network = backbone.denoiser.forward

    def forward(x: Tensor, t: Any = None, cond: Any = None, mask: Any = None) -> Any:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(len(x)))
        back = order.argsort()
        said = network(x[order], None if t is None else t[order], cond, mask)
        return said[back] if isinstance(said, Tensor) else tuple(part[back] for part in said)

    backbone.denoiser.forward = forward


def same_however_split(backbone: Any, reward: Any, method: Steering) -> None:
    """One run with all rows at once, and others with a few rows a call and with rows in another order."""
    plan, num = make_plan(backbone, steps=4), 7
    sampler = method(backbone, reward)

    def run(rows: int) -> Any:
        noise = torch.Generator().manual_seed(3)
        return run_sampler(sampler, num, dataclasses.replace(plan, max_rows=rows), generator=noise)

    whole = run(1024)
    parts = run(3)
    shuffled(backbone)
    for other in (parts, run(1024)):
        for name in ("x", "value", "kl", "log_weight", "group", "ok"):
            mine, theirs = getattr(whole, name), getattr(other, name)
            assert torch.equal(mine.nan_to_num(nan=-7.0), theirs.nan_to_num(nan=-7.0)), name
        if isinstance(getattr(method, "proposal", None), MaskedExact):
            # equal designs among the neighbours of the states of one call are scored once
            other = dataclasses.replace(
                other, cost=dataclasses.replace(other.cost, reward_calls=whole.cost.reward_calls)
            )
        assert other.cost == whole.cost


@pytest.mark.whole
@pytest.mark.parametrize(
    "unmasking", [Ancestral(), FirstHitting(), KTokens(2)], ids=lambda u: type(u).__name__
)
@pytest.mark.parametrize(
    "method",
    [*EITHER, *(SVDD(3, 0.5, proposal=q) for q in (FirstOrder(), MaskedExact())),
     *(SMC(4, 0.5, proposal=q) for q in (FirstOrder(), MaskedExact())), Guidance(0.5, MaskedExact())],
    ids=name_of,
)  # fmt: skip
def test_tokens(make_arena: Any, random_law: Any, method: Any, unmasking: Any) -> None:
    arena = make_arena(
        random_law(4, 1), lambda design: design.count("A") - 0.3 * design.count("TT"), length=4, alpha=0.5,
        unmasking=unmasking,
    )  # fmt: skip
    if isinstance(getattr(method, "proposal", None), MaskedExact):
        method = dataclasses.replace(method, value=arena.exact_value())
    same_however_split(arena.backbone, arena.reward, method)


@pytest.mark.whole
@pytest.mark.parametrize("aug_dim", [2.0, math.inf])
@pytest.mark.parametrize(
    "method",
    [*EITHER, Unsteered(solver=Heun()), Unsteered(solver=Churn()), Guidance(0.5, PlugIn()),
     Guidance(0.5, solver=Heun()), *(SVDD(3, 0.5, proposal=q) for q in (PlugIn(), VarianceAware())),
     *(SMC(4, 0.5, proposal=q) for q in (PlugIn(), VarianceAware()))],
    ids=name_of,
)  # fmt: skip
def test_numbers(make_points_arena: Callable[..., Any], method: Any, aug_dim: float) -> None:
    points = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.5, 0], [0, 0, -2.0]], dtype=torch.float64)
    arena = make_points_arena(points, lambda y: y[0] + y[1], aug_dim=aug_dim, alpha=0.5)
    same_however_split(arena.moments, arena.reward, method)


@pytest.mark.whole
@pytest.mark.parametrize("method", EITHER, ids=name_of)
def test_blocks_know_nothing_of_each_other(make_arena: Any, random_law: Any, method: Any) -> None:
    """The first 64 designs are the same whatever follows, and a block is the same whatever came before."""
    arena = make_arena(random_law(3, 2), lambda design: float(design.count("A")), length=3, alpha=0.5)
    asked = [
        design(
            arena.backbone, arena.reward, method, num_designs=num, steps=3, base_designs=base, max_rows=rows
        )
        for num, base, rows in ((64, 0, 1024), (70, 3, 11), (134, 0, 64))
    ]
    assert asked[1].designs[:64] == asked[0].designs == asked[2].designs[:64]
    assert asked[0].designs != asked[2].designs[64:128]

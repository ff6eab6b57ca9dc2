"""Steering methods on continuous backbones: a finite set of points, where p* is a table."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator

from gendesign.diffusion.solvers import Euler, Heun
from gendesign.errors import UnsupportedError
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import run_sampler
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered

INF = math.inf
POINTS = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.5, 0], [0, 0, -2.0]], dtype=torch.float64)


def first(design: Any) -> Any:
    """A reward that is defined off the points too."""
    return design[0] + design[1]


@pytest.fixture(params=[2.0, 128.0, INF], ids=str)
def arena(request: pytest.FixtureRequest, make_points_arena: Callable[..., Any]) -> Any:
    p = torch.tensor([0.1, 0.5, 0.1, 0.3])
    return make_points_arena(POINTS, first, aug_dim=request.param, alpha=0.8, p=p)


@pytest.mark.whole
def test_svdd_with_exact_values_and_steps_approaches_the_target(arena: Any, tv: Callable[..., float]) -> None:
    """Its distance falls as candidates grow, to the Monte-Carlo floor; one candidate is the base."""
    num, distance = 3_000, {}
    for m in (1, 4, 64):
        method = SVDD(candidates=m, alpha=arena.alpha, value=arena.exact_value())
        frequencies = arena.frequencies(method, num, steps=4)
        distance[m] = tv(frequencies, arena.target)
        if m == 1:
            assert tv(frequencies, arena.p) < 0.02
    assert distance[1] > 2 * distance[4]
    assert distance[64] < 0.02 + arena.floor(num)
    assert distance[64] < distance[4] + arena.floor(num)


@pytest.mark.whole
def test_look_ahead_at_the_mean_is_biased(arena: Any, tv: Callable[..., float]) -> None:
    """SVDD-PM scores the posterior mean, between the points: better than the base, short of the exact value."""
    num = 1_000
    method = SVDD(candidates=12, alpha=arena.alpha)
    # the same exact steps in both arms, so that the grid has no part in it
    ahead = tv(arena.frequencies(method, num, steps=8), arena.target)
    exact = SVDD(candidates=12, alpha=arena.alpha, value=arena.exact_value())
    truth = tv(arena.frequencies(exact, num, steps=8), arena.target)
    base = tv(arena.p, arena.target)
    assert truth + 0.03 < ahead < 0.8 * base


@pytest.mark.whole
def test_best_of_n_by_importance(arena: Any, tv: Callable[..., float]) -> None:
    method = BestOfN(candidates=48, selection="resample", alpha=arena.alpha)
    frequencies = arena.frequencies(method, 1_500, steps=3)
    assert tv(frequencies, arena.target) < 0.02 + arena.floor(1_500)


@pytest.mark.whole
def test_a_huge_alpha_gives_the_base_back(arena: Any, tv: Callable[..., float]) -> None:
    method = SVDD(candidates=4, alpha=1e9)
    steered = arena.frequencies(method, 1_500, steps=8, exact=False)
    plain = arena.frequencies(Unsteered(), 1_500, steps=8, exact=False, seed=1)
    assert tv(steered, plain) < 0.05
    assert tv(arena.frequencies(method, 1_500, steps=4), arena.p) < 0.03


@pytest.mark.parametrize(("solver", "rows"), [(Euler(), 12), (Heun(), 23)])
def test_solvers_in_the_sampling_loop(arena: Any, solver: Any, rows: int, tv: Callable[..., float]) -> None:
    """Unsteered particles may take solver's steps; every network row is counted."""
    backbone, num = arena.moments, 4_000
    plan = make_plan(backbone, steps=12)
    final = run_sampler(Unsteered(solver=solver)(backbone), num, plan, generator=Generator().manual_seed(0))
    assert final.cost.network_rows == rows * num
    assert final.cost.network_rows <= Unsteered(solver=solver).bound(num, plan).network_rows
    frequency = torch.bincount(torch.cdist(final.x, POINTS).argmin(-1), minlength=4) / num
    assert tv(frequency.double(), arena.p) < (0.05 if isinstance(solver, Heun) else 0.12)


def test_a_solver_needs_a_flow(make_arena: Callable[..., Any]) -> None:
    masked = make_arena((0.4, 0.3, 0.2, 0.1), lambda x: 0.0, length=2, alpha=1.0)
    with pytest.raises(UnsupportedError, match="leave the solver out"):
        masked.sample(Unsteered(solver=Heun()), 2)


def test_a_seed_reproduces_and_costs_are_counted(arena: Any) -> None:
    plan = make_plan(arena.moments, steps=5)
    method = SVDD(candidates=3, alpha=0.5)
    runs = [
        run_sampler(method(arena.moments, arena.reward), 10, plan, generator=Generator().manual_seed(4))
        for _ in range(2)
    ]
    assert torch.equal(runs[0].x, runs[1].x)
    # the first states, and three candidates a step; the clean ones cost nothing
    assert runs[0].cost.network_rows == 10 + 3 * 10 * 4
    assert runs[0].cost.network_rows <= method.bound(10, plan).network_rows
    assert np.isfinite(runs[0].kl.numpy()).all() and (runs[0].kl >= 0).all()


def test_a_template_reaches_the_designs(arena: Any) -> None:
    """Given coordinates are kept by every method."""
    codec = arena.moments.codec
    template = torch.tensor([math.nan, math.nan, -2.0], dtype=torch.float64)
    codec.encode_template = lambda given: (given, ~given.isnan())
    for method in (Unsteered(), Unsteered(solver=Heun()), SVDD(candidates=3, alpha=1.0)):
        plan = make_plan(arena.moments, steps=8, template=template)
        final = run_sampler(
            method(arena.moments, arena.reward), 50, plan, generator=Generator().manual_seed(0)
        )
        torch.testing.assert_close(final.x[:, 2], torch.full((50,), -2.0).double())


def test_a_template_is_where_the_backbone_is(arena: Any) -> None:
    codec, elsewhere = arena.moments.codec, copy.copy(arena.moments)
    elsewhere._device = torch.device("meta")
    codec.encode_template = lambda given: (given, ~given.isnan())
    plan = make_plan(elsewhere, steps=2, template=torch.tensor([math.nan, math.nan, -2.0]))
    assert plan.template is not None and plan.template.is_meta

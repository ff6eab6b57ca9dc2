"""What is spent is counted: by networks, rewards and values alike, and never more than `bound` says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from gendesign.comparison.running import figures
from gendesign.diffusion.in_order import InOrder
from gendesign.diffusion.solvers import Heun
from gendesign.diffusion.unmasking import Ancestral, FirstHitting, KTokens
from gendesign.report.content import Words
from gendesign.report.tables import run_table
from gendesign.run import design, estimate_cost
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.guidance import Guidance
from gendesign.steering.particles import Cost, make_plan
from gendesign.steering.proposals import Base, PlugIn, VarianceAware
from gendesign.steering.sampler import run_sampler
from gendesign.steering.smc import SMC
from gendesign.steering.svdd import SVDD
from gendesign.steering.token_proposals import FirstOrder, MaskedExact
from gendesign.steering.unsteered import Unsteered
from gendesign.steering.value import PosteriorMode, PosteriorSamples, StateValue

LETTERS = (0.4, 0.3, 0.2, 0.1)
POINTS = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.5, 0]], dtype=torch.float64)


class Counted(StateValue):
    """A value that counts the states it is read of."""

    def __init__(self, *, time_conditioned: bool = False) -> None:
        self.time_conditioned = time_conditioned
        self.rows = 0

    def read(self, codec: Any, x: Tensor, t: Tensor, *, alpha: float) -> Tensor:
        self.rows += len(x)
        return x.double().sum(-1) * (t if self.time_conditioned else 0.3)


def counted(reward: Any) -> Any:
    """Count designs, and relaxed designs, where they are scored."""
    calls = {"designs": 0}
    score, relaxed = reward.score, reward.relaxed

    def score_counted(designs: Any) -> Any:
        calls["designs"] += len(designs)
        return score(designs)

    def relaxed_counted(x: Tensor) -> Tensor:
        calls["designs"] += len(x)
        return relaxed(x)

    reward.score, reward.relaxed = score_counted, relaxed_counted
    return calls


def count_a(design: str) -> float:
    return float(design.count("A"))


VALUES = [PosteriorMode(), PosteriorSamples(3), Counted(), Counted(time_conditioned=True)]
MASKED = [
    Unsteered(),
    BestOfN(candidates=3),
    *(SVDD(3, 0.2, value=v, proposal=q) for v in VALUES for q in (Base(), FirstOrder())),
    *(SMC(4, 0.2, value=v, proposal=q) for v in VALUES for q in (Base(), FirstOrder())),
    *(method(3, 0.2, value=v, proposal=MaskedExact()) for method in (SVDD, SMC) for v in VALUES[2:]),
    *(Guidance(0.2, MaskedExact(), value=v) for v in VALUES[2:]),
    Guidance(0.2),
]


def name_of(method: Any) -> str:
    parts = [getattr(method, part, None) for part in ("proposal", "value")]
    timed = "timed" if getattr(parts[1], "time_conditioned", False) else ""
    return "-".join([type(method).__name__, *(type(part).__name__ for part in parts if part)]) + timed


@pytest.mark.parametrize(
    "unmasking", [FirstHitting(), KTokens(2), Ancestral(), InOrder(3)], ids=lambda u: type(u).__name__
)
@pytest.mark.parametrize("method", MASKED, ids=name_of)
def test_masked(make_arena: Any, method: Any, unmasking: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.2, unmasking=unmasking)
    calls, value = counted(arena.reward), getattr(method, "value", None)
    for seed, template, steps in ((0, None, 7), (1, "*C*", 7), (2, None, 2), (3, None, 1)):
        calls["designs"], arena.denoiser.rows = 0, 0
        if isinstance(value, Counted):
            value.rows = 0
        spent = arena.sample(method, 5, steps=steps, seed=seed, template=template).cost
        assert spent.network_rows == arena.denoiser.rows
        assert spent.reward_calls == calls["designs"]
        assert spent.value_rows == (value.rows if isinstance(value, Counted) else 0)
        within(spent, method.bound(5, arena.plan(steps, template)))


CONTINUOUS = [
    Unsteered(),
    Unsteered(solver=Heun()),
    BestOfN(candidates=3),
    *(SVDD(3, 0.5, value=v, proposal=q) for v in VALUES for q in (Base(), VarianceAware())),
    *(SMC(4, 0.5, value=v, proposal=q) for v in VALUES for q in (Base(), PlugIn())),
    *(Guidance(0.5, q) for q in (None, PlugIn(), VarianceAware(iterations=3))),
    Guidance(0.5, solver=Heun()),
]


@pytest.mark.parametrize("method", CONTINUOUS, ids=name_of)
def test_continuous(make_points_arena: Callable[..., Any], method: Any) -> None:
    arena = make_points_arena(POINTS, lambda y: y[0] + y[1], aug_dim=128.0, alpha=0.5)
    calls, rows, value = counted(arena.reward), 0, getattr(method, "value", None)
    arena.moments.codec.relax = lambda x: x
    denoiser = arena.moments.denoiser
    forward = denoiser.forward

    def forward_counted(x: Tensor, *given: Any) -> Any:
        nonlocal rows
        rows += len(x)
        return forward(x, *given)

    denoiser.forward = forward_counted
    for steps in (6, 1):
        calls["designs"] = rows = 0
        if isinstance(value, Counted):
            value.rows = 0
        plan = make_plan(arena.moments, steps=steps)
        noise = Generator().manual_seed(0)
        spent = run_sampler(method(arena.moments, arena.reward), 5, plan, generator=noise).cost
        assert spent.network_rows == rows
        assert spent.value_rows == (value.rows if isinstance(value, Counted) else 0)
        # a Hessian-vector product counts as a call
        assert spent.reward_calls >= calls["designs"]
        within(spent, method.bound(5, plan))


def within(spent: Cost, bound: Cost) -> None:
    for currency in ("network_rows", "reward_calls", "value_rows"):
        assert getattr(spent, currency) <= getattr(bound, currency), currency


@pytest.mark.parametrize("unmasking", [FirstHitting(), Ancestral()], ids=lambda u: type(u).__name__)
@pytest.mark.parametrize(
    "method",
    [SVDD(3, value=Counted()), SMC(3, value=Counted()), Guidance(proposal=MaskedExact(), value=Counted())],
    ids=name_of,
)
def test_the_pilot_and_the_estimate(make_arena: Any, method: Any, unmasking: Any) -> None:
    """What chooses alpha is within its own bound, and an estimate covers both."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.2, unmasking=unmasking)
    method.value.rows = 0
    _, cost = method.pilot(arena.backbone, arena.reward, arena.plan(), generator=Generator().manual_seed(0))
    assert cost.value_rows == method.value.rows > 0
    within(cost, method.pilot_bound(arena.plan()))
    whole = estimate_cost(arena.backbone, method, num_designs=5, steps=8, base_designs=0)
    assert whole.value_rows == method.pilot_bound(arena.plan()).value_rows + (
        method.bound(5, arena.plan()).value_rows
    )


def test_bounds_are_reached(make_arena: Any) -> None:
    """One letter, one token a step, nothing to share: the bound of exact guidance is what it spends."""
    arena = make_arena(LETTERS, count_a, length=1, alpha=0.2)
    method = Guidance(0.2, MaskedExact(), value=Counted())
    spent, bound = arena.sample(method, 1).cost, method.bound(1, arena.plan())
    # the state itself; its four neighbours are designs
    assert (spent.network_rows, spent.reward_calls, spent.value_rows) == (1, 4, 1)
    assert (bound.network_rows, bound.reward_calls) == (1, 4) and bound.value_rows == 1 + 4


def test_in_order_only_states_that_a_step_can_reach_are_valued(make_arena: Any) -> None:
    """Four of them a look: one place, its four letters, and where the letter ends the design, all of the rest."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.2, unmasking=InOrder(3))
    seen: set[tuple[int, ...]] = set()

    class Seen(Counted):
        def read(self, codec: Any, x: Tensor, t: Tensor, *, alpha: float) -> Tensor:
            seen.update(tuple(row) for row in x.tolist())
            return super().read(codec, x, t, alpha=alpha)

    method = Guidance(0.2, MaskedExact(), value=Seen())
    spent, bound = arena.sample(method, 1).cost, method.bound(1, arena.plan())
    # (0, 0, 0) and its like are designs, which the reward scores
    assert all(row[place:] == (4,) * (3 - place) for row in seen for place in [row.index(4)])
    assert all(3 not in row for row in seen)
    assert spent.reward_calls <= bound.reward_calls == 2 + 4
    assert spent.value_rows <= bound.value_rows == 3 * (1 + 4)


def test_neighbours_are_not_read_twice_along_a_path(make_arena: Any) -> None:
    """On a random grid a particle's states have ever fewer masks, so that the bound does not grow with the grid."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.2, unmasking=Ancestral())
    method = Guidance(0.2, MaskedExact(), value=Counted())
    few, many = (method.bound(1, arena.plan(steps)) for steps in (8, 80))
    assert few.reward_calls == many.reward_calls == 4
    assert many.value_rows - few.value_rows == 72  # of the state itself, at most once a step


def test_a_value_that_depends_on_the_time_is_read_anew(make_arena: Any) -> None:
    """Guidance looks at an unchanged state again where its value may have changed."""
    arena = make_arena(LETTERS, count_a, length=2, alpha=0.2, unmasking=Ancestral())
    looks = []
    for timed in (False, True):
        method = Guidance(0.2, MaskedExact(), value=Counted(time_conditioned=timed))
        looks.append(arena.sample(method, 1, steps=12).cost.value_rows)
    assert looks[1] > looks[0]


def test_costs_add_up_and_read_well() -> None:
    both = Cost(1, 2, 3, 4.0, 5) + Cost(10, 20, 30, 40.0, 50)
    assert dataclasses.astuple(both) == (11, 22, 33, 44.0, 55)
    assert str(both) == "11 network evaluations, 22 reward calls, 55 value evaluations"
    assert str(Cost(1, 2)) == "1 network evaluations, 2 reward calls"
    assert math.isclose(both.seconds, 44.0)


def test_reports_and_comparisons_show_value_evaluations(make_arena: Any) -> None:
    """Where a value was read; other runs do not speak of it."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.2)
    method = Guidance(0.2, MaskedExact(), value=Counted())
    read, plain = (
        design(arena.backbone, arena.reward, one, num_designs=4, steps=3, base_designs=0)
        for one in (method, SVDD(2, 0.2))
    )
    assert figures(read)["value_evaluations"] == read.cost.value_rows / 4 > 0
    assert figures(plain)["value_evaluations"] is None
    words = Words("base", "base", "length", "sequences", "natural sequences", "a lower bound")
    labels = [[cost[0] for cost in run_table(run, words)["costs"]] for run in (read, plain)]
    assert "Value rows" in labels[0] and "Value rows" not in labels[1]

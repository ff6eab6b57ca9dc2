"""Best-of-N against its known law."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from gendesign.divergences import AlphaDivergence, ChiSquared, ReverseKL
from gendesign.errors import ConfigError
from gendesign.rewards.base import FunctionReward
from gendesign.steering.best_of_n import BestOfN

LETTERS = (0.4, 0.3, 0.2, 0.1)


def ranked(design: str) -> float:
    """A different reward for every design."""
    return float(sum("ACGT".index(letter) * 4**i for i, letter in enumerate(design)))


@pytest.mark.parametrize("n", [1, 2, 7])
def test_best_follows_the_law_of_the_maximum(make_arena: Any, tv: Any, n: int) -> None:
    """P(best = x) = F(r(x))^N - F(r(x)-)^N."""
    arena = make_arena(LETTERS, ranked, length=2, alpha=1.0)
    order = arena.r.argsort()
    upper = arena.p[order].cumsum(0)
    law = torch.zeros_like(arena.p)
    law[order] = upper**n - (upper - arena.p[order]) ** n
    assert tv(arena.frequencies(BestOfN(candidates=n), 8_000), law) <= arena.floor(8_000, law) + 0.01


@pytest.mark.whole
def test_resampling_approaches_the_target(make_arena: Any, tv: Any) -> None:
    arena = make_arena(LETTERS, lambda d: float(d.count("A")), length=2, alpha=0.5)
    distance = [
        tv(arena.frequencies(BestOfN(candidates=n, selection="resample", alpha=0.5), 2_000), arena.target)
        for n in (1, 4, 64)
    ]
    assert distance[0] > distance[1] > distance[2]
    assert distance[2] <= arena.floor(2_000) + 0.02


def test_cost_and_kl(make_arena: Any) -> None:
    arena = make_arena(LETTERS, ranked, length=2, alpha=1.0)
    final = arena.sample(BestOfN(candidates=5), 8)
    assert len(final) == 8 and final.group.tolist() == list(range(8))
    assert final.kl.tolist() == pytest.approx([math.log(5) - 4 / 5] * 8)
    bound = BestOfN(candidates=5).bound(8, arena.plan())
    assert final.cost.network_rows <= bound.network_rows and final.cost.reward_calls <= bound.reward_calls


@pytest.mark.parametrize("n", [4, 10, 100])
def test_the_pilot_compares_designs_of_one_template(make_arena: Any, n: int) -> None:
    """As they will compete: with several designs to start from, those of one differ by what is drawn alone."""
    arena = make_arena(LETTERS, lambda design: float("ACGT".index(design[0])), length=2, alpha=1.0)
    plan = replace(arena.plan(), template=torch.tensor([[0, 4], [3, 4]]))
    noise = torch.Generator().manual_seed(0)
    groups, cost = BestOfN(candidates=n, selection="resample").pilot(
        arena.backbone, arena.reward, plan, generator=noise
    )
    assert groups.shape == (64 // min(n, 64), min(n, 64)) and torch.equal(groups.amin(-1), groups.amax(-1))
    assert groups[:, 0].tolist() == [0.0, 3.0] * (len(groups) // 2) + [0.0] * (len(groups) % 2)
    assert cost.network_rows <= BestOfN(candidates=n).pilot_bound(plan).network_rows


def test_designs_that_cannot_be_scored_lose(make_arena: Any) -> None:
    arena = make_arena(LETTERS, ranked, length=2, alpha=1.0)
    arena.reward = FunctionReward(lambda d: float("nan") if "A" in d else 1.0, name="no_a", each=True)
    final = arena.sample(BestOfN(candidates=12), 50)
    assert final.ok.double().mean().item() > 0.9
    arena.reward = FunctionReward(lambda d: float("nan"), name="never", each=True)
    for method in (BestOfN(candidates=3), BestOfN(candidates=3, selection="resample", alpha=0.5)):
        final = arena.sample(method, 5)
        assert not final.ok.any() and final.kl.isfinite().all() and bool((final.x < 4).all())


def test_bad_settings_are_refused() -> None:
    for make in (
        lambda: BestOfN(candidates=0),
        lambda: BestOfN(alpha=0.0),
    ):
        with pytest.raises(ConfigError):
            make()


@pytest.mark.whole
@pytest.mark.parametrize("divergence", [None, ChiSquared(), AlphaDivergence(0.5)])
def test_resampling_approaches_the_best_law_of_its_divergence(
    make_arena: Any, tv: Any, divergence: Any
) -> None:
    arena = make_arena((0.4, 0.3, 0.2, 0.1), lambda design: float(design.count("A")), length=2, alpha=0.5)
    weights = (ReverseKL() if divergence is None else divergence).log_weights(arena.r, 0.5, arena.p.log())
    best = (arena.p.log() + weights).softmax(0)
    found = [tv(arena.frequencies(BestOfN(n, "resample", 0.5, divergence), 1_000), best) for n in (1, 96)]
    assert found[0] > 0.1 and found[1] < arena.floor(1_000, best) + 0.02

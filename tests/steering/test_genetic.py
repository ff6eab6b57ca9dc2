"""The genetic algorithm: it climbs, counts honestly, repeats itself, and leaves templates alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.models.tabular import TabularDenoiser
from gendesign.rewards.base import FunctionReward, Reward
from gendesign.run import design, estimate_cost
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.genetic import Breeder, Genetic

WANTED = "GATTACAGATT"


def backbone(length: int = 10, *, variable: bool = False) -> Backbone:
    """Letters drawn alike, and PAD, where there is one, at an end of its own choosing."""
    codec = DNACodec(length, variable=variable)

    class Uniform(TabularDenoiser):
        def __init__(self) -> None:
            super().__init__(codec.vocab_size, 1)

        def forward(self, x: Any, t: Any = None, cond: Any = None, mask: Any = None) -> torch.Tensor:
            logits = torch.zeros(*x.shape, codec.vocab_size, dtype=torch.float64)
            if variable:
                logits[:, : length // 2, -1] = logits[:, length // 2 :, :-1] = -20.0  # half as long as can be
            return logits

    return Backbone(codec, MaskedDiffusion(codec.vocab_size), Uniform())


def matches(designs: Any) -> list[float]:
    return [
        float(sum(a == b for a, b in zip(one, WANTED, strict=False)) - abs(len(one) - 10)) for one in designs
    ]


@pytest.fixture
def reward() -> Reward:
    return FunctionReward(matches, name="matches")


@pytest.mark.whole
@pytest.mark.parametrize("variable", [False, True])
def test_it_finds_the_best_of_a_million(reward: Reward, variable: bool) -> None:
    """4^10 strings, and with another length 20 times as many; 8,000 are scored. Draws alone end at 7 of 10."""
    setup: dict[str, Any] = {"num_designs": 32, "steps": 10, "base_designs": 0}
    run = design(backbone(variable=variable), reward, Genetic(population=4, generations=60), **setup)
    assert run.designs[0] == WANTED[:10] and run.values[0] == 10
    assert sorted(run.values, reverse=True) == list(run.values)
    assert len(set(run.designs)) == 32, "each design once"
    drawn = design(backbone(variable=variable), reward, BestOfN(candidates=244), **setup)
    assert max(drawn.values) < 10


def test_the_seed_is_all_that_matters(reward: Reward) -> None:
    first, again, other = (
        design(backbone(), reward, Genetic(generations=5), num_designs=8, steps=5, seed=seed, base_designs=0)
        for seed in (1, 1, 2)
    )
    assert first.designs == again.designs != other.designs


def test_costs_stay_within_the_bound_and_are_counted(reward: Reward) -> None:
    scored: list[str] = []
    heard = FunctionReward(lambda designs: scored.extend(designs) or matches(designs), name="heard")
    method = Genetic(population=3, generations=7)
    run = design(backbone(), heard, method, num_designs=6, steps=5, base_designs=0)
    most = estimate_cost(backbone(), method, num_designs=6, steps=5, base_designs=0)
    assert run.cost.network_rows <= most.network_rows == 6 * 3 * 5
    assert most.reward_calls == 6 * 3 * 8 + 6  # the designs are scored once more at the end
    assert run.cost.reward_calls == len(scored) - 6 <= 6 * 3 * 8
    assert len(set(scored)) == len(scored) - 6, "no design is paid for twice"


def test_what_cannot_be_scored_never_wins() -> None:
    strict = FunctionReward(lambda d: float("nan") if "A" in d else matches([d])[0], name="no A", each=True)
    run = design(backbone(), strict, Genetic(generations=30), num_designs=16, steps=5, base_designs=0)
    assert run.guide.ok.all() and not any("A" in one for one in run.designs)
    never = FunctionReward(lambda d: float("nan"), name="never", each=True)
    run = design(backbone(), never, Genetic(generations=2), num_designs=4, steps=5, base_designs=0)
    assert len(run.designs) == 4 and not run.guide.ok.any()


def test_few_designs_are_repeated_rather_than_made_up() -> None:
    run = design(backbone(1), FunctionReward(lambda d: 1.0, each=True), Genetic(), num_designs=9, steps=1)
    assert set(run.designs) <= set("ACGT") and len(run.designs) == 9


@pytest.mark.parametrize("variable", [False, True])
def test_templates_are_kept(reward: Reward, variable: bool) -> None:
    run = design(
        backbone(variable=variable),
        reward,
        Genetic(generations=40),
        num_designs=16,
        steps=10,
        template="**CC******",
        base_designs=0,
    )
    assert all(one[2:4] == "CC" for one in run.designs)
    assert run.values[0] == 8  # GATTACAGAT has TT where CC stands


def test_children_are_of_their_parents() -> None:
    noise = torch.Generator().manual_seed(0)
    rows = [[0] * 6 + [9, 9], [1] * 4 + [9] * 4]
    children = Breeder(rows, pad=9)(rows, 300, mutation=0.0, generator=noise)
    assert all(len(child) == 8 for child in children)
    for child in children:
        body = [token for token in child if token != 9]
        assert child == body + [9] * (8 - len(body)), "PAD fills the end only"
        assert body == sorted(body) or body == sorted(body, reverse=True), "one cut, two parents"
    assert {len([t for t in child if t != 9]) for child in children} >= {3, 5, 8}
    mutated = Breeder([[0, 0], [2, 2]], pad=None)([[0, 0]], 200, mutation=1.0, generator=noise)
    assert {tuple(child) for child in mutated} == {(0, 0), (0, 2), (2, 0)}


def test_nothing_comes_of_nothing() -> None:
    empty = [[4] * 3] * 2
    children = Breeder(empty, pad=4)(empty, 30, mutation=1.0, generator=torch.Generator().manual_seed(0))
    assert children == [[4] * 3] * 30


def test_it_is_refused_where_it_cannot_work(reward: Reward, make_points_arena: Any) -> None:
    arena = make_points_arena(torch.zeros(2, 2), lambda y: 0.0, aug_dim=1.0, alpha=1.0)
    with pytest.raises(UnsupportedError, match="BestOfN"):
        Genetic()(arena.moments, arena.reward)
    with pytest.raises(UnsupportedError, match="start="):
        design(backbone(), reward, Genetic(), num_designs=2, steps=2, start=["A" * 10], remask=3)
    with pytest.raises(UnsupportedError, match="reward"):
        Genetic()(backbone(), None)
    for bad in ({"population": 0}, {"generations": 0}, {"mutation": 1.5}):
        with pytest.raises(ConfigError):
            Genetic(**bad)  # type: ignore[arg-type]

"""SVDD against exactly known targets (Li et al. 2024, arXiv 2408.08252)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gendesign.diffusion.in_order import InOrder
from gendesign.diffusion.unmasking import Ancestral, FirstHitting, KTokens, Unmasking
from gendesign.divergences import ChiSquared
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards.base import FunctionReward
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered
from gendesign.steering.value import PosteriorMode, PosteriorSamples

LETTERS = (0.4, 0.3, 0.2, 0.1)


def count_a(design: str) -> float:
    return float(design.count("A"))


def is_acg(design: str) -> float:
    return 3.0 * (design == "ACG")


def motif(design: str) -> float:
    return 2.0 * design.startswith("CA") + design.count("G") * 0.7 - 1.5 * design.endswith("TT")


@pytest.mark.parametrize(("length", "reward"), [(3, is_acg), (3, count_a), (4, motif)])
def test_exact_values_converge_to_the_target_as_candidates_grow(
    make_arena: Any, random_law: Any, tv: Any, length: int, reward: Any
) -> None:
    """One token a step is exact: total variation falls with M, to within .02 of the Monte-Carlo floor."""
    law = random_law(length, 3) if reward is motif else LETTERS
    arena = make_arena(law, reward, length=length, alpha=0.5)
    num = 4_000
    distance = {}
    for m in (1, 4, 16, 64):
        method = SVDD(candidates=m, alpha=0.5, value=arena.exact_value())
        distance[m] = tv(arena.frequencies(method, num), arena.target)
    assert distance[1] > distance[4] > distance[16] > distance[64]
    assert distance[64] <= arena.floor(num) + 0.02
    assert distance[1] == pytest.approx(tv(arena.p, arena.target), abs=0.03)


@pytest.mark.whole
@pytest.mark.parametrize("unmasking", [FirstHitting(), KTokens(2), Ancestral(), InOrder()])
def test_large_alpha_gives_the_base_back(make_arena: Any, tv: Any, unmasking: Unmasking) -> None:
    """On independent letters every rule of unmasking is exact, so the base is p itself."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=1e9, unmasking=unmasking)
    steered = arena.frequencies(SVDD(candidates=5, alpha=1e9), 10_000)
    assert tv(steered, arena.p) <= arena.floor(10_000, arena.p) + 0.01


@pytest.mark.whole
def test_coarse_grids_have_an_error_of_their_own(make_arena: Any, random_law: Any, tv: Any) -> None:
    """On dependent letters, revealing several tokens a step is inexact even unsteered, and less so on finer grids."""
    law = torch.zeros(64, dtype=torch.float64) + 1e-3
    law[[0, 21, 42, 63]] = 1.0  # AAA, CCC, GGG, TTT
    law /= law.sum()
    coarse = tv(
        make_arena(law, count_a, length=3, alpha=1.0, unmasking=Ancestral()).frequencies(
            Unsteered(), 8_000, steps=1
        ),
        law,
    )
    fine = tv(
        make_arena(law, count_a, length=3, alpha=1.0, unmasking=Ancestral()).frequencies(
            Unsteered(), 8_000, steps=64
        ),
        law,
    )
    exact = tv(make_arena(law, count_a, length=3, alpha=1.0).frequencies(Unsteered(), 8_000), law)
    assert coarse > 0.8 and fine < 0.1 and exact < 0.03


def test_argmax_is_greedier_than_the_target(make_arena: Any) -> None:
    """The bias of argmax selection is measured, not hidden: it overshoots the target's reward."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    greedy = SVDD(candidates=10, alpha=0.5, selection="argmax", value=arena.exact_value())
    reached = (arena.frequencies(greedy, 5_000) * arena.r).sum().item()
    assert reached > 2.9 > 2.493760  # the target's mean reward


def test_mode_look_ahead_is_blind_where_the_mode_scores_nothing(make_arena: Any, tv: Any) -> None:
    """Until one position is left, mode look-ahead sees 0 everywhere; k samples see more."""
    arena = make_arena(LETTERS, is_acg, length=3, alpha=0.5)
    hit = arena.designs.index("ACG")
    mode = arena.frequencies(SVDD(candidates=8, alpha=0.5, value=PosteriorMode()), 4_000)[hit].item()
    samples = SVDD(candidates=8, alpha=0.5, value=PosteriorSamples(64, soft=True))
    assert mode < 0.35 < arena.frequencies(samples, 4_000)[hit].item() < arena.target[hit].item()


@pytest.mark.parametrize("unmasking", [FirstHitting(), KTokens(2), Ancestral(), InOrder(3)])
@pytest.mark.parametrize("method", [SVDD(candidates=3, alpha=0.5), Unsteered()])
def test_templates_are_honoured(make_arena: Any, unmasking: Unmasking, method: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=4, alpha=0.5, unmasking=unmasking)
    final = arena.sample(method, 64, template="*T*G")
    designs = arena.backbone.codec.decode(final.x)
    assert all(design[1] == "T" and design[3] == "G" for design in designs)
    assert len(set(designs)) > 4 and not any("*" in design for design in designs)


def test_same_seed_same_designs(make_arena: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=4, alpha=0.5)
    method = SVDD(candidates=3, alpha=0.5)
    first, again, other = (arena.sample(method, 64, seed=seed).x for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_batching_of_work_does_not_change_designs(make_arena: Any) -> None:
    from dataclasses import replace

    from gendesign.steering.sampler import run_sampler

    arena = make_arena(LETTERS, count_a, length=4, alpha=0.5, unmasking=Ancestral())
    sampler = SVDD(candidates=3, alpha=0.5)(arena.backbone, arena.reward)
    plans = [replace(arena.plan(), max_rows=rows) for rows in (1, 7, 1024)]
    results = [run_sampler(sampler, 32, plan, generator=torch.Generator().manual_seed(0)).x for plan in plans]
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_no_state_is_looked_at_twice(make_arena: Any) -> None:
    """Predictions: distinct states of a step that are not among its parents, and nothing for clean ones."""
    arena = make_arena(LETTERS, count_a, length=2, alpha=0.5)
    arena.denoiser.rows = 0
    final = arena.sample(SVDD(candidates=50, alpha=0.5), 100)
    # all masked: 1 state; one token: 8 states; clean: none
    assert final.cost.network_rows == arena.denoiser.rows == 9
    # distinct designs that look-aheads led to: 1 at the start, then each step scores each distinct one once
    assert final.cost.reward_calls <= 1 + 8 + 16


@pytest.mark.whole
def test_network_calls_of_the_ancestral_sampler(make_arena: Any) -> None:
    """T (1 - (1 - 1/T)^L) evaluations a sample when unchanged states are not asked about again."""
    arena = make_arena(LETTERS, count_a, length=4, alpha=0.5, unmasking=Ancestral())
    steps, total, runs = 16, 0, 64
    for seed in range(runs):
        total += arena.sample(Unsteered(), 1, steps=steps, seed=seed).cost.network_rows
    expected = steps * (1 - (1 - 1 / steps) ** 4)
    assert total / runs == pytest.approx(expected, rel=0.06)


@pytest.mark.whole
def test_kl_bound_holds_and_is_zero_for_the_base(make_arena: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    assert arena.sample(Unsteered(), 10).kl.sum().item() == 0
    method = SVDD(candidates=8, alpha=0.5, value=arena.exact_value())
    law = arena.frequencies(method, 20_000)
    exact = torch.where(law > 0, law * (law / arena.p).log(), 0.0).sum().item()
    bound = arena.sample(method, 2_000).kl.mean().item()
    assert exact <= bound <= exact + 0.5


@pytest.mark.parametrize("paths", [2, 5])
def test_the_best_path_of_a_design_is_kept(make_arena: Any, tv: Any, paths: int) -> None:
    """Where paths follow p itself (alpha -> inf), this is best-of-N: P(best = x) = F(r(x))^N - F(r(x)-)^N."""
    arena = make_arena(LETTERS, lambda d: motif(d) + 0.01 * d.count("C"), length=2, alpha=1e9)
    law = torch.zeros_like(arena.p)
    for i, r in enumerate(arena.r):
        upper, lower = arena.p[arena.r <= r].sum(), arena.p[arena.r < r].sum()
        law[i] = (upper**paths - lower**paths) * arena.p[i] / arena.p[arena.r == r].sum()
    method = SVDD(candidates=3, alpha=1e9, paths=paths)
    assert tv(arena.frequencies(method, 20_000), law) <= arena.floor(20_000, law) + 0.01
    final = arena.sample(method, 8)
    assert len(final) == 8 and final.group.tolist() == list(range(8))
    bound = method.bound(8, arena.plan())
    assert final.cost.network_rows <= bound.network_rows and final.cost.reward_calls <= bound.reward_calls
    assert bound == SVDD(candidates=3, alpha=1.0).bound(8 * paths, arena.plan())


def test_kl_bound_holds_for_the_best_of_several_paths(make_arena: Any) -> None:
    """Averaging over the choices within a step would hide what selecting the path costs."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    for selection in ("categorical", "argmax"):
        method = SVDD(3, 0.5, selection=selection, value=arena.exact_value(), paths=4)  # type: ignore[arg-type]
        law = arena.frequencies(method, 20_000)
        exact = torch.where(law > 0, law * (law / arena.p).log(), 0.0).sum().item()
        bound = arena.sample(method, 4_000).kl.mean().item()
        assert exact <= bound <= exact + 1.5


def test_a_path_that_cannot_be_scored_loses(make_arena: Any) -> None:
    arena = make_arena(LETTERS, lambda design: 0.0, length=2, alpha=0.5)
    arena.reward = FunctionReward(lambda d: float("nan") if "A" in d else -1.0, name="no_a", each=True)
    one, four = (arena.sample(SVDD(1, 0.5, paths=n), 100).ok.double().mean().item() for n in (1, 6))
    assert one < 0.6 and four > 0.8
    arena.reward = FunctionReward(lambda d: float("nan"), name="never", each=True)
    assert not arena.sample(SVDD(3, 0.5, paths=3), 5).ok.any()


def test_failed_look_aheads_inherit_and_failed_designs_lose(make_arena: Any) -> None:
    """A reward that cannot score designs with a T: no run stops, and no T survives where another candidate exists."""

    def no_t(design: str) -> float:
        if "T" in design:
            raise ValueError("no T, please")
        return float(design.count("A"))

    arena = make_arena(LETTERS, lambda design: 0.0, length=3, alpha=0.5)
    arena.reward = FunctionReward(no_t, name="no_t", each=True)
    final = arena.sample(SVDD(candidates=12, alpha=0.5), 200)
    designs = arena.backbone.codec.decode(final.x)
    assert final.cost.lookahead_failures > 0
    assert [("T" in design) for design in designs] == (~final.ok).tolist()
    arena = make_arena([*LETTERS], lambda design: 0.0, length=1, alpha=0.5)
    arena.reward = FunctionReward(no_t, name="no_t", each=True)
    assert arena.sample(SVDD(candidates=12, alpha=0.5), 200).ok.all()


def test_a_failed_look_ahead_has_its_parents_value(make_arena: Any) -> None:
    """Potential 1: the state is neither favoured nor punished, and the failure is counted."""
    arena = make_arena(LETTERS, lambda design: 0.0, length=2, alpha=0.5)
    arena.reward = FunctionReward(
        lambda d: float("nan") if "T" in d else 7.0 + d.count("C"), name="no_t", each=True
    )
    sampler, plan, noise = SVDD(alpha=0.5)(arena.backbone, arena.reward), arena.plan(), torch.Generator()
    parents = sampler.init(1, plan, generator=noise)  # the mode of everything masked is AA
    states = torch.tensor([[3, 4], [1, 4]])
    seen = sampler.children(parents, states, torch.zeros(2, dtype=torch.long), 0, plan, generator=noise)
    assert parents.value.tolist() == [7.0]
    assert seen.value.tolist() == [7.0, 8.0] and seen.ok.tolist() == [False, True]
    assert seen.cost.lookahead_failures == 1


def test_every_look_ahead_failing_leaves_the_base(make_arena: Any, tv: Any) -> None:
    arena = make_arena(LETTERS, lambda design: 0.0, length=3, alpha=0.5)
    arena.reward = FunctionReward(lambda design: float("nan"), name="never", each=True)
    final = arena.sample(SVDD(candidates=4, alpha=0.5), 50)
    assert not final.ok.any() and final.value.isnan().all() and final.kl.abs().max().item() < 1e-12


def test_tiny_alpha_does_not_overflow(make_arena: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=3, alpha=1e-12)
    final = arena.sample(SVDD(candidates=16, alpha=1e-12), 20)
    assert final.kl.isfinite().all() and (final.value == 3).double().mean().item() > 0.5


@pytest.mark.parametrize(
    "make",
    [
        lambda: SVDD(candidates=0),
        lambda: SVDD(paths=0),
        lambda: SVDD(alpha=0.0),
        lambda: SVDD(alpha=-1.0),
        lambda: SVDD(alpha=float("nan")),
        lambda: PosteriorSamples(0),
    ],
)
def test_bad_settings_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_binding_needs_a_reward_and_a_number(make_arena: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=2, alpha=0.5)
    with pytest.raises(UnsupportedError, match="needs a reward"):
        SVDD(alpha=1.0)(arena.backbone, None)
    with pytest.raises(ConfigError, match="auto"):
        SVDD()(arena.backbone, arena.reward)


def test_chi_squared_keeps_nearer_to_the_base_than_kl(make_arena: Any, tv: Any) -> None:
    """At the same price the ratio of a choice is bounded, so rare letters gain less."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    value = arena.exact_value()
    laws = [
        arena.frequencies(SVDD(candidates=8, alpha=0.5, value=value, divergence=divergence), 2_000)
        for divergence in (None, ChiSquared())
    ]
    assert tv(laws[1], arena.p) < tv(laws[0], arena.p)
    assert (laws[1] * arena.r).sum() > (arena.p * arena.r).sum() + 0.3

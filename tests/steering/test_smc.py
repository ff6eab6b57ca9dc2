"""SMC against exactly known targets (arXiv 2501.06848, 2306.17775), and its parts by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from gendesign.diffusion.in_order import InOrder
from gendesign.diffusion.twisted import TwistedReveals, twist
from gendesign.diffusion.unmasking import Ancestral, FactorisedTransition, FirstHitting, KTokens
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards.base import FunctionReward
from gendesign.run import design
from gendesign.steering.particles import make_plan
from gendesign.steering.proposals import Base, PlugIn, Proposal, VarianceAware
from gendesign.steering.resampling import effective_sample_size, resample
from gendesign.steering.sampler import run_sampler
from gendesign.steering.smc import SMC, log_normaliser
from gendesign.steering.svdd import SVDD
from gendesign.steering.token_proposals import FirstOrder, MaskedExact
from gendesign.steering.value import StateValue, Value, Valued

LETTERS = (0.4, 0.3, 0.2, 0.1)
DIFFERENCE, MAX, SUM = "difference", "max", "sum"


def count_a(design: str) -> float:
    return float(design.count("A"))


def motif(design: str) -> float:
    return 2.0 * design.startswith("CA") + design.count("G") * 0.7 - 1.5 * design.endswith("TT")


def log_z(arena: Any) -> float:
    return float((arena.p.log() + arena.r / arena.alpha).logsumexp(0))


# Potentials and weights --------------------------------------------------------------------------------------------


def weigh(method: SMC, arena: Any, path: Tensor) -> Tensor:
    """Log weights after each of the values of a path [T, P], the last one being the true reward."""
    sampler = method(arena.backbone, arena.reward)
    particles = sampler.init(1, arena.plan(), generator=Generator().manual_seed(0))
    zeros = torch.zeros(method.particles, dtype=torch.float64)
    start = -torch.inf if method.potential == MAX else 0.0
    particles = replace(particles, log_weight=zeros, state=torch.stack([zeros + start, zeros], -1))
    seen = []
    for i, value in enumerate(path):
        particles = sampler.weigh(replace(particles, value=value), 0.0, last=i + 1 == len(path))
        seen.append(particles.log_weight)
    return torch.stack(seen)


@pytest.mark.parametrize(("potential", "ess"), [(DIFFERENCE, 3.619560), (MAX, 3.719107), (SUM, 3.453614)])
def test_potentials(make_arena: Any, potential: Any, ess: float) -> None:
    """At lambda = 2: the second potential of a path, and what all of them multiply to."""
    arena = make_arena(LETTERS, count_a, length=2, alpha=0.5)
    method = SMC(particles=4, alpha=0.5, potential=potential)
    values = torch.tensor([[0.1, 0.4, 0.2, 0.0], [0.3, 0.2, 0.5, 0.1], [0.0, 0.0, 0.0, 0.0]]).double()
    log_w = weigh(method, arena, values)
    step = log_w[1] - log_w[0]
    assert effective_sample_size(step).item() == pytest.approx(ess, rel=1e-6)
    if potential == DIFFERENCE:
        expected = torch.tensor([0.286577, 0.128767, 0.350026, 0.234629], dtype=torch.float64)
        torch.testing.assert_close(step.softmax(0), expected, rtol=1e-5, atol=0)
    path = torch.tensor([0.2, 0.5, 0.3])[:, None].double()
    last = weigh(replace(method, particles=1), arena, path)[-1]
    assert last.exp().item() == pytest.approx(1.822119, rel=1e-6)


def test_twisted_proposal() -> None:
    """Base (.2, .15, .1, .05, mask .5), tilt exp(1, 0, -1, 0, 0)."""
    log_p = torch.tensor(LETTERS, dtype=torch.float64).log()[None, None]
    x, tilt = torch.tensor([[4]]), torch.tensor([1.0, 0.0, -1.0, 0.0], dtype=torch.float64)
    base = FactorisedTransition(log_p, x, torch.tensor([0.5], dtype=torch.float64))
    q = twist(base, tilt[None, None])
    assert isinstance(q, TwistedReveals)
    states = torch.arange(5)[:, None]
    log_q = torch.stack([q.log_prob(state[None]) for state in states]).squeeze()
    expected = torch.tensor([0.424584, 0.117147, 0.028731, 0.039049, 0.390489], dtype=torch.float64)
    torch.testing.assert_close(log_q.exp(), expected, rtol=2e-5, atol=0)
    ratio = torch.stack([base.log_prob(state[None]) for state in states]).squeeze() - log_q
    weights = torch.tensor([0.471049, 1.280444, 3.480609, 1.280444, 1.280444], dtype=torch.float64)
    torch.testing.assert_close(ratio.exp(), weights, rtol=1e-6, atol=0)
    drawn = q.sample(50_000, generator=Generator().manual_seed(0))
    frequency = torch.bincount(drawn.flatten(), minlength=5).double() / 50_000
    torch.testing.assert_close(frequency, expected, atol=8e-3, rtol=0)


@pytest.mark.parametrize("systematic", [True, False])
def test_resampling_is_unbiased(systematic: bool) -> None:
    log_w = torch.tensor([[0.0, 1.0, -torch.inf, 2.0], [0.5, 0.5, 0.5, -torch.inf]]).double()
    drawn = resample(log_w.repeat(20_000, 1), systematic=systematic, generator=Generator().manual_seed(0))
    counts = torch.nn.functional.one_hot(drawn, 4).double().sum(1).view(-1, 2, 4)
    torch.testing.assert_close(counts.mean(0), 4 * log_w.softmax(-1), atol=0.03, rtol=0)
    assert bool((drawn.diff(dim=-1) >= 0).all())
    if systematic:  # no index is drawn more or less often than P w, rounded
        assert bool(((counts - 4 * log_w.softmax(-1)).abs() < 1).all())


# The target --------------------------------------------------------------------------------------------------------


@pytest.mark.whole
@pytest.mark.parametrize("proposal", [Base(), MaskedExact(), FirstOrder()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("reward", [count_a, motif])
def test_every_proposal_converges_to_the_target(
    make_arena: Any, random_law: Any, tv: Any, proposal: Any, reward: Any
) -> None:
    """Exact values, difference potential, one token a step: total variation falls with P, to the floor + .02."""
    arena = make_arena(random_law(3, 3) if reward is motif else LETTERS, reward, length=3, alpha=0.5)
    num, distance = 1_500, {}
    for size in (1, 4, 32):
        method = SMC(particles=size, alpha=0.5, value=arena.exact_value(), proposal=proposal)
        distance[size] = tv(arena.frequencies(method, num), arena.target)
    assert distance[32] <= arena.floor(num) + 0.02
    if isinstance(proposal, MaskedExact):  # is the optimal transition: one particle suffices
        assert distance[1] <= arena.floor(num) + 0.02
    elif isinstance(proposal, Base):
        assert distance[1] > distance[4] > distance[32] and distance[1] > 0.2


def law_of(final: Any, num: int, length: int) -> Tensor:
    """The law that weighted groups of particles estimate."""
    index = (final.x * 4 ** torch.arange(length - 1, -1, -1)).sum(-1)
    weights = final.log_weight.view(num, -1).softmax(-1).flatten() / num
    return torch.zeros(4**length, dtype=torch.float64).index_add_(0, index, weights)


@pytest.mark.parametrize("unmasking", [FirstHitting(), KTokens(2), Ancestral(), InOrder()])
def test_weights_of_grids_and_looks_ahead(make_arena: Any, tv: Any, unmasking: Any) -> None:
    """Independent letters make coarse grids exact; the weights undo the bias of look-ahead and of the proposal."""
    arena = make_arena(LETTERS, motif, length=3, alpha=0.7, unmasking=unmasking)
    for proposal, resampling in ((Base(), "systematic"), (FirstOrder(), "multinomial")):
        method = SMC(particles=6_000, alpha=0.7, proposal=proposal, resampling=resampling, keep="weighted")
        final = arena.sample(method, 2, steps=6)
        assert tv(law_of(final, 2, 3), arena.target) <= arena.floor(2 * 6_000) + 0.02


def test_svdd_takes_proposals_too(make_arena: Any, tv: Any) -> None:
    arena = make_arena(LETTERS, motif, length=3, alpha=0.5)
    for proposal in (Base(), FirstOrder(), MaskedExact()):
        method = SVDD(candidates=32, alpha=0.5, proposal=proposal, value=arena.exact_value())
        assert tv(arena.frequencies(method, 1_500), arena.target) <= arena.floor(1_500) + 0.02


@pytest.mark.parametrize("potential", [DIFFERENCE, MAX, SUM])
@pytest.mark.parametrize("schedule", [None, (), (0, 1)])
def test_the_mean_weight_is_unbiased(make_arena: Any, potential: Any, schedule: Any) -> None:
    """E[Z-hat] = Z whatever the potential, resampled or not, at two letters and with biased values."""
    arena = make_arena(LETTERS, motif, length=2, alpha=0.7)
    method = SMC(particles=8, alpha=0.7, potential=potential, schedule=schedule)
    estimates = arena.sample(method, 6_000).log_weight.exp()
    error = estimates.std().item() / math.sqrt(len(estimates))
    assert abs(estimates.mean().item() - math.exp(log_z(arena))) < 4 * error
    assert error < 0.05 * math.exp(log_z(arena))


def degeneracy(make_arena: Any, tv: Any, *, length: int, size: int, num: int) -> dict[str, float]:
    """Mean distance of single groups from p*, over the number of A."""
    arena = make_arena(LETTERS, count_a, length=length, alpha=0.5)
    law = torch.zeros(length + 1, dtype=torch.float64).index_add_(0, arena.r.long(), arena.target)
    distance = {}
    for potential in (DIFFERENCE, MAX, SUM):
        value = arena.exact_value()
        method = SMC(size, 0.5, potential, ess_threshold=1.0, value=value, keep="weighted")
        final = arena.sample(method, num)
        counts = (final.x == 0).sum(-1).view(num, -1)
        each = torch.zeros(num, length + 1, dtype=torch.float64)
        each.scatter_add_(1, counts, final.log_weight.view(num, -1).softmax(-1))
        distance[potential] = sum(tv(one, law) for one in each) / num
    return distance


def test_max_and_sum_degenerate_with_steps(make_arena: Any, tv: Any) -> None:
    """Their last potential takes back what the others gave, ever more of it as steps grow."""
    short = degeneracy(make_arena, tv, length=2, size=400, num=8)
    long = degeneracy(make_arena, tv, length=5, size=400, num=8)
    assert long[DIFFERENCE] < 0.1 and min(long[SUM], long[MAX]) > 1.5 * long[DIFFERENCE]
    assert long[MAX] > 2 * short[MAX] and long[SUM] > 2 * short[SUM]


@pytest.mark.slow
def test_degeneracy_of_potentials_at_six_letters(make_arena: Any, tv: Any) -> None:
    """The same with 4096 particles: more of them do not help the sum."""
    distance = degeneracy(make_arena, tv, length=6, size=4096, num=8)
    assert distance[DIFFERENCE] < 0.03 < distance[MAX] < distance[SUM]


# Continuous --------------------------------------------------------------------------------------------------------

POINTS = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.5, 0], [0, 0, -2.0]], dtype=torch.float64)


@pytest.mark.whole
@pytest.mark.parametrize("aug_dim", [16.0, math.inf])
def test_points_with_exact_steps(make_points_arena: Callable[..., Any], tv: Any, aug_dim: float) -> None:
    p = torch.tensor([0.1, 0.5, 0.1, 0.3])
    arena = make_points_arena(POINTS, lambda y: y[0] + y[1], aug_dim=aug_dim, alpha=0.8, p=p)
    method = SMC(particles=64, alpha=0.8, value=arena.exact_value())
    assert tv(arena.frequencies(method, 3_000, steps=4), arena.target) <= arena.floor(3_000) + 0.02


class Ahead(Value):
    """The reward of the predicted mean: what `PosteriorMode` gives, without a detour over thousands of designs."""

    def __call__(
        self, reward: Any, codec: Any, x: Tensor, t: Tensor, prediction: Any, *, alpha: float, generator: Any
    ) -> Valued:
        mean = prediction.mode()
        return Valued(mean[:, 0] + mean[:, 1], torch.ones(len(x), dtype=torch.bool), len(x))


@pytest.mark.whole
@pytest.mark.parametrize(
    ("proposal", "aug_dim"),
    [(proposal, aug_dim) for proposal in (Base(), PlugIn(), VarianceAware()) for aug_dim in (16.0, math.inf)],
    ids=lambda given: type(given).__name__ if isinstance(given, Proposal) else f"{given:g}",
)
def test_points_with_guided_steps(
    make_points_arena: Callable[..., Any], tv: Any, proposal: Any, aug_dim: float
) -> None:
    """Weights undo the bias of look-ahead at the mean and of guidance, at finite D too, where its rule is wrong.

    What is left is the grid's (at D = inf .015 with T = 48, .005 with T = 192: benchmarks/arena_points.py) and chance,
    which falls with the size of a group.
    """
    p = torch.tensor([0.1, 0.5, 0.1, 0.3])
    arena = make_points_arena(POINTS, lambda y: y[0] + y[1], aug_dim=aug_dim, alpha=0.8, p=p)
    groups, size = 8, 1_500
    method = SMC(particles=size, alpha=0.8, proposal=proposal, value=Ahead(), keep="weighted")
    sampler, plan = method(arena.moments, arena.reward), make_plan(arena.moments, steps=96)
    final = run_sampler(sampler, groups, plan, generator=Generator().manual_seed(0))
    nearest = torch.cdist(final.x, POINTS).argmin(-1)
    weights = final.log_weight.view(groups, -1).softmax(-1).flatten() / groups
    law = torch.zeros(4, dtype=torch.float64).index_add_(0, nearest, weights)
    assert tv(law, arena.target) <= arena.floor(groups * size) + 0.02


# Behaviour ---------------------------------------------------------------------------------------------------------


def test_one_particle_is_the_base(make_arena: Any, tv: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    final = arena.sample(SMC(particles=1, alpha=0.5), 1_000)
    assert final.kl.abs().max().item() < 1e-9
    torch.testing.assert_close(final.log_weight, final.value / 0.5)
    assert (
        tv(arena.frequencies(SMC(particles=1, alpha=0.5), 5_000), arena.p)
        <= arena.floor(5_000, arena.p) + 0.01
    )


def test_huge_alpha_is_the_base_and_tiny_alpha_does_not_overflow(make_arena: Any, tv: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    for proposal in (Base(), FirstOrder()):
        loose = SMC(particles=5, alpha=1e12, proposal=proposal)
        assert tv(arena.frequencies(loose, 4_000), arena.p) <= arena.floor(4_000, arena.p) + 0.01
        tight = SMC(particles=5, alpha=1e-12, proposal=proposal)
        final = arena.sample(tight, 50)
        assert final.kl.isfinite().all() and (final.value == 3).double().mean().item() > 0.5


def test_particles_of_a_design_stay_together(make_arena: Any) -> None:
    """Resampling never mixes designs, and ancestry says who came from whom."""
    arena = make_arena(LETTERS, count_a, length=4, alpha=0.2)
    method = SMC(particles=6, alpha=0.2, ess_threshold=1.0, keep="weighted")
    sampler, plan = method(arena.backbone, arena.reward), arena.plan()
    noise = Generator().manual_seed(0)
    particles = sampler.init(5, plan, generator=noise)
    merged = False
    for step in range(plan.steps):
        before = particles
        particles = sampler.step(particles, step, plan, generator=noise)
        assert torch.equal(before.group[particles.ancestor], particles.group)
        kept = before.x[particles.ancestor]
        assert bool(((kept == particles.x) | (kept == 4)).all())
        merged |= len(particles.ancestor.unique()) < len(particles)
    final = sampler.finish(particles, plan, generator=noise)
    assert merged and len(final) == 30
    assert torch.equal(final.group, torch.arange(5).repeat_interleave(6))


def test_batching_of_work_does_not_change_designs(make_arena: Any) -> None:
    """Particles need not be a multiple of the rows a call."""
    arena = make_arena(LETTERS, motif, length=4, alpha=0.5, unmasking=Ancestral())
    for proposal in (Base(), FirstOrder(), MaskedExact()):
        method = SMC(particles=7, alpha=0.5, proposal=proposal, value=arena.exact_value())
        sampler = method(arena.backbone, arena.reward)
        plans = [replace(arena.plan(), max_rows=rows) for rows in (1, 5, 1024)]
        runs = [run_sampler(sampler, 9, plan, generator=Generator().manual_seed(3)).x for plan in plans]
        assert torch.equal(runs[0], runs[1]) and torch.equal(runs[1], runs[2])


def test_one_evaluation_a_step_and_particle(make_arena: Any, make_points_arena: Callable[..., Any]) -> None:
    arena = make_points_arena(POINTS, lambda y: y[0], aug_dim=math.inf, alpha=1.0)
    plan = make_plan(arena.moments, steps=5)
    for proposal in (Base(), PlugIn(), VarianceAware()):
        method = SMC(particles=3, alpha=1.0, proposal=proposal)
        cost = run_sampler(
            method(arena.moments, arena.reward), 4, plan, generator=Generator().manual_seed(0)
        ).cost
        assert cost.network_rows == 12 * 5  # the last states are clean
        bound = method.bound(4, plan)
        assert cost.network_rows <= bound.network_rows and cost.reward_calls <= bound.reward_calls
    masked = make_arena(LETTERS, count_a, length=4, alpha=0.5)
    method = SMC(particles=8, alpha=0.5)
    final = masked.sample(method, 16)
    assert final.cost.network_rows <= method.bound(16, masked.plan()).network_rows == 16 * 8 * 4


def test_keeping_the_best_is_greedier(make_arena: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    mean = (arena.target * arena.r).sum().item()
    final = arena.sample(SMC(particles=8, alpha=0.5, keep="best", value=arena.exact_value()), 500)
    assert final.value.mean().item() > mean + 0.2
    assert final.kl.mean().item() > (arena.target * (arena.target / arena.p).log()).sum().item()


def test_kl_is_bounded_from_above(make_arena: Any) -> None:
    """Kept particles follow p*, whose divergence from p is known: the estimate is above it, and close."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    exact = (arena.target * (arena.target / arena.p).log()).sum().item()
    law = arena.frequencies(SMC(particles=4, alpha=0.5), 4_000)
    reached = torch.where(law > 0, law * (law / arena.p).log(), 0.0).sum().item()
    for size, low in ((4, reached), (64, exact)):
        estimate = arena.sample(SMC(particles=size, alpha=0.5), 400).kl
        error = 3 * estimate.std().item() / math.sqrt(400)
        assert low - error < estimate.mean().item() < low + error + 4 / size


def test_failed_look_aheads_inherit_and_failed_designs_lose(make_arena: Any) -> None:
    """Potential 1: a state that cannot be valued is neither favoured nor punished; a final design without score is."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    arena.reward = FunctionReward(lambda d: float("nan") if "T" in d else 1.0 + d.count("C"), each=True)
    final = arena.sample(SMC(particles=12, alpha=0.5), 200)
    assert final.ok.all() and final.cost.lookahead_failures > 0 and final.log_weight.isfinite().all()
    arena.reward = FunctionReward(lambda design: float("nan"), each=True)
    never = arena.sample(SMC(particles=4, alpha=0.5), 20)
    assert not never.ok.any() and never.kl.abs().max().item() < 1e-9


def test_the_normaliser_is_at_hand(make_arena: Any) -> None:
    arena = make_arena(LETTERS, motif, length=3, alpha=0.7)
    final = arena.sample(SMC(particles=4_000, alpha=0.7, keep="weighted"), 2)
    each = log_normaliser(final.log_weight.view(2, -1))
    assert each.tolist() == pytest.approx([log_z(arena)] * 2, abs=0.1)
    kept = arena.sample(SMC(particles=4_000, alpha=0.7), 2)
    torch.testing.assert_close(kept.log_weight, each)


def test_templates_are_honoured(make_arena: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=4, alpha=0.5)
    for proposal in (Base(), FirstOrder(), MaskedExact()):
        method = SMC(particles=4, alpha=0.5, proposal=proposal, value=arena.exact_value())
        designs = arena.backbone.codec.decode(arena.sample(method, 32, template="*T*G").x)
        assert all(design[1] == "T" and design[3] == "G" for design in designs) and len(set(designs)) > 2


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SMC(particles=0), "particles"),
        (lambda: SMC(alpha=-1.0), "alpha"),
        (lambda: SMC(ess_threshold=1.5), "ess_threshold"),
        (lambda: SMC(schedule=[-1]), "schedule"),
    ],
)
def test_bad_settings_are_refused(make: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make()


def test_what_is_missing_is_said(make_arena: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=2, alpha=0.5)
    with pytest.raises(UnsupportedError, match="needs a reward"):
        SMC(alpha=1.0)(arena.backbone, None)
    with pytest.raises(UnsupportedError, match="continuous"):
        SMC(alpha=1.0, proposal=PlugIn())(arena.backbone, arena.reward)
    with pytest.raises(UnsupportedError, match="differentiable"):
        black_box = FunctionReward(count_a, each=True)
        SMC(alpha=1.0, proposal=FirstOrder())(arena.backbone, black_box)
    with pytest.raises(UnsupportedError, match="reads states"):
        arena.sample(SMC(alpha=1.0, proposal=MaskedExact()), 2)
    with pytest.raises(UnsupportedError, match="keep='resample'"):
        design(arena.backbone, arena.reward, SMC(alpha=1.0, keep="weighted"), num_designs=2)


def test_a_design_belongs_to_its_block(make_arena: Any) -> None:
    """However many designs are asked for, the first 64 are the same."""
    arena = make_arena(LETTERS, motif, length=3, alpha=0.5)
    method = SMC(particles=3, alpha=0.5)
    few, many = (
        design(arena.backbone, arena.reward, method, num_designs=num, steps=3, base_designs=0)
        for num in (64, 70)
    )
    assert many.designs[:64] == few.designs and few.alpha == 0.5
    assert many.cost.network_rows <= many.estimate.network_rows


class MeanValue(StateValue):
    """E[r | x_t], from the table."""

    def __init__(self, arena: Any) -> None:
        joint = arena.denoiser.joint
        self.table, self.denoiser = (joint * arena.r).sum(-1) / joint.sum(-1), arena.denoiser

    def read(self, codec: Any, x: Tensor, t: Tensor, *, alpha: float) -> Tensor:
        return self.table[self.denoiser.index(x)]


def test_mean_values_bias_svdd_and_not_smc(make_arena: Any, tv: Any) -> None:
    """The mean underrates states that lead to something rare and good; the last potential makes up for it in SMC."""
    arena = make_arena(LETTERS, lambda design: 3.0 * (design == "ACG"), length=3, alpha=0.5)
    num, hit = 800, arena.designs.index("ACG")
    svdd = arena.frequencies(SVDD(candidates=24, alpha=0.5, value=MeanValue(arena)), num)
    smc = arena.frequencies(SMC(particles=128, alpha=0.5, value=MeanValue(arena)), num)
    assert svdd[hit] < 0.75 < arena.target[hit]
    assert tv(smc, arena.target) <= arena.floor(num) + 0.02

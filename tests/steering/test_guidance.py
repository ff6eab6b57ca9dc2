"""Guidance, and the proposals that it shares with SMC: exact cases, and measured biases."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.diffusion.exact import GaussianMixture
from gendesign.diffusion.in_order import InOrder
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.solvers import Heun
from gendesign.diffusion.unmasking import Ancestral, KTokens
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards.base import DifferentiableReward, FunctionReward
from gendesign.steering.guidance import Guidance
from gendesign.steering.particles import make_plan
from gendesign.steering.proposals import Base, GuidedMean, PlugIn, Target, VarianceAware
from gendesign.steering.sampler import run_sampler
from gendesign.steering.token_proposals import FirstOrder, MaskedExact
from gendesign.steering.unsteered import Unsteered

LETTERS = (0.4, 0.3, 0.2, 0.1)
INF = math.inf


def count_a(design: str) -> float:
    return float(design.count("A"))


def is_acg(design: str) -> float:
    return 3.0 * (design == "ACG")


class Quadratic(DifferentiableReward):
    """log N(x; 1, .25) up to a constant: the policy of the exact cases."""

    name = "quadratic"

    def score(self, designs: Any) -> Any:
        return [float((-2.0 * (np.asarray(d) - 1.0) ** 2).sum()) for d in designs]

    def relaxed(self, x: Tensor) -> Tensor:
        return (-2.0 * (x - 1.0) ** 2).sum(-1)


@pytest.fixture
def normal(make_points_arena: Callable[..., Any]) -> Backbone:
    """Standard normal behaviour, D = inf, with its exact mean and variance."""
    points = make_points_arena(torch.zeros(1, 1), lambda y: y[0], aug_dim=INF, alpha=1.0)
    denoiser = GaussianMixture(torch.zeros(1, 1), torch.ones(1), INF)
    return Backbone(points.moments.codec, PoissonFlow(INF, sigma_data=1.0), denoiser)


@pytest.mark.parametrize(("rule", "expected"), [(VarianceAware(), 0.8333333), (PlugIn(), 2.54)])
def test_row_29_guided_means(normal: Backbone, rule: Any, expected: float) -> None:
    """At sigma = 2, x = 1.5: unguided .3; exactly tilted and variance-aware .8333333; plug-in 2.54."""
    x, sigma = torch.tensor([[1.5]]).double(), torch.tensor([2.0]).double()
    found = rule.predict(Target(normal, Quadratic(), 1.0), x, sigma)
    assert found.mean.item() == pytest.approx(0.3, rel=1e-6)
    assert found.moved().mean.item() == pytest.approx(expected, rel=1e-6)


def test_row_29_a_product_of_normals(normal: Backbone) -> None:
    """The product of behaviour and policy has mean .8 and deviation .4472, whatever the number of steps."""
    for solver, steps in ((Heun(), 16), (Heun(), 48), (None, 192)):
        method = Guidance(alpha=1.0, proposal=VarianceAware(sigma_floor=0.002), solver=solver)
        plan = make_plan(normal, steps=steps)
        final = run_sampler(method(normal, Quadratic()), 1_500, plan, generator=Generator().manual_seed(0))
        assert final.x.mean().item() == pytest.approx(0.8, abs=0.04)
        assert final.x.std().item() == pytest.approx(0.4472, abs=0.03)


def test_row_25_the_gaussian_rule_is_biased_at_finite_d(make_points_arena: Callable[..., Any]) -> None:
    """A tilt of w = (3, 1) on two points: the exact change of the mean at D = 16 is .3116544832; moving the mean by
    sigma^2 grad log h gives .31523657; at D = inf both are .3194192976."""
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    x, sigma = torch.tensor([[0.5, 0.3]]).double(), torch.tensor([1.0]).double()
    for aug_dim, rule, exact in ((16.0, 0.31523657, 0.3116544832), (INF, 0.3194192976, 0.3194192976)):
        arena = make_points_arena(points, lambda y: y[0], aug_dim=aug_dim, alpha=1.0)
        denoiser = arena.moments.denoiser
        with torch.enable_grad():
            leaf = x.clone().requires_grad_()
            h = (denoiser.log_posterior(leaf, sigma) + torch.tensor([3.0, 1.0]).double().log()).logsumexp(-1)
            (gradient,) = torch.autograd.grad(h.sum(), leaf)
        tilted = denoiser.log_posterior(x, sigma).exp() * torch.tensor([3.0, 1.0])
        change = (tilted / tilted.sum() @ denoiser.points - denoiser(x, sigma)[0])[0, 0].item()
        assert change == pytest.approx(exact, rel=1e-6)
        assert gradient[0, 0].item() == pytest.approx(rule, rel=1e-6)


@pytest.mark.parametrize(("reward", "alpha"), [(count_a, 0.5), (is_acg, 0.5)])
def test_exact_masked_guidance_is_the_target(make_arena: Any, tv: Any, reward: Any, alpha: float) -> None:
    """One token a step with the exact soft value: no particle, no weight, and no bias."""
    arena = make_arena(LETTERS, reward, length=3, alpha=alpha)
    method = Guidance(alpha=alpha, proposal=MaskedExact(), value=arena.exact_value())
    assert tv(arena.frequencies(method, 6_000), arena.target) <= arena.floor(6_000) + 0.01


def test_first_order_is_exact_for_sums_and_blind_to_products(make_arena: Any, tv: Any) -> None:
    """A sum over independent letters is linear in their probabilities; ACG alone is not, and is missed."""
    sums = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    rule = Guidance(alpha=0.5, proposal=FirstOrder())
    assert tv(sums.frequencies(rule, 6_000), sums.target) <= sums.floor(6_000) + 0.01
    product = make_arena(LETTERS, is_acg, length=3, alpha=0.5)
    hit = product.frequencies(rule, 4_000)[product.designs.index("ACG")].item()
    assert 0.05 < hit < 0.6 < product.target[product.designs.index("ACG")].item()


@pytest.mark.parametrize("unmasking", [KTokens(2), Ancestral(), InOrder()])
def test_other_rules_of_unmasking(make_arena: Any, tv: Any, unmasking: Any) -> None:
    """On independent letters and a sum, tilting each revealed token is exact; on a grid, up to its own error."""
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5, unmasking=unmasking)
    for rule in (FirstOrder(), MaskedExact()):
        method = Guidance(alpha=0.5, proposal=rule, value=arena.exact_value())
        assert tv(arena.frequencies(method, 4_000, steps=24), arena.target) <= arena.floor(4_000) + 0.05


def test_the_default_rule_fits_the_backbone(make_arena: Any, normal: Backbone) -> None:
    masked = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    tokens = Guidance(alpha=0.5)(masked.backbone, masked.reward).proposal
    numbers = Guidance(alpha=0.5)(normal, Quadratic()).proposal
    assert isinstance(tokens, FirstOrder) and isinstance(numbers, VarianceAware)


def test_mean_guidance_biases_are_measured(make_points_arena: Callable[..., Any], tv: Any) -> None:
    """Both continuous rules raise the reward and miss p*: weights are what makes them exact (test_smc)."""
    points = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.5, 0], [0, 0, -2.0]])
    p = torch.tensor([0.1, 0.5, 0.1, 0.3])
    arena = make_points_arena(points, lambda y: y[0] + y[1], aug_dim=INF, alpha=0.8, p=p)
    base = tv(arena.p, arena.target)
    for rule in (PlugIn(), VarianceAware()):
        frequencies = arena.frequencies(Guidance(alpha=0.8, proposal=rule), 600, steps=32, exact=False)
        assert (frequencies * arena.r).sum() > (arena.p * arena.r).sum() + 0.3
        assert 0.02 < tv(frequencies, arena.target) < base


@pytest.mark.parametrize("solver", [None, Heun()])
def test_a_huge_alpha_gives_the_base_back(normal: Backbone, solver: Any) -> None:
    method = Guidance(alpha=1e12, solver=solver)
    plan = make_plan(normal, steps=24)
    final = run_sampler(method(normal, Quadratic()), 50, plan, generator=Generator().manual_seed(0))
    plain = Unsteered(solver=solver)(normal)
    torch.testing.assert_close(final.x, run_sampler(plain, 50, plan, generator=Generator().manual_seed(0)).x)
    assert final.kl.isnan().all() if solver else final.kl.abs().max().item() < 1e-6
    assert final.cost.network_rows <= method.bound(50, plan).network_rows
    assert final.cost.reward_calls <= method.bound(50, plan).reward_calls


def test_kl_of_a_guided_path(normal: Backbone) -> None:
    """Mean log q/p over paths bounds the divergence of the product from the behaviour, .4947, from above."""
    method = Guidance(alpha=1.0, proposal=VarianceAware(sigma_floor=0.02))
    final = run_sampler(
        method(normal, Quadratic()), 2_000, make_plan(normal, steps=64), generator=Generator().manual_seed(0)
    )
    exact = 0.5 * (0.2 + 0.64 - 1 - math.log(0.2))  # KL(N(.8, .2) || N(0, 1))
    assert exact - 0.05 < final.kl.mean().item() < exact + 0.3


def test_gradients_that_are_not_finite_guide_nothing(normal: Backbone) -> None:
    class Broken(Quadratic):
        def relaxed(self, x: Tensor) -> Tensor:
            return torch.where(x[:, 0] > 0, math.nan, 1.0).detach() * (x[:, 0] - 2.0) ** 2

    x, sigma = torch.tensor([[1.5], [-1.5]]).double(), torch.tensor([2.0, 2.0]).double()
    found = PlugIn().predict(Target(normal, Broken(), 1.0), x, sigma)
    assert isinstance(found, GuidedMean) and found.failures == 1
    assert found.shift[0].item() == 0 and found.shift[1].item() != 0
    final = run_sampler(
        Guidance(alpha=1.0)(normal, Broken()), 8, make_plan(normal, steps=4), generator=Generator()
    )
    assert final.x.isfinite().all() and final.cost.lookahead_failures > 0


def test_tokens_whose_gradient_is_not_finite_are_not_tilted(make_arena: Any) -> None:
    class Broken(DifferentiableReward):
        name = "broken"

        def score(self, designs: Any) -> Any:
            return [0.0 for _ in designs]

        def relaxed(self, x: Tensor) -> Tensor:
            return torch.where(x[:, 0, 0] > 0.9, math.nan, 1.0) * x[..., 1].sum(-1)

    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    x, t = torch.tensor([[0, 4, 4], [4, 4, 4]]), torch.ones(2).double()
    found = FirstOrder().predict(Target(arena.backbone, Broken(), 0.5), x, t)
    assert found.failures == 1 and bool((found.change[0] == 0).all()) and bool((found.change[1] != 0).any())
    arena.reward = Broken()
    final = arena.sample(Guidance(alpha=0.5), 64)
    assert final.cost.lookahead_failures > 0 and bool((final.x < 4).all()) and final.kl.isfinite().all()


def test_tiny_alpha_does_not_overflow(normal: Backbone, make_arena: Any) -> None:
    final = run_sampler(
        Guidance(alpha=1e-12)(normal, Quadratic()), 8, make_plan(normal, steps=40), generator=Generator()
    )
    torch.testing.assert_close(final.x, torch.ones(8, 1).double(), atol=0.2, rtol=0)
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    for rule in (FirstOrder(), MaskedExact()):
        tight = arena.sample(Guidance(alpha=1e-12, proposal=rule, value=arena.exact_value()), 8)
        assert bool((tight.x == 0).all()) and tight.kl.isfinite().all()


def test_fixed_coordinates_do_not_move(make_points_arena: Callable[..., Any]) -> None:
    points = torch.tensor([[1.0, 2.0], [-1.0, 2.0], [0.0, -2.0]])
    arena = make_points_arena(points, lambda y: y[0] + 5 * y[1], aug_dim=128.0, alpha=1.0)
    plan = make_plan(arena.moments, steps=8)
    plan = type(plan)(plan.times, 2, torch.tensor([math.nan, -2.0]).double())
    for rule in (PlugIn(), VarianceAware()):
        method = Guidance(alpha=1.0, proposal=rule)
        final = run_sampler(method(arena.moments, arena.reward), 6, plan, generator=Generator())
        torch.testing.assert_close(final.x[:, 1], torch.full((6,), -2.0).double())


def test_first_order_changes_are_what_revealing_adds(make_arena: Any) -> None:
    """The relaxed reward is multilinear, so that its linearisation in one position is exact: Delta(l, v) is how the
    expected reward changes when l is known to be v and the other letters are drawn on their own."""
    arena = make_arena(LETTERS, is_acg, length=3, alpha=0.5)
    x = torch.tensor([[4, 4, 4], [0, 4, 4], [4, 1, 2]])
    found = FirstOrder().predict(Target(arena.backbone, arena.reward, 0.5), x, torch.ones(3).double())
    p = found.log_probs.exp()
    for place in range(3):
        for token in range(4):
            known = p.clone()
            known[:, place] = torch.eye(4)[token].double()
            expected = (arena.reward.relaxed(known) - arena.reward.relaxed(p)) * (x[:, place] == 4)
            torch.testing.assert_close(found.change[:, place, token], expected, atol=1e-6, rtol=1e-5)
    assert found.change[2, 1:].abs().max().item() == 0 and found.reward_calls == 3


def test_permuting_the_batch_permutes_what_is_found(make_arena: Any, normal: Backbone) -> None:
    order = torch.tensor([2, 0, 1])
    arena = make_arena(LETTERS, is_acg, length=3, alpha=0.5)
    tokens, numbers = (
        torch.tensor([[4, 4, 4], [0, 4, 4], [4, 1, 4]]),
        torch.tensor([[0.5], [-1.0], [2.0]]).double(),
    )
    t = torch.tensor([0.3, 0.5, 0.9]).double()
    for rule in (FirstOrder(), MaskedExact()):
        target = Target(arena.backbone, arena.reward, 0.5, arena.exact_value())
        one, other = rule.predict(target, tokens, t), rule.predict(target, tokens[order], t[order])
        torch.testing.assert_close(one.change[order], other.change)
    for rule in (PlugIn(), VarianceAware()):
        target = Target(normal, Quadratic(), 1.0)
        first, second = rule.predict(target, numbers, t), rule.predict(target, numbers[order], t[order])
        torch.testing.assert_close(first.shift[order], second.shift)


@pytest.mark.parametrize(
    "make", [lambda: Guidance(proposal=Base()), lambda: Guidance(solver=Heun(), proposal=FirstOrder())]
)
def test_bad_settings_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_what_is_missing_is_said(make_arena: Any, normal: Backbone) -> None:
    """A reward without gradient, the wrong kind of noise, no variance, a network that sees the time."""
    arena = make_arena(LETTERS, count_a, length=2, alpha=0.5)
    black_box = FunctionReward(count_a, each=True)
    with pytest.raises(UnsupportedError, match="needs a differentiable reward.*use SMC or SVDD"):
        Guidance(alpha=1.0)(arena.backbone, black_box)
    with pytest.raises(UnsupportedError, match="needs a continuous process"):
        Guidance(alpha=1.0, solver=Heun())(arena.backbone, arena.reward)
    with pytest.raises(UnsupportedError, match="needs a masked process"):
        Guidance(alpha=1.0, proposal=FirstOrder())(normal, Quadratic())
    with pytest.raises(UnsupportedError, match="does not depend on the time"):
        arena.backbone.denoiser.time_conditioned = True
        Guidance(alpha=1.0, proposal=MaskedExact())(arena.backbone, arena.reward)
    normal.denoiser.forward = lambda x, t=None, cond=None, mask=None: 0.2 * x  # type: ignore[method-assign]
    with pytest.raises(UnsupportedError, match="use PlugIn"):
        run_sampler(
            Guidance(alpha=1.0)(normal, Quadratic()), 2, make_plan(normal, steps=2), generator=Generator()
        )

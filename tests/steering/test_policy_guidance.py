"""Policy guidance: closed forms, and the product of behaviour and policy where it is known."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.diffusion.exact_gaussian import CorrelatedGaussian
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.solvers import Heun
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards.policy import PolicyLikelihood
from gendesign.rl.policies import FunctionPolicy, Gaussian, TanhGaussian
from gendesign.steering.covariance_proposal import CovarianceAware
from gendesign.steering.particles import make_plan
from gendesign.steering.policy_guidance import PolicyGuidance, published_weights, unit
from gendesign.steering.proposals import PlugIn, Target, VarianceAware
from gendesign.steering.sampler import run_sampler
from gendesign.steering.tilting import expansion
from gendesign.steering.unsteered import Unsteered

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "policy_guidance.py"
spec = importlib.util.spec_from_file_location("policy_guidance_benchmark", SCRIPT)
assert spec is not None and spec.loader is not None
bench = importlib.util.module_from_spec(spec)
sys.modules["policy_guidance_benchmark"] = bench
spec.loader.exec_module(bench)


class SquashedCodec(bench.RowCodec):  # type: ignore[name-defined,misc]
    """One row: an observation, and two actions stored as standardised arctanh."""

    def __init__(self, *, squash: bool = True) -> None:
        super().__init__(["s", "a", "b"], 1, mean=[0.0, 0.1, 0.0], std=[1.0, 0.8, 1.2])
        self.action_columns = (1, 2)
        self.squash = squash

    def relax(self, x: Tensor) -> Tensor:
        rows = super().relax(x)
        return torch.cat([rows[..., :1], rows[..., 1:].tanh()], -1) if self.squash else rows


def squashed(squash: bool) -> Backbone:
    denoiser = CorrelatedGaussian(torch.zeros(3), torch.eye(3))
    return Backbone(SquashedCodec(squash=squash), PoissonFlow(math.inf, sigma_data=1.0), denoiser)


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Rewards in double precision, as the numbers to reproduce are given."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize(
    ("squash", "expected"),
    [
        (True, [[-0.93554639, 0.72030272], [-0.80446207, -0.54397237]]),
        (False, [[-1.088, 0.768], [-2.24, -0.84]]),
    ],
)
def test_row_27_the_gradient_through_stored_actions(double: Any, squash: bool, expected: Any) -> None:
    mu = torch.tensor([[0.0, 0.4], [0.2, -0.1]])
    policy = Gaussian(lambda s: mu[s[..., 0].long()], (0.5, 1.0))
    backbone = squashed(squash)
    x = torch.tensor([[0.0, 0.3, -0.2], [1.0, 1.0, 0.5]])
    # without the tanh, the gradient is still that of the standardised numbers
    likelihood = PolicyLikelihood.of(policy, backbone.codec, gradient="actions")
    g, _ = expansion(backbone, likelihood, x, alpha=1.0)
    assert not g[:, 0].any()
    torch.testing.assert_close(g[:, 1:], torch.tensor(expected), rtol=1e-6, atol=1e-8)
    if squash:
        assert g.norm().item() == pytest.approx(1.5287734334)
        whole = unit(g[:, 1:].reshape(1, 4))
        normalised = [[-0.61195882, 0.47116381, -0.52621406, -0.35582275]]
        torch.testing.assert_close(whole, torch.tensor(normalised), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("rule", [CovarianceAware(), PlugIn()])
def test_what_a_template_gives_does_not_move(double: Any, rule: Any) -> None:
    """With the observation given, V is that of the action alone: d_a = (1/v_a + 1/sd^2)^-1 (mu(s) - x_hat_a)/sd^2."""
    law = CorrelatedGaussian(torch.zeros(2), torch.tensor([[1.0, 0.8], [0.8, 1.0]]))
    backbone = Backbone(OneAction(), PoissonFlow(math.inf, sigma_data=1.0), law)
    likelihood = PolicyLikelihood.of(Gaussian(lambda s: 2 * s, 0.5), backbone.codec)
    x, t, given = torch.tensor([[0.3, -1.0]]), torch.tensor([1.2]), torch.tensor([0.5, math.nan])
    law.forward, full = lambda *args: (full(*args)[0], None), law.forward  # a network without a variance
    found = rule.predict(Target(backbone, likelihood, 1.0), x, t, template=given)
    mean = found.mean[0, 1].item()
    assert found.shift[0, 0].item() == 0
    j = torch.autograd.functional.jacobian(lambda z: full(z[None], t)[0][0], x[0])
    v = 1.44 * j[1, 1].item()
    expected = v / (v + 0.25) * (1.0 - mean) if isinstance(rule, CovarianceAware) else v * (1.0 - mean) / 0.25
    assert found.shift[0, 1].item() == pytest.approx(expected, rel=1e-6)


def test_row_27_a_zero_gradient_stays_zero() -> None:
    assert not unit(torch.zeros(2, 3)).any()


def test_row_28_the_published_schedule() -> None:
    weights = published_weights(256, 1.0, cosine=0.3)
    expected = {0: 1.00368146, 64: 0.96471925, 127: 0.80390625, 200: 0.40620785, 254: 0.01149396, 255: 0.0}
    for i, value in expected.items():
        assert weights[i].item() == pytest.approx(value, abs=1e-8)
    assert weights.sum().item() == pytest.approx(177.3878786740, rel=1e-10)


class OneAction(bench.RowCodec):  # type: ignore[name-defined,misc]
    """One observation that nothing depends on, and one action."""

    def __init__(self) -> None:
        super().__init__(["s", "a"], 1, mean=[0.0, 0.0], std=[1.0, 1.0])


def alone(method: PolicyGuidance, steps: int) -> tuple[float, float]:
    """Mean and deviation of the action. Steps are affine in the start, which two points give."""
    denoiser = CorrelatedGaussian(torch.zeros(2), torch.eye(2))
    backbone = Backbone(OneAction(), PoissonFlow(math.inf, sigma_data=1.0), denoiser)
    plan, noise = make_plan(backbone, steps=steps), Generator().manual_seed(0)
    sampler = method(backbone)
    particles = sampler.init(2, plan, generator=noise)
    x = torch.tensor([[0.0, 0.0], [0.0, 80.0]], dtype=torch.float64)
    seen = sampler.proposal.predict(sampler.target, x, particles.t)
    particles = replace(particles, x=x, prediction=seen)
    for step in range(plan.steps):
        particles = sampler.step(particles, step, plan, generator=noise)
    low, high = particles.x[:, 1].tolist()
    return low, abs(high - low)


NARROW = Gaussian(lambda s: torch.ones_like(s), 0.5)


@pytest.mark.parametrize(
    ("strength", "steps", "mean", "deviation"),
    [
        (0.01, 32, 0.252, 0.824),
        (0.01, 128, 0.706, 0.443),
        pytest.param(0.01, 512, 1.030, 0.039, marks=pytest.mark.slow),
        (0.1, 32, 1.001, 0.110),
    ],
)
def test_row_29_published_depends_on_the_number_of_steps(
    double: Any, strength: float, steps: int, mean: float, deviation: float
) -> None:
    method = PolicyGuidance(NARROW, mode="published", strength=strength, normalise=False, solver=Heun())
    assert alone(method, steps) == pytest.approx((mean, deviation), abs=6e-4)


@pytest.mark.parametrize("mode", ["exact", "diagonal"])
@pytest.mark.parametrize(
    ("steps", "mean", "deviation"),
    [(32, 0.79546, 0.45446), pytest.param(256, 0.79553, 0.44730, marks=pytest.mark.slow)],
)
def test_row_29_the_exact_tilt(double: Any, mode: Any, steps: int, mean: float, deviation: float) -> None:
    """Where actions are alone, the variances are the whole covariance. The step to sigma = 0 is the base's."""
    method = PolicyGuidance(NARROW, mode=mode, solver=Heun(), sigma_floor=1e-4)
    assert alone(method, steps) == pytest.approx((mean, deviation), abs=2e-5)


@pytest.mark.parametrize(
    ("rule", "expected"), [(CovarianceAware(), 0.8333333), (VarianceAware(), 0.8333333), (PlugIn(), 2.54)]
)
def test_row_29_guided_means(double: Any, rule: Any, expected: float) -> None:
    backbone = Backbone(
        OneAction(), PoissonFlow(math.inf, sigma_data=1.0), CorrelatedGaussian(torch.zeros(2), torch.eye(2))
    )
    reward = PolicyLikelihood.of(NARROW, backbone.codec)
    x, sigma = torch.tensor([[0.0, 1.5]]), torch.tensor([2.0])
    found = rule.predict(Target(backbone, reward, 1.0), x, sigma)
    assert found.mean[0, 1].item() == pytest.approx(0.3, rel=1e-6)
    assert found.moved().mean[0, 1].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", list(bench.POLICIES))
@pytest.mark.parametrize("sigma", [0.05, 0.8, 20.0])
def test_the_exact_shift_is_that_of_the_product(double: Any, name: str, sigma: float) -> None:
    """x_hat + V C'(C V C' + sd^2)^-1 (c - C x_hat) is the denoiser of the product of behaviour and policy."""
    one = bench.world(name)
    scale = torch.tensor(one.backbone.codec.std).repeat(bench.HORIZON)
    product = CorrelatedGaussian(one.mean / scale, one.covariance / scale[:, None] / scale)
    x = torch.randn(5, len(scale), generator=Generator().manual_seed(3)) * (1 + sigma)
    t = torch.full((5,), sigma)
    target = Target(one.backbone, PolicyLikelihood.of(one.policy, one.backbone.codec), 1.0)
    found = CovarianceAware(iterations=bench.HORIZON, sigma_floor=1e-3).predict(target, x, t)
    torch.testing.assert_close(found.moved().mean, product(x, t)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.whole
@pytest.mark.parametrize("name", list(bench.POLICIES))
def test_exact_samples_the_product(name: str) -> None:
    one, num = bench.world(name), 1_500
    method = PolicyGuidance(one.policy, mode="exact", solver=Heun())
    mean, covariance, cost = one.moments(method, steps=64, num=num)
    assert cost.network_rows == num * 127
    # five standard errors of a mean, and of the covariance what chance gives (3.7 %) with the grid's 3 to 5 %
    assert ((mean - one.mean) / (one.covariance.diagonal() / num).sqrt()).abs().max() < 5
    assert one.errors(mean, covariance)[1] < 0.10


@pytest.mark.slow
@pytest.mark.parametrize("name", list(bench.POLICIES))
def test_exact_converges_to_the_product(name: str) -> None:
    one, num = bench.world(name), 4_000
    method = PolicyGuidance(one.policy, mode="exact", solver=Heun())
    mean, covariance, _ = one.moments(method, steps=256, num=num)
    assert ((mean - one.mean) / (one.covariance.diagonal() / num).sqrt()).abs().max() < 4.5
    assert one.errors(mean, covariance)[1] < 0.04


def test_diagonal_is_biased_whatever_the_number_of_steps() -> None:
    one = bench.world("constant")
    method = PolicyGuidance(one.policy, mode="diagonal", solver=Heun(), iterations=8)
    few, many = (one.moments(method, steps=steps, num=1_000) for steps in (16, 48))
    assert float((few[0] - many[0]).abs().max()) < 0.1
    assert one.errors(*many[:2])[0] > 0.5


def test_published_moves_with_the_number_of_steps() -> None:
    one = bench.world("constant")
    method = PolicyGuidance(one.policy, mode="published", strength=0.2)
    few, many = (one.moments(method, steps=steps, num=400) for steps in (16, 128))
    assert float((few[0] - many[0]).abs().max()) > 0.3
    assert few[2].network_rows == 400 * 31


def test_strength_is_a_power_of_the_likelihood(double: Any) -> None:
    """w policies at once are one of deviation sd/sqrt(w)."""
    stronger = PolicyGuidance(NARROW, strength=4.0, solver=Heun())
    narrower = PolicyGuidance(Gaussian(lambda s: torch.ones_like(s), 0.25), solver=Heun())
    assert alone(stronger, 16) == pytest.approx(alone(narrower, 16), abs=1e-9)


@pytest.mark.whole
@pytest.mark.parametrize("mode", ["exact", "diagonal", "published"])
def test_squashed_actions_and_policies_without_residuals(mode: Any) -> None:
    """Guidance raises the likelihood through tanh, for policies of either kind, within its bound."""
    backbone = squashed(True)
    policies = [
        Gaussian(lambda s: torch.cat([s, s], -1).clamp(-0.5, 0.5) + 0.3, 0.2),
        TanhGaussian(lambda s: torch.cat([s, s], -1) + 0.3, 0.3),
        FunctionPolicy(lambda a, s: -8 * ((a - 0.5) ** 2).sum(-1)),
    ]
    plan = make_plan(backbone, steps=16)
    for policy in policies:
        likelihood = PolicyLikelihood.of(policy, backbone.codec)
        method = PolicyGuidance(policy, mode=mode)
        steered = run_sampler(method(backbone), 200, plan, generator=Generator().manual_seed(0))
        plain = run_sampler(Unsteered()(backbone), 200, plan, generator=Generator().manual_seed(0))
        before, after = (likelihood.relaxed(backbone.codec.relax(x)).mean() for x in (plain.x, steered.x))
        assert after > before + 0.5
        bound = method.bound(200, plan)
        assert steered.cost.network_rows <= bound.network_rows
        assert steered.cost.reward_calls <= bound.reward_calls


def test_what_is_given_stays_given() -> None:
    one = bench.world("constant")
    given = torch.full((8,), math.nan, dtype=torch.float64)
    given[:2] = torch.tensor([0.5, -1.0])
    for mode in ("exact", "diagonal", "published"):
        plan = make_plan(one.backbone, steps=8, template=given.view(4, 2).numpy())
        final = run_sampler(
            PolicyGuidance(one.policy, mode=mode)(one.backbone), 6, plan, generator=Generator().manual_seed(0)
        )
        torch.testing.assert_close(final.x[:, :2], plan.template[:2].double().expand(6, 2))


def test_what_is_refused(make_points_arena: Any) -> None:
    one = bench.world("constant")
    with pytest.raises(ConfigError, match="needs policy="):
        PolicyGuidance()(one.backbone)
    arena = make_points_arena(torch.zeros(1, 2), lambda y: 0.0, aug_dim=math.inf, alpha=1.0)
    with pytest.raises(UnsupportedError, match="needs trajectories .* NumbersCodec has none; use Guidance"):
        PolicyGuidance(one.policy)(arena.moments)
    with pytest.raises(ConfigError, match="mode must be"):
        PolicyGuidance(one.policy, mode="best")
    for wrong in ({"strength": 0.0}, {"cosine": -1.0}, {"sigma_floor": 0.0}, {"iterations": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            PolicyGuidance(one.policy, **wrong)

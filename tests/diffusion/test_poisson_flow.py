"""PFGM++ and EDM against known values (arXiv 2302.04265, 2206.00364)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from gendesign.diffusion.poisson_flow import MeanPrediction, PoissonFlow, StudentTransition
from gendesign.diffusion.student import log_gamma_ratio, student_log_prob
from gendesign.errors import ConfigError, UnsupportedError

INF = math.inf


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


class Points:
    """The exact denoiser of equally likely points: posterior mean and variance."""

    time_conditioned = True

    def __init__(self, points: Tensor, process: PoissonFlow) -> None:
        self.points = points
        self.process = process

    def weights(self, x: Tensor, sigma: Tensor) -> Tensor:
        n = len(self.points)
        logs = [self.process.log_kernel(x, self.points[i].expand_as(x), sigma) for i in range(n)]
        return torch.stack(logs, -1).softmax(-1)

    def __call__(self, x: Tensor, t: Any = None, cond: Any = None, mask: Any = None) -> Any:
        w = self.weights(x, t)
        mean = w @ self.points
        return mean, (w @ self.points**2 - mean**2).clamp(min=0)


@pytest.mark.whole
@pytest.mark.parametrize(
    ("aug_dim", "quantiles"),
    [
        (1.0, (28.26776, 82.16443, 883.81351)),
        (16.0, (43.19063, 56.60201, 78.61081)),
        (128.0, (50.18263, 55.56436, 61.94198)),
        (2048.0, (53.62329, 55.42863, 57.30317)),
        (INF, (54.26064, 55.41961, 56.58672)),
    ],
)
def test_radius_of_the_kernel(aug_dim: float, quantiles: tuple[float, ...]) -> None:
    """Row 17: |x - y| in 3,072 dimensions, never clipped."""
    noise = PoissonFlow(aug_dim).corrupt(torch.zeros(20_000, 1), torch.ones(20_000), generator=generator())
    assert noise.shape == (20_000, 1)
    radius = torch.cat(
        [
            PoissonFlow(aug_dim)
            .corrupt(torch.zeros(2_000, 3072), torch.ones(2_000), generator=generator(i))
            .norm(dim=-1)
            for i in range(5)
        ]
    )
    reached = radius.quantile(vector(0.05, 0.5, 0.95))
    tolerance = vector(0.05, 0.03, 0.25) if aug_dim == 1 else vector(0.015, 0.006, 0.025)
    assert ((reached / vector(*quantiles) - 1).abs() < tolerance).all()


@pytest.mark.parametrize(
    ("dim", "squared", "aug_dim", "expected"),
    [
        (2, 0.5, 1.0, -2.4460747286),
        (2, 0.5, 16.0, -2.1148219944),
        (2, 0.5, INF, -2.0878770664),
        (3072, 3072.0, 128.0, -4360.5898619066),
        (3072, 3072.0, 2048.0, -4359.4373681988),
        (3072, 3072.0, INF, -4358.9791740048),
    ],
)
def test_kernel_log_density(dim: int, squared: float, aug_dim: float, expected: float) -> None:
    """Row 18."""
    assert student_log_prob(vector(squared), dim, aug_dim, vector(1.0)).item() == pytest.approx(
        expected, rel=1e-10
    )


def test_log_density_is_stable_in_many_dimensions() -> None:
    """At D = 1e9 and N = R^2 = 1e6 the kernel differs from the normal by (N^2 + 2N - 2NR^2 - ... + R^4)/4D ~ 5e-4."""
    ours = student_log_prob(vector(1e6), 1_000_000, 1e9, vector(1.0)).item()
    normal = student_log_prob(vector(1e6), 1_000_000, INF, vector(1.0)).item()
    assert abs(ours - normal) < 0.01
    assert log_gamma_ratio(2e4, 7.5) == pytest.approx(math.lgamma(2e4 + 7.5) - math.lgamma(2e4), rel=1e-9)


def test_kernel_density_integrates_to_one() -> None:
    x = torch.linspace(-3000, 3000, 2_000_001, dtype=torch.float64)
    for aug_dim in (2.0, 16.0, INF):
        density = student_log_prob(x**2, 1, aug_dim, vector(1.0).expand_as(x)).exp()
        assert torch.trapezoid(density, x).item() == pytest.approx(1.0, abs=1e-6)


def test_noise_schedule() -> None:
    """Row 20."""
    times = PoissonFlow().times(18)
    assert len(times) == 19 and times[-1].item() == 0
    head = vector(80, 57.5859847, 40.7855738, 28.3745846, 19.3524530)
    torch.testing.assert_close(times[:5], head, rtol=1e-8, atol=0)
    torch.testing.assert_close(times[15:18], vector(0.0229345184, 0.00752801996, 0.002), rtol=1e-8, atol=0)


@pytest.mark.parametrize(
    ("aug_dim", "sigma", "expected"),
    [
        (1.0, 1.0, 0.5947447287),
        (1.0, 0.3, 0.8614386814),
        (16.0, 1.0, 0.4773971759),
        (16.0, 0.3, 0.9977254807),
        (128.0, 1.0, 0.4641292012),
        (128.0, 0.3, 0.9999202175),
        (INF, 1.0, 0.4621171573),
        (INF, 0.3, 0.9999701098),
    ],
)
def test_posterior_mean_of_two_points(aug_dim: float, sigma: float, expected: float) -> None:
    """Row 23."""
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    mean, _ = Points(points, PoissonFlow(aug_dim))(vector(0.5, 0.3)[None], vector(sigma))
    assert mean[0, 0].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("aug_dim", "weight"), [(1.0, 0.9978199995), (128.0, 0.9978215266), (INF, 0.9978582757)]
)
def test_posterior_weights_in_many_dimensions(aug_dim: float, weight: float) -> None:
    """Row 23, in 3,072 dimensions: weights in log space."""
    points = torch.full((1, 3072), 0.05, dtype=torch.float64)
    sign = torch.tensor([1.0, -1.0]).repeat(1536).double()
    w = Points(torch.cat([points, -points]), PoissonFlow(aug_dim)).weights((0.02 + sign)[None], vector(1.0))
    assert w[0, 0].item() == pytest.approx(weight, rel=1e-9)


def test_the_limit_is_first_order_in_one_over_d() -> None:
    """Row 24."""
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    x = vector(0.5, 0.3)[None]
    limit = Points(points, PoissonFlow(INF))(x, vector(1.0))[0][0, 0].item()
    expected = {128: 2.012044e-3, 256: 1.009886e-3, 512: 5.059145e-4, 1024: 2.532009e-4}
    for aug_dim, error in expected.items():
        mean = Points(points, PoissonFlow(float(aug_dim)))(x, vector(1.0))[0][0, 0].item()
        assert mean - limit == pytest.approx(error, rel=1e-6)


def step(aug_dim: float, y: tuple[float, float], variance: Tensor | None = None) -> StudentTransition:
    prediction = MeanPrediction(vector(*y)[None], variance)
    return PoissonFlow(aug_dim).transition(prediction, vector(2, -1)[None], vector(1.5), vector(0.7))


@pytest.mark.parametrize(
    ("aug_dim", "y", "loc", "scale2", "log_prob"),
    [
        (5.0, (0.0, 0.0), (0.43555556, -0.21777778), 0.39545679, -0.9932408844),
        (128.0, (0.1, 0.2), (0.51377778, -0.06133333), 0.38400960, -0.8860134876),
        (INF, (0.1, 0.2), (0.51377778, -0.06133333), None, -0.8840656364),
    ],
)
def test_reverse_transition_in_closed_form(
    aug_dim: float, y: tuple[float, float], loc: tuple[float, float], scale2: float | None, log_prob: float
) -> None:
    """Row 31."""
    one = step(aug_dim, y)
    torch.testing.assert_close(one.loc[0], vector(*loc), rtol=1e-7, atol=0)
    if scale2 is not None:
        assert one.scale2.item() == pytest.approx(scale2, rel=1e-7)
    assert one.log_prob(vector(0.5, 0)[None]).item() == pytest.approx(log_prob, rel=1e-9)


def test_transition_is_the_joint_path_conditioned() -> None:
    """Simulating x_s and x_t with one w and keeping draws near x_t gives the transition's mean and variance."""
    num, s, t, aug_dim = 4_000_000, 0.7, 1.5, 5.0
    noise = generator()
    w = (aug_dim / 2 / torch._standard_gamma(torch.full((num,), aug_dim / 2), generator=noise)).sqrt()[
        :, None
    ]
    x_s = s * w * torch.randn(num, 2, generator=noise)
    x_t = x_s + (t**2 - s**2) ** 0.5 * w * torch.randn(num, 2, generator=noise)
    kept = x_s[((x_t - torch.tensor([2.0, -1.0])) ** 2).sum(-1) < 0.15**2].double()
    one = step(aug_dim, (0.0, 0.0))
    variance = one.scale2.item() * one.dof / (one.dof - 2)
    assert len(kept) > 3_000
    torch.testing.assert_close(kept.mean(0), one.loc[0], atol=0.04, rtol=0)
    torch.testing.assert_close(kept.var(0), vector(variance, variance), rtol=0.1, atol=0)


@pytest.mark.parametrize("aug_dim", [1.0, 5.0, 128.0, INF])
def test_transition_samples_follow_its_density(aug_dim: float) -> None:
    """E[f] under samples equals the integral of f times the density, on a grid."""
    one = step(aug_dim, (0.0, 0.0), torch.full((1, 2), 0.3, dtype=torch.float64))
    drawn = one.sample(200_000, generator=generator())[:, 0]
    axis = torch.linspace(-40, 40, 2001, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    density = torch.cat(
        [
            student_log_prob(((g - one.loc) ** 2).sum(-1), 2, float(one.dof), one.scale2.expand(len(g)))
            for g in grid.split(500_000)
        ]
    ).exp()
    density *= (axis[1] - axis[0]) ** 2
    assert density.sum().item() == pytest.approx(1, abs=2e-3)
    inside = ((grid - vector(1, 0)) ** 2).sum(-1) < 0.25
    reached = (((drawn - vector(1, 0)) ** 2).sum(-1) < 0.25).double().mean().item()
    assert reached == pytest.approx(density[inside].sum().item(), abs=0.005)


@pytest.mark.whole
@pytest.mark.parametrize(
    ("aug_dim", "with_variance", "worst"),
    [(INF, True, 0.03), (128.0, True, 0.03), (2.0, True, 0.03), (2.0, False, 1.0)],
)
def test_steps_converge_to_the_data(aug_dim: float, with_variance: bool, worst: float) -> None:
    """Four points in three dimensions: total variation from their law falls with the steps."""
    points = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.5, 0], [0, 0, -2.0]], dtype=torch.float64)
    process = PoissonFlow(aug_dim, sigma_data=1.0)
    exact = Points(points, process)
    distance = {}
    num = 8_000
    for steps in (8, 64):
        noise = generator(1)
        times = process.times(steps)
        x = process.prior(num, 3, generator=noise)
        for k in range(steps):
            t, s = times[k].expand(num), times[k + 1].expand(num)
            prediction = process.predict(exact, x, t)
            if not with_variance:
                prediction = MeanPrediction(prediction.mean)
            x = process.transition(prediction, x, t, s).sample(1, generator=noise)[0]
        nearest = torch.cdist(x, points).argmin(-1)
        frequency = torch.bincount(nearest, minlength=4) / num
        distance[steps] = 0.5 * (frequency - 0.25).abs().sum().item()
    assert distance[64] <= worst
    if with_variance:
        assert distance[64] <= distance[8] + 0.01


@pytest.mark.parametrize("aug_dim", [1.0, 5.0, 128.0])
def test_the_variance_term_is_the_posterior_mean_of_the_squared_scale(aug_dim: float) -> None:
    """Of the exact steps given each clean point; the plug-in step without it is narrower."""
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    process, x = PoissonFlow(aug_dim), vector(0.4, -0.3)[None]
    t, s = vector(1.5), vector(0.7)
    exact = Points(points, process)
    weights = exact.weights(x, t)[0]
    given = [process.transition(MeanPrediction(point[None]), x, t, s).scale2 for point in points]
    expected = sum(w * scale2 for w, scale2 in zip(weights, given, strict=True))
    prediction = process.predict(exact, x, t)
    torch.testing.assert_close(process.transition(prediction, x, t, s).scale2, expected)
    assert process.transition(MeanPrediction(prediction.mean), x, t, s).scale2 < 0.999 * expected


def test_kl_of_gaussian_steps() -> None:
    """|Delta|^2/2 (1/sigma_s^2 - 1/sigma_t^2) in the moved mean; sampled at finite D."""
    a, b = step(INF, (0.1, 0.2)), step(INF, (0.4, -0.2))
    expected = (0.3**2 + 0.4**2) / 2 * (1 / 0.7**2 - 1 / 1.5**2)
    assert a.kl(b).item() == pytest.approx(expected, rel=1e-9)
    estimate, error = a.sampled_kl(b, num=20_000, generator=generator())
    assert abs(estimate.item() - expected) < 4 * error.item()
    with pytest.raises(UnsupportedError, match="sampled_kl"):
        step(5.0, (0.0, 0.0)).kl(step(5.0, (0.1, 0.0)))


def test_last_step_is_deterministic() -> None:
    one = PoissonFlow(16.0).transition(
        MeanPrediction(vector(0.3)[None]), vector(1.0)[None], vector(0.002), vector(0.0)
    )
    assert one.sample(3, generator=generator()).flatten().tolist() == pytest.approx([0.3] * 3)
    with pytest.raises(UnsupportedError, match="sigma_floor"):
        one.log_prob(vector(0.3)[None])


def test_rsample_carries_gradient() -> None:
    mean = vector(0.1, 0.2)[None].requires_grad_()
    one = PoissonFlow(5.0).transition(MeanPrediction(mean), vector(2, -1)[None], vector(1.5), vector(0.7))
    (gradient,) = torch.autograd.grad(one.rsample(generator=generator()).sum(), mean)
    assert gradient.isfinite().all() and gradient.abs().min() > 0
    noise = torch.zeros(1, 2, dtype=torch.float64)
    torch.testing.assert_close(one.rsample(noise=noise), one.loc)


@pytest.mark.parametrize(
    "make",
    [
        lambda: PoissonFlow(0.5),
        lambda: PoissonFlow(math.nan),
        lambda: PoissonFlow(sigma_min=1.0, sigma_max=1.0),
        lambda: PoissonFlow(sigma_min=0.0),
        lambda: PoissonFlow(rho=0.0),
    ],
)
def test_bad_settings_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()

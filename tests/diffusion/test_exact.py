"""Exact denoisers and exact steps, and what the Gaussian rule is worth at finite D."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from gendesign.diffusion.exact import GaussianMixture, PointSet, PosteriorDraws
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import ConfigError, UnsupportedError

INF = math.inf
POINTS = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
X, ONE = torch.tensor([[0.5, 0.3]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def score(aug_dim: float) -> Tensor:
    """Gradient of the log of the marginal at X, sigma = 1."""
    x = X.clone().requires_grad_()
    process = PoissonFlow(aug_dim)
    log_p = torch.stack([process.log_kernel(x, y.expand_as(x), ONE) for y in POINTS]).logsumexp(0)
    return torch.autograd.grad(log_p.sum(), x)[0]


def test_the_score_is_not_the_denoiser_at_finite_d() -> None:
    """Row 25."""
    torch.testing.assert_close(
        score(16.0), torch.tensor([[0.0221861, -0.3210603]]).double(), atol=1e-7, rtol=0
    )
    mean = PointSet(POINTS, 16.0)(X, ONE)[0]
    torch.testing.assert_close(mean - X, torch.tensor([[-0.0226028, -0.3]]).double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(score(INF), PointSet(POINTS, INF)(X, ONE)[0] - X)


@pytest.mark.parametrize(
    ("aug_dim", "exact", "rule"), [(16.0, 0.3116544832, 0.31523657), (INF, 0.3194192976, 0.3194192976)]
)
def test_the_gaussian_rule_of_guidance_is_exact_at_infinite_d_alone(
    aug_dim: float, exact: float, rule: float
) -> None:
    """Row 25: a tilt by h = (3, 1) moves the denoiser; sigma^2 grad log E[h | x] is not that move at finite D."""
    h = torch.tensor([3.0, 1.0], dtype=torch.float64)
    base, tilted = PointSet(POINTS, aug_dim), PointSet(POINTS, aug_dim, weights=h)
    assert (tilted(X, ONE)[0] - base(X, ONE)[0])[0, 0].item() == pytest.approx(exact, rel=1e-8)
    x = X.clone().requires_grad_()
    log_h = (base.log_posterior(x, ONE) + h.log()).logsumexp(-1)
    assert torch.autograd.grad(log_h.sum(), x)[0][0, 0].item() == pytest.approx(rule, rel=1e-7)


def test_a_point_set_at_tiny_noise_knows_its_point() -> None:
    mean, variance = PointSet(POINTS, INF)(POINTS + 1e-4, torch.full((2,), 1e-3).double())
    torch.testing.assert_close(mean, POINTS)
    assert (variance >= 0).all() and variance.max() < 1e-12


@pytest.mark.parametrize("aug_dim", [2.0, 16.0, INF])
def test_a_gaussian_mixture_is_a_dense_point_set(aug_dim: float) -> None:
    """Against the point set of its own draws; exact, where the mixture has one part and D = inf."""
    means, std = torch.tensor([[-1.0], [1.5]]), torch.tensor([0.3, 0.5])
    mixture = GaussianMixture(means, std, aug_dim)
    dense = PointSet(mixture.sample(40_000, generator=generator()), aug_dim)
    x, sigma = torch.tensor([[-2.0], [0.2], [1.0]]).double(), torch.tensor([0.5, 1.0, 3.0]).double()
    for found, expected in zip(mixture(x, sigma), dense(x, sigma), strict=True):
        torch.testing.assert_close(found, expected, atol=0.03, rtol=0.03)
    if math.isinf(aug_dim):
        mean, variance = GaussianMixture(means[:1], std[:1], INF)(x, sigma)
        shrink = (0.09 / (0.09 + sigma**2))[:, None]
        torch.testing.assert_close(mean, -1 + shrink * (x + 1))
        torch.testing.assert_close(variance, shrink * sigma[:, None] ** 2)


@pytest.mark.parametrize("aug_dim", [1.0, 16.0, INF])
@pytest.mark.parametrize("steps", [2, 5])
def test_drawing_the_clean_point_is_exact_at_any_number_of_steps(aug_dim: float, steps: int) -> None:
    law = torch.tensor([0.1, 0.2, 0.7], dtype=torch.float64)
    points = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.5, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    process, denoiser = PosteriorDraws(aug_dim, sigma_max=40.0), PointSet(points, aug_dim, weights=law)
    num, noise = 40_000, generator()
    x, times = process.prior(num, 3, generator=noise), process.times(steps)
    for t, s in zip(times, times[1:], strict=False):
        prediction = process.predict(denoiser, x, t.expand(num))
        x = process.transition(prediction, x, t.expand(num), s.expand(num)).sample(1, generator=noise)[0]
    frequency = torch.bincount(torch.cdist(x, points).argmin(-1), minlength=3) / num
    assert torch.cdist(x, points).amin(-1).max() < 1e-9
    assert 0.5 * (frequency - law).abs().sum() < 0.01


@pytest.mark.parametrize("aug_dim", [2.0, INF])
def test_the_mixture_of_steps_has_a_density(aug_dim: float) -> None:
    """It integrates to one, and agrees with its samples."""
    points = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    process, denoiser = PosteriorDraws(aug_dim), PointSet(points, aug_dim)
    x, t, s = torch.tensor([[0.3]]).double(), ONE, 0.4 * ONE
    step = process.transition(process.predict(denoiser, x, t), x, t, s)
    grid = torch.linspace(-60, 60, 40_001, dtype=torch.float64)
    many = process.transition(
        process.predict(denoiser, x, t)[torch.zeros(len(grid), dtype=torch.long)],
        x.expand(len(grid), 1),
        t.expand(len(grid)),
        s.expand(len(grid)),
    )
    density = many.log_prob(grid[:, None]).exp()
    assert torch.trapezoid(density, grid).item() == pytest.approx(1, abs=1e-3)
    drawn = step.sample(100_000, generator=generator()).flatten()
    below = torch.trapezoid(torch.where(grid < 0, density, 0.0), grid).item()
    assert (drawn < 0).double().mean().item() == pytest.approx(below, abs=0.006)
    for unsupported in (lambda: step.rsample(), lambda: step.kl(step)):
        with pytest.raises(UnsupportedError):
            unsupported()


def test_errors() -> None:
    with pytest.raises(ConfigError, match="one a point"):
        PointSet(POINTS, INF, weights=torch.tensor([1.0, 0.0]))
    with pytest.raises(UnsupportedError, match="PointSet"):
        PosteriorDraws(INF).predict(GaussianMixture(POINTS, torch.ones(2), INF), X, ONE)

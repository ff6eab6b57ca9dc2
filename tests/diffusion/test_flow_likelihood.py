"""Log-likelihood by the change of variables, on laws whose density is known at every noise level."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from gendesign.diffusion.exact import PointSet
from gendesign.diffusion.flow_likelihood import flow_log_likelihood
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.student import student_log_prob

INF = math.inf


def levels(steps: int, *, sigma_min: float = 0.01) -> Tensor:
    return torch.logspace(math.log10(sigma_min), math.log10(80), steps + 1, dtype=torch.float64)


def designs(num: int, dim: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(num, dim, dtype=torch.float64, generator=Generator().manual_seed(3))


def likelihood(mean: Any, x: Tensor, steps: int = 24, **how: Any) -> Tensor:
    how = {"aug_dim": INF, "exact": True, "generator": Generator().manual_seed(0)} | how
    return flow_log_likelihood(mean, x, how.pop("levels", levels(steps)), **how)


def gaussian(scale: float) -> Any:
    return lambda x, sigma: x * (scale**2 / (scale**2 + sigma**2))[:, None]


def test_gaussian_data() -> None:
    """Data N(0, .5^2) in three dimensions: the law at sigma_min is N(0, .5^2 + sigma_min^2)."""
    x = designs(20, 3, 0.5)
    expected = torch.distributions.Normal(0.0, math.sqrt(0.25 + 1e-4)).log_prob(x).sum(-1)
    torch.testing.assert_close(likelihood(gaussian(0.5), x), expected, atol=3e-3, rtol=0)
    torch.testing.assert_close(likelihood(gaussian(0.5), x, tolerance=1e-7), expected, atol=2e-4, rtol=0)
    errors = [float((likelihood(gaussian(0.5), x, steps=n) - expected).abs().max()) for n in (8, 16)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.7)  # the order of the method


def test_student_data_are_cauchy_at_d_1() -> None:
    """Cauchy data of scale .5 at D = 1: Cauchy of scale .5 + sigma_min."""
    x = torch.tensor([[-3.0], [0.0], [0.2], [7.0]], dtype=torch.float64)
    found = likelihood(lambda x, sigma: x * (0.5 / (0.5 + sigma))[:, None], x, aug_dim=1.0, tolerance=1e-8)
    # the prior is the kernel around 0, the marginal at sigma_max = 80 has scale 80.5
    expected = torch.distributions.Cauchy(0.0, 0.51).log_prob(x[:, 0])
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("aug_dim", [1.0, 16.0, INF])
def test_one_point_gives_its_kernel(aug_dim: float) -> None:
    """The flow of a point at the origin is a straight line: its density is the kernel of sigma_min, exactly."""
    x = designs(10, 4, 0.02)
    found = likelihood(lambda x, sigma: 0 * x, x, steps=3, aug_dim=aug_dim)
    expected = student_log_prob((x**2).sum(-1), 4, aug_dim, torch.full((10,), 1e-4, dtype=torch.float64))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("aug_dim", [2.0, 16.0, INF])
def test_two_points_at_any_augmented_dimension(aug_dim: float) -> None:
    """The flow has PFGM++'s marginals at finite D too, where (x_hat_0 - x)/sigma^2 is not their score."""
    points = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    denoiser, x, low = PointSet(points, aug_dim), designs(8, 2), 0.3
    expected = torch.stack(
        [
            student_log_prob(
                ((x - y) ** 2).sum(-1), 2, aug_dim, torch.full((8,), low**2, dtype=torch.float64)
            )
            for y in points
        ]
    ).logsumexp(0) - math.log(2)
    grid = levels(40, sigma_min=low)
    found = likelihood(
        lambda x, sigma: denoiser(x, sigma)[0], x, levels=grid, aug_dim=aug_dim, tolerance=1e-7
    )
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_hutchinsons_estimate_is_unbiased() -> None:
    x = designs(1, 6, 0.5).expand(400, -1)
    matrix = torch.randn(6, 6, dtype=torch.float64, generator=Generator().manual_seed(1)) / 6

    def mean(x: Tensor, sigma: Tensor) -> Tensor:
        return (x @ matrix) * (0.25 / (0.25 + sigma**2))[:, None]

    exact = likelihood(mean, x[:1], steps=8)
    one = likelihood(mean, x, steps=8, exact=False)
    many = likelihood(mean, x, steps=8, exact=False, probes=8)
    assert one.std() > 0.05  # there is something to estimate
    assert abs(one.mean() - exact) < 4 * one.std() / 20
    assert many.std() < 0.6 * one.std()


def test_a_caller_without_gradients_is_served() -> None:
    """`inference_mode` around the call changes nothing."""
    network = torch.nn.Linear(3, 3).double()
    x, mean = designs(4, 3), lambda x, sigma: network(x) / (1 + sigma)[:, None]
    for how in ({"exact": True}, {"exact": False, "probes": 2}):
        expected = likelihood(mean, x, steps=4, **how)
        with torch.inference_mode():
            found = likelihood(mean, designs(4, 3), steps=4, **how)
        torch.testing.assert_close(found.clone(), expected.detach(), atol=0, rtol=0)


def test_masked_coordinates_do_not_count() -> None:
    x = designs(5, 2, 0.5)
    wide = torch.cat([x, torch.full((5, 2), 7.0, dtype=torch.float64)], -1)
    mask = torch.tensor([[True, True, False, False]]).expand(5, -1)
    for aug_dim in (16.0, INF):
        alone = likelihood(gaussian(0.5), x, steps=8, aug_dim=aug_dim)
        torch.testing.assert_close(
            likelihood(gaussian(0.5), wide, steps=8, aug_dim=aug_dim, mask=mask), alone
        )


def test_through_the_process_whatever_the_batching() -> None:
    # noise below 1 % is hardly seen in training: densities are taken there
    process, x = (
        PoissonFlow(INF, log_sigma_mean=math.log(0.04), log_sigma_std=math.log(2)),
        designs(7, 3, 0.5),
    )
    assert process.likelihood_floor == pytest.approx(0.01)
    assert PoissonFlow(INF, sigma_min=0.5, sigma_data=0.5).likelihood_floor == 0.5

    def denoiser(x: Tensor, t: Any = None, cond: Any = None, mask: Any = None) -> Tensor:
        return gaussian(0.5)(x, t)

    denoiser.time_conditioned = True  # type: ignore[attr-defined]
    found = [
        process.log_likelihood(denoiser, x, num_times=24, generator=Generator(), max_rows=rows)  # type: ignore[arg-type]
        for rows in (2, 1024)
    ]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[0], likelihood(gaussian(0.5), x))
    fixed = torch.tensor([False, False, True])
    part = process.log_likelihood(denoiser, x, num_times=24, generator=Generator(), fixed=fixed)  # type: ignore[arg-type]
    torch.testing.assert_close(part, likelihood(gaussian(0.5), x[:, :2]))

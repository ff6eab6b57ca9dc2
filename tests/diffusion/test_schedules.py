"""Masking schedules against known values (Sahoo et al. 2024, arXiv 2406.07524)."""

import pytest
import torch

from gendesign.diffusion.schedules import Cosine, LogLinear, Schedule
from gendesign.errors import ConfigError


def at(t: float) -> torch.Tensor:
    return torch.tensor([t], dtype=torch.float64)


@pytest.mark.parametrize(("t", "sigma"), [(0.25, 0.287348795), (0.5, 0.692147680), (1.0, 6.907755279)])
def test_log_linear_total_noise(t: float, sigma: float) -> None:
    assert LogLinear().sigma(at(t)).item() == pytest.approx(sigma, rel=1e-6)


def test_log_linear_rate_and_mask_probability() -> None:
    t = at(0.5).requires_grad_()
    (rate,) = torch.autograd.grad(LogLinear().sigma(t).sum(), t)
    assert rate.item() == pytest.approx(1.996003996, rel=1e-6)
    assert LogLinear().mask_probability(at(0.5)).item() == pytest.approx(0.4995, rel=1e-12)


def test_cosine_at_one_half() -> None:
    schedule = Cosine()
    assert schedule.sigma(at(0.5)).item() == pytest.approx(0.346159462, rel=1e-6)
    assert schedule.mask_probability(at(0.5)).item() == pytest.approx(0.292600326, rel=1e-6)
    assert schedule.weight(at(0.5)).item() == pytest.approx(3.792237796, rel=1e-6)


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine(), LogLinear(eps=0.0), Cosine(eps=0.1)])
def test_weight_is_rate_over_expm1_of_total_noise(schedule: Schedule) -> None:
    t = torch.linspace(0.01, 0.99, 37, dtype=torch.float64).requires_grad_()
    sigma = schedule.sigma(t)
    (rate,) = torch.autograd.grad(sigma.sum(), t)
    torch.testing.assert_close(schedule.weight(t), rate / torch.expm1(sigma), rtol=1e-9, atol=0)


@pytest.mark.parametrize("schedule", [LogLinear(), Cosine()])
def test_time_inverts_mask_probability(schedule: Schedule) -> None:
    t = torch.linspace(0, 1, 21, dtype=torch.float64)
    torch.testing.assert_close(schedule.time(schedule.mask_probability(t)), t, rtol=1e-9, atol=1e-12)
    assert schedule.time(at(1.0)).item() == pytest.approx(1.0)


@pytest.mark.parametrize("eps", [-0.1, 1.0, float("nan")])
def test_eps_out_of_range_is_refused(eps: float) -> None:
    with pytest.raises(ConfigError, match="eps"):
        LogLinear(eps)

"""The arithmetic of weights."""

import math

import pytest
import torch

from gendesign.errors import ConfigError
from gendesign.steering.resampling import effective_sample_size, selection_kl, temperature_for


def test_effective_sample_size() -> None:
    """Potentials exp(2 (r_s - r_t)) have ESS 3.619560."""
    log_w = 2 * (torch.tensor([0.3, 0.2, 0.5, 0.1]) - torch.tensor([0.1, 0.4, 0.2, 0.0])).double()
    assert effective_sample_size(log_w).item() == pytest.approx(3.619560, rel=1e-6)
    assert effective_sample_size(torch.zeros(7)).item() == pytest.approx(7)
    assert effective_sample_size(torch.tensor([0.0, -torch.inf])).item() == pytest.approx(1)


def test_selection_kl_between_nothing_and_log_m() -> None:
    rows = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -torch.inf, -torch.inf, -torch.inf]])
    assert selection_kl(rows).tolist() == pytest.approx([0.0, math.log(4)])
    w = torch.tensor([0.7, 0.2, 0.1]).double()
    assert selection_kl(w.log()[None]).item() == pytest.approx((w * (w * 3).log()).sum().item())


def test_without_a_choice_the_kl_is_that_of_the_proposal() -> None:
    """Its mean over candidates of q is KL(q || p), though a candidate that p holds likelier has one below 0."""
    p, q = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.3, 0.3, 0.4]).double()
    each = selection_kl(torch.zeros(3, 1).double(), (p / q).log()[:, None])
    assert (q * each).sum().item() == pytest.approx((q * (q / p).log()).sum().item())
    assert each[0] < 0


@pytest.mark.parametrize("fraction", [0.15, 0.3, 0.9])
def test_temperature_reaches_the_wanted_sample_size(fraction: float) -> None:
    values = torch.randn(50, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    alpha = temperature_for(values, fraction)
    assert (effective_sample_size(values / alpha) / 10).mean().item() == pytest.approx(fraction, rel=1e-6)
    assert temperature_for(7 * values + 3, fraction) == pytest.approx(7 * alpha, rel=1e-6)


def test_temperature_leaves_unknown_values_neutral() -> None:
    nan = torch.nan
    known = temperature_for(torch.tensor([[0.0, 1.0, 0.5]]), 0.6)
    values = torch.tensor([[0.0, 1.0, nan], [nan, nan, nan]])
    assert temperature_for(values, 0.6) == pytest.approx(known, rel=1e-6)


def test_temperature_where_it_cannot_be_reached_or_does_not_matter() -> None:
    alike = torch.ones(3, 4)
    assert temperature_for(alike, 0.3) == 1.0
    assert temperature_for(torch.full((2, 4), torch.nan), 0.3) == 1.0
    # three of four are equally good: no temperature leaves less than three quarters effective
    plateau = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    assert temperature_for(plateau, 0.3) == pytest.approx(0.01, rel=1e-6)
    mixed = torch.cat([alike, torch.tensor([[0.0, 1.0, 2.0, 3.0]])])
    assert temperature_for(mixed, 0.5) == temperature_for(mixed[3:], 0.5)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, math.nan])
def test_temperature_refuses_a_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ConfigError):
        temperature_for(torch.tensor([[0.0, 1.0]]), fraction)

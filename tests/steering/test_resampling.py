"""The arithmetic of weights."""

import math

import numpy as np
import pytest
import torch

from gendesign.errors import ConfigError
from gendesign.steering.resampling import effective_sample_size, selection_kl, temperature_for


def test_effective_sample_size() -> None:
    """CONFORMANCE 16: potentials exp(2 (r_s - r_t)) have ESS 3.619560."""
    log_w = 2 * (torch.tensor([0.3, 0.2, 0.5, 0.1]) - torch.tensor([0.1, 0.4, 0.2, 0.0])).double()
    assert effective_sample_size(log_w).item() == pytest.approx(3.619560, rel=1e-6)
    assert effective_sample_size(torch.zeros(7)).item() == pytest.approx(7)
    assert effective_sample_size(torch.tensor([0.0, -torch.inf])).item() == pytest.approx(1)


def test_selection_kl_between_nothing_and_log_m() -> None:
    rows = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, -torch.inf, -torch.inf, -torch.inf]])
    assert selection_kl(rows).tolist() == pytest.approx([0.0, math.log(4)])
    w = torch.tensor([0.7, 0.2, 0.1]).double()
    assert selection_kl(w.log()[None]).item() == pytest.approx((w * (w * 3).log()).sum().item())


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.9])
def test_temperature_reaches_the_wanted_sample_size(fraction: float) -> None:
    rewards = np.random.default_rng(0).normal(5, 2, 200)
    alpha = temperature_for(np.append(rewards, np.nan), fraction)
    reached = effective_sample_size(torch.from_numpy(rewards / alpha)).item() / 200
    assert reached == pytest.approx(fraction, rel=1e-3)
    assert temperature_for(10 * rewards, fraction) == pytest.approx(10 * alpha, rel=1e-6)


@pytest.mark.parametrize(("rewards", "fraction"), [([1.0, 1.0], 0.1), ([np.nan, 1.0], 0.1), ([0.0, 1.0], 1.0), ([0.0, 1.0], 0.0)])
def test_temperature_refuses_what_has_no_answer(rewards: list[float], fraction: float) -> None:
    with pytest.raises(ConfigError):
        temperature_for(np.array(rewards), fraction)

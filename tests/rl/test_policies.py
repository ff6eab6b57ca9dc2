"""Policies: densities that integrate to 1, gradients, and refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from gendesign.errors import ConfigError
from gendesign.rl.policies import Deterministic, FunctionPolicy, Gaussian, TanhGaussian, TorchRLPolicy

STD = (0.4, 0.9)


def mean(observations: Tensor) -> Tensor:
    return torch.stack([0.5 * observations[..., 0], observations.sum(-1) - 0.2], -1)


def spread(observations: Tensor) -> Tensor:
    return torch.stack([0.3 + observations[..., 0] ** 2, torch.full_like(observations[..., 0], 0.7)], -1)


@pytest.mark.parametrize(
    ("policy", "half"),
    [
        (Gaussian(mean, STD), 8.0),
        (Gaussian(mean, spread), 8.0),
        (Deterministic(mean, noise=0.3), 4.0),
        (TanhGaussian(mean, STD), 1.0),
    ],
)
def test_densities_integrate_to_one(policy: Any, half: float) -> None:
    """Midpoints of a grid over both actions."""
    n = 1_200
    line = (torch.arange(n, dtype=torch.float64) + 0.5) / n * 2 * half - half
    actions = torch.cartesian_prod(line, line)
    observations = torch.tensor([0.3, -0.1], dtype=torch.float64).expand(len(actions), 2)
    total = policy.log_prob(actions, observations).exp().sum() * (2 * half / n) ** 2
    assert total.item() == pytest.approx(1.0, abs=2e-5)


def test_the_change_of_variables_of_tanh() -> None:
    """log pi(a) = log N(u) - log |da/du|, the Jacobian by autograd."""
    u = torch.tensor([0.7, -1.3], dtype=torch.float64)
    s = torch.tensor([0.2, 0.5], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(torch.tanh, u)
    expected = Gaussian(mean, STD).log_prob(u, s) - torch.linalg.slogdet(jacobian).logabsdet
    policy = TanhGaussian(mean, STD)
    assert policy.log_prob(u.tanh(), s).item() == pytest.approx(expected.item(), abs=1e-12)
    torch.testing.assert_close(policy.residuals(u.tanh(), s), (u - mean(s)) / torch.tensor(STD).double())


@pytest.mark.parametrize("policy", [Gaussian(mean, spread), TanhGaussian(mean, STD)])
def test_gradients_reach_actions_and_observations(policy: Any) -> None:
    noise = Generator().manual_seed(0)
    a, s = (torch.rand(3, 4, 2, dtype=torch.float64, generator=noise) - 0.5 for _ in range(2))
    assert torch.autograd.gradcheck(policy.log_prob, (a.requires_grad_(), s.requires_grad_()))


def test_residuals_are_what_bends_the_density() -> None:
    s = torch.tensor([[0.2, 0.5]], dtype=torch.float64).expand(2, 2)
    a = torch.tensor([[0.1, 0.3], [-0.4, 0.6]], dtype=torch.float64)
    rest = [p.log_prob(a, s) + 0.5 * (p.residuals(a, s) ** 2).sum(-1) for p in (Gaussian(mean, STD),)][0]
    assert rest[0].item() == pytest.approx(rest[1].item(), abs=1e-12)
    assert rest[0].item() == pytest.approx(-sum(math.log(sd * math.sqrt(2 * math.pi)) for sd in STD))


@pytest.mark.parametrize("policy", [Gaussian(mean, STD), TanhGaussian(mean, STD)])
def test_samples_have_the_density(policy: Any) -> None:
    """E[-log pi] over samples against the entropy by quadrature of one coordinate's law."""
    s = torch.tensor([0.3, -0.1], dtype=torch.float64).expand(40_000, 2)
    drawn = policy.sample(s, generator=Generator().manual_seed(1))
    entropy = sum(0.5 * math.log(2 * math.pi * math.e * sd**2) for sd in STD)
    if isinstance(policy, TanhGaussian):
        entropy += torch.log1p(-(drawn**2)).sum(-1).mean().item()
    found = -policy.log_prob(drawn, s).mean().item()
    assert found == pytest.approx(entropy, abs=0.02)


def test_saturated_actions_stay_finite() -> None:
    s = torch.zeros(1, 2)
    assert TanhGaussian(mean, STD).log_prob(torch.tensor([[1.0, -1.0]]), s).isfinite().all()


def test_a_function_is_a_policy() -> None:
    flat = FunctionPolicy(lambda a, s: -a.abs().sum(-1))
    a = torch.ones(2, 3, 1)
    torch.testing.assert_close(flat.log_prob(a, a), -torch.ones(2, 3))
    assert flat.residuals(a, a) is None
    with pytest.raises(ConfigError, match="one number a row"):
        FunctionPolicy(lambda a, s: a).log_prob(a, a)
    with pytest.raises(ConfigError, match="expected a function"):
        FunctionPolicy(3)


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="mean must be a function"):
        Gaussian(0.0, 1.0)
    for std in (0.0, [0.1, -1.0], math.nan, []):
        with pytest.raises(ConfigError, match="std must be above 0"):
            Gaussian(mean, std)
    with pytest.raises(ConfigError, match="noise must be"):
        Deterministic(mean, noise=0.0)
    with pytest.raises(ConfigError, match="the trajectories have actions of shape"):
        Gaussian(mean, 1.0).log_prob(torch.zeros(4, 3), torch.zeros(4, 2))


def test_an_actor_of_torchrl() -> None:
    pytest.importorskip("tensordict")

    class Actor:
        def get_dist(self, rows: Any) -> Any:
            centre = mean(rows["observation"])
            return torch.distributions.Normal(centre, torch.tensor(STD, dtype=centre.dtype))

    a, s = torch.zeros(3, 4, 2).double(), torch.ones(3, 4, 2).double()
    torch.testing.assert_close(
        TorchRLPolicy(Actor()).log_prob(a, s), Gaussian(mean, STD).log_prob(a, s), rtol=1e-6, atol=1e-6
    )
    with pytest.raises(ConfigError, match="wrap a deterministic actor"):
        TorchRLPolicy(object())

"""EDM's preconditioning against known values (arXiv 2206.00364, table 1)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from gendesign.building import build, describe
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import ConfigError
from gendesign.models.base import VectorNetwork
from gendesign.models.preconditioning import Preconditioned, coefficients


class Echo(VectorNetwork):
    """Returns a constant and remembers what it was given."""

    def __init__(self, *, raw: float = 0.0, head: float | None = 0.0) -> None:
        super().__init__()
        self.raw = raw
        self.head = head
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, noise: Tensor, cond: Any = None, mask: Any = None) -> Any:
        self.seen = [x, noise]
        head = None if self.head is None else torch.full_like(x, self.head)
        return torch.full_like(x, self.raw), head


@pytest.mark.parametrize(
    ("sigma_data", "sigma", "expected"),
    [
        (0.5, 0.002, (0.9999840003, 0.001999984, 1.999984, -1.553652025, 250004)),
        (0.5, 1.0, (0.2, 0.4472135955, 0.894427191, 0.0, 5.0)),
        (0.5, 80.0, (3.906097418e-5, 0.4999902347, 0.01249975587, 1.095506659, 4.00015625)),
        (1.0, 80.0, (1.562255898e-4, 0.9999218842, 0.01249902355, 1.095506659, 1.00015625)),
    ],
)
def test_coefficients(sigma_data: float, sigma: float, expected: tuple[float, ...]) -> None:
    """Row 19: c_skip, c_out, c_in, c_noise, and the weight of the loss, which is 1/c_out^2."""
    level = torch.tensor([sigma], dtype=torch.float64)
    c = coefficients(level, sigma_data)
    weight = PoissonFlow(sigma_data=sigma_data).weight(level)
    found = [c.skip.item(), c.out.item(), c.input.item(), c.noise.item(), weight.item()]
    assert found == pytest.approx(list(expected), rel=1e-6, abs=1e-12)
    assert weight.item() * c.out.item() ** 2 == pytest.approx(1, rel=1e-12)


def test_the_network_sees_unit_variance_at_every_noise_level() -> None:
    network = Echo()
    denoiser = Preconditioned(network, sigma_data=0.7, aug_dim=math.inf)
    noise = Generator().manual_seed(0)
    for sigma in (0.01, 0.7, 50.0):
        x = 0.7 * torch.randn(4000, 3, generator=noise) + sigma * torch.randn(4000, 3, generator=noise)
        denoiser(x, torch.full((4000,), sigma))
        assert network.seen[0].dtype == torch.float32
        assert network.seen[0].std().item() == pytest.approx(1, abs=0.03)


def test_mean_and_variance_of_the_preconditioned_network() -> None:
    x, sigma = torch.tensor([[2.0, -1.0]]), torch.tensor([1.0])
    mean, variance = Preconditioned(Echo(raw=0.5, head=math.log(2.0)), sigma_data=0.5)(x, sigma)
    torch.testing.assert_close(mean, 0.2 * x.double() + 0.4472135955 * 0.5)
    torch.testing.assert_close(variance, torch.full_like(mean, 0.2 * 2))
    assert Preconditioned(Echo(head=None))(x, sigma)[1] is None
    assert Preconditioned(Echo(head=1e9))(x, sigma)[1].isfinite().all()


def test_fixed_coordinates_reach_the_network_as_data() -> None:
    network = Echo()
    x, mask = torch.tensor([[2.0, -1.0]]), torch.tensor([[True, False]])
    Preconditioned(network, sigma_data=0.5)(x, torch.tensor([80.0]), mask=mask)
    torch.testing.assert_close(network.seen[0], torch.tensor([[2.0 * 0.01249975587, -2.0]]))


def test_configuration_and_errors() -> None:
    again = build(describe(Preconditioned(Echo(raw=0.5), aug_dim=16.0)), trust=[__name__.split(".")[0]])
    assert again.aug_dim == 16.0 and again.network.raw == 0.5
    for make in (lambda: Preconditioned(Echo(), sigma_data=0.0), lambda: Preconditioned(Echo(), aug_dim=0.5)):
        with pytest.raises(ConfigError):
            make()
    with pytest.raises(ConfigError, match="needs t"):
        Preconditioned(Echo())(torch.zeros(1, 2))

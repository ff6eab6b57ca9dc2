"""The training loss of PFGM++: its value, what its variance head learns, and which gradient reaches what."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from scipy.stats import t as student_t
from torch import Generator, Tensor

from gendesign.diffusion.poisson_flow import MeanPrediction, PoissonFlow
from gendesign.diffusion.student import stratified_fractions


class Affine:
    """Mean a x, variance u of every coordinate; remembers the noise levels that it was asked at."""

    time_conditioned = True

    def __init__(self, a: float, u: float | None) -> None:
        self.a = torch.tensor(a, dtype=torch.float64, requires_grad=True)
        self.u = None if u is None else torch.tensor(u, dtype=torch.float64, requires_grad=True)
        self.asked: list[tuple[Tensor, Tensor]] = []

    def __call__(self, x: Tensor, t: Any = None, cond: Any = None, mask: Any = None) -> Any:
        self.asked.append((x, t))
        mean = self.a * x
        return mean if self.u is None else (mean, self.u.expand_as(x))


def data(num: int) -> Tensor:
    return 0.5 * torch.randn(num, 3, dtype=torch.float64, generator=Generator().manual_seed(1))


@pytest.mark.parametrize("aug_dim", [4.0, math.inf])
def test_the_value_of_the_loss(aug_dim: float) -> None:
    """w |mean - x_0|^2 + sum(w |mean - x_0|^2 / (w u) + log(w u)) with w = 1/c_out^2."""
    process, x_0, network = PoissonFlow(aug_dim, sigma_data=0.5), data(6), Affine(0.7, 0.2)
    loss = process.loss(network, x_0, generator=Generator().manual_seed(0))  # type: ignore[arg-type]
    x_t, sigma = network.asked[0]
    weight = ((sigma**2 + 0.25) / (0.5 * sigma) ** 2)[:, None]
    squared = weight * (0.7 * x_t - x_0) ** 2
    expected = (squared + squared / (weight * 0.2) + (weight * 0.2).log()).sum(-1)
    torch.testing.assert_close(loss, expected)


def test_the_head_has_no_part_in_the_gradient_of_the_mean() -> None:
    process, x_0 = PoissonFlow(16.0), data(50)
    gradients = []
    for u in (0.01, None):
        network = Affine(0.7, u)
        loss = process.loss(network, x_0, generator=Generator().manual_seed(0)).sum()  # type: ignore[arg-type]
        gradients.append(torch.autograd.grad(loss, network.a)[0])
    torch.testing.assert_close(*gradients)


def test_the_head_learns_the_squared_error_of_the_mean() -> None:
    """At u = E[e^2], and nowhere else, the gradient of the head vanishes."""
    process, x_0 = PoissonFlow(math.inf, log_sigma_mean=0.0, log_sigma_std=1e-6), data(20_000)

    def gradient(u: float) -> tuple[float, float]:
        network = Affine(0.2, u)
        loss = process.loss(network, x_0, generator=Generator().manual_seed(0)).mean()  # type: ignore[arg-type]
        x_t, _ = network.asked[0]
        error = float(((0.2 * x_t - x_0) ** 2).mean())
        return float(torch.autograd.grad(loss, network.u)[0]), error  # type: ignore[arg-type]

    error = gradient(1.0)[1]
    assert abs(gradient(error)[0]) < 1e-6
    assert gradient(0.8 * error)[0] < -0.1 and gradient(1.2 * error)[0] > 0.1


def test_noise_levels_cover_their_law() -> None:
    """One in each of times x num equal parts; every design has one in each of `times` parts."""
    fractions = stratified_fractions(50, 4, device="cpu", generator=Generator().manual_seed(0))
    assert (fractions.flatten().sort().values * 200).floor().tolist() == list(range(200))
    assert torch.equal((fractions * 4).floor(), torch.arange(4).double()[:, None].expand(4, 50))


def test_evaluation_does_not_depend_on_the_place_of_a_design() -> None:
    """Copies of one design have one expected figure, wherever they stand in the batch."""
    process, copies = PoissonFlow(16.0, sigma_data=0.5), data(1).expand(40, -1)
    noise = Generator().manual_seed(0)
    network = Affine(1.0, None)  # its error grows with the noise, so that a place tied to a level would show
    figures = (
        torch.stack(
            [process.evaluate(network, copies, num_times=1, generator=noise) for _ in range(300)]  # type: ignore[arg-type]
        )
        .detach()
        .log()
    )
    low, high = figures[:, :20].mean(), figures[:, 20:].mean()
    assert abs(float(low - high)) < 5 * float(figures.std()) / math.sqrt(300 * 20)


def test_many_draws_of_rows_with_different_numbers_of_free_coordinates() -> None:
    """Each row has its own degrees of freedom in every draw: heavier tails where fewer coordinates are free."""
    mask = torch.tensor([[True, False], [True, True]])
    process = PoissonFlow(1.0)
    zero, one = torch.zeros(2, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    step = process.transition(MeanPrediction(zero, mask=mask), zero, 2 * one, one)
    drawn = step.sample(200_000, generator=Generator().manual_seed(0))[..., 0] / step.scale2.sqrt()
    for row, dof in enumerate((2.0, 3.0)):
        beyond = (drawn[:, row].abs() > 3).double().mean().item()
        assert beyond == pytest.approx(2 * float(student_t.sf(3, dof)), abs=0.003)

"""Solvers of the probability flow against known values (arXiv 2206.00364, 2302.04265)."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from gendesign.diffusion.poisson_flow import MeanPrediction, PoissonFlow
from gendesign.diffusion.solvers import Churn, Euler, Heun, Solver, path_scale
from gendesign.errors import ConfigError


def gaussian(x: Tensor, sigma: Tensor) -> MeanPrediction:
    """Exact denoiser of data N(0, .5^2) at D = inf."""
    return MeanPrediction(x * (0.25 / (0.25 + sigma**2))[:, None], rows=len(x))


def cauchy(x: Tensor, sigma: Tensor) -> MeanPrediction:
    """Exact denoiser of Cauchy data of scale .5 at D = 1."""
    return MeanPrediction(x * (0.5 / (0.5 + sigma))[:, None], rows=len(x))


def integrate(solver: Solver, ask: Any, steps: int, process: PoissonFlow) -> tuple[float, int]:
    times = process.times(steps)
    x, rows, generator = torch.tensor([[80.0]], dtype=torch.float64), 0, Generator()
    for k in range(steps):
        t, s = times[k : k + 1], times[k + 1 : k + 2]
        solved = solver.step(process, ask, ask(x, t), x, t, s, generator=generator)
        x, rows = solved.x, rows + 1 + solved.rows
    return x.item(), rows


@pytest.mark.parametrize(
    ("solver", "values"),
    [
        (Euler(), (0.4230314364, 0.4609962161, 0.4803694895, 0.4901482289)),
        (Heun(), (0.5276246370, 0.5060970919, 0.5014256262, 0.5003357234)),
    ],
)
def test_flow_of_gaussian_data(solver: Solver, values: tuple[float, ...]) -> None:
    """Row 21; Heun spends 2 T - 1 evaluations."""
    process = PoissonFlow(math.inf)
    for steps, expected in zip((18, 36, 72, 144), values, strict=True):
        x, rows = integrate(solver, gaussian, steps, process)
        assert x == pytest.approx(expected, rel=1e-8)
        assert rows == (steps if isinstance(solver, Euler) else 2 * steps - 1)


@pytest.mark.parametrize(("solver", "order"), [(Euler(), 1), (Heun(), 2)])
def test_order_of_convergence(solver: Solver, order: int) -> None:
    process = PoissonFlow(math.inf)
    errors = [abs(integrate(solver, gaussian, steps, process)[0] - 0.499990234661) for steps in (36, 72, 144)]
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(s == pytest.approx(order, abs=0.2) for s in slopes)


@pytest.mark.parametrize("solver", [Euler(), Heun()])
@pytest.mark.parametrize("steps", [3, 18, 50])
def test_cauchy_data_are_exact_at_any_number_of_steps(solver: Solver, steps: int) -> None:
    """Row 22: at D = 1 the flow is a straight line."""
    assert integrate(solver, cauchy, steps, PoissonFlow(1.0))[0] == pytest.approx(0.4968944099, rel=1e-9)


def test_churned_step_starts_from_the_raised_state() -> None:
    """Row 26."""
    one = torch.ones(1, dtype=torch.float64)
    solver = Churn(noise_scale=1.003)
    x, noise = torch.tensor([[10.0]], dtype=torch.float64), torch.tensor([[0.5]], dtype=torch.float64)
    seen: list[float] = []

    def ask(state: Tensor, sigma: Tensor) -> MeanPrediction:
        seen.append(state.item())
        return gaussian(state, sigma)

    solved = solver.from_noise(
        PoissonFlow(math.inf), ask, x, 5 * 1.3125 * one, 5 * one, 4 * one, noise, generator=Generator()
    )
    assert seen == pytest.approx([12.1316054563, 7.4218424940], rel=1e-9)
    assert solved.x.item() == pytest.approx(7.4359890347, rel=1e-9)
    assert solved.rows == 2


def test_churn_renews_in_proportion_to_the_step() -> None:
    """t_hat = t min((t/s)^rate, sqrt 2), inside its range of noise; no step to 0, and none at rate 0, is raised."""
    process, x = PoissonFlow(math.inf), torch.ones(4, 1, dtype=torch.float64)
    t = torch.tensor([10.0, 10.0, 10.0, 0.1], dtype=torch.float64)
    s = torch.tensor([8.0, 0.5, 0.0, 0.08], dtype=torch.float64)
    seen: list[Tensor] = []

    def ask(state: Tensor, sigma: Tensor) -> MeanPrediction:
        seen.append(sigma)
        return gaussian(state, sigma)

    def levels(solver: Churn) -> Tensor:
        seen.clear()
        solver.step(process, ask, gaussian(x, t), x, t, s, generator=Generator().manual_seed(0))
        return seen[0]

    expected = torch.tensor([10 * 1.25**0.5, 10 * math.sqrt(2), 10.0, 0.1], dtype=torch.float64)
    torch.testing.assert_close(levels(Churn(0.5, sigma_min=1.0)), expected)
    assert levels(Churn(0.0)).tolist() == [8.0, 0.5, 0.08]  # Heun's corrector alone


def test_noise_of_churn_carries_the_path_scale() -> None:
    """x_t = y + t w z with y known: E[w^2 | x_t] by simulation near one radius agrees with draws of `path_scale`."""
    aug_dim, t, num = 5.0, 1.5, 2_000_000
    generator = Generator().manual_seed(0)
    shape = torch.full((num,), aug_dim / 2, dtype=torch.float64)
    w = (aug_dim / 2 / torch._standard_gamma(shape, generator=generator)).sqrt()
    x = t * w[:, None] * torch.randn(num, 2, dtype=torch.float64, generator=generator)
    near = (x.norm(dim=-1) - 2.0).abs() < 0.02
    state = torch.tensor([[2.0, 0.0]], dtype=torch.float64).expand(50_000, -1)
    drawn = path_scale(
        aug_dim, MeanPrediction(torch.zeros_like(state)), state, torch.full((50_000,), t), generator=generator
    )
    assert drawn.square().mean().item() == pytest.approx(w[near].square().mean().item(), rel=0.03)


def test_bad_settings_are_refused() -> None:
    for make in (
        lambda: Churn(-0.1),
        lambda: Churn(math.nan),
        lambda: Churn(noise_scale=0.0),
        lambda: Churn(sigma_min=-1.0),
        lambda: Churn(sigma_min=2.0, sigma_max=1.0),
        lambda: Churn(sigma_max=math.nan),
    ):
        with pytest.raises(ConfigError):
            make()

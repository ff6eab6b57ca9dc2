"""Fixed coordinates and padding: they stay clean and count in nothing; templates are honoured."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from gendesign.diffusion.exact import PointSet
from gendesign.diffusion.poisson_flow import MeanPrediction, PoissonFlow
from gendesign.diffusion.solvers import Churn, Euler, Heun, Solver
from gendesign.diffusion.student_transition import StudentTransition

INF = math.inf
MASK = torch.tensor([[True, True, False, False], [True, False, False, False], [True, True, True, True]])


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def state(seed: int = 1) -> Tensor:
    return torch.randn(3, 4, dtype=torch.float64, generator=generator(seed))


@pytest.mark.parametrize("aug_dim", [1.0, 16.0, INF])
def test_densities_count_free_coordinates_alone(aug_dim: float) -> None:
    """Each row has the kernel and the transition of its own free coordinates, N and degrees of freedom included."""
    process, t, s = PoissonFlow(aug_dim), torch.full((3,), 1.5).double(), torch.full((3,), 0.7).double()
    x_0, x_t, x_s, variance = state(), state(2), state(3), state(4).abs()
    kernel = process.log_kernel(x_t, x_0, t, MASK)
    step = process.transition(MeanPrediction(x_0, variance, mask=MASK), x_t, t, s)
    density = step.log_prob(x_s)
    for i, free in enumerate(MASK):
        one = (x_0[i : i + 1, free], variance[i : i + 1, free], x_t[i : i + 1, free])
        torch.testing.assert_close(kernel[i : i + 1], process.log_kernel(one[2], one[0], t[:1]))
        alone = StudentTransition(*one, t[:1], s[:1], aug_dim)
        torch.testing.assert_close(density[i : i + 1], alone.log_prob(x_s[i : i + 1, free]))


@pytest.mark.parametrize("aug_dim", [2.0, INF])
def test_fixed_coordinates_stay_clean(aug_dim: float) -> None:
    process, t = PoissonFlow(aug_dim), torch.full((3,), 1.5).double()
    x_0 = state()
    x_t = process.corrupt(x_0, t, generator=generator(), mask=MASK)
    assert torch.equal(x_t == x_0, ~MASK)
    asked: list[Any] = []

    def denoiser(x: Tensor, t: Any = None, cond: Any = None, mask: Any = None) -> Any:
        asked.append(mask)
        return torch.full_like(x, 9.0), torch.ones_like(x)

    denoiser.time_conditioned = True  # type: ignore[attr-defined]
    prediction = process.predict(denoiser, x_t, t, mask=MASK)  # type: ignore[arg-type]
    assert torch.equal(asked[0], MASK)
    assert torch.equal(prediction.mean, torch.where(MASK, 9.0, x_0))
    drawn = process.transition(prediction, x_t, t, t / 2).sample(5, generator=generator())
    assert torch.equal(drawn == x_0, (~MASK).expand(5, -1, -1))
    for solver in (Euler(), Heun(), Churn()):
        moved = solver.step(
            process,
            lambda x, t: process.predict(denoiser, x, t, mask=MASK),  # type: ignore[arg-type]
            prediction,
            x_t,
            t,
            t / 2,
            generator=generator(),
        ).x
        assert torch.equal(moved[~MASK], x_0[~MASK]) and not torch.equal(moved[MASK], x_t[MASK])


def test_the_loss_sees_free_coordinates_alone() -> None:
    process, seen = PoissonFlow(16.0), []

    def denoiser(x: Tensor, t: Any = None, cond: Any = None, mask: Any = None) -> Any:
        seen.append(x)
        return torch.where(MASK, 0.0, 1e6), torch.where(MASK, 1.0, 1e-9)

    denoiser.time_conditioned = True  # type: ignore[attr-defined]
    x_0 = state()
    loss = process.loss(denoiser, x_0, generator=generator(), mask=MASK)  # type: ignore[arg-type]
    assert torch.equal(seen[0][~MASK], x_0[~MASK])
    assert (loss.abs() < 1e6).all()


@pytest.mark.parametrize("solver", [None, Heun()])
@pytest.mark.parametrize("aug_dim", [4.0, INF])
def test_templates_are_honoured_and_inform_the_rest(aug_dim: float, solver: Solver | None) -> None:
    """Given the coordinate that tells two points apart first, the other is the one that belongs to it.

    Replacement is approximate: a coordinate that is decided at higher noise than the given one is not informed by it.
    """
    points = torch.tensor([[3.0, 1.0], [-3.0, -1.0]], dtype=torch.float64)
    process, denoiser = PoissonFlow(aug_dim, sigma_max=20.0), PointSet(points, aug_dim)
    template = torch.tensor([3.0, math.nan], dtype=torch.float64)
    noise, num = generator(), 300
    times = process.times(24)
    x = process.prior(num, 2, generator=noise, template=template)

    def ask(x: Tensor, t: Tensor) -> MeanPrediction:
        return process.predict(denoiser, x, t, template=template)

    for t, s in zip(times, times[1:], strict=False):
        now, then = t.expand(num), s.expand(num)
        prediction = ask(x, now)
        if solver is None:
            x = process.transition(prediction, x, now, then).sample(1, generator=noise)[0]
        else:
            x = solver.step(process, ask, prediction, x, now, then, generator=noise).x
    torch.testing.assert_close(x[:, 0], torch.full((num,), 3.0).double())
    assert ((x[:, 1] - 1).abs() < 0.1).double().mean() > 0.9


def test_stable_in_a_million_dimensions() -> None:
    """Finite densities and steps of the right size for N up to 1e6 and D up to 1e9."""
    num = 1_000_000
    t, s = torch.tensor([80.0]).double(), torch.tensor([40.0]).double()
    for aug_dim in (1.0, 128.0, 1e9, INF):
        process = PoissonFlow(aug_dim)
        x = process.prior(1, num, generator=generator())
        step = process.transition(MeanPrediction(torch.zeros_like(x), torch.full_like(x, 0.25)), x, t, s)
        drawn = step.sample(1, generator=generator(1))[0]
        # a path keeps its scale w: |x_s|/|x_t| is s/t whatever D
        assert (drawn.norm() / x.norm()).item() == pytest.approx(0.5, abs=2e-3)
        assert step.log_prob(drawn).isfinite().all()
        assert process.log_kernel(x, torch.zeros_like(x), t).isfinite().all()

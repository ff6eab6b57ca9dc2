"""Samplers with exact denoisers approach the data as steps grow (all of it: benchmarks/convergence.py)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from gendesign.diffusion.exact import PointSet
from gendesign.diffusion.poisson_flow import MeanPrediction, PoissonFlow
from gendesign.diffusion.solvers import Churn, Euler, Heun, Solver

POINTS = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.5, 0], [0, 0, -2.0]], dtype=torch.float64)
LAW = torch.tensor([0.1, 0.5, 0.1, 0.3], dtype=torch.float64)


def distance(
    aug_dim: float, steps: int, num: int, *, solver: Solver | None = None, with_variance: bool = True
) -> float:
    """Total variation between the data and which point the samples reach."""
    process, denoiser = PoissonFlow(aug_dim, sigma_data=1.0), PointSet(POINTS, aug_dim, weights=LAW)
    noise = Generator().manual_seed(steps)

    def ask(x: Tensor, t: Tensor) -> MeanPrediction:
        prediction = process.predict(denoiser, x, t)
        return prediction if with_variance else MeanPrediction(prediction.mean)

    x, times = process.prior(num, 3, generator=noise), process.times(steps)
    for t, s in zip(times, times[1:], strict=False):
        now, then = t.expand(num), s.expand(num)
        prediction = ask(x, now)
        if solver is None:
            x = process.transition(prediction, x, now, then).sample(1, generator=noise)[0]
        else:
            x = solver.step(process, ask, prediction, x, now, then, generator=noise).x
    frequency = torch.bincount(torch.cdist(x, POINTS).argmin(-1), minlength=4) / num
    return 0.5 * float((frequency - LAW).abs().sum())


def floor(num: int) -> float:
    return float((LAW * (1 - LAW) / (2 * math.pi * num)).sqrt().sum())


@pytest.mark.whole
@pytest.mark.parametrize("aug_dim", [1.0, 2.0, 16.0, math.inf])
@pytest.mark.parametrize("solver", [Euler(), Heun(), Churn()], ids=lambda s: type(s).__name__)
def test_solvers_reach_the_data(aug_dim: float, solver: Solver) -> None:
    assert distance(aug_dim, 48, 4_000, solver=solver) < 0.02 + floor(4_000)


@pytest.mark.slow
@pytest.mark.parametrize("aug_dim", [1.0, 2.0, 16.0, 128.0, 2048.0, math.inf])
def test_steps_with_the_variance_reach_the_data(aug_dim: float) -> None:
    """The distance falls with the steps; without the variance it stays behind at small D and nowhere else."""
    num, few, many = 30_000, 16, 512
    coarse, fine = distance(aug_dim, few, num), distance(aug_dim, many, num)
    plug_in = distance(aug_dim, many, num, with_variance=False)
    assert fine < 0.25 * coarse
    assert fine < (0.02 if aug_dim > 1 else 0.03) + floor(num)
    if aug_dim <= 2:
        assert plug_in > 1.3 * fine
    else:
        assert abs(plug_in - fine) < 0.01

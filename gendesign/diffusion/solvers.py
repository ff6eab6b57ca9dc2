"""Solvers: steps that are not one transition of one prediction.

Euler and Heun integrate the probability-flow equation dx/dsigma = (x - x_hat_0(x, sigma)) / sigma, which is the same at
every augmented dimension D (through r = sigma sqrt(D)). `Churn` first raises the noise, then takes a Heun step.

Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, arXiv 2206.00364.
Xu et al. 2023, PFGM++, arXiv 2302.04265.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gendesign.building import Configurable, finite
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.process import Network, Prediction, Process
from gendesign.diffusion.student import student_scale
from gendesign.diffusion.student_transition import MeanPrediction, free_sum, num_free, squared_distance
from gendesign.errors import ConfigError, UnsupportedError

Ask = Callable[[Tensor, Tensor], MeanPrediction]
"""(x, sigma of each row) -> prediction."""


@dataclass(frozen=True)
class Solved:
    """A step.

    Attributes:
        x: the new state.
        rows: network rows spent beyond the prediction that was given.
    """

    x: Float[Tensor, "B N"]
    rows: int


class Solver(Configurable, ABC):
    """A rule that takes states from noise level t to s < t.

    Attributes:
        rows_per_step: the most network rows a design and step, the prediction that is given included.
    """

    rows_per_step: int = 1

    @abstractmethod
    def step(
        self,
        process: PoissonFlow,
        ask: Ask,
        prediction: MeanPrediction,
        x: Float[Tensor, "B N"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
        *,
        generator: Generator,
    ) -> Solved:
        """Take one step.

        Args:
            process: the noise.
            ask: gives further predictions.
            prediction: the one at (x, t), already paid for.
            x: states.
            t: their noise levels.
            s: the next ones.
            generator: for solvers that add noise.
        """


class Euler(Solver):
    """First order: one prediction a step."""

    def step(
        self,
        process: PoissonFlow,
        ask: Ask,
        prediction: MeanPrediction,
        x: Float[Tensor, "B N"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
        *,
        generator: Generator,
    ) -> Solved:
        return Solved(x + (s - t)[:, None] * slope(x, prediction, t), 0)


class Heun(Solver):
    """Second order: two predictions a step, one for the step to 0."""

    rows_per_step = 2

    def step(
        self,
        process: PoissonFlow,
        ask: Ask,
        prediction: MeanPrediction,
        x: Float[Tensor, "B N"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
        *,
        generator: Generator,
    ) -> Solved:
        first = slope(x, prediction, t)
        euler = x + (s - t)[:, None] * first
        on = (s > 0).nonzero().squeeze(-1)  # at sigma = 0 the slope is not defined, and Euler's step is exact
        if not len(on):
            return Solved(euler, 0)
        second = ask(euler[on], s[on])
        mean = (first[on] + slope(euler[on], second, s[on])) / 2
        return Solved(euler.index_copy(0, on, x[on] + (s[on] - t[on])[:, None] * mean), second.rows)


class Churn(Heun):
    """Heun's step from a state whose noise was raised from t to t_hat, algorithm 2.

    Noise is renewed in proportion to how far the step goes, t_hat = t min((t/s)^rate, sqrt(2)), so that a finer grid
    renews as much in all, in smaller parts. At finite D the added noise carries the path's own scale w, drawn from its
    law given the state: w^2 = (D + |x - x_hat_0|^2/t^2 + v/t^2) / chi2 with D + N degrees of freedom. Its second moment
    is exact, which is all that counts as the parts become small (where D + N > 2).

    Args:
        rate: at least 0; 0 is Heun's method.
        sigma_min: below it no noise is added.
        sigma_max: above it no noise is added.
        noise_scale: S_noise, slightly above 1 to make up for what the network loses.

    Raises:
        ConfigError: an argument is out of range.
    """

    rows_per_step = 3

    def __init__(
        self,
        rate: float = 0.25,
        *,
        sigma_min: float = 0.0,
        sigma_max: float = math.inf,
        noise_scale: float = 1.0,
    ) -> None:
        self.rate = finite("rate", rate, at_least=0.0)
        self.sigma_min = finite("sigma_min", sigma_min, at_least=0.0)
        if not sigma_max > sigma_min:
            raise ConfigError(f"sigma_max must be above sigma_min={sigma_min}, got {sigma_max}")
        self.sigma_max = sigma_max
        self.noise_scale = finite("noise_scale", noise_scale, above=0.0)

    def step(
        self,
        process: PoissonFlow,
        ask: Ask,
        prediction: MeanPrediction,
        x: Float[Tensor, "B N"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
        *,
        generator: Generator,
    ) -> Solved:
        inside = (t >= self.sigma_min) & (t <= self.sigma_max) & (s > 0)
        raised = torch.where(inside, t * (t / s).pow(self.rate).clamp(max=math.sqrt(2)), t)
        if bool((raised == t).all()):  # nothing to renew: the prediction that is paid for serves
            return super().step(process, ask, prediction, x, t, s, generator=generator)
        noise = torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)
        noise = noise * path_scale(process.aug_dim, prediction, x, t, generator=generator)[:, None]
        if prediction.mask is not None:
            noise = torch.where(prediction.mask, noise, 0.0)
        return self.from_noise(process, ask, x, raised, t, s, noise, generator=generator)

    def from_noise(
        self,
        process: PoissonFlow,
        ask: Ask,
        x: Float[Tensor, "B N"],
        raised: Float[Tensor, " B"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
        noise: Float[Tensor, "B N"],
        *,
        generator: Generator,
    ) -> Solved:
        """The step with its noise given: predictor and corrector both start from the raised state."""
        x_hat = x + ((raised**2 - t**2).sqrt() * self.noise_scale)[:, None] * noise
        prediction = ask(x_hat, raised)
        solved = super().step(process, ask, prediction, x_hat, raised, s, generator=generator)
        return Solved(solved.x, solved.rows + prediction.rows)


def flow_step(
    solver: Solver,
    process: Process,
    denoiser: Network,
    prediction: Prediction,
    x: Tensor,
    t: Float[Tensor, " B"],
    s: Float[Tensor, " B"],
    *,
    generator: Generator,
    template: Tensor | None = None,
) -> Solved:
    """A solver's step on a process that has a flow.

    Args:
        solver: what takes it.
        process: the noise.
        denoiser: asked for further predictions.
        prediction: the one at (x, t), already paid for.
        x: states.
        t: their noise levels.
        s: the next ones.
        generator: for solvers that add noise.
        template: given coordinates.

    Raises:
        UnsupportedError: the process is no continuous one.
    """
    if not isinstance(process, PoissonFlow) or not isinstance(prediction, MeanPrediction):
        raise UnsupportedError(
            f"{type(solver).__name__} solves the probability flow of a continuous process; "
            f"{type(process).__name__} has none: leave the solver out"
        )

    def ask(x: Tensor, t: Tensor) -> MeanPrediction:
        return process.predict(denoiser, x, t, template=template)

    return solver.step(process, ask, prediction, x, t, s, generator=generator)


def slope(x: Tensor, prediction: MeanPrediction, sigma: Tensor) -> Float[Tensor, "B N"]:
    """dx/dsigma = (x - x_hat_0)/sigma of the probability flow."""
    return (x - prediction.mean) / sigma[:, None]


def path_scale(
    aug_dim: float, prediction: MeanPrediction, x: Tensor, t: Tensor, *, generator: Generator
) -> Float[Tensor, " B"]:
    """A draw of the scale w of each path given its state; 1 at D = inf."""
    if math.isinf(aug_dim):
        return torch.ones_like(t)
    squared = squared_distance(x, prediction.mean, prediction.mask)
    if prediction.variance is not None:
        squared = squared + free_sum(prediction.variance, prediction.mask)
    dof = aug_dim + num_free(x, prediction.mask)
    w = student_scale(len(x), dof, device=x.device, generator=generator)
    return w * ((aug_dim + squared / t**2) / dof).sqrt()

"""A diffusers scheduler as a change of coordinates of an EDM denoiser.

Every network that a diffusers pipeline samples with is a posterior mean x_hat_0(x, sigma), x = x_0 + sigma z, in other
coordinates. A scheduler of cumulative products abar_t (DDPM and its kin) has

    sigma = sqrt((1 - abar)/abar),   x_t = sqrt(abar) x = x / sqrt(1 + sigma^2),
    epsilon: x_hat_0 = x - sigma e;   v: x_hat_0 = (x/sqrt(1 + sigma^2) - sigma v)/sqrt(1 + sigma^2);   sample: x_hat_0;

EDM's schedulers have EDM's preconditioning, and flow matching x_s = (1 - s) x_0 + s z has sigma = s/(1 - s) and the
velocity u = z - x_0. Between the steps that a network was trained at, its timestep is linear in ln sigma.

Ho, Jain, Abbeel 2020, Denoising Diffusion Probabilistic Models, arXiv 2006.11239.
Salimans, Ho 2022, Progressive Distillation for Fast Sampling of Diffusion Models, arXiv 2202.00512: v-prediction.
Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, arXiv 2206.00364.
Lipman et al. 2023, Flow Matching for Generative Modeling, arXiv 2210.02747.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.errors import UnsupportedError
from gendesign.models.preconditioning import coefficients

ABAR_FLOOR = 2.0**-24
"""Stands for abar = 0 (zero terminal signal-to-noise), where sigma would be infinite: sigma is then 4096 or more."""
CUMULATIVE = (
    "DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "PNDMScheduler",
    "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "DPMSolverSDEScheduler", "DEISMultistepScheduler",
    "UniPCMultistepScheduler", "SASolverScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "LMSDiscreteScheduler",
)  # fmt: skip
"""Schedulers of cumulative products abar_t."""
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
"""Schedulers with EDM's preconditioning."""
FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
"""Schedulers of straight paths from noise to data."""


@dataclass(frozen=True)
class Coordinates(ABC):
    """Where a network of diffusers stands in EDM's coordinates.

    Attributes:
        sigma_min: the smallest noise level that the network knows.
        sigma_max: the largest.
    """

    sigma_min: float
    sigma_max: float

    @abstractmethod
    def scale(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """What x = x_0 + sigma z is multiplied with before the network sees it."""

    @abstractmethod
    def timestep(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The network's time at a noise level."""

    @abstractmethod
    def mean(
        self, output: Float[Tensor, "B N"], x: Float[Tensor, "B N"], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B N"]:
        """The posterior mean of x_0, from the network's output at x (not scaled) and sigma."""


@dataclass(frozen=True)
class Cumulative(Coordinates):
    """Coordinates of cumulative products.

    Attributes:
        log_sigma: ln sigma of each training step, ascending.
        prediction: epsilon, v_prediction or sample.
    """

    log_sigma: Float[Tensor, " T"]
    prediction: str

    def scale(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return (1 + sigma**2).rsqrt()

    def timestep(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        known = self.log_sigma.to(sigma.device)
        wanted = sigma.log().clamp(known[0], known[-1])
        right = torch.searchsorted(known, wanted).clamp(1, len(known) - 1)
        low, high = known[right - 1], known[right]
        return right - 1 + (wanted - low) / (high - low)

    def mean(
        self, output: Float[Tensor, "B N"], x: Float[Tensor, "B N"], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B N"]:
        if self.prediction == "sample":
            return output
        sigma = sigma[:, None]
        if self.prediction == "epsilon":
            return x - sigma * output
        root = (1 + sigma**2).sqrt()
        return (x / root - sigma * output) / root


@dataclass(frozen=True)
class Preconditioning(Coordinates):
    """EDM's coordinates.

    Attributes:
        sigma_data: standard deviation of the data.
        sign: of the output's coefficient, -1 where it predicts v.
    """

    sigma_data: float
    sign: float

    def scale(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return coefficients(sigma, self.sigma_data).input[:, 0]

    def timestep(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return coefficients(sigma, self.sigma_data).noise[:, 0]

    def mean(
        self, output: Float[Tensor, "B N"], x: Float[Tensor, "B N"], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B N"]:
        c = coefficients(sigma, self.sigma_data)
        return c.skip * x + self.sign * c.out * output


@dataclass(frozen=True)
class Straight(Coordinates):
    """Flow matching's coordinates, s = sigma/(1 + sigma).

    Attributes:
        train_steps: the network's time is s times this.
    """

    train_steps: int

    def scale(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return 1 / (1 + sigma)

    def timestep(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return self.train_steps * sigma / (1 + sigma)

    def mean(
        self, output: Float[Tensor, "B N"], x: Float[Tensor, "B N"], sigma: Float[Tensor, " B"]
    ) -> Float[Tensor, "B N"]:
        # x_hat_0 = x_s - s u
        return (x - sigma[:, None] * output) / (1 + sigma[:, None])


def coordinates_of(scheduler: Any) -> Coordinates:
    """The coordinates that a scheduler's network was trained in.

    Args:
        scheduler: of diffusers.

    Raises:
        UnsupportedError: a scheduler, or a type of prediction, whose network is no such denoiser.
    """
    names = {cls.__name__ for cls in type(scheduler).__mro__}
    for known, make in {CUMULATIVE: _cumulative, EDM: _preconditioning, FLOW: _straight}.items():
        if names & set(known):
            return make(scheduler)
    raise UnsupportedError(
        f"{type(scheduler).__name__} is not supported; a pipeline can be a backbone with one of "
        + ", ".join(name.removesuffix("Scheduler") for name in (*CUMULATIVE, *EDM, *FLOW))
        + "; replace its scheduler by one of them that fits its network, and save it"
    )


def _cumulative(scheduler: Any) -> Cumulative:
    prediction = _prediction(scheduler, "epsilon", "v_prediction", "sample")
    if own_setting(scheduler, "timestep_type", "discrete") != "discrete":
        raise UnsupportedError(
            f"{type(scheduler).__name__} with timestep_type={scheduler.config.timestep_type!r} is not supported; "
            "supported is 'discrete'"
        )
    # as the scheduler computed them, in float32: a rounding that its own samples share
    abar = scheduler.alphas_cumprod.double().cpu()
    if float(abar[-1]) <= ABAR_FLOOR:
        # no signal is left at the last step: a prediction of the noise says nothing of x_0 there
        least = (abar[-2:-1] / 4).clamp(max=ABAR_FLOOR)
        abar = abar[:-1] if prediction == "epsilon" else torch.cat([abar[:-1], least])
    log_sigma = ((1 - abar) / abar).log() / 2
    if not bool(log_sigma.isfinite().all() and (log_sigma.diff() > 0).all()):
        raise UnsupportedError(
            f"{type(scheduler).__name__}: expected betas in (0, 1), so that the noise grows with every training step"
        )
    return Cumulative(float(log_sigma[0].exp()), float(log_sigma[-1].exp()), log_sigma, prediction)


def _preconditioning(scheduler: Any) -> Preconditioning:
    prediction, config = _prediction(scheduler, "epsilon", "v_prediction"), scheduler.config
    sign = 1.0 if prediction == "epsilon" else -1.0
    return Preconditioning(config.sigma_min, config.sigma_max, config.sigma_data, sign)


def _straight(scheduler: Any) -> Straight:
    steps = scheduler.config.num_train_timesteps
    # s = 1 is sigma = inf; one training step before it the signal is a thousandth
    return Straight(1 / (steps - 1), float(steps - 1), steps)


def _prediction(scheduler: Any, *supported: str) -> str:
    prediction = scheduler.config.prediction_type
    if prediction not in supported:
        raise UnsupportedError(
            f"{type(scheduler).__name__} with prediction_type={prediction!r} is not supported; "
            f"supported are {', '.join(supported)}"
        )
    return prediction


def own_setting(scheduler: Any, name: str, default: Any) -> Any:
    """A setting that the scheduler reads; one that it only kept from another scheduler's configuration is none."""
    reads = name in inspect.signature(type(scheduler).__init__).parameters
    return scheduler.config[name] if reads else default

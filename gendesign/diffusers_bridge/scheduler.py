"""PFGM++ as a scheduler of diffusers, for pipelines that draw a unit normal, then loop over network and `step`.

Such a pipeline hands the network whatever `step` returned. So a sample here is c_in x, what EDM's preconditioned
network takes, and the timesteps are its times. The first call of `step` ignores the network and maps the unit normal z
to the prior, sigma_max w z with w^2 = D/chi2_D: one evaluation is lost to it. The last call returns the image itself.

Xu et al. 2023, PFGM++: Unlocking the Potential of Physics-Inspired Generative Models, arXiv 2302.04265.
Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, arXiv 2206.00364.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import Generator, Tensor

from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.solvers import Euler, Heun, Solver, slope
from gendesign.diffusion.student import student_scale
from gendesign.diffusion.student_transition import MeanPrediction
from gendesign.errors import ConfigError
from gendesign.models.preconditioning import MAX_LOG_VARIANCE, coefficients
from gendesign.models.unet2d import TIME_SCALE

SOLVERS: dict[str, type[Solver] | None] = {"transition": None, "euler": Euler, "heun": Heun}
"""What a step is: a draw of the reverse transition, or a step of the probability flow."""


@dataclass
class PoissonFlowSchedulerOutput(BaseOutput):
    """What a step gives.

    Attributes:
        prev_sample: the next sample, as the network takes it; after the last step the image.
        pred_original_sample: the predicted image; None of the first call, which makes the prior.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None


@dataclass(frozen=True)
class _Call:
    """What one call of `step` is for: it takes noise level t to s."""

    kind: str
    t: float
    s: float


class PoissonFlowScheduler(SchedulerMixin, ConfigMixin):
    """The reverse of `PoissonFlow` as diffusers asks for it.

    Args:
        aug_dim: D from 1, None for infinity (EDM): JSON knows no infinity.
        sigma_min: smallest noise level, above 0.
        sigma_max: largest one.
        rho: shape of the noise schedule.
        sigma_data: standard deviation of the data.
        transfer_from: D that the network was trained with, where it is not `aug_dim`; 0 for infinity.
        solver: "transition" (random, as the backbone samples), "euler" or "heun".

    Raises:
        ConfigError: a number out of range, or no such solver.
    """

    order = 1
    init_noise_sigma = 1.0

    @register_to_config
    def __init__(
        self,
        aug_dim: float | None = 128.0,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        sigma_data: float = 0.5,
        transfer_from: float | None = None,
        solver: str = "transition",
    ) -> None:
        if solver not in SOLVERS:
            raise ConfigError(f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}")
        self.process = PoissonFlow(
            math.inf if aug_dim is None else aug_dim,
            sigma_min=sigma_min,
            sigma_max=sigma_max,
            rho=rho,
            sigma_data=sigma_data,
            transfer_from=math.inf if transfer_from == 0 else transfer_from,
        )
        self.timesteps = torch.zeros(0)
        self._calls: list[_Call] = []
        self._next = 0
        self._held: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(cls, process: PoissonFlow, *, solver: str = "transition") -> PoissonFlowScheduler:
        """The scheduler of a process."""
        trained = process.transfer_from
        return cls(
            aug_dim=None if math.isinf(process.aug_dim) else process.aug_dim,
            sigma_min=process.sigma_min,
            sigma_max=process.sigma_max,
            rho=process.rho,
            sigma_data=process.sigma_data,
            transfer_from=0.0 if trained is not None and math.isinf(trained) else trained,
            solver=solver,
        )

    @property
    def solver(self) -> Solver | None:
        """The solver of the probability flow, None for random transitions."""
        kind = SOLVERS[self.config.solver]
        return None if kind is None else kind()

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        """Plan a run.

        Args:
            num_inference_steps: steps of the noise schedule. The network is asked once more than that, for Heun twice
                as often.
            device: of the timesteps.
        """
        levels = self.process.times(num_inference_steps).tolist()
        calls = [_Call("prior", levels[0], levels[0])]
        for t, s in zip(levels, levels[1:], strict=False):
            calls.append(_Call("predict", t, s))
            if self.config.solver == "heun" and s > 0:
                calls.append(_Call("correct", t, s))
        self.num_inference_steps = num_inference_steps
        self._calls, self._next, self._held = calls, 0, None
        # the corrector asks at the level that the predictor led to
        asked = [call.s if call.kind == "correct" else call.t for call in calls]
        times = TIME_SCALE / 4 * torch.tensor(asked, dtype=torch.float64).log()
        self.timesteps = times.to(device=device, dtype=torch.float32)

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The sample: it already is what the network takes."""
        return sample

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        generator: Generator | Sequence[Generator] | None = None,
        return_dict: bool = True,
    ) -> PoissonFlowSchedulerOutput | tuple[Tensor]:
        """Take the next step of the run that `set_timesteps` planned.

        Args:
            model_output: of the network: as many channels as the sample, or twice (raw mean, then log-variance).
            timestep: not read: calls follow the plan.
            sample: as the last call returned it.
            generator: of the noise, or one an image; None takes PyTorch's own stream.
            return_dict: whether to return an object or a tuple.

        Raises:
            ConfigError: there is no further step in the plan.
        """
        if self._next >= len(self._calls):
            raise ConfigError("no step is left: call set_timesteps(number) before each run")
        call = self._calls[self._next]
        self._next += 1
        x, output = sample.double().flatten(1), model_output.double().flatten(1)
        if call.kind == "prior":
            state, mean, level = call.t * self._path_scale(x, generator)[:, None] * x, None, call.t
        else:
            state, mean = self._advance(call, output, x, generator)
            level = call.s
        if level > 0:
            state = state * self._coefficients(level, state).input
        following = state.view_as(sample).to(sample.dtype)
        if not return_dict:
            return (following,)
        seen = None if mean is None else mean.view_as(sample).to(sample.dtype)
        return PoissonFlowSchedulerOutput(following, seen)

    def _path_scale(self, x: Tensor, generator: Any) -> Tensor:
        """The scale w of each path."""

        def draw(source: Generator, rows: slice) -> Tensor:
            num = len(range(len(x))[rows])
            return student_scale(num, self.process.aug_dim, device=source.device, generator=source)

        return _by_image(draw, len(x), generator).to(x)

    def _advance(self, call: _Call, output: Tensor, scaled: Tensor, generator: Any) -> tuple[Tensor, Tensor]:
        """The state after the call, and the mean that it was told."""
        level = call.s if call.kind == "correct" else call.t
        c = self._coefficients(level, scaled)
        x = scaled / c.input
        raw, head = output.chunk(2, dim=1) if output.shape[1] == 2 * x.shape[1] else (output, None)
        variance = None if head is None else c.out**2 * head.clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE).exp()
        prediction = MeanPrediction(c.skip * x + c.out * raw, variance)
        t, s = (torch.full_like(x[:, 0], each) for each in (call.t, call.s))
        if self.config.solver == "transition":

            def draw(source: Generator, rows: slice) -> Tensor:
                # noise is drawn where its generator is, on the CPU also for images on an accelerator
                own = [part[rows].to(source.device) for part in (prediction.mean, x, t, s)]
                known = None if variance is None else variance[rows].to(source.device)
                law = self.process.transition(MeanPrediction(own[0], known), *own[1:])
                return law.sample(1, generator=source)[0]

            return _by_image(draw, len(x), generator).to(x), prediction.mean
        if call.kind == "correct":
            assert self._held is not None
            start, first = self._held
            return start + (call.s - call.t) * (first + slope(x, prediction, s)) / 2, prediction.mean
        first = slope(x, prediction, t)
        self._held = (x, first)
        return x + (call.s - call.t) * first, prediction.mean

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noisy samples as the network takes them, c_in (x_0 + sigma noise).

        Args:
            original_samples: images in [-1, 1].
            noise: of the process's kernel: a unit normal at D = inf, else `draw_noise`.
            timesteps: one for all or one an image, as in `timesteps`.
        """
        sigma = (timesteps.double() * 4 / TIME_SCALE).exp().to(original_samples.device)
        sigma = sigma.expand(len(original_samples)) if sigma.ndim == 0 else sigma
        x = original_samples.double().flatten(1) + sigma[:, None] * noise.double().flatten(1)
        scaled = coefficients(sigma, self.config.sigma_data).input * x
        return scaled.view_as(original_samples).to(original_samples.dtype)

    def draw_noise(self, shape: Sequence[int], *, generator: Generator) -> Tensor:
        """Noise of the process's kernel, w z: Student-t with D degrees of freedom, in float64."""
        zero = torch.zeros(shape[0], math.prod(shape[1:]), dtype=torch.float64, device=generator.device)
        return self.process.corrupt(zero, torch.ones_like(zero[:, 0]), generator=generator).view(*shape)

    def _coefficients(self, level: float, like: Tensor) -> Any:
        return coefficients(torch.full_like(like[:, 0], level), self.config.sigma_data)


def _by_image(draw: Callable[[Generator, slice], Tensor], num: int, generator: Any) -> Tensor:
    """Draws for some rows, from one generator for all or from one for each."""
    if generator is None:  # diffusers' own default: what torch.manual_seed governs
        generator = Generator().manual_seed(int(torch.randint(2**62, ())))
    if isinstance(generator, Generator):
        return draw(generator, slice(None))
    if len(generator) != num:
        raise ConfigError(f"expected one generator, or one for each of {num} images; got {len(generator)}")
    return torch.cat([draw(source, slice(i, i + 1)) for i, source in enumerate(generator)])

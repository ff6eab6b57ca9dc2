"""PFGM++ at any augmented dimension D, and EDM as its limit D = inf.

The kernel of noise sigma is a multivariate Student-t with D degrees of freedom,

    x_t = y + sigma_t w z,   z ~ N(0, I),   w^2 = D / chi2_D,

which has the density p(x_t | y) ∝ (|x_t - y|^2 + r^2)^(-(N + D)/2) with r = sigma sqrt(D): the radius is never clipped,
and the prior is the kernel of the schedule's own sigma_max. The reverse step has a closed form (`student_transition`);
solvers of the probability flow are in `solvers`, its change of variables in `flow_likelihood`.

A mask, Bool[B N], says which coordinates of each design are free. The others (padding, the mirrored half of a symmetric
matrix, what is fixed) stay clean and count in no norm, noise or density, N included; a network that reads the mask and
is trained so is conditioned on them. Networks that ship read none. `template` instead replaces what an unconditional
network predicts of given coordinates, an approximation that every sampler and steering method honours.

Xu et al. 2023, PFGM++: Unlocking the Potential of Physics-Inspired Generative Models, arXiv 2302.04265.
Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, arXiv 2206.00364.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from gendesign.building import finite, whole
from gendesign.diffusion.flow_likelihood import EXACT_TRACE, PROBES, flow_log_likelihood
from gendesign.diffusion.process import Network, Process
from gendesign.diffusion.student import stratified_fractions, student_log_prob, student_scale
from gendesign.diffusion.student_transition import (
    MeanPrediction,
    StudentTransition,
    ask,
    free_sum,
    num_free,
    squared_distance,
)
from gendesign.errors import ConfigError

__all__ = ["MeanPrediction", "PoissonFlow", "StudentTransition"]


class PoissonFlow(Process):
    """PFGM++ with D augmented dimensions; time is the noise level sigma.

    Args:
        aug_dim: D, from 1 to `math.inf` (EDM).
        sigma_min: smallest noise level of the schedule, above 0.
        sigma_max: largest one, where the prior is drawn.
        rho: shape of the schedule; larger puts more steps at small noise.
        sigma_data: standard deviation of the data, for the weight of the loss.
        log_sigma_mean: mean of ln sigma in training.
        log_sigma_std: its standard deviation.
        transfer_from: the D that a network was trained with, to sample it at another one (r = sigma sqrt(D) makes the
            two comparable); None: the same.

    Raises:
        ConfigError: aug_dim below 1, or the noise levels are not in order.
    """

    figure = "loss"

    def __init__(
        self,
        aug_dim: float = 128.0,
        *,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        sigma_data: float = 0.5,
        log_sigma_mean: float = -1.2,
        log_sigma_std: float = 1.2,
        transfer_from: float | None = None,
    ) -> None:
        for name, value in (("aug_dim", aug_dim), ("transfer_from", transfer_from)):
            if value is not None and (isinstance(value, (bool, str)) or not value >= 1):
                raise ConfigError(
                    f"{name} must be at least 1 (math.inf, in YAML .inf, is EDM), got {value!r}"
                )
        self.aug_dim = float(aug_dim)
        self.transfer_from = transfer_from
        self.sigma_min = finite("sigma_min", sigma_min, above=0.0)
        self.sigma_max = finite("sigma_max", sigma_max, above=0.0)
        if self.sigma_min >= self.sigma_max:
            raise ConfigError(f"sigma_min must be below sigma_max, got {sigma_min} and {sigma_max}")
        self.rho = finite("rho", rho, above=0.0)
        self.sigma_data = finite("sigma_data", sigma_data, above=0.0)
        self.log_sigma_mean = finite("log_sigma_mean", log_sigma_mean)
        self.log_sigma_std = finite("log_sigma_std", log_sigma_std, above=0.0)

    def check_denoiser(self, denoiser: Any) -> None:
        """Refuse a network that was trained for another noise.

        Raises:
            ConfigError: it was trained at another D or another scale of data.
        """
        trained = getattr(denoiser, "aug_dim", None)
        expected = self.aug_dim if self.transfer_from is None else self.transfer_from
        if trained is not None and trained != expected:
            raise ConfigError(
                f"the network was trained at aug_dim={trained:g}, the process has {expected:g}; to sample it at "
                f"another D give the process transfer_from={trained:g}"
            )
        scale = getattr(denoiser, "sigma_data", None)
        if scale is not None and scale != self.sigma_data:
            raise ConfigError(
                f"the network's sigma_data is {scale:g}, the process's {self.sigma_data:g}; they must agree"
            )

    # -- forward ---------------------------------------------------------------------------------------------

    def prior(
        self,
        num: int,
        length: int,
        *,
        generator: Generator,
        template: Tensor | None = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N"]:
        """The kernel of sigma_max around 0, or around the given coordinates of a template (NaN where free).

        Coordinates that a mask fixes have no noise: they are the template's, or 0.
        """
        centre = torch.zeros((num, length), dtype=torch.float64, device=generator.device)
        if template is not None:
            centre = centre + template.to(centre).nan_to_num()
        highest = torch.full_like(centre[:, 0], self.sigma_max)
        return self.corrupt(centre, highest, generator=generator, mask=mask)

    def corrupt(
        self,
        x_0: Float[Tensor, "B N"],
        t: Float[Tensor, " B"],
        *,
        generator: Generator,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B N"]:
        """x_t = y + sigma w z on the free coordinates."""
        z = torch.randn(x_0.shape, dtype=torch.float64, device=x_0.device, generator=generator)
        w = student_scale(len(x_0), self.aug_dim, device=x_0.device, generator=generator)
        noise = (t.double() * w)[:, None] * z
        return x_0.double() + (noise if mask is None else torch.where(mask, noise, 0.0))

    def log_kernel(
        self,
        x_t: Float[Tensor, "B N"],
        x_0: Float[Tensor, "B N"],
        t: Float[Tensor, " B"],
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Log p(x_t | x_0) in nats, normalised."""
        squared = squared_distance(x_t, x_0, mask)
        return student_log_prob(squared, num_free(x_t, mask), self.aug_dim, t.double() ** 2)

    def loss(
        self,
        denoiser: Network,
        x_0: Float[Tensor, "B N"],
        *,
        generator: Generator,
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, " B"]:
        """EDM's weighted squared error, and a variance head trained along, at one stratified ln sigma a design.

        The head minimises e^2/u + log u with e the error of the mean, whose gradient is stopped: its minimiser is
        u = E[e^2]. Both parts are in units of c_out^2, so that every noise level counts alike.
        """
        sigma = self._noise_levels(len(x_0), 1, x_0.device, generator=generator)[0]
        squared, variance = self._errors(denoiser, x_0, sigma, cond, mask, generator=generator)
        total = free_sum(squared, mask)
        if variance is not None:
            total = total + free_sum(squared.detach() / variance + variance.log(), mask)
        return total

    def evaluate(
        self,
        denoiser: Network,
        x_0: Float[Tensor, "B N"],
        *,
        num_times: int,
        generator: Generator,
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, " B"]:
        """Mean over `num_times` stratified noise levels of EDM's weighted squared error, summed over coordinates."""
        total = torch.zeros(len(x_0), dtype=torch.float64, device=x_0.device)
        for sigma in self._noise_levels(len(x_0), num_times, x_0.device, generator=generator):
            # training shuffles its rows anyway; here their order is fixed, and must not decide who gets which noise
            place = torch.randperm(len(x_0), device=x_0.device, generator=generator)
            squared, _ = self._errors(denoiser, x_0, sigma[place], cond, mask, generator=generator)
            total += free_sum(squared, mask) / num_times
        return total

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2, which gives every noise level a unit loss at the start."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2

    def _noise_levels(
        self, num: int, times: int, device: torch.device, *, generator: Generator
    ) -> Float[Tensor, "M B"]:
        """Ln sigma ~ Normal(log_sigma_mean, log_sigma_std^2)."""
        fraction = stratified_fractions(num, times, device=device, generator=generator)
        normal = torch.special.ndtri(fraction.clamp(1e-12, 1 - 1e-12))
        return (self.log_sigma_mean + self.log_sigma_std * normal).exp()

    def _errors(
        self,
        denoiser: Network,
        x_0: Tensor,
        sigma: Tensor,
        cond: Any,
        mask: Tensor | None,
        *,
        generator: Generator,
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"] | None]:
        """Squared error of the mean and predicted variance, both in units of c_out^2."""
        x_t = self.corrupt(x_0, sigma, generator=generator, mask=mask)
        mean, variance = ask(denoiser, x_t, sigma, cond, mask)
        weight = self.weight(sigma)[:, None]
        squared = weight * (mean - x_0.double()) ** 2
        return squared, None if variance is None else weight * variance

    # -- reverse ---------------------------------------------------------------------------------------------

    def num_steps(self, steps: int, num_free: int) -> int:
        return whole("steps", steps)

    def times(self, steps: int) -> Float[Tensor, " E"]:
        """Noise levels from sigma_max to sigma_min, evenly spaced in sigma^(1/rho), then 0."""
        whole("steps", steps)
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        fraction = torch.linspace(0, 1, steps, dtype=torch.float64)
        sigma = (high + fraction * (low - high)) ** self.rho
        return torch.cat([sigma, sigma.new_zeros(1)])

    def event_time(
        self, x: Tensor, t: Tensor | None, step: int, times: Tensor, *, generator: Generator
    ) -> Float[Tensor, " B"]:
        return times[step].to(x.device).expand(len(x))

    def predict(
        self,
        denoiser: Network,
        x_t: Float[Tensor, "B N"],
        t: Float[Tensor, " B"],
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
        template: Float[Tensor, " *B N"] | None = None,
    ) -> MeanPrediction:
        """Clean mean and variance; at sigma = 0 the state is the design, and no network row is spent."""
        mean, variance = x_t.double().clone(), torch.zeros_like(x_t, dtype=torch.float64)
        rows = (t != 0).nonzero().squeeze(-1)
        known: Tensor | None = variance
        if len(rows):
            chosen = cond[rows] if isinstance(cond, Tensor) else cond
            own = None if mask is None else mask[rows]
            fresh, spread = ask(denoiser, x_t[rows], t[rows], chosen, own)
            mean = mean.index_copy(0, rows, fresh.double())
            known = None if spread is None else variance.index_copy(0, rows, spread.double())
        if mask is not None:  # fixed coordinates are known
            mean = torch.where(mask, mean, x_t.double())
            known = None if known is None else torch.where(mask, known, 0.0)
        # classifier-free guidance spends two rows of the network a design
        spent = len(rows) * getattr(denoiser, "rows_per_design", 1)
        return MeanPrediction(mean, known, rows=spent, mask=mask).fix(template)

    def transition(
        self,
        prediction: MeanPrediction,
        x_t: Float[Tensor, "B N"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
    ) -> StudentTransition:
        """The closed-form reverse step; to s = 0 it is deterministic."""
        return StudentTransition(
            prediction.mean,
            prediction.variance,
            x_t.double(),
            t.double(),
            s.double(),
            self.aug_dim,
            prediction.mask,
        )

    def step_noise(self, x: Float[Tensor, "B N"], *, generator: Generator) -> Float[Tensor, "B N"]:
        """Standard Student-t of D + N degrees of freedom."""
        z = torch.randn(x.shape, dtype=torch.float64, device=x.device, generator=generator)
        dof = self.aug_dim + x.shape[-1]
        return student_scale(len(x), dof, device=x.device, generator=generator)[:, None] * z

    @property
    def likelihood_floor(self) -> float:
        """Noise level at which densities are taken, two deviations below training's mean: it saw little of lower ones.

        Below it networks are guesswork, and so would be the density of data that lie on a grid, as pixels do.
        """
        return max(self.sigma_min, math.exp(self.log_sigma_mean - 2 * self.log_sigma_std))

    def log_likelihood(
        self,
        denoiser: Network,
        x_0: Float[Tensor, "B N"],
        *,
        num_times: int,
        generator: Generator,
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
        fixed: Bool[Tensor, " *B N"] | None = None,
        max_rows: int = 1024,
        alike: bool = False,
    ) -> Float[Tensor, " B"]:
        """Log-density of designs at `likelihood_floor`, by the flow's change of variables over `num_times` steps.

        Up to EXACT_TRACE coordinates the trace is exact, beyond it is Hutchinson's estimate with PROBES probes.
        """
        if fixed is not None:
            free = ~fixed.expand_as(x_0)
            mask = free if mask is None else mask & free

        # even in ln sigma: the flow changes with it, and the schedule for sampling is too coarse at small noise here
        ends = math.log(self.likelihood_floor), math.log(self.sigma_max)
        levels = torch.linspace(*ends, whole("num_times", num_times) + 1, dtype=torch.float64).exp()
        parts = []
        for start in range(0, len(x_0), max_rows):
            rows = slice(start, start + max_rows)
            chosen = cond[rows] if isinstance(cond, Tensor) else cond
            own = None if mask is None else mask[rows]

            def mean(x: Tensor, sigma: Tensor, chosen: Any = chosen, own: Tensor | None = own) -> Tensor:
                return ask(denoiser, x, sigma, chosen, own)[0]

            parts.append(
                flow_log_likelihood(
                    mean,
                    x_0[rows],
                    levels,
                    aug_dim=self.aug_dim,
                    generator=generator.clone_state() if alike else generator,
                    mask=own,
                    exact=x_0.shape[-1] <= EXACT_TRACE,
                    probes=PROBES,
                    alike=alike,
                )
            )
        return torch.cat(parts) if parts else x_0.new_zeros(0, dtype=torch.float64)

"""PFGM++ at any augmented dimension D, and EDM as its limit D = inf.

The kernel of noise sigma is a multivariate Student-t with D degrees of freedom,

    x_t = y + sigma_t w z,   z ~ N(0, I),   w^2 = D / chi2_D,

and the reverse step has a closed form, because sharing w along a path makes (x_s, x_t) given y jointly Student-t:

    dof D + N,   loc y + (sigma_s^2/sigma_t^2)(x_t - y),
    scale^2 sigma_s^2 (sigma_t^2 - sigma_s^2)/sigma_t^2 (D + |x_t - y|^2/sigma_t^2)/(D + N).

One network call gives y = x_hat_0, the posterior mean; |x_t - y|^2 is then its posterior expectation
|x_t - x_hat_0|^2 + v with the total posterior variance v, without which the noise is too small at small D.

Xu et al. 2023, PFGM++: Unlocking the Potential of Physics-Inspired Generative Models, arXiv 2302.04265.
Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, arXiv 2206.00364.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from gendesign.building import finite, whole
from gendesign.diffusion.process import Network, Prediction, Process, Transition
from gendesign.diffusion.student import student_log_prob, student_scale
from gendesign.errors import ConfigError, UnsupportedError


@dataclass(frozen=True)
class MeanPrediction(Prediction):
    """Clean mean, and variance where the network has one.

    Attributes:
        mean: E[x_0 | x_t], in float64.
        variance: Var[x_0 | x_t] of each coordinate, or None: transitions are then plug-in.
        rows: network rows spent.
    """

    mean: Float[Tensor, "B N"]
    variance: Float[Tensor, "B N"] | None = None
    rows: int = 0

    def __getitem__(self, index: Tensor) -> MeanPrediction:
        return MeanPrediction(self.mean[index], None if self.variance is None else self.variance[index])

    def append(self, other: Prediction) -> MeanPrediction:
        assert isinstance(other, MeanPrediction)
        variance = None
        if self.variance is not None and other.variance is not None:
            variance = torch.cat([self.variance, other.variance])
        return MeanPrediction(torch.cat([self.mean, other.mean]), variance, self.rows + other.rows)

    def mode(self) -> Float[Tensor, "B N"]:
        return self.mean

    def sample(self, num: int, *, generator: Generator) -> Float[Tensor, "M B N"]:
        """Draws from the Gaussian of the predicted mean and variance; the mean itself without a variance."""
        if self.variance is None:
            return self.mean.expand(num, *self.mean.shape)
        z = torch.randn(
            (num, *self.mean.shape), dtype=self.mean.dtype, device=self.mean.device, generator=generator
        )
        return self.mean + self.variance.sqrt() * z


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
    """

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
    ) -> None:
        if not aug_dim >= 1:
            raise ConfigError(f"aug_dim must be at least 1 (math.inf is EDM), got {aug_dim!r}")
        self.aug_dim = float(aug_dim)
        self.sigma_min = finite("sigma_min", sigma_min, above=0.0)
        self.sigma_max = finite("sigma_max", sigma_max, above=0.0)
        if self.sigma_min >= self.sigma_max:
            raise ConfigError(f"sigma_min must be below sigma_max, got {sigma_min} and {sigma_max}")
        self.rho = finite("rho", rho, above=0.0)
        self.sigma_data = finite("sigma_data", sigma_data, above=0.0)
        self.log_sigma_mean = finite("log_sigma_mean", log_sigma_mean)
        self.log_sigma_std = finite("log_sigma_std", log_sigma_std, above=0.0)

    # -- forward ---------------------------------------------------------------------------------------------

    def prior(
        self, num: int, length: int, *, generator: Generator, template: Tensor | None = None
    ) -> Float[Tensor, "B N"]:
        """The kernel of sigma_max around 0."""
        if template is not None:
            raise UnsupportedError("PoissonFlow takes no template; condition the network instead")
        zero = torch.zeros((num, length), dtype=torch.float64, device=generator.device)
        return self.corrupt(zero, torch.full_like(zero[:, 0], self.sigma_max), generator=generator)

    def corrupt(
        self, x_0: Float[Tensor, "B N"], t: Float[Tensor, " B"], *, generator: Generator
    ) -> Float[Tensor, "B N"]:
        """x_t = y + sigma w z; the radius is never clipped."""
        z = torch.randn(x_0.shape, dtype=torch.float64, device=x_0.device, generator=generator)
        w = student_scale(len(x_0), self.aug_dim, device=x_0.device, generator=generator)
        return x_0.double() + (t.double() * w)[:, None] * z

    def log_kernel(
        self, x_t: Float[Tensor, "B N"], x_0: Float[Tensor, "B N"], t: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Log p(x_t | x_0) in nats, normalised."""
        squared = ((x_t.double() - x_0.double()) ** 2).sum(-1)
        return student_log_prob(squared, x_t.shape[-1], self.aug_dim, t.double() ** 2)

    def loss(
        self,
        denoiser: Network,
        x_0: Float[Tensor, "B N"],
        *,
        generator: Generator,
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, " B"]:
        """EDM's weighted squared error at one ln sigma ~ Normal a design; a variance head is trained along.

        The head minimises e^2/u + log u with e the error of the mean, whose gradient is stopped: its minimiser is
        u = E[e^2].
        """
        normal = torch.randn(len(x_0), dtype=torch.float64, device=x_0.device, generator=generator)
        sigma = (self.log_sigma_mean + self.log_sigma_std * normal).exp()
        x_t = self.corrupt(x_0, sigma, generator=generator)
        mean, variance = ask(denoiser, x_t, sigma, cond, mask)
        real = torch.ones_like(mean, dtype=torch.bool) if mask is None else mask
        squared = torch.where(real, (mean - x_0.to(mean)) ** 2, 0.0)
        total = self.weight(sigma).to(mean) * squared.sum(-1)
        if variance is not None:
            scale = (sigma**2 * self.sigma_data**2 / (sigma**2 + self.sigma_data**2)).to(mean)[:, None]
            relative = variance / scale
            head = squared.detach() / scale / relative + relative.log()
            total = total + torch.where(real, head, 0.0).sum(-1)
        return total

    def weight(self, sigma: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """(sigma^2 + sigma_data^2) / (sigma sigma_data)^2, which gives every noise level a unit loss at the start."""
        return (sigma**2 + self.sigma_data**2) / (sigma * self.sigma_data) ** 2

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
    ) -> MeanPrediction:
        """Clean mean and variance; at sigma = 0 the state is the design, and no network row is spent."""
        clean = t == 0
        mean, variance = x_t.double().clone(), torch.zeros_like(x_t, dtype=torch.float64)
        rows = (~clean).nonzero().squeeze(-1)
        known: Tensor | None = variance
        if len(rows):
            chosen = cond[rows] if isinstance(cond, Tensor) else cond
            own = None if mask is None else mask[rows]
            fresh, spread = ask(denoiser, x_t[rows], t[rows], chosen, own)
            mean = mean.index_copy(0, rows, fresh.double())
            known = None if spread is None else variance.index_copy(0, rows, spread.double())
        return MeanPrediction(mean, known, rows=len(rows))

    def transition(
        self,
        prediction: MeanPrediction,
        x_t: Float[Tensor, "B N"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
    ) -> StudentTransition:
        """The closed-form reverse step; to s = 0 it is deterministic."""
        return StudentTransition(
            prediction.mean, prediction.variance, x_t.double(), t.double(), s.double(), self.aug_dim
        )

    def log_likelihood_bound(
        self,
        denoiser: Network,
        x_0: Tensor,
        *,
        num_times: int,
        generator: Generator,
        cond: Any = None,
        mask: Tensor | None = None,
        fixed: Tensor | None = None,
        max_rows: int = 1024,
    ) -> Float[Tensor, " B"]:
        raise UnsupportedError("PoissonFlow has no likelihood bound yet; naturalness needs a masked backbone")


def ask(
    denoiser: Network, x: Tensor, sigma: Tensor, cond: Any, mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Clean mean and variance from a network that returns the mean, or (mean, variance)."""
    answer: Any = denoiser(x, sigma, cond, mask)
    return answer if isinstance(answer, tuple) else (answer, None)


@dataclass(frozen=True)
class StudentTransition(Transition):
    """p(x_s | x_t): a multivariate Student-t, Gaussian at D = inf.

    Attributes:
        mean: predicted clean mean.
        variance: of each coordinate, or None for the plug-in step.
        x_t: state.
        t: its noise level.
        s: the next noise level, below t.
        aug_dim: D.
    """

    mean: Float[Tensor, "B N"]
    variance: Float[Tensor, "B N"] | None
    x_t: Float[Tensor, "B N"]
    t: Float[Tensor, " B"]
    s: Float[Tensor, " B"]
    aug_dim: float

    @property
    def dof(self) -> float:
        """Degrees of freedom D + N."""
        return self.aug_dim + self.x_t.shape[-1]

    @property
    def loc(self) -> Float[Tensor, "B N"]:
        """Y + (sigma_s^2/sigma_t^2)(x_t - y)."""
        return self.mean + ((self.s / self.t) ** 2)[:, None] * (self.x_t - self.mean)

    @property
    def scale2(self) -> Float[Tensor, " B"]:
        """Squared scale; 0 at s = 0."""
        base = self.s**2 * (self.t**2 - self.s**2) / self.t**2
        if math.isinf(self.aug_dim):
            return base
        squared = ((self.x_t - self.mean) ** 2).sum(-1)
        if self.variance is not None:
            squared = squared + self.variance.sum(-1)
        return base * (self.aug_dim + squared / self.t**2) / self.dof

    def sample(self, num: int, *, generator: Generator) -> Float[Tensor, "M B N"]:
        z = torch.randn(
            (num, *self.x_t.shape), dtype=torch.float64, device=self.x_t.device, generator=generator
        )
        w = student_scale(num * len(self.x_t), self.dof, device=self.x_t.device, generator=generator)
        return self.loc + (self.scale2.sqrt() * w.view(num, -1))[..., None] * z

    def rsample(
        self, *, temperature: float = 1.0, generator: Generator | None = None, noise: Tensor | None = None
    ) -> Float[Tensor, "B N"]:
        """Loc + scale * noise; `noise` is one draw of the standard Student-t of D + N degrees of freedom."""
        if noise is None:
            if generator is None:
                raise ConfigError("rsample needs a generator, or the noise itself")
            z = torch.randn(self.x_t.shape, dtype=torch.float64, device=self.x_t.device, generator=generator)
            noise = student_scale(len(z), self.dof, device=z.device, generator=generator)[:, None] * z
        # the square root has no gradient at 0, which the last step reaches
        scale2 = self.scale2
        safe = torch.where(scale2 > 0, scale2, torch.ones_like(scale2)).sqrt()
        return self.loc + torch.where(scale2 > 0, safe, 0.0)[:, None] * noise

    def log_prob(self, x_s: Float[Tensor, "*M B N"]) -> Float[Tensor, "*M B"]:
        """Log p(x_s | x_t) in nats; the deterministic step to s = 0 has none.

        Raises:
            UnsupportedError: s = 0.
        """
        self._needs_density()
        squared = ((x_s - self.loc) ** 2).sum(-1)
        return student_log_prob(squared, self.x_t.shape[-1], self.dof, self.scale2)

    def kl(self, other: Transition) -> Float[Tensor, " B"]:
        """KL(self || other): closed form at D = inf, where the scales agree.

        Raises:
            UnsupportedError: finite D (use `sampled_kl`), or s = 0.
        """
        assert isinstance(other, StudentTransition)
        self._needs_density()
        if not math.isinf(self.aug_dim):
            raise UnsupportedError(
                "the KL of Student-t transitions has no closed form at finite D; use sampled_kl"
            )
        return ((self.loc - other.loc) ** 2).sum(-1) / (2 * self.scale2)

    def sampled_kl(
        self, other: StudentTransition, *, num: int, generator: Generator
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """KL(self || other) from `num` draws: estimate and standard error, in nats."""
        drawn = self.sample(num, generator=generator)
        ratio = self.log_prob(drawn) - other.log_prob(drawn)
        return ratio.mean(0), ratio.std(0) / math.sqrt(num)

    def _needs_density(self) -> None:
        if bool((self.s == 0).any()):
            raise UnsupportedError(
                "the step to sigma = 0 is deterministic and has no density; stop at a sigma_floor above 0"
            )

"""What a continuous denoiser predicts, and the reverse step that follows from it in closed form.

Sharing the scale w along a path makes (x_s, x_t) given the clean point y jointly Student-t, so p(x_s | x_t) is one too:

    dof D + N,   loc y + (sigma_s^2/sigma_t^2)(x_t - y),
    scale^2 sigma_s^2 (sigma_t^2 - sigma_s^2)/sigma_t^2 (D + |x_t - y|^2/sigma_t^2)/(D + N).

With y = x_hat_0 of one network call, |x_t - y|^2 is replaced by its posterior expectation |x_t - x_hat_0|^2 + v, v
being the total posterior variance, without which the noise is too small at small D.

Derived from the kernel of Xu et al. 2023, PFGM++, arXiv 2302.04265; at D = inf it is the ancestral step of Ho et al.
2020, Denoising Diffusion Probabilistic Models, arXiv 2006.11239.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from gendesign.diffusion.process import Network, Prediction, Transition
from gendesign.diffusion.student import student_log_prob, student_scale
from gendesign.errors import ConfigError, UnsupportedError


@dataclass(frozen=True)
class MeanPrediction(Prediction):
    """Clean mean, and variance where the network has one.

    Attributes:
        mean: E[x_0 | x_t], in float64.
        variance: Var[x_0 | x_t] of each coordinate, or None: transitions are then plug-in.
        rows: network rows spent.
        mask: True at free coordinates; fixed ones and padding hold their clean value and have no noise. None: all free.
    """

    mean: Float[Tensor, "B N"]
    variance: Float[Tensor, "B N"] | None = None
    rows: int = 0
    mask: Bool[Tensor, "B N"] | None = None

    def __getitem__(self, index: Tensor) -> MeanPrediction:
        variance = None if self.variance is None else self.variance[index]
        mask = None if self.mask is None else self.mask[index]
        return MeanPrediction(self.mean[index], variance, mask=mask)

    def append(self, other: Prediction) -> MeanPrediction:
        assert isinstance(other, MeanPrediction)
        variance, mask = None, None
        if self.variance is not None and other.variance is not None:
            variance = torch.cat([self.variance, other.variance])
        if self.mask is not None and other.mask is not None:
            mask = torch.cat([self.mask, other.mask])
        return MeanPrediction(torch.cat([self.mean, other.mean]), variance, self.rows + other.rows, mask)

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

    def fix(self, template: Float[Tensor, " *B N"] | None) -> MeanPrediction:
        """Replace what is predicted of given coordinates by what is known: the template, NaN where it is free."""
        if template is None:
            return self
        given = ~template.isnan()
        mean = torch.where(given, template.nan_to_num(), self.mean)
        variance = None if self.variance is None else torch.where(given, 0.0, self.variance)
        return replace(self, mean=mean, variance=variance)


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
        mask: True at free coordinates, which alone count in N, norms, noise and densities; None: all free.
        shift: by which guidance moves the location; the scale stays the unguided one. None: not at all.
    """

    mean: Float[Tensor, "B N"]
    variance: Float[Tensor, "B N"] | None
    x_t: Float[Tensor, "B N"]
    t: Float[Tensor, " B"]
    s: Float[Tensor, " B"]
    aug_dim: float
    mask: Bool[Tensor, "B N"] | None = None
    shift: Float[Tensor, "B N"] | None = None

    def moved(self, change: Float[Tensor, "B N"]) -> StudentTransition:
        """The step whose clean mean is changed by `change`, with this one's scale."""
        return replace(self, shift=(1 - (self.s / self.t) ** 2)[:, None] * self._free(change))

    @property
    def dim(self) -> Float[Tensor, " B"]:
        """N, the free coordinates of each row."""
        return num_free(self.x_t, self.mask)

    @property
    def dof(self) -> Float[Tensor, " B"]:
        """Degrees of freedom D + N."""
        return self.aug_dim + self.dim

    @property
    def loc(self) -> Float[Tensor, "B N"]:
        """Y + (sigma_s^2/sigma_t^2)(x_t - y)."""
        loc = self.mean + ((self.s / self.t) ** 2)[:, None] * (self.x_t - self.mean)
        return loc if self.shift is None else loc + self.shift

    @property
    def scale2(self) -> Float[Tensor, " B"]:
        """Squared scale; 0 at s = 0."""
        base = self.s**2 * (self.t**2 - self.s**2) / self.t**2
        if math.isinf(self.aug_dim):
            return base
        squared = squared_distance(self.x_t, self.mean, self.mask)
        if self.variance is not None:
            squared = squared + free_sum(self.variance, self.mask)
        return base * (self.aug_dim + squared / self.t**2) / self.dof

    def sample(self, num: int, *, generator: Generator) -> Float[Tensor, "M B N"]:
        z = torch.randn(
            (num, *self.x_t.shape), dtype=torch.float64, device=self.x_t.device, generator=generator
        )
        rows = num * len(self.x_t)
        w = student_scale(rows, self.dof.repeat(num), device=self.x_t.device, generator=generator)
        return self.loc + (self.scale2.sqrt() * w.view(num, -1))[..., None] * self._free(z)

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
        return self.loc + torch.where(scale2 > 0, safe, 0.0)[:, None] * self._free(noise)

    def log_prob(self, x_s: Float[Tensor, "*M B N"]) -> Float[Tensor, "*M B"]:
        """Log p(x_s | x_t) in nats; the deterministic step to s = 0 has none.

        Raises:
            UnsupportedError: s = 0.
        """
        self._needs_density()
        squared = squared_distance(x_s, self.loc, self.mask)
        return student_log_prob(squared, self.dim, self.dof, self.scale2)

    def kl(self, other: Transition) -> Float[Tensor, " B"]:
        """KL(self || other): closed form at D = inf.

        Raises:
            UnsupportedError: finite D (use `sampled_kl`), or s = 0.
        """
        assert isinstance(other, StudentTransition)
        self._needs_density()
        if not math.isinf(self.aug_dim):
            raise UnsupportedError(
                "the KL of Student-t transitions has no closed form at finite D; use sampled_kl"
            )
        ratio = self.scale2 / other.scale2  # 1 for two transitions of the same x_t, t and s
        moved = squared_distance(self.loc, other.loc, self.mask) / other.scale2
        return (moved + self.dim * (ratio - 1 - ratio.log())) / 2

    def sampled_kl(
        self, other: StudentTransition, *, num: int, generator: Generator
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """KL(self || other) from `num` draws: estimate and standard error, in nats."""
        drawn = self.sample(num, generator=generator)
        ratio = self.log_prob(drawn) - other.log_prob(drawn)
        return ratio.mean(0), ratio.std(0) / math.sqrt(num)

    def _free(self, noise: Tensor) -> Tensor:
        return noise if self.mask is None else torch.where(self.mask, noise, 0.0)

    def _needs_density(self) -> None:
        if bool((self.s == 0).any()):
            raise UnsupportedError(
                "the step to sigma = 0 is deterministic and has no density; stop at a sigma_floor above 0"
            )


def num_free(x: Float[Tensor, "B N"], mask: Bool[Tensor, "B N"] | None) -> Float[Tensor, " B"]:
    """N, the free coordinates of each row."""
    if mask is None:
        return torch.full((len(x),), float(x.shape[-1]), dtype=torch.float64, device=x.device)
    return mask.sum(-1).double()


def free_sum(values: Float[Tensor, "*M B N"], mask: Bool[Tensor, "B N"] | None) -> Float[Tensor, "*M B"]:
    """Sum over the free coordinates."""
    return (values if mask is None else torch.where(mask, values, 0.0)).sum(-1)


def squared_distance(
    x: Float[Tensor, "*M B N"], y: Float[Tensor, "B N"], mask: Bool[Tensor, "B N"] | None
) -> Float[Tensor, "*M B"]:
    """|x - y|^2 over the free coordinates."""
    return free_sum((x.double() - y.double()) ** 2, mask)


def ask(
    denoiser: Network, x: Tensor, sigma: Tensor, cond: Any, mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Clean mean and variance from a network that returns the mean, or (mean, variance)."""
    answer: Any = denoiser(x, sigma, cond, mask)
    return answer if isinstance(answer, tuple) else (answer, None)

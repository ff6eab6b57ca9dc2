"""Laws whose denoiser is known exactly: what samplers and steering methods are verified against.

A finite set of points has the posterior p(y | x_t) ∝ p(y) p(x_t | y). Steps that draw y from it are exact at any number
of steps, those that use its mean and variance in the limit of many. A mixture of Gaussians given the path's scale w is
one again; w, whose posterior is p(w) p(x_t | w), is integrated over the quantiles of its law.

The kernel is that of Xu et al. 2023, PFGM++, arXiv 2302.04265.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.process import Network, Prediction, Transition
from gendesign.diffusion.student import student_log_prob, student_scale
from gendesign.diffusion.student_transition import StudentTransition
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.models.base import Denoiser


class PointSet(Denoiser):
    """The exact denoiser of a finite set of points.

    Args:
        points: y_1..y_P.
        aug_dim: D of the noise.
        weights: probability of each point; None: all alike.
    """

    time_conditioned = True
    points: Tensor
    log_weights: Tensor

    def __init__(
        self, points: Float[Tensor, "P N"], aug_dim: float, *, weights: Float[Tensor, " P"] | None = None
    ) -> None:
        super().__init__()
        law = torch.full((len(points),), 1 / len(points)) if weights is None else weights
        if len(law) != len(points) or not bool((law > 0).all()):
            raise ConfigError(f"expected {len(points)} weights above 0, one a point, got {law.tolist()}")
        self.aug_dim = aug_dim
        self.register_buffer("points", points.double())
        self.register_buffer("log_weights", (law.double() / law.double().sum()).log())

    def log_posterior(self, x: Float[Tensor, "B N"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B P"]:
        """Log p(y | x_t), in log space throughout."""
        squared = torch.stack([((x.double() - y) ** 2).sum(-1) for y in self.points])  # P, B
        log_kernel = student_log_prob(squared, x.shape[-1], self.aug_dim, sigma.double() ** 2)
        return (self.log_weights + log_kernel.T).log_softmax(-1)

    def forward(
        self, x: Tensor, t: Tensor | None = None, cond: Any = None, mask: Tensor | None = None
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """Posterior mean and variance of every coordinate."""
        assert t is not None
        w = self.log_posterior(x, t).exp()
        mean = w @ self.points
        # of the centred points, so that nothing cancels where one point is all but certain
        return mean, (w[..., None] * (self.points - mean[:, None]) ** 2).sum(1)


class GaussianMixture(Denoiser):
    """The denoiser of a mixture of isotropic Gaussians, exact up to the integral over w.

    Args:
        means: of the parts.
        std: of each part.
        aug_dim: D of the noise.
        nodes: quantiles of w that the integral is taken over; 1 suffices at D = inf.
    """

    time_conditioned = True
    means: Tensor
    std: Tensor
    scales: Tensor

    def __init__(
        self, means: Float[Tensor, "P N"], std: Float[Tensor, " P"], aug_dim: float, *, nodes: int = 128
    ) -> None:
        super().__init__()
        self.aug_dim = aug_dim
        self.register_buffer("means", means.double())
        self.register_buffer("std", std.double())
        self.register_buffer("scales", _scale_quantiles(aug_dim, 1 if math.isinf(aug_dim) else nodes))

    def sample(self, num: int, *, generator: Generator) -> Float[Tensor, "B N"]:
        """Draws from the law itself."""
        part = torch.randint(len(self.means), (num,), device=generator.device, generator=generator)
        z = torch.randn(
            (num, self.means.shape[1]), dtype=torch.float64, device=generator.device, generator=generator
        )
        return self.means[part] + self.std[part, None] * z

    def forward(
        self, x: Tensor, t: Tensor | None = None, cond: Any = None, mask: Tensor | None = None
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """Posterior mean and variance of every coordinate."""
        assert t is not None
        noise2 = (t.double()[:, None, None] * self.scales[:, None]) ** 2  # B, nodes, 1
        own2 = self.std**2
        total = noise2 + own2  # B, nodes, P
        delta = x.double()[:, None] - self.means  # B, P, N
        squared = (delta**2).sum(-1)[:, None]
        log_w = -0.5 * (squared / total + x.shape[-1] * total.log())
        w = log_w.flatten(1).softmax(-1).view_as(total)
        shrink = own2 / total
        mean_each = self.means + shrink[..., None] * delta[:, None]  # B, nodes, P, N
        mean = (w[..., None] * mean_each).sum((1, 2))
        spread = (shrink * noise2)[..., None] + (mean_each - mean[:, None, None]) ** 2
        return mean, (w[..., None] * spread).sum((1, 2))


def _scale_quantiles(aug_dim: float, nodes: int) -> Float[Tensor, " M"]:
    """W at the midpoints of equally likely parts of its law, from a large sorted sample with a seed of its own."""
    if math.isinf(aug_dim):
        return torch.ones(1, dtype=torch.float64)
    own = Generator().manual_seed(0)
    drawn = student_scale(nodes * 4001, aug_dim, device="cpu", generator=own).sort().values
    return drawn[2000::4001]


class PosteriorDraws(PoissonFlow):
    """PFGM++ over a `PointSet` whose transitions draw the clean point: exact at any number of steps."""

    def predict(  # type: ignore[override]  # a posterior over points is more than its mean
        self,
        denoiser: Network,
        x_t: Float[Tensor, "B N"],
        t: Float[Tensor, " B"],
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
        template: Float[Tensor, " N"] | None = None,
    ) -> PointPrediction:
        """The posterior of each state; at sigma = 0 the state is its own point."""
        if not isinstance(denoiser, PointSet):
            raise UnsupportedError(
                f"PosteriorDraws needs a PointSet as denoiser, got {type(denoiser).__name__}"
            )
        clean = t == 0
        sigma = torch.where(clean, self.sigma_min, t)
        return PointPrediction(denoiser.log_posterior(x_t, sigma), denoiser.points, rows=int((~clean).sum()))

    def transition(self, prediction: Any, x_t: Tensor, t: Tensor, s: Tensor) -> Any:
        """A mixture of exact steps, one a point."""
        return MixtureTransition(prediction, x_t.double(), t.double(), s.double(), self.aug_dim)


@dataclass(frozen=True)
class PointPrediction(Prediction):
    """The posterior over the points of a `PointSet`.

    Attributes:
        log_weights: log p(y | x_t).
        points: y_1..y_P.
        rows: network rows spent.
    """

    log_weights: Float[Tensor, "B P"]
    points: Float[Tensor, "P N"]
    rows: int = 0

    def __getitem__(self, index: Tensor) -> PointPrediction:
        return PointPrediction(self.log_weights[index], self.points)

    def append(self, other: Prediction) -> PointPrediction:
        assert isinstance(other, PointPrediction)
        return replace(
            self, log_weights=torch.cat([self.log_weights, other.log_weights]), rows=self.rows + other.rows
        )

    def mode(self) -> Float[Tensor, "B N"]:
        """The posterior mean, as of any continuous prediction."""
        return self.log_weights.exp() @ self.points

    def sample(self, num: int, *, generator: Generator) -> Float[Tensor, "M B N"]:
        drawn = torch.multinomial(self.log_weights.exp(), num, replacement=True, generator=generator)
        return self.points[drawn.T]


@dataclass(frozen=True)
class MixtureTransition(Transition):
    """p(x_s | x_t) = sum_y p(y | x_t) p(x_s | x_t, y)."""

    prediction: PointPrediction
    x_t: Float[Tensor, "B N"]
    t: Float[Tensor, " B"]
    s: Float[Tensor, " B"]
    aug_dim: float

    def sample(self, num: int, *, generator: Generator) -> Float[Tensor, "M B N"]:
        y = self.prediction.sample(num, generator=generator).flatten(0, 1)
        x_t, t, s = self.x_t.repeat(num, 1), self.t.repeat(num), self.s.repeat(num)
        drawn = StudentTransition(y, None, x_t, t, s, self.aug_dim).sample(1, generator=generator)[0]
        return drawn.view(num, *self.x_t.shape)

    def rsample(
        self, *, temperature: float = 1.0, generator: Generator | None = None, noise: Tensor | None = None
    ) -> Tensor:
        raise UnsupportedError("draws of a point have no gradient; use PoissonFlow")

    def log_prob(self, x_s: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
        each = [
            StudentTransition(y.expand_as(x_s), None, self.x_t, self.t, self.s, self.aug_dim).log_prob(x_s)
            for y in self.prediction.points
        ]
        return (torch.stack(each, -1) + self.prediction.log_weights).logsumexp(-1)

    def kl(self, other: Transition) -> Float[Tensor, " B"]:
        raise UnsupportedError(
            "mixtures have no KL in closed form; average log_prob differences over samples"
        )

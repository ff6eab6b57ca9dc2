"""The multivariate Student-t, stable from 1 to 1e9 degrees of freedom and in up to 1e6 dimensions."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

_SERIES_FROM = 1e4
"""Half-degrees of freedom from which differences of log-gamma lose digits, and a series has them."""


def student_scale(
    num: int, dof: float, *, device: torch.device | str, generator: Generator
) -> Float[Tensor, " B"]:
    """W = sqrt(dof / chi2_dof), by which a normal becomes a Student-t; 1 at infinite dof."""
    if math.isinf(dof):
        return torch.ones(num, dtype=torch.float64, device=device)
    shape = torch.full((num,), dof / 2, dtype=torch.float64, device=device)
    # chi2_dof = 2 Gamma(dof/2)
    return (dof / 2 / torch._standard_gamma(shape, generator=generator)).sqrt()


def student_log_prob(
    squared: Float[Tensor, "*M B"], dim: int, dof: float, scale2: Float[Tensor, " B"]
) -> Float[Tensor, "*M B"]:
    """Log density at squared distance `squared` from the centre, in nats.

    Args:
        squared: |x - loc|^2.
        dim: N.
        dof: degrees of freedom, `math.inf` for the normal.
        scale2: squared scale.
    """
    distance = squared / scale2
    if math.isinf(dof):
        return -dim / 2 * (math.log(2 * math.pi) + scale2.log()) - distance / 2
    norm = log_gamma_ratio(dof / 2, dim / 2) - dim / 2 * (math.log(dof * math.pi) + scale2.log())
    return norm - (dof + dim) / 2 * torch.log1p(distance / dof)


def log_gamma_ratio(a: float, h: float) -> float:
    """Log Gamma(a + h) - log Gamma(a), without cancellation at large a (Stirling's series for both)."""
    if a < _SERIES_FROM:
        return math.lgamma(a + h) - math.lgamma(a)
    b = a + h
    # (b - 1/2) log b - (a - 1/2) log a - h, with log b = log a + log1p(h/a)
    main = h * math.log(a) + (b - 0.5) * math.log1p(h / a) - h
    return main + (1 / b - 1 / a) / 12 - (1 / b**3 - 1 / a**3) / 360

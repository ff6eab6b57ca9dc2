"""The multivariate Student-t, stable from 1 to 1e9 degrees of freedom and in up to 1e6 dimensions.

Degrees of freedom and dimensions may differ from row to row, where rows count different coordinates.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

_SERIES_FROM = 1e4
"""Half-degrees of freedom from which differences of log-gamma lose digits, and a series has them."""


def student_scale(
    num: int, dof: float | Float[Tensor, " B"], *, device: torch.device | str, generator: Generator
) -> Float[Tensor, " B"]:
    """W = sqrt(dof / chi2_dof), by which a normal becomes a Student-t; 1 at infinite dof.

    Args:
        num: draws.
        dof: degrees of freedom, of all draws or of each.
        device: of the draws.
        generator: source of the noise.
    """
    dof = torch.as_tensor(dof, dtype=torch.float64, device=device).expand(num)
    if bool(dof.isinf().all()):
        return torch.ones(num, dtype=torch.float64, device=device)
    # chi2_dof = 2 Gamma(dof/2)
    return (dof / 2 / torch._standard_gamma(dof / 2, generator=generator)).sqrt()


def student_log_prob(
    squared: Float[Tensor, "*M B"],
    dim: float | Float[Tensor, " B"],
    dof: float | Float[Tensor, " B"],
    scale2: Float[Tensor, " B"],
) -> Float[Tensor, "*M B"]:
    """Log density at squared distance `squared` from the centre, in nats.

    Args:
        squared: |x - loc|^2.
        dim: N.
        dof: degrees of freedom, `math.inf` for the normal.
        scale2: squared scale.
    """
    distance = squared / scale2
    dof = torch.as_tensor(dof, dtype=torch.float64, device=squared.device)
    dim = torch.as_tensor(dim, dtype=torch.float64, device=squared.device)
    if bool(dof.isinf().all()):
        return -dim / 2 * (math.log(2 * math.pi) + scale2.log()) - distance / 2
    norm = log_gamma_ratio(dof / 2, dim / 2) - dim / 2 * ((dof * math.pi).log() + scale2.log())
    return norm - (dof + dim) / 2 * torch.log1p(distance / dof)


def log_gamma_ratio(a: float | Tensor, h: float | Tensor) -> Tensor:
    """Log Gamma(a + h) - log Gamma(a), without cancellation at large a (Stirling's series for both)."""
    a, h = torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(h, dtype=torch.float64)
    b = a + h
    # (b - 1/2) log b - (a - 1/2) log a - h, with log b = log a + log1p(h/a)
    main = h * a.log() + (b - 0.5) * torch.log1p(h / a) - h
    series = main + (1 / b - 1 / a) / 12 - (1 / b**3 - 1 / a**3) / 360
    return torch.where(a < _SERIES_FROM, torch.lgamma(b) - torch.lgamma(a), series)


def stratified_fractions(
    num: int, times: int, *, device: torch.device | str, generator: Generator
) -> Float[Tensor, "M B"]:
    """Numbers in (0, 1), one in each of `times * num` equal parts.

    Every column has one number in each of `times` parts of (0, 1), and within a part every column its own.
    """
    part = torch.arange(times, dtype=torch.float64, device=device)[:, None]
    column = torch.arange(num, dtype=torch.float64, device=device)
    u = torch.rand((times, num), dtype=torch.float64, device=device, generator=generator)
    return (part + (column + u) / num) / times

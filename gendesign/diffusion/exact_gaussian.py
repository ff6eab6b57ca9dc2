"""A Gaussian law with correlations, whose denoiser at D = inf is known in closed form.

    E[x_0 | x_t] = m + S (S + sigma^2 I)^-1 (x_t - m),    Var[x_0 | x_t] = sigma^2 S (S + sigma^2 I)^-1

Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, arXiv 2206.00364.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.errors import ConfigError
from gendesign.models.base import Denoiser


class CorrelatedGaussian(Denoiser):
    """The exact denoiser of N(m, S) under Gaussian noise.

    Args:
        mean: m.
        covariance: S.

    Raises:
        ConfigError: S is not symmetric and positive.
    """

    time_conditioned = True
    mean: Tensor
    values: Tensor
    vectors: Tensor

    def __init__(self, mean: Float[Tensor, " N"], covariance: Float[Tensor, "N N"]) -> None:
        super().__init__()
        values, vectors = torch.linalg.eigh(covariance.double())
        if not torch.allclose(covariance, covariance.T) or not bool((values > 0).all()):
            raise ConfigError("covariance must be symmetric with eigenvalues above 0")
        self.register_buffer("mean", mean.double())
        self.register_buffer("values", values)
        self.register_buffer("vectors", vectors)

    def forward(
        self, x: Tensor, t: Tensor | None = None, cond: Any = None, mask: Tensor | None = None
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """Posterior mean and variance of every coordinate."""
        assert t is not None
        sigma2 = (t.double() ** 2)[:, None]
        shrink = self.values / (self.values + sigma2)  # B, N along the axes of S
        mean = self.mean + (((x.double() - self.mean) @ self.vectors) * shrink) @ self.vectors.T
        return mean, (sigma2 * shrink) @ (self.vectors**2).T

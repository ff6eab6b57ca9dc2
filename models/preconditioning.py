"""EDM's preconditioning: a network of unit-variance inputs and outputs becomes a denoiser at every noise level.

    mean = c_skip x + c_out F(c_in x, c_noise),   variance = c_out^2 exp(h(c_in x, c_noise)),
    c_skip = s^2/(sigma^2 + s^2),   c_out = sigma s/sqrt(sigma^2 + s^2),
    c_in = 1/sqrt(sigma^2 + s^2),   c_noise = ln(sigma)/4

with s the standard deviation of the data. The same holds at every augmented dimension D of PFGM++, through
r = sigma sqrt(D).

Karras et al. 2022, Elucidating the Design Space of Diffusion-Based Generative Models, arXiv 2206.00364, table 1.
Xu et al. 2023, PFGM++: Unlocking the Potential of Physics-Inspired Generative Models, arXiv 2302.04265, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gendesign.building import finite
from gendesign.errors import ConfigError
from gendesign.models.base import Denoiser, VectorNetwork

MAX_LOG_VARIANCE = 15.0
"""Bound on the head's log-variance, so that an untrained head cannot overflow."""


@dataclass(frozen=True)
class Coefficients:
    """What scales the network at a noise level, each Float[B 1] in float64."""

    skip: Tensor
    out: Tensor
    input: Tensor
    noise: Tensor


def coefficients(sigma: Float[Tensor, " B"], sigma_data: float) -> Coefficients:
    """Table 1 of Karras et al. 2022.

    Args:
        sigma: noise levels, above 0.
        sigma_data: standard deviation of the data.
    """
    sigma = sigma.double()[:, None]
    total = sigma**2 + sigma_data**2
    return Coefficients(
        sigma_data**2 / total, sigma * sigma_data / total.sqrt(), total.rsqrt(), sigma.log() / 4
    )


class Preconditioned(Denoiser):
    """A network with EDM's preconditioning.

    Args:
        network: F, and the head h where it has one.
        sigma_data: standard deviation of the data; the process's must be the same.
        aug_dim: D of the noise that the network is trained with; `math.inf` is EDM's.
    """

    time_conditioned = True

    def __init__(self, network: VectorNetwork, *, sigma_data: float = 0.5, aug_dim: float = 128.0) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = finite("sigma_data", sigma_data, above=0.0)
        if not aug_dim >= 1:
            raise ConfigError(f"aug_dim must be at least 1 (math.inf is EDM), got {aug_dim!r}")
        self.aug_dim = float(aug_dim)
        self.cond_dim = getattr(network, "cond_dim", 0)

    def forward(
        self,
        x: Float[Tensor, "B N"],
        t: Float[Tensor, " B"] | None = None,
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"] | None]:
        """Mean and variance of the clean designs, in float64; the network computes in its own precision.

        Raises:
            ConfigError: no noise level was given.
        """
        if t is None:
            raise ConfigError("this denoiser needs t, the noise level sigma of each design")
        c = coefficients(t, self.sigma_data)
        dtype = next((p.dtype for p in self.network.parameters()), torch.float64)
        # fixed coordinates are given clean: they are scaled as data, not as noise
        scale = c.input if mask is None else torch.where(mask, c.input, 1 / self.sigma_data)
        raw, head = self.network((scale * x.double()).to(dtype), c.noise[:, 0].to(dtype), cond, mask)
        mean = c.skip * x.double() + c.out * raw.double()
        if head is None:
            return mean, None
        return mean, c.out**2 * head.double().clamp(-MAX_LOG_VARIANCE, MAX_LOG_VARIANCE).exp()

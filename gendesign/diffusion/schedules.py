"""Masking schedules: m_t, the probability that a token is masked at time t in [0, 1].

Sahoo et al. 2024, Simple and Effective Masked Diffusion Language Models, arXiv 2406.07524. With
sigma(t) = -log(1 - m_t), the weight of the likelihood bound is sigma'(t) / expm1(sigma(t)) = m'_t / m_t.
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import Configurable, finite
from gendesign.errors import ConfigError


class Schedule(Configurable, ABC):
    """A masking schedule.

    Args:
        eps: probability that a token stays unmasked at t = 1; it bounds sigma(1). In [0, 1).
    """

    def __init__(self, eps: float = 1e-3) -> None:
        self.eps = finite("eps", eps, at_least=0.0)
        if self.eps >= 1:
            raise ConfigError(f"eps must be below 1, got {eps}")

    @abstractmethod
    def mask_probability(self, t: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """m_t, increasing from 0 at t = 0 to 1 - eps at t = 1."""

    @abstractmethod
    def time(self, mask_probability: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """The inverse of `mask_probability`; values above 1 - eps map to 1."""

    @abstractmethod
    def weight(self, t: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """m'_t / m_t, the weight of the bound at time t > 0."""

    def sigma(self, t: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """The total noise -log(1 - m_t)."""
        return -torch.log1p(-self.mask_probability(t))


class LogLinear(Schedule):
    """m_t = (1 - eps) t, whose weight is exactly 1/t."""

    def mask_probability(self, t: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        return (1 - self.eps) * t

    def time(self, mask_probability: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        return (mask_probability / (1 - self.eps)).clamp(max=1.0)

    def weight(self, t: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        return 1 / t


class Cosine(Schedule):
    """m_t = (1 - eps) (1 - cos(pi t / 2))."""

    def mask_probability(self, t: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        # 1 - cos(a) = 2 sin^2(a/2) keeps its digits at small t
        return (1 - self.eps) * 2 * torch.sin(math.pi * t / 4) ** 2

    def time(self, mask_probability: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        half = (mask_probability / (1 - self.eps)).clamp(0.0, 1.0) / 2
        return 4 / math.pi * torch.asin(half.sqrt())

    def weight(self, t: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        return (1 - self.eps) * math.pi / 2 * torch.sin(math.pi * t / 2) / self.mask_probability(t)

"""What a value network is trained to give, and how its output becomes a value in the reward's unit.

The network's output is s. With r over base roll-outs,

    "mean"   v = c + k s,       c = mean r,  k = std r;                       squared error of s against (r - c)/k
    "soft"   v = c + alpha s,   c = alpha log mean exp(r/alpha);              exp(s) - y s,  y = exp((r - c)/alpha)

The second loss has its minimum at exp(s) = E[y | x_t], so that v is the soft value alpha log E[exp(r/alpha) | x_t]: it
is the regression of y, whose scale makes its mean 1, with an output that may span many orders of magnitude.

Li et al. 2024, Derivative-Free Guidance in Continuous and Discrete Diffusion Models with Soft Value-Based Decoding,
arXiv 2408.08252 (SVDD-MC).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from gendesign.building import finite
from gendesign.errors import ConfigError

Kind = Literal["mean", "soft"]

MAX_LOG = 30.0
"""Bound on s in exp(s), so that an early step cannot overflow."""


@dataclass(frozen=True)
class ValueScale:
    """Numbers that belong to a trained value.

    Attributes:
        target: "mean" or "soft".
        alpha: temperature of a soft value, in the reward's unit; None for a mean.
        center: c, in the reward's unit.
        spread: k, or alpha.
    """

    target: Kind
    alpha: float | None
    center: float
    spread: float

    @classmethod
    def of(cls, target: Kind, alpha: float | None, r: Float[Tensor, " M"]) -> ValueScale:
        """Measure rewards.

        Raises:
            ConfigError: a soft value without a temperature, or a mean with one.
        """
        check_target(target, alpha)
        r = r.double()
        if alpha is None:
            return cls(target, None, r.mean().item(), max(r.std(correction=0).item(), 1e-12))
        center = alpha * ((r / alpha).logsumexp(0).item() - math.log(len(r)))
        return cls(target, alpha, center, alpha)

    def value(self, s: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The network's output, in the reward's unit."""
        return self.center + self.spread * s.double()

    def loss(self, s: Float[Tensor, " B"], r: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """What training lowers, at least 0: the excess over a perfect guess of each r."""
        aim = ((r.double() - self.center) / self.spread).to(s)
        if self.target == "mean":
            return (s - aim) ** 2
        y = aim.clamp(max=MAX_LOG).exp()
        s = s.clamp(max=MAX_LOG)
        return s.exp() - y - y * (s - aim.clamp(max=MAX_LOG))


def check_target(target: str, alpha: float | None) -> None:
    """Refuse a target that does not fit its temperature.

    Raises:
        ConfigError: with what to give.
    """
    if target not in ("mean", "soft"):
        raise ConfigError(f"target must be 'mean' or 'soft', got {target!r}")
    if target == "soft" and alpha is None:
        raise ConfigError("a soft value belongs to one temperature: give alpha, in the reward's unit")
    if target == "mean" and alpha is not None:
        raise ConfigError("a mean value has no temperature: leave alpha out, or choose target='soft'")
    if alpha is not None:
        finite("alpha", alpha, above=0.0)

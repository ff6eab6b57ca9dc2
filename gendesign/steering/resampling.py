"""Choosing among weighted states: the arithmetic that steering methods share, all of it in log space and float64."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from gendesign.building import finite
from gendesign.errors import ConfigError


def choose(log_weights: Float[Tensor, "B M"], *, generator: Generator) -> Int[Tensor, " B"]:
    """Draw one index a row with probability proportional to exp(log_weights).

    Args:
        log_weights: unnormalised; -inf excludes an entry, but not all entries of a row.
        generator: source of one uniform a row.
    """
    cumulative = log_weights.double().softmax(-1).cumsum(-1)
    u = torch.rand(len(cumulative), dtype=torch.float64, device=cumulative.device, generator=generator)
    passed = (u * cumulative[:, -1])[:, None] >= cumulative
    return passed.sum(-1).clamp(max=cumulative.shape[-1] - 1)


def selection_kl(log_weights: Float[Tensor, "B M"]) -> Float[Tensor, " B"]:
    """What a choice among M equally likely candidates costs: sum_i w_i log(M w_i), in nats.

    It is the divergence between the joint law of (candidates, choice) and the same with a uniform choice. Summed over
    the steps of a run it bounds the divergence of the final designs from the base's from above, since discarding the
    candidates can only lower it.
    """
    log_w = log_weights.double().log_softmax(-1)
    w = log_w.exp()
    # -inf weights contribute 0, not NaN
    terms = torch.where(w > 0, w * (log_w + math.log(w.shape[-1])), 0.0)
    return terms.sum(-1).clamp(min=0.0)


def effective_sample_size(log_weights: Float[Tensor, "*B M"]) -> Float[Tensor, "*B"]:
    """Kish's effective sample size (sum w)^2 / sum w^2, between 1 and M."""
    log_w = log_weights.double()
    return (2 * log_w.logsumexp(-1) - (2 * log_w).logsumexp(-1)).exp()


def temperature_for(values: Float[Tensor, "G M"], ess_fraction: float) -> float:
    """The alpha at which weights exp(v/alpha) leave a wanted share of M competing candidates effective.

    Args:
        values: of G groups of M candidates, in the reward's unit; NaN counts as the group's mean.
        ess_fraction: wanted mean over groups of effective sample size over M, in (1/M, 1).

    Returns:
        alpha, in the reward's unit.

    Raises:
        ConfigError: no spread in any group, or a fraction that no temperature reaches.
    """
    v = values.double()
    v = torch.where(v.isnan(), v.nanmean(-1, keepdim=True), v)
    v = v[~v.isnan().any(-1)]
    spread = (v.amax(-1) - v.amin(-1)).max().item() if v.numel() else 0.0
    if not spread > 0:
        raise ConfigError(
            "alpha='auto' needs candidates with different rewards, the pilot found none: give a number"
        )

    def reached(log_alpha: float) -> float:
        return (effective_sample_size(v / math.exp(log_alpha)) / v.shape[-1]).mean().item()

    low, high = math.log(spread * 1e-6), math.log(spread * 1e6)
    if not reached(low) < finite("ess_fraction", ess_fraction) < 1:
        raise ConfigError(f"ess_fraction must be between {reached(low):.2g} and 1 here, got {ess_fraction:g}")
    for _ in range(100):  # the effective sample size grows with alpha: bisection
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < ess_fraction else (low, middle)
    return math.exp(middle)

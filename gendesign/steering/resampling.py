"""Choosing among weighted states: the arithmetic that steering methods share, all of it in log space and float64."""

from __future__ import annotations

import math

import numpy as np
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


def temperature_for(rewards: np.ndarray, ess_fraction: float) -> float:
    """The alpha at which weights exp(r/alpha) on a base sample have a given effective sample size.

    Args:
        rewards: of base samples, in the reward's unit; values that are not finite are left out.
        ess_fraction: wanted effective sample size over the number of samples, in (0, 1).

    Returns:
        alpha, in the reward's unit.

    Raises:
        ConfigError: fewer than two different finite rewards, or a fraction out of range.
    """
    finite("ess_fraction", ess_fraction, above=0.0)
    r = torch.from_numpy(np.asarray(rewards, dtype=np.float64))
    r = r[r.isfinite()]
    if ess_fraction >= 1:
        raise ConfigError(f"ess_fraction must be below 1, got {ess_fraction:g}")
    if len(r) < 2 or bool((r == r[0]).all()):
        raise ConfigError(
            f"alpha='auto' needs base designs with different rewards; got {len(r)} finite, no spread: give a number"
        )
    spread = (r.max() - r.min()).item()
    low, high = math.log(spread * 1e-6), math.log(spread * 1e6)
    for _ in range(100):  # the effective sample size grows with alpha: bisection
        middle = (low + high) / 2
        reached = effective_sample_size(r / math.exp(middle)).item() / len(r)
        low, high = (middle, high) if reached < ess_fraction else (low, middle)
    return math.exp(middle)

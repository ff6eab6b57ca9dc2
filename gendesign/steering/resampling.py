"""Choosing among weighted states: the arithmetic that steering methods share, all of it in log space and float64."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
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


def resample(
    log_weights: Float[Tensor, "G P"], *, systematic: bool = True, generator: Generator
) -> Int[Tensor, "G P"]:
    """Draw P indices a row, each index on average P times its share of the row's weight.

    Args:
        log_weights: unnormalised; -inf excludes an entry, but not all entries of a row.
        systematic: one uniform a row, whose P equally spaced copies are looked up: an index of weight w is drawn
            floor(P w) or ceil(P w) times. Otherwise P independent draws (multinomial).
        generator: source of the uniforms.

    Returns:
        Indices in ascending order.

    Reference:
        Kitagawa 1996, Monte Carlo Filter and Smoother for Non-Gaussian Nonlinear State Space Models.
    """
    cumulative = log_weights.double().softmax(-1).cumsum(-1)
    groups, num = cumulative.shape
    shape = (groups, 1 if systematic else num)
    u = torch.rand(shape, dtype=torch.float64, device=cumulative.device, generator=generator)
    place = torch.arange(num, device=u.device)
    points = (place + u) / num if systematic else u.sort(-1).values
    index = torch.searchsorted(cumulative, points * cumulative[:, -1:], right=True)
    # rounding may push the last point onto the end: the last index that has any weight is meant
    last = torch.where(log_weights > -torch.inf, place, 0).amax(-1, keepdim=True)
    return torch.minimum(index, last)


def best_log_weights(reward: Float[Tensor, "G N"], ok: Bool[Tensor, "G N"]) -> Float[Tensor, "G N"]:
    """Log weights with which the best of each group is chosen, and any of its equals.

    Args:
        reward: of N members of G groups.
        ok: whether each could be scored; one that could not loses to any that could, and a group in which none could
            keeps an arbitrary member, whose status says what is wrong.
    """
    known = torch.where(ok, reward, -torch.inf)
    best = (known == known.amax(-1, keepdim=True)) | ~ok.any(-1, keepdim=True)
    return torch.where(best, 0.0, -torch.inf)


def best_of_kl(num: int) -> float:
    """What keeping the best of N independent draws costs: log N - (N - 1)/N nats where rewards differ, less with ties.

    Reference:
        Beirami et al. 2024, Theoretical guarantees on the best-of-n alignment policy, arXiv 2401.01879.
    """
    return math.log(num) - (num - 1) / num


def selection_kl(
    log_weights: Float[Tensor, "B M"],
    log_ratio: Float[Tensor, "B M"] | None = None,
    *,
    index: Int[Tensor, " B"] | None = None,
) -> Float[Tensor, " B"]:
    """What a choice among M candidates costs: sum_i w_i (log(M w_i) - log p_i/q_i), in nats.

    It is the divergence between the joint law of (candidates, choice) and the one in which the chosen candidate comes
    from p, the others from q, and any is chosen alike. Summed over the steps of a run it bounds the divergence of the
    final designs from the base's from above, since discarding the candidates can only lower it.

    Args:
        log_weights: of the candidates, unnormalised.
        log_ratio: log p/q of each, where they were drawn from another law than the base's.
        index: which candidate of each row was chosen: then the log of the ratio of the two laws there, whose mean over
            choices is the divergence. Where runs are selected by what came of them, only this can be summed.
    """
    log_w = log_weights.double().log_softmax(-1)
    w = log_w.exp()
    each = log_w + math.log(w.shape[-1])
    each = each if log_ratio is None else each - log_ratio
    if index is not None:
        return each.gather(-1, index[:, None]).squeeze(-1)
    # -inf weights contribute 0, not NaN
    found = torch.where(w > 0, w * each, 0.0).sum(-1)
    # never below 0 but by rounding; with other proposals it is so on average alone
    return found.clamp(min=0.0) if log_ratio is None else found


def effective_sample_size(log_weights: Float[Tensor, "*B M"]) -> Float[Tensor, "*B"]:
    """Kish's effective sample size (sum w)^2 / sum w^2, between 1 and M."""
    log_w = log_weights.double()
    return (2 * log_w.logsumexp(-1) - (2 * log_w).logsumexp(-1)).exp()


def temperature_for(values: Float[Tensor, "G M"], ess_fraction: float) -> float:
    """The alpha at which weights exp(v/alpha) leave a wanted share of M competing candidates effective.

    Args:
        values: of G groups of M candidates, in the reward's unit; NaN counts as the group's mean. Groups whose
            candidates are all alike say nothing of a temperature and are left out.
        ess_fraction: wanted mean over groups of effective sample size over M, in (0, 1). Where equal best candidates
            keep it from falling so far, alpha stops at a hundredth of the largest difference within a group.

    Returns:
        alpha, in the reward's unit; 1 where no candidates differ and any temperature does the same.

    Raises:
        ConfigError: a fraction outside (0, 1).
    """
    if not 0 < finite("ess_fraction", ess_fraction) < 1:
        raise ConfigError(f"ess_fraction must be between 0 and 1, got {ess_fraction:g}")
    v = values.double()
    v = torch.where(v.isnan(), v.nanmean(-1, keepdim=True), v)
    v = v[~v.isnan().any(-1)]
    v = v[v.amax(-1) > v.amin(-1)] if v.numel() else v
    if not len(v):
        return 1.0
    spread = (v.amax(-1) - v.amin(-1)).max().item()
    low, high = math.log(spread * 1e-2), math.log(spread * 1e6)
    for _ in range(100):  # the effective sample size grows with alpha: bisection
        middle = (low + high) / 2
        reached = (effective_sample_size(v / math.exp(middle)) / v.shape[-1]).mean().item()
        low, high = (middle, high) if reached < ess_fraction else (low, middle)
    return math.exp(middle)

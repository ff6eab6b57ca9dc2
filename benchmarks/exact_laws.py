"""The law of the designs that a method makes, without sampling, for methods that choose among independent candidates.

Of M candidates drawn with probabilities p_j, one is kept with probability proportional to its weight w_j. Then

    q_i = M p_i w_i E[1 / (w_i + sum of M - 1 others)] = M p_i w_i int_0^inf exp(-u w_i) phi(u)^(M-1) du,
    phi(u) = sum_j p_j exp(-u w_j),

one smooth integral, here by the trapezoidal rule in log u, whose error falls faster than any power of the step. SVDD
makes this choice at every step (a Markov chain over partly masked strings), best-of-N once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gendesign.diffusion.partial_strings import Enumerated

STEP, FIRST = 0.5, -16.0
"""Of the nodes in log u, where the largest weight is 1; the error of the rule is about exp(-pi^2/STEP)."""


def chosen(log_p: Tensor, log_w: Tensor, num: float) -> Tensor:
    """Law of the candidate kept, of `num` drawn.

    Args:
        log_p: log-probabilities of the choices, [B, J], each row normalised.
        log_w: their log-weights.
        num: M; infinite for the law proportional to p w, which exact guidance draws from.

    Returns:
        probabilities [B, J].
    """
    p = log_p.exp()
    if num == 1:
        return p
    if num == math.inf:
        return (log_p + log_w).softmax(-1)
    w = log_w - log_w.amax(-1, keepdim=True)
    total = torch.zeros_like(p)
    for y in torch.arange(FIRST, 4.0 - float(w.min()), STEP, dtype=torch.float64):
        decay = torch.exp(-torch.exp(w + y))
        phi = (p * decay).sum(-1, keepdim=True)
        total += decay * phi ** (num - 1) * torch.exp(w + y)
    q = num * p * total * STEP
    return q / q.sum(-1, keepdim=True)


def svdd_law(space: Enumerated, value: Tensor, *, alpha: float, candidates: float) -> Tensor:
    """Law of the designs of SVDD, whose value of every partly masked string is known.

    Args:
        space: the backbone.
        value: of every string, the reward where nothing is masked.
        alpha: temperature.
        candidates: M.
    """
    reached = torch.zeros(len(space.states), dtype=torch.float64)
    reached[-1] = 1.0
    for n in range(space.length, 0, -1):
        steps = list(space.reveals(n))
        source = torch.cat([step.source for step in steps])
        order = source.argsort(stable=True)  # the n masked positions of a string side by side
        target = torch.cat([step.target for step in steps])[order].view(-1, n * space.vocab_size)
        log_p = torch.cat([step.log_chance for step in steps])[order].view_as(target)
        rows = source[order].view(-1, n)[:, 0]
        for part in torch.arange(len(rows)).split(8192):
            q = chosen(log_p[part], value[target[part]] / alpha, candidates)
            flow = reached[rows[part], None] * q
            reached.index_add_(0, target[part].flatten(), flow.flatten())
    return reached[space.complete]


def guided_law(space: Enumerated, change: Tensor, *, alpha: float) -> Tensor:
    """Law of the designs of guidance, whose every reveal is drawn with probability proportional to p exp(change/alpha).

    Args:
        space: the backbone.
        change: of the value, by revealing a position of a string as a letter, [S, L, K].
        alpha: temperature.
    """
    reached = torch.zeros(len(space.states), dtype=torch.float64)
    reached[-1] = 1.0
    for n in range(space.length, 0, -1):
        steps = list(space.reveals(n))
        weights = [step.log_chance + change[step.source, place] / alpha for place, step in enumerate(steps)]
        total = torch.full_like(reached, -torch.inf)
        for step, weight in zip(steps, weights, strict=True):
            total[step.source] = torch.logaddexp(total[step.source], weight.logsumexp(-1))
        for step, weight in zip(steps, weights, strict=True):
            flow = reached[step.source, None] * (weight - total[step.source, None]).exp()
            reached.index_add_(0, step.target.flatten(), flow.flatten())
    return reached[space.complete]


def best_of_n_law(p: Tensor, reward: Tensor, num: int) -> Tensor:
    """Law of the best of N draws; equal rewards share their chance."""
    levels, index = reward.unique(return_inverse=True)
    mass = torch.zeros(len(levels), dtype=torch.float64).index_add_(0, index, p)
    below = torch.cat([torch.zeros(1, dtype=torch.float64), mass.cumsum(0)]).clamp(max=1.0)
    level = below[1:] ** num - below[:-1] ** num
    return p * (level / mass)[index]


def weighted_law(p: Tensor, reward: Tensor, *, alpha: float, num: int) -> Tensor:
    """Law of one of N draws, kept with weights exp(r/alpha)."""
    return chosen(p.log()[None], (reward / alpha)[None], num)[0]

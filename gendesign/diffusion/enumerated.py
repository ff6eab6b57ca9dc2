"""What a path of masked diffusion earns and costs, exactly, where every partly masked sequence can be visited.

    J(x) = E[J(x_s) | x] - alpha D(step at x),    J = r at complete sequences,

by dynamic programming from the last step to the first, over the (K + 1)^L states of a table: what fine-tuning
maximises, differentiable in the table of the policy, so that its best value on a grid is found without sampling.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gendesign.diffusion.in_order import InOrder
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import Ancestral, KTokens
from gendesign.divergences import Divergence, ReverseKL
from gendesign.errors import UnsupportedError


def all_states(vocab_size: int, length: int) -> Int[Tensor, "S L"]:
    """Every sequence over the K tokens and MASK, in lexicographic order."""
    return torch.tensor(list(itertools.product(range(vocab_size + 1), repeat=length)))


def path_objective(
    process: MaskedDiffusion,
    policy: Float[Tensor, "S L K"],
    base: Float[Tensor, "S L K"],
    reward: Float[Tensor, " D"],
    times: Float[Tensor, " E"],
    *,
    alpha: float,
    divergence: Divergence | None = None,
) -> Float[Tensor, ""]:
    """J at the fully masked sequence.

    Args:
        process: with ancestral unmasking on a grid, or one token a step, anywhere or in order.
        policy: logits of the clean tokens in every state.
        base: those of the base.
        reward: of every complete sequence, in lexicographic order.
        times: the grid.
        alpha: price of a nat.
        divergence: of each decision; None: KL.

    Raises:
        UnsupportedError: another rule of unmasking.
    """
    k, length = policy.shape[-1], policy.shape[1]
    states = all_states(k, length).to(policy.device)
    masked = states == k
    log_q, log_p = policy.double().log_softmax(-1), base.double().log_softmax(-1)
    each = (ReverseKL() if divergence is None else divergence).between(log_q, log_p)
    cost, count = each * masked, masked.sum(-1)
    complete = torch.zeros(len(states), dtype=torch.float64, device=policy.device)
    value = complete.index_put((count.eq(0).nonzero().squeeze(-1),), reward.double())
    rule = process.unmasking
    one_of_all = isinstance(rule, KTokens) and rule.k == 1
    if one_of_all or (isinstance(rule, InOrder) and rule.pad is None):
        # the chance of each position to be the one that is revealed
        share = masked / count.clamp(min=1)[:, None] if one_of_all else masked & (masked.cumsum(-1) == 1)
        price = alpha * (share * cost).sum(-1)
        for n in range(1, length + 1):
            here = (count == n).nonzero().squeeze(-1)
            gained = torch.zeros(len(here), dtype=torch.float64, device=policy.device)
            for i in range(length):
                stride = (k + 1) ** (length - 1 - i)
                # MASK is the last token: replacing it by v moves K - v strides back
                to = (here[:, None] - stride * (k - torch.arange(k, device=here.device))).clamp(min=0)
                gained = gained + share[here, i] * (log_q[here, i].exp() * value[to]).sum(-1)
            value = value.index_put((here,), gained - price[here])
        return value[-1]
    if not isinstance(rule, Ancestral):
        raise UnsupportedError("exact paths are of ancestral unmasking, or of one token a step")
    known = torch.nn.functional.one_hot(states, k + 1).double()
    for step in range(len(times) - 2, -1, -1):
        stay = process.schedule.mask_probability(times[step + 1]) / process.schedule.mask_probability(
            times[step]
        )
        moved = torch.cat([(1 - stay) * log_q.exp(), stay.expand(*log_q.shape[:2], 1)], -1)
        law = torch.where(masked[..., None], moved, known)
        ahead = law[:, 0] @ value.view(k + 1, -1)
        for i in range(1, length):
            ahead = torch.einsum("sv,svr->sr", law[:, i], ahead.view(len(states), k + 1, -1))
        value = ahead.squeeze(-1) - alpha * (1 - stay) * cost.sum(-1)
    return value[-1]


def best_objective(
    process: MaskedDiffusion,
    base: Float[Tensor, "S L K"],
    reward: Float[Tensor, " D"],
    times: Float[Tensor, " E"],
    *,
    alpha: float,
    divergence: Divergence | None = None,
) -> tuple[float, Float[Tensor, "S L K"]]:
    """The best J that a table reaches on this grid, by ascent of its exact gradient from the base; and that table."""
    table = base.detach().double().clone().requires_grad_()
    ascent = torch.optim.LBFGS(
        [table], max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        ascent.zero_grad()
        loss = -path_objective(process, table, base, reward, times, alpha=alpha, divergence=divergence)
        loss.backward()
        return loss

    ascent.step(closure)
    with torch.no_grad():
        best = path_objective(process, table, base, reward, times, alpha=alpha, divergence=divergence)
    return float(best), table.detach()

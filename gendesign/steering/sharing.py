"""Which states are equal, so that what is known of one serves all of them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gendesign.steering.particles import Particles


def match(
    x: Tensor, t: Float[Tensor, " R"], known: Particles | None, *, in_time: bool
) -> tuple[Int[Tensor, " R"], Int[Tensor, " U"]]:
    """Find equal states.

    Args:
        x: new states, R of them.
        t: their times.
        known: particles already looked at, B of them.
        in_time: equal states at different times differ.

    Returns:
        For each new state the row to use of [known; fresh], and the rows of `x` that are fresh: the first of each set
        of equal ones that is not among the known.
    """
    num_known, num = 0 if known is None else len(known), len(x)
    rows = torch.arange(num_known + num, device=x.device)
    if x.is_floating_point():  # continuous states never meet
        return rows[num_known:], rows[:num]
    pool = packed(x if known is None else torch.cat([known.x, x]))
    if in_time:
        times = t if known is None else torch.cat([known.t, t])
        pool = torch.cat([pool, times.double().view(torch.int64)[:, None]], -1)
    one = pool.shape[1] == 1  # numbers are sorted far faster than rows
    inverse = pool.unique(dim=None if one else 0, return_inverse=True)[1].flatten()
    first = torch.full_like(rows, len(pool)).scatter_reduce(0, inverse, rows, "amin")[inverse][num_known:]
    fresh = (first == rows[num_known:]).nonzero().squeeze(-1)
    slot = rows.clone()
    slot[num_known + fresh] = num_known + rows[: len(fresh)]
    return slot[first], fresh


def packed(x: Int[Tensor, "R L"]) -> Int[Tensor, "R W"]:
    """Rows of ids as few numbers: as many ids in each as 62 bits hold. Equal rows are equal, and no others."""
    bits = max(1, int(x.max()).bit_length()) if x.numel() else 1
    parts = x.long().split(62 // bits, dim=1)
    shift = bits * torch.arange(62 // bits, device=x.device)
    return torch.stack([(part << shift[: part.shape[1]]).sum(-1) for part in parts], -1)

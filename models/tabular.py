"""A table instead of a network: logits of every partly masked sequence, for spaces small enough to enumerate.

    logits(x) = sum over states s of  prod_i x_i[s_i]  table[s]

On ids that is a look-up; on relaxed one-hots it is multilinear, so that a gradient reaches each position.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gendesign.building import whole
from gendesign.errors import ConfigError
from gendesign.models.base import TokenDenoiser

MOST_STATES = 400_000
"""Rows of the largest table: eight positions over four letters."""


class TabularDenoiser(TokenDenoiser):
    """Logits of the clean tokens at each position, a row for each of the (K + 1)^L states.

    Args:
        vocab_size: K.
        length: L.
    """

    def __init__(self, vocab_size: int, length: int) -> None:
        super().__init__(vocab_size, 2)
        del self.embedding  # nothing is embedded here
        self.length = whole("length", length)
        states = (vocab_size + 1) ** length
        if states > MOST_STATES:
            raise ConfigError(
                f"a table of {length} positions over {vocab_size} tokens has {states:,} states, at most "
                f"{MOST_STATES:,} are kept; use a network"
            )
        self.table = nn.Parameter(torch.zeros(states, length, vocab_size, dtype=torch.float64))

    def forward(
        self,
        x: Int[Tensor, "B L"] | Float[Tensor, "B L K1"],
        t: Float[Tensor, " B"] | None = None,
        cond: Any = None,
        mask: Any = None,
    ) -> Float[Tensor, "B L K"]:
        """Look up, or mix, rows."""
        if x.is_floating_point():
            weight = x[:, 0].to(self.table)
            for i in range(1, self.length):
                weight = (weight[:, :, None] * x[:, i, None, :].to(self.table)).flatten(1)
            return torch.einsum("bs,slk->blk", weight, self.table)
        place = (self.vocab_size + 1) ** torch.arange(self.length - 1, -1, -1, device=x.device)
        return self.table[(x * place).sum(-1)]

    def set_law(self, p: Float[Tensor, " D"]) -> TabularDenoiser:
        """Take the exact marginals of a law over all K^L sequences, in lexicographic order; returns itself."""
        k, mask = self.vocab_size, self.vocab_size
        designs = torch.tensor(list(itertools.product(range(k), repeat=self.length)))
        states = torch.tensor(list(itertools.product(range(k + 1), repeat=self.length)))
        agrees = ((states[:, None] == designs) | (states[:, None] == mask)).all(-1)
        joint = agrees * p.double()
        clean = nn.functional.one_hot(designs, k).double()
        marginal = torch.einsum("sd,dlk->slk", joint, clean) / joint.sum(-1)[:, None, None].clamp(min=1e-300)
        with torch.no_grad():
            self.table.copy_(marginal.clamp(min=1e-12).log())
        return self

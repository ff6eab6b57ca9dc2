"""A residual perceptron over vectors, which every block tells the noise level.

Each block is  h <- h + W_2 SiLU((1 + a) norm(W_1 h) + b)  with a, b linear functions of the noise's Fourier features.

Tancik et al. 2020, Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains,
arXiv 2006.10739.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from gendesign.building import whole
from gendesign.errors import ConfigError
from gendesign.models.base import TimeEmbedding, VectorNetwork, embed_cond

MAX_FREQUENCY = 30.0
"""Of the noise's Fourier features: answers vary slowly with c_noise, which spans about 2.7 from .002 to 80."""


class MLPBlock(nn.Module):
    """One residual block."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Float[Tensor, "B C"], condition: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
        """Apply the block."""
        scale, shift = self.modulation(condition).chunk(2, dim=1)
        y = functional.silu(self.norm(self.first(h)) * (1 + scale) + shift)
        return h + self.second(self.dropout(y))


class MLPNetwork(VectorNetwork):
    """Residual perceptron over N numbers, with a head for their log-variance.

    Args:
        dim: N.
        width: of every layer.
        depth: number of residual blocks.
        dropout: in the blocks.
        cond_dim: length of the vector `cond` that a conditional network takes; 0 for none.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self, dim: int, width: int = 128, *, depth: int = 4, dropout: float = 0.0, cond_dim: int = 0
    ) -> None:
        super().__init__()
        self.dim = whole("dim", dim)
        self.cond_dim = whole("cond_dim", cond_dim, at_least=0)
        whole("width", width, at_least=2), whole("depth", depth)
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        self.noise = TimeEmbedding(width, MAX_FREQUENCY)
        self.cond = nn.Linear(cond_dim, width) if cond_dim else None
        self.inlet = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(MLPBlock(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * dim)
        # The first answer is the preconditioning's own, c_skip x, with variance c_out^2.
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        x: Float[Tensor, "B N"],
        noise: Float[Tensor, " B"],
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """Raw output and log-variance; see `VectorNetwork.forward`. The mask is not read.

        Raises:
            ConfigError: x has another number of columns, or `cond` does not fit.
        """
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ConfigError(f"expected [batch, {self.dim}], got {list(x.shape)}")
        condition, extra = self.noise(noise), embed_cond(self.cond, cond, len(x))
        condition = functional.silu(condition if extra is None else condition + extra)
        h = self.inlet(x)
        for block in self.blocks:
            h = block(h, condition)
        mean, log_variance = torch.chunk(self.head(self.norm(h)), 2, dim=1)
        return mean, log_variance

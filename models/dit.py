"""A diffusion transformer over sequences of vectors: adaptive layer norms of the noise level, rotary positions.

A sequence [H, n] is flattened step by step; each step is one token. The blocks are those of
`gendesign.models.transformer`, conditioned on the noise, so that each starts as the identity.

Peebles and Xie 2022, Scalable Diffusion Models with Transformers, arXiv 2212.09748.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor, nn

from gendesign.building import whole
from gendesign.errors import ConfigError
from gendesign.models.base import TimeEmbedding, VectorNetwork, embed_cond
from gendesign.models.mlp import MAX_FREQUENCY
from gendesign.models.transformer import TransformerBlock


class DiTNetwork(VectorNetwork):
    """Transformer over H steps of n numbers, with a head for their log-variance.

    Args:
        steps: H.
        dim: n, the numbers of a step.
        width: channels; each of the heads gets an even share.
        depth: number of blocks.
        num_heads: attention heads.
        dropout: in the blocks.
        cond_dim: length of the vector `cond` that a conditional network takes; 0 for none.
        reach: steps before and after that each step sees directly; see `Neighbours`. What follows from the step before,
            as states do, is learned sooner with it.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        steps: int,
        dim: int,
        width: int = 64,
        *,
        depth: int = 4,
        num_heads: int = 4,
        dropout: float = 0.0,
        cond_dim: int = 0,
        reach: int = 0,
    ) -> None:
        super().__init__()
        self.steps = whole("steps", steps)
        self.dim = whole("dim", dim)
        whole("width", width), whole("depth", depth), whole("num_heads", num_heads)
        whole("reach", reach, at_least=0)
        if width % (2 * num_heads):
            raise ConfigError(
                f"width must be a multiple of 2 * num_heads (rotary pairs); got {width} and {num_heads}"
            )
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        self.noise = TimeEmbedding(width, MAX_FREQUENCY)
        self.cond_dim = whole("cond_dim", cond_dim, at_least=0)
        self.cond = nn.Linear(cond_dim, width) if cond_dim else None
        self.inlet = nn.Linear(dim, width)
        # rotary positions tell steps apart only by their distance; the first and the last step are special
        self.positions = nn.Parameter(0.02 * Tensor(steps, width).normal_())
        self.blocks = nn.ModuleList(
            TransformerBlock(width, num_heads, dropout, modulated=True, reach=reach) for _ in range(depth)
        )
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
        """Raw output and log-variance; see `VectorNetwork.forward`. The mask is not read: all steps are attended to.

        Raises:
            ConfigError: x has another number of columns, or `cond` does not fit.
        """
        if x.ndim != 2 or x.shape[1] != self.steps * self.dim:
            raise ConfigError(
                f"expected [batch, {self.steps * self.dim}] for {self.steps} steps of {self.dim} numbers, "
                f"got {list(x.shape)}"
            )
        condition, extra = self.noise(noise), embed_cond(self.cond, cond, len(x))
        condition = condition if extra is None else condition + extra
        h = self.inlet(x.reshape(len(x), self.steps, self.dim)) + self.positions
        for block in self.blocks:
            h = block(h, condition, None)
        mean, log_variance = self.head(self.norm(h)).chunk(2, dim=-1)
        return mean.flatten(1), log_variance.flatten(1)

"""A transformer denoiser: rotary positions, fused attention, and adaptive layer norms where it is conditioned.

Each block is  h <- h + g_1 A(n_1(h)),  h <- h + g_2 F(n_2(h)).  Unconditioned, the norms n are plain layer
norms and the gates g are 1; conditioned on a vector c (of the time, or of `cond`), scale, shift and gate
are linear functions of c that start at 0, so that every block starts as the identity.

References: Su et al., "RoFormer" (2021, arXiv 2104.09864); Peebles and Xie, "Scalable Diffusion Models with
Transformers" (2022, arXiv 2212.09748); as a masked-diffusion denoiser, Sahoo et al. (2024, arXiv
2406.07524).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from gendesign.errors import ConfigError
from gendesign.models.base import TokenDenoiser


def rotate(x: Float[Tensor, "B H L D"], *, base: float = 10_000.0) -> Float[Tensor, "B H L D"]:
    """Rotary position embedding: rotate pair j of the channels at position i by the angle i · base^(-2j/D).

    The product of a query at i and a key at k then depends on i - k, not on i and k apart.
    """
    length, dim = x.shape[-2:]
    rates = base ** (-torch.arange(0, dim, 2, device=x.device, dtype=torch.float32) / dim)
    angles = torch.arange(length, device=x.device, dtype=torch.float32)[:, None] * rates
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


def attend(
    query: Float[Tensor, "B H L D"],
    key: Float[Tensor, "B H L D"],
    value: Float[Tensor, "B H L D"],
    attendable: Bool[Tensor, "B 1 1 L"] | None,
) -> Float[Tensor, "B H L D"]:
    """Scaled dot-product attention: softmax(q k^T / sqrt(D)) v over the attendable positions.

    PyTorch's fused kernel, except for training in bfloat16 on a CPU, where plain products are several times faster than
    the gradient of that kernel (22 against 147 ms at B=128, H=6, L=72, D=32 on one core).
    """
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.requires_grad:
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        if attendable is not None:
            scores = scores.masked_fill(~attendable, float("-inf"))
        return scores.softmax(-1).to(value.dtype) @ value
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=attendable)


class Neighbours(nn.Module):
    """Adds to each position what stands up to `reach` before and after it, channel by channel.

        y_i <- y_i + sum_k w_k y_(i+k),     k = -reach..reach without 0; nothing stands beyond the ends

    With it the network sees words at once, where attention alone has to find its neighbours first, and learns from
    fewer designs. Depthwise convolutions in transformers: So et al., "Primer" (2021, arXiv 2109.08668).
    """

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        self.weights = nn.Parameter(0.3 * torch.randn(2 * reach, width))

    def forward(self, y: Float[Tensor, "B L C"]) -> Float[Tensor, "B L C"]:
        """Mix."""
        length, reach = y.shape[1], self.reach
        padded = functional.pad(y, (0, 0, reach, reach))
        weights = self.weights.to(y.dtype)
        for k in range(1, reach + 1):
            after, before = (
                padded[:, reach + k : reach + k + length],
                padded[:, reach - k : reach - k + length],
            )
            y = y + weights[2 * k - 2] * after + weights[2 * k - 1] * before
        return y


class TransformerBlock(nn.Module):
    """Self-attention and a perceptron, each with a residual connection."""

    def __init__(self, width: int, num_heads: int, dropout: float, modulated: bool, reach: int = 0) -> None:
        super().__init__()
        self.neighbours = nn.ModuleList(Neighbours(width, reach) for _ in range(2)) if reach else None
        self.num_heads = num_heads
        self.dropout = dropout
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=not modulated) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 6 * width) if modulated else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        h: Float[Tensor, "B L C"],
        condition: Float[Tensor, "B C"] | None,
        attendable: Bool[Tensor, "B 1 1 L"] | None,
    ) -> Float[Tensor, "B L C"]:
        """Apply the block; nobody attends to positions where `attendable` is False."""
        if self.modulation is None or condition is None:
            h = h + self._drop(self._attend(self._near(0, self.norms[0](h), attendable), attendable))
            return h + self._drop(self.mlp(self._near(1, self.norms[1](h), attendable)))
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = self.modulation(functional.silu(condition))[
            :, None, :
        ].chunk(6, dim=-1)
        near = self._near(0, self.norms[0](h) * (1 + scale_1) + shift_1, attendable)
        h = h + gate_1 * self._drop(self._attend(near, attendable))
        near = self._near(1, self.norms[1](h) * (1 + scale_2) + shift_2, attendable)
        return h + gate_2 * self._drop(self.mlp(near))

    def _near(self, which: int, y: Tensor, attendable: Tensor | None) -> Tensor:
        if self.neighbours is None:
            return y
        mixed: Tensor = self.neighbours[which](y if attendable is None else y * attendable[:, 0, 0, :, None])
        return mixed

    def _attend(self, h: Tensor, attendable: Tensor | None) -> Tensor:
        batch, length, width = h.shape
        heads = (
            self.qkv(h).view(batch, length, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4)
        )
        query, key, value = heads[0], heads[1], heads[2]
        mixed = attend(rotate(query), rotate(key), value, attendable)
        projected: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return projected

    def _drop(self, h: Tensor) -> Tensor:
        return functional.dropout(h, self.dropout, self.training)


class TransformerDenoiser(TokenDenoiser):
    """Bidirectional transformer.

    Args:
        vocab_size: K, the number of clean tokens.
        width: channels; each of the heads gets an even share.
        depth: number of blocks.
        num_heads: attention heads.
        dropout: probability of zeroing an activation in training.
        time_conditioned: whether the network sees the time t.
        cond_dim: length of the conditioning vector; 0 for none.
        length: positions L, each with a vector of its own that is learned; None: positions are known relative to each
            other only, so that a sequence of nothing but MASK looks the same everywhere. Where designs begin or end
            somewhere (variable length), the network needs to know where it is.
        reach: positions before and after that each position sees directly; see `Neighbours`.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 128,
        *,
        depth: int = 4,
        num_heads: int = 4,
        dropout: float = 0.1,
        time_conditioned: bool = False,
        cond_dim: int = 0,
        length: int | None = None,
        reach: int = 0,
    ) -> None:
        super().__init__(vocab_size, width, time_conditioned=time_conditioned, cond_dim=cond_dim)
        if depth < 1 or num_heads < 1:
            raise ConfigError(f"depth and num_heads must be at least 1; got {depth} and {num_heads}")
        if width % (2 * num_heads):
            raise ConfigError(
                f"width must be a multiple of 2 * num_heads (rotary pairs); got {width} and {num_heads}"
            )
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1); got {dropout}")
        if (length is not None and length < 1) or reach < 0:
            raise ConfigError(
                f"length must be at least 1, or None, and reach at least 0; got {length} and {reach}"
            )
        self.positions = None if length is None else nn.Parameter(torch.randn(length, width))
        self.blocks = nn.ModuleList(
            TransformerBlock(width, num_heads, dropout, self.is_modulated, reach) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocab_size)

    def forward(
        self,
        x: Int[Tensor, "B L"] | Float[Tensor, "B L K1"],
        t: Float[Tensor, " B"] | None = None,
        cond: Float[Tensor, "B D"] | None = None,
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L K"]:
        """Logits over the clean tokens; see `TokenDenoiser.forward`."""
        h = self.embed(x)
        if self.positions is not None:
            if x.shape[1] > len(self.positions):
                raise ConfigError(
                    f"this network takes at most {len(self.positions)} positions; got {x.shape[1]}"
                )
            h = h + self.positions[: x.shape[1]]
        condition = self.condition(len(x), t, cond)
        attendable = None if mask is None else mask[:, None, None, :]
        for block in self.blocks:
            h = block(h, condition, attendable)
        logits: Tensor = self.head(self.norm(h))
        return logits

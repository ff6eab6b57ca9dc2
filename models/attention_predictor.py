"""A transformer that predicts numbers from tokens, relaxed or not, and for which padding does not exist.

    a_i = sum of the (relaxed) one-hot at i      how much of a token there is: 1, or 0 at padding
    p_i = sum_{j<i} a_j                          the position of a token: how many come before it
    attention to i is weighed by a_i, and so is i in the sum and the mean over positions

So a row of zeros has no influence wherever it stands, as decoding skips PAD wherever it stands; and where a position
is PAD by half, the prediction lies between, with a gradient.

Positions turn queries and keys as in Su et al., "RoFormer: enhanced transformer with rotary position embedding" (2021,
arXiv 2104.09864); blocks as in Xiong et al., "On layer normalization in the transformer architecture" (2020, arXiv
2002.04745).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gendesign.building import finite, whole
from gendesign.errors import ConfigError
from gendesign.models.predictor import SequencePredictor

_TYPICAL_LENGTH = 40.0
"""Sums over positions are divided by it, so that they are about as large as means."""


class AttentionPredictor(SequencePredictor):
    """Transformer, then sum and mean over positions, then a dense layer.

    Args:
        num_letters: A, tokens of the vocabulary (padding is not one).
        length: L, positions of the longest design.
        num_targets: n, numbers predicted at once.
        width: channels; each of the heads gets an even share.
        depth: blocks.
        num_heads: attention heads.
        hidden: width of the dense layer.
        dropout: probability of zeroing an activation in training.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        num_letters: int,
        length: int,
        num_targets: int,
        *,
        width: int = 96,
        depth: int = 3,
        num_heads: int = 4,
        hidden: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_letters = whole("num_letters", num_letters)
        self.length = whole("length", length)
        self.num_targets = whole("num_targets", num_targets)
        width, depth, hidden = whole("width", width), whole("depth", depth), whole("hidden", hidden)
        if width % (2 * whole("num_heads", num_heads)):
            raise ConfigError(
                f"width must be a multiple of 2 * num_heads (rotary pairs); got {width} and {num_heads}"
            )
        if not 0 <= finite("dropout", dropout) < 1:
            raise ConfigError(f"dropout must be in [0, 1); got {dropout}")
        self.channels = width // num_heads
        self.embedding = nn.Linear(num_letters, width, bias=False)
        self.blocks = nn.ModuleList(_Block(width, num_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.dense = nn.Sequential(
            nn.Linear(2 * width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, num_targets)
        )

    def forward(self, x: Float[Tensor, "B L A"]) -> Float[Tensor, "B n"]:
        self.check(x)
        amount = x.sum(-1)
        last = int(amount.detach().amax(0).nonzero().amax()) + 1 if bool(amount.detach().any()) else 1
        x, amount = x[:, :last], amount[:, :last]  # what is padding in every row need not be computed
        angles = _angles(amount.cumsum(1) - amount, self.channels)
        # minus infinity without a gradient through it where there is no token at all
        weight = amount.clamp(min=1e-9).log()[:, None, None, :]
        h = self.embedding(x)
        for block in self.blocks:
            h = block(h, angles, weight)
        total = (self.norm(h).to(amount) * amount[..., None]).sum(1)
        mean = total / amount.sum(1, keepdim=True).clamp(min=1e-6)
        out: Tensor = self.dense(torch.cat([total / _TYPICAL_LENGTH, mean], dim=1))
        return out


class _Block(nn.Module):
    """Self-attention and a perceptron, each with a norm before it and a residual connection."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width), nn.Dropout(dropout)
        )

    def forward(
        self,
        h: Float[Tensor, "B L C"],
        angles: Float[Tensor, "B 1 L R"],
        weight: Float[Tensor, "B 1 1 L"],
    ) -> Float[Tensor, "B L C"]:
        """Apply the block; the logarithms `weight` are added to the scores of keys."""
        batch, length, width = h.shape
        heads = self.qkv(self.norms[0](h)).view(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key = _rotated(heads[0], angles), _rotated(heads[1], angles)
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        mixed = (scores + weight).softmax(-1).to(heads.dtype) @ heads[2]
        h = h + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return h + self.mlp(self.norms[1](h))


def _angles(position: Float[Tensor, "B L"], dim: int) -> Float[Tensor, "B 1 L R"]:
    """What each of the R = dim / 2 pairs of channels is turned by."""
    rates = 10_000.0 ** (-torch.arange(0, dim, 2, device=position.device, dtype=torch.float32) / dim)
    return (position[..., None] * rates)[:, None]


def _rotated(x: Float[Tensor, "B H L D"], angles: Float[Tensor, "B 1 L R"]) -> Float[Tensor, "B H L D"]:
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)

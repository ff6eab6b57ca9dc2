"""A permutation-equivariant transformer over graphs, and the denoiser of categories that it becomes.

V places hold one of T types each, V (V - 1)/2 pairs of places one of K orders 0..K-1; both are given as noisy numbers,
one-hot vectors of the types first. Places attend to one another with a bias that is read off the pair, pairs are
updated from their two places and from the paths of two steps between them, and nothing but the graph says which place
is which.

What a coordinate itself says of its category is known exactly, since the noise is: Bayes' rule

    log p(k | x) = log p(k | rest of the graph, sigma) + (x . v_k - |v_k|^2/2)/sigma^2 + const

leaves only the first term to the network. The mean and the variance of a coordinate are those of its category; a head
for the variance is not needed.

Vignac et al., "DiGress: Discrete Denoising Diffusion for Graph Generation" (2023, arXiv 2209.14734); Peebles and Xie,
"Scalable Diffusion Models with Transformers" (2022, arXiv 2212.09748), for the modulation by the noise level; Dieleman
et al., "Continuous diffusion for categorical data" (2022, arXiv 2211.15089), for means of categories.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from gendesign.building import finite, whole
from gendesign.errors import ConfigError
from gendesign.models.base import Denoiser, TimeEmbedding, embed_cond
from gendesign.models.mlp import MAX_FREQUENCY


class Pairs(nn.Module):
    """The P = V (V - 1)/2 pairs of V places, and how they stand in a symmetric matrix."""

    place: Tensor
    chosen: Tensor
    incidence: Tensor

    def __init__(self, num_nodes: int) -> None:
        super().__init__()
        first, second = torch.triu_indices(num_nodes, num_nodes, 1)
        place = torch.full((num_nodes, num_nodes), len(first))  # the diagonal reads a zero behind the pairs
        place[first, second] = place[second, first] = torch.arange(len(first))
        incidence = torch.zeros(num_nodes, len(first))
        incidence[first, torch.arange(len(first))] = incidence[second, torch.arange(len(first))] = 1
        self.num_nodes, self.num_pairs = num_nodes, len(first)
        self.register_buffer("place", place.flatten(), False)
        self.register_buffer("chosen", first * num_nodes + second, False)
        self.register_buffer("incidence", incidence, False)

    def square(self, e: Float[Tensor, "B P E"]) -> Float[Tensor, "B E V V"]:
        """Symmetric matrices, with zeros on the diagonal."""
        padded = functional.pad(e.mT, (0, 1))
        return padded.index_select(2, self.place).unflatten(2, (self.num_nodes, self.num_nodes))

    def upper(self, matrices: Float[Tensor, "B E V V"]) -> Float[Tensor, "B P E"]:
        """The pairs of symmetric matrices."""
        return matrices.flatten(2).index_select(2, self.chosen).mT


class GraphBlock(nn.Module):
    """Places attend to places, pairs bias them; then both pass through perceptrons."""

    def __init__(self, width: int, pair_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(3))
        self.pair_norm = nn.LayerNorm(pair_width, elementwise_affine=False)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.bonds = nn.Linear(pair_width, width)
        # of a pair: attention's bias, the channels whose paths of two steps are counted, its own hidden units
        self.parts = [num_heads, pair_width // 2, 2 * pair_width]
        self.from_pair = nn.Linear(pair_width, sum(self.parts))
        self.from_place = nn.Linear(width, 2 * pair_width)
        self.paths = nn.Linear(pair_width // 2, 2 * pair_width, bias=False)
        self.pair_out = nn.Linear(2 * pair_width, pair_width)
        self.modulation = nn.Linear(width, 6 * width)
        self.pair_modulation = nn.Linear(width, 3 * pair_width)
        for layer in (self.modulation, self.pair_modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        h: Float[Tensor, "B V C"],
        e: Float[Tensor, "B P E"],
        condition: Float[Tensor, "B C"],
        pairs: Pairs,
    ) -> tuple[Float[Tensor, "B V C"], Float[Tensor, "B P E"]]:
        """Apply the block."""
        batch, places, width = h.shape
        scale_1, shift_1, gate_1, scale_2, shift_2, gate_2 = self.modulation(condition)[:, None].chunk(6, -1)
        scale_e, shift_e, gate_e = self.pair_modulation(condition)[:, None].chunk(3, -1)

        own = self.pair_norm(e) * (1 + scale_e) + shift_e
        bias, steps, hidden = self.from_pair(own).split(self.parts, -1)
        n = self.norms[0](h) * (1 + scale_1) + shift_1
        query, key, value = self.qkv(n).view(batch, places, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        scores = query @ key.mT / query.shape[-1] ** 0.5 + pairs.square(bias)
        mixed = (scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2).reshape(batch, places, width)
        h = h + (1 + gate_1) * (self.out(mixed) + self.bonds(pairs.incidence @ own / places**0.5))
        h = h + (1 + gate_2) * self.mlp(self.norms[1](h) * (1 + scale_2) + shift_2)

        adjacency = pairs.square(steps)
        walks = pairs.upper(adjacency @ adjacency) / places**0.5  # symmetric, as each factor is
        ends = pairs.incidence.mT @ self.from_place(self.norms[2](h))
        return h, e + (1 + gate_e) * self.pair_out(functional.gelu(hidden + self.paths(walks) + ends))


class GraphTransformer(Denoiser):
    """Denoiser of graphs: mean and variance of every coordinate, from a distribution over its categories.

    Args:
        num_nodes: V, the places.
        num_types: T, of a place.
        num_orders: K, of a pair, with the values 0..K-1.
        width: channels of a place; each of the heads gets an even share.
        pair_width: channels of a pair.
        depth: number of blocks.
        num_heads: attention heads.
        sigma_data: standard deviation of the data; the process's must be the same.
        aug_dim: D of the noise that the network is trained with; `math.inf` is EDM's.
        cond_dim: length of the vector `cond` that a conditional network takes; 0 for none.

    Raises:
        ConfigError: an argument is out of range.
    """

    time_conditioned = True

    def __init__(
        self,
        num_nodes: int,
        num_types: int,
        *,
        num_orders: int = 4,
        width: int = 128,
        pair_width: int = 32,
        depth: int = 4,
        num_heads: int = 4,
        sigma_data: float = 0.5,
        aug_dim: float = 128.0,
        cond_dim: int = 0,
    ) -> None:
        super().__init__()
        self.num_nodes = whole("num_nodes", num_nodes, at_least=2)
        self.num_types = whole("num_types", num_types, at_least=2)
        self.num_orders = whole("num_orders", num_orders, at_least=2)
        whole("width", width), whole("pair_width", pair_width), whole("depth", depth)
        if width % whole("num_heads", num_heads) or pair_width % 2:
            raise ConfigError(
                "width must be a multiple of num_heads and pair_width even; "
                f"got {width}, {num_heads} and {pair_width}"
            )
        self.sigma_data = finite("sigma_data", sigma_data, above=0.0)
        if not aug_dim >= 1:
            raise ConfigError(f"aug_dim must be at least 1 (math.inf is EDM), got {aug_dim!r}")
        self.aug_dim = float(aug_dim)
        self.cond_dim = whole("cond_dim", cond_dim, at_least=0)
        self.cond = nn.Linear(cond_dim, width) if cond_dim else None
        self.noise = TimeEmbedding(width, MAX_FREQUENCY)
        self.type_prior = nn.Parameter(torch.zeros(num_types))
        self.order_prior = nn.Parameter(torch.zeros(num_orders))
        self.inlet = nn.Linear(2 * num_types, width)
        self.pair_inlet = nn.Linear(1 + num_orders, pair_width)
        self.blocks = nn.ModuleList(GraphBlock(width, pair_width, num_heads) for _ in range(depth))
        self.norm, self.pair_norm = nn.LayerNorm(width), nn.LayerNorm(pair_width)
        self.head, self.pair_head = nn.Linear(width, num_types), nn.Linear(pair_width, num_orders)
        for layer in (self.head, self.pair_head):  # the first answer is what each coordinate says of itself
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.pairs = Pairs(num_nodes)

    def forward(
        self,
        x: Float[Tensor, "B N"],
        t: Float[Tensor, " B"] | None = None,
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"] | None]:
        """Mean and variance of the clean graphs, in float64; in training the mean alone. The mask is not read.

        Raises:
            ConfigError: no noise level was given, or x has another number of columns.
        """
        cut = self.num_nodes * self.num_types
        if t is None:
            raise ConfigError("this denoiser needs t, the noise level sigma of each design")
        if x.ndim != 2 or x.shape[1] != cut + self.pairs.num_pairs:
            raise ConfigError(
                f"expected [batch, {cut + self.pairs.num_pairs}] for {self.num_nodes} places of {self.num_types} types "
                f"and their pairs, got {list(x.shape)}"
            )
        sigma = t.double()
        types, orders = x.double().split([cut, self.pairs.num_pairs], 1)
        types = types.reshape(len(x), self.num_nodes, self.num_types)
        values = torch.arange(self.num_orders, dtype=torch.float64, device=x.device)
        precision = (1 / sigma**2)[:, None, None]
        # what each coordinate says of its own category
        said = self.type_prior.double() + types * precision
        pair_said = self.order_prior.double() + (orders[..., None] * values - values**2 / 2) * precision

        logits, pair_logits = self._context(types, orders, said, pair_said, sigma, cond)
        law, pair_law = (said + logits.double()).softmax(-1), (pair_said + pair_logits.double()).softmax(-1)
        mean = torch.cat([law.flatten(1), pair_law @ values], 1)
        if self.training:  # what the mean has learned, the variance knows: it is no further objective
            return mean, None
        variance = pair_law @ values**2 - mean[:, cut:] ** 2
        return mean, torch.cat([(law * (1 - law)).flatten(1), variance], 1).clamp_min(0)

    def _context(
        self, types: Tensor, orders: Tensor, said: Tensor, pair_said: Tensor, sigma: Tensor, cond: Any
    ) -> tuple[Float[Tensor, "B V T"], Float[Tensor, "B P K"]]:
        """What the rest of the graph says of each category."""
        dtype = self.type_prior.dtype
        scale = (sigma**2 + self.sigma_data**2).rsqrt()[:, None, None]
        condition, extra = self.noise((sigma.log() / 4).to(dtype)), embed_cond(self.cond, cond, len(types))
        condition = functional.silu(condition if extra is None else condition + extra)
        h = self.inlet(torch.cat([types * scale, said.softmax(-1)], -1).to(dtype))
        e = self.pair_inlet(torch.cat([orders[..., None] * scale, pair_said.softmax(-1)], -1).to(dtype))
        for block in self.blocks:
            h, e = block(h, e, condition, self.pairs)
        logits: Tensor = self.head(self.norm(h))
        pair_logits: Tensor = self.pair_head(self.pair_norm(e))
        return logits, pair_logits

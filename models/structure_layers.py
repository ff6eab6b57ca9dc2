"""Message passing over a graph of residues: nodes h_i, edges e_ij to the k nearest.

    m_ij = W3 g(W2 g(W1 [h_i, e_ij, c_j]))        h_i <- n1(h_i + sum_j m_ij / 30)        h_i <- n2(h_i + F(h_i))
    e_ij <- n3(e_ij + W13 g(W12 g(W11 [h_i, e_ij, h_j])))                                  in the encoder only

with c_j the neighbour's h_j, in the decoder also its amino acid. W1 of the joined vector is the sum of its blocks
applied to the parts, so what concerns a node is computed once a node, and W3 commutes with the sum over neighbours: the
same numbers as by joining, at a fraction of the work.

Dauparas et al. 2022, Robust deep learning-based protein sequence design using ProteinMPNN, doi 10.1126/science.add2187.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu

SCALE = 30.0  # messages are divided by this number, not by that of the neighbours


def gather(nodes: Float[Tensor, "B L W"], near: Int[Tensor, "E L N"]) -> Float[Tensor, "B L N W"]:
    """What the neighbours have; one graph (E = 1) may serve every row."""
    batch, length, width = nodes.shape
    index = near.reshape(len(near), -1, 1).expand(batch, -1, width)
    return nodes.gather(1, index).view(batch, length, -1, width)


class FeedForward(nn.Module):
    """Two linear maps, four times as wide between them.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.W_in = nn.Linear(width, 4 * width)
        self.W_out = nn.Linear(4 * width, width)

    def forward(self, h: Float[Tensor, "*B W"]) -> Float[Tensor, "*B W"]:
        """Apply it to every vector."""
        mapped: Tensor = self.W_out(gelu(self.W_in(h)))
        return mapped


class MessageLayer(nn.Module):
    """What encoder and decoder share: messages to a node and its update.

    Args:
        width: channels of nodes and edges.
        context: channels of what a message joins to h_i.
        dropout: of updates, in training.
    """

    def __init__(self, width: int, context: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.dropout = nn.Dropout(dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.W1, self.W2, self.W3 = (nn.Linear(n, width) for n in (width + context, width, width))
        self.dense = FeedForward(width)

    def hidden(self, joined: Float[Tensor, "*B W"]) -> Float[Tensor, "*B W"]:
        """Messages before W3, from W1 of the joined vectors, which are overwritten where no gradient is wanted."""
        return activated(self.W2(activated(joined)))

    def update(
        self,
        h: Float[Tensor, "*B W"],
        total: Float[Tensor, "*B W"],
        count: Int[Tensor, "*#B 1"],
        mask: Bool[Tensor, "*#B 1"],
    ) -> Float[Tensor, "*B W"]:
        """New nodes, from the sum of their hidden messages and the number of these."""
        message = (nn.functional.linear(total, self.W3.weight) + count * self.W3.bias) / SCALE
        h = self.norm1(h + self.dropout(message))
        h = self.norm2(h + self.dropout(self.dense(h)))
        return h * mask


class EncoderLayer(MessageLayer):
    """Nodes and edges learn of each other.

    Args:
        width: channels.
        dropout: of updates, in training.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(width, 2 * width, dropout)
        self.norm3 = nn.LayerNorm(width)
        self.W11, self.W12, self.W13 = (nn.Linear(n, width) for n in (3 * width, width, width))

    def forward(
        self,
        h: Float[Tensor, "E L W"],
        edges: Float[Tensor, "E L N W"],
        near: Int[Tensor, "E L N"],
        counted: Bool[Tensor, "E L N"],
        mask: Bool[Tensor, "E L"],
    ) -> tuple[Float[Tensor, "E L W"], Float[Tensor, "E L N W"]]:
        """New nodes, and new edges from them."""
        hidden = self.hidden(self._joined(self.W1, h, edges, near)) * counted[..., None]
        h = self.update(h, hidden.sum(2), counted.sum(-1, keepdim=True), mask[..., None])
        hidden = gelu(self.W12(gelu(self._joined(self.W11, h, edges, near))))
        return h, self.norm3(edges + self.dropout(self.W13(hidden)))

    def _joined(self, linear: nn.Linear, h: Tensor, edges: Tensor, near: Tensor) -> Tensor:
        own, edge, other = linear.weight.split(self.width, dim=1)
        mine = nn.functional.linear(h, own, linear.bias)[:, :, None]
        return mine + nn.functional.linear(edges, edge) + gather(nn.functional.linear(h, other), near)


@dataclass(frozen=True, eq=False)
class Graph:
    """The residues of E encoded backbones, one after the other, as nodes of one graph: S = E L.

    Each node has R states, one a sequence on its backbone, side by side, so that what a node hears is copied in one
    piece.

    Attributes:
        edges: to their neighbours.
        near: which these are, of all S.
        counted: which of them have coordinates.
        mask: residues with coordinates.
    """

    edges: Float[Tensor, "S N W"]
    near: Int[Tensor, "S N"]
    counted: Bool[Tensor, "S N"]
    mask: Bool[Tensor, " S"]

    @cached_property
    def itself(self) -> Int[Tensor, " I"]:
        """Where in the S N edges a node hears itself."""
        nodes = torch.arange(len(self.near), device=self.near.device)[:, None]
        return (self.near == nodes).flatten().nonzero().squeeze(-1)

    @cached_property
    def whole(self) -> bool:
        """Whether all neighbours count."""
        return bool(self.counted.all())


class DecoderLayer(MessageLayer):
    """Nodes learn of their neighbours' amino acids, as far as these are known.

    Args:
        width: channels.
        dropout: of updates, in training.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__(width, 3 * width, dropout)

    def forward(
        self,
        h: Float[Tensor, "S R W"],
        seen: Float[Tensor, "S R W2"],
        unseen: Float[Tensor, "S 1 W2"],
        graph: Graph,
        edges: Float[Tensor, "S N 1 W"],
    ) -> Float[Tensor, "S R W"]:
        """New nodes.

        Args:
            h: nodes.
            seen: amino acid and state of each residue, as its neighbours see it.
            unseen: the same as it sees itself: without its amino acid.
            graph: of the encoder.
            edges: what `of_edges` made of its edges.
        """
        own, _, other = self.W1.weight.split([self.width, self.width, 2 * self.width], dim=1)
        (nodes, degree), itself = graph.near.shape, graph.itself
        blind = nn.functional.linear(unseen, other)[itself // degree].expand(-1, h.shape[1], -1)
        joined = nn.functional.linear(seen, other).index_select(0, graph.near.flatten())
        joined = joined.index_copy_(0, itself, blind.to(joined)).unflatten(0, (nodes, degree))
        joined += edges
        joined += nn.functional.linear(h, own)[:, None]
        hidden = self.hidden(joined)
        hidden = hidden if graph.whole else hidden * graph.counted[..., None, None]
        count = graph.counted.sum(-1)[:, None, None]
        return self.update(h, hidden.sum(1), count, graph.mask[:, None, None])

    def of_edges(self, edges: Float[Tensor, "S N W"]) -> Float[Tensor, "S N 1 W"]:
        """W1's part that reads edges, and its bias: the same for all sequences on a backbone."""
        weight = self.W1.weight[:, self.width : 2 * self.width]
        return nn.functional.linear(edges, weight, self.W1.bias)[:, :, None]


def activated(x: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """GELU, in place where no gradient is wanted: this is where the time goes."""
    found: Tensor = gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)
    return found

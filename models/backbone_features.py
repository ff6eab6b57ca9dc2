"""Edges between residues near each other in space: how far their backbone atoms are, and how far they are in the chain.

For residue i and each j of the k whose CA are nearest (i itself among them),

    e_ij = norm( W [ P(i - j), RBF(|a_i - b_j|) for the 25 pairs of N, CA, C, O, CB ] )

P one-hot of the distance along the chain, cut at 32, or "another chain", and RBF sixteen Gaussians from 2 to 22
angstrom. CB stands where ideal geometry has it. Only distances and differences enter, so nothing depends on how a
structure is turned, moved or numbered; CB tells it from its mirror image.

Dauparas et al. 2022, Robust deep learning-based protein sequence design using ProteinMPNN, doi 10.1126/science.add2187.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

FARTHEST = 32  # residues along the chain
RBF_RANGE, NUM_RBF = (2.0, 22.0), 16  # angstrom
POSITIONAL = 16  # channels

_N, _CA, _C, _O, _CB = range(5)
PAIRS = (
    (_CA, _CA), (_N, _N), (_C, _C), (_O, _O), (_CB, _CB), (_CA, _N), (_CA, _C), (_CA, _O), (_CA, _CB), (_N, _C),
    (_N, _O), (_N, _CB), (_CB, _C), (_CB, _O), (_O, _C), (_N, _CA), (_C, _CA), (_O, _CA), (_CB, _CA), (_C, _N),
    (_O, _N), (_CB, _N), (_C, _CB), (_O, _CB), (_C, _O),
)  # fmt: skip
"""Atom of i, atom of j, in the order of the published weights."""


class ChainDistance(nn.Module):
    """An embedding of how far apart two residues are along the chain.

    Args:
        width: channels.
    """

    def __init__(self, width: int = POSITIONAL) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * FARTHEST + 2, width)

    def forward(
        self, offset: Int[Tensor, "B L N"], same_chain: Bool[Tensor, "B L N"]
    ) -> Float[Tensor, "B L N P"]:
        """Embed the offsets; those between chains share one place."""
        place = torch.where(same_chain, (offset + FARTHEST).clamp(0, 2 * FARTHEST), 2 * FARTHEST + 1)
        # a row of the weights is what the linear map makes of a one-hot
        embedded: Tensor = nn.functional.embedding(place, self.linear.weight.T) + self.linear.bias
        return embedded


class BackboneFeatures(nn.Module):
    """Neighbours and edges of backbones.

    Args:
        width: channels of an edge.
        neighbours: k, the residue itself included.
    """

    def __init__(self, width: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.embeddings = ChainDistance()
        self.edge_embedding = nn.Linear(POSITIONAL + NUM_RBF * len(PAIRS), width, bias=False)
        self.norm_edges = nn.LayerNorm(width)

    def forward(
        self,
        backbone: Float[Tensor, "B L 4 3"],
        index: Int[Tensor, "B L"],
        chain: Int[Tensor, "B L"],
        mask: Bool[Tensor, "B L"],
    ) -> tuple[Float[Tensor, "B L N W"], Int[Tensor, "B L N"], Bool[Tensor, "B L N"]]:
        """Edges to the nearest residues, which these are, and which of them count.

        Args:
            backbone: N, CA, C, O in angstrom, finite everywhere.
            index: places along the chain.
            chain: which chain a residue belongs to.
            mask: residues whose coordinates are known; others are nobody's neighbours.
        """
        atoms = torch.cat([backbone, ideal_cb(backbone)[:, :, None]], dim=2)
        ca = backbone[:, :, 1]
        distance = (ca[:, :, None] - ca[:, None]).square().sum(-1)
        distance = distance.masked_fill(~(mask[:, :, None] & mask[:, None]), torch.inf)
        near = distance.topk(min(self.neighbours, mask.shape[1]), dim=-1, largest=False).indices
        rows = torch.arange(len(near), device=near.device)[:, None, None]
        apart = (atoms[:, :, None, :, None] - atoms[rows, near][:, :, :, None]).square().sum(-1)
        apart = (apart + 1e-6).sqrt()  # B L N and the atoms of i and j
        pairs = torch.stack([apart[..., a, b] for a, b in PAIRS], dim=-1)
        offset = index[:, :, None] - index[rows, near]
        same_chain = chain[:, :, None] == chain[rows, near]
        along = self.embeddings(offset, same_chain)
        edges = torch.cat([along, radial(pairs).flatten(-2)], dim=-1)
        counted = mask[:, :, None] & mask[rows, near]
        return self.norm_edges(self.edge_embedding(edges)), near, counted


def radial(distance: Float[Tensor, "*B"]) -> Float[Tensor, "*B R"]:
    """Gaussians of a distance, evenly spaced over the range and as wide as a sixteenth of it."""
    low, high = RBF_RANGE
    centres = torch.linspace(low, high, NUM_RBF, device=distance.device, dtype=distance.dtype)
    return torch.exp(-(((distance[..., None] - centres) / ((high - low) / NUM_RBF)) ** 2))


def ideal_cb(backbone: Float[Tensor, "*B 4 3"]) -> Float[Tensor, "*B 3"]:
    """CB in the ideal geometry of an L-amino acid, from N, CA and C."""
    n, ca, c = backbone[..., 0, :], backbone[..., 1, :], backbone[..., 2, :]
    b, d = ca - n, c - ca
    return -0.58273431 * torch.linalg.cross(b, d) + 0.56802827 * b - 0.54067466 * d + ca

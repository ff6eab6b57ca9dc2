"""What surrounds a residue in a backbone, in numbers: burial, torsions, helix and strand, pairs of side chains.

Counts are of CB (where ideal geometry has it) within a radius, softened: sum_j sigmoid((c - d_ij) / w), w = 0.7 A;
half-sphere counts are of CA before and behind the direction of the side chain (Hamelryck 2005, doi 10.1002/prot.20379).
All numbers are distances, angles, or differences along the chain, scaled to the order of one, so nothing depends on how
a structure is turned, moved or numbered.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from gendesign.models.backbone_features import ideal_cb

RADII = (6.0, 8.0, 10.0, 12.0, 14.0)
HALF_RADII = (8.0, 12.0)
COUNTED = len(RADII) + 2 * len(HALF_RADII) + 1
STEPS = (2, 3, 4)  # along the chain
SITE_NUMBERS = 3 * COUNTED + 4 + 2 * len(STEPS) + 2 + 3
PAIR_CENTRES = tuple(float(c) for c in range(3, 16))  # angstrom, of the distance of CB
PAIR_NUMBERS = len(PAIR_CENTRES) + 5 + 4
SOFT = 0.7


class Geometry:
    """Distances and directions of E backbones of L residues.

    Args:
        backbone: N, CA, C, O in angstrom, finite everywhere.
        place: along the chain.
        chain: which chain a residue belongs to.
        known: residues whose coordinates are known; others surround nobody.
    """

    def __init__(
        self,
        backbone: Float[Tensor, "E L 4 3"],
        place: Int[Tensor, "E L"],
        chain: Int[Tensor, "E L"],
        known: Bool[Tensor, "E L"],
    ) -> None:
        self.backbone, self.place, self.chain, self.known = backbone, place, chain, known
        self.ca, self.cb = backbone[:, :, 1], ideal_cb(backbone)
        length = known.shape[1]
        itself = torch.eye(length, dtype=torch.bool, device=known.device)
        self.same_chain = chain[:, :, None] == chain[:, None]
        self.pairs = known[:, :, None] & known[:, None] & ~itself
        self.apart = _distances(self.cb, self.cb).masked_fill(~self.pairs, torch.inf)
        side, between = normalize(self.cb - self.ca, dim=-1), self.ca[:, None] - self.ca[:, :, None]
        self.ahead = (side[:, :, None] * normalize(between, dim=-1)).sum(-1)
        """Cosine between the side chain of i and the direction to j."""
        self.parallel = (side[:, :, None] * side[:, None]).sum(-1)

    def sites(self) -> Float[Tensor, "E L F"]:
        """Each residue by what surrounds it; zeros where unknown."""
        counts = [_within(self.apart, c).sum(-1) / (c * c / 10) - 1 for c in RADII]
        traces = _distances(self.ca, self.ca).masked_fill(~self.pairs, torch.inf)
        for c in HALF_RADII:
            before = torch.sigmoid(self.ahead / 0.2)
            counts += [
                (_within(traces, c) * part).sum(-1) / (c * c / 20) - 1 for part in (before, 1 - before)
            ]
        counts.append(5 * traces.square().reciprocal().sum(-1) - 1)
        around = torch.stack(counts, dim=-1)
        parts = [around, *(self._neighbours(around, step)[0] for step in (-1, 1))]
        parts += [self._torsions(), *(self._trace(step) for k in STEPS for step in (k, -k))]
        bonds = _distances(self.backbone[:, :, 0], self.backbone[:, :, 3])
        beside = self.same_chain & ((self.place[:, :, None] - self.place[:, None]).abs() < 2)
        bonds = bonds.masked_fill(~self.pairs | beside, torch.inf)
        parts += [torch.sigmoid((3.5 - bonds.amin(dim)) / 0.3)[..., None] for dim in (1, 2)]
        return torch.cat([*parts, self._ends()], dim=-1) * self.known[..., None]

    def near(self, neighbours: int) -> tuple[Int[Tensor, " P"], Int[Tensor, " P"], Int[Tensor, " P"]]:
        """Pairs of residues, the earlier first, of which one is among the nearest of the other by CB.

        Args:
            neighbours: residues that count as nearest.

        Returns:
            Number of the backbone, of the first and of the second residue.
        """
        closest = self.apart.topk(min(neighbours, self.apart.shape[1]), largest=False).indices
        joined = torch.zeros_like(self.pairs).scatter(2, closest, True) & self.pairs
        backbone, first, second = (joined | joined.transpose(1, 2)).triu().nonzero().unbind(-1)
        return backbone, first, second

    def of_pairs(
        self, backbone: Int[Tensor, " P"], first: Int[Tensor, " P"], second: Int[Tensor, " P"]
    ) -> Float[Tensor, "P F"]:
        """Pairs by how their side chains stand to each other."""
        at, back = (backbone, first, second), (backbone, second, first)
        apart = self.apart[at]
        centres = torch.tensor(PAIR_CENTRES, dtype=apart.dtype, device=apart.device)
        step = (self.place[backbone, second] - self.place[backbone, first]).abs()
        step = torch.where(self.same_chain[at], step, 5).clamp(max=5)
        along = torch.nn.functional.one_hot(step.clamp(min=1) - 1, 5).to(apart)
        there, here = self.ahead[at], self.ahead[back]
        facing = torch.sigmoid(8 - apart) * there.clamp(min=0) * here.clamp(min=0)
        angles = torch.stack([there, here, self.parallel[at], facing], dim=-1)
        return torch.cat([(-(((apart[:, None] - centres) / 1.2) ** 2)).exp(), along, angles], dim=-1)

    def _neighbours(self, value: Float[Tensor, "E L F"], step: int) -> tuple[Tensor, Bool[Tensor, "E L"]]:
        """The same number of the residue `step` further along the chain, and whether there is one; 0 where not."""
        there = (
            (self.place.roll(-step, 1) - self.place == step)
            & (self.chain.roll(-step, 1) == self.chain)
            & self.known.roll(-step, 1)
        )
        ends = torch.arange(self.known.shape[1], device=there.device) + step
        there = there & (ends >= 0) & (ends < self.known.shape[1])
        return value.roll(-step, 1) * there[..., None], there

    def _trace(self, step: int) -> Float[Tensor, "E L 1"]:
        other, there = self._neighbours(self.ca, step)
        return (((self.ca - other).norm(dim=-1) - 6.5) / 3 * there)[..., None]

    def _torsions(self) -> Float[Tensor, "E L 4"]:
        n, ca, c = self.backbone[:, :, 0], self.ca, self.backbone[:, :, 2]
        last, begun = self._neighbours(c, -1)
        following, ends = self._neighbours(n, 1)
        phi, psi = _torsion(last, n, ca, c), _torsion(n, ca, c, following)
        parts = [f(phi) * begun for f in (torch.sin, torch.cos)] + [
            f(psi) * ends for f in (torch.sin, torch.cos)
        ]
        return torch.stack(parts, dim=-1)

    def _ends(self) -> Float[Tensor, "E L 3"]:
        others = self.same_chain & self.known[:, None]
        far = torch.iinfo(self.place.dtype).max
        first = self.place[:, None].masked_fill(~others, far).amin(-1)
        last = self.place[:, None].masked_fill(~others, -far).amax(-1)
        start, stop = (1 / (1 + (a - b).clamp(min=0)) for a, b in ((self.place, first), (last, self.place)))
        size = (others.sum(-1).clamp(min=1) / 55).log()
        return torch.stack([start, stop, size], dim=-1).to(self.ca)


def _within(distance: Tensor, radius: float) -> Tensor:
    return torch.sigmoid((radius - distance) / SOFT)


def _distances(a: Float[Tensor, "E L 3"], b: Float[Tensor, "E L 3"]) -> Float[Tensor, "E L L"]:
    return ((a[:, :, None] - b[:, None]).square().sum(-1) + 1e-6).sqrt()


def _torsion(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    axis = normalize(c - b, dim=-1)
    v, w = a - b, d - c
    v, w = (u - (u * axis).sum(-1, keepdim=True) * axis for u in (v, w))
    return torch.atan2((torch.linalg.cross(axis, v) * w).sum(-1), (v * w).sum(-1))

"""Energies of sequences on a backbone: fields of residues and couplings of pairs that a network reads off the geometry.

    s(x) = sum_i h_i(x_i) + sum_ij J_ij(x_i, x_j),    J_ij(a, b) = (q_i e_a)' M_ij (q_j e_b)

h from what surrounds residue i, M from how the side chains of i and j stand to each other, q a factor of each channel
by site, e an embedding of amino acids that begins at their physical properties. The pairs are those near each other.
What does not depend on the sequence is computed once; a sequence then costs two sums, and the effects of all single
substitutions another two. Heads begin at zero: before training every substitution has effect 0.

Potts models written by a network from a structure: Li, Lu, Desta et al. 2023, Neural network-derived Potts
models for structure-based protein design using backbone atomic coordinates and tertiary motifs, doi 10.1002/pro.4554.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from gendesign.building import Configurable, finite, whole
from gendesign.errors import ConfigError
from gendesign.models.residue_geometry import PAIR_NUMBERS, SITE_NUMBERS, Geometry

CONDITION = 14
"""Numbers a residue; see `gendesign.models.structure_denoiser`."""

# hydropathy (Kyte and Doolittle 1982), volume (A^3, Zamyatnin 1972), helix propensity (kcal/mol, Pace and Scholtz
# 1998), strand propensity (Chou and Fasman 1978); then whether basic, acidic, aromatic, branched at CB, P, G
_PROPERTIES = {
    "A": (1.8, 88.6, 0.00, 0.83), "C": (2.5, 108.5, 0.68, 1.19), "D": (-3.5, 111.1, 0.69, 0.54),
    "E": (-3.5, 138.4, 0.40, 0.37), "F": (2.8, 189.9, 0.54, 1.38), "G": (-0.4, 60.1, 1.00, 0.75),
    "H": (-3.2, 153.2, 0.61, 0.87), "I": (4.5, 166.7, 0.41, 1.60), "K": (-3.9, 168.6, 0.26, 0.74),
    "L": (3.8, 166.7, 0.21, 1.30), "M": (1.9, 162.9, 0.24, 1.05), "N": (-3.5, 114.1, 0.65, 0.89),
    "P": (-1.6, 112.7, 3.16, 0.55), "Q": (-3.5, 143.8, 0.39, 1.10), "R": (-4.5, 173.4, 0.21, 0.93),
    "S": (-0.8, 89.0, 0.50, 0.75), "T": (-0.7, 116.1, 0.66, 1.19), "V": (4.2, 140.0, 0.61, 1.70),
    "W": (-0.9, 227.8, 0.49, 1.37), "Y": (-1.3, 193.6, 0.53, 1.47),
}  # fmt: skip
_GROUPS = ("KR", "DE", "FWYH", "VIT", "P", "G")
LETTERS = "".join(_PROPERTIES)


def properties() -> Float[Tensor, "K C"]:
    """Amino acids in alphabetical order by properties of zero mean and unit variance."""
    rows = [(*_PROPERTIES[a], *(float(a in group) for group in _GROUPS)) for a in LETTERS]
    table = torch.tensor(rows, dtype=torch.float32)
    return (table - table.mean(0)) / table.std(0)


@dataclass(frozen=True, eq=False)
class Energies:
    """What M networks make of E backbones of L residues, and of their P pairs.

    Attributes:
        fields: of residues.
        couplings: of pairs.
        backbone: of each pair.
        first: residue of each pair.
        second: residue of each pair.
    """

    fields: Float[Tensor, "M E L K"]
    couplings: Float[Tensor, "M P K K"]
    backbone: Int[Tensor, " P"]
    first: Int[Tensor, " P"]
    second: Int[Tensor, " P"]

    def of(self, x: Int[Tensor, "B L"]) -> Float[Tensor, "M B"]:
        """The energies of sequences on one backbone (E = 1)."""
        sites = torch.arange(x.shape[1], device=x.device)
        pairs = torch.arange(len(self.first), device=x.device)
        single = self.fields[:, 0, sites, x].sum(-1)
        found: Tensor = single + self.couplings[:, pairs, x[:, self.first], x[:, self.second]].sum(-1)
        return found

    def of_relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, "M B"]:
        """The same of mixtures of amino acids, in which s is multilinear."""
        single = torch.einsum("mlk,blk->mb", self.fields[:, 0], x)
        return single + torch.einsum("bpk,mpkj,bpj->mb", x[:, self.first], self.couplings, x[:, self.second])

    def substitutions(self, x: Int[Tensor, "E L"]) -> Float[Tensor, "M E L K"]:
        """The change by every single substitution: of one sequence a backbone, all substitutions at once."""
        length = x.shape[1]
        pairs = torch.arange(len(self.first), device=x.device)
        rest = self.fields.flatten(1, 2)
        for own, other, table in (
            (self.first, self.second, self.couplings),
            (self.second, self.first, self.couplings.transpose(2, 3)),
        ):
            heard = table[:, pairs, :, x[self.backbone, other]].transpose(0, 1)
            rest = rest.index_add(1, self.backbone * length + own, heard)
        rest = rest.unflatten(1, x.shape)
        return rest - rest.gather(-1, x.expand(len(rest), -1, -1)[..., None])


class PairwiseEnergy(Configurable, nn.Module):
    """Energies from several networks, each from its own start.

    Args:
        members: networks.
        width: channels of a residue.
        pair_width: channels of a pair.
        rank: channels of an amino acid.
        neighbours: residues near a residue, by CB.
        dropout: probability of zeroing a channel in training.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        members: int = 4,
        *,
        width: int = 64,
        pair_width: int = 32,
        rank: int = 8,
        neighbours: int = 16,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if not 0 <= finite("dropout", dropout) < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        self.neighbours = whole("neighbours", neighbours)
        sizes = whole("width", width), whole("pair_width", pair_width), whole("rank", rank)
        self.members = nn.ModuleList(_Member(*sizes, dropout) for _ in range(whole("members", members)))

    def forward(self, cond: Float[Tensor, "E L D"], mask: Bool[Tensor, "E L"] | None = None) -> Energies:
        """Energies of backbones.

        Args:
            cond: fourteen numbers a residue (`Structure.condition`); residues with missing atoms count nowhere.
            mask: True at real positions.

        Raises:
            ConfigError: `cond` has another shape.
        """
        if cond.ndim != 3 or cond.shape[-1] != CONDITION:
            raise ConfigError(f"expected backbones of shape [E, L, {CONDITION}], got {list(cond.shape)}")
        atoms = cond[..., :12].unflatten(-1, (4, 3))
        known = atoms.isfinite().all(-1).all(-1)
        known = known if mask is None else known & mask
        atoms = torch.where(known[..., None, None], atoms, 0.0)
        places = torch.where(known[..., None], cond[..., 12:], 0.0).round().long()
        geometry = Geometry(atoms, places[..., 0], places[..., 1], known)
        pairs = geometry.near(self.neighbours)
        sites, between = geometry.sites(), geometry.of_pairs(*pairs)
        found = [member(sites, between, known, pairs) for member in self.members]
        fields, couplings = (torch.stack(parts) for parts in zip(*found, strict=True))
        return Energies(fields, couplings, *pairs)


class _Member(nn.Module):
    """One network."""

    properties: Tensor

    def __init__(self, width: int, pair_width: int, rank: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("properties", properties(), persistent=False)
        num_letters, num_properties = self.properties.shape
        self.rank = rank
        self.site = _perceptron(SITE_NUMBERS, width, dropout)
        self.pair = _perceptron(PAIR_NUMBERS, pair_width, dropout)
        self.by_property = nn.Linear(width, num_properties, bias=False)
        self.by_letter = nn.Linear(width, num_letters)
        self.gate = nn.Linear(width, rank)
        self.mixing = nn.Linear(pair_width, rank * rank)
        self.embed = nn.Linear(num_properties, rank, bias=False)
        self.letters = nn.Parameter(torch.zeros(num_letters, rank))
        for head in (self.by_property, self.by_letter, self.gate, self.mixing):
            for parameter in head.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        sites: Float[Tensor, "E L F"],
        between: Float[Tensor, "P G"],
        known: Bool[Tensor, "E L"],
        pairs: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Float[Tensor, "E L K"], Float[Tensor, "P K K"]]:
        """Fields and couplings."""
        backbone, first, second = pairs
        h = self.site(sites)
        fields = (self.by_property(h) @ self.properties.T + self.by_letter(h)) * known[..., None]
        letters = self.embed(self.properties) + self.letters
        factor = 1 + self.gate(h)
        mixing = self.mixing(self.pair(between)).unflatten(-1, (self.rank, self.rank))
        mixing = factor[backbone, first][:, :, None] * mixing * factor[backbone, second][:, None]
        return fields, letters @ mixing @ letters.T


def _perceptron(inputs: int, width: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for size in (inputs, width):
        layers += [nn.Linear(size, width), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers)

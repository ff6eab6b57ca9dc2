"""Physical chemistry of proteins that follows from the sequence: Biopython's ProtParam, with gradients.

With n_a residues of amino acid a among L, h Kyte and Doolittle's hydropathy, d the dipeptide weights of Guruprasad,

    GRAVY = sum_a n_a h_a / L        aromaticity = (n_F + n_W + n_Y) / L        weight = sum_a n_a w_a - (L - 1) w_water
    instability = 10/L sum_i d(x_i, x_i+1)        charge(pH) = sum_+ 1/(1 + 10^(pH - pK)) - sum_- 1/(1 + 10^(pK - pH))

and the isoelectric point is the pH of charge 0. Rules: the twenty standard amino acids, in either case, as DNA is read:
`mkv` is scored as `MKV`. X, B, Z, U, O, '*' and gaps stand for no known residue: such designs, and empty ones, are
INVALID.

References: Kyte and Doolittle 1982, A simple method for displaying the hydropathic character of a protein,
doi 10.1016/0022-2836(82)90515-0; Guruprasad, Reddy and Pandit 1990, Correlation between stability of a protein and its
dipeptide composition, doi 10.1093/protein/4.2.155; Bjellqvist et al. 1993, The focusing positions of polypeptides in
immobilized pH gradients can be predicted from their amino acid sequences, doi 10.1002/elps.11501401163.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import finite
from gendesign.designs import Design
from gendesign.errors import ConfigError
from gendesign.rewards.base import DifferentiableReward
from gendesign.rewards.letters import UpperCaseReward, misspelt
from gendesign.rewards.window import Window

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The standard amino acids in the order of `ProteinCodec`'s tokens."""

WATER = 18.0153  # Da, as in Bio.SeqUtils.molecular_weight
PH_RANGE = (4.05, 12.0)  # within which Bio.SeqUtils.IsoelectricPoint looks


def not_protein(design: Design) -> str:
    """Why a design is not a protein of the twenty standard amino acids in either case; "" if it is one."""
    return misspelt(design, AMINO_ACIDS, kind="a protein sequence", letters="amino acids")


class ProteinReward(UpperCaseReward):
    """Base class of rewards of proteins."""

    alphabet = AMINO_ACIDS

    def unreadable(self, design: Design) -> str:
        return not_protein(design)


class ProteinProperty(ProteinReward, DifferentiableReward):
    """A number of a protein, raised, or kept within a window.

    Args:
        target: (low, high) wanted, None for an open side; None = the number itself is raised.

    Raises:
        ConfigError: the window is not two rising numbers.
    """

    source = "Biopython, Bio.SeqUtils.ProtParam"
    sign = 1.0
    """-1 for what is better low, where no window is given."""

    def __init__(self, *, target: Sequence[float | None] | None = None) -> None:
        self.window = Window.read(target)
        if self.window is not None:
            self.name = f"{self.label} {self.window}"
        elif self.sign < 0:
            self.name = f"minus {self.label}"

    @abstractmethod
    def measure(self, analysis: Any) -> float:
        """The number by a `Bio.SeqUtils.ProtParam.ProteinAnalysis`."""

    @abstractmethod
    def expected(self, letters: Float[Tensor, "B L 20"]) -> Float[Tensor, " B"]:
        """The same of relaxed sequences; what a position lacks of 1 is padding."""

    def score(self, designs: Sequence[str]) -> Tensor:
        from Bio.SeqUtils.ProtParam import ProteinAnalysis

        measured = [float(self.measure(ProteinAnalysis(design))) for design in designs]
        return self._value(torch.tensor(measured, dtype=torch.float64))

    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, " B"]:
        return self._value(self.expected(x[..., : len(AMINO_ACIDS)]))

    def _value(self, measured: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return self.sign * measured if self.window is None else self.window(measured)


class GRAVY(ProteinProperty):
    """Grand average of hydropathy, -4.5 (arginine) to 4.5 (isoleucine)."""

    name = "gravy"

    def measure(self, analysis: Any) -> float:
        return analysis.gravy()

    def expected(self, letters: Float[Tensor, "B L 20"]) -> Float[Tensor, " B"]:
        from Bio.SeqUtils.ProtParamData import kd

        counts = letters.sum(1)
        return counts @ _row(kd, letters) / counts.sum(-1)


class Aromaticity(ProteinProperty):
    """Fraction of phenylalanine, tryptophan and tyrosine."""

    name, unit = "aromaticity", "fraction"

    def measure(self, analysis: Any) -> float:
        return analysis.aromaticity()

    def expected(self, letters: Float[Tensor, "B L 20"]) -> Float[Tensor, " B"]:
        counts = letters.sum(1)
        return counts @ _row(dict.fromkeys("FWY", 1.0), letters) / counts.sum(-1)


class ProteinWeight(ProteinProperty):
    """Average molecular weight of the chain."""

    name, unit = "molecular weight", "Da"

    def measure(self, analysis: Any) -> float:
        return analysis.molecular_weight()

    def expected(self, letters: Float[Tensor, "B L 20"]) -> Float[Tensor, " B"]:
        from Bio.Data.IUPACData import protein_weights

        counts = letters.sum(1)
        return counts @ _row(protein_weights, letters) - (counts.sum(-1) - 1) * WATER


class InstabilityIndex(ProteinProperty):
    """Instability index; below 40 a protein counts as stable. Lowered unless a window is given."""

    name, sign = "instability index", -1.0

    def measure(self, analysis: Any) -> float:
        return analysis.instability_index()

    def expected(self, letters: Float[Tensor, "B L 20"]) -> Float[Tensor, " B"]:
        pairs = torch.einsum("bla,ac,blc->b", letters[:, :-1], _dipeptides().to(letters), letters[:, 1:])
        return 10.0 * pairs / letters.sum((1, 2))


class NetCharge(ProteinProperty):
    """Net charge at a pH.

    Args:
        ph: the pH, 0 to 14.
        target: (low, high) wanted, None for an open side; None = the charge itself is raised.

    Raises:
        ConfigError: an argument is out of range.
    """

    unit = "elementary charges"

    def __init__(self, *, ph: float = 7.4, target: Sequence[float | None] | None = None) -> None:
        self.ph = finite("ph", ph, at_least=0.0)
        if self.ph > 14:
            raise ConfigError(f"ph must be at most 14, got {ph:g}")
        self.name = f"net charge at pH {self.ph:g}"
        super().__init__(target=target)

    def measure(self, analysis: Any) -> float:
        return analysis.charge_at_pH(self.ph)

    def expected(self, letters: Float[Tensor, "B L 20"]) -> Float[Tensor, " B"]:
        return ionised_groups(letters).charge(letters.new_full((len(letters),), self.ph))


class IsoelectricPoint(ProteinProperty):
    """The pH at which the net charge is 0, looked for from 4.05 to 12."""

    name, unit = "isoelectric point", "pH"

    def measure(self, analysis: Any) -> float:
        return analysis.isoelectric_point()

    def expected(self, letters: Float[Tensor, "B L 20"]) -> Float[Tensor, " B"]:
        """Bisection, then one Newton step: its value is the root's, its gradient the implicit function's."""
        groups = ionised_groups(letters)
        known = Groups(groups.amount.detach(), groups.pk, groups.sign)
        low, high = (known.amount.new_full((len(letters),), edge) for edge in PH_RANGE)
        for _ in range(30):
            middle = (low + high) / 2
            positive = known.charge(middle) > 0
            low, high = torch.where(positive, middle, low), torch.where(positive, high, middle)
        with torch.enable_grad():
            root = ((low + high) / 2).requires_grad_()
            (slope,) = torch.autograd.grad(known.charge(root).sum(), root)
        root = root.detach()
        return (root - groups.charge(root) / slope.clamp(max=-1e-6)).clamp(*PH_RANGE)


@dataclass(frozen=True)
class Groups:
    """Groups of relaxed sequences that take or give a proton.

    Attributes:
        amount: how many of each a sequence has.
        pk: of each.
        sign: 1 for bases, -1 for acids.
    """

    amount: Float[Tensor, "B G"]
    pk: Float[Tensor, " G"]
    sign: Float[Tensor, " G"]

    def charge(self, ph: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Net charge of each sequence at its pH."""
        share = torch.sigmoid(math.log(10.0) * self.sign * (self.pk - ph[:, None]))
        return (self.amount * self.sign * share).sum(-1)


def ionised_groups(letters: Float[Tensor, "B L 20"]) -> Groups:
    """Side chains and ends, with the pK that Biopython gives them.

    The last residue is the one that padding, or the end, follows.
    """
    from Bio.SeqUtils import IsoelectricPoint as tables

    absent = 1 - letters.sum(-1)
    followed = torch.cat([absent[:, 1:], torch.ones_like(absent[:, :1])], dim=1)
    first, last = letters[:, 0], torch.einsum("bla,bl->ba", letters, followed)
    amounts, pks, signs = [], [], []
    for sign, side, name, end, own in (
        (1.0, tables.positive_pKs, "Nterm", first, tables.pKnterminal),
        (-1.0, tables.negative_pKs, "Cterm", last, tables.pKcterminal),
    ):
        chains = [a for a in AMINO_ACIDS if a in side]
        amounts += [letters.sum(1)[:, [AMINO_ACIDS.index(a) for a in chains]], end]
        pks += [side[a] for a in chains] + [own.get(a, side[name]) for a in AMINO_ACIDS]
        signs += [sign] * (len(chains) + len(AMINO_ACIDS))
    return Groups(torch.cat(amounts, dim=1), letters.new_tensor(pks), letters.new_tensor(signs))


def _row(table: Mapping[str, float], like: Tensor) -> Float[Tensor, " 20"]:
    return like.new_tensor([table.get(a, 0.0) for a in AMINO_ACIDS])


@cache
def _dipeptides() -> Float[Tensor, "20 20"]:
    from Bio.SeqUtils.ProtParamData import DIWV

    return torch.tensor([[DIWV[a][b] for b in AMINO_ACIDS] for a in AMINO_ACIDS], dtype=torch.float64)

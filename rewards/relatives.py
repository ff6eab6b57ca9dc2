"""How a protein relates to a reference: identity, similarity, number of mutations.

    identity    = matches / columns                          of the positions as they stand, or of an alignment
    similarity  = S(x, y) / sqrt(S(x, x) S(y, y))            S the score of the best global alignment
    mutations   = #{i : x_i != y_i}                          at equal length

Alignments are global (Biopython's PairwiseAligner: BLOSUM62, a gap of k costs 11 + k); columns count gaps, and of
equally good alignments the first is read. Without `align` a design of another length has no identity: it is INVALID.

References: Needleman and Wunsch 1970, A general method applicable to the search for similarities in the amino acid
sequence of two proteins, doi 10.1016/0022-2836(70)90057-4; Henikoff and Henikoff 1992, Amino acid substitution matrices
from protein blocks, doi 10.1073/pnas.89.22.10915.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import whole
from gendesign.designs import Design
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards.base import DifferentiableReward
from gendesign.rewards.protein import AMINO_ACIDS, ProteinReward, not_protein
from gendesign.rewards.window import Window


class SequenceIdentity(ProteinReward):
    """Fraction of residues that agree with a reference.

    Args:
        reference: a protein of the twenty standard amino acids.
        align: compare along the best global alignment instead of position by position.
        target: (low, high) wanted, None for an open side; None = the identity itself is raised.

    Raises:
        ConfigError: the reference is no protein, or the window is not two rising numbers.
    """

    unit = "fraction"

    def __init__(
        self, reference: str, *, align: bool = False, target: Sequence[float | None] | None = None
    ) -> None:
        self.reference, self.align, self.window = _checked(reference), bool(align), Window.read(target)
        self.name = "identity" if self.window is None else f"identity {self.window}"

    def unreadable(self, design: Design) -> str:
        return not_protein(design) or ("" if self.align else _other_length(design, self.reference))

    def score(self, designs: Sequence[str]) -> Tensor:
        measure = _aligned_identity if self.align else _identity
        values = torch.tensor([measure(design, self.reference) for design in designs], dtype=torch.float64)
        return values if self.window is None else self.window(values)


class SequenceSimilarity(ProteinReward):
    """Alignment score with a reference, 1 for the reference itself; negative for what is alike by less than chance.

    Args:
        reference: a protein of the twenty standard amino acids.
        target: (low, high) wanted, None for an open side; None = the similarity itself is raised.

    Raises:
        ConfigError: the reference is no protein, or the window is not two rising numbers.
    """

    def __init__(self, reference: str, *, target: Sequence[float | None] | None = None) -> None:
        self.reference, self.window = _checked(reference), Window.read(target)
        self.name = "similarity" if self.window is None else f"similarity {self.window}"

    def score(self, designs: Sequence[str]) -> Tensor:
        values = torch.tensor([self._similarity(design) for design in designs], dtype=torch.float64)
        return values if self.window is None else self.window(values)

    def _similarity(self, design: str) -> float:
        score = _aligner().score
        own = score(design, design) * score(self.reference, self.reference)
        return float(score(design, self.reference)) / math.sqrt(own)


class Mutations(ProteinReward, DifferentiableReward):
    """Minus the number of positions that differ from a reference of the same length.

    Args:
        reference: a protein of the twenty standard amino acids.
        at_most: so many are free: only those beyond count.

    Raises:
        ConfigError: the reference is no protein, or the number is negative.
    """

    unit = "mutations"

    def __init__(self, reference: str, *, at_most: int = 0) -> None:
        self.reference = _checked(reference)
        self.window = Window(high=whole("at_most", at_most, at_least=0))
        self.name = "mutations" if at_most == 0 else f"mutations beyond {at_most}"

    def unreadable(self, design: Design) -> str:
        return not_protein(design) or _other_length(design, self.reference)

    def score(self, designs: Sequence[str]) -> Tensor:
        return self.window(
            torch.tensor([_mutations(d, self.reference) for d in designs], dtype=torch.float64)
        )

    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, " B"]:
        if x.shape[1] != len(self.reference):
            raise UnsupportedError(
                f"reward {self.label!r} takes relaxed designs of {len(self.reference)} residues, got {x.shape[1]}"
            )
        ids = torch.tensor([AMINO_ACIDS.index(a) for a in self.reference], device=x.device)
        same = x.gather(-1, ids.expand(len(x), -1)[..., None]).squeeze(-1)
        return self.window((1 - same).sum(-1))


def _checked(reference: str) -> str:
    reason = not_protein(reference)
    if reason:
        raise ConfigError(f"reference: {reason}")
    return reference.upper()


def _other_length(design: Design, reference: str) -> str:
    if len(design) == len(reference):
        return ""
    return f"expected {len(reference)} residues like the reference, got {len(design)}"


def _mutations(design: str, reference: str) -> int:
    return sum(a != b for a, b in zip(design, reference, strict=True))


def _identity(design: str, reference: str) -> float:
    return 1 - _mutations(design, reference) / len(reference)


def _aligned_identity(design: str, reference: str) -> float:
    best = _aligner().align(reference, design)[0]
    matches = sum(
        a == b
        for (i, j), (k, m) in zip(*best.aligned, strict=True)
        for a, b in zip(reference[i:j], design[k:m], strict=True)
    )
    return matches / best.shape[1]


@cache
def _aligner() -> Any:
    from Bio.Align import PairwiseAligner, substitution_matrices

    aligner = PairwiseAligner(mode="global")
    aligner.substitution_matrix = substitution_matrices.load("BLOSUM62")
    aligner.open_gap_score, aligner.extend_gap_score = -12, -1
    return aligner

"""Backbones of proteins: what an inverse-folding design stands on.

    Structure = sequence, N CA C O of every residue [L, 4, 3], the residues' own numbers

Numbers are those of the file, with insertion codes, and no residue is ever renumbered. A residue that lacks one of the
four atoms stays in the sequence, with NaN for the atom. `gendesign.files.structures` reads and writes files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from gendesign.codecs import FREE
from gendesign.errors import DataError, DesignError

ATOMS = ("N", "CA", "C", "O")
BOND = 2.0  # angstrom; a peptide bond has 1.33
LETTERS = "ACDEFGHIKLMNPQRSTVWY"


@dataclass(frozen=True, eq=False)
class Structure:
    """The backbone of one protein chain.

    Args:
        name: of the file.
        chain: its letter.
        sequence: one letter a residue, X for an unknown amino acid.
        coordinates: N, CA, C, O in angstrom; NaN for missing atoms.
        cb: CB in angstrom; NaN where missing.
        numbers: the file's own, with insertion codes, such as 52 and 52A.
        notes: what was found and which rule was applied, a line each.

    Raises:
        DataError: lengths differ, an unknown letter, a number twice, or nothing that a design could stand on.
    """

    name: str
    chain: str
    sequence: str
    coordinates: Float[np.ndarray, "L 4 3"]
    cb: Float[np.ndarray, "L 3"]
    numbers: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        num = len(self.sequence)
        if not num or len(self.coordinates) != num or len(self.cb) != num or len(self.numbers) != num:
            raise DataError(
                f"{self.name}: expected as many coordinates and numbers as residues, got {num} residues, "
                f"{len(self.coordinates)} backbones, {len(self.cb)} CB and {len(self.numbers)} numbers"
            )
        wrong = sorted(set(self.sequence) - set(LETTERS + "X"))
        if wrong:
            raise DataError(f"{self.name}: expected amino acids {LETTERS} or X, got {''.join(wrong)!r}")
        if len(set(self.numbers)) < num:
            twice = next(n for n in self.numbers if self.numbers.count(n) > 1)
            raise DataError(f"{self.name}: chain {self.chain!r} has two residues {twice}; renumber the file")
        if not self.resolved.any():
            raise DataError(
                f"{self.name}: chain {self.chain!r} has no residue with all of {', '.join(ATOMS)}; designs need "
                "backbones, not traces of CA"
            )

    def __len__(self) -> int:
        return len(self.sequence)

    @property
    def resolved(self) -> Bool[np.ndarray, " L"]:
        """Which residues have all four atoms."""
        return np.isfinite(self.coordinates).all((1, 2))

    @property
    def breaks(self) -> tuple[int, ...]:
        """Residues that are not bonded to the next, counted from 0.

        Where atoms are missing, residues with successive numbers count as bonded.
        """
        return tuple(i for i in range(len(self) - 1) if not self._bonded(i))

    @property
    def index(self) -> Int[np.ndarray, " L"]:
        """Places along the chain, from 0: one more a residue, and the numbers that a break skips.

        Only differences matter; numbering of another beginning, or with jumps but no break, gives the same.
        """
        steps = np.ones(len(self), dtype=np.int64)
        steps[0] = 0
        for i in self.breaks:
            steps[i + 1] = max(1, _integer(self.numbers[i + 1]) - _integer(self.numbers[i]))
        return np.cumsum(steps)

    def condition(self) -> Float[np.ndarray, "L 14"]:
        """What `gendesign.models.StructureDenoiser` is conditioned on.

        The twelve coordinates of a residue, NaN where missing; its place along the chain; the number of its chain, 0.
        """
        atoms = self.coordinates.reshape(len(self), 12)
        return np.concatenate([atoms, self.index[:, None].astype(float), np.zeros((len(self), 1))], axis=1)

    def position(self, number: str | int) -> int:
        """The place in the sequence, from 0, of a residue's number.

        Raises:
            DesignError: the chain has no such residue.
        """
        wanted = str(number).strip()
        if wanted not in self.numbers:
            raise DesignError(
                f"{self.name}: chain {self.chain!r} has no residue {wanted}; it has {self.numbers[0]} to "
                f"{self.numbers[-1]}" + (f", with breaks after {self._break_names()}" if self.breaks else "")
            )
        return self.numbers.index(wanted)

    def template(self, fixed: Sequence[str | int] = ()) -> str:
        """The template that keeps some residues: their letters, and '*' elsewhere.

        Args:
            fixed: numbers such as 52 or 52A, and ranges such as 10-20, both ends included, in the file's numbering.

        Raises:
            DesignError: a number that the chain does not have, a range that runs backwards, or an X to be kept.
        """
        letters = [FREE] * len(self)
        for part in fixed:
            for place in self._places(str(part).strip()):
                if self.sequence[place] == "X":
                    raise DesignError(
                        f"{self.name}: residue {self.numbers[place]} is no standard amino acid and cannot be kept"
                    )
                letters[place] = self.sequence[place]
        return "".join(letters)

    def _places(self, part: str) -> range:
        ends = re.fullmatch(r"(-?\d+[A-Za-z]?)-(-?\d+[A-Za-z]?)", part)
        if ends is None:
            place = self.position(part)
            return range(place, place + 1)
        first, last = self.position(ends[1]), self.position(ends[2])
        if first > last:
            raise DesignError(f"{self.name}: the range {part} of residues runs backwards")
        return range(first, last + 1)

    def _break_names(self) -> str:
        return ", ".join(self.numbers[i] for i in self.breaks[:5]) + (" ..." if len(self.breaks) > 5 else "")

    def _bonded(self, i: int) -> bool:
        ends = self.coordinates[i, 2], self.coordinates[i + 1, 0]
        if np.isfinite(ends).all():
            return bool(np.linalg.norm(ends[0] - ends[1]) < BOND)
        return _integer(self.numbers[i + 1]) - _integer(self.numbers[i]) <= 1


def _integer(number: str) -> int:
    return int(number.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))

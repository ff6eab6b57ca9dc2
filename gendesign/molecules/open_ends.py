"""Open ends: what a template of molecules says, and whether a molecule holds it.

`*` is an open end: a place for one free part, held by a single bond. `*{6}` gives it six tokens, and `*{20}` alone is
any molecule of at most twenty. A molecule holds the scaffold if its atoms and bonds are there, stereochemistry, charges
and all, and nothing but hydrogen is bound to them elsewhere than at the open ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gendesign.errors import DesignError
from gendesign.molecules.chemistry import parse, rdkit, shown

if TYPE_CHECKING:
    from rdkit.Chem import Mol

_END = re.compile(r"(?:\*|\[\d*\*(?::\d+)?\])(\{[^}]*\})?")


@dataclass(frozen=True)
class Scaffold:
    """A template, read.

    Attributes:
        text: as it was given.
        smiles: with open ends numbered from 1, as isotopes.
        rooms: tokens stated for each of them; None where none are.
    """

    text: str
    smiles: str
    rooms: tuple[int | None, ...]

    @property
    def is_open(self) -> bool:
        """Whether there is no scaffold, only the number of tokens of a free molecule."""
        return self.smiles == "[1*]"


@lru_cache(maxsize=64)
def read_scaffold(template: str) -> Scaffold:
    """Read a template of molecules.

    Args:
        template: a SMILES with open ends, `*` or `*{n}`; `*{n}` alone is any molecule of at most n tokens.

    Raises:
        DesignError: it is no SMILES, has no open end, or one that is not held by a single bond.
    """
    rooms: list[int | None] = []

    def number(match: re.Match[str]) -> str:
        room = (match[1] or "")[1:-1]
        if match[1] and not (room.isdecimal() and int(room) > 0):
            raise DesignError(
                f"expected '*', or '*{{6}}' with a number of tokens, got {match[0]!r} in {shown(template)}"
            )
        rooms.append(int(room) if room else None)
        return f"[{len(rooms)}*]"

    smiles = _END.sub(number, template.strip())
    if not rooms:
        raise DesignError(f"mark with '*' where something may be attached to {shown(template)}")
    read = Scaffold(template, smiles, tuple(rooms))
    if not read.is_open:
        for atom in parse(smiles, attachments=True).GetAtoms():
            bonds = [str(bond.GetBondType()) for bond in atom.GetBonds()]
            if not atom.GetAtomicNum() and (bonds != ["SINGLE"] or not atom.GetNeighbors()[0].GetAtomicNum()):
                raise DesignError(
                    f"each '*' must be held by one atom and a single bond, in {shown(template)}"
                )
    return read


def departs(template: str, design: str) -> str:
    """Why a molecule is not what a template asks for: it holds the scaffold, bound to others at the open ends only.

    Args:
        template: as of `read_scaffold`.
        design: a SMILES.

    Returns:
        the reason; "" where it is.
    """
    read = read_scaffold(template)
    try:
        mol = parse(design)
    except DesignError as error:
        return str(error)
    return "" if read.is_open or holds(read, mol) else f"it does not hold the scaffold {shown(template)}"


def holds(read: Scaffold, mol: Mol) -> bool:
    """Whether a molecule holds a scaffold, with nothing bound to it elsewhere than at the open ends."""
    query = query_of(read.smiles)
    with rdkit() as chem:
        whole = chem.AddHs(mol)  # an open end may be left with a hydrogen
        found = whole.GetSubstructMatches(query, uniquify=False, useChirality=True, maxMatches=1000)
        asked = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in query.GetBonds()]
        inside = [atom.GetIdx() for atom in query.GetAtoms() if atom.GetAtomicNum()]
        for match in found:
            core = {match[i] for i in inside}
            if any(_charge(query, i) != _charge(whole, match[i]) for i in inside):
                continue  # to RDKit an atom without a charge is one of any charge
            bound = {
                frozenset((atom, other.GetIdx()))
                for atom in core
                for other in whole.GetAtomWithIdx(atom).GetNeighbors()
                if other.GetAtomicNum() > 1 or other.GetIdx() in core
            }
            if bound <= {frozenset((match[a], match[b])) for a, b in asked}:
                return True
    return False


def _charge(mol: Mol, atom: int) -> int:
    return int(mol.GetAtomWithIdx(atom).GetFormalCharge())


@lru_cache(maxsize=64)
def query_of(smiles: str) -> Any:
    """A scaffold to look for; its open ends are any atoms."""
    mol = parse(smiles, attachments=True)
    with rdkit() as chem:
        for atom in mol.GetAtoms():
            if not atom.GetAtomicNum():
                atom.SetIsotope(0)
        how = chem.AdjustQueryParameters.NoAdjustments()
        how.makeDummiesQueries = True
        return chem.AdjustQueryProperties(mol, how)

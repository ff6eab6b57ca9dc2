"""What a chemist would frown at in a molecule: rings and chains that drugs seldom have, and groups that react.

A molecule can be valid and score well and yet be none that anyone would make. Strings of SELFIES symbols in particular
degrade into long tails and odd rings. Each name of `ODDITIES` is one such thing; what counts is how much more frequent
it is among designs than among the molecules that a backbone was trained on, for each also occurs in good molecules.

Reactive or unstable groups: Brenk et al., "Lessons learnt from assembling screening libraries for drug discovery for
neglected diseases" (2008, doi 10.1002/cmdc.200700139); assay interference: Baell and Holloway, "New substructure
filters for removal of pan assay interference compounds" (2010, doi 10.1021/jm901137j); both by RDKit's FilterCatalog.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gendesign.errors import DesignError
from gendesign.molecules.chemistry import parse, rdkit

if TYPE_CHECKING:
    from rdkit.Chem import Mol

LARGE = 8
"""Atoms from which a ring counts as large; ZINC-250k hardly has any."""

_STRAINED = ("[#6;R]#[#6;R]", "[*;R]=[#6;R](=[*;R])", "[r3]=[r3]", "[r4]=[r4]-[r4]=[r4]")
"""Triple and cumulated bonds within a ring, and unsaturated rings of three and four atoms."""
_TAIL = "[D1;!R]~" + "~".join(["[D2;!R;!$(*#*)]"] * 5)
"""Six atoms in a row outside rings and without a branch, the last of them an end."""
_HETERO = "[N,O,S;!R]-,=[N,O,S;!R;!$([N+](=O)[O-]);!$([#16](=O)=O)]-,=[N,O,S;!R]"
"""Three heteroatoms in a row outside rings; nitro groups and sulfonyls are none."""


def _large_ring(mol: Mol) -> bool:
    return any(len(ring) >= LARGE for ring in mol.GetRingInfo().AtomRings())


def _strained(mol: Mol) -> bool:
    return any(mol.HasSubstructMatch(pattern) for pattern in map(_pattern, _STRAINED))


def _tail(mol: Mol) -> bool:
    return bool(mol.HasSubstructMatch(_pattern(_TAIL)))


def _hetero(mol: Mol) -> bool:
    return bool(mol.HasSubstructMatch(_pattern(_HETERO)))


def _radical(mol: Mol) -> bool:
    return any(atom.GetNumRadicalElectrons() > 0 for atom in mol.GetAtoms())


def _reactive(mol: Mol) -> bool:
    return bool(_catalog("BRENK").HasMatch(mol))


def _interfering(mol: Mol) -> bool:
    return bool(_catalog("PAINS").HasMatch(mol))


ODDITIES: Mapping[str, Callable[[Mol], bool]] = {
    "large ring": _large_ring,
    "strained ring": _strained,
    "long tail": _tail,
    "heteroatoms in a row": _hetero,
    "radical": _radical,
    "reactive group": _reactive,
    "PAINS": _interfering,
}
"""By name, whether a parsed molecule has it."""

EXPLAINED: Mapping[str, str] = {
    "large ring": f"a ring of {LARGE} or more atoms",
    "strained ring": "a triple or cumulated bond in a ring, or an unsaturated ring of 3 or 4 atoms",
    "long tail": "six or more atoms in a row without ring or branch, up to an end",
    "heteroatoms in a row": "three of N, O, S outside rings; nitro and sulfonyl groups are none",
    "radical": "an unpaired electron",
    "reactive group": "a pattern of the Brenk list: reactive, unstable or toxic",
    "PAINS": "a pattern that interferes with assays",
}
"""The same in words."""


def oddities(mol: Mol) -> list[str]:
    """Names of `ODDITIES` that a parsed molecule has."""
    return [name for name, has in ODDITIES.items() if has(mol)]


def shares(molecules: Iterable[str]) -> dict[str, float]:
    """Share of molecules with each of `ODDITIES`, 0 to 1; what is no molecule is left out, NaN where none is left."""
    found = []
    for smiles in molecules:
        try:
            found.append(oddities(parse(smiles)))
        except DesignError:
            continue
    return {
        name: sum(name in own for own in found) / len(found) if found else float("nan") for name in ODDITIES
    }


@lru_cache(maxsize=16)
def _pattern(smarts: str) -> Any:
    with rdkit() as chem:
        return chem.MolFromSmarts(smarts)


@lru_cache(maxsize=2)
def _catalog(name: str) -> Any:
    with rdkit():
        from rdkit.Chem.FilterCatalog import FilterCatalog, FilterCatalogParams

        return FilterCatalog(FilterCatalogParams(getattr(FilterCatalogParams.FilterCatalogs, name)))

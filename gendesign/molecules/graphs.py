"""Molecular graphs: atom types and bond orders, from molecules and back, and the repair of valences.

Aromatic rings are written in one of their Kekulé forms and hydrogens are implicit, so that a graph is a molecule as
soon as it is connected and no atom has more bonds than its element takes,

    sum_j order_ij <= valence_i.

A graph that breaks the rule is mended: at an atom with too many bonds the least certain one is lowered by one order,
until none is left; of several fragments the largest is kept.

The correction follows Zang and Wang, "MoFlow: An Invertible Flow Model for Generating Molecular Graphs" (2020, arXiv
2006.10137), section 4.3; graphs of continuous numbers: Jo, Lee and Hwang, "Score-based Generative Modeling of Graphs
via the System of Stochastic Differential Equations" (2022, arXiv 2202.02514).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import ConfigError, DesignError
from gendesign.molecules.chemistry import rdkit, shown, write

if TYPE_CHECKING:
    from rdkit.Chem import Mol

MAX_ORDER = 3
"""A triple bond."""


@dataclass(frozen=True)
class AtomType:
    """An element with a formal charge, written as `C`, `N+` or `O-`.

    Attributes:
        symbol: of the element.
        charge: -1, 0 or 1.
        valence: the most bonds that it takes, counted by their orders.
    """

    symbol: str
    charge: int
    valence: int

    @classmethod
    def read(cls, text: str) -> AtomType:
        """Read `C`, `N+` or `O-`; an ion takes as many bonds as the element with as many electrons.

        Raises:
            ConfigError: no element, or one that RDKit knows no valence of.
        """
        symbol, charge = text.rstrip("+-"), text.count("+") - text.count("-")
        with rdkit() as chem:
            table = chem.GetPeriodicTable()
            try:
                number = table.GetAtomicNumber(symbol)
            except RuntimeError:
                number = 0
            valence = max(table.GetValenceList(number - charge)) if number > 1 and abs(charge) <= 1 else 0
        if valence < 1 or text != symbol + {-1: "-", 0: "", 1: "+"}.get(charge, ""):
            raise ConfigError(f"expected an atom type such as 'C', 'N+' or 'O-', got {text!r}")
        return cls(symbol, charge, valence)


def read_graph(mol: Mol) -> tuple[list[tuple[str, int]], NDArray[np.int64]]:
    """The graph of a molecule.

    Args:
        mol: sanitised.

    Returns:
        Element and charge of each heavy atom, and the symmetric matrix of bond orders Int[n, n].

    Raises:
        DesignError: a bond of another kind, such as a quadruple one.
    """
    with rdkit() as chem:
        kekulised = chem.Mol(mol)
        chem.Kekulize(kekulised, clearAromaticFlags=True)
        atoms = [(atom.GetSymbol(), atom.GetFormalCharge()) for atom in kekulised.GetAtoms()]
        orders = np.zeros((len(atoms), len(atoms)), dtype=np.int64)
        for bond in kekulised.GetBonds():
            if str(bond.GetBondType()) not in ("SINGLE", "DOUBLE", "TRIPLE"):
                raise DesignError(
                    f"a bond of the molecule is neither single, double nor triple: {shown(write(mol))}"
                )
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            orders[i, j] = orders[j, i] = int(bond.GetBondTypeAsDouble())
    return atoms, orders


def assemble(atoms: list[AtomType], orders: NDArray[np.int64]) -> Mol | None:
    """The molecule of a graph, sanitised; None where RDKit refuses it, as it does with too many bonds at an atom.

    Args:
        atoms: n of them.
        orders: symmetric Int[n, n].
    """
    with rdkit() as chem:
        kinds = (None, chem.BondType.SINGLE, chem.BondType.DOUBLE, chem.BondType.TRIPLE)
        mol: Any = chem.RWMol()
        for atom in atoms:
            fresh = chem.Atom(atom.symbol)
            fresh.SetFormalCharge(atom.charge)
            mol.AddAtom(fresh)
        for i, j in zip(*np.triu(orders, 1).nonzero(), strict=True):
            mol.AddBond(int(i), int(j), kinds[orders[i, j]])
        if chem.SanitizeMol(mol, catchErrors=True) != chem.SanitizeFlags.SANITIZE_NONE:
            return None
        whole: Mol = mol.GetMol()
    return whole


def same_molecule(mol: Mol, other: Mol) -> bool:
    """Whether two molecules of one graph agree in what a graph leaves to be inferred: hydrogens, radicals, isotopes."""

    def inferred(each: Mol) -> list[tuple[int, int, int]]:
        return [
            (atom.GetTotalNumHs(), atom.GetNumRadicalElectrons(), atom.GetIsotope())
            for atom in each.GetAtoms()
        ]

    return inferred(mol) == inferred(other)


def correct(
    atoms: list[AtomType], orders: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[list[AtomType], NDArray[np.int64]]:
    """The largest fragment of a graph whose bonds fit the valences.

    Args:
        atoms: n of them.
        orders: symmetric Int[n, n].
        values: what the orders were rounded from, Float[n, n]: the bond furthest below its order is lowered first.
    """
    orders = orders.copy()
    limits = np.array([atom.valence for atom in atoms], dtype=np.int64)
    while True:
        excess = orders.sum(1) - limits
        worst = int(excess.argmax()) if len(excess) else 0
        if not len(excess) or excess[worst] <= 0:
            break
        bonded = orders[worst].nonzero()[0]
        doubt = (orders - values)[worst, bonded] + (excess[bonded] > 0)  # helps two atoms at once
        j = int(bonded[doubt.argmax()])
        orders[worst, j] = orders[j, worst] = orders[worst, j] - 1
    kept = _largest_fragment(orders)
    return [atoms[i] for i in kept], orders[np.ix_(kept, kept)]


def _largest_fragment(orders: NDArray[np.int64]) -> list[int]:
    """Indices of the atoms of the largest connected part; of equal ones, the first."""
    left, best = set(range(len(orders))), list[int]()
    while left:
        found, edge = set[int](), {min(left)}
        while edge:
            found |= edge
            edge = {int(j) for i in edge for j in orders[i].nonzero()[0]} - found
        left -= found
        if len(found) > len(best):
            best = sorted(found)
    return best


@lru_cache(maxsize=64)
def atom_types(names: tuple[str, ...]) -> tuple[AtomType, ...]:
    """Atom types by their names.

    Raises:
        ConfigError: a name is none.
    """
    return tuple(AtomType.read(name) for name in names)

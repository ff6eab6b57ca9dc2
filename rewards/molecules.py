"""Rewards that are read off a molecule: drug-likeness, ease of synthesis, logP, size, polarity, rings, atoms.

Without a target the quantity itself is raised (synthetic accessibility, which is better low, is negated). With a
target [low, high] the reward is minus the distance to that window, 0 inside; `null` leaves a side open.

A design is a SMILES of one molecule: what RDKit cannot read, salts and other mixtures of fragments, open ends, the
empty string and text beyond 1000 characters are INVALID. Equal molecules in different spellings have equal scores, to
the bit: what is scored is the canonical spelling. Definitions and their papers: `gendesign.molecules.descriptors`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from gendesign.designs import Design
from gendesign.errors import ConfigError, DesignError
from gendesign.molecules import chemistry, descriptors
from gendesign.rewards.base import Reward, Scores
from gendesign.rewards.window import Window

if TYPE_CHECKING:
    from rdkit.Chem import Mol


class MoleculeReward(Reward):
    """Base of rewards of single molecules; subclasses give the `value` of one."""

    @abstractmethod
    def value(self, mol: Mol) -> float:
        """The value of a parsed molecule, which is shared: read it only."""

    @property
    def version(self) -> str:
        return chemistry.version()

    def unreadable(self, design: Design) -> str:
        if not isinstance(design, str):
            return f"expected a SMILES, got an array of shape {np.shape(design)}"
        try:
            chemistry.molecule(design)
        except DesignError as error:
            return str(error)
        return ""

    def canonical(self, design: Design) -> Design:
        return chemistry.canonical(design)

    def score(self, designs: Sequence[str]) -> list[float] | Scores:
        return [self.value(chemistry.molecule(design)) for design in designs]


class Descriptor(MoleculeReward):
    """A number of `gendesign.molecules.descriptors`, or its closeness to a window.

    Args:
        target: [low, high] of the quantity, `null` for an open side; None = the quantity itself is raised.

    Raises:
        ConfigError: the target is not two rising numbers.
    """

    sign = 1.0
    """-1 where less of the quantity is better; windows are of the quantity all the same."""

    def __init__(self, *, target: Sequence[float | None] | None = None) -> None:
        self.window = Window.read(target)
        if self.window is not None:
            self.name = f"{self.name} {self.window}"

    @abstractmethod
    def quantity(self, mol: Mol) -> float:
        """The number itself."""

    def value(self, mol: Mol) -> float:
        return float(self.quantity(mol))

    def score(self, designs: Sequence[str]) -> list[float]:
        numbers = [self.value(chemistry.molecule(design)) for design in designs]
        if self.window is None:
            return [self.sign * number for number in numbers]
        distances: list[float] = self.window(torch.tensor(numbers, dtype=torch.float64)).tolist()
        return distances


class QED(Descriptor):
    """Quantitative estimate of drug-likeness: 0 (none) to 1."""

    name, unit = "qed", "QED"
    source = "Bickerton et al. 2012, doi 10.1038/nchem.1243, by RDKit"

    def quantity(self, mol: Mol) -> float:
        return descriptors.qed(mol)


class SyntheticAccessibility(Descriptor):
    """Minus the SA score, which runs from 1 (easy to make) to 10 (hard); `target` is of the SA score itself."""

    name, unit, sign = "sa", "minus SA score", -1.0
    source = "Ertl and Schuffenhauer 2009, doi 10.1186/1758-2946-1-8, by RDKit's sascorer"

    def quantity(self, mol: Mol) -> float:
        return descriptors.synthetic_accessibility(mol)


class LogP(Descriptor):
    """Crippen's octanol-water partition coefficient."""

    name, unit = "logp", "log10"
    source = "Wildman and Crippen 1999, doi 10.1021/ci990307l, by RDKit"

    def quantity(self, mol: Mol) -> float:
        return descriptors.logp(mol)


class PenalisedLogP(Descriptor):
    """logP - SA - excess of the largest ring over 6 atoms, each in standard deviations of ZINC-250k."""

    name, unit = "penalised-logp", "standard deviations"
    source = "Kusner et al. 2017, arXiv 1703.01925; Jin et al. 2018, arXiv 1802.04364; by RDKit"

    def quantity(self, mol: Mol) -> float:
        return descriptors.penalised_logp(mol)


class MolecularWeight(Descriptor):
    """Molecular weight with hydrogens."""

    name, unit, source = "molecular-weight", "g/mol", "RDKit"

    def quantity(self, mol: Mol) -> float:
        return descriptors.molecular_weight(mol)


class TPSA(Descriptor):
    """Topological polar surface area."""

    name, unit, source = "tpsa", "square Angstrom", "Ertl et al. 2000, doi 10.1021/jm000942e, by RDKit"

    def quantity(self, mol: Mol) -> float:
        return descriptors.tpsa(mol)


class RotatableBonds(Descriptor):
    """Number of rotatable bonds (RDKit's strict definition)."""

    name, unit, source = "rotatable-bonds", "bonds", "RDKit"

    def quantity(self, mol: Mol) -> float:
        return descriptors.rotatable_bonds(mol)


class HeavyAtoms(Descriptor):
    """Number of atoms other than hydrogen."""

    name, unit, source = "heavy-atoms", "atoms", "RDKit"

    def quantity(self, mol: Mol) -> float:
        return descriptors.heavy_atoms(mol)


class Rings(Descriptor):
    """Number of rings (smallest set of smallest rings).

    Args:
        aromatic: count aromatic rings only.
        target: as in `Descriptor`.
    """

    name, unit, source = "rings", "rings", "RDKit"

    def __init__(self, *, aromatic: bool = False, target: Sequence[float | None] | None = None) -> None:
        self.aromatic = aromatic
        self.name = "aromatic-rings" if aromatic else "rings"
        super().__init__(target=target)

    def quantity(self, mol: Mol) -> float:
        return descriptors.aromatic_rings(mol) if self.aromatic else descriptors.rings(mol)


class Complexity(Descriptor):
    """Bertz's index of complexity."""

    name, unit, source = "complexity", "bits", "Bertz 1981, doi 10.1021/ja00402a071, by RDKit"

    def quantity(self, mol: Mol) -> float:
        return descriptors.bertz(mol)


class AtomCount(Descriptor):
    """Number of atoms of one element, or of all atoms; hydrogens included.

    Args:
        element: symbol, such as F; "" = atoms of any element.
        target: as in `Descriptor`.

    Raises:
        ConfigError: there is no such element, or the target is not two rising numbers.
    """

    unit, source = "atoms", "RDKit"

    def __init__(self, element: str = "", *, target: Sequence[float | None] | None = None) -> None:
        if element and not chemistry.is_element(element):
            raise ConfigError(f"element must be a symbol such as C, N or Cl, got {element!r}")
        self.element = element
        self.name = f"{element or 'all'}-atoms"
        super().__init__(target=target)

    def quantity(self, mol: Mol) -> float:
        counts = descriptors.element_counts(mol)
        return counts.get(self.element, 0) if self.element else sum(counts.values())

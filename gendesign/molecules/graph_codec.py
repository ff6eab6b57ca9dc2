"""Molecules as dense graphs of numbers, on which a continuous process works.

A molecule of n <= V heavy atoms is V T + V (V - 1)/2 numbers: for each of V places the one-hot vector of its atom's
type (T types, of which the last is "no atom"), and for each pair of places i < j its bond order 0, 1, 2 or 3. Which
atom stands at which place has no meaning: networks on these numbers should be permutation-equivariant.

Hydrogens are implicit and aromatic rings kekulised. Stereochemistry is no part of a graph: it is dropped from what is
encoded, and designs have none.

Jo, Lee and Hwang, "Score-based Generative Modeling of Graphs via the System of Stochastic Differential Equations"
(2022, arXiv 2202.02514).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gendesign.building import whole
from gendesign.codecs import Codec
from gendesign.errors import ConfigError, DesignError
from gendesign.molecules.chemistry import parse, shown, write
from gendesign.molecules.graphs import (
    MAX_ORDER,
    AtomType,
    assemble,
    atom_types,
    correct,
    read_graph,
    same_molecule,
)


@dataclass(frozen=True)
class Graph:
    """The graph of a molecule, in small integers.

    Attributes:
        smiles: canonical, without stereochemistry.
        types: of the V places.
        orders: of their V (V - 1)/2 pairs.
    """

    smiles: str
    types: NDArray[np.uint8]
    orders: NDArray[np.uint8]


class MolecularGraphCodec(Codec):
    """Canonical SMILES <-> graphs of at most V heavy atoms.

    Args:
        atoms: the atom types, an element with or without a charge, such as `C`, `N+` and `O-`.
        max_atoms: V.

    Raises:
        ConfigError: an atom type that is none, or that stands there twice.
    """

    def __init__(self, atoms: Sequence[str], max_atoms: int) -> None:
        self.atoms = tuple(atoms)
        if not all(isinstance(name, str) for name in self.atoms) or not 0 < len(set(self.atoms)) == len(
            self.atoms
        ):
            raise ConfigError(f"atoms must be distinct types such as 'C' and 'N+'; got {list(self.atoms)}")
        self.max_atoms = whole("max_atoms", max_atoms, at_least=2)
        self.num_types = len(self.atoms) + 1
        self.num_pairs = max_atoms * (max_atoms - 1) // 2
        self.length = max_atoms * self.num_types + self.num_pairs
        self.pairs = np.triu_indices(max_atoms, 1)
        self._rank = {name: i for i, name in enumerate(self.atoms)}

    def encode(self, designs: Sequence[str]) -> Float[Tensor, "B N"]:
        """Graphs of molecules, in float32.

        Raises:
            DesignError: no molecule, too large a one, or one of atoms that the codec does not know.
        """
        graphs = [self.graph(design) for design in designs]
        types = np.array([graph.types for graph in graphs], dtype=np.uint8)
        orders = np.array([graph.orders for graph in graphs], dtype=np.uint8)
        return self.numbers(types.reshape(-1, self.max_atoms), orders.reshape(-1, self.num_pairs))

    def graph(self, design: Any) -> Graph:
        """The graph of a molecule.

        Raises:
            DesignError: as of `encode`.
        """
        mol = parse(design)
        if mol.GetNumAtoms() > self.max_atoms:
            raise DesignError(
                f"expected at most {self.max_atoms} heavy atoms, got {mol.GetNumAtoms()}: {shown(design)}"
            )
        atoms, orders = read_graph(mol)
        names = [symbol + {-1: "-", 0: "", 1: "+"}.get(charge, f"{charge:+d}") for symbol, charge in atoms]
        unknown = sorted(set(names) - self._rank.keys())
        if unknown:
            raise DesignError(
                f"expected atoms {', '.join(self.atoms)}, got {', '.join(unknown)} in {shown(design)}"
            )
        again = assemble([self._types[self._rank[name]] for name in names], orders)
        if again is None or not same_molecule(mol, again):
            raise DesignError(
                f"{shown(design)} is more than its graph: a radical, an isotope or an unusual valence"
            )
        types = np.full(self.max_atoms, len(self.atoms), dtype=np.uint8)
        types[: len(names)] = [self._rank[name] for name in names]
        full = np.zeros((self.max_atoms, self.max_atoms), dtype=np.uint8)
        full[: len(names), : len(names)] = orders
        return Graph(write(again), types, full[self.pairs])

    def numbers(self, types: NDArray[np.uint8], orders: NDArray[np.uint8]) -> Float[Tensor, "B N"]:
        """Rows of numbers from graphs in small integers, [B, V] and [B, V (V - 1)/2]."""
        hot = torch.nn.functional.one_hot(torch.from_numpy(types).long(), self.num_types).float()
        return torch.cat([hot.flatten(1), torch.from_numpy(orders).float()], 1)

    def decode(self, x: Float[Tensor, "B N"]) -> list[str]:
        """Canonical SMILES after the correction of valences, always valid; '' for a graph without atoms."""
        designs = []
        for atoms, orders, values in self._graphs(x):
            mol = assemble(*correct(atoms, orders, values))
            designs.append("" if mol is None else write(mol))
        return designs

    def decode_uncorrected(self, x: Float[Tensor, "B N"]) -> list[str]:
        """Canonical SMILES of graphs as they are; '' where one is no molecule or more than one fragment."""
        designs = []
        for atoms, orders, _ in self._graphs(x):
            mol = assemble(atoms, orders) if atoms else None
            text = "" if mol is None else write(mol)
            designs.append("" if "." in text else text)
        return designs

    def reason_invalid(self, design: Any) -> str:
        try:
            self.graph(design)
        except DesignError as error:
            return str(error)
        return ""

    @property
    def _types(self) -> tuple[AtomType, ...]:
        return atom_types(self.atoms)  # read where needed: configurations are built without RDKit

    def _graphs(self, x: Tensor) -> list[tuple[list[AtomType], NDArray[np.int64], NDArray[np.float64]]]:
        """Atoms, rounded bond orders and what they were rounded from, of the places that hold an atom."""
        cut = self.max_atoms * self.num_types
        numbers = x.detach().cpu().double()
        types = numbers[:, :cut].reshape(-1, self.max_atoms, self.num_types).argmax(-1).numpy()
        graphs = []
        for row, pairs in zip(types, numbers[:, cut:].numpy(), strict=True):
            values = np.zeros((self.max_atoms, self.max_atoms))
            values[self.pairs] = np.nan_to_num(pairs)  # a sample that diverged is some molecule, too
            values += values.T
            there = np.flatnonzero(row < len(self.atoms))
            values = values[np.ix_(there, there)]
            orders = values.round().clip(0, MAX_ORDER).astype(np.int64)
            graphs.append(([self._types[row[i]] for i in there], orders, values))
        return graphs

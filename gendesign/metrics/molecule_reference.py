"""What a report compares molecules with, so that no data set is needed at run time.

`reference.safetensors` of a backbone of molecules holds: a hash of every training molecule, by which novelty is told;
quantiles of properties of unseen molecules (`PROPERTIES`); how often rings of each size occur; and quantiles of rewards
and of the naturalness. It holds no molecule. A property's distance between designs and nature is Wasserstein's,

    W(p, q) = integral over u in (0, 1) of |F_p^-1(u) - F_q^-1(u)|,

in the unit of the property.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import CheckpointError, DesignError
from gendesign.metrics.reference_file import (
    AGAIN,
    PERCENTILES,
    Floats,
    check_kind,
    read_reference,
    rising_quantiles,
    write_reference,
)
from gendesign.molecules import descriptors
from gendesign.molecules.chemistry import canonical, parse

if TYPE_CHECKING:
    from rdkit.Chem import Mol

KIND, _VERSION = "gendesign-molecule-reference", "1"

PROPERTIES = {
    "logP": descriptors.logp,
    "QED": descriptors.qed,
    "SA": descriptors.synthetic_accessibility,
    "molecular weight": descriptors.molecular_weight,
    "TPSA": descriptors.tpsa,
    "heavy atoms": descriptors.heavy_atoms,
    "rotatable bonds": descriptors.rotatable_bonds,
    "rings": descriptors.rings,
    "aromatic rings": descriptors.aromatic_rings,
    "largest ring": descriptors.largest_ring,
}
"""What is compared, by name: g/mol, square Angstrom and numbers; QED 0 to 1, SA 1 to 10, logP in decades."""


@dataclass(frozen=True, eq=False)
class MoleculeReference:
    """Figures of natural molecules, as reports need them.

    Args:
        hashes: sorted distinct hashes (`hash_molecules`) of the training molecules, shape [N]. A molecule that training
            does not hold is taken for one that it holds with probability N / 2^64.
        quantiles: name of `PROPERTIES` -> values at percentiles 0..100 over natural molecules.
        ring_sizes: atoms of a ring -> share of the natural molecules' rings that have so many.
        natural_facts: of the natural molecules: num, mean_distance (of pairs: 1 - Tanimoto similarity), and the share
            of them with each of `gendesign.molecules.oddities.ODDITIES`; those unknown are absent.
        reward_quantiles: reward name -> values at percentiles 0..100 of natural molecules, in the reward's unit.
        naturalness: the same of the log-likelihood bound of unseen molecules, in nats a token, or None.
        notes: what was measured over what, in sentences, by topic.
    """

    hashes: NDArray[np.uint64]
    quantiles: Mapping[str, Floats] = field(default_factory=dict)
    ring_sizes: Mapping[int, float] = field(default_factory=dict)
    natural_facts: Mapping[str, float] = field(default_factory=dict)
    reward_quantiles: Mapping[str, Floats] = field(default_factory=dict)
    naturalness: Floats | None = None
    notes: Mapping[str, str] = field(default_factory=dict)

    def novelty(self, molecules: Sequence[str]) -> dict[str, Floats]:
        """Whether training holds the molecules.

        Args:
            molecules: SMILES; they need not be canonical.

        Returns:
            `novel`, of shape [len(molecules)]: 1 where training does not hold the molecule, 0 where it does, NaN where
            there is none.
        """
        novel = np.full(len(molecules), np.nan)
        names = [_name(molecule) for molecule in molecules]
        known = [i for i, name in enumerate(names) if name]
        novel[known] = ~np.isin(hash_molecules([names[i] for i in known]), self.hashes)
        return {"novel": novel}

    def distance(self, name: str, values: Floats) -> float:
        """Wasserstein's distance of a property of designs to that of natural molecules.

        Args:
            name: of `PROPERTIES`.
            values: of the designs; NaN are left out.

        Returns:
            in the unit of the property; NaN where it was not measured. Quantiles of a hundred steps stand for the
            natural molecules.
        """
        values = values[np.isfinite(values)]
        if name not in self.quantiles or not len(values):
            return float("nan")
        at = (np.arange(1000) + 0.5) / 10
        natural = np.interp(at, PERCENTILES, self.quantiles[name])
        return float(np.abs(np.percentile(values, at) - natural).mean())

    def save(self, path: str | Path) -> None:
        """Write the file whole or not at all.

        Raises:
            OutputError: the file cannot be written.
        """
        tensors: dict[str, NDArray] = {"hashes": np.ascontiguousarray(self.hashes, dtype=np.uint64)}
        tensors |= {f"property/{name}": values for name, values in self.quantiles.items()}
        tensors |= {f"reward/{name}": values for name, values in self.reward_quantiles.items()}
        if self.naturalness is not None:
            tensors["naturalness"] = self.naturalness
        texts = {
            "ring_sizes": {str(size): share for size, share in self.ring_sizes.items()},
            "natural_facts": dict(self.natural_facts),
            "notes": dict(self.notes),
        }
        head = {name: json.dumps(value) for name, value in texts.items()}
        write_reference(path, tensors, head | {"format": KIND, "version": _VERSION})

    @classmethod
    def load(cls, path: str | Path) -> MoleculeReference:
        """Read a file that `save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged or of another kind; the message says which.
        """
        head, tensors = read_reference(path)
        check_kind(path, head, kind=KIND, version=_VERSION)
        try:
            hashes = tensors["hashes"]
            if hashes.dtype != np.uint64 or hashes.ndim != 1 or not np.all(hashes[1:] > hashes[:-1]):
                raise ValueError("hashes that do not rise")

            def part(prefix: str) -> dict[str, Floats]:
                return rising_quantiles(
                    {
                        name.removeprefix(prefix): values.astype(np.float64)
                        for name, values in tensors.items()
                        if name.startswith(prefix)
                    }
                )

            return cls(
                hashes,
                quantiles=part("property/"),
                ring_sizes={
                    int(size): float(share) for size, share in json.loads(head["ring_sizes"]).items()
                },
                natural_facts={k: float(v) for k, v in json.loads(head["natural_facts"]).items()},
                reward_quantiles=part("reward/"),
                naturalness=part("naturalness").get(""),
                notes=json.loads(head["notes"]),
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}): {AGAIN}") from error


def hash_molecules(names: Sequence[str]) -> NDArray[np.uint64]:
    """A 64-bit hash of each canonical SMILES, shape [len(names)]; the same on every machine."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def properties(molecules: Sequence[str]) -> dict[str, Floats]:
    """The `PROPERTIES` of molecules, each of shape [len(molecules)]; NaN where a SMILES is no molecule."""
    found = {name: np.full(len(molecules), np.nan) for name in PROPERTIES}
    for row, smiles in enumerate(molecules):
        mol = _molecule(smiles)
        if mol is not None:
            for name, measure in PROPERTIES.items():
                found[name][row] = measure(mol)
    return found


def ring_sizes(molecules: Sequence[str]) -> dict[int, float]:
    """Share of the rings of molecules (those of the smallest set) that have so many atoms, by number of atoms."""
    counts = Counter[int]()
    for smiles in molecules:
        mol = _molecule(smiles)
        counts.update(len(ring) for ring in (mol.GetRingInfo().AtomRings() if mol is not None else ()))
    return {size: counts[size] / counts.total() for size in sorted(counts)}


def _molecule(smiles: str) -> Mol | None:
    try:
        return parse(smiles)
    except DesignError:
        return None


def _name(smiles: str) -> str:
    try:
        return canonical(smiles)
    except DesignError:
        return ""

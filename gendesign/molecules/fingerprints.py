"""Molecules to vectors: how often each neighbourhood of atoms occurs, counted in a fixed number of places.

    x_d = number of neighbourhoods of radius 0, 1 and 2 whose hash falls on place d

    ECFP4   an atom is told from another by element, bonds, charge, hydrogens and rings
    FCFP4   by its role only: donor, acceptor, aromatic, halogen, basic, acidic

Rogers and Hahn, "Extended-Connectivity Fingerprints" (2010, doi 10.1021/ci100050t), by RDKit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Integer
from torch import Tensor

from gendesign.building import Configurable, whole
from gendesign.errors import ConfigError
from gendesign.molecules import chemistry

KINDS = ("ECFP4", "FCFP4")


class CountFingerprint(Configurable):
    """A fingerprint of counts.

    Args:
        kind: ECFP4 or FCFP4.
        size: places D; with many, two neighbourhoods seldom share one.

    Raises:
        ConfigError: there is no such kind.
    """

    def __init__(self, kind: str = "ECFP4", *, size: int = 4096) -> None:
        if kind not in KINDS:
            raise ConfigError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        self.kind = kind
        self.size = whole("size", size)

    def __call__(self, molecules: Sequence[str]) -> Integer[Tensor, "B D"]:
        """Counts of each molecule; one above 255 counts as 255.

        Raises:
            DesignError: something that is no molecule.
            MissingExtraError: RDKit is not installed.
        """
        rows = np.zeros((len(molecules), self.size), dtype=np.uint8)
        for row, smiles in zip(rows, molecules, strict=True):
            counts = _generator(self.kind, self.size).GetCountFingerprintAsNumPy(chemistry.molecule(smiles))
            np.minimum(counts, 255, out=row, casting="unsafe")
        return torch.from_numpy(rows)


@lru_cache(maxsize=8)
def _generator(kind: str, size: int) -> Any:
    with chemistry.rdkit():
        from rdkit.Chem import rdFingerprintGenerator as generators

        roles = generators.GetMorganFeatureAtomInvGen() if kind == "FCFP4" else None
        return generators.GetMorganGenerator(radius=2, fpSize=size, atomInvariantsGenerator=roles)

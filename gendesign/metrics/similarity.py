"""How alike molecules are: Tanimoto similarity of their extended-connectivity fingerprints (ECFP4, 2,048 bits).

    s(a, b) = |a and b| / |a or b|,     distance = 1 - s,     internal diversity = mean distance of two designs

Rogers and Hahn, "Extended-Connectivity Fingerprints" (2010, doi 10.1021/ci100050t); internal diversity: Benhenda,
"ChemGAN challenge for drug discovery" (2017, arXiv 1708.08227).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gendesign.designs import Design
from gendesign.errors import DesignError
from gendesign.molecules import chemistry

Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]
"""Fingerprints, eight bits a byte."""

BITS = 2048
_BLOCK = 4096  # molecules compared at once, which bounds memory


def fingerprints(molecules: Sequence[Design]) -> Bits:
    """Fingerprints of molecules, packed; what is no molecule has no bit set.

    Args:
        molecules: B SMILES.

    Returns:
        shape [B, BITS / 8].

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    from rdkit.DataStructs import BitVectToBinaryText

    packed = np.zeros((len(molecules), BITS // 8), dtype=np.uint8)
    for row, smiles in zip(packed, molecules, strict=True):
        try:
            bits = chemistry.fingerprint(chemistry.parse(smiles), bits=BITS)
        except DesignError:
            continue
        row[:] = np.frombuffer(BitVectToBinaryText(bits), dtype=np.uint8)
    return packed


def tanimoto(first: Bits, second: Bits) -> Floats:
    """Similarities of all pairs of packed fingerprints, shape [A, B]; NaN where one has no bit set."""
    a, b = (np.unpackbits(bits, axis=1).astype(np.float32) for bits in (first, second))
    shared = (a @ b.T).astype(np.float64)  # counts up to 2,048 are exact
    sizes = a.sum(1, dtype=np.float64)[:, None], b.sum(1, dtype=np.float64)[None, :]
    known = (sizes[0] > 0) & (sizes[1] > 0)
    return np.divide(shared, sizes[0] + sizes[1] - shared, out=np.full(shared.shape, np.nan), where=known)


def molecule_distance(molecules: Sequence[Design]) -> Floats:
    """1 - Tanimoto similarity of all pairs.

    Args:
        molecules: B SMILES.

    Returns:
        distances in [0, 1], shape [B, B], symmetric; NaN where one of the two is no molecule.
    """
    bits = fingerprints(molecules)
    return 1.0 - tanimoto(bits, bits)


def nearest_molecule(molecules: Sequence[Design], others: Bits) -> tuple[Floats, NDArray[np.int64]]:
    """The most similar one of many molecules.

    Args:
        molecules: B SMILES.
        others: packed fingerprints of N molecules, N at least 1.

    Returns:
        similarities, NaN for what is no molecule, and rows of `others`; each of shape [B].
    """
    bits = fingerprints(molecules)
    best, rows = np.full(len(bits), -1.0), np.zeros(len(bits), dtype=np.int64)
    for start in range(0, len(others), _BLOCK):
        found = np.nan_to_num(tanimoto(bits, others[start : start + _BLOCK]), nan=-1.0)
        top = found.argmax(1)
        values = found[np.arange(len(bits)), top]
        better = values > best
        best[better], rows[better] = values[better], start + top[better]
    return np.where(best < 0, np.nan, best), rows

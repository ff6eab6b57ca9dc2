"""Sequences for one backbone: the codec that inverse folding designs with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gendesign.codecs import ProteinCodec
from gendesign.files.structures import read_structure

Confidence = Callable[[str], NDArray[np.float64]]
"""The probability of each amino acid of a design, given all others and the backbone."""


class StructureCodec(ProteinCodec):
    """Proteins as long as a chain of a structure file.

    Args:
        path: PDB or mmCIF, plain or gzipped.
        chain: its letter; may be left out where one chain is a protein.

    Attributes:
        structure: what was read.
        confidence: set by the backbone that the codec belongs to; None where nobody tells.

    Raises:
        DataError: the file cannot be read, or holds no protein.
        ConfigError: there is no such chain.
    """

    def __init__(self, path: str, chain: str | None = None) -> None:
        self.structure = read_structure(path, chain=chain)
        self.confidence: Confidence | None = None
        super().__init__(len(self.structure))

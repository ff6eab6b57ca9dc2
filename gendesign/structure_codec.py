"""Sequences for one backbone: the codec that inverse folding designs with."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gendesign.codecs import ProteinCodec
from gendesign.files.structures import read_structure

Chances = Callable[[str], NDArray[np.float64]]
"""Of a design, the probability of every amino acid at each residue, given all others and the backbone; [L, K]."""
ROWS = 256
"""Rows of the network a call."""


class StructureCodec(ProteinCodec):
    """Proteins as long as a chain of a structure file.

    A template is letters and stars, or names residues to be kept by the file's own numbers, such as `10-20,52A`.

    Args:
        path: PDB or mmCIF, plain or gzipped.
        chain: its letter; may be left out where one chain is a protein.

    Attributes:
        structure: what was read.
        tell: set by the backbone that the codec belongs to; None where nobody tells.

    Raises:
        DataError: the file cannot be read, or holds no protein.
        ConfigError: there is no such chain.
    """

    def __init__(self, path: str, chain: str | None = None) -> None:
        self.structure = read_structure(path, chain=chain)
        self.tell: Chances | None = None
        super().__init__(len(self.structure))

    def of(self, backbone: Any) -> StructureCodec:
        if not hasattr(backbone.process, "mask_id"):
            return self
        other = copy.copy(self)
        other.tell = partial(_chances, backbone)
        return other

    def split_template(self, template: Any) -> list[str | None]:
        if isinstance(template, str) and re.fullmatch(r"[-\dA-Za-z, ]*\d[-\dA-Za-z, ]*", template):
            template = self.structure.template([part for part in template.split(",") if part.strip()])
        return super().split_template(template)

    def chances(self, design: str) -> NDArray[np.float64] | None:
        """The probability of every amino acid at each residue, given all others of the design and the backbone.

        Args:
            design: a valid one.

        Returns:
            [L, K]; None where nobody tells.
        """
        return None if self.tell is None else self.tell(design)

    def confidence(self, design: str) -> NDArray[np.float64] | None:
        """The same of the design's own amino acids; [L]."""
        found = self.chances(design)
        if found is None:
            return None
        confidence: NDArray[np.float64] = found[np.arange(len(design)), self.encode([design])[0].numpy()]
        return confidence


@torch.no_grad()
def _chances(backbone: Any, sequence: str) -> NDArray[np.float64]:
    x = backbone.codec.encode([sequence]).to(backbone.device)[0]
    rows = x.repeat(len(x), 1)
    rows.fill_diagonal_(backbone.process.mask_id)
    time = torch.full((ROWS,), 1 / len(x), device=x.device)
    parts = [
        backbone.denoiser(some, time[: len(some)])[torch.arange(len(some)), first + torch.arange(len(some))]
        for first, some in zip(range(0, len(x), ROWS), rows.split(ROWS), strict=True)
    ]
    found: NDArray[np.float64] = torch.cat(parts).double().softmax(-1).cpu().numpy()
    return found

"""The molecules that a backbone was trained on, with their fingerprints, where their table is on this machine.

A pretrained folder holds no molecule, only the name of their table. Fingerprints of all its rows take RDKit half a
minute for 200,000 molecules, so they are kept in the user's cache and made anew when the table is another one. Rows
that were held back from training are among them: what is near to one of those is no discovery either.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gendesign.data import tables
from gendesign.errors import GendesignError
from gendesign.files.designs import encode_npz, read_npz
from gendesign.files.sequences import read_rows
from gendesign.metrics.similarity import BITS, Bits, fingerprints

if TYPE_CHECKING:
    from gendesign.backbone import Backbone

log = logging.getLogger(__name__)

_read: dict[str, TrainingMolecules] = {}  # the last table read: a run judges designs twice


@dataclass(frozen=True)
class TrainingMolecules:
    """Molecules of a table.

    Attributes:
        molecules: SMILES as they stand in the table.
        fingerprints: packed, as of `gendesign.metrics.similarity`.
    """

    molecules: list[str]
    fingerprints: Bits


def training_molecules(backbone: Backbone) -> TrainingMolecules | None:
    """The table of molecules that a backbone was trained on, if it is here; nothing is fetched.

    Args:
        backbone: one that was loaded, so that its provenance says where its data came from.

    Returns:
        its molecules; None where the backbone does not say, or the table is not here.
    """
    said = (backbone.provenance.get("training") or {}).get("data")
    if not isinstance(said, Mapping):
        return None
    try:
        name = str(said.get("path", ""))
        path = tables.locate(name.removeprefix("data:")) if name.startswith("data:") else Path(name)
        rows = read_rows(path)
        column = next((given for given in rows.columns if given.lower() == "smiles"), "")
        column = str(said.get("sequence_column") or column)
        molecules = rows.column(column, meant_for="SMILES", path=path)
        digest = hashlib.sha256("\n".join(molecules).encode()).hexdigest()
        if digest not in _read:
            found = TrainingMolecules(molecules, _fingerprints(molecules, digest))
            _read.clear()
            _read[digest] = found
        return _read[digest]
    except (GendesignError, OSError, TypeError, ValueError) as error:
        log.debug("training molecules cannot be read: %s", error)
        return None


def _fingerprints(molecules: list[str], digest: str) -> Bits:
    """Those of the cache, or new ones, which are put there."""
    file = tables.cache_folder() / "fingerprints" / f"{digest[:32]}.npz"
    try:
        kept = read_npz(file)["fingerprints"]
        if kept.dtype == np.uint8 and kept.shape == (len(molecules), BITS // 8):
            return kept
    except (GendesignError, KeyError) as error:
        log.debug("%s", error)
    log.info("fingerprints of %d training molecules, kept in %s", len(molecules), file)
    made = fingerprints(molecules)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_bytes(encode_npz(fingerprints=made))
        part.replace(file)
    except OSError as error:
        log.debug("fingerprints are not kept: %s", error)
    return made

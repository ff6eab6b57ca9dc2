"""Which sequences a backbone was trained on: written down when it is exported, read where the table is at hand.

A pretrained folder holds no training sequence, only the name of their table and the rule of the split
(`training: {data: ...}` in its config.yaml). With these and the table, distances to the nearest training
sequence can be measured; without, reports leave them out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendesign.codecs import SequenceCodec
from gendesign.data.images import ArrayDataModule
from gendesign.data.molecules import MoleculeDataModule
from gendesign.data.sequences import SequenceDataModule
from gendesign.data.training_arrays import describe_arrays
from gendesign.errors import GendesignError

if TYPE_CHECKING:
    from gendesign.backbone import Backbone

log = logging.getLogger(__name__)

_SPLIT = (
    "path", "sequence_column", "group_column", "split_column", "val_fraction", "test_fraction", "split_seed",
    "folds", "fold", "always_train", "trim", "max_rows",
)  # fmt: skip
_read: dict[tuple[str, str, int], list[str]] = {}  # the last table read: a run judges designs twice


def describe_training(data: object) -> dict[str, Any]:
    """What to write down of a run's data, as plain values.

    Args:
        data: the run's data module, or None.

    Returns:
        the table and the rule of its split, and `num_train`, the number of training designs; empty where
        they come from a data module of the user's own.
    """
    if isinstance(data, ArrayDataModule):
        return describe_arrays(data)
    if isinstance(data, MoleculeDataModule):
        return data.describe()
    if not isinstance(data, SequenceDataModule):
        return {}
    said = {name: getattr(data, name) for name in _SPLIT}
    said["always_train"] = sorted(data.always_train)
    said["trim"] = None if data.trim is None else list(data.trim)
    return said | {"num_train": len(data.indices("train"))}


def training_sequences(backbone: Backbone) -> list[str] | None:
    """The sequences that a backbone was trained on, if their table is on this machine; nothing is fetched.

    Args:
        backbone: one that was loaded, so that its provenance says where its data came from.

    Returns:
        the sequences, in the order of the table; None where the backbone does not say, the table is not here,
        or it is not the one described (another number of training sequences).
    """
    said = (backbone.provenance.get("training") or {}).get("data")
    if not isinstance(said, Mapping) or not isinstance(backbone.codec, SequenceCodec):
        return None
    try:
        chosen = {name: said[name] for name in _SPLIT if name in said}
        if chosen.get("trim") is not None:
            chosen["trim"] = tuple(chosen["trim"])  # YAML knows lists only
        data = SequenceDataModule(codec=backbone.codec, **chosen)
        file = _file(data.path)
        key = (
            json.dumps([dict(said), repr(vars(backbone.codec))], sort_keys=True),
            str(file),
            file.stat().st_mtime_ns,
        )
        if key not in _read:
            sequences = [data.sequences[row] for row in data.indices("train")]
            if said.get("num_train", len(sequences)) != len(sequences):
                log.debug("%s: not the table that the backbone was trained on", file)
                return None
            _read.clear()
            _read[key] = sequences
        return _read[key]
    except (GendesignError, TypeError, ValueError, AttributeError, OSError) as error:
        log.debug("training sequences cannot be read: %s", error)
        return None


def _file(path: str) -> Path:
    from gendesign.data import tables

    return tables.locate(path.removeprefix("data:")) if path.startswith("data:") else Path(path).expanduser()

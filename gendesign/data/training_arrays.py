"""Which arrays a backbone was trained on: written down when it is exported, read where they are at hand.

As for sequences (`gendesign.data.training_table`), a pretrained folder holds the name of the data and the rule of their
split, never the data.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gendesign.array_codecs import ImageCodec, VectorCodec
from gendesign.data.images import ArrayDataModule, ImageDataModule
from gendesign.data.vectors import ToyDataModule, VectorDataModule
from gendesign.designs import Array
from gendesign.errors import GendesignError

if TYPE_CHECKING:
    from gendesign.backbone import Backbone

log = logging.getLogger(__name__)

_WRITTEN = (
    "path", "sequence_column", "group_column", "split_column", "val_fraction", "test_fraction", "split_seed",
    "folds", "fold",
)  # fmt: skip
_TOY = "toy:"
_read: dict[str, Array] = {}  # the last data read: a run judges designs twice


def describe_arrays(data: ArrayDataModule) -> dict[str, Any]:
    """What to write down of a run's data, as plain values."""
    said: dict[str, Any] = {name: getattr(data, name) for name in _WRITTEN if hasattr(data, name)}
    if isinstance(data, ToyDataModule):
        said |= {"num": data.num, "seed": data.seed}
    return said | {"num_train": len(data.indices("train"))} | data.facts()


def training_arrays(backbone: Backbone) -> Array | None:
    """The designs that a backbone was trained on, if they are on this machine; nothing is fetched.

    Args:
        backbone: one that was loaded, so that its provenance says where its data came from.

    Returns:
        the designs, shape [N, ...]; None where the backbone does not say, the data are not here, or they are others
        (another number of training designs).
    """
    said = (backbone.provenance.get("training") or {}).get("data")
    if not isinstance(said, Mapping):
        return None
    key = json.dumps(
        [dict(said), repr(backbone.codec.__dict__.get("init_args"))], sort_keys=True, default=str
    )
    if key not in _read:
        try:
            data = _rebuild(dict(said), backbone.codec)
            if data is None:
                return None
            rows = data.indices("train")
            if said.get("num_train", len(rows)) != len(rows):
                log.debug("%s: not the data that the backbone was trained on", data.path)
                return None
            _read.clear()
            _read[key] = data.designs[rows]
        except (GendesignError, KeyError, TypeError, ValueError, OSError) as error:
            log.debug("training designs cannot be read: %s", error)
            return None
    return _read[key]


def _rebuild(said: dict[str, Any], codec: object) -> ArrayDataModule | None:
    """The data module that `describe_arrays` described."""
    path = str(said.pop("path", ""))
    said.pop("num_train", None)
    if path.startswith(_TOY):
        return ToyDataModule(
            path.removeprefix(_TOY),
            num=said["num"],
            val_fraction=said["val_fraction"],
            test_fraction=said["test_fraction"],
            seed=said["seed"],
        )
    cls = ImageDataModule if isinstance(codec, ImageCodec) else VectorDataModule
    if not isinstance(codec, (ImageCodec, VectorCodec)):
        return None
    # the other kind of data module does not know what is not set here
    taken = {
        name: value for name, value in said.items() if value is not None and (name, value) != ("folds", 1)
    }
    return cls(path, codec, **taken)  # type: ignore[arg-type]

"""Designs that are arrays: images from files, split without leaks, in batches that resume exactly.

Equal designs stay on one side of a split, and so do the rows of a group where a table names groups. A side is decided
by a hash, so it does not depend on the order of the rows. Statistics for standardising come from training rows alone.
Tables of numbers are in `gendesign.data.vectors`.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendesign.array_codecs import ArrayCodec, ImageCodec, VectorCodec
from gendesign.data.batching import Batch
from gendesign.data.splitting import SIDES, hashed_split, keep_fold, named_split
from gendesign.data.streams import Index, StreamDataModule
from gendesign.errors import ConfigError, DataError
from gendesign.files.arrays import DIGITS, Arrays, read_digits, read_images
from gendesign.files.sequences import name_rows

log = logging.getLogger(__name__)


class ArrayDataModule(StreamDataModule):
    """Base class of data modules whose designs are arrays.

    A batch is a dictionary: `x` Float[B N], `mask` Bool[B N] (True: every coordinate is real), `targets` Float[B n]
    (NaN where not measured), `row` Int[B] (index into `designs`), `weight` Float[B] and `position` (number of the batch
    in the run).

    Args:
        path: where the rows are from.
        codec: encodes the designs; one that needs statistics and has none is fitted on the training rows.
        group_column: rows of one group stay in one split; without it, equal designs do.
        split_column: a column that says train, val or test; the fractions below are then not used.
        val_fraction: fraction of the groups for validation.
        test_fraction: fraction of the groups for testing.
        split_seed: of the split.
        folds: divide training and validation groups into this many disjoint parts; test groups are shared.
        fold: the part to use, from 0.
        batch_size: rows of a training batch, over all processes.
        eval_batch_size: rows of a validation or test batch, over all processes.
        seed: of the order of training rows.
        bad_rows: `drop` counts and lists bad rows in the log; `error` refuses the file.

    Raises:
        ConfigError: arguments that contradict each other.
        DataError: the file cannot be used; raised when it is first read.
    """

    def __init__(
        self,
        path: str,
        codec: ArrayCodec,
        *,
        group_column: str | None = None,
        split_column: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        folds: int = 1,
        fold: int | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        seed: int = 0,
        bad_rows: str = "drop",
    ) -> None:
        super().__init__(path, batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed)
        if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
            raise ConfigError(
                "val_fraction and test_fraction must be at least 0 and leave some training rows; "
                f"got {val_fraction}, {test_fraction}"
            )
        if bad_rows not in ("drop", "error"):
            raise ConfigError(f"bad_rows must be 'drop' or 'error'; got {bad_rows!r}")
        if folds < 1 or (folds > 1) != (fold is not None) or (fold is not None and not 0 <= fold < folds):
            raise ConfigError(
                f"give fold, from 0 to folds - 1, exactly when folds is above 1; got folds={folds}, fold={fold}"
            )
        self.group_column = group_column
        self.split_column = split_column
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.folds = folds
        self.fold = fold
        self.bad_rows = bad_rows
        self._given_codec = codec
        self._codec: ArrayCodec | None = None
        self._arrays: Arrays | None = None
        self._splits: dict[str, Index] = {}
        self._x: Tensor | None = None

    @abstractmethod
    def _read(self) -> Arrays:
        """The usable rows, and the bad ones."""

    def facts(self) -> dict[str, Any]:
        """What else a backbone trained on these data is to remember of them, as plain values."""
        return {}

    @property
    def arrays(self) -> Arrays:
        """The usable rows; read once, at first use."""
        if self._arrays is None:
            arrays = self._read()
            listing = name_rows(arrays.problems, arrays.unit)
            total = len(arrays) + len(arrays.problems)
            if arrays.problems and self.bad_rows == "error":
                bad = f"{len(arrays.problems)} bad {arrays.unit}s"
                raise DataError(f"{self.path}: {bad} ({listing}); mend them or set bad_rows: drop")
            if not len(arrays):
                raise DataError(f"{self.path}: nothing usable among {total} {arrays.unit}s: {listing}")
            if arrays.problems:
                log.warning(
                    "%s: dropped %d bad %ss of %d (%s)",
                    self.path, len(arrays.problems), arrays.unit, total, listing,
                )  # fmt: skip
            self._arrays = arrays
        return self._arrays

    @property
    def designs(self) -> NDArray[np.float64]:
        """The usable designs [rows, *shape] in the user's units; `row` of a batch indexes them."""
        return self.arrays.designs

    @property
    def targets(self) -> NDArray[np.float64]:
        """Targets [rows, n], NaN where not measured."""
        return self.arrays.targets

    @property
    def codec(self) -> ArrayCodec:
        """The codec; where it needs statistics, with those of the training rows."""
        if self._codec is None:
            given = self._given_codec
            if isinstance(given, VectorCodec) and not given.is_fitted:
                try:
                    self._codec = given.fit(self.designs[self.indices("train")])
                except DataError as error:
                    raise DataError(f"{self.path}: {error}") from error
            else:
                self._codec = given
        return self._codec

    def indices(self, split: str) -> Index:
        """Rows of a split, as indices into `designs`.

        Args:
            split: train, val or test.
        """
        if not self._splits:
            self._splits = self._split()
        return self._splits[split]

    def setup(self, stage: str) -> None:
        """Read, split and standardise the rows; check that training will end."""
        super().setup(stage)
        self._encoded()

    def collate(self, rows: Index) -> Batch:
        """Rows, as indices into `designs`, to a batch."""
        x = self._encoded()[torch.from_numpy(rows)]
        return {
            "x": x,
            "mask": torch.ones_like(x, dtype=torch.bool),
            "targets": torch.from_numpy(self.targets[rows]).float(),
            "row": torch.from_numpy(rows),
            "weight": torch.ones(len(rows)),
        }

    def _encoded(self) -> Tensor:
        if self._x is None:
            self._x = self.codec.encode(list(self.designs))
        return self._x

    def _split(self) -> dict[str, Index]:
        groups = self._column(self.group_column) if self.group_column else self.arrays.contents()
        if self.split_column:
            try:
                side = named_split(self._column(self.split_column))
            except ValueError as error:
                raise DataError(f"{self.path}: column {self.split_column!r} {error}") from error
        else:
            side = hashed_split(
                groups,
                val_fraction=self.val_fraction,
                test_fraction=self.test_fraction,
                seed=self.split_seed,
            )
        if self.fold is not None:
            side = keep_fold(side, groups, folds=self.folds, fold=self.fold, seed=self.split_seed)
        splits = {name: np.flatnonzero(side == number) for name, number in SIDES.items()}
        if len(splits["train"]) == 0:
            raise DataError(f"{self.path}: no training rows are left after the split")
        return splits

    def _column(self, name: str) -> list[str]:
        if name not in self.arrays.columns:
            there = ", ".join(self.arrays.columns) or "none"
            raise DataError(f"{self.path}: no column {name!r}; the columns are {there}")
        return self.arrays.columns[name]


class ImageDataModule(ArrayDataModule):
    """PNG and JPEG files of a folder, whose subfolders are labels, or scikit-learn's handwritten digits.

    The target is the number of the label, in alphabetical order; of the digits, the digit.

    Args:
        path: the folder, or `digits`.
        codec: says the size of every image, and whether colour files become grey.
        val_fraction: as in `ArrayDataModule`, and so the rest.
    """

    def __init__(
        self,
        path: str,
        codec: ImageCodec,
        *,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        folds: int = 1,
        fold: int | None = None,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        seed: int = 0,
        bad_rows: str = "drop",
    ) -> None:
        super().__init__(
            path,
            codec,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            split_seed=split_seed,
            folds=folds,
            fold=fold,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            bad_rows=bad_rows,
        )
        self.image_codec = codec

    def _read(self) -> Arrays:
        if self.path == DIGITS:
            return read_digits(self.image_codec)
        return read_images(Path(self.path).expanduser(), self.image_codec)

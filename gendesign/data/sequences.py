"""Sequences or molecules from a table or a FASTA file, split without leaks, in batches that resume exactly.

Near-copies of a sequence (alleles, mutants, overlapping windows) must stay on one side of a split, so the
split is by group where the table names groups, and by distinct sequence where it does not. A group's side
is decided by a hash of (seed, group): it does not depend on the order of the file.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gendesign.building import whole
from gendesign.codecs import TokenCodec
from gendesign.data.batching import Batch
from gendesign.data.sequence_table import SequenceTable
from gendesign.data.splitting import SIDES, hashed_split, keep_fold, named_split, thin
from gendesign.data.streams import Index, StreamDataModule
from gendesign.errors import ConfigError, DataError
from gendesign.files.sequences import name_rows

log = logging.getLogger(__name__)


class SequenceDataModule(StreamDataModule):
    """Sequences and, where asked for, measured targets.

    A batch is a dictionary: `x` Int[B L], `mask` Bool[B L] (False at padding), `targets` Float[B n] (NaN
    where not measured), `row` Int[B] (index into `sequences`), `weight` Float[B] and `position` (number of
    the batch in the run).

    Args:
        path: a file, or `data:NAME` for a table of `gendesign data`.
        codec: encodes the sequences, or the SMILES.
        sequence_column: column of the sequences (`sequence` in FASTA files).
        target_columns: columns of numbers; empty cells are not measured. With a pivot: the values of `pivot_column`.
        pivot_column: for long tables, one measurement a row: the column that says which target was
            measured. Rows of one sequence then become one, measurements of one target are averaged, other
            columns are the first row's.
        value_column: for long tables: the measurement.
        group_column: rows of one group stay in one split; without it, equal sequences do.
        split_column: a column that says train, val or test; the fractions below are then not used.
        val_fraction: fraction of the groups for validation.
        test_fraction: fraction of the groups for testing.
        split_seed: of the split.
        folds: divide training and validation groups into this many disjoint parts; test groups are shared.
        fold: the part to use, from 0.
        always_train: groups that are never validation or test.
        sample_by: an epoch visits each value of this column once, with one of its rows drawn at random;
            evaluation weighs its rows so that every value counts once. Without it an epoch visits each row
            once.
        weight_column: column of row weights, above 0.
        batch_size: rows of a training batch, over all processes.
        eval_batch_size: rows of a validation or test batch, over all processes.
        eval_rows_per_value: at most so many rows of a `sample_by` value are evaluated, chosen by hash.
        seed: of the order of training rows.
        bad_rows: `drop` counts and lists bad rows in the log; `error` refuses the file.
        trim: constant (prefix, suffix) to cut off; a sequence without them is a bad row.
        max_rows: read at most so many rows of the file, those whose sequences hash lowest: a fair part of it.
        within: columns of numbers and the range [lowest, highest] that a row's must lie in; other rows are left out.
        away_from: rows alike to a test row of this other data are left out, so that what is trained here may be
            judged there.
        shared: so many letters in a row that are also in the other make them alike.

    Raises:
        ConfigError: arguments that contradict each other.
        DataError: the file cannot be used; raised when the file is first read.
    """

    def __init__(
        self,
        path: str,
        codec: TokenCodec,
        *,
        sequence_column: str = "sequence",
        target_columns: Sequence[str] = (),
        pivot_column: str | None = None,
        value_column: str | None = None,
        group_column: str | None = None,
        split_column: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        folds: int = 1,
        fold: int | None = None,
        always_train: Sequence[int | str] = (),
        sample_by: str | None = None,
        weight_column: str | None = None,
        batch_size: int = 256,
        eval_batch_size: int = 512,
        eval_rows_per_value: int | None = None,
        seed: int = 0,
        bad_rows: str = "drop",
        trim: tuple[str, str] | None = None,
        max_rows: int | None = None,
        within: Mapping[str, tuple[float, float]] | None = None,
        away_from: SequenceDataModule | None = None,
        shared: int = 20,
    ) -> None:
        super().__init__(path, batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed)
        if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
            raise ConfigError(
                "val_fraction and test_fraction must be at least 0 and leave some training rows; "
                f"got {val_fraction}, {test_fraction}"
            )
        if folds < 1 or (folds > 1) != (fold is not None) or (fold is not None and not 0 <= fold < folds):
            raise ConfigError(
                f"give fold, from 0 to folds - 1, exactly when folds is above 1; got folds={folds}, fold={fold}"
            )
        if (pivot_column is None) != (value_column is None) or (
            pivot_column is not None and not target_columns
        ):
            raise ConfigError("a long table needs all three of pivot_column, value_column and target_columns")
        if bad_rows not in ("drop", "error"):
            raise ConfigError(f"bad_rows must be 'drop' or 'error'; got {bad_rows!r}")
        self.codec = codec
        self.sequence_column = sequence_column
        self.target_columns = tuple(target_columns)
        self.pivot_column = pivot_column
        self.value_column = value_column
        self.group_column = group_column
        self.split_column = split_column
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.folds = folds
        self.fold = fold
        self.always_train = frozenset(str(group) for group in always_train)
        self.sample_by = sample_by
        self.weight_column = weight_column
        self.eval_rows_per_value = eval_rows_per_value
        self.bad_rows = bad_rows
        self.trim = trim
        self.max_rows = None if max_rows is None else whole("max_rows", max_rows)
        self.within = {name: (float(low), float(high)) for name, (low, high) in (within or {}).items()}
        self.away_from = away_from
        self.shared = whole("shared", shared)
        self._table: SequenceTable | None = None
        self._splits: dict[str, Index] = {}

    # What the file holds -----------------------------------------------------------------------------------------

    @property
    def table(self) -> SequenceTable:
        """The usable rows; the file is read once, at first use."""
        if self._table is None:
            self._table = self._read()
        return self._table

    @property
    def sequences(self) -> list[str]:
        """The usable sequences, in the order of the file; `row` of a batch indexes this list."""
        return self.table.sequences

    @property
    def targets(self) -> NDArray[np.float64]:
        """Targets [rows, n], NaN where not measured."""
        return self.table.targets

    def column(self, name: str) -> list[str]:
        """The cells of another column of the file, aligned with `sequences`."""
        if name not in self.table.columns:
            raise DataError(
                f"{self._file()}: no column {name!r}; the columns are {', '.join(self.table.columns)}"
            )
        return self.table.columns[name]

    def indices(self, split: str) -> Index:
        """Rows of a split, as indices into `sequences`.

        Args:
            split: train, val or test.
        """
        if not self._splits:
            self._splits = self._split()
        return self._splits[split]

    def _file(self) -> Path:
        if self.path.startswith("data:"):
            from gendesign.data import tables

            return Path(tables.locate(self.path.removeprefix("data:")))
        return Path(self.path).expanduser()

    def _read(self) -> SequenceTable:
        path = self._file()
        table = SequenceTable.read(
            path,
            self.codec,
            sequence_column=self.sequence_column,
            target_columns=self.target_columns,
            pivot_column=self.pivot_column,
            value_column=self.value_column,
            weight_column=self.weight_column,
            trim=self.trim,
            max_rows=self.max_rows,
            within=self.within,
        )
        if table.problems:
            listing = name_rows(table.problems, table.unit)
            if self.bad_rows == "error":
                raise DataError(
                    f"{path}: {len(table.problems)} bad rows ({listing}); mend them or set bad_rows: drop"
                )
            log.warning("%s: dropped %d bad rows of %d (%s)", path, len(table.problems), table.total, listing)
        if not table.sequences:
            reason = f": {name_rows(table.problems, table.unit)}" if table.problems else ""
            raise DataError(f"{path}: no usable sequence among {table.total} rows{reason}")
        return table

    # Splits ------------------------------------------------------------------------------------------------------

    def _split(self) -> dict[str, Index]:
        groups = self.column(self.group_column) if self.group_column else self.sequences
        if self.split_column:
            try:
                side = named_split(self.column(self.split_column))
            except ValueError as error:
                raise DataError(f"{self._file()}: column {self.split_column!r} {error}") from error
        else:
            side = hashed_split(
                groups,
                val_fraction=self.val_fraction,
                test_fraction=self.test_fraction,
                seed=self.split_seed,
                always_train=self.always_train,
            )
        if self.fold is not None:
            side = keep_fold(side, groups, folds=self.folds, fold=self.fold, seed=self.split_seed)
        alike = self._alike()
        splits = {name: np.flatnonzero((side == number) & ~alike) for name, number in SIDES.items()}
        if len(splits["train"]) == 0:
            raise DataError(f"{self._file()}: no training rows are left after the split")
        if self.eval_rows_per_value is not None and self.sample_by is not None:
            values = self.column(self.sample_by)
            for name in ("val", "test"):
                splits[name] = thin(
                    splits[name], values, self.sequences, limit=self.eval_rows_per_value, seed=self.split_seed
                )
        return splits

    def _alike(self) -> NDArray[np.bool_]:
        """Which rows share a stretch of letters with a test row of `away_from`."""
        if self.away_from is None:
            return np.zeros(len(self.sequences), dtype=bool)
        other = self.away_from.sequences
        words = {
            word for row in self.away_from.indices("test") for word in _stretches(other[row], self.shared)
        }
        alike = [any(word in words for word in _stretches(s, self.shared)) for s in self.sequences]
        log.info("%s: left out %d rows alike to test rows of %s", self.path, sum(alike), self.away_from.path)
        return np.array(alike, dtype=bool)

    # Batches -----------------------------------------------------------------------------------------------------

    def collate(self, rows: Index) -> Batch:
        """Rows, as indices into `sequences`, to a batch."""
        return self.table.batch(rows)

    def _groups(self, rows: Index) -> list[Index]:
        if self.sample_by is None:
            return list(rows[:, None])
        column = self.column(self.sample_by)
        members: dict[str, list[int]] = {}
        for row in rows.tolist():
            members.setdefault(column[row], []).append(row)
        return [np.array(group, dtype=np.int64) for group in members.values()]


def _stretches(sequence: str, length: int) -> list[str]:
    return [sequence[i : i + length] for i in range(len(sequence) - length + 1)]

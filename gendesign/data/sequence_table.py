"""The usable rows of a file of sequences: checked, encoded, with targets and weights as numbers.

Every row that cannot be used is kept by line and reason. A long table (one measurement a row) becomes a
wide one here.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendesign.codecs import TokenCodec
from gendesign.errors import DesignError
from gendesign.files.sequences import Rows, read_rows

log = logging.getLogger(__name__)

NOTICE = 10.0
"""Seconds between two notices of how far a long table is encoded."""

Trim = tuple[str, str]
_NOT_MEASURED = {"", "nan", "na", "none", "null"}


@dataclass(frozen=True)
class SequenceTable:
    """Usable rows.

    Attributes:
        sequences: in the codec's own spelling (letters in upper case, canonical SMILES), and trimmed.
        targets: Float64 [rows, n], NaN where not measured.
        weights: Float64 [rows].
        columns: the cells of every column, as text.
        problems: bad rows, as (line, reason).
        total: rows of the file, bad ones included.
        unit: what the lines of `problems` count.
        x: token ids Int[rows, L].
        mask: Bool[rows, L], False at padding.
    """

    sequences: list[str]
    targets: NDArray[np.float64]
    weights: NDArray[np.float64]
    columns: dict[str, list[str]]
    problems: list[tuple[int, str]]
    total: int
    unit: str
    x: Tensor
    mask: Tensor

    @classmethod
    def read(
        cls,
        path: Path,
        codec: TokenCodec,
        *,
        sequence_column: str = "sequence",
        target_columns: Sequence[str] = (),
        pivot_column: str | None = None,
        value_column: str | None = None,
        weight_column: str | None = None,
        trim: Trim | None = None,
        max_rows: int | None = None,
        within: Mapping[str, tuple[float, float]] | None = None,
    ) -> SequenceTable:
        """Read and check a file; the arguments are those of `gendesign.data.sequences.SequenceDataModule`.

        Raises:
            DataError: the file cannot be read, or lacks a column.
        """
        rows = read_rows(path)
        sequences = rows.column(sequence_column, meant_for="sequence_column", path=path)
        names = target_columns if pivot_column is None else [value_column or ""]
        values = [rows.column(name, meant_for="a target", path=path) for name in names]
        kinds = (
            None if pivot_column is None else rows.column(pivot_column, meant_for="pivot_column", path=path)
        )
        weights = (
            None
            if weight_column is None
            else rows.column(weight_column, meant_for="weight_column", path=path)
        )

        bounds = [
            (rows.column(name, meant_for="within", path=path), name, low, high)
            for name, (low, high) in (within or {}).items()
        ]
        problems = list(rows.problems)
        kept: list[int] = []
        ids = np.zeros((len(rows), codec.length), dtype=np.int16 if codec.vocab_size < 2**15 else np.int64)
        numbers = np.full((len(rows), len(names)), math.nan)
        row_weights = np.ones(len(rows))
        noticed = time.monotonic()
        for row in _taken(sequences, max_rows):
            if time.monotonic() - noticed > NOTICE:
                noticed = time.monotonic()
                log.info("%s: %d of %d rows encoded", path, row, len(rows))
            try:
                sequences[row] = _trimmed(codec.normal(sequences[row]), trim)
                ids[row] = codec.ids(sequences[row])
                numbers[row] = [
                    _number(column[row], name) for name, column in zip(names, values, strict=True)
                ]
                row_weights[row] = 1.0 if weights is None else _weight(weights[row])
                inside = all(low <= _number(cells[row], name) <= high for cells, name, low, high in bounds)
            except (ValueError, DesignError) as error:
                problems.append((rows.lines[row], str(error)))
                continue
            if inside and (kinds is None or kinds[row] in target_columns):
                kept.append(row)
        if kinds is None:
            chosen, targets = kept, numbers[kept].reshape(len(kept), len(names))
        else:
            chosen, targets = _pivot(kept, sequences, numbers[:, 0], kinds, list(target_columns))
        return cls._of(
            rows,
            chosen,
            [sequences[row] for row in chosen],
            torch.from_numpy(ids[chosen].astype(np.int64)),
            targets,
            row_weights[chosen],
            codec,
            problems,
        )

    @classmethod
    def _of(
        cls,
        rows: Rows,
        chosen: list[int],
        sequences: list[str],
        x: Tensor,
        targets: NDArray[np.float64],
        weights: NDArray[np.float64],
        codec: TokenCodec,
        problems: list[tuple[int, str]],
    ) -> SequenceTable:
        columns = {name: [cells[row] for row in chosen] for name, cells in rows.columns.items()}
        mask = torch.ones_like(x, dtype=torch.bool) if codec.pad_id is None else x != codec.pad_id
        total = len(rows) + len(rows.problems)
        return cls(sequences, targets, weights, columns, sorted(problems), total, rows.unit, x, mask)

    def batch(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """A batch of some rows."""
        chosen = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        return {
            "x": self.x[chosen],
            "mask": self.mask[chosen],
            "targets": torch.from_numpy(self.targets[rows]).float(),
            "row": chosen,
            "weight": torch.from_numpy(self.weights[rows]).float(),
        }


def _taken(sequences: list[str], max_rows: int | None) -> Sequence[int]:
    """The rows to read, in order: all, or those whose sequences hash lowest."""
    if max_rows is None or max_rows >= len(sequences):
        return range(len(sequences))
    digests = [hashlib.sha256(sequence.encode()).digest() for sequence in sequences]
    return sorted(sorted(range(len(sequences)), key=lambda row: digests[row])[:max_rows])


def _trimmed(sequence: str, trim: Trim | None) -> str:
    if trim is None:
        return sequence
    prefix, suffix = trim
    if not (
        sequence.startswith(prefix) and sequence.endswith(suffix) and len(sequence) >= len(prefix + suffix)
    ):
        raise ValueError(f"does not start with {prefix!r} and end with {suffix!r}")
    return sequence[len(prefix) : len(sequence) - len(suffix)]


def _number(cell: str, name: str) -> float:
    if cell.lower() in _NOT_MEASURED:
        return math.nan
    try:
        value = float(cell)
    except ValueError:
        raise ValueError(f"{name} is {cell[:20]!r}, expected a number") from None
    if math.isinf(value):
        raise ValueError(f"{name} is infinite")
    return value


def _weight(cell: str) -> float:
    weight = _number(cell, "the weight")
    if not weight > 0:
        raise ValueError(f"the weight is {cell[:20]!r}, expected a number above 0")
    return weight


def _pivot(
    kept: list[int], sequences: list[str], values: NDArray[np.float64], kinds: list[str], names: list[str]
) -> tuple[list[int], NDArray[np.float64]]:
    """One row for each distinct sequence, with the mean of its measurements of each kind."""
    first: dict[str, int] = {}
    for row in kept:
        first.setdefault(sequences[row], row)
    place = {sequence: i for i, sequence in enumerate(first)}
    totals = np.zeros((len(first), len(names)))
    counts = np.zeros((len(first), len(names)))
    for row in kept:
        if not math.isnan(values[row]):
            at = place[sequences[row]], names.index(kinds[row])
            totals[at] += values[row]
            counts[at] += 1
    with np.errstate(invalid="ignore"):
        return list(first.values()), totals / counts

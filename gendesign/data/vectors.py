"""Vectors and sequences of vectors from tables, and toys in two dimensions, as batches of standardised numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gendesign.array_codecs import VectorCodec, VectorSequenceCodec
from gendesign.building import whole
from gendesign.data.images import ArrayDataModule
from gendesign.data.toys import TOYS
from gendesign.errors import ConfigError
from gendesign.files.arrays import Arrays, read_vectors


class VectorDataModule(ArrayDataModule):
    """Rows of a table of numbers: csv or tsv (also gzipped), parquet, npz, or `data:NAME` for a public table.

    Args:
        path: the file.
        codec: names the columns of a design.
        target_columns: columns of numbers beside the design; empty cells are not measured.
        sequence_column: for a `VectorSequenceCodec` and a table: rows of the same value are the steps of one sequence.
        group_column: as in `ArrayDataModule`, and so the rest.
    """

    def __init__(
        self,
        path: str,
        codec: VectorCodec,
        *,
        target_columns: Sequence[str] = (),
        sequence_column: str | None = None,
        group_column: str | None = None,
        split_column: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        seed: int = 0,
        bad_rows: str = "drop",
    ) -> None:
        super().__init__(
            path,
            codec,
            group_column=group_column,
            split_column=split_column,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            split_seed=split_seed,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
            bad_rows=bad_rows,
        )
        both = set(target_columns) & set(codec.columns)
        if both:
            raise ConfigError(f"{sorted(both)[0]!r} cannot be both a column of the design and a target")
        if isinstance(codec, VectorSequenceCodec) and sequence_column is None and not path.endswith(".npz"):
            raise ConfigError(
                "a table of sequences needs sequence_column, or keep [rows, H, n] in an npz file"
            )
        self.vector_codec = codec
        self.target_columns = tuple(target_columns)
        self.sequence_column = sequence_column

    def _read(self) -> Arrays:
        path = Path(self.path).expanduser()
        if self.path.startswith("data:"):
            from gendesign.data import tables

            path = Path(tables.locate(self.path.removeprefix("data:")))
        return read_vectors(
            path,
            self.vector_codec,
            target_columns=self.target_columns,
            sequence_column=self.sequence_column,
        )


class ToyDataModule(ArrayDataModule):
    """Points in two dimensions, drawn from a distribution of `gendesign.data.toys`.

    Args:
        name: of the distribution.
        num: how many points.
        val_fraction: fraction of the points for validation.
        test_fraction: fraction of the points for testing.
        batch_size: rows of a training batch, over all processes.
        eval_batch_size: rows of a validation or test batch, over all processes.
        seed: of the points and of the order of training rows.
    """

    def __init__(
        self,
        name: str = "two_moons",
        *,
        num: int = 10_000,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        batch_size: int = 512,
        eval_batch_size: int = 2048,
        seed: int = 0,
    ) -> None:
        if name not in TOYS:
            raise ConfigError(f"no toy {name!r}; there are {', '.join(TOYS)}")
        super().__init__(
            f"toy:{name}",
            VectorCodec(("x", "y")),
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
        )
        self.toy = TOYS[name]
        self.num = whole("num", num, at_least=10)

    def _read(self) -> Arrays:
        points = self.toy(self.num, np.random.default_rng(self.seed))
        return Arrays(points, np.zeros((self.num, 0)), {})

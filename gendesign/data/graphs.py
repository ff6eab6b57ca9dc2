"""Molecules from a table of SMILES as batches of graphs, split without leaks.

Molecules that differ in stereochemistry alone are one graph and stay on one side of a split, which is decided by a hash
of the canonical SMILES without stereochemistry. Reading a large table takes RDKit minutes: what was read can be kept in
a cache file, which is made anew whenever the table or the codec is another one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gendesign.data.batching import Batch
from gendesign.data.splitting import SIDES, hashed_split
from gendesign.data.streams import Index, StreamDataModule
from gendesign.errors import ConfigError, DataError, DesignError
from gendesign.files.designs import read_npz
from gendesign.files.sequences import name_rows, read_rows
from gendesign.molecules.graph_codec import MolecularGraphCodec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Graphs:
    """Usable rows of a table, in small integers.

    Attributes:
        smiles: canonical, without stereochemistry.
        types: UInt8 [rows, V].
        orders: UInt8 [rows, V (V - 1)/2].
        problems: bad rows, as (line, reason).
    """

    smiles: list[str]
    types: NDArray[np.uint8]
    orders: NDArray[np.uint8]
    problems: list[tuple[int, str]]

    @classmethod
    def read(cls, path: Path, codec: MolecularGraphCodec, *, column: str) -> Graphs:
        """Read and check a table.

        Raises:
            DataError: the file cannot be read, or lacks the column.
        """
        rows = read_rows(path)
        kept, problems = [], list(rows.problems)
        for line, text in zip(
            rows.lines, rows.column(column, meant_for="smiles_column", path=path), strict=True
        ):
            try:
                kept.append(codec.graph(text))
            except DesignError as error:
                problems.append((line, str(error)))
        types = np.array([graph.types for graph in kept], dtype=np.uint8).reshape(-1, codec.max_atoms)
        orders = np.array([graph.orders for graph in kept], dtype=np.uint8).reshape(-1, codec.num_pairs)
        return cls([graph.smiles for graph in kept], types, orders, sorted(problems))

    def save(self, path: Path, key: str) -> None:
        """Write a cache file; never half-written."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.npz")
        text = json.dumps({"key": key, "smiles": self.smiles, "problems": self.problems})
        content = np.frombuffer(text.encode(), dtype=np.uint8)
        np.savez_compressed(part, text=content, types=self.types, orders=self.orders)
        os.replace(part, path)

    @classmethod
    def load(cls, path: Path, key: str) -> Graphs | None:
        """Read a cache file; None where there is none, or it is damaged or of another table or codec."""
        try:
            found = read_npz(path)
            text = json.loads(found["text"].tobytes().decode())
            problems = [(int(line), str(reason)) for line, reason in text["problems"]]
            graphs = cls(text["smiles"], found["types"], found["orders"], problems)
        except (DataError, KeyError, TypeError, ValueError):
            return None
        return graphs if text["key"] == key else None


class MolecularGraphDataModule(StreamDataModule):
    """Molecules of a table.

    A batch is a dictionary: `x` Float[B N], `mask` Bool[B N] (True: every coordinate is real), `targets` Float[B 0],
    `row` Int[B] (index into `smiles`), `weight` Float[B] and `position` (number of the batch in the run).

    Args:
        path: a file, or `data:NAME` for a table of `gendesign data`.
        codec: encodes the molecules; what it refuses is a bad row.
        smiles_column: column of the molecules.
        val_fraction: fraction of the distinct graphs for validation.
        test_fraction: fraction of the distinct graphs for testing.
        split_seed: of the split.
        batch_size: rows of a training batch, over all processes.
        eval_batch_size: rows of a validation or test batch, over all processes.
        eval_rows: at most so many validation rows, the first of the table; None: all.
        seed: of the order of training rows.
        bad_rows: `drop` counts and lists bad rows in the log; `error` refuses the file.
        cache: a file to keep the graphs in; None: they are read anew every time.

    Raises:
        ConfigError: arguments that contradict each other.
        DataError: the file cannot be used; raised when it is first read.
    """

    def __init__(
        self,
        path: str,
        codec: MolecularGraphCodec,
        *,
        smiles_column: str = "smiles",
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
        split_seed: int = 0,
        batch_size: int = 64,
        eval_batch_size: int = 256,
        eval_rows: int | None = None,
        seed: int = 0,
        bad_rows: str = "drop",
        cache: str | None = None,
    ) -> None:
        super().__init__(path, batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed)
        if min(val_fraction, test_fraction) < 0 or val_fraction + test_fraction >= 1:
            raise ConfigError(
                "val_fraction and test_fraction must be at least 0 and leave some training rows; "
                f"got {val_fraction}, {test_fraction}"
            )
        if bad_rows not in ("drop", "error"):
            raise ConfigError(f"bad_rows must be 'drop' or 'error'; got {bad_rows!r}")
        self.codec = codec
        self.smiles_column = smiles_column
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed
        self.eval_rows = eval_rows
        self.bad_rows = bad_rows
        self.cache = cache
        self._graphs: Graphs | None = None
        self._splits: dict[str, Index] = {}

    @property
    def graphs(self) -> Graphs:
        """The usable rows; the file is read once, at first use."""
        if self._graphs is None:
            self._graphs = self._read()
        return self._graphs

    @property
    def smiles(self) -> list[str]:
        """Canonical SMILES of the usable rows, without stereochemistry, in the order of the file."""
        return self.graphs.smiles

    def indices(self, split: str) -> Index:
        """Rows of a split, as indices into `smiles`.

        Args:
            split: train, val or test.
        """
        if not self._splits:
            side = hashed_split(
                self.smiles,
                val_fraction=self.val_fraction,
                test_fraction=self.test_fraction,
                seed=self.split_seed,
            )
            self._splits = {name: np.flatnonzero(side == number) for name, number in SIDES.items()}
            self._splits["val"] = self._splits["val"][: self.eval_rows]
            if len(self._splits["train"]) == 0:
                raise DataError(f"{self.path}: no training rows are left after the split")
        return self._splits[split]

    def collate(self, rows: Index) -> Batch:
        """Rows, as indices into `smiles`, to a batch."""
        x = self.codec.numbers(self.graphs.types[rows], self.graphs.orders[rows])
        return {
            "x": x,
            "mask": torch.ones_like(x, dtype=torch.bool),
            "targets": torch.zeros(len(rows), 0),
            "row": torch.from_numpy(rows),
            "weight": torch.ones(len(rows)),
        }

    def _read(self) -> Graphs:
        path = Path(self.path).expanduser()
        if self.path.startswith("data:"):
            from gendesign.data import tables

            path = Path(tables.locate(self.path.removeprefix("data:")))
        key, kept = "", None if self.cache is None else Path(self.cache).expanduser()
        graphs: Graphs | None = None
        if kept is not None and path.is_file():
            what = f"{self.smiles_column}\n{self.codec.unfitted()}\n".encode()
            key = hashlib.sha256(what + path.read_bytes()).hexdigest()
            graphs = Graphs.load(kept, key)
        if graphs is None:
            graphs = Graphs.read(path, self.codec, column=self.smiles_column)
            if kept is not None:
                graphs.save(kept, key)
        listing = name_rows(graphs.problems, "line")
        total = len(graphs.smiles) + len(graphs.problems)
        if graphs.problems and self.bad_rows == "error":
            raise DataError(
                f"{path}: {len(graphs.problems)} bad rows ({listing}); mend them or set bad_rows: drop"
            )
        if not graphs.smiles:
            raise DataError(f"{path}: no usable molecule among {total} rows: {listing}")
        if graphs.problems:
            log.warning("%s: dropped %d bad rows of %d (%s)", path, len(graphs.problems), total, listing)
        return graphs

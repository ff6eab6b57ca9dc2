"""Measured effects of substitutions on the stability of proteins with known backbones, split by protein."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from gendesign.data.batching import Batch
from gendesign.data.streams import Index, StreamDataModule
from gendesign.data.structures import StructureDataModule, batch_structures
from gendesign.data.tables import locate
from gendesign.errors import DataError
from gendesign.structures import LETTERS


class StabilityDataModule(StreamDataModule):
    """Proteins with all their measured substitutions.

    A batch has `cond` Float[B L 14], `x` Int[B L], the wild types, `mask` Bool[B L], and `targets` Float[B L 20]: ddG
    in kcal/mol of exchanging each residue for each amino acid, positive where destabilising, NaN where not measured.

    Args:
        path: CSV with columns protein_id, mutation (W1A: counted from 1) and ddg_kcal_mol, or `data:NAME`.
        structures: files of the proteins; see `gendesign.data.structures.StructureDataModule`.
        val: names of the proteins that validate.
        test: names of the proteins that test.
        leave_out: names of proteins not to be used.
        batch_size: proteins of a training batch, over all processes.
        eval_batch_size: proteins of a validation or test batch, over all processes.
        seed: of the order.

    Raises:
        ConfigError: a protein on two sides.
        DataError: a file cannot be used; raised when the files are first read.
    """

    def __init__(
        self,
        path: str,
        *,
        structures: Sequence[str],
        val: Sequence[str] = (),
        test: Sequence[str] = (),
        leave_out: Sequence[str] = (),
        batch_size: int = 16,
        eval_batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(path, batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed)
        self.proteins = StructureDataModule(structures, val=val, test=test, leave_out=leave_out)
        self._tables: dict[int, Float[np.ndarray, "L 20"]] | None = None

    def indices(self, split: str) -> Index:
        """Rows of a split: proteins with measurements, by their place in the files.

        Args:
            split: train, val or test.
        """
        return np.array([row for row in self.proteins.indices(split) if row in self.tables], dtype=np.int64)

    @property
    def tables(self) -> dict[int, Float[np.ndarray, "L 20"]]:
        """The ddG of each protein with measurements, by its row; the file is read once, at first use."""
        if self._tables is None:
            self._tables = self._read()
        return self._tables

    def collate(self, rows: Index) -> Batch:
        """Proteins to a batch, padded to the longest of them."""
        batch = batch_structures([self.proteins.structures[row] for row in rows])
        targets = torch.full((*batch["x"].shape, len(LETTERS)), torch.nan)
        for number, row in enumerate(rows):
            table = torch.from_numpy(self.tables[int(row)]).float()
            targets[number, : len(table)] = table
        return batch | {"targets": targets, "row": torch.as_tensor(rows), "weight": torch.ones(len(rows))}

    def _read(self) -> dict[int, Float[np.ndarray, "L 20"]]:
        import pandas as pd

        name = self.path
        file = locate(name.removeprefix("data:")) if name.startswith("data:") else Path(name).expanduser()
        try:
            frame = pd.read_csv(file, usecols=["protein_id", "mutation", "ddg_kcal_mol"])
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read substitutions from {file}: {error}") from error
        ddg = frame["ddg_kcal_mol"].to_numpy(dtype=np.float64)
        if not np.isfinite(ddg).all():
            raise DataError(f"{file}: a ddG is missing")
        known = {one.name: row for row, one in enumerate(self.proteins.structures)}
        tables: dict[int, Float[np.ndarray, "L 20"]] = {}
        for protein, mutation, value in zip(frame["protein_id"], frame["mutation"], ddg, strict=True):
            row, place, letter = self._parse(file, known, str(protein), str(mutation))
            length = len(self.proteins.structures[row])
            tables.setdefault(row, np.full((length, len(LETTERS)), np.nan))[place, letter] = value
        return tables

    def _parse(self, file: Path, known: dict[str, int], protein: str, mutation: str) -> tuple[int, int, int]:
        """Row of the protein, place from 0, number of the new letter."""
        parts = re.fullmatch(rf"([A-Z])(\d+)([{LETTERS}])", mutation)
        if protein not in known or parts is None:
            raise DataError(
                f"{file}: expected substitutions such as W1A of known proteins, got {protein} {mutation}"
            )
        sequence, place = self.proteins.structures[known[protein]].sequence, int(parts[2])
        if not 0 < place <= len(sequence) or sequence[place - 1] != parts[1]:
            raise DataError(f"{file}: {mutation} does not fit the sequence of {protein}")
        return known[protein], place - 1, LETTERS.index(parts[3])

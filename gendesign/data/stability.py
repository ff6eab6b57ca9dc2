"""Measured effects of substitutions on the stability of proteins with known backbones, split by protein."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gendesign.building import whole
from gendesign.codecs import ProteinCodec
from gendesign.data.batching import Batch
from gendesign.data.streams import Index, StreamDataModule
from gendesign.data.structures import StructureDataModule, batch_structures
from gendesign.data.tables import locate
from gendesign.errors import DataError


class StabilityDataModule(StreamDataModule):
    """Substitutions of one protein a batch.

    A batch has `cond` Float[1 L 14], `x` Int[n+1 L] with the wild type first, and `targets` Float[n 1], ddG in
    kcal/mol, positive where destabilising.

    Args:
        path: CSV with columns protein_id, mutation (W1A: counted from 1) and ddg_kcal_mol, or `data:NAME`.
        structures: files of the proteins; see `gendesign.data.structures.StructureDataModule`.
        val: names of the proteins that validate.
        test: names of the proteins that test.
        leave_out: names of proteins not to be used.
        substitutions: n, of a batch.
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
        substitutions: int = 48,
        seed: int = 0,
    ) -> None:
        super().__init__(path, batch_size=1, eval_batch_size=1, seed=seed)
        self.proteins = StructureDataModule(structures, val=val, test=test, leave_out=leave_out)
        self.substitutions = whole("substitutions", substitutions)
        self._chunks: list[tuple[int, NDArray[np.int64]]] | None = None
        self._mutations: list[tuple[int, str]] = []
        self._ddg: NDArray[np.float64] = np.empty(0)

    def indices(self, split: str) -> Index:
        """Batches of a split, by number.

        Args:
            split: train, val or test.
        """
        rows = set(self.proteins.indices(split).tolist())
        return np.array([i for i, (row, _) in enumerate(self.chunks) if row in rows], dtype=np.int64)

    @property
    def chunks(self) -> list[tuple[int, NDArray[np.int64]]]:
        """Protein and rows of the table, of each batch; the file is read once, at first use."""
        if self._chunks is None:
            self._chunks = self._read()
        return self._chunks

    def collate(self, rows: Index) -> Batch:
        """One batch: a protein and some of its substitutions."""
        row, chosen = self.chunks[int(rows[0])]
        protein = self.proteins.structures[row]
        sequences = [protein.sequence]
        for i in chosen:
            place, letter = self._mutations[i]
            sequences.append(protein.sequence[: place - 1] + letter + protein.sequence[place:])
        targets = torch.tensor(self._ddg[chosen], dtype=torch.float32)[:, None]
        x = ProteinCodec(len(protein)).encode(sequences)
        cond = batch_structures([protein])["cond"]
        return {"x": x, "cond": cond, "targets": targets, "weight": torch.ones(1)}

    def _read(self) -> list[tuple[int, NDArray[np.int64]]]:
        import pandas as pd

        name = self.path
        file = locate(name.removeprefix("data:")) if name.startswith("data:") else Path(name).expanduser()
        try:
            frame = pd.read_csv(file, usecols=["protein_id", "mutation", "ddg_kcal_mol"])
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read substitutions from {file}: {error}") from error
        known = {one.name: row for row, one in enumerate(self.proteins.structures)}
        for protein, mutation in zip(frame["protein_id"], frame["mutation"], strict=True):
            self._mutations.append(self._parse(file, known, str(protein), str(mutation)))
        self._ddg = frame["ddg_kcal_mol"].to_numpy(dtype=np.float64)
        if not np.isfinite(self._ddg).all():
            raise DataError(f"{file}: a ddG is missing")
        order = np.random.default_rng(self.seed)
        chunks = []
        for protein, rows in frame.groupby("protein_id", sort=True).indices.items():
            mixed = order.permutation(np.asarray(rows, dtype=np.int64))
            parts = np.array_split(mixed, -(-len(mixed) // self.substitutions))
            chunks += [(known[str(protein)], part) for part in parts]
        return chunks

    def _parse(self, file: Path, known: dict[str, int], protein: str, mutation: str) -> tuple[int, str]:
        parts = re.fullmatch(r"([A-Z])(\d+)([ACDEFGHIKLMNPQRSTVWY])", mutation)
        if protein not in known or parts is None:
            raise DataError(
                f"{file}: expected substitutions such as W1A of known proteins, got {protein} {mutation}"
            )
        sequence, place = self.proteins.structures[known[protein]].sequence, int(parts[2])
        if not 0 < place <= len(sequence) or sequence[place - 1] != parts[1]:
            raise DataError(f"{file}: {mutation} does not fit the sequence of {protein}")
        return place, parts[3]

"""Measured molecules and decoys, split so that analogues do not leak.

Measurements of one molecule, in whatever spelling, become their median. Molecules of one Bemis-Murcko scaffold
(the rings and what links them) stay together, since medicinal chemists vary what hangs on a scaffold: a random
split would measure how well a series is interpolated. Decoys are molecules of another table of which nothing is
known: that they are inactive is an assumption, made because few molecules bind a given protein; they are marked
`presumed`, and split by molecule.

Bemis and Murcko, "The properties of known drugs. 1. Molecular frameworks" (1996, doi 10.1021/jm9602928).
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendesign.building import finite, whole
from gendesign.data import tables
from gendesign.data.batching import Batch
from gendesign.data.splitting import SIDES, hashed_split, keep_fold
from gendesign.data.streams import Index, StreamDataModule
from gendesign.errors import ConfigError, DataError, DesignError
from gendesign.files.sequences import Rows, name_rows, read_rows
from gendesign.molecules import chemistry
from gendesign.molecules.fingerprints import CountFingerprint

log = logging.getLogger(__name__)


class MoleculeDataModule(StreamDataModule):
    """Fingerprints of molecules with one measured target, and of decoys with a presumed one.

    A batch is a dictionary: `x` Int[B D] (counts), `targets` Float[B 1], `presumed` Bool[B], `row` Int[B] (index into
    `molecules`), `weight` Float[B] (ones) and `position` (number of the batch in the run).

    Args:
        path: a file, or `data:NAME` for a table of `gendesign data`.
        fingerprint: reads the molecules.
        target_column: column of the measurements.
        smiles_column: column of the molecules, in both files.
        decoys: another file or `data:NAME`, whose molecules are presumed to have `decoy_value`; None: no decoys.
        num_decoys: how many to take, over all splits and folds; those whose hash is lowest.
        decoy_value: what is presumed of them, in the target's unit.
        val_fraction: fraction of the scaffolds (and of the decoys) for validation.
        test_fraction: fraction of them for testing.
        split_seed: of the split.
        folds: divide training and validation scaffolds into this many disjoint parts; test scaffolds are shared.
        fold: the part to use, from 0.
        batch_size: rows of a training batch.
        eval_batch_size: rows of a validation or test batch.
        seed: of the order of training rows.

    Raises:
        ConfigError: arguments that contradict each other.
        DataError: a file cannot be used; raised when it is first read.
    """

    def __init__(
        self,
        path: str,
        fingerprint: CountFingerprint,
        *,
        target_column: str,
        smiles_column: str = "smiles",
        decoys: str | None = None,
        num_decoys: int = 0,
        decoy_value: float = 0.0,
        val_fraction: float = 0.0,
        test_fraction: float = 0.15,
        split_seed: int = 0,
        folds: int = 1,
        fold: int | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 512,
        seed: int = 0,
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
        if (decoys is None) != (whole("num_decoys", num_decoys, at_least=0) == 0):
            raise ConfigError(f"give decoys and num_decoys together; got {decoys!r} and {num_decoys}")
        self.fingerprint = fingerprint
        self.target_column, self.smiles_column = target_column, smiles_column
        self.decoys, self.num_decoys = decoys, num_decoys
        self.decoy_value = finite("decoy_value", decoy_value)
        self.val_fraction, self.test_fraction, self.split_seed = val_fraction, test_fraction, split_seed
        self.folds, self.fold = folds, fold
        self._molecules: list[str] = []
        self._targets: list[float] = []
        self._num_measured = 0
        self._counts: Tensor | None = None
        self._splits: dict[str, Index] = {}

    # What the files hold -----------------------------------------------------------------------------------------

    @property
    def molecules(self) -> list[str]:
        """Canonical SMILES, each once: the measured molecules in alphabetical order, then the decoys."""
        if not self._molecules:
            self._read()
        return self._molecules

    @property
    def targets(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Targets [rows, 1]: medians of the measurements, and what is presumed of decoys."""
        return np.array(self._targets if self.molecules else [], dtype=np.float64)[:, None]

    @property
    def presumed(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Bool [rows]: which rows are decoys."""
        return np.arange(len(self.molecules)) >= self._num_measured

    @property
    def scaffolds(self) -> list[str]:
        """SMILES of the scaffold of each measured molecule; empty without any ring."""
        return [scaffold(smiles) for smiles in self.molecules[: self._num_measured]]

    def indices(self, split: str) -> Index:
        """Rows of a split, as indices into `molecules`.

        Args:
            split: train, val or test.
        """
        if not self._splits:
            measured = self._sides(self.scaffolds)
            decoys = self._sides(self.molecules[self._num_measured :])
            side = np.concatenate([measured, decoys]).astype(np.int64)
            self._splits = {name: np.flatnonzero(side == number) for name, number in SIDES.items()}
            if not (measured == SIDES["train"]).any():
                raise DataError(f"{self.path}: no measured training rows are left after the split")
        return self._splits[split]

    def collate(self, rows: Index) -> Batch:
        """Rows, as indices into `molecules`, to a batch."""
        if self._counts is None:
            self._counts = self.fingerprint(self.molecules)
        chosen = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        return {
            "x": self._counts[chosen],
            "targets": torch.from_numpy(self.targets[rows]).float(),
            "presumed": torch.from_numpy(self.presumed[rows]),
            "row": chosen,
            "weight": torch.ones(len(chosen)),
        }

    def describe(self) -> dict[str, Any]:
        """What to write down with weights: the tables, the rule of the split, and how many rows it gave."""
        names = (
            "path", "smiles_column", "target_column", "decoys", "num_decoys", "decoy_value", "val_fraction",
            "test_fraction", "split_seed", "folds", "fold",
        )  # fmt: skip
        train = self.presumed[self.indices("train")]
        counts = {"num_train": int((~train).sum()), "num_train_decoys": int(train.sum())}
        return {name: getattr(self, name) for name in names} | counts

    def _read(self) -> None:
        path = _file(self.path)
        rows = read_rows(path)
        values = rows.column(self.target_column, meant_for="target_column", path=path)
        measured: dict[str, list[float]] = {}
        problems = list(rows.problems)
        for smiles, value, line in zip(self._column(rows, path), values, rows.lines, strict=True):
            try:
                measured.setdefault(chemistry.canonical(smiles), []).append(
                    _number(value, self.target_column)
                )
            except (DesignError, ValueError) as error:
                problems.append((line, str(error)))
        measured = {smiles: found for smiles, found in sorted(measured.items()) if found}
        if problems:
            log.warning("%s: dropped %d bad rows (%s)", path, len(problems), name_rows(problems, rows.unit))
        if not measured:
            raise DataError(f"{path}: no usable molecule among {len(rows)} rows")
        self._targets = [median(found) for found in measured.values()]
        self._num_measured = len(measured)
        chosen = self._chosen_decoys(set(measured)) if self.decoys else []
        self._targets += [self.decoy_value] * len(chosen)
        self._molecules = [*measured, *chosen]

    def _chosen_decoys(self, measured: set[str]) -> list[str]:
        """The molecules whose hash is lowest, none of them measured; the order of the file does not matter."""
        path = _file(self.decoys or "")
        ranked = sorted(self._column(read_rows(path), path), key=_hash)
        chosen: dict[str, None] = {}
        for smiles in ranked:
            if len(chosen) == self.num_decoys:
                break
            try:
                chosen[chemistry.canonical(smiles)] = None
            except DesignError:
                continue
            for known in measured & chosen.keys():
                del chosen[known]
        if len(chosen) < self.num_decoys:
            raise DataError(f"{path}: expected {self.num_decoys} decoys, found {len(chosen)}")
        return list(chosen)

    def _column(self, rows: Rows, path: Path) -> list[str]:
        return rows.column(self.smiles_column, meant_for="smiles_column", path=path)

    def _sides(self, groups: list[str]) -> Index:
        if not groups:
            return np.zeros(0, dtype=np.int64)
        side = hashed_split(
            groups, val_fraction=self.val_fraction, test_fraction=self.test_fraction, seed=self.split_seed
        )
        if self.fold is None:
            return side
        return keep_fold(side, groups, folds=self.folds, fold=self.fold, seed=self.split_seed)


def scaffold(smiles: str) -> str:
    """The Bemis-Murcko scaffold of a molecule; empty without any ring.

    Raises:
        DesignError: it is no molecule.
    """
    mol = chemistry.molecule(smiles)
    with chemistry.rdkit():
        from rdkit.Chem.Scaffolds import MurckoScaffold

        return str(MurckoScaffold.MurckoScaffoldSmiles(mol=mol))


def _file(path: str) -> Path:
    if path.startswith("data:"):
        return tables.locate(path.removeprefix("data:"))
    return Path(path).expanduser()


def _number(cell: str, name: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise ValueError(f"{name} is {cell[:20]!r}, expected a number")
    return value


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

"""Backbones and the sequences that fold onto them, for inverse folding: p(sequence | backbone).

Which proteins train, validate and test is said by name, since neither a sequence nor a hash tells a fold: homologues
and families of designs must stand on one side (benchmarks/protein_folds.py clusters them). A protein is rotated by
nothing and cut nowhere: the network reads distances only.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from gendesign.codecs import ProteinCodec
from gendesign.data.batching import Batch
from gendesign.data.streams import Index, StreamDataModule
from gendesign.data.tables import locate_all
from gendesign.errors import ConfigError, DataError
from gendesign.files.structures import read_chains
from gendesign.structures import ATOMS, Structure

NUMBERS = 14  # of a residue's condition
SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".jsonl")  # of the files that are read of a folder


class StructureDataModule(StreamDataModule):
    """Pairs of structure and sequence.

    A batch is that of `gendesign.data.sequences.SequenceDataModule` without targets, with `cond` Float[B L 14]
    (`Structure.condition`, NaN at padding); `mask` is False at padding and at unknown amino acids.

    Args:
        paths: files: PDB, mmCIF (every protein chain, by the name FILE, or FILE:CHAIN where there are several), or JSON
            lines of {name, seq, coords: {N, CA, C, O}}, plain or gzipped; folders of such files; `data:NAME` for a
            table of `gendesign data`.
        val: names of the proteins that validate.
        test: names of the proteins that test.
        leave_out: names of proteins not to be used.
        batch_size: proteins of a training batch, over all processes.
        eval_batch_size: proteins of a validation or test batch, over all processes.
        seed: of the order of training proteins.

    Raises:
        ConfigError: a protein on two sides.
        DataError: a file cannot be used, or a name is in none; raised when the files are first read.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        val: Sequence[str] = (),
        test: Sequence[str] = (),
        leave_out: Sequence[str] = (),
        batch_size: int = 16,
        eval_batch_size: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__(", ".join(paths), batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed)
        if twice := (set(val) & set(test)) | (set(leave_out) & (set(val) | set(test))):
            raise ConfigError(f"a protein stands on one side only; {', '.join(sorted(twice))} on two")
        self.paths, self.val, self.test, self.leave_out = tuple(paths), set(val), set(test), set(leave_out)
        self._structures: list[Structure] | None = None

    @property
    def structures(self) -> list[Structure]:
        """The proteins, in the order of the files; `row` of a batch indexes this list."""
        if self._structures is None:
            found = [one for path in self.paths for one in read_structures(path)]
            names = {one.name for one in found}
            if missing := (self.val | self.test | self.leave_out) - names:
                raise DataError(f"{self.path}: no protein {', '.join(sorted(missing))}")
            if len(names) < len(found):
                raise DataError(f"{self.path}: {len(found)} proteins have {len(names)} names; rename some")
            self._structures = found
        return self._structures

    def indices(self, split: str) -> Index:
        """Rows of a split.

        Args:
            split: train, val or test.
        """
        sides = {"val": self.val, "test": self.test}
        rows = [
            row
            for row, one in enumerate(self.structures)
            if (one.name in sides[split] if split in sides else self._trains(one.name))
        ]
        if split == "train" and not rows:
            raise DataError(f"{self.path}: no protein is left to train on")
        return np.array(rows, dtype=np.int64)

    def collate(self, rows: Index) -> Batch:
        """Proteins to a batch, padded to the longest of them."""
        chosen = [self.structures[row] for row in rows]
        batch = batch_structures(chosen)
        return batch | {
            "targets": torch.zeros(len(rows), 0),
            "row": torch.as_tensor(rows),
            "weight": torch.ones(len(rows)),
        }

    def _trains(self, name: str) -> bool:
        return name not in self.val | self.test | self.leave_out


def batch_structures(structures: Sequence[Structure]) -> Batch:
    """`x`, `cond` and `mask` of some structures, padded to the longest."""
    longest = max(len(one) for one in structures)
    codec = ProteinCodec(longest)
    x = codec.encode([one.sequence.replace("X", "A").ljust(longest, "A") for one in structures])
    cond = torch.full((len(structures), longest, NUMBERS), torch.nan)
    mask = torch.zeros(len(structures), longest, dtype=torch.bool)
    for row, one in enumerate(structures):
        cond[row, : len(one)] = torch.from_numpy(one.condition()).float()
        mask[row, : len(one)] = torch.tensor([letter != "X" for letter in one.sequence])
    return {"x": x, "cond": cond, "mask": mask}


def read_structures(path: str) -> list[Structure]:
    """The structures of a file, a folder, or a table of `gendesign data`.

    Args:
        path: PDB, mmCIF or JSON lines, plain or gzipped; a folder of them, read in the order of their names;
            `data:NAME` for a table.

    Raises:
        DataError: a file cannot be read, or a folder has none.
        ConfigError: there is no such table.
    """
    if path.startswith("data:"):
        return [one for file in locate_all(path.removeprefix("data:")) for one in _read(file)]
    file = Path(path).expanduser()
    if not file.is_dir():
        return _read(file)
    inside = sorted(one for one in file.iterdir() if one.name.removesuffix(".gz").endswith(SUFFIXES))
    if not inside:
        raise DataError(
            f"{file}: no file of structures in this folder; expected {', '.join(SUFFIXES)}, or .gz of these"
        )
    return [one for part in inside for one in _read(part)]


def _read(file: Path) -> list[Structure]:
    if not file.name.endswith((".jsonl", ".jsonl.gz")):
        return read_chains(file)
    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
        return [_from_json(json.loads(line)) for line in text.splitlines() if line.strip()]
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError) as error:
        raise DataError(f"cannot read the structures {file}: {' '.join(str(error).split())[:200]}") from error


def _from_json(row: dict[str, object]) -> Structure:
    coords: dict[str, list[list[float] | None]] = row["coords"]  # type: ignore[assignment]
    sequence = str(row["seq"])
    atoms = np.stack([_places(coords[name]) for name in ATOMS], axis=1)
    cb = _places(coords["CB"]) if "CB" in coords else np.full((len(sequence), 3), np.nan)
    numbers = tuple(str(i + 1) for i in range(len(sequence)))
    return Structure(str(row["name"]), "A", sequence, atoms, cb, numbers)


def _places(rows: Sequence[Sequence[float] | None]) -> Float[np.ndarray, "L 3"]:
    return np.array([[np.nan] * 3 if row is None else row for row in rows], dtype=np.float64)

"""What a run keeps on disk while it goes on: each finished block of designs, so that a stopped run continues.

Files are written whole or not at all: into a temporary file beside them, which then takes their name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gendesign.designs import Design
from gendesign.errors import DataError, OutputError
from gendesign.files.designs import encode_npz, read_npz
from gendesign.forms import Files, stack
from gendesign.steering.particles import Cost

RESULTS = (
    "designs.fasta", "designs.sdf", "designs.smi", "designs.npz", "images", "steps.csv", "designs.csv", "config.yaml",
    "summary.json",
)  # fmt: skip
"""What `DesignSet.save` may write."""

MANIFEST = "run.json"
"""What a run is; the first file that it writes, among its blocks."""


@dataclass(frozen=True)
class Stored:
    """The part of a run that is kept on disk as soon as it is finished: one block of designs."""

    designs: list[Design]
    kl: list[float]
    cost: Cost = field(default_factory=Cost)
    values: list[float | None] = field(default_factory=list)
    """What the guiding reward gave, so that a resumed run can tell whether it is still the same; None: no value."""

    def save(self, path: Path) -> None:
        """Write the block, whole or not at all: arrays go into an .npz first, and the JSON file makes it count."""
        text = [design for design in self.designs if isinstance(design, str)]
        if len(text) < len(self.designs):
            write_file(path.with_suffix(".npz"), encode_npz(designs=stack(self.designs)))
        said = {"designs": text, "kl": self.kl, "cost": asdict(self.cost), "values": self.values}
        write_text(path, json.dumps(said))

    @classmethod
    def load(cls, path: Path) -> Stored:
        """Read a block.

        Raises:
            OutputError: the file is not what `save` wrote.
        """
        try:
            data = json.loads(path.read_text())
            designs = data["designs"] or list(read_npz(path.with_suffix(".npz"))["designs"])
            if not len(designs) == len(data["kl"]) == len(data["values"]):
                raise ValueError("parts of different lengths")
            return cls(designs, data["kl"], Cost(**data["cost"]), data["values"])
        except (ValueError, KeyError, TypeError, DataError) as error:
            raise OutputError(
                f"{path} is damaged; delete it and resume again, the block is then redone"
            ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    write_file(path, text.encode())


def write_file(path: Path, content: bytes | Files) -> None:
    """Write a file, or a folder of files, whole or not at all; what was there before is replaced.

    Raises:
        OutputError: the folder cannot be made or written, or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        _write(temporary / path.name, content)
        if path.is_dir():  # a folder cannot take the name of one that is not empty
            os.replace(path, temporary / "before")
        os.replace(temporary / path.name, path)
    except OSError as error:
        hint = "free space or choose another folder" if error.errno in _FULL else "choose another folder"
        raise OutputError(f"cannot write {path}: {error.strerror or error}; {hint}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


_FULL = (errno.ENOSPC, errno.EDQUOT)


def _write(path: Path, content: bytes | Files) -> None:
    if isinstance(content, Mapping):
        path.mkdir()
        for name, inside in content.items():
            _write(path / name, inside)
        return
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


_RESUME = "add --resume if it holds this very run"


def _not_empty(folder: Path, hint: str) -> OutputError:
    return OutputError(
        f"{folder} exists and is not empty: {hint}, or choose another folder (nothing was overwritten)"
    )


def _is_used(folder: Path) -> bool:
    """Whether something is in the folder; not so if a run made it that could not write even its first file.

    Raises:
        OutputError: it is a file, or cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"expected a folder at {folder}, got a file; choose another name")
    blocks = folder / "blocks"
    try:
        inside = list(folder.iterdir()) if folder.exists() else []
        if blocks.is_dir():
            inside = [path for path in inside if path != blocks] + list(blocks.iterdir())
        return any(not path.name.startswith(f".{MANIFEST}.") for path in inside)
    except OSError as error:
        raise OutputError(f"cannot read {folder}: {error.strerror or error}") from error


def check_folder(folder: Path) -> None:
    """Whether a new run could keep its designs there; nothing is left behind.

    Raises:
        OutputError: it could not.
    """
    if _is_used(folder):
        raise _not_empty(folder, _RESUME)
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    try:
        os.rmdir(tempfile.mkdtemp(dir=there, prefix=".gendesign."))
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"cannot write {folder}: {there}: {reason}; choose another folder") from error


@dataclass(frozen=True)
class Store:
    """Finished blocks on disk; without a folder, nothing is kept.

    Attributes:
        folder: of the run.
        key: digest of everything that determines the designs.
        manifest: what the folder says of the run.
    """

    folder: Path | None
    key: str = ""
    manifest: str = ""

    @classmethod
    def open(cls, out: str | Path | None, settings: dict[str, Any], *, weights: str, resume: bool) -> Store:
        """Begin in an empty or new folder, or continue the run that it holds.

        Args:
            out: the folder; None keeps nothing.
            settings: everything that determines the designs, plain data.
            weights: digest of the backbone's weights.
            resume: continue.

        Raises:
            OutputError: the folder holds something else, cannot be read or written, or its run had other settings.
        """
        if out is None:
            if resume:
                raise OutputError("resume needs the folder of the run to continue; give out=FOLDER")
            return cls(None)
        folder = Path(out)
        key = hashlib.sha256(
            json.dumps([settings, weights], sort_keys=True, default=str).encode()
        ).hexdigest()
        manifest = folder / "blocks" / MANIFEST
        used = _is_used(folder)
        if resume and manifest.exists():
            if _key_of(manifest) != key:
                raise OutputError(
                    f"{folder} holds a run with other settings or weights; resume with the same, or use another folder"
                )
        elif used:
            raise _not_empty(folder, "it holds no run to resume" if resume else _RESUME)
        # written with the first block, so that a run that fails before it leaves nothing behind
        text = json.dumps({"key": key, "settings": settings}, indent=2, default=str)
        return cls(folder, key, text)

    def _path(self, stage: str, number: int) -> Path | None:
        return (
            None if self.folder is None else self.folder / "blocks" / f"{stage.split()[0]}-{number:05d}.json"
        )

    def load(self, stage: str, number: int) -> Stored | None:
        """The block, if it was finished."""
        path = self._path(stage, number)
        return Stored.load(path) if path is not None and self._begun() and path.exists() else None

    def save(self, stage: str, number: int, block: Stored) -> None:
        """Keep a finished block."""
        path = self._path(stage, number)
        if path is None:
            return
        if not self._begun():
            write_text(path.parent / MANIFEST, self.manifest)
        block.save(path)

    def _begun(self) -> bool:
        """Whether this run has written anything.

        Raises:
            OutputError: meanwhile another run has, which was started for the same folder.
        """
        assert self.folder is not None
        manifest = self.folder / "blocks" / MANIFEST
        if manifest.exists() and _key_of(manifest) != self.key:
            raise OutputError(
                f"another run began in {self.folder} meanwhile; choose another folder for this one"
            )
        return manifest.exists()


def _key_of(manifest: Path) -> str:
    try:
        return str(json.loads(manifest.read_text())["key"])
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{manifest} is damaged; choose another folder, nothing was overwritten") from error

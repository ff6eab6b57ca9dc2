"""Designs as files, and back: arrays as .npz to the last bit, images as PNG for the eye, text as tables.

A PNG holds 8 bits a value: v is written as round(255 v), so what is read again differs by at most 1/510.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.designs import Array, Design
from gendesign.errors import DataError
from gendesign.files.molecules import SDF_ENDINGS, SMILES_ENDINGS, normal
from gendesign.files.sequences import FASTA_ENDINGS, TEXT_TABLES, read_rows

PICTURES = (".png", ".jpg", ".jpeg")


def encode_npz(**arrays: NDArray) -> bytes:
    """Arrays as the content of an .npz file; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def read_npz(path: Path) -> dict[str, NDArray]:
    """The arrays of an .npz file; pickled objects are never read.

    Raises:
        DataError: the file is missing, damaged, or holds something else than arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (
        OSError,
        ValueError,
        TypeError,
        EOFError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = "pickled objects are never read" if "pickle" in str(error) else error
        raise DataError(f"{path}: is not an .npz file of plain arrays ({reason})") from error


def encode_picture(image: Array, kind: str = "PNG") -> bytes:
    """An image [H, W] or [H, W, 3] with values in [0, 1] as the content of a PNG or JPEG file; NaN is black."""
    from PIL import Image

    buffer = io.BytesIO()
    pixels = np.rint(255 * np.clip(np.nan_to_num(image), 0, 1)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, format=kind, optimize=True, quality=90)
    return buffer.getvalue()


def picture_values(image: Any, *, colour: bool) -> Array:
    """Pixels of a Pillow image in [0, 1], shape [H, W], or [H, W, 3] if `colour`."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        grey = np.clip(np.asarray(image, dtype=np.float64) / 65535, 0, 1)
        return np.repeat(grey[..., None], 3, axis=-1) if colour else grey
    return np.asarray(image.convert("RGB" if colour else "L"), dtype=np.float64) / 255


def read_picture(path: Path) -> Array:
    """A PNG or JPEG file as an image [H, W] or [H, W, 3] with values in [0, 1].

    Raises:
        DataError: the file cannot be read as an image.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L", "LA") or image.mode.startswith("I")
            return picture_values(image, colour=not grey)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as an image ({str(error).splitlines()[0]})") from error


@dataclass(frozen=True)
class Read:
    """Designs of a file, each with a name.

    Attributes:
        designs: strings or arrays.
        names: of each: the id of a record, a file, or the number of a line.
        problems: what was left out, in words.
        molecules: whether they are SMILES; canonical ones, except where RDKit cannot read them.
    """

    designs: list[Design]
    names: list[str]
    problems: list[str]
    molecules: bool = False


ENDINGS = (*TEXT_TABLES, *FASTA_ENDINGS, *SMILES_ENDINGS, *SDF_ENDINGS, *PICTURES, ".parquet", ".npz", ".gz")
"""Of the files that are read here."""


def names_file(word: str) -> bool:
    """Whether a word is meant as a file or folder rather than as a design: it ends like one, or there is one."""
    if not word.strip():  # to paths it is the folder that we are in
        return False
    try:
        path = Path(word).expanduser()
        return path.suffix.lower() in ENDINGS or path.exists()
    except (OSError, RuntimeError, ValueError):  # no name that a file could have
        return False


def named_designs(word: str) -> list[Design]:
    """The designs that a word names: those of a file, or the word itself, where it names none.

    Raises:
        DataError: the file cannot be read, or holds a row that is no design.
    """
    if not names_file(word):
        return [word]
    path = Path(word).expanduser()
    read = read_designs(path, columns=[])
    if read.problems:
        raise DataError(f"{path}, {read.problems[0]}; every row must be a design")
    return list(read.designs)


def read_designs(path: Path, *, columns: Sequence[str] = ()) -> Read:
    """Read designs of any form.

    Args:
        path: a folder of PNG or JPEG files; an .npz file with an array [B, ...] of the name `designs`, or with only one
            array; or a table (FASTA, CSV, Parquet): of sequences, in a column `sequence` or `design`; of nothing but
            numbers, a vector a row; or the designs.csv of a run.
        columns: of a table: one column of text, or several of numbers, which together are a vector.

    Raises:
        DataError: there is no design, or the file is not what its ending says.
    """
    if path.is_dir():
        return _read_folder(path)
    if path.suffix.lower() in PICTURES:
        return Read([read_picture(path)], [path.name], [])
    if path.suffix.lower() == ".npz":
        return _read_stack(path)
    return _read_table(path, columns)


def _read_folder(path: Path) -> Read:
    # what a run has written: its pictures lie one folder below
    inside = path / "images" if (path / "images").is_dir() else path
    files = sorted(file for file in inside.iterdir() if file.suffix.lower() in PICTURES)
    if not files:
        raise DataError(f"{path}: holds no image; expected files that end in {', '.join(PICTURES)}")
    return Read([read_picture(file) for file in files], [file.name for file in files], [])


def _read_stack(path: Path) -> Read:
    arrays = read_npz(path)
    if "designs" not in arrays and len(arrays) != 1:
        there = ", ".join(arrays) or "none"
        raise DataError(
            f"{path}: expected an array of the name designs, or one array only; there are {there}"
        )
    found = arrays.get("designs", next(iter(arrays.values())))
    if found.dtype.kind not in "fiu" or found.ndim < 2 or not len(found):
        raise DataError(f"{path}: expected numbers [designs, ...], got {found.dtype} {list(found.shape)}")
    return Read(list(found.astype(np.float64)), [str(i + 1) for i in range(len(found))], [])


def _read_table(path: Path, columns: Sequence[str]) -> Read:
    rows = read_rows(path)
    problems = [f"{rows.unit} {line} is left out: {reason}" for line, reason in rows.problems]
    if not len(rows):
        raise DataError(f"{path}: holds no {rows.unit} that can be read; {problems[0]}")
    names = rows.columns.get("id", [str(line) for line in rows.lines])
    smiles = next((name for name in rows.columns if name.lower() == "smiles"), None)
    if smiles is not None and (not columns or list(columns) == [smiles]):
        return Read([normal(cell) for cell in rows.columns[smiles]], names, problems, molecules=True)
    text = next((name for name in ("sequence", "design") if name in rows.columns), "")
    if not columns and text:  # also where its letters are digits
        return Read(list(rows.columns[text]), names, problems)
    if not columns and {"rank", "index"} <= rows.columns.keys() and path.with_suffix(".npz").exists():
        return _read_stack(
            path.with_suffix(".npz")
        )  # what a run has written: its arrays lie beside the table
    if not columns:
        numbers = [
            name for name, cells in rows.columns.items() if name != "id" and all(map(_is_number, cells))
        ]
        columns = numbers if len(numbers) == len(rows.columns) - ("id" in rows.columns) else ["sequence"]
    if len(columns) == 1 and not all(map(_is_number, rows.columns.get(columns[0], [""]))):
        texts: list[Design] = list(rows.column(columns[0], meant_for="sequences", path=path))
        return Read(texts, names, problems)
    cells = [rows.column(name, meant_for="a column of numbers", path=path) for name in columns]
    kept: list[int] = []
    for i, line in enumerate(rows.lines):
        wrong = [name for name, column in zip(columns, cells, strict=True) if not _is_number(column[i])]
        if wrong:
            problems.append(f"{rows.unit} {line} is left out: {wrong[0]} is no number")
        else:
            kept.append(i)
    if not kept:
        raise DataError(f"{path}: no row has a number in each of {', '.join(columns)}")
    vectors: list[Design] = [np.array([float(column[i]) for column in cells]) for i in kept]
    return Read(vectors, [names[i] for i in kept], problems)


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False

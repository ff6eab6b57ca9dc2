"""Reading images and tables of numbers, with the file, row or column named that cannot be used."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gendesign.array_codecs import ImageCodec, VectorCodec, VectorSequenceCodec
from gendesign.designs import Array
from gendesign.errors import DataError, MissingExtraError
from gendesign.files.designs import picture_values, read_npz
from gendesign.files.sequences import Rows, read_rows

DIGITS = "digits"
"""The name of scikit-learn's embedded data set of 8 x 8 handwritten digits."""
IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True)
class Arrays:
    """Usable rows of a file or folder.

    Attributes:
        designs: Float64 [rows, *shape of a design].
        targets: Float64 [rows, n], NaN where not measured.
        columns: other cells of every row, as text.
        problems: rows that cannot be used, as (number, reason).
        unit: what `problems` counts.
    """

    designs: Array
    targets: Array
    columns: dict[str, list[str]]
    problems: list[tuple[int, str]] = field(default_factory=list)
    unit: str = "row"

    def __len__(self) -> int:
        return len(self.designs)

    def contents(self) -> list[str]:
        """A digest of each design: equal designs have equal digests."""
        return [hashlib.sha256(row.tobytes()).hexdigest() for row in np.ascontiguousarray(self.designs + 0.0)]


def read_digits(codec: ImageCodec) -> Arrays:
    """The 1,797 handwritten digits that come with scikit-learn, with their class as target.

    Raises:
        DataError: the codec is for another size.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "images") from error
    if codec.shape != (8, 8):
        raise DataError(
            f"the digits are grey images of 8 x 8 pixels; the codec has shape {list(codec.shape)}"
        )
    data = load_digits()
    labels = data.target.astype(np.float64)
    return Arrays(data.images / 16.0, labels[:, None], {"label": [str(int(label)) for label in labels]})


def read_images(path: Path, codec: ImageCodec) -> Arrays:
    """PNG and JPEG files of a folder; those of its subfolders have the subfolder's name as label.

    Targets are the number of the label in alphabetical order, and NaN for files in the folder itself.

    Args:
        path: the folder.
        codec: its size is expected of every file; its channels say what files are converted to.

    Raises:
        DataError: there is no such folder, or no image in it.
        MissingExtraError: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("pillow", "images") from error
    if not path.is_dir():
        raise DataError(f"{path}: {'is a file, expected a folder' if path.exists() else 'no such folder'}")
    files = sorted(
        item for item in path.rglob("*") if item.suffix.lower() in IMAGE_ENDINGS and item.is_file()
    )
    if not files:
        raise DataError(f"{path}: holds no image; expected files ending in {', '.join(IMAGE_ENDINGS)}")
    wanted = (codec.width, codec.height)
    kept: list[Array] = []
    names: list[str] = []
    problems = []
    for number, file in enumerate(files, start=1):
        name = str(file.relative_to(path))
        try:
            with Image.open(file) as image:
                if image.size != wanted:
                    seen = f"{image.size[0]} x {image.size[1]} pixels, expected {wanted[0]} x {wanted[1]}"
                    problems.append((number, f"{name}: {seen} (width x height)"))
                    continue
                pixels = picture_values(image, colour=codec.channels == 3)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            problems.append((number, f"{name}: cannot be read as an image ({str(error).splitlines()[0]})"))
            continue
        kept.append(pixels)
        names.append(name)
    labels = [Path(name).parts[0] if len(Path(name).parts) > 1 else "" for name in names]
    order = {label: float(i) for i, label in enumerate(sorted(set(labels) - {""}))}
    targets = np.array([order.get(label, math.nan) for label in labels])
    designs = np.array(kept).reshape(len(kept), *codec.shape)
    return Arrays(designs, targets[:, None], {"file": names, "label": labels}, problems, "image")


def read_vectors(
    path: Path,
    codec: VectorCodec,
    *,
    target_columns: Sequence[str] = (),
    sequence_column: str | None = None,
) -> Arrays:
    """Rows of a table (csv, tsv, parquet; csv and tsv also gzipped) or of an npz file.

    Args:
        path: the file. An npz file holds one array a column, or a single array of all of them [rows, n], for
            sequences [rows, H, n].
        codec: names the columns, and the steps of a sequence.
        target_columns: columns of numbers that are not part of the design.
        sequence_column: of a table of sequences: rows of the same value are the steps of one, in order.

    Raises:
        DataError: the file cannot be read, or lacks a column.
    """
    if path.suffix.lower() == ".npz":
        return _read_npz(path, codec, target_columns)
    rows = read_rows(path)
    numbers, problems = _numbers(path, rows, codec.columns, required=True)
    targets, more = _numbers(path, rows, target_columns, required=False)
    bad = problems | more
    lines = sorted([*rows.problems, *((rows.lines[row], reason) for row, reason in bad.items())])
    if isinstance(codec, VectorSequenceCodec):
        names = rows.column(sequence_column or "", meant_for="sequence_column", path=path)
        members: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            members.setdefault(name, []).append(row)
        chosen = []
        for name, own in members.items():
            if any(row in bad for row in own):
                continue  # said already, by row
            if len(own) == codec.steps:
                chosen.append(own)
            else:
                reason = f"sequence {name!r} has {len(own)} steps, expected {codec.steps}"
                lines.append((rows.lines[own[0]], reason))
        first = [own[0] for own in chosen]
        designs = numbers[np.array(chosen, dtype=np.int64).reshape(-1, codec.steps)]
    else:
        first = [row for row in range(len(rows)) if row not in bad]
        designs = numbers[first]
    columns = {name: [cells[row] for row in first] for name, cells in rows.columns.items()}
    return Arrays(designs, targets[first], columns, sorted(lines), rows.unit)


def _numbers(
    path: Path, rows: Rows, names: Sequence[str], *, required: bool
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """Columns as numbers [rows, n], and the rows where a cell is none; only then may one be empty."""
    values = np.full((len(rows), len(names)), math.nan)
    bad: dict[int, str] = {}
    for at, name in enumerate(names):
        cells = rows.column(name, meant_for="a column of numbers", path=path)
        for row, cell in enumerate(cells):
            try:
                values[row, at] = float(cell) if cell or required else math.nan
            except ValueError:
                values[row, at] = math.inf
            if math.isinf(values[row, at]) or (required and math.isnan(values[row, at])):
                bad.setdefault(row, f"{name} is {cell[:20]!r}, expected a number")
    return values, bad


def _read_npz(path: Path, codec: VectorCodec, target_columns: Sequence[str]) -> Arrays:
    arrays = read_npz(path)
    missing = [name for name in target_columns if name not in arrays]
    if missing:
        raise DataError(f"{path}: no array {missing[0]!r}; there are {', '.join(arrays)}")
    for name in (*target_columns, *(name for name in codec.columns if name in arrays)):
        if arrays[name].dtype.kind not in "fiu":
            raise DataError(f"{path}: the array {name!r} holds {arrays[name].dtype}, expected numbers")
    targets = [np.asarray(arrays.pop(name), dtype=np.float64) for name in target_columns]
    if all(name in arrays for name in codec.columns):
        sizes = {name: list(arrays[name].shape) for name in codec.columns}
        if len({tuple(size) for size in sizes.values()}) > 1:
            raise DataError(f"{path}: the columns need arrays of one shape, got {sizes}")
        designs = np.stack([arrays[name] for name in codec.columns], axis=-1)
    elif len(arrays) == 1:
        designs = next(iter(arrays.values()))
    else:
        raise DataError(
            f"{path}: expected one array, or one for each of {', '.join(codec.columns)}; there are {', '.join(arrays)}"
        )
    if designs.shape[1:] != codec.shape or designs.dtype.kind not in "fiu":
        raise DataError(
            f"{path}: expected numbers of shape [rows, {', '.join(map(str, codec.shape))}], "
            f"got {designs.dtype} {list(designs.shape)}"
        )
    designs = designs.astype(np.float64)
    if any(target.shape != (len(designs),) for target in targets):
        raise DataError(f"{path}: a target needs one number for each of the {len(designs)} rows")
    stacked = np.stack(targets, axis=-1) if targets else np.zeros((len(designs), 0))
    good = np.isfinite(designs).all(axis=tuple(range(1, designs.ndim)))
    problems = []
    for row in np.flatnonzero(~good).tolist():
        place = np.argwhere(~np.isfinite(designs[row]))[0]
        problems.append((row + 1, f"{codec.columns[place[-1]]} is {designs[row][tuple(place)]}"))
    return Arrays(designs[good], stacked[good], {}, problems, "row")

"""Trajectories as .npz, as HDF5 in D4RL's layout and as Minari data sets, read again to the last bit.

The two files hold the arrays of `gendesign.rl.trajectories.FLAT`, so that a plain D4RL reader takes them, and
`metadata`: JSON with the environment, the bounds and the provenance. Minari data sets are in
`gendesign.rl.minari_files`. Everything is written episode by episode, so that memory does not grow with their number,
and appears whole or not at all; the same episodes give the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import DataError, MissingExtraError, OutputError
from gendesign.files.designs import read_npz
from gendesign.rl.minari_files import PREFIX, check_new, read_minari, write_minari
from gendesign.rl.trajectories import FLAT, About, Episode, Trajectories, flatten, unflatten

HDF5 = (".hdf5", ".h5")
EXPECTED = f"expected a name that ends in .npz or .hdf5, or {PREFIX}ID of a Minari data set"
TOGETHER = 256
"""Episodes that are written at a time."""


def read_trajectories(path: str | Path) -> Trajectories:
    """Trajectories of a .npz or .hdf5 file in the flat layout, or of a local Minari data set (minari:ID).

    Raises:
        DataError: there is no such thing, it is damaged, or its episodes are no episodes.
        MissingExtraError: HDF5 without h5py, Minari without minari.
    """
    if str(path).startswith(PREFIX):
        return read_minari(str(path).removeprefix(PREFIX))
    path = Path(path).expanduser()
    if path.suffix not in (".npz", *HDF5):
        raise DataError(f"{path}: {EXPECTED}")
    flat, text = _read_hdf5(path) if path.suffix in HDF5 else _read_arrays(path)
    try:
        return unflatten(flat, **_about(json.loads(text or "{}"), flat))
    except (DataError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: {error}") from error


def check_target(path: str | Path, *, overwrite: bool = False) -> None:
    """Whether trajectories could be written there, before the work and not after it.

    Raises:
        OutputError: no such kind of file, or it exists.
        MissingExtraError: HDF5 without h5py, Minari without minari.
    """
    if str(path).startswith(PREFIX):
        check_new(str(path).removeprefix(PREFIX), overwrite=overwrite)
        return
    path = Path(path).expanduser()
    if path.suffix not in (".npz", *HDF5):
        raise OutputError(f"{path}: {EXPECTED}")
    if path.suffix in HDF5:
        _h5py()
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; give another name or remove it")


def write_trajectories(data: Trajectories, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a .npz or .hdf5 file, or a Minari data set (minari:ID).

    Returns:
        The file, or the folder of the data set.

    Raises:
        OutputError: it exists, or cannot be written.
        MissingExtraError: HDF5 without h5py, Minari without minari.
    """
    return write_episodes(data.episodes, data.about, path, overwrite=overwrite)


def write_episodes(
    episodes: Iterable[Episode],
    about: About,
    path: str | Path,
    *,
    overwrite: bool = False,
    workshop: Path | None = None,
) -> Path:
    """As `write_trajectories`, of episodes that come one by one; each is checked.

    Args:
        episodes: as said.
        about: what is known beside them.
        path: as in `write_trajectories`.
        overwrite: replace what is there.
        workshop: a folder on the same disk in which the parts are put together, so that what a killed run leaves is
            found there; None: beside the path.

    Raises:
        DataError: an episode is no episode, or there is none.
        OutputError: it exists, or cannot be written.
    """
    check_target(path, overwrite=overwrite)
    checked = _checked(iter(episodes), about)
    checked = chain([next(checked)], checked)  # nothing is begun before there is something to write
    if str(path).startswith(PREFIX):
        name = str(path).removeprefix(PREFIX)
        return write_minari(checked, about, name, overwrite=overwrite, workshop=workshop)
    path = Path(path).expanduser()
    try:
        for folder in (path.parent, workshop or path.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=workshop or path.parent, prefix=f".{path.name}.") as place:
            partial = Path(place) / path.name
            parts = _joined(checked, about)
            if path.suffix in HDF5:
                _write_hdf5(partial, parts, metadata(about))
            else:
                _write_npz(partial, parts, metadata(about))
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror or error}); nothing is left of it"
        ) from error
    return path


def metadata(about: About) -> str:
    """What is known beside the arrays, as JSON; bounds that are infinite are null."""
    bounds = ("action_low", "action_high", "observation_low", "observation_high")
    said: dict[str, Any] = {name: _plain(getattr(about, name)) for name in bounds}
    said |= {"environment": about.environment, "provenance": dict(about.provenance)}
    return json.dumps(said, sort_keys=True)


def _plain(bound: NDArray[Any] | None) -> list[float | None] | None:
    return None if bound is None else [value if np.isfinite(value) else None for value in bound.tolist()]


def _about(said: Mapping[str, Any], flat: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    def bound(name: str, missing: float) -> NDArray[Any] | None:
        values, rows = said.get(name), flat.get("actions" if "action" in name else "observations")
        if values is None or rows is None:
            return None
        return np.array([missing if value is None else value for value in values], dtype=rows.dtype)

    ends = {"low": -np.inf, "high": np.inf}
    bounds = {
        f"{of}_{side}": bound(f"{of}_{side}", far)
        for of in ("action", "observation")
        for side, far in ends.items()
    }
    return bounds | {
        "environment": said.get("environment", ""),
        "provenance": said.get("provenance", {}),
    }


def _checked(episodes: Iterator[Episode], about: About) -> Iterator[Episode]:
    first = next(episodes, None)
    if first is None:
        raise DataError("expected at least one episode, got none")
    for number, episode in enumerate(chain([first], episodes)):
        about.check(episode, number, like=first)
        yield episode


def _joined(episodes: Iterator[Episode], about: About) -> Iterator[dict[str, NDArray[Any]]]:
    """The flat arrays of some episodes at a time."""
    while some := list(islice(episodes, TOGETHER)):
        yield flatten(Trajectories.of(some, about))


def _write_hdf5(path: Path, parts: Iterator[dict[str, NDArray[Any]]], text: str) -> None:
    with _h5py().File(path, "w") as file:
        file.attrs["metadata"] = text
        for part in parts:
            for name, values in part.items():
                if name not in file:
                    more = (None, *values.shape[1:])
                    file.create_dataset(name, data=values, maxshape=more, compression="gzip")
                    continue
                old = len(file[name])
                file[name].resize(old + len(values), axis=0)
                file[name][old:] = values


def _write_npz(path: Path, parts: Iterator[dict[str, NDArray[Any]]], text: str) -> None:
    """As `numpy.savez_compressed`, whose arrays would have to be in memory."""
    heads: dict[str, dict[str, Any]] = {}
    for part in parts:
        for name, values in part.items():
            head = heads.setdefault(
                name, {"descr": values.dtype.str, "fortran_order": False, "shape": (0, *values.shape[1:])}
            )
            head["shape"] = (head["shape"][0] + len(values), *values.shape[1:])
            with open(path.with_suffix(f".{name}"), "ab") as raw:
                raw.write(np.ascontiguousarray(values).tobytes())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("metadata.npy", "w") as member:
            np.lib.format.write_array(member, np.array(text))
        for name, head in heads.items():
            source = path.with_suffix(f".{name}")
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member, open(source, "rb") as raw:
                np.lib.format.write_array_header_1_0(member, head)
                shutil.copyfileobj(raw, member, 1 << 20)
            source.unlink()


def _read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    found = read_npz(path)
    return found, str(found.pop("metadata", ""))


def _read_hdf5(path: Path) -> tuple[dict[str, NDArray[Any]], str]:
    h5py = _h5py()
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            flat = {name: file[name][()] for name in FLAT if name in file}
            return flat, str(file.attrs.get("metadata", ""))
    except (OSError, KeyError, TypeError) as error:
        raise DataError(f"{path}: is no HDF5 file of trajectories ({error})") from error


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "rl") from error
    return h5py

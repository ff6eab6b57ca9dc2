"""Trajectories as .npz and as HDF5 in D4RL's layout; what is written is read again to the last bit.

Both hold the arrays of `gendesign.rl.trajectories.FLAT`, so that a plain D4RL reader takes them, and `metadata`:
JSON with the environment, the bounds of actions and the provenance. Files appear whole or not at all.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import DataError, MissingExtraError, OutputError
from gendesign.files.designs import read_npz
from gendesign.rl.trajectories import FLAT, Trajectories, flatten, unflatten

HDF5 = (".hdf5", ".h5")


def read_trajectories(path: str | Path) -> Trajectories:
    """Trajectories of a .npz or .hdf5 file in the flat layout.

    Raises:
        DataError: the file is missing, damaged, or its episodes are no episodes.
        MissingExtraError: HDF5 without h5py.
    """
    path = Path(path).expanduser()
    if path.suffix not in (".npz", *HDF5):
        raise DataError(f"{path}: expected a .npz or .hdf5 file of trajectories")
    flat, text = _read_hdf5(path) if path.suffix in HDF5 else _read_arrays(path)
    try:
        about = json.loads(text or "{}")
        return unflatten(
            flat,
            action_low=_bound(about.get("action_low")),
            action_high=_bound(about.get("action_high")),
            environment=about.get("environment", ""),
            provenance=about.get("provenance", {}),
        )
    except (DataError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: {error}") from error


def write_trajectories(data: Trajectories, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a .npz or .hdf5 file.

    Raises:
        OutputError: the file exists, or cannot be written.
        MissingExtraError: HDF5 without h5py.
    """
    path = Path(path).expanduser()
    if path.suffix not in (".npz", *HDF5):
        raise OutputError(f"{path}: expected a name that ends in .npz or .hdf5")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; give another name or remove it")
    flat, text = flatten(data), metadata(data)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            partial = Path(folder) / path.name
            if path.suffix in HDF5:
                with _h5py().File(partial, "w") as file:
                    for name, values in flat.items():
                        file.create_dataset(name, data=values, compression="gzip")
                    file.attrs["metadata"] = text
            else:
                np.savez_compressed(partial, metadata=np.array(text), **flat)  # type: ignore[arg-type]
            os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error
    return path


def metadata(data: Trajectories) -> str:
    """What is known beside the arrays, as JSON."""
    about = {
        "environment": data.environment,
        "action_low": None if data.action_low is None else data.action_low.tolist(),
        "action_high": None if data.action_high is None else data.action_high.tolist(),
        "provenance": dict(data.provenance),
    }
    return json.dumps(about, sort_keys=True)


def _bound(values: list[float] | None) -> NDArray[Any] | None:
    return None if values is None else np.array(values, dtype=np.float32)


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

"""Trajectories as local Minari data sets, which `minari.load_dataset` loads without this package, and torchrl as well.

The environment's specification and the spaces are carried along; where trajectories came from stands in the metadata
under "gendesign". A data set is written into a hidden folder beside its place, and takes its name when it is whole.
MINARI_DATASETS_PATH says where Minari's data sets are, as for Minari itself.

Any local data set with a Box of actions of one dimension is read; a Dict or Tuple of observations is flattened in the
order of `gymnasium.spaces.flatten`, discrete actions are refused. Seeds, options and infos of episodes are left out.

Younis et al. 2024, Minari: A dataset API for offline reinforcement learning, doi.org/10.5281/zenodo.13767625.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import DataError, GendesignError, MissingExtraError, OutputError, UnsupportedError
from gendesign.rl.trajectories import About, Episode, Trajectories

PREFIX = "minari:"
"""Before the id of a data set, where a file's name could stand."""
KEY = "gendesign"
"""Under which the metadata say where trajectories came from."""


def read_minari(dataset_id: str) -> Trajectories:
    """All episodes of a local data set; nothing is downloaded.

    Raises:
        DataError: there is none of this id, it was not written to its end, or its episodes are no episodes.
        UnsupportedError: actions are not a Box of one dimension, or observations hold more than numbers.
        MissingExtraError: minari is not installed.
    """
    minari = _minari()
    folder = _folder(dataset_id, DataError)
    if not (folder / "data").is_dir():
        known = sorted(minari.list_local_datasets())
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise DataError(
            f"no Minari data set {dataset_id!r} under {_root()}; {there} (minari download {dataset_id})"
        )
    try:
        dataset = minari.MinariDataset(folder / "data")
        said = dataset.storage.metadata
    except Exception as error:  # whatever a damaged folder makes Minari raise
        raise DataError(f"{PREFIX}{dataset_id}: {_not_whole(folder)} ({_line(error)})") from error
    actions, seen = _check_actions(dataset.action_space, dataset_id), _flat_bounds(dataset.observation_space)
    try:
        episodes = [_episode(each, dataset.observation_space) for each in dataset.iterate_episodes()]
        held = _held(folder)
    except Exception as error:
        raise DataError(f"{PREFIX}{dataset_id}: {_not_whole(folder)} ({_line(error)})") from error
    steps = sum(len(episode.rewards) for episode in episodes)
    if not episodes or held not in (None, len(episodes)) or steps != said["total_steps"]:
        found = f"{len(episodes) if held is None else held} episodes, {steps} steps"
        raise DataError(
            f"{PREFIX}{dataset_id}: {_not_whole(folder)}: {found}, and its metadata say "
            f"{said['total_episodes']} and {said['total_steps']}"
        )
    spec = dataset.env_spec
    try:
        return Trajectories(
            tuple(episodes),
            *actions,
            "" if spec is None else spec.to_json(),
            said.get(KEY, {"minari": dataset_id}),
            *seen,
        )
    except DataError as error:
        raise DataError(f"{PREFIX}{dataset_id}: {error}") from error


def hidden_folder(dataset_id: str, ending: str) -> Path:
    """A folder beside a data set that Minari does not list.

    Raises:
        OutputError: the id is malformed.
    """
    folder = _folder(dataset_id, OutputError)
    return folder.with_name(f".{folder.name}{ending}")


def check_new(dataset_id: str, *, overwrite: bool = False) -> None:
    """Whether a data set of this id could be written.

    Raises:
        OutputError: the id is malformed, or taken.
        MissingExtraError: minari is not installed.
    """
    folder = _folder(dataset_id, OutputError)
    if folder.exists() and not overwrite:
        raise OutputError(
            f"a Minari data set {dataset_id!r} exists under {_root()}; give another id or version, or remove it "
            f"(minari delete {dataset_id})"
        )


def write_minari(
    episodes: Iterable[Episode], about: About, dataset_id: str,
    *, overwrite: bool = False, workshop: Path | None = None,
) -> Path:  # fmt: skip
    """Write episodes as they come.

    Args:
        episodes: checked ones, at least one.
        about: bounds that are not known become infinite ones.
        dataset_id: such as pendulum/mixed-v0.
        overwrite: replace a data set of this id.
        workshop: as in `gendesign.rl.trajectory_files.write_episodes`.

    Returns:
        The folder of the data set.

    Raises:
        OutputError: the id is malformed or taken, or the folder cannot be written.
        DataError: the environment's specification is none.
        MissingExtraError: minari is not installed.
    """
    check_new(dataset_id, overwrite=overwrite)
    folder = _folder(dataset_id, OutputError)
    try:
        for place in (folder.parent, workshop or folder.parent):
            place.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=workshop or folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error
    try:
        whole = temporary / folder.name
        whole.mkdir()
        _fill(whole / "data", iter(episodes), about, dataset_id)
        _name_space(dataset_id)
        if folder.exists():
            os.replace(folder, temporary / "before")
        os.replace(whole, folder)
    except (OSError, RuntimeError) as error:  # h5py tells of a full disk by either
        raise OutputError(f"{folder}: cannot be written ({_line(error)}); nothing is left of it") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _fill(path: Path, episodes: Iterator[Episode], about: About, dataset_id: str) -> None:
    minari = _minari()
    from gymnasium.envs.registration import EnvSpec
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    first = next(episodes)
    try:
        spec = EnvSpec.from_json(about.environment) if about.environment else None
    except (ValueError, TypeError) as error:
        raise DataError(f"the environment is no specification of gymnasium ({_line(error)})") from error
    storage = MinariStorage.new(
        path,
        _box(about.observation_low, about.observation_high, first.observations),
        _box(about.action_low, about.action_high, first.actions),
        spec,
        "hdf5",
        jpeg_encoding=False,
    )
    storage.update_metadata(
        {
            "dataset_id": dataset_id,
            "minari_version": minari.__version__,
            "algorithm_name": str(about.provenance.get("generator", about.provenance.get("collected", ""))),
            KEY: json.loads(json.dumps(dict(about.provenance))),
        }
    )
    storage.update_episodes(
        # arrays do as well as the lists that its types name, and are stored in their own precision
        EpisodeBuffer(**{part.name: getattr(each, part.name) for part in fields(Episode)})
        for each in chain([first], episodes)
    )


def _box(low: NDArray[Any] | None, high: NDArray[Any] | None, like: NDArray[Any]) -> Any:
    from gymnasium.spaces import Box

    shape, dtype = like.shape[1:], like.dtype.type
    lowest = np.full(shape, -np.inf, dtype) if low is None else low.astype(dtype)
    highest = np.full(shape, np.inf, dtype) if high is None else high.astype(dtype)
    return Box(lowest, highest, shape, dtype)


def _name_space(dataset_id: str) -> None:
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.namespace import create_namespace, list_local_namespaces

    space = parse_dataset_id(dataset_id)[0]
    if space is not None and space not in list_local_namespaces():
        create_namespace(space)


def _episode(found: Any, space: Any) -> Episode:
    return Episode(
        _flat(found.observations, space),
        np.asarray(found.actions),
        np.asarray(found.rewards, dtype=np.float64),
        np.asarray(found.terminations, dtype=bool),
        np.asarray(found.truncations, dtype=bool),
    )


def _flat(values: Any, space: Any) -> NDArray[Any]:
    """Observations [T + 1, S] of a space of numbers."""
    from gymnasium.spaces import Box

    if isinstance(space, Box):
        found = np.asarray(values)
        return found.reshape(len(found), -1)
    keys = list(space.spaces) if hasattr(space.spaces, "keys") else range(len(space.spaces))
    return np.concatenate([_flat(values[key], space.spaces[key]) for key in keys], axis=1)


def _flat_bounds(space: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    from gymnasium.spaces import Box, Dict, Tuple

    if isinstance(space, Box):
        return space.low.reshape(-1), space.high.reshape(-1)
    if not isinstance(space, (Dict, Tuple)):
        raise UnsupportedError(
            f"observations hold {space}; expected a Box, or a Dict or Tuple of them, which is flattened"
        )
    parts = space.spaces.values() if isinstance(space, Dict) else space.spaces
    low, high = zip(*map(_flat_bounds, parts), strict=True)
    return np.concatenate(low), np.concatenate(high)


def _check_actions(space: Any, dataset_id: str) -> tuple[NDArray[Any], NDArray[Any]]:
    from gymnasium.spaces import Box

    if not isinstance(space, Box) or len(space.shape) != 1:
        raise UnsupportedError(
            f"{PREFIX}{dataset_id}: actions are {space}; expected a Box of one dimension (write discrete actions "
            "one-hot into a data set of your own)"
        )
    return space.low, space.high


def _held(folder: Path) -> int | None:
    """How many episodes the file holds, whatever its metadata say; None where it is no HDF5."""
    file = folder / "data" / "main_data.hdf5"
    if not file.exists():
        return None
    import h5py

    with h5py.File(file, "r") as opened:
        return len(opened)


def _not_whole(folder: Path) -> str:
    return f"this data set is damaged, or was not written to its end; remove {folder} and write it again"


def _root() -> Path:
    _minari()
    from minari.storage.datasets_root_dir import get_dataset_path

    return Path(get_dataset_path())


def _folder(dataset_id: str, kind: type[GendesignError]) -> Path:
    _minari()
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError):
        raise kind(
            f"{dataset_id!r} is no id of a Minari data set; expected NAME-v0 or SPACE/NAME-v0"
        ) from None
    return _root() / dataset_id


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _minari() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import minari
    except ImportError as error:
        raise MissingExtraError("minari", "rl") from error
    return minari

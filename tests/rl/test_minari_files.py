"""Minari data sets: written whole or not at all, loaded without this package, read back to the last bit."""

import dataclasses
import json
import warnings

import numpy as np
import pytest

from gendesign.errors import DataError, OutputError, UnsupportedError
from gendesign.rl.collecting import collect
from gendesign.rl.trajectories import Episode, Trajectories
from gendesign.rl.trajectory_files import read_trajectories, write_episodes, write_trajectories

minari = pytest.importorskip("minari")
gymnasium = pytest.importorskip("gymnasium")
ID = "space/mixed-v0"


LOW, HIGH = -np.ones(2, np.float32), np.ones(2, np.float32)


def episode(steps: int, *, terminates: bool = False, seed: int = 0) -> Episode:
    rng = np.random.default_rng(seed)
    last = np.arange(steps) == steps - 1
    return Episode(
        rng.normal(size=(steps + 1, 3)).astype(np.float32),
        rng.uniform(-1, 1, size=(steps, 2)).astype(np.float32),
        rng.normal(size=steps),
        last & terminates,
        last & (not terminates),
    )


def some() -> Trajectories:
    episodes = (episode(5), episode(1, terminates=True, seed=1), episode(3, seed=2))
    return Trajectories(episodes, LOW, HIGH, '{"id": "E-v0"}', {"seed": 3})


def equal(a: Trajectories, b: Trajectories) -> bool:
    return len(a.episodes) == len(b.episodes) and all(
        np.array_equal(getattr(x, f.name), getattr(y, f.name))
        and getattr(x, f.name).dtype == getattr(y, f.name).dtype
        for x, y in zip(a.episodes, b.episodes, strict=True)
        for f in dataclasses.fields(Episode)
    )


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def own(root, name, episodes, observations, actions):
    """A data set that another program wrote."""
    from minari.data_collector.episode_buffer import EpisodeBuffer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.create_dataset_from_buffers(
            name,
            [
                EpisodeBuffer(
                    observations=o,
                    actions=a,
                    rewards=[1.0] * len(a),
                    terminations=[False] * (len(a) - 1) + [True],
                    truncations=[False] * len(a),
                )
                for o, a in episodes
            ],
            observation_space=observations,
            action_space=actions,
        )


def test_minari_loads_it_with_environment_spaces_and_provenance(root):
    data = collect("Pendulum-v1", num_steps=400)
    folder = write_trajectories(data, f"minari:{ID}")
    assert folder == root / "space" / "mixed-v0"
    loaded = minari.load_dataset(ID)
    env = gymnasium.make("Pendulum-v1")
    assert loaded.observation_space == env.observation_space and loaded.action_space == env.action_space
    assert loaded.recover_environment().spec.id == "Pendulum-v1"
    assert (loaded.total_episodes, loaded.total_steps) == (2, 400)
    assert loaded.storage.metadata["gendesign"] == data.provenance
    assert all(loaded.observation_space.contains(o) for o in loaded[1].observations)
    assert list(minari.list_local_datasets()) == [ID]
    assert sorted(p.name for p in (root / "space").iterdir()) == ["mixed-v0", "namespace_metadata.json"]


@pytest.mark.parametrize("where", [f"minari:{ID}", "a.npz", "a.hdf5"])
def test_every_bit_comes_back_and_the_same_data_give_the_same_bytes(root, where):
    low, high = np.array([-np.inf, -1, 0], np.float32), np.array([np.inf, 9, np.inf], np.float32)
    data = dataclasses.replace(some(), environment="", observation_low=low, observation_high=high)
    target = where if where.startswith("minari:") else root / where
    bytes_of = []
    for overwrite in (False, True):
        path = write_trajectories(data, target, overwrite=overwrite)
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        bytes_of.append([p.read_bytes() for p in files])
    assert bytes_of[0] == bytes_of[1]
    back = read_trajectories(target)
    assert equal(back, data) and back.provenance == data.provenance
    for name in ("action_low", "action_high", "observation_low", "observation_high"):
        assert np.array_equal(getattr(back, name), getattr(data, name)), name
        assert getattr(back, name).dtype == np.float32
    with pytest.raises(OutputError, match="exists"):
        write_trajectories(data, target)


def test_what_a_crash_left_is_never_taken_for_whole(root, monkeypatch):
    data = collect("Pendulum-v1", num_steps=600)
    folder = write_trajectories(data, f"minari:{ID}")
    said = json.loads((folder / "data" / "metadata.json").read_text())
    for key, value in (("total_episodes", 2), ("total_steps", 599), ("total_episodes", 0)):
        (folder / "data" / "metadata.json").write_text(json.dumps(said | {key: value}))
        with pytest.raises(DataError, match="not written to its end"):
            read_trajectories(f"minari:{ID}")
    (folder / "data" / "metadata.json").write_text("{")
    with pytest.raises(DataError, match="not written to its end"):
        read_trajectories(f"minari:{ID}")
    (folder / "data" / "metadata.json").write_text(json.dumps(said))
    file = folder / "data" / "main_data.hdf5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match="not written to its end"):
        read_trajectories(f"minari:{ID}")

    def broken(*_, **__):
        raise OSError(28, "No space left on device")

    from minari.dataset._storages.hdf5_storage import HDF5Storage

    monkeypatch.setattr(HDF5Storage, "update_metadata", broken)
    with pytest.raises(OutputError, match="No space left"):
        write_trajectories(data, "minari:space/other-v0")
    assert not any("other" in p.name for p in (root / "space").iterdir())


def test_an_episode_that_is_none_leaves_nothing_behind(root):
    data = dataclasses.replace(some(), environment="")
    data.episodes[2].rewards[1] = np.nan
    for target in ("minari:bad-v0", root / "bad.npz", root / "bad.hdf5"):
        with pytest.raises(DataError, match="episode 2, step 1: rewards"):
            write_episodes(data.episodes, data.about, target)
    assert not list(root.iterdir())


def test_dictionaries_of_observations_are_flattened_as_gymnasium_does(root):
    box = gymnasium.spaces.Box
    space = gymnasium.spaces.Dict({"b": box(-1, 1, (2,), np.float64), "a": box(0, 5, (1, 2), np.float64)})
    rng = np.random.default_rng(0)
    seen = {"b": rng.uniform(-1, 1, (4, 2)), "a": rng.uniform(0, 5, (4, 1, 2))}
    own(root, "dict-v0", [(seen, np.zeros((3, 1), np.float32))], space, box(-1, 1, (1,), np.float32))
    data = read_trajectories("minari:dict-v0")
    want = [gymnasium.spaces.flatten(space, {k: v[t] for k, v in seen.items()}) for t in range(4)]
    assert np.array_equal(data.episodes[0].observations, np.stack(want))
    flat = gymnasium.spaces.flatten_space(space)
    assert np.array_equal(data.observation_low, flat.low) and np.array_equal(data.observation_high, flat.high)


def test_refusals(root):
    box, discrete = gymnasium.spaces.Box(-1, 1, (2,), np.float32), gymnasium.spaces.Discrete(3)
    seen, act = np.zeros((4, 2), np.float32), np.zeros((3, 2), np.float32)
    own(root, "discrete-v0", [(seen, np.zeros(3, np.int64))], box, discrete)
    with pytest.raises(UnsupportedError, match="one-hot"):
        read_trajectories("minari:discrete-v0")
    own(root, "grid-v0", [(np.zeros(4, np.int64), act)], discrete, box)
    with pytest.raises(UnsupportedError, match="expected a Box"):
        read_trajectories("minari:grid-v0")
    own(root, "short-v0", [(seen[:3], act)], box, box)
    with pytest.raises(DataError, match=r"minari:short-v0: episode 0: expected T \+ 1 observations"):
        read_trajectories("minari:short-v0")
    own(root, "nan-v0", [(seen, act), (seen + np.nan, act)], box, box)
    with pytest.raises(DataError, match="minari:nan-v0: episode 1, step 0: observations"):
        read_trajectories("minari:nan-v0")
    with pytest.raises(DataError, match="no Minari data set 'nothing-v0'.*discrete-v0"):
        read_trajectories("minari:nothing-v0")
    with pytest.raises(DataError, match="is no id"):
        read_trajectories("minari:no version")
    with pytest.raises(OutputError, match="is no id"):
        write_trajectories(some(), "minari:../up-v0")

"""Episodes are checked, and come back from files to the last bit."""

import dataclasses

import numpy as np
import pytest

from gendesign.errors import DataError, OutputError
from gendesign.rl.trajectories import Episode, Trajectories, flatten, unflatten
from gendesign.rl.trajectory_files import read_trajectories, write_trajectories

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


@pytest.mark.parametrize("name", ["a.npz", "a.hdf5"])
def test_files_keep_every_bit(tmp_path, name):
    if name.endswith("hdf5"):
        pytest.importorskip("h5py")
    data = some()
    back = read_trajectories(write_trajectories(data, tmp_path / name))
    assert equal(back, data)
    assert back.environment == data.environment and back.provenance == {"seed": 3}
    assert np.array_equal(back.action_low, LOW) and np.array_equal(back.action_high, HIGH)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with pytest.raises(OutputError, match="exists"):
        write_trajectories(data, tmp_path / name)


def test_names_that_are_no_files_of_trajectories(tmp_path):
    with pytest.raises(OutputError, match="npz"):
        write_trajectories(some(), tmp_path / "a.csv")
    with pytest.raises(DataError, match="npz"):
        read_trajectories(tmp_path / "a.csv")
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"a\.npz"):
        read_trajectories(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observations": np.zeros((3, 3), np.float32)}, r"episode 1: .*T \+ 1"),
        ({"rewards": np.array([0.0, np.nan, 0.0])}, "episode 1, step 1: rewards"),
        ({"actions": np.array([[0, 0], [0, 0], [0, 1.5]])}, "episode 1, step 2: action 1 is 1.5"),
        ({"actions": np.zeros((3, 2), np.int64)}, "discrete"),
        ({"actions": np.zeros((3, 1))}, "episode 1: observations and actions have 3 and 1"),
        ({"truncations": np.zeros(3, bool)}, "episode 1, step 2: the last step"),
        ({"terminations": np.array([True, False, False])}, "episode 1, step 0: ends here"),
        ({"rewards": np.zeros((3, 1))}, "episode 1: rewards has shape"),
    ],
)
def test_what_is_no_episode_is_refused_by_number_and_step(change, message):
    with pytest.raises(DataError, match=message):
        Trajectories((episode(3), dataclasses.replace(episode(3), **change)), LOW, HIGH)


def test_no_episodes_and_half_bounds_are_refused():
    with pytest.raises(DataError, match="at least one"):
        Trajectories(())
    with pytest.raises(DataError, match="both"):
        Trajectories((episode(2),), LOW)


def test_an_unknown_last_observation_costs_its_action():
    flat = flatten(some())
    flat["next_observations"][4] = np.nan
    back = unflatten(flat)
    assert [len(e) for e in back.episodes] == [4, 1, 3]
    assert back.episodes[0].truncations[-1] and not back.episodes[0].terminations.any()
    assert np.array_equal(back.episodes[0].observations, some().episodes[0].observations[:5])


def test_the_flat_layout_is_checked():
    flat = flatten(some())
    with pytest.raises(DataError, match="episode 0, step 1: the next observation"):
        unflatten(flat | {"next_observations": flat["next_observations"] + (np.arange(9) == 1)[:, None]})
    with pytest.raises(DataError, match="no array 'rewards'"):
        unflatten({k: v for k, v in flat.items() if k != "rewards"})
    with pytest.raises(DataError, match="rewards has 8 rows"):
        unflatten(flat | {"rewards": flat["rewards"][1:]})

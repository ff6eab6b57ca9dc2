"""Bad trajectories, environments, policies and places on the command line: one line, exit code 2, nothing left."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from gendesign import cli
from gendesign.rl.collecting import collect
from gendesign.rl.trajectories import flatten
from gendesign.rl.trajectory_files import write_trajectories

TRAIN = ("method=td3bc", "width=8", "steps=2", "episodes=0")
GUIDED = ("steering.mode=diagonal", "num_steps=40", "steps=1", "report=null")


def wrong(observations: Any) -> torch.Tensor:
    """A policy of two actions where there is one."""
    return 0 * torch.as_tensor(observations)[..., :2]


class Named(gymnasium.Env):  # type: ignore[misc]
    """Observations in a dictionary."""

    observation_space = gymnasium.spaces.Dict({"a": gymnasium.spaces.Box(-1, 1, (2,))})
    action_space = gymnasium.spaces.Box(-1, 1, (1,))


def broken() -> gymnasium.Env:  # type: ignore[type-arg]
    """An environment that cannot be made."""
    raise RuntimeError("no licence")


gymnasium.register("Named-v0", entry_point=Named)
gymnasium.register("Broken-v0", entry_point=broken)


@pytest.fixture
def flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Arrays of good data, beside their file; everything happens in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    data = collect("Pendulum-v1", num_steps=400)
    write_trajectories(data, "good.npz")
    return flatten(data)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line of the refusal; nothing is left of what was begun."""
    before = sorted(Path().rglob("*"))
    assert cli.main(words) == 2, words
    assert sorted(Path().rglob("*")) == before
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, words
    return lines[0]


def changed(flat: dict[str, Any], name: str, row: int, value: Any) -> dict[str, Any]:
    """The arrays, with one row of one of them replaced."""
    array = flat[name].copy()
    array[row] = value
    return flat | {name: array}


def test_bad_data_are_refused_by_file_episode_and_step(flat: Any, capsys: Any) -> None:
    late = flat["timeouts"].copy()
    late[199] = False
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "nan": (changed(flat, "rewards", 203, np.nan), "nan.npz: episode 1, step 3: rewards"),
        "range": (
            changed(flat, "actions", 2, 5.0),
            r"range.npz: episode 0, step 2: action 0 is 5, outside [-2, 2]",
        ),
        "jump": (flat | {"timeouts": late}, "jump.npz: episode 0, step 199: the next observation is not"),
        "short": (
            flat | {"rewards": flat["rewards"][:-1]},
            "short.npz: rewards has 399 rows, observations has 400",
        ),
        "discrete": (
            flat | {"actions": (flat["actions"][:, 0] > 0).astype(int)},
            "discrete actions are not supported",
        ),
        "none": ({"observations": flat["observations"]}, "no array 'actions'"),
    }
    for name, (arrays, message) in cases.items():
        np.savez(f"{name}.npz", **arrays)
        line = refused(["train-agent", f"{name}.npz", "environment=Pendulum-v1", *TRAIN, "out=a"], capsys)
        assert message in line, (name, line)
    np.savez("wide.npz", **(flat | {key: flat[key][:, :2] for key in ("observations", "next_observations")}))
    mixed = ["train-agent", "good.npz", "synthetic=wide.npz", *TRAIN, "out=a"]
    assert "sources differ" in refused(mixed, capsys)
    Path("torn.npz").write_bytes(Path("good.npz").read_bytes()[:3000])
    for verb in (
        ["train-agent", "torn.npz", *TRAIN, "out=a"],
        ["synthesize", "policy=swing-up", *GUIDED, "real=torn.npz"],
    ):
        assert "torn.npz" in refused(verb, capsys)
    assert "no such file" in refused(["train-agent", "nothing.npz", *TRAIN, "out=a"], capsys)
    assert "filters are for synthetic" in refused(
        ["train-agent", "good.npz", *TRAIN, "filters=return"], capsys
    )
    assert "share is for synthetic" in refused(["train-agent", "good.npz", *TRAIN, "share=0.3"], capsys)


def test_environments_that_are_not_there_or_not_of_numbers(flat: Any, capsys: Any) -> None:
    for name, message in (
        ("Nothing-v0", "no environment 'Nothing-v0'"),
        ("CartPole-v1", "one-hot"),
        ("Named-v0", "FlattenObservation"),
        ("Broken-v0", "cannot be made (RuntimeError: no licence)"),
    ):
        assert message in refused(["collect", name, "num_steps=10", "out=b.npz"], capsys)
    assert "Nothing-v0" in refused(
        ["train-agent", "good.npz", "environment=Nothing-v0", *TRAIN, "out=a"], capsys
    )


def test_policies_of_another_shape(flat: Any, capsys: Any) -> None:
    words = ["collect", "Pendulum-v1", f"policies={__name__}:wrong", "num_steps=10", "out=b.npz"]
    assert "takes finite actions of shape [1]" in refused(words, capsys)
    line = refused(["synthesize", f"policy={__name__}:wrong@0.2", *GUIDED, "out=b.npz"], capsys)
    assert "actions of shape [64, 33, 2]" in line


def test_places_that_are_taken_full_or_half_written(flat: Any, capsys: Any, monkeypatch: Any) -> None:
    pytest.importorskip("minari")
    write_trajectories(collect("Pendulum-v1", num_steps=200), "minari:pen/good-v0")
    for words in (
        ["collect", "Pendulum-v1", "num_steps=10", "out=good.npz"],
        ["collect", "Pendulum-v1", "num_steps=10", "out=minari:pen/good-v0"],
        ["synthesize", "policy=swing-up", *GUIDED, "out=good.npz"],
        ["train-agent", "good.npz", *TRAIN, "out=minari"],
    ):
        assert "exists" in refused(words, capsys)
    Path("b.html").write_text("of b.hdf5")  # the page of the same data in another format, or any other
    for words in (["num_steps=40", "out=b.npz"], ["num_steps=40", "out=c.npz", "report=b.html"]):
        assert "b.html exists" in refused(["synthesize", "policy=swing-up", *words], capsys)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr("minari.dataset.minari_storage.MinariStorage.new", full)
        for out in ("b.npz", "minari:pen/full-v0"):
            words = ["collect", "Pendulum-v1", "num_steps=10", f"out={out}"]
            assert "No space left" in refused(words, capsys)
        assert "No space left" in refused(["synthesize", "policy=swing-up", *GUIDED, "out=b.npz"], capsys)
    held = Path("minari/pen/good-v0/data/main_data.hdf5")
    held.write_bytes(held.read_bytes()[: held.stat().st_size // 2])
    line = refused(["train-agent", "minari:pen/good-v0", *TRAIN, "out=a"], capsys)
    assert "not written to its end" in line and "minari/pen/good-v0" in line


def test_filters_are_words_of_training_too(flat: Any, capsys: Any) -> None:
    pytest.importorskip("torchrl")
    words = ["train-agent", "good.npz", *TRAIN, "synthetic=good.npz", "filters=return@0.5,terminal", "out=a"]
    assert cli.main(words) == 0
    assert (
        "filters:" in Path("a/config.yaml").read_text() and "return@0.5" in Path("a/config.yaml").read_text()
    )
    assert "no filter 'good'" in refused([*words[:-2], "filters=good", "out=c"], capsys)

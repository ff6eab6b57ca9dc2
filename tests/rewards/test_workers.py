"""Worker processes: a hang or a death costs its own design, and nothing is left running."""

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from gendesign.errors import ConfigError, RewardError
from gendesign.rewards import FunctionReward, Status, TimedReward

MODULE = """
import os, time

def work(designs):
    for design in designs:
        if design == "hang":
            time.sleep(60)
        if design == "die":
            os._exit(3)
        if design == "raise":
            raise ValueError("bad design")
        if design.startswith("slow"):
            time.sleep(0.05 if design == "slow" else 0.0)
    return [float(len(design)) for design in designs]

def short(designs):
    return []

def brightest(design):
    if design.max() == 0:
        os._exit(3)
    return design.max()

def threads(design):
    import torch
    return float(torch.get_num_threads())
"""


@pytest.fixture()
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module of the user's, importable by workers too."""
    (tmp_path / "worker_user_module.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "worker_user_module", raising=False)
    import worker_user_module

    yield worker_user_module
    sys.modules.pop("worker_user_module", None)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_hangs_and_deaths_cost_their_own_design_and_order_is_kept(user: ModuleType) -> None:
    designs = ["slow", "hang", "b", "die", "ccc", "raise", "dd", "slow"]
    with TimedReward(FunctionReward(user.work), timeout_s=1.0, workers=2) as reward:
        scores = reward(designs)
        ok, timed_out, failed = Status.OK, Status.TIMED_OUT, Status.FAILED
        assert list(scores.status) == [ok, timed_out, ok, failed, ok, failed, ok, ok]
        np.testing.assert_array_equal(scores.values, [4, np.nan, 1, np.nan, 3, np.nan, 2, 4])
        assert (
            "within 1 s" in scores.message[1]
            and "exit code 3" in scores.message[3]
            and "bad design" in scores.message[5]
        )
        # lost workers were replaced: the next call is whole, in whatever order it asks
        again = reward([designs[i] for i in (4, 7, 3, 2, 6)])
        np.testing.assert_array_equal(again.values, scores.values[[4, 7, 3, 2, 6]])
        assert reward(["b"]).ok.all()
        workers = [worker.process.pid for worker in reward._pool.workers]
        assert workers
        os.kill(workers[0], signal.SIGKILL)  # a worker that dies while idle costs nothing
        time.sleep(0.1)
        assert reward(["aa", "b"]).values.tolist() == [2, 1]
        workers = [worker.process.pid for worker in reward._pool.workers]
    assert not any(alive(pid) for pid in workers)


def test_ctrl_c_leaves_no_worker(user: ModuleType) -> None:
    reward = TimedReward(FunctionReward(user.work), timeout_s=30.0)
    assert reward(["a"]).ok.all()
    pid = reward._pool.workers[0].process.pid
    threading.Timer(0.2, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        reward(["hang"])
    assert not alive(pid) and not reward._pool.workers


def test_a_wrong_count_in_a_worker_is_an_error(user: ModuleType) -> None:
    with (
        TimedReward(FunctionReward(user.short), timeout_s=5.0) as reward,
        pytest.raises(RewardError, match="1 values, got 0"),
    ):
        reward(["a"])


def test_what_cannot_be_sent_to_a_worker_is_refused_at_once() -> None:
    with pytest.raises(RewardError, match="importable module"):
        TimedReward(FunctionReward(lambda designs: [0.0]))


def test_a_reward_that_no_worker_can_load_says_so(user: ModuleType, tmp_path: Path) -> None:
    reward = TimedReward(FunctionReward(user.work), timeout_s=1.0)
    (tmp_path / "worker_user_module.py").write_text("raise ImportError('gone')")
    with pytest.raises(RewardError, match="gone"):
        reward(["a"])


def test_limits_must_make_sense(user: ModuleType) -> None:
    reward = FunctionReward(user.work)
    with pytest.raises(ConfigError, match="timeout_s"):
        TimedReward(reward, timeout_s=0.0)
    with pytest.raises(ConfigError, match="workers"):
        TimedReward(reward, workers=0)


def test_a_timed_reward_can_be_pickled_and_keeps_what_the_reward_says(user: ModuleType) -> None:
    reward = TimedReward(FunctionReward(user.work, unit="letters"), timeout_s=5.0)
    again = pickle.loads(pickle.dumps(reward))  # noqa: S301
    assert (again.name, again.unit, again.timeout_s) == ("work", "letters", 5.0)
    assert len(again([])) == 0 and not again._pool.workers


def test_arrays_travel_to_workers(user: ModuleType) -> None:
    images = [np.full((2, 2), level) for level in (0.5, 0.0, 0.25, 0.5)]
    with TimedReward(FunctionReward(user.brightest, each=True), timeout_s=20.0) as reward:
        scores = reward(images)
    assert [str(s) for s in scores.status] == ["OK", "FAILED", "OK", "OK"]
    np.testing.assert_array_equal(scores.values, [0.5, np.nan, 0.25, 0.5])


@pytest.mark.parametrize(("workers", "share"), [(1, 4), (2, 2), (5, 1)])
def test_workers_share_the_threads_that_their_parent_has(user: ModuleType, workers: int, share: int) -> None:
    """A network in each worker of five takes one thread, not four."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with TimedReward(FunctionReward(user.threads, each=True), timeout_s=20.0, workers=workers) as reward:
            assert reward(["a"]).values.tolist() == [share]
    finally:
        torch.set_num_threads(before)

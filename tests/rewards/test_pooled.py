"""Scoring over processes: the same scores in the same order, each molecule once, whatever happens to a worker."""

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

from gendesign.building import build, describe
from gendesign.errors import ConfigError, RewardError
from gendesign.rewards import (
    QED,
    FunctionReward,
    GCContent,
    LogP,
    Pooled,
    Reward,
    Status,
    Threshold,
    WeightedSum,
)

MODULE = """
import os, time
from pathlib import Path
from gendesign.rewards import LogP

class Logged(LogP):
    '''Writes down what it is asked, in the worker.'''
    def __init__(self, file):
        super().__init__()
        self.file = file
    def score(self, designs):
        with open(self.file, "a") as log:
            log.write("".join(design + "\\n" for design in designs))
        time.sleep(0.002 * len(designs))
        return super().score(designs)

class Deadly(LogP):
    '''Kills its process for one molecule, and never answers for another.'''
    def score(self, designs):
        if "CCCBr" in designs:
            os._exit(3)
        if "CCCI" in designs:
            time.sleep(60)
        time.sleep(0.005 * len(designs))
        return super().score(designs)
"""
ALKANES = ["C" * n for n in range(1, 150)]


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """A module that workers can import too."""
    folder = tmp_path_factory.mktemp("pooled")
    (folder / "pooled_user_module.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    import pooled_user_module

    yield pooled_user_module
    sys.path.remove(str(folder))
    sys.modules.pop("pooled_user_module", None)


def test_scores_are_those_of_the_reward_in_the_order_of_the_designs() -> None:
    designs = [*ALKANES, "OCC", "", "CCO", "C.C", "C(C)O", "c1ccccc1"]
    with Pooled(WeightedSum([QED(), LogP()])) as reward:
        scores = reward(designs)
        shuffled = np.random.default_rng(0).permutation(len(designs))
        again = reward([designs[i] for i in shuffled])
    alone = WeightedSum([QED(), LogP()])(designs)
    np.testing.assert_array_equal(scores.values, alone.values)
    assert scores.status == alone.status and scores.message == alone.message
    np.testing.assert_array_equal(again.values, scores.values[shuffled])
    assert scores.counts() == {Status.OK: 153, Status.INVALID: 2}


def test_spellings_of_one_molecule_are_scored_once(user: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "asked.txt"
    spellings = [s for n in range(3, 60) for s in ("C" * n + "O", "O" + "C" * n, f"C(O){'C' * (n - 1)}")]
    with Pooled(user.Logged(str(log))) as reward:
        scores = reward(spellings)
    asked = log.read_text().split()
    assert sorted(asked) == sorted("C" * n + "O" for n in range(3, 60))
    np.testing.assert_array_equal(scores.values[0::3], scores.values[1::3])
    np.testing.assert_array_equal(scores.values[0::3], scores.values[2::3])
    np.testing.assert_array_equal(scores.values, LogP()(spellings).values)


def test_a_death_and_a_hang_cost_their_own_molecule(user: ModuleType) -> None:
    designs = [*ALKANES[:40], "BrCCC", *ALKANES[40:60], "ICCC", "CCCBr", *ALKANES[60:80]]
    with Pooled(user.Deadly(), timeout_s=1.2) as reward:
        scores = reward(designs)
    bad = {40: Status.FAILED, 61: Status.TIMED_OUT, 62: Status.FAILED}
    assert {i: s for i, s in enumerate(scores.status) if s is not Status.OK} == bad
    assert "exit code 3" in scores.message[62] and "within 1.2 s" in scores.message[61]
    fine = [i for i in range(len(designs)) if i not in bad]
    np.testing.assert_array_equal(scores.values[fine], LogP()([designs[i] for i in fine]).values)


def test_workers_killed_from_outside_cost_nothing(user: ModuleType, tmp_path: Path) -> None:
    with Pooled(user.Logged(str(tmp_path / "asked.txt"))) as reward:
        assert reward(["C"]).ok.all()

        def kill() -> None:
            for worker in list(reward._pool.workers):
                os.kill(worker.process.pid, signal.SIGKILL)

        timer = threading.Timer(0.15, kill)
        timer.start()
        scores = reward(ALKANES)
        timer.join()
    np.testing.assert_array_equal(scores.values, LogP()(ALKANES).values)


def test_an_interrupted_call_leaves_no_worker_and_keeps_what_it_knew(
    user: ModuleType, tmp_path: Path
) -> None:
    reward = Pooled(user.Deadly(), cache=tmp_path / "cache")
    assert reward(["C"]).ok.all()
    pids = [worker.process.pid for worker in reward._pool.workers]
    threading.Timer(0.6, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        reward([*ALKANES[:20], "CCCI"])
    assert not reward._pool.workers
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    asked = time.monotonic()
    assert (
        reward(ALKANES[:10]).ok.all() and time.monotonic() - asked < 0.5
    )  # from the cache: no worker starts
    assert not reward._pool.workers


def test_steering_sees_the_guide_of_what_is_pooled() -> None:
    strict = Threshold(GCContent(), GCContent(), at_most=0.5, penalty=2.0, strict=True)
    with Pooled(strict, timeout_s=60.0) as reward, reward.guide as guide:  # type: ignore[attr-defined]
        assert isinstance(guide, Pooled) and (guide.processes, guide.timeout_s) == (2, 60.0)
        assert reward(["GGGA"]).status[0] is Status.INVALID
        np.testing.assert_allclose(guide(["GGGA", "GGAA"]).values, [0.75 - 2 * 0.25, 0.5])
    plain = Pooled(GCContent())
    assert plain.guide is plain


def test_it_is_described_pickled_and_moved() -> None:
    reward = Pooled(GCContent(), processes=3, timeout_s=5.0)
    reward.name = "named"
    again = pickle.loads(pickle.dumps(reward))  # noqa: S301
    assert again.processes == 3 and again.name == "named" and describe(again) == describe(reward)
    built = build(describe(reward), kinds=(Reward,))
    assert built.to("cpu")(["ACGG", "acgu"]).values[0] == 0.75
    assert built(["ACGG", "acgu"]).status[1] is Status.INVALID
    built.close()


def test_a_pool_inside_a_pool_is_refused_in_one_line() -> None:
    with pytest.raises(RewardError, match="leave the outer pool away"), Pooled(Pooled(LogP())) as reward:
        reward(["CCO"])


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="processes"):
        Pooled(LogP(), processes=0)
    with pytest.raises(ConfigError, match="timeout_s"):
        Pooled(LogP(), timeout_s=0.0)
    with pytest.raises(ConfigError, match="does not say its version"):
        Pooled(FunctionReward(len, each=True), cache=tmp_path)

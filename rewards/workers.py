"""Timed rewards: scoring in worker processes that can be killed.

A call into a simulator, a docking program or a user's function may hang, or take the whole process with it. A
thread cannot be stopped; a process can. Each worker holds one design at a time, so a design that hangs past
its timeout becomes TIMED_OUT and one that kills its worker FAILED: that design and no other. The worker is
replaced.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import pickle
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from gendesign.building import finite, whole
from gendesign.designs import Design
from gendesign.errors import GendesignError, RewardError
from gendesign.rewards.base import Reward, Scores, Status

STARTUP_S = 120.0
"""A worker that has not loaded its reward after this many seconds will never do so."""


@dataclass
class _Worker:
    """A worker process, the pipe to it, and what it is busy with."""

    process: Any
    pipe: Connection
    deadline: float = field(default_factory=lambda: time.monotonic() + STARTUP_S)
    ready: bool = False
    job: int | None = None

    def kill(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class TimedReward(Reward):
    """Any reward, with a limit on the time that one design may take.

    Scores equal those of the reward itself. Workers start at the first call and stay until `close`, the end
    of a `with` block or the end of the program; the time that they need to start does not count. In a script,
    guard what runs at import with `if __name__ == "__main__":`, as for every use of multiprocessing.

    Args:
        reward: what to score with. It is sent to the workers by pickle: its functions must live in an
            importable module.
        timeout_s: seconds that one design may take.
        workers: number of processes, and of designs scored at a time.

    Raises:
        ConfigError: the timeout is not positive, or there is no worker.
        RewardError: the reward cannot be pickled.
    """

    def __init__(self, reward: Reward, *, timeout_s: float = 60.0, workers: int = 1) -> None:
        self.timeout_s = finite("timeout_s", timeout_s, above=0.0)
        self.workers = whole("workers", workers)
        try:
            self._payload = pickle.dumps(reward)
        except Exception as error:
            raise RewardError(
                f"reward {reward.label!r} cannot be sent to a worker process ({error}); "
                "define its function or class at the top of an importable module, "
                "not as a lambda or inside another function"
            ) from error
        self.reward = reward
        self.name, self.unit, self.direction = reward.label, reward.unit, reward.direction
        self.source, self.trained_on, self.alphabet = reward.source, reward.trained_on, reward.alphabet
        self._pool: list[_Worker] = []
        # Kills what is left when this object is forgotten or the program ends.
        self._cleanup = weakref.finalize(self, _kill_all, self._pool)

    def __getstate__(self) -> dict[str, Any]:
        return {"reward": self.reward, "timeout_s": self.timeout_s, "workers": self.workers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __enter__(self) -> TimedReward:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers; the next call starts new ones."""
        _kill_all(self._pool)

    def unreadable(self, design: Design) -> str:
        return self.reward.unreadable(design)

    def score(self, designs: Sequence[Design]) -> Scores:
        results: list[Scores | None] = [None] * len(designs)
        waiting = deque(range(len(designs)))
        try:
            while any(result is None for result in results):
                for worker in [
                    w for w in self._pool if w.ready and w.job is None and not w.process.is_alive()
                ]:
                    self._pool.remove(worker)  # died while idle: nobody's fault, nothing lost
                    worker.kill()
                busy = sum(1 for w in self._pool if w.job is not None)
                while len(self._pool) < min(self.workers, len(waiting) + busy):
                    self._pool.append(_start(self._payload))
                for worker in self._pool:
                    if worker.ready and worker.job is None and waiting:
                        self._send(worker, waiting.popleft(), designs)
                for index, scores in self._collect():
                    results[index] = scores
        except BaseException:  # Ctrl-C too: no worker outlives the call that it worked for
            self.close()
            raise
        return Scores.concatenate([r for r in results if r is not None])

    def _send(self, worker: _Worker, index: int, designs: Sequence[Design]) -> None:
        worker.job, worker.deadline = index, time.monotonic() + self.timeout_s
        try:
            worker.pipe.send((index, designs[index]))
        except OSError:
            pass  # it died this very moment: `_collect` sees the end of the pipe

    def _collect(self) -> list[tuple[int, Scores]]:
        """Wait for the next answer, death or deadline among the workers that owe something."""
        owing = [w for w in self._pool if w.job is not None or not w.ready]
        limit = min(w.deadline for w in owing) - time.monotonic()
        wait([w.pipe for w in owing], timeout=max(limit, 0.0))
        done: list[tuple[int, Scores]] = []
        for worker in owing:
            try:
                answer = worker.pipe.recv() if worker.pipe.poll() else None
            except (EOFError, OSError):
                done += self._lost(
                    worker, Status.FAILED, f"the worker process died (exit code {_exit_code(worker)})"
                )
                continue
            if isinstance(answer, GendesignError):
                raise answer
            if answer == "ready":
                worker.ready = True
            elif answer is not None:
                worker.job = None
                done.append(answer)
            elif time.monotonic() >= worker.deadline:
                done += self._lost(worker, Status.TIMED_OUT, f"no answer within {self.timeout_s:g} s")
        return done

    def _lost(self, worker: _Worker, status: Status, message: str) -> list[tuple[int, Scores]]:
        """Remove a worker; the design it held, if any, gets the status."""
        self._pool.remove(worker)
        worker.kill()
        if not worker.ready:
            raise RewardError(f"reward {self.label!r} could not be loaded by a worker process: {message}")
        return [] if worker.job is None else [(worker.job, Scores.all(1, status, message))]


def _start(payload: bytes) -> _Worker:
    # A fork server imports once and forks quickly; it never inherits this process's threads or locks.
    methods = mp.get_all_start_methods()
    context: Any = mp.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["gendesign.rewards.base"])
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, payload), daemon=True)
    process.start()
    theirs.close()  # so that the worker's death reads as the end of the pipe
    return _Worker(process, ours)


def _serve(pipe: Connection, payload: bytes) -> None:
    """What a worker does: load the reward, then answer (index, design) with (index, Scores) for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it kills us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        reward = pickle.loads(payload)  # noqa: S301 - from our own parent, not from a file
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        pipe.send(
            RewardError(
                f"the reward could not be loaded by a worker process ({text}); define it in an importable module"
            )
        )
        return
    pipe.send("ready")
    while True:
        try:
            index, design = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((index, reward([design])))
        except GendesignError as error:  # a broken contract, not a broken design
            pipe.send(RewardError(str(error)))


def _die_with_parent() -> None:
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _kill_all(pool: list[_Worker]) -> None:
    while pool:
        pool.pop().kill()


def _exit_code(worker: _Worker) -> int | None:
    worker.process.join(1.0)
    code = worker.process.exitcode
    return None if code is None else int(code)

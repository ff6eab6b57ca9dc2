"""Worker processes that score designs and can be killed.

A call into a simulator, a docking program or a user's function may hang, or take the whole process with it. A thread
cannot be stopped; a process can. Each worker holds a copy of the reward and one question at a time. A worker that does
not answer in time is killed, and one that dies is noticed at once; either is replaced, and the question comes back
as `Lost`.
"""

from __future__ import annotations

import math
import multiprocessing as mp
import os
import pickle
import signal
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from gendesign.designs import Design
from gendesign.errors import GendesignError, RewardError
from gendesign.rewards.base import Reward, Scores, Status

STARTUP_S = 120.0
"""A worker that has not loaded its reward after this many seconds will never do so."""


@dataclass(frozen=True)
class Lost:
    """No answer: why, as the status and message of a design that would be alone to blame."""

    status: Status
    message: str


@dataclass
class Worker:
    """A worker process, the pipe to it, and the question that it is busy with."""

    process: Any
    pipe: Connection
    deadline: float = field(default_factory=lambda: time.monotonic() + STARTUP_S)
    ready: bool = False
    question: Any = None

    def kill(self) -> None:
        """End the process now."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


class WorkerPool:
    """Processes with a copy of a reward each.

    Workers start when there is something to ask and stay until `close`, or the end of the program; the time that they
    need to start does not count. Each has its share of this process's torch threads. In a script, guard what runs at
    import with `if __name__ == "__main__":`, as for every use of multiprocessing.

    Args:
        reward: what they score with. It is sent by pickle: its functions must live in an importable module.
        processes: largest number of workers.
        timeout_s: seconds until a question is given up; inf = never.

    Raises:
        RewardError: the reward cannot be pickled.
    """

    def __init__(self, reward: Reward, *, processes: int, timeout_s: float = math.inf) -> None:
        try:
            self._payload = pickle.dumps(reward)
        except Exception as error:
            raise RewardError(
                f"reward {reward.label!r} cannot be sent to a worker process ({error}); "
                "define its function or class at the top of an importable module, "
                "not as a lambda or inside another function"
            ) from error
        self.label, self.processes, self.timeout_s = reward.label, processes, timeout_s
        self.workers: list[Worker] = []
        self._stillborn = 0
        # a network in each worker would otherwise take all threads for itself
        self._threads = max(1, torch.get_num_threads() // processes)
        # Kills what is left when this object is forgotten or the program ends.
        self._cleanup = weakref.finalize(self, _kill_all, self.workers)

    def close(self) -> None:
        """Kill the workers; the next question starts new ones."""
        _kill_all(self.workers)

    @property
    def busy(self) -> bool:
        """Whether an answer is owed."""
        return any(worker.question is not None for worker in self.workers)

    def idle(self, wanted: int) -> list[Worker]:
        """Workers that can be asked now; new ones are started if fewer than `wanted` are there or on their way."""
        for worker in [w for w in self.workers if w.question is None and not w.process.is_alive()]:
            if worker.ready:  # died while idle: nobody's fault, nothing lost
                self.workers.remove(worker)
                worker.kill()
        busy = sum(1 for w in self.workers if w.question is not None)
        while len(self.workers) < min(self.processes, wanted + busy):
            self.workers.append(_start(self._payload, self._threads))
        return [w for w in self.workers if w.ready and w.question is None]

    def ask(self, worker: Worker, question: Any, task: str, designs: Sequence[Design]) -> None:
        """Give a worker something to do.

        Args:
            worker: one that is idle.
            question: whatever tells the asker what the answer is to.
            task: "spell" or "score".
            designs: with what.
        """
        worker.question, worker.deadline = question, time.monotonic() + self.timeout_s
        try:
            worker.pipe.send((task, list(designs)))
        except OSError:
            pass  # it died this very moment: `answers` sees the end of the pipe

    def answers(self) -> list[tuple[Worker, Any, Any]]:
        """Wait for the next answers, deaths or deadlines.

        Returns:
            (worker, question, answer) each: a list of spellings, `Scores`, or `Lost`, whose worker is gone.

        Raises:
            GendesignError: the reward broke its contract, or no worker can load it.
        """
        owing = [w for w in self.workers if w.question is not None or not w.ready]
        limit = min(w.deadline for w in owing) - time.monotonic()
        wait([w.pipe for w in owing], timeout=None if math.isinf(limit) else max(limit, 0.0))
        found: list[tuple[Worker, Any, Any]] = []
        for worker in owing:
            try:
                answer = worker.pipe.recv() if worker.pipe.poll() else None
            except (EOFError, OSError):
                text = f"the worker process died (exit code {_exit_code(worker)})"
                found += self._lost(worker, Lost(Status.FAILED, text))
                continue
            if isinstance(answer, GendesignError):
                raise answer
            if answer == "ready":
                worker.ready, self._stillborn = True, 0
            elif answer is not None:
                found.append((worker, worker.question, answer))
                worker.question = None
            elif time.monotonic() >= worker.deadline:
                found += self._lost(worker, Lost(Status.TIMED_OUT, f"no answer within {self.timeout_s:g} s"))
        return found

    def _lost(self, worker: Worker, lost: Lost) -> list[tuple[Worker, Any, Any]]:
        """Remove a worker and hand back the question it held, if any."""
        self.workers.remove(worker)
        worker.kill()
        if not worker.ready:
            self._stillborn += 1  # once or twice may be an accident
            if self._stillborn == 3 or lost.status is Status.TIMED_OUT:
                raise RewardError(
                    f"reward {self.label!r} could not be loaded by a worker process: {lost.message}"
                )
        return [] if worker.question is None else [(worker, worker.question, lost)]


def _start(payload: bytes, threads: int) -> Worker:
    if mp.current_process().daemon:
        raise RewardError(
            "a reward that scores in worker processes cannot itself be used in one; leave the outer pool away, "
            "and compare with --jobs 1"
        )
    # A fork server imports once and forks quickly; it never inherits this process's threads or locks.
    methods = mp.get_all_start_methods()
    context: Any = mp.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["gendesign.rewards.base"])
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, payload, threads), daemon=True)
    process.start()
    theirs.close()  # so that the worker's death reads as the end of the pipe
    return Worker(process, ours)


def _serve(pipe: Connection, payload: bytes, threads: int) -> None:
    """What a worker does: load the reward, then answer questions for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it kills us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        reward = pickle.loads(payload)  # noqa: S301 - from our own parent, not from a file
        _ = reward.version  # packages are imported on nobody's time
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        pipe.send(
            RewardError(
                f"the reward could not be loaded by a worker process ({text}); define it in an importable module"
            )
        )
        return
    tasks: dict[str, Callable[[list[Design]], list[Design] | Scores]] = {
        "score": reward,
        "spell": lambda designs: [_spelled(reward, design) for design in designs],
    }
    pipe.send("ready")
    while True:
        try:
            task, designs = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(tasks[task](designs))
        except GendesignError as error:  # a broken contract, not a broken design
            pipe.send(RewardError(str(error)))


def _spelled(reward: Reward, design: Design) -> Design:
    """The canonical spelling; what has none stays as it is, and scoring says why."""
    try:
        return reward.canonical(design)
    except Exception:
        return design


def _die_with_parent() -> None:
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _kill_all(workers: list[Worker]) -> None:
    while workers:
        workers.pop().kill()


def _exit_code(worker: Worker) -> int | None:
    worker.process.join(1.0)
    code = worker.process.exitcode
    return None if code is None else int(code)

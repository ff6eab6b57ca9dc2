"""Rewards over processes: many designs at a time, each molecule once, what is known already from disk.

Designs go to worker processes in portions that shrink toward the end. A portion is spelled canonically first, in the
worker; what another portion is already busy with, or the cache knows, is not scored again. A portion whose worker dies
or does not answer in time is asked again design by design, so that only the one to blame gets FAILED or TIMED_OUT.
Scores stand in the order of the designs, whatever the order of the answers, and equal those of the reward itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from gendesign.building import finite, whole
from gendesign.designs import Design
from gendesign.errors import ConfigError
from gendesign.rewards.base import Reward, Scores
from gendesign.rewards.batches import Batch
from gendesign.rewards.score_cache import ScoreCache
from gendesign.rewards.workers import Lost, Worker, WorkerPool

PORTION_S = 0.5
"""Most seconds of work that are given to a worker at a time."""
MOST = 256
"""Designs of the largest portion."""


class Pooled(Reward):
    """Any reward, scored by worker processes.

    Workers stay until `close`, the end of a `with` block or the end of the program. In YAML:

        class_path: gendesign.rewards.Pooled
        init_args: {reward: {class_path: gendesign.rewards.QED, init_args: {}}, processes: 2, cache: scores}

    Args:
        reward: what to score with; see `WorkerPool` for what it must be able to do.
        processes: number of worker processes.
        cache: folder in which scores are kept; None = they are not. The reward must say its version.
        timeout_s: seconds that one design may take; None = any time.

    Raises:
        ConfigError: no process, a timeout that is not positive, or a cache for a reward that says no version.
        OutputError: the cache's folder cannot be written.
        RewardError: the reward cannot be pickled.
    """

    def __init__(
        self,
        reward: Reward,
        *,
        processes: int = 2,
        cache: str | Path | None = None,
        timeout_s: float | None = None,
    ) -> None:
        if not isinstance(reward, Reward):
            raise ConfigError(
                f"{type(self).__name__} needs a reward (class_path and init_args), got {reward!r}"
            )
        self.reward = reward
        self.processes = whole("processes", processes)
        self.timeout_s = math.inf if timeout_s is None else finite("timeout_s", timeout_s, above=0.0)
        self.cache = None if cache is None else str(cache)
        self.name, self.unit, self.direction = reward.label, reward.unit, reward.direction
        self.source, self.trained_on, self.alphabet = reward.source, reward.trained_on, reward.alphabet
        self._spells = type(reward).canonical is not Reward.canonical
        self._pace = math.inf  # seconds a design, as last seen
        self._prepare()

    def _prepare(self) -> None:
        self._cache = None if self.cache is None else ScoreCache(self.cache, self.reward)
        self._pool = WorkerPool(self.reward, processes=self.processes, timeout_s=self.timeout_s)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_pool", "_cache")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    def __enter__(self) -> Pooled:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers; the next call starts new ones."""
        self._pool.close()

    @property
    def version(self) -> str:
        return self.reward.version

    @property
    def guide(self) -> Reward:
        """The same of the reward's guide."""
        if self.reward.guide is self.reward:
            return self
        timeout_s = None if math.isinf(self.timeout_s) else self.timeout_s
        cache = self.cache if self.reward.guide.version else None
        return Pooled(self.reward.guide, processes=self.processes, cache=cache, timeout_s=timeout_s)

    def to(self, device: str | torch.device) -> Pooled:
        self.reward.to(device)
        self.close()
        self._prepare()
        return self

    def unreadable(self, design: Design) -> str:
        return "" if isinstance(design, str) else self.reward.unreadable(design)  # workers read texts

    def score(self, designs: Sequence[Design]) -> Scores:
        batch = Batch(designs, self._cache)
        try:
            while batch.waiting or self._pool.busy:
                for worker in self._pool.idle(batch.waiting):
                    rows = batch.take(self._portion(batch.waiting))
                    given = [designs[row] for row in rows]
                    if not self._spells:  # a design is its own spelling
                        rows, given = batch.spell(rows, given)
                    self._ask(worker, rows, given, "spell" if self._spells else "score")
                for worker, (rows, task, asked), answer in self._pool.answers():
                    if isinstance(answer, Lost):
                        batch.lose(rows, answer)
                    elif task == "spell":
                        self._ask(worker, *batch.spell(rows, answer), "score")
                    else:
                        self._pace = max((time.monotonic() - asked) / len(rows), 1e-6)
                        batch.answer(rows, answer)
        except BaseException:  # Ctrl-C too: no worker outlives the call that it worked for
            self.close()
            raise
        finally:
            batch.close()
        return batch.scores()

    def _ask(self, worker: Worker, rows: list[int], designs: list[Design], task: str) -> None:
        if rows:
            self._pool.ask(worker, (rows, task, time.monotonic()), task, designs)

    def _portion(self, waiting: int) -> int:
        share = -(-waiting // (2 * self.processes))  # ever smaller ones, so that all end together
        return max(1, min(int(PORTION_S / self._pace), share, MOST))


class TimedReward(Pooled):
    """Any reward, with a limit on the time that one design may take.

    Args:
        reward: what to score with.
        timeout_s: seconds that one design may take.
        workers: number of processes.

    Raises:
        ConfigError: the timeout is not positive, or there is no worker.
        RewardError: the reward cannot be pickled.
    """

    def __init__(self, reward: Reward, *, timeout_s: float = 60.0, workers: int = 1) -> None:
        super().__init__(reward, processes=whole("workers", workers), timeout_s=timeout_s)

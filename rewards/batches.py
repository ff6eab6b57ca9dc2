"""The designs of one call that are scored in portions: what waits, what is known, and who is the same as whom."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Sequence

import numpy as np

from gendesign.designs import Design, key
from gendesign.rewards.base import Scores, Status
from gendesign.rewards.score_cache import Record, ScoreCache
from gendesign.rewards.workers import Lost

KEEP_EVERY_S = 1.0
"""Seconds after which fresh scores are written to the cache, so that little is lost with the program."""


class Batch:
    """A batch between its first look into the cache and its scores.

    Args:
        designs: the batch, without repeats.
        cache: where scores are looked up and kept; None = nowhere.
    """

    def __init__(self, designs: Sequence[Design], cache: ScoreCache | None) -> None:
        self._designs, self._cache = designs, cache
        known = {} if cache is None else cache.find([d for d in designs if isinstance(d, str)])
        self._records = [known.get(d) if isinstance(d, str) else None for d in designs]
        self._open = deque(row for row, record in enumerate(self._records) if record is None)
        self._alone: deque[int] = deque()  # rows whose portion was lost
        self._suspects: set[int] = set()  # rows that were alone with a worker when it died
        self._holders: dict[
            Hashable, list[int]
        ] = {}  # rows of one spelling; the first is the one that is scored
        self._spelled: dict[int, Design] = {}
        self._fresh: dict[str, Record] = {}
        self._kept_at = time.monotonic()

    @property
    def waiting(self) -> int:
        """Number of designs that nobody works on."""
        return len(self._open) + len(self._alone)

    def take(self, most: int) -> list[int]:
        """The rows of the next portion; a row whose portion was lost makes one by itself."""
        if self._alone:
            return [self._alone.popleft()]
        return [self._open.popleft() for _ in range(min(most, len(self._open)))]

    def spell(self, rows: list[int], spellings: Sequence[Design]) -> tuple[list[int], list[Design]]:
        """Note how designs are spelled.

        Returns:
            Those rows, and their spellings, that are to be scored: the first of each spelling that is not known.
        """
        texts = [
            spelling
            for spelling, row in zip(spellings, rows, strict=True)
            if isinstance(spelling, str) and spelling != self._designs[row]
        ]
        known = {} if self._cache is None else self._cache.find(texts)
        chosen = []
        for row, spelling in zip(rows, spellings, strict=True):
            self._spelled[row] = spelling
            holders = self._holders.setdefault(key(spelling), [])
            if row not in holders:
                holders.append(row)
            first = self._records[holders[0]]
            if isinstance(spelling, str) and spelling in known:
                self._settle([row], known[spelling])
            elif first is not None:
                self._settle([row], first)
            elif holders[0] == row:
                chosen.append(row)
        return chosen, [self._spelled[row] for row in chosen]

    def answer(self, rows: list[int], scores: Scores) -> None:
        """Note the scores of rows that were chosen, for all that share their spellings."""
        stds = [None] * len(rows) if scores.std is None else scores.std.tolist()
        for row, value, std, status, message in zip(
            rows, scores.values.tolist(), stds, scores.status, scores.message, strict=True
        ):
            record = (value, std, str(status), message)
            self._settle(self._holders[key(self._spelled[row])], record)
        if time.monotonic() - self._kept_at > KEEP_EVERY_S:
            self.keep()

    def lose(self, rows: list[int], lost: Lost) -> None:
        """A portion without an answer: its designs are asked again alone, and one that was alone is to blame.

        A death may be an accident (a machine out of memory kills anyone), so that it takes two.
        """
        if len(rows) > 1 or (lost.status is Status.FAILED and rows[0] not in self._suspects):
            self._suspects.update(rows if len(rows) == 1 else ())
            self._alone.extend(rows)
            return
        holders = self._holders.get(key(self._spelled[rows[0]]), rows) if rows[0] in self._spelled else rows
        self._settle(holders, (float("nan"), None, str(lost.status), lost.message))

    def keep(self) -> None:
        """Write what is new to the cache."""
        if self._cache is not None and self._fresh:
            self._cache.keep(self._fresh)
        self._fresh, self._kept_at = {}, time.monotonic()

    def close(self) -> None:
        """Write what is new to the cache, and let go of it."""
        self.keep()
        if self._cache is not None:
            self._cache.close()

    def scores(self) -> Scores:
        """The scores of all designs, in their order."""
        records = [record for record in self._records if record is not None]
        values, stds, status, message = zip(*records, strict=True) if records else ((), (), (), ())
        std = None
        if any(one is not None for one in stds):
            std = np.array([np.nan if one is None else one for one in stds])
        return Scores(np.array(values, dtype=np.float64), tuple(map(Status, status)), std, message)

    def _settle(self, rows: Sequence[int], record: Record) -> None:
        for row in rows:
            self._records[row] = record
            for text in (self._designs[row], self._spelled.get(row)):
                if isinstance(text, str):
                    self._fresh[text] = record

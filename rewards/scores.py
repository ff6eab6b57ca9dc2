"""What scoring gives: one value and one status per design.

A value exists only where the status is OK; everywhere else it is NaN, so that no wrong number can be taken
for a right one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from gendesign.errors import RewardError


class Status(StrEnum):
    """How the scoring of one design ended; the later in this list, the worse."""

    OK = "OK"
    INVALID = "INVALID"  # the reward cannot read the design, or a constraint excludes it
    FAILED = "FAILED"  # the reward raised, died, or returned no finite number
    TIMED_OUT = "TIMED_OUT"  # the reward did not answer in time

    @property
    def severity(self) -> int:
        """0 for OK, growing with how wrong things went; composed rewards keep the worst of their parts."""
        return list(Status).index(self)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a batch of designs, in the order of the designs.

    Args:
        values: float64 [n], in the reward's unit. NaN unless the status is OK (enforced); an OK value that is
            not finite becomes FAILED.
        status: one `Status` per design; all OK when left out.
        std: float64 [n], standard deviation of each value, where the reward knows it.
        message: one line per design, empty unless something went wrong.
        seconds: wall time that scoring took.

    Raises:
        RewardError: the lengths differ.
    """

    values: npt.NDArray[np.float64]
    status: tuple[Status, ...] = ()
    std: npt.NDArray[np.float64] | None = None
    message: tuple[str, ...] = ()
    seconds: float = 0.0

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64) + 0.0  # + 0.0: no negative zero
        if values.ndim != 1:
            raise RewardError(f"scores must be one number per design, got an array of shape {values.shape}")
        n = len(values)
        status = [s if type(s) is Status else Status(s) for s in self.status] or [Status.OK] * n
        message = list(self.message) or [""] * n
        std = None if self.std is None else np.array(self.std, dtype=np.float64)
        num_std = n if std is None else len(std)
        for what, length in (("statuses", len(status)), ("messages", len(message)), ("deviations", num_std)):
            if length != n:
                raise RewardError(f"scores of {n} designs need {n} {what}, got {length}")
        for i in np.flatnonzero(~np.isfinite(values)).tolist():
            if status[i] is Status.OK:
                status[i] = Status.FAILED
                message[i] = message[i] or f"the reward returned {values[i]}, which is not a finite number"
        bad = np.array([s is not Status.OK for s in status], dtype=bool)
        values[bad] = np.nan
        if std is not None:
            std[bad] = np.nan
        for name, value in (
            ("values", values),
            ("status", tuple(status)),
            ("std", std),
            ("message", tuple(message)),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def all(cls, n: int, status: Status, message: str) -> Scores:
        """`n` designs without a value, for one and the same reason."""
        return cls(np.full(n, np.nan), (status,) * n, None, (message,) * n)

    @classmethod
    def concatenate(cls, parts: Sequence[Scores]) -> Scores:
        """Join batches in order; the standard deviation is NaN where a part has none."""
        if not parts:
            return cls(np.empty(0))
        std = None
        if any(p.std is not None for p in parts):
            std = np.concatenate([np.full(len(p), np.nan) if p.std is None else p.std for p in parts])
        return cls(
            np.concatenate([p.values for p in parts]),
            tuple(s for p in parts for s in p.status),
            std,
            tuple(m for p in parts for m in p.message),
            sum(p.seconds for p in parts),
        )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Bool [n]: which designs have a value."""
        return np.array([s is Status.OK for s in self.status], dtype=bool)

    def subset(self, index: Iterable[int] | npt.NDArray[Any]) -> Scores:
        """The scores at `index` (integers, in that order, repeats allowed; or a boolean mask of length n)."""
        rows = np.asarray(list(index) if not isinstance(index, np.ndarray) else index)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        return Scores(
            self.values[rows],
            tuple(self.status[i] for i in rows.tolist()),
            None if self.std is None else self.std[rows],
            tuple(self.message[i] for i in rows.tolist()),
            self.seconds,
        )

    def counts(self) -> dict[Status, int]:
        """How many designs ended in each status (only statuses that occur)."""
        return {s: self.status.count(s) for s in Status if s in self.status}

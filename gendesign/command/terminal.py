"""What a run shows while it works: bars on a terminal, a line now and then elsewhere."""

import math
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gendesign.run import Progress

QUIET_SECONDS = 10.0
"""Between two lines where there is no terminal."""


class RunProgress:
    """Shows stage, share done, network evaluations, reward calls and the best value on standard error.

    Args:
        quiet: show nothing.
        unit: unit of the guiding reward.
    """

    def __init__(self, *, quiet: bool = False, unit: str = "") -> None:
        self.quiet = quiet
        self.unit = f" {unit}" if unit else ""
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._stage, self._shown = "", -math.inf

    def __enter__(self) -> "RunProgress":
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description:<16}"), BarColumn(), "{task.percentage:>3.0f}%")
            shown = (TimeRemainingColumn(), TextColumn("{task.fields[spent]}"))
            self._bars = Progress(*columns, *shown, console=Console(stderr=True))
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, progress: "Progress") -> None:
        """Take news of the run."""
        if self.quiet:
            return
        best = "" if math.isnan(progress.best) else f", best {digits(progress.best)}{self.unit}"
        cost = progress.cost
        spent = f"{cost}{best}"
        if self._bars is not None:
            if progress.stage not in self._tasks:
                self._tasks[progress.stage] = self._bars.add_task(
                    progress.stage, total=progress.total, spent=""
                )
            self._bars.update(self._tasks[progress.stage], completed=progress.done, spent=spent)
            return
        now = time.monotonic()
        finished = progress.done >= progress.total
        if finished or progress.stage != self._stage or now - self._shown > QUIET_SECONDS:
            share = 100 * progress.done / max(1, progress.total)
            print(f"{progress.stage}: {share:.0f}%, {spent}", file=sys.stderr, flush=True)
            self._stage, self._shown = progress.stage, now


def digits(value: float) -> str:
    """Three decimals, or three digits of what these would round to next to nothing."""
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.01 else f"{value:.3g}"

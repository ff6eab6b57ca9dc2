"""Rows of a comparison, their medians over seeds, and the tables that are written of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gendesign.comparison.cells import Entry
from gendesign.comparison.config import CURRENCIES
from gendesign.comparison.running import RECORD
from gendesign.errors import OutputError
from gendesign.metrics.summary import bootstrap_interval
from gendesign.report.text import NONE, number


@dataclass(frozen=True)
class Row:
    """One line of results.csv.

    Attributes:
        entry: which run it is.
        status: "OK", "FAILED", or "WAITING" where the run has not been made.
        reason: why it failed.
        figures: what was measured, see `gendesign.comparison.running.figures`.
        unit: of the held-out reward, or of the guide where there is none.
    """

    entry: Entry
    status: str
    reason: str
    figures: dict[str, float | None]
    unit: str = ""


def read_record(folder: Path, entry: Entry) -> dict[str, Any] | None:
    """What the folder of an entry's cell says; None where there is none.

    Raises:
        OutputError: it is of a run with other settings, or damaged.
    """
    assert entry.cell is not None
    path = folder / entry.cell.folder / RECORD
    if not path.exists():
        return None
    try:
        said: dict[str, Any] = json.loads(path.read_text())
        key = said["key"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path} is damaged; delete its folder and resume again, the cell is then redone"
        ) from error
    if key != entry.cell.key:
        raise OutputError(
            f"{path.parent} holds a run with other settings; resume with the same, or choose another folder "
            "(nothing was overwritten)"
        )
    return said


def row_of(folder: Path, entry: Entry) -> Row:
    """The row of an entry, as far as it has been run."""
    if entry.cell is None:
        return Row(entry, "FAILED", entry.reason, {})
    said = read_record(folder, entry)
    if said is None:
        return Row(entry, "WAITING", "", {})
    return Row(entry, said["status"], said["reason"], said["figures"], said.get("unit", ""))


def to_csv(rows: Sequence[Row]) -> str:
    """One line a row; a figure that was not measured is empty."""
    names = sorted({name for row in rows for name in row.figures}, key=_place)
    head = ["task", "method", "seed", "budget_in", "budget", "size", "status", "reason", *names, "folder"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        e = row.entry
        told = [e.task, e.method, e.seed, e.currency, f"{e.budget:g}", e.size, row.status, row.reason]
        measured = [row.figures.get(name) for name in names]
        writer.writerow([*told, *measured, "" if e.cell is None else e.cell.folder])
    return text.getvalue()


_ORDER = ("guide", "heldout", "designs", "naturalness", "diversity", "distinct", "novelty", "kmer", "kl", "alpha",
          "network", "reward", "training", "value", "lookahead", "seconds")  # fmt: skip


def _place(name: str) -> tuple[int, str]:
    return next((i for i, start in enumerate(_ORDER) if name.startswith(start)), len(_ORDER)), name


@dataclass(frozen=True)
class Median:
    """A figure over seeds.

    Attributes:
        value: its median; NaN where no seed has it.
        low: lower end of a 95 % bootstrap interval over seeds.
        high: upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return NONE
        if number(self.low) == number(self.high):
            return number(self.value)
        return f"{number(self.value)} ({number(self.low)} to {number(self.high)})"


@dataclass(frozen=True)
class Summary:
    """A method at a budget, over seeds.

    Attributes:
        task: its name.
        method: its name.
        currency: what the budget is counted in.
        budget: a design.
        size: of the method.
        figures: medians by name.
        num: seeds that ran.
        failures: reasons of those that did not, each once.
        is_base: whether the method needs no reward.
        unit: as in `Row`.
    """

    task: str
    method: str
    currency: str
    budget: float
    size: int | None
    figures: dict[str, Median]
    num: int
    failures: tuple[str, ...]
    is_base: bool
    unit: str

    def __getitem__(self, name: str) -> float:
        """Median of a figure, NaN where it is unknown."""
        return self.figures[name].value if name in self.figures else float("nan")

    @property
    def label(self) -> str:
        """The method with its size."""
        return self.method if self.size is None else f"{self.method} ({self.size:,})"


def summaries(rows: Sequence[Row]) -> list[Summary]:
    """Medians over seeds, in the order of the rows."""
    groups: dict[tuple[str, str, float, str], list[Row]] = {}
    for row in rows:
        e = row.entry
        groups.setdefault((e.task, e.currency, e.budget, e.method), []).append(row)
    return [_summary(group) for group in groups.values()]


def _summary(group: list[Row]) -> Summary:
    fine = [row for row in group if row.status == "OK"]
    names = dict.fromkeys(name for row in fine for name in row.figures)
    figures = {}
    for name in names:
        found = [row.figures.get(name) for row in fine]
        values = np.array([np.nan if value is None else value for value in found])
        known = values[np.isfinite(values)]
        middle = float(np.median(known)) if len(known) else float("nan")
        figures[name] = Median(middle, *bootstrap_interval(values))
    e = group[0].entry
    failures = tuple(dict.fromkeys(row.reason for row in group if row.status == "FAILED"))
    unit = next((row.unit for row in fine), "")
    return Summary(
        e.task, e.method, e.currency, e.budget, e.size, figures, len(fine), failures, e.is_base, unit
    )


COLUMNS = {
    "heldout_median": "held-out",
    "guide_median": "guide",
    "naturalness": "naturalness",
    "diversity": "diversity",
    "kmer_correlation": "k-mer r",
    "kl_bound": "KL bound",
    "network_evaluations": "evaluations",
    "reward_calls": "reward calls",
    "training_calls": "calls in training",
    "value_evaluations": "value evaluations",
    "seconds": "seconds",
}
"""Figures of the tables, and what their columns are called."""


def shown_columns(group: Sequence[Summary]) -> dict[str, str]:
    """Those of `COLUMNS` that any of them has."""
    return {
        name: label for name, label in COLUMNS.items() if any(np.isfinite(summary[name]) for summary in group)
    }


def over_optimised(summary: Summary, group: Sequence[Summary]) -> bool:
    """Whether the guide rose and the held-out reward fell, beyond the intervals, against what needs no reward."""
    bases = [other for other in group if other.is_base and other.budget == summary.budget]
    return any(
        _above(summary, base, "guide_median") and _above(base, summary, "heldout_median") for base in bases
    )


def _above(one: Summary, other: Summary, figure: str) -> bool:
    if figure not in one.figures or figure not in other.figures:
        return False
    return one.figures[figure].low > other.figures[figure].high


def blocks(found: Sequence[Summary]) -> Iterator[tuple[str, str, list[Summary]]]:
    """(task, currency, summaries), in order."""
    for task in dict.fromkeys(summary.task for summary in found):
        for currency in CURRENCIES:
            group = [one for one in found if one.task == task and one.currency == currency]
            if group:
                yield task, currency, group


def to_markdown(found: Sequence[Summary]) -> str:
    """The tables: medians over seeds, with 95 % bootstrap intervals of the median."""
    lines = [
        "Medians over seeds, in brackets the 95 % bootstrap interval of the median. Evaluations and reward calls are a "
        "design's, as spent; the size that fits the budget stands behind a method's name. Calls in training are "
        "those of one network, which serves all designs of all seeds."
    ]
    for task, currency, group in blocks(found):
        columns = shown_columns(group)
        lines += ["", f"### {task}, equal {CURRENCIES[currency]}", ""]
        lines.append("| budget | method | seeds | " + " | ".join(columns.values()) + " |")
        lines.append("|---" * (3 + len(columns)) + "|")
        for one in group:
            cells = [str(one.figures[name]) if name in one.figures else NONE for name in columns]
            note = f"; failed: {'; '.join(one.failures)}" if one.failures else ""
            note += "; over-optimised" if over_optimised(one, group) else ""
            told = [f"{one.budget:,g}", one.label, f"{one.num}{note}".replace("|", "/"), *cells]
            lines.append("| " + " | ".join(told) + " |")
    return "\n".join(lines) + "\n"

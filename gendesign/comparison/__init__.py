"""Methods compared at equal budgets, counted in network evaluations and in reward calls.

`compare` runs every method on every task with every seed; each method gets the size (candidates, particles) with which
it stays within the budget. Every run is kept whole in a folder of its own, as soon as it is finished: a comparison that
was stopped continues, and one that has grown (a method more) runs only what is new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from gendesign.building import whole
from gendesign.comparison.cells import Cell, Entry, plan_entries
from gendesign.comparison.config import Comparison, Task
from gendesign.comparison.page import render_page
from gendesign.comparison.results import Row, Summary, read_record, row_of, summaries, to_csv, to_markdown
from gendesign.comparison.workers import in_this_process, over_processes, over_ray
from gendesign.errors import OutputError
from gendesign.storage import check_folder, write_file, write_text

__all__ = ["Comparison", "Results", "Task", "compare"]

CONFIG, TABLE, MARKDOWN, PAGE = "comparison.yaml", "results.csv", "results.md", "comparison.html"


@dataclass(frozen=True)
class Results:
    """What a comparison found.

    Attributes:
        folder: with results.csv, results.md, comparison.html, and cells/.
        rows: one a task, budget, method and seed.
        summaries: medians over seeds.
    """

    folder: Path
    rows: list[Row]
    summaries: list[Summary]


def compare(
    comparison: Comparison,
    out: str | Path,
    *,
    jobs: int = 1,
    resume: bool = False,
    ray_address: str | None = None,
    progress: Callable[[int, int, Cell, str], None] | None = None,
) -> Results:
    """Run what a comparison asks for, and write its tables and its page.

    Args:
        comparison: methods, tasks, seeds, budgets.
        out: folder of the results.
        jobs: cells at a time, in as many processes; 1 stays in this one. Results are the same, seconds apart. From a
            script, call it under `if __name__ == "__main__":`.
        resume: continue what `out` holds; cells that failed are tried again.
        ray_address: of a Ray cluster to run the cells on ("auto", "ray://HOST:10001", "local"), instead of `jobs`.
        progress: told the number of cells done, that of all, the last one, and why it failed ("" if it did not).

    Raises:
        OutputError: `out` holds something else, or runs with other settings.
        MissingExtraError: Ray is asked for and not installed.
    """
    whole("jobs", jobs)
    folder = Path(out)
    if not (resume and (folder / CONFIG).exists()):
        check_folder(folder)
    entries = list(plan_entries(comparison))
    cells = _unfinished(folder, entries)
    write_text(folder / CONFIG, yaml.safe_dump(comparison.config, sort_keys=False))
    if ray_address is not None:
        finished = over_ray(cells, ray_address)
    elif jobs == 1 or len(cells) < 2:
        finished = in_this_process(cells)
    else:
        finished = over_processes(cells, min(jobs, len(cells)))
    rows = [row_of(folder, entry) for entry in entries]
    for done, (cell, files) in enumerate(finished, start=1):
        write_file(folder / cell.folder, files)
        rows = [row_of(folder, row.entry) if row.entry.cell == cell else row for row in rows]
        if progress is not None:
            record = read_record(folder, Entry("", "", "", 0, 0, cell=cell))
            progress(done, len(cells), cell, "" if record is None else record["reason"])
        write_text(folder / TABLE, to_csv(rows))
    found = summaries(rows)
    write_text(folder / TABLE, to_csv(rows))
    write_text(folder / MARKDOWN, to_markdown(found))
    write_text(folder / PAGE, render_page(comparison, found))
    return Results(folder, rows, found)


def _unfinished(folder: Path, entries: list[Entry]) -> list[Cell]:
    """Each cell once that has not been run with success.

    Raises:
        OutputError: the folder holds a cell with other settings.
    """
    cells: dict[str, Cell] = {}
    for entry in entries:
        if entry.cell is None:
            continue
        record = read_record(folder, entry)
        if record is None or record["status"] != "OK":
            known = cells.setdefault(entry.cell.folder, entry.cell)
            if known.key != entry.cell.key:
                raise OutputError(
                    f"two runs of this comparison would share {entry.cell.folder}; rename a method"
                )
    return list(cells.values())

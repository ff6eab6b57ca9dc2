"""Methods compared at equal budgets, counted in network evaluations and in reward calls.

`compare` runs every method on every task with every seed; each method gets the size (candidates, particles) with which
it stays within the budget, by what it may spend or by what it does. Every run is kept whole in a folder of its own, as
soon as it is finished: a comparison that was stopped continues, and one that has grown (a method more) runs only what
is new.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from gendesign.building import whole
from gendesign.comparison.cells import MOST, Cell, Entry, Place, plan_entries
from gendesign.comparison.config import Comparison, Task
from gendesign.comparison.page import render_page
from gendesign.comparison.results import Row, Summary, read_record, row_of, summaries, to_csv, to_markdown
from gendesign.comparison.sizing import Search
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
    write = _Writer(folder, jobs, ray_address, progress)
    searches = dict[Place, Search]()
    while True:
        entries = list(plan_entries(comparison, searches))
        tried = [one for one in entries if _to_be_tried(one, searches, comparison.seeds[0])]
        cells = _unfinished(folder, tried or entries)
        write_text(folder / CONFIG, yaml.safe_dump(comparison.config, sort_keys=False))
        rows = write(cells, entries)
        if not tried:
            break
        for one in tried:
            search = searches.setdefault(one.place, Search(one.budget, one.size or 1, MOST))
            search.tell(row_of(folder, one).figures.get(one.currency))
    found = summaries(rows)
    write_text(folder / TABLE, to_csv(rows))
    write_text(folder / MARKDOWN, to_markdown(found))
    write_text(folder / PAGE, render_page(comparison, found))
    return Results(folder, rows, found)


@dataclass(frozen=True)
class _Writer:
    """Runs cells, and writes down each as it finishes."""

    folder: Path
    jobs: int
    ray_address: str | None
    progress: Callable[[int, int, Cell, str], None] | None

    def __call__(self, cells: list[Cell], entries: list[Entry]) -> list[Row]:
        if self.ray_address is not None and cells:
            finished = over_ray(cells, self.ray_address)
        elif self.jobs == 1 or len(cells) < 2:
            finished = in_this_process(cells)
        else:
            finished = over_processes(cells, min(self.jobs, len(cells)))
        rows = [row_of(self.folder, entry) for entry in entries]
        for done, (cell, files) in enumerate(finished, start=1):
            write_file(self.folder / cell.folder, files)
            rows = [row_of(self.folder, row.entry) if row.entry.cell == cell else row for row in rows]
            if self.progress is not None:
                record = read_record(self.folder, Entry("", "", "", 0, 0, cell=cell))
                self.progress(done, len(cells), cell, "" if record is None else record["reason"])
            write_text(self.folder / TABLE, to_csv(rows))
        return rows


def _to_be_tried(entry: Entry, searches: Mapping[Place, Search], seed: int) -> bool:
    """Whether a run of this entry says which size is next."""
    if not entry.sought or entry.cell is None or entry.seed != seed:
        return False
    search = searches.get(entry.place)
    return search is None or not search.settled


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

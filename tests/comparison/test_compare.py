"""A comparison: its rows, jobs, kills, failures and files."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import gendesign.comparison as comparing
from gendesign.building import describe
from gendesign.comparison import Comparison, compare
from gendesign.comparison.cells import Cell, contents_of
from gendesign.comparison.workers import over_processes
from gendesign.errors import MissingExtraError, OutputError
from gendesign.rewards.dna import GCContent
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.guidance import Guidance
from gendesign.steering.policy_gradient import PolicyGradient
from gendesign.training.finetuning import FineTuning

LENGTH = 4

Make = Callable[..., Comparison]


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def timeless(folder: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in table(folder)]


def test_rows_files_and_budgets(make: Make, here: Path) -> None:
    told: list[Any] = []
    found = compare(
        make(task={"heldout": GCContent()}, reward_calls=[8]), here, progress=lambda *news: told.append(news)
    )
    rows = table(here)
    assert len(rows) == len(found.rows) == 12 and {row["status"] for row in rows} == {"OK"}
    for row in rows:
        assert float(row[row["budget_in"]]) <= float(row["budget"])
        assert float(row["guide_median"]) == float(row["heldout_median"])
        assert (
            float(row["guide_lower_quartile"])
            <= float(row["guide_median"])
            <= float(row["guide_upper_quartile"])
        )
        assert float(row["naturalness"]) < 0 <= float(row["kl_bound"]) and float(row["designs_ok"]) == 6
        own = here / row["folder"]
        assert json.loads((own / "cell.json").read_text())["spec"]["seed"] == int(row["seed"])
        assert (own / "designs.fasta").is_file() and (own / "designs.csv").is_file()
    medians = {
        one.method: one["guide_median"] for one in found.summaries if one.currency == "network_evaluations"
    }
    assert medians["svdd"] > medians["unsteered"] < medians["best_of_n"]
    assert [news[0] for news in told] == list(range(1, len(told) + 1)) and told[-1][1] == len(told)
    page = (here / "comparison.html").read_text()
    assert page.count("<svg") >= 8 and "<script" not in page
    assert "src=" not in page and "equal reward calls" in page and "svdd (13)" in page
    assert "| 40 | svdd (13) | 2 |" in (here / "results.md").read_text()
    assert Comparison(**yaml.safe_load((here / "comparison.yaml").read_text())).config["seeds"] == [0, 1]


def test_sizes_by_what_is_spent(make: Make, here: Path) -> None:
    """Most of SVDD's candidates are alike here, so that its bound leaves a third of the budget."""
    budget = 10.0
    few = {"methods": {"svdd": make().methods["svdd"]}, "seeds": 3}
    few |= {"reward_calls": [budget], "network_evaluations": []}
    by_bound = compare(make(**few), here / "bound")
    found = compare(make(sizes="spent", **few), here / "spent")
    assert {row.entry.size for row in by_bound.rows} == {2}
    assert all(float(row.figures["reward_calls"] or 0) < 0.7 * budget for row in by_bound.rows)
    calls = [float(row.figures["reward_calls"] or 0) for row in found.rows]
    assert 0.9 * budget <= calls[0] <= 1.05 * budget
    assert all(0.85 * budget <= each <= 1.15 * budget for each in calls)
    (size,) = {row.entry.size for row in found.rows}
    kept = {path: path.stat().st_mtime_ns for path in (here / "spent").rglob("cell.json")}
    assert size is not None and len(kept) > 3  # what was tried is kept, too
    again = compare(make(sizes="spent", **few), here / "spent", resume=True)
    assert [row.figures for row in again.rows] == [row.figures for row in found.rows]
    assert kept == {path: path.stat().st_mtime_ns for path in (here / "spent").rglob("cell.json")}
    page = (here / "spent" / "comparison.html").read_text()
    assert f"svdd ({size})" in page and "spent about the budget" in page


def test_a_budget_too_small_for_any_size_has_a_reason(make: Make, here: Path) -> None:
    """The bound alone refuses nothing here: what the smallest size spends does."""
    found = compare(make(reward_calls=[2], network_evaluations=[], sizes="spent", seeds=1), here)
    status = {row.entry.method: (row.status, row.reason) for row in found.rows}
    assert status["unsteered"][0] == status["best_of_n"][0] == "OK"
    assert status["svdd"][0] == "FAILED" and "at size 1, the budget is 2; raise it" in status["svdd"][1]


def test_a_task_has_methods_of_its_own(make: Make, here: Path, folder: str, tmp_path: Path) -> None:
    """They run in it alone, at their own size, and say how many rewards their training asked for."""
    tuned = FineTuning(folder, GCContent(), PolicyGradient(), steps=LENGTH, batch_size=3)
    tuned.reward_calls = 12
    tuned.save_pretrained(tmp_path / "tuned")
    own = {"tuned": PolicyGradient(tuned=str(tmp_path / "tuned")), "wide": BestOfN(candidates=99)}
    plain = make().config["tasks"]["tiny"]
    comparison = make(tasks={"one": {**plain, "methods": own}, "two": plain}, seeds=1, sizes="spent")
    assert comparison.method_names == ["unsteered", "best_of_n", "svdd", "tuned", "wide"]
    found = compare(comparison, here)
    ran = {(row.entry.task, row.entry.method): row for row in found.rows}
    assert {method for task, method in ran if task == "two"} == {"unsteered", "best_of_n", "svdd"}
    assert {row.status for row in found.rows} == {"OK"} and ran["one", "wide"].entry.size == 99
    assert ran["one", "tuned"].figures["training_calls"] == 12
    assert ran["one", "svdd"].figures["training_calls"] is None
    text = (here / "results.md").read_text()
    assert "calls in training" in text and "| 40 | wide (99) |" in text
    # the same cell as without them: a method that comes later makes nothing of the others old
    cells = {cell.name: cell for cell in (here / "cells/one").iterdir()}
    assert "methods" not in json.loads((cells["unsteered"] / "seed-0/cell.json").read_text())["spec"]["task"]
    assert Comparison(**yaml.safe_load((here / "comparison.yaml").read_text())).config == comparison.config


@pytest.mark.whole
@pytest.mark.parametrize(
    "seeds", [1, pytest.param(3, marks=pytest.mark.slow)]
)  # each death costs an import of torch
def test_jobs_change_nothing_and_a_dead_worker_costs_its_cell_alone(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int
) -> None:
    """Two processes give what one gives; a reward that kills its process is recorded, and another takes its place."""
    methods = {"best_of_n": make().methods["best_of_n"]}
    compare(make(methods=methods, seeds=seeds), tmp_path / "one")
    (tmp_path / "deadly_rewards.py").write_text(
        "import os\n\n\ndef deadly(designs):\n    os.kill(os.getpid(), 9)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    reward = {
        "class_path": "gendesign.rewards.FunctionReward",
        "init_args": {"function": "deadly_rewards.deadly", "name": "deadly"},
    }
    tiny = make().config["tasks"]["tiny"]
    tasks = {"deadly": {**tiny, "reward": reward}, "tiny": tiny}
    compare(
        make(methods=methods, seeds=seeds, tasks=tasks, trust=["deadly_rewards"]), tmp_path / "two", jobs=2
    )
    rows = timeless(tmp_path / "two")
    assert [row for row in rows if row["task"] == "tiny"] == timeless(tmp_path / "one")
    dead = [row for row in rows if row["task"] == "deadly"]
    assert len(dead) == seeds and {row["status"] for row in dead} == {"FAILED"}
    assert all("died (exit code -9)" in row["reason"] for row in dead)


def test_a_worker_that_died_while_idle_costs_one_cell(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = multiprocessing.Pipe()
    theirs.close()
    monkeypatch.setattr(
        "gendesign.comparison.workers._start",
        lambda context: (ours, SimpleNamespace(join=lambda: None, terminate=lambda: None, exitcode=-9)),
    )
    cell = Cell("cells/one", {})
    ((done, files),) = over_processes([cell], 1)
    assert done is cell and "died (exit code -9)" in json.loads(files["cell.json"])["reason"]  # type: ignore[arg-type]


def test_a_failing_cell_is_recorded_and_stops_nothing(make: Make, here: Path) -> None:
    methods = {**make().methods, "guided": Guidance(alpha=0.1)}
    found = compare(make(methods=methods, task={"reward": "dna-synthesis"}, seeds=1), here)
    status = {row.entry.method: row.status for row in found.rows}
    assert status == {"unsteered": "OK", "best_of_n": "OK", "svdd": "OK", "guided": "FAILED"}
    reason = next(row["reason"] for row in table(here) if row["method"] == "guided")
    assert "differentiable" in reason and "SVDD" in reason
    assert "differentiable" in (here / "comparison.html").read_text()
    assert "differentiable" in (here / "results.md").read_text()


def test_finished_cells_are_kept_failed_ones_tried_again_and_new_methods_added(
    make: Make, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    perform = comparing.workers.perform

    def watched(spec: Any, key: str) -> Any:
        ran.append(spec["method"]["class_path"].rpartition(".")[2])
        return perform(spec, key)

    monkeypatch.setattr(comparing.workers, "perform", watched)
    all_methods = make().methods
    some = {name: all_methods[name] for name in ("unsteered", "svdd")}
    compare(make(methods=some, seeds=1), here)
    assert ran == ["Unsteered", "SVDD"]
    before = timeless(here)
    with pytest.raises(OutputError, match="--resume"):
        compare(make(methods=some, seeds=1), here)
    compare(make(seeds=1), here, resume=True)
    assert ran == ["Unsteered", "SVDD", "BestOfN"]
    assert [row for row in timeless(here) if row["method"] != "best_of_n"] == before
    record = here / "cells/tiny/unsteered/seed-0/cell.json"
    said = json.loads(record.read_text())
    record.write_text(json.dumps(said | {"status": "FAILED", "reason": "bad luck"}))
    compare(make(seeds=1), here, resume=True)
    assert ran[3:] == ["Unsteered"]
    with pytest.raises(OutputError, match="other settings"):
        compare(make(seeds=1, task={"num_designs": 7}), here, resume=True)
    record.write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        compare(make(seeds=1), here, resume=True)


@pytest.mark.whole
def test_a_killed_comparison_continues(make: Make, here: Path, folder: str, tmp_path: Path) -> None:
    """kill -9 after a few cells: what was finished stays as it is, and the whole equals a run that was left alone."""
    whole = make(seeds=12, methods={"svdd": make().methods["svdd"]})
    config = tmp_path / "killed.yaml"
    config.write_text(yaml.safe_dump({k: v for k, v in whole.config.items() if k != "device"}))
    command = [
        sys.executable,
        "-c",
        "from gendesign.cli import main; main()",
        "compare",
        str(config),
        f"out={here}",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    cells = here / "cells/tiny/svdd-13"
    deadline = time.monotonic() + 60
    while len(list(cells.glob("seed-*"))) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in cells.glob("seed-*/cell.json")}
    assert 2 <= len(kept) < 12
    compare(whole, here, resume=True)
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    compare(whole, tmp_path / "alone")
    assert timeless(here) == timeless(tmp_path / "alone")


def test_a_folder_of_something_else_is_left_alone(make: Make, here: Path) -> None:
    here.mkdir()
    (here / "thesis.txt").write_text("mine")
    for resume in (False, True):
        with pytest.raises(OutputError):
            compare(make(), here, resume=resume)
    assert [path.name for path in here.iterdir()] == ["thesis.txt"]


def test_without_ray_the_extra_is_named(make: Make, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"gendesign\[ray\]"):
        compare(make(), here, ray_address="local")


@pytest.mark.slow
def test_a_ray_cluster_gives_the_same(make: Make, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    compare(make(), tmp_path / "here")
    compare(make(), tmp_path / "ray", ray_address="local")
    assert timeless(tmp_path / "here") == timeless(tmp_path / "ray")


def test_methods_are_written_down_with_their_settings(make: Make, here: Path) -> None:
    comparison = make(seeds=1)
    compare(comparison, here)
    said = yaml.safe_load((here / "comparison.yaml").read_text())["methods"]["svdd"]
    assert said == comparison.methods["svdd"] and said["init_args"]["candidates"] == 10
    assert describe(GCContent())["class_path"].endswith("GCContent")


def test_contents_are_of_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers, nothing and an empty text name no file, wherever the user stands: here in the folder of a run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("a: 1")
    (tmp_path / "goal.yaml").write_text("b: 2")
    named = {
        "start": None,
        "steps": 5,
        "template": "",
        "reward": "goal.yaml",
        "methods": [{"tuned": "no.yaml"}],
    }
    assert list(contents_of(named)) == ["goal.yaml"]
    assert contents_of({"tuned": str(tmp_path)}).keys() == {str(tmp_path)}


def test_a_comparison_is_not_resumed_with_what_files_hold_now(make: Make, here: Path, tmp_path: Path) -> None:
    """A reward by its file, edited in between: half of a table would be of another goal."""
    file = tmp_path / "goal.yaml"
    file.write_text("class_path: gendesign.rewards.GCContent\n")
    given = make(seeds=1, task={"reward": str(file)})
    compare(given, here)
    compare(given, here, resume=True)
    file.write_text("class_path: gendesign.rewards.GCContent\ninit_args: {target: [0.4, 0.6]}\n")
    with pytest.raises(OutputError, match="other settings"):
        compare(given, here, resume=True)

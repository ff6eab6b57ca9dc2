"""Budgets become sizes, and what cannot be sized is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from gendesign.comparison import Comparison
from gendesign.comparison.cells import Entry, at_size, backbone_of, most, plan_entries, read_method, sized
from gendesign.comparison.config import Task
from gendesign.errors import ConfigError
from gendesign.rewards.dna import GCContent
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered

Make = Callable[..., Comparison]


def spent(method: Any, task: Task, currency: str) -> float:
    cost = most(method, backbone_of(task.backbone, "cpu", ()), task)
    return {"network_evaluations": cost.network_rows, "reward_calls": cost.reward_calls}[
        currency
    ] / task.num_designs


@pytest.mark.parametrize("currency", ["network_evaluations", "reward_calls"])
@pytest.mark.parametrize("method", [BestOfN(alpha=0.1), SVDD(alpha=0.1), SVDD()])
@pytest.mark.parametrize("budget", [250, 301.5, 1000])
def test_the_size_is_the_largest_whose_bound_fits(
    folder: str, currency: str, method: Any, budget: float
) -> None:
    """The pilot that alpha='auto' needs counts too."""
    task = Task(folder, GCContent(), steps=4, num_designs=6)
    fitted = sized(method, backbone_of(folder, "cpu", ()), task, currency, budget)
    assert type(fitted) is type(method) and fitted.alpha == method.alpha
    assert (
        spent(fitted, task, currency)
        <= budget
        < spent(at_size(fitted, fitted.candidates + 1), task, currency)
    )


def test_sizes_by_hand(folder: str) -> None:
    """Best-of-N at T = 4 steps: 4 N evaluations and N calls; SVDD: 1 + 3 M evaluations and 1 + 4 M calls."""
    task, backbone = Task(folder, GCContent(), steps=4, num_designs=6), backbone_of(folder, "cpu", ())
    for method, currency, budget, size in (
        (BestOfN(alpha=1.0), "network_evaluations", 41, 10),
        (BestOfN(alpha=1.0), "reward_calls", 41, 41),
        (SVDD(alpha=1.0), "network_evaluations", 41, 13),
        (SVDD(alpha=1.0), "reward_calls", 41, 10),
    ):
        assert sized(method, backbone, task, currency, budget).candidates == size  # type: ignore[attr-defined]


def test_a_fixed_cost_stays_and_must_fit(folder: str) -> None:
    task, backbone = Task(folder, GCContent(), steps=4, num_designs=6), backbone_of(folder, "cpu", ())
    assert sized(Unsteered(), backbone, task, "network_evaluations", 4) == Unsteered()
    assert sized(Unsteered(), backbone, task, "reward_calls", 1) == Unsteered()
    with pytest.raises(ConfigError, match="4 network evaluations a design, the budget is 3"):
        sized(Unsteered(), backbone, task, "network_evaluations", 3)
    with pytest.raises(ConfigError, match="at candidates=1, the budget is 2"):
        sized(SVDD(alpha=1.0), backbone, task, "reward_calls", 2)


@dataclass(frozen=True)
class Unbounded(BestOfN):
    """A method whose size costs nothing that is counted."""

    def bound(self, num: int, plan: Any) -> Any:
        return Unsteered().bound(num, plan)


def test_a_size_that_costs_nothing_stays(folder: str) -> None:
    task, backbone = Task(folder, GCContent(), steps=4, num_designs=6), backbone_of(folder, "cpu", ())
    method = Unbounded(candidates=7, alpha=1.0)
    assert sized(method, backbone, task, "network_evaluations", 9) == method


def test_the_tasks_temperature_is_everyones_unless_a_method_has_its_own(folder: str) -> None:
    task = Task(folder, GCContent(), alpha=0.25)
    path = "gendesign.steering.svdd.SVDD"
    assert read_method({"class_path": path}, task).alpha == 0.25  # type: ignore[attr-defined]
    own = read_method({"class_path": path, "init_args": {"alpha": 2.0}}, task)
    assert own.alpha == 2.0  # type: ignore[attr-defined]
    assert read_method({"class_path": "gendesign.steering.unsteered.Unsteered"}, task) == Unsteered()
    with pytest.raises(ConfigError, match="no steering method"):
        read_method({"class_path": "gendesign.steering.value.PosteriorMode"}, task)


def test_entries_share_cells(make: Make) -> None:
    """A method of fixed cost is run once whatever the budgets; rows keep their order."""
    comparison = make(network_evaluations=[40, 20], reward_calls=[5])
    entries = list(plan_entries(comparison))
    assert len(entries) == 3 * 3 * 2
    assert [e.budget for e in entries[::6]] == [20, 40, 5]
    unsteered = [e for e in entries if e.method == "unsteered"]
    assert len({e.cell.folder for e in unsteered if e.cell}) == 2 and all(e.is_base for e in unsteered)
    assert {e.seed for e in entries} == {0, 1}
    same = {e.cell.folder: e.cell.key for e in entries if e.cell}
    assert all(same[e.cell.folder] == e.cell.key for e in entries if e.cell)


def reasons(comparison: Comparison) -> dict[str, str]:
    return {e.method: e.reason for e in plan_entries(comparison) if isinstance(e, Entry)}


def test_what_cannot_be_run_has_a_reason(make: Make) -> None:
    found = reasons(make(network_evaluations=[3]))
    assert "the budget is 3" in found["svdd"] and "raise it" in found["unsteered"]
    found = reasons(make(task={"backbone": "nowhere"}))
    assert all("nowhere" in reason for reason in found.values())
    methods = {"wrong": {"class_path": "gendesign.steering.svdd.SVDD", "init_args": {"candidates": 0}}}
    assert "candidates" in reasons(make(methods=methods))["wrong"]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"methods": {}}, "at least one method"),
        ({"tasks": {}}, "one task"),
        ({"seeds": []}, "one seed"),
        ({"seeds": 0}, "seeds must be a whole number"),
        ({"network_evaluations": []}, "needs a budget"),
        ({"network_evaluations": [0]}, "above 0"),
        ({"methods": {"a/b": Unsteered()}}, "letters, digits"),
        ({"methods": {"a": 3}}, "class_path"),
        ({"sizes": "guessed"}, "sizes must be one of bound, spent"),
        ({"task": {"methods": {"a": 3}}}, "task 'tiny': method 'a' must be a steering method"),
        ({"task": {"methods": 3}}, "task 'tiny': methods must map names"),
        ({"task": {"steps": 0}}, "task 'tiny': steps"),
        ({"task": {"alpha": -1.0}}, "alpha must be above 0"),
        ({"task": {"reward": None}}, "needs a reward"),
        ({"task": {"rewards": "x"}}, "did you mean 'reward'"),
        ({"tasks": {"t": 3}}, "must have backbone"),
    ],
)
def test_bad_comparisons_are_refused(make: Make, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make(**changes)


def test_a_comparison_is_made_again_from_its_plain_data(make: Make) -> None:
    first = make(seeds=[3, 5])
    assert Comparison(**first.config).config == first.config

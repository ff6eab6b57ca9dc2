"""Medians over seeds, what is said of them, and what dominates what."""

from __future__ import annotations

from typing import Any

from gendesign.comparison.cells import Entry
from gendesign.comparison.panels import undominated
from gendesign.comparison.results import Row, over_optimised, summaries, to_csv, to_markdown


def row(method: str, seed: int, *, status: str = "OK", base: bool = False, **figures: Any) -> Row:
    entry = Entry("task", method, "reward_calls", 10.0, seed, 3, is_base=base)
    return Row(entry, status, "" if status == "OK" else "out of luck", figures, "nats")


def test_medians_leave_out_what_is_unknown_or_failed() -> None:
    rows = [
        row("a", 0, guide_median=1.0, naturalness=None),
        row("a", 1, guide_median=2.0, naturalness=None),
        row("a", 2, guide_median=9.0, naturalness=-1.0),
        row("a", 3, status="FAILED"),
    ]
    (found,) = summaries(rows)
    assert found["guide_median"] == 2.0 and found["naturalness"] == -1.0 and found.num == 3
    assert found.figures["guide_median"].low >= 1.0 and found.figures["guide_median"].high <= 9.0
    assert found.failures == ("out of luck",) and found.label == "a (3)" and found.unit == "nats"
    text = to_markdown([found])
    assert "3; failed: out of luck" in text and "| 10 | a (3) |" in text and "held-out" not in text
    assert to_csv(rows).splitlines()[4].startswith("task,a,3,reward_calls,10,3,FAILED,out of luck,,")


def test_a_guide_that_rises_while_the_audit_falls_is_over_optimised() -> None:
    rows = [
        row("base", seed, base=True, guide_median=1.0 + seed / 9, heldout_median=1.0) for seed in range(3)
    ]
    rows += [row("hacked", seed, guide_median=3.0, heldout_median=0.5) for seed in range(3)]
    rows += [row("fine", seed, guide_median=2.0, heldout_median=1.5) for seed in range(3)]
    rows += [row("unclear", seed, guide_median=2.0, heldout_median=0.6 + 0.3 * seed) for seed in range(3)]
    found = {one.method: one for one in summaries(rows)}
    group = list(found.values())
    assert [name for name, one in found.items() if over_optimised(one, group)] == ["hacked"]
    assert "over-optimised" in to_markdown(group)


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    points = [(0.0, 3.0), (1.0, 2.0), (1.0, 1.0), (0.5, 2.0), (2.0, 0.0), (-1.0, 3.0)]
    assert undominated(points) == [(0.0, 3.0), (1.0, 2.0), (2.0, 0.0)]

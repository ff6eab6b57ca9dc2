"""comparison.html: one file that loads nothing, in the look of the report of a run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from gendesign.comparison.config import CURRENCIES, Comparison
from gendesign.comparison.panels import budget_panel, pareto_panel, styles
from gendesign.comparison.results import Summary, blocks, over_optimised, shown_columns
from gendesign.report.svg import PALETTE
from gendesign.report.text import NONE, number

if TYPE_CHECKING:
    import jinja2

PANELS = {
    "heldout_median": ("Held-out reward", "held-out reward, median"),
    "guide_median": ("Guiding reward", "guiding reward, median"),
    "naturalness": ("Naturalness", "log-likelihood, nats a token"),
    "diversity": ("Diversity", "mean distance of two designs"),
    "kmer_correlation": ("Likeness to the best natural designs", "correlation of k-mer spectra"),
}
"""Figures drawn against the budget: title and axis."""


def render_page(comparison: Comparison, found: Sequence[Summary]) -> str:
    """The page.

    Args:
        comparison: what was compared.
        found: medians over seeds.
    """
    import yaml

    drawn = styles(comparison.method_names)
    tasks = [_task(i, task, found, drawn) for i, task in enumerate(comparison.tasks)]
    failures = [
        f"{one.task}, {one.label}, {one.budget:,g} {CURRENCIES[one.currency]}: {reason}"
        for one in found
        for reason in one.failures
    ]
    return _template().render(
        palette=PALETTE,
        tasks=tasks,
        failures=list(dict.fromkeys(failures)),
        num_seeds=len(comparison.seeds),
        methods=comparison.method_names,
        sizes=comparison.sizes,
        config=yaml.safe_dump(comparison.config, sort_keys=False, allow_unicode=True),
    )


@cache
def _template() -> jinja2.Template:
    import jinja2

    loaders = [jinja2.PackageLoader(package, ".") for package in ("gendesign.comparison", "gendesign.report")]
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(loaders),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("comparison.html.jinja")


def _task(
    place: int, task: str, found: Sequence[Summary], drawn: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    group = [one for one in found if one.task == task]
    unit = next((one.unit for one in group if one.unit), "")
    sections = [
        _section(f"t{place}c{i}", currency, own, drawn) for i, (_, currency, own) in enumerate(blocks(group))
    ]
    return {
        "name": task,
        "headline": _headline(group),
        "sections": sections,
        "pareto": Markup(pareto_panel(f"t{place}p", group, unit=unit, drawn=drawn)),
    }


def _section(
    name: str, currency: str, group: list[Summary], drawn: dict[str, tuple[str, str]]
) -> dict[str, Any]:
    counted = CURRENCIES[currency]
    panels = []
    for figure, (title, axis) in PANELS.items():
        if any(np.isfinite(one[figure]) for one in group):
            svg = budget_panel(
                f"{name}{figure.replace('_', '')}",
                group,
                figure,
                title=f"{title} against {counted}",
                axes=(f"{counted} a design, at most", axis),
                drawn=drawn,
            )
            panels.append((title, Markup(svg)))
    columns = shown_columns(group)
    budgets = []
    for budget in dict.fromkeys(one.budget for one in group):
        lines = []
        for one in group:
            if one.budget != budget:
                continue
            cells = [_cell(one, column) for column in columns]
            lines.append(
                {
                    "label": one.label,
                    "colour": drawn[one.method][0],
                    "cells": cells,
                    "num": one.num,
                    "failed": bool(one.failures),
                    "warned": over_optimised(one, group),
                }
            )
        budgets.append((f"{budget:,g}", lines))
    return {"counted": counted, "columns": list(columns.values()), "budgets": budgets, "panels": panels}


def _cell(one: Summary, figure: str) -> tuple[str, str]:
    """A median, and its interval where it is one."""
    if figure not in one.figures or not np.isfinite(one[figure]):
        return NONE, ""
    low, high = number(one.figures[figure].low), number(one.figures[figure].high)
    return number(one[figure]), "" if low == high else f"{low} to {high}"


def _headline(group: Sequence[Summary]) -> str:
    """Which method is best at the largest budget of each currency, by the audit where there is one."""
    said = []
    for _, currency, own in blocks(group):
        budget = max(one.budget for one in own)
        for figure, words in (("heldout_median", "held-out reward"), ("guide_median", "guiding reward")):
            known = [one for one in own if one.budget == budget and np.isfinite(one[figure])]
            if known:
                best = max(known, key=lambda one: one[figure])
                said.append(
                    f"at {budget:,g} {CURRENCIES[currency]} a design the highest {words} is {best.method}'s, "
                    f"{number(best[figure])}"
                )
                break
    text = "; ".join(said)
    return f"{text[:1].upper()}{text[1:]}." if text else "No run of this task succeeded."

"""Figures of a comparison: each measure against the budget; what the held-out reward costs in naturalness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from gendesign.comparison.results import Summary
from gendesign.report.svg import PALETTE, canvas, finish

COLOURS, MARKERS = ("natural", "base", "steered", "A", "T", "G", "C", "other"), "Dos^vPX*"
"""Colour and marker of the first method, the second, ...; no meaning rests on colour alone."""


Styles = dict[str, tuple[str, str]]


def styles(methods: Sequence[str]) -> Styles:
    """Colour and marker of each method."""
    return {name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i, name in enumerate(methods)}


def budget_panel(
    name: str, group: Sequence[Summary], figure: str, *, title: str, axes: tuple[str, str], drawn: Styles
) -> str:
    """A figure against the budget, one line a method, with intervals over seeds.

    Args:
        name: prefix of the ids within the page.
        group: summaries of one task and currency.
        figure: which one.
        title: for readers who do not see it.
        axes: what x and y show.
        drawn: colour and marker of each method.

    Returns:
        inline SVG.
    """
    with canvas(270) as (drawing, ax):
        budgets = sorted({one.budget for one in group})
        for method, (colour, marker) in drawn.items():
            points = [one for one in group if one.method == method and np.isfinite(one[figure])]
            if not points:
                continue
            x = [one.budget for one in points]
            y = np.array([one[figure] for one in points])
            ends = np.array([[one.figures[figure].low, one.figures[figure].high] for one in points]).T
            shade = PALETTE[colour]
            ax.errorbar(x, y, np.abs(ends - y), color=shade, linewidth=1.4, elinewidth=1.0, marker=marker,
                        markersize=5.5, label=method)  # fmt: skip
        if len(budgets) > 1:
            ax.set_xscale("log")
        ax.set_xticks(budgets, [f"{budget:,g}" for budget in budgets])
        ax.set_xticks([], minor=True)
        ax.set_xlabel(axes[0])
        ax.set_ylabel(axes[1])
        _key(ax)
        return finish(drawing, name, title)


def pareto_panel(name: str, group: Sequence[Summary], *, unit: str, drawn: Styles) -> str:
    """Held-out reward against naturalness, one point a method and budget; the dashed line joins the undominated.

    Args:
        name: prefix of the ids within the page.
        group: summaries of one task, every currency.
        unit: of the reward.
        drawn: colour and marker of each method.

    Returns:
        inline SVG; "" where no point has both.
    """
    reward = "heldout_median" if any(np.isfinite(one["heldout_median"]) for one in group) else "guide_median"
    points = [one for one in group if np.isfinite(one[reward]) and np.isfinite(one["naturalness"])]
    if not points:
        return ""
    with canvas(300) as (drawing, ax):
        front = undominated([(one["naturalness"], one[reward]) for one in points])
        ax.plot(*np.array(front).T, color=PALETTE["natural"], linewidth=1.1, dashes=(4.0, 3.0))
        largest = max(one.budget for one in points)
        for method, (colour, marker) in drawn.items():
            own = [one for one in points if one.method == method]
            sizes = [18 + 60 * np.sqrt(one.budget / largest) for one in own]
            x, y = [one["naturalness"] for one in own], [one[reward] for one in own]
            ax.scatter(x, y, s=sizes, marker=marker, color=PALETTE[colour], alpha=0.75, linewidths=0,
                       label=method, clip_on=False)  # fmt: skip
        ax.set_xlabel("naturalness (log-likelihood, nats a token)")
        named = "held-out reward" if reward == "heldout_median" else "guiding reward"
        ax.set_ylabel(f"{named}{f' ({unit})' if unit else ''}")
        _key(ax)
        return finish(drawing, name, f"{named} against naturalness, one point a method and budget")


def undominated(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points to which no other is at least equal in both coordinates and better in one, by the first."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted(set(points), key=lambda point: (-point[0], -point[1])):
        if not kept or y > kept[-1][1]:
            kept.append((x, y))
    return kept[::-1]


def _key(ax: Axes) -> None:
    """Names of the methods above the panel."""
    handles, labels = ax.get_legend_handles_labels()
    if labels:
        ax.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=3,
            frameon=False,
            fontsize=9.5,
            handletextpad=0.3,
            handlelength=1.4,
            columnspacing=1.0,
            borderpad=0,
            labelcolor=PALETTE["ink"],
        )

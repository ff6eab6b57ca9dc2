"""Panels of columns of numbers: how they are distributed, and how they run along the steps of a sequence."""

from collections.abc import Sequence

import numpy as np

from gendesign.report.figures import Floats, Series, key
from gendesign.report.svg import PALETTE, canvas, finish

BINS = 24


def histogram_panel(
    name: str, series: Sequence[tuple[Series, Floats]], *, title: str, counted: str = "designs"
) -> str:
    """A column's distribution in each set: filled where steered, an outline otherwise.

    Args:
        name: prefix of the ids within the page.
        series: each set and its values of the column, shape [designs].
        title: the column's name.
        counted: what the values are of.

    Returns:
        inline SVG.
    """
    everything = np.concatenate([values for _, values in series])
    edges = np.histogram_bin_edges(everything, bins=BINS)
    with canvas(190, grid="y") as (figure, ax):
        for one, values in series:
            share = np.histogram(values, edges)[0] / max(1, len(values)) * 100
            colour = PALETTE[one.colour]
            if one.filled:
                ax.stairs(share, edges, fill=True, color=colour, alpha=0.62, linewidth=0, label=one.label)
            else:
                ax.stairs(share, edges, color=colour, linewidth=1.8, label=one.label, zorder=3)
        ax.set_xlabel(title)
        ax.set_ylabel(f"{counted} (%)")
        ax.set_ylim(bottom=0)
        key(ax)
        return finish(figure, name, f"Distribution of {title}")


def path_panel(name: str, series: Sequence[tuple[Series, Floats]], *, title: str) -> str:
    """A column along the steps: the median of each set as a line, the middle 90 % of its designs as a band.

    Args:
        name: prefix of the ids within the page.
        series: each set and its values of the column, shape [designs, steps].
        title: the column's name.

    Returns:
        inline SVG.
    """
    with canvas(210) as (figure, ax):
        for one, values in series:
            low, middle, high = np.quantile(values, [0.05, 0.5, 0.95], axis=0)
            step, colour = np.arange(len(middle)), PALETTE[one.colour]
            ax.fill_between(step, low, high, color=colour, alpha=0.18, linewidth=0)
            ax.plot(
                step,
                middle,
                color=colour,
                linewidth=2.0,
                label=one.label,
                linestyle="-" if one.filled else "--",
            )
        ax.set_xlabel("step")
        ax.set_ylabel(title)
        key(ax)
        return finish(figure, name, f"{title} along the steps")

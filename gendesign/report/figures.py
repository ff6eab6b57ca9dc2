"""The report's panels: what each one draws. How they become SVG is `gendesign.report.svg`'s matter.

Panels of words and logos are in `sequence_figures`, those of columns of numbers in `vector_figures`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gendesign.report.svg import PALETTE, canvas, finish
from gendesign.report.text import number

Floats = NDArray[np.float64]

MOST = 3000
"""Points of a set in a panel; of more, so many are drawn."""
DASHES = (4.0, 3.0)
"""Of lines that are no data."""


@dataclass(frozen=True)
class Series:
    """Values of one set of designs.

    Args:
        label: what readers call it.
        colour: a name in `PALETTE`.
        values: shape [n], finite.
        filled: filled circles (steered) or hollow ones.
    """

    label: str
    colour: str
    values: Floats
    filled: bool = True


def reward_panel(
    name: str,
    series: Sequence[Series],
    *,
    title: str,
    axis: str,
    limits: tuple[float, float],
    decimals: int | None,
    quantiles: Floats | None = None,
) -> str:
    """Rewards of natural, unsteered and steered sequences, one row each.

    Args:
        name: prefix of the ids within the page.
        series: sets of designs, from top to bottom.
        title: of the panel, for the text alternative.
        axis: what the axis shows, with its unit.
        limits: of the axis, so that panels can share them.
        decimals: of the numbers shown; None for three significant digits.
        quantiles: of natural sequences at percentiles 0..100, or None.

    Returns:
        inline SVG.
    """
    rows = len(series) + (quantiles is not None)
    with canvas(54 + 12 * axis.count("\n") + 50 * rows, grid="x") as (figure, ax):
        labels, said = [], []
        if quantiles is not None:
            _natural_row(ax, quantiles, rows - 1.0, decimals, limits)
            labels.append("Natural")
            said.append(f"natural median {number(float(quantiles[50]), decimals)}")
        for one in series:
            y = rows - 1.0 - len(labels)
            jitter = np.random.default_rng(0).uniform(-0.2, 0.2, len(one.values))
            points(ax, one, one.values, y + jitter)
            if len(one.values):
                _median(ax, float(np.median(one.values)), y, decimals)
                said.append(f"{one.label.lower()} median {number(float(np.median(one.values)), decimals)}")
            labels.append(f"{one.label}\nn = {len(one.values)}")
        ax.set_yticks(np.arange(rows)[::-1], labels, color=PALETTE["ink"], fontsize=10.5)
        ax.set_ylim(-0.5, rows - 0.35)
        ax.set_xlim(*limits)
        ax.set_xlabel(axis)
        return finish(figure, name, f"{title}: {'; '.join(said) or 'no values'}")


def _natural_row(
    ax: Axes, quantiles: Floats, y: float, decimals: int | None, limits: tuple[float, float]
) -> None:
    """A line over the middle 98 %, a box over the middle half, the median, and a dashed 99th percentile."""
    colour = PALETTE["natural"]
    ax.plot(quantiles[[1, 99]], [y, y], color=colour, linewidth=2, solid_capstyle="round")
    ax.plot(quantiles[[25, 75]], [y, y], color=colour, linewidth=9, solid_capstyle="butt", alpha=0.75)
    _median(ax, float(quantiles[50]), y, decimals)
    ax.axvline(quantiles[99], color=colour, linewidth=1.1, dashes=DASHES)
    left = quantiles[99] > np.mean(limits)  # the side with room for the label
    ax.annotate(
        "99 % of natural are below",
        (float(quantiles[99]), 1.0),
        (-4 if left else 4, 2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="right" if left else "left",
        va="bottom",
        fontsize=9.5,
        color=PALETTE["muted"],
    )


def _median(ax: Axes, value: float, y: float, decimals: int | None) -> None:
    ax.plot(
        [value, value],
        [y - 0.3, y + 0.3],
        color=PALETTE["ink"],
        linewidth=2.2,
        solid_capstyle="round",
        zorder=4,
    )
    ax.annotate(
        number(value, decimals),
        (value, y + 0.3),
        (0, 1),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=10,
        fontweight="bold",
        color=PALETTE["ink"],
    )


def points(ax: Axes, one: Series, x: Floats, y: Floats, *, size: float = 22, marker: str = "o") -> None:
    """Filled or hollow points, the filled ones in front."""
    colour = PALETTE[one.colour]
    if len(x) > MOST:
        drawn = np.linspace(0, len(x) - 1, MOST).round().astype(int)
        x, y = x[drawn], y[drawn]
    ax.scatter(
        x,
        y,
        s=size,
        marker=marker,
        facecolors=colour if one.filled else "none",
        edgecolors=colour,
        linewidths=0 if one.filled else 1.1 if size < 40 else 1.8,
        alpha=0.62 if one.filled and size < 40 else 0.9,
        label=one.label,
        zorder=3 if one.filled else 2,
        clip_on=False,
    )


def key(ax: Axes) -> None:
    """What the symbols mean, above the panel; each once."""
    handles, labels = ax.get_legend_handles_labels()
    named = dict(zip(labels, handles, strict=True))
    if named:
        ax.legend(
            list(named.values()),
            list(named),
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=3,
            frameon=False,
            fontsize=10,
            handletextpad=0.3,
            handlelength=1.1,
            columnspacing=1.1,
            borderpad=0,
            labelcolor=PALETTE["ink"],
        )


def scatter_panel(
    name: str,
    pairs: Sequence[tuple[Series, Series]],
    *,
    title: str,
    axes: tuple[str, str],
    identity: bool = False,
    band: tuple[float, float] | None = None,
    band_label: str = "",
) -> str:
    """One point a design.

    Args:
        name: prefix of the ids within the page.
        pairs: x and y values of each set.
        title: of the panel, for the text alternative.
        axes: what x and y show, with units.
        identity: draw the line x = y, on equal axes.
        band: a range of y to shade.
        band_label: what the band is.

    Returns:
        inline SVG.
    """
    with canvas(300) as (figure, ax):
        for x, y in pairs:
            points(ax, x, x.values, y.values, size=26)
        if band is not None:
            ax.axhspan(*band, color=PALETTE["band"], linewidth=0, zorder=0, label=band_label)
        if identity:
            both = np.concatenate([v.values for pair in pairs for v in pair])
            pad = 0.06 * (float(np.ptp(both)) or 1.0)
            ends = [float(both.min()) - pad, float(both.max()) + pad]
            ax.set_xlim(*ends)
            ax.set_ylim(*ends)
            ax.plot(ends, ends, color=PALETTE["natural"], linewidth=1.1, dashes=DASHES)
        ax.set_xlabel(axes[0])
        ax.set_ylabel(axes[1])
        key(ax)
        return finish(figure, name, title)

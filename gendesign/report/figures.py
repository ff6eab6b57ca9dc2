"""The report's panels: what each one draws. How they become SVG is `gendesign.report.svg`'s matter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from gendesign.report.svg import PALETTE, canvas, finish
from gendesign.report.text import number

Floats = NDArray[np.float64]

_DASHES = (4.0, 3.0)


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
    decimals: int,
    quantiles: Floats | None = None,
) -> str:
    """Rewards of natural, unsteered and steered sequences, one row each.

    Args:
        name: prefix of the ids within the page.
        series: sets of designs, from top to bottom.
        title: of the panel, for the text alternative.
        axis: what the axis shows, with its unit.
        limits: of the axis, so that panels can share them.
        decimals: of the numbers shown.
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
            _points(ax, one, one.values, y + jitter)
            if len(one.values):
                _median(ax, float(np.median(one.values)), y, decimals)
                said.append(f"{one.label.lower()} median {number(float(np.median(one.values)), decimals)}")
            labels.append(f"{one.label}\nn = {len(one.values)}")
        ax.set_yticks(np.arange(rows)[::-1], labels, color=PALETTE["ink"], fontsize=10.5)
        ax.set_ylim(-0.5, rows - 0.35)
        ax.set_xlim(*limits)
        ax.set_xlabel(axis)
        return finish(figure, name, f"{title}: {'; '.join(said) or 'no values'}")


def _natural_row(ax: Axes, quantiles: Floats, y: float, decimals: int, limits: tuple[float, float]) -> None:
    """A line over the middle 98 %, a box over the middle half, the median, and a dashed 99th percentile."""
    colour = PALETTE["natural"]
    ax.plot(quantiles[[1, 99]], [y, y], color=colour, linewidth=2, solid_capstyle="round")
    ax.plot(quantiles[[25, 75]], [y, y], color=colour, linewidth=9, solid_capstyle="butt", alpha=0.75)
    _median(ax, float(quantiles[50]), y, decimals)
    ax.axvline(quantiles[99], color=colour, linewidth=1.1, dashes=_DASHES)
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


def _median(ax: Axes, value: float, y: float, decimals: int) -> None:
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


def _points(ax: Axes, one: Series, x: Floats, y: Floats, *, size: float = 22, marker: str = "o") -> None:
    """Filled or hollow points, the filled ones in front."""
    colour = PALETTE[one.colour]
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


def _key(ax: Axes) -> None:
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
            _points(ax, x, x.values, y.values, size=26)
        if band is not None:
            ax.axhspan(*band, color=PALETTE["band"], linewidth=0, zorder=0, label=band_label)
        if identity:
            both = np.concatenate([v.values for pair in pairs for v in pair])
            pad = 0.06 * (float(np.ptp(both)) or 1.0)
            ends = [float(both.min()) - pad, float(both.max()) + pad]
            ax.set_xlim(*ends)
            ax.set_ylim(*ends)
            ax.plot(ends, ends, color=PALETTE["natural"], linewidth=1.1, dashes=_DASHES)
        ax.set_xlabel(axes[0])
        ax.set_ylabel(axes[1])
        _key(ax)
        return finish(figure, name, title)


def correlation_panel(
    name: str, rows: Sequence[tuple[str, Sequence[tuple[Series, float]]]], *, title: str
) -> str:
    """Correlations as points on a line a comparison.

    Args:
        name: prefix of the ids within the page.
        rows: what is compared, and the correlation of each set (values of the series are not used).
        title: for the text alternative.

    Returns:
        inline SVG.
    """
    with canvas(300, grid="x") as (figure, ax):
        for place, (_, points) in enumerate(rows):
            y = np.array([len(rows) - 1.0 - place])
            ax.axhline(y[0], color=PALETTE["line"], linewidth=1.2, zorder=0)
            for one, value in points:
                _points(
                    ax, one, np.array([value]), y, size=64, marker="D" if one.colour == "natural" else "o"
                )
        values = [value for _, points in rows for _, value in points]
        ax.set_xlim(min(0.0, *values) - 0.03, 1.0)
        ax.set_yticks(np.arange(len(rows))[::-1], [label for label, _ in rows], color=PALETTE["ink"])
        ax.set_ylim(-0.55, len(rows) - 0.45)
        ax.set_xlabel("correlation of word frequencies")
        _key(ax)
        return finish(figure, name, title)


def word_panel(
    name: str, words: Sequence[str], natural: Floats, sets: Sequence[Series], *, title: str
) -> str:
    """Frequency of each short word: natural across, designs up, those that changed most by name.

    Args:
        name: prefix of the ids within the page.
        words: the words, shape [W].
        natural: frequencies in natural sequences, shape [W].
        sets: frequencies in each set of designs; words are named for the last one.
        title: for the text alternative.

    Returns:
        inline SVG.
    """
    everything = np.concatenate([natural, *(one.values for one in sets)])
    floor = float(everything[everything > 0].min()) * 100  # words that never occur stand at the edge
    x = np.maximum(100 * natural, floor)
    with canvas(300) as (figure, ax):
        ax.set_xscale("log")
        ax.set_yscale("log")
        for one in sets:
            _points(ax, one, x, np.maximum(100 * one.values, floor), size=20)
        ends = [floor * 0.75, 100 * float(everything.max()) * 1.25]
        ax.plot(ends, ends, color=PALETTE["natural"], linewidth=1.1, dashes=_DASHES)
        _name_words(ax, words, x, np.maximum(100 * sets[-1].values, floor), ends)
        for axis, limit in ((ax.xaxis, ax.set_xlim), (ax.yaxis, ax.set_ylim)):
            limit(*ends)
            axis.set_major_locator(_ticks(ends))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
        ax.set_xlabel(f"{len(words[0])}-letter words in natural sequences (%)")
        ax.set_ylabel("in designs (%)")
        _key(ax)
        return finish(figure, name, title)


def _ticks(ends: Sequence[float]) -> FixedLocator:
    steps = [m * 10.0**e for e in range(-5, 3) for m in (1, 2, 5)]
    return FixedLocator([step for step in steps if ends[0] <= step <= ends[1]])


def _name_words(
    ax: Axes, words: Sequence[str], x: Floats, y: Floats, ends: Sequence[float], most: int = 6
) -> None:
    """Name the words whose frequency changed by the largest factor, where their names do not overlap."""
    span = np.log(ends[1] / ends[0])
    named: list[tuple[float, float]] = []
    for i in np.argsort(-np.abs(np.log(y / x)), kind="stable")[: 4 * most].tolist():
        at = float(np.log(x[i]) / span), float(np.log(y[i]) / span)
        if len(named) < most and all(abs(at[0] - a) > 0.11 or abs(at[1] - b) > 0.05 for a, b in named):
            above = y[i] >= x[i]
            ax.annotate(
                words[i],
                (float(x[i]), float(y[i])),
                (0, 5 if above else -5),
                textcoords="offset points",
                ha="center",
                va="bottom" if above else "top",
                fontsize=9.5,
                color=PALETTE["ink"],
            )
            named.append(at)


def logo_panel(
    name: str,
    heights: Floats,
    alphabet: str,
    *,
    start: int,
    top: float,
    colours: Mapping[str, str],
    width: int,
) -> str:
    """A stretch of a sequence logo.

    Args:
        name: prefix of the ids within the page.
        heights: letter heights in bits, shape [positions, letters].
        alphabet: the letters.
        start: number of the first position, counted from 1.
        top: of the vertical axis, in bits.
        colours: letter -> name in `PALETTE`.
        width: positions that a full panel has room for.

    Returns:
        inline SVG.

    Reference:
        A. Tareen and J. Kinney, "Logomaker: beautiful sequence logos in Python", Bioinformatics, 2020.
    """
    import logomaker
    import pandas as pd

    with canvas(112, grid="y") as (figure, ax):
        table = pd.DataFrame(heights, columns=list(alphabet))
        table.index = pd.RangeIndex(start, start + len(heights))
        scheme = {letter: PALETTE[colours.get(letter, "other")] for letter in alphabet}
        logomaker.Logo(table, ax=ax, color_scheme=scheme, show_spines=False, baseline_width=0, zorder=3)
        for glyph in ax.patches:
            glyph.set_in_layout(
                False
            )  # they stay within the axes; measuring each would take most of the time
        ax.set_xlim(start - 0.6, start + width - 0.4)
        ax.set_ylim(0, top)
        ticks = [start, *(place for place in range(start + 1, start + len(heights)) if place % 5 == 0)]
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.set_ylabel("bits")
        return finish(figure, name, f"Sequence logo of positions {start} to {start + len(heights) - 1}")

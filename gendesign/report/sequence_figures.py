"""Panels of sequences: correlation of words, frequencies of words, sequence logo."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from gendesign.report.figures import DASHES, Floats, Series, key, points
from gendesign.report.svg import PALETTE, canvas, finish


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
        for place, (_, marks) in enumerate(rows):
            y = np.array([len(rows) - 1.0 - place])
            ax.axhline(y[0], color=PALETTE["line"], linewidth=1.2, zorder=0)
            for one, value in marks:
                points(ax, one, np.array([value]), y, size=64, marker="D" if one.colour == "natural" else "o")
        values = [value for _, marks in rows for _, value in marks]
        ax.set_xlim(min(0.0, *values) - 0.03, 1.0)
        ax.set_yticks(np.arange(len(rows))[::-1], [label for label, _ in rows], color=PALETTE["ink"])
        ax.set_ylim(-0.55, len(rows) - 0.45)
        ax.set_xlabel("correlation of word frequencies")
        key(ax)
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
            points(ax, one, x, np.maximum(100 * one.values, floor), size=20)
        ends = [floor * 0.75, 100 * float(everything.max()) * 1.25]
        ax.plot(ends, ends, color=PALETTE["natural"], linewidth=1.1, dashes=DASHES)
        _name_words(ax, words, x, np.maximum(100 * sets[-1].values, floor), ends)
        for axis, limit in ((ax.xaxis, ax.set_xlim), (ax.yaxis, ax.set_ylim)):
            limit(*ends)
            axis.set_major_locator(_ticks(ends))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
        ax.set_xlabel(f"{len(words[0])}-letter words in natural sequences (%)")
        ax.set_ylabel("in designs (%)")
        key(ax)
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

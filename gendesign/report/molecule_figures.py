"""Panels of molecules: how a property is distributed, and which designs no other beats in everything."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gendesign.metrics.summary import percentile_of
from gendesign.report.figures import Floats, Series, key, points
from gendesign.report.svg import PALETTE, canvas, finish

BINS = 22
SMALL = 300
"""Units; three such panels stand side by side."""


def property_panel(
    name: str,
    sets: Sequence[Series],
    *,
    title: str,
    axis: str,
    natural: Floats | None = None,
    whole: bool = False,
) -> str:
    """A property in each set of molecules: filled where steered, an outline otherwise, shaded for natural ones.

    Args:
        name: prefix of the ids within the page.
        sets: the values of each set, finite.
        title: of the property, for the text alternative.
        axis: the property with its unit.
        natural: its values at percentiles 0..100 of natural molecules, or None.
        whole: whether it counts something, so that every number has a bin.

    Returns:
        inline SVG.
    """
    edges = _edges([one.values for one in sets], natural, whole=whole)
    with canvas(180, grid="y", width=SMALL) as (figure, ax):
        if natural is not None:
            share = np.diff(percentile_of(edges, natural))
            ax.stairs(
                share, edges, fill=True, color=PALETTE["natural"], alpha=0.3, linewidth=0, label="Natural"
            )
        for one in sets:
            share = (
                np.histogram(np.clip(one.values, edges[0], edges[-1]), edges)[0]
                / max(1, len(one.values))
                * 100
            )
            colour = PALETTE[one.colour]
            if one.filled:
                ax.stairs(
                    share, edges, fill=True, color=colour, alpha=0.5, linewidth=0, zorder=3, label=one.label
                )
            ax.stairs(share, edges, color=colour, linewidth=1.8, zorder=4, label=one.label)
        ax.set_xlabel(axis)
        ax.set_ylabel("molecules (%)")
        ax.set_ylim(bottom=0)
        if whole:
            ax.set_xticks(np.arange(np.ceil(edges[0]), edges[-1]))
        key(ax)
        return finish(figure, name, f"Distribution of {title}")


def _edges(sets: Sequence[Floats], natural: Floats | None, *, whole: bool) -> Floats:
    """Bins over all sets; natural molecules' extremes count only where designs reach them."""
    parts = [*sets, *([] if natural is None else [natural[1:100]])]
    values = np.concatenate(parts) if parts else np.zeros(1)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if whole:
        return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1.0)
    return np.linspace(low, high if high > low else low + 1.0, BINS + 1)


def not_dominated(objectives: Floats) -> NDArray[np.bool_]:
    """The Pareto front: rows that no other row beats, being at least as good in every column and better in one.

    Args:
        objectives: shape [n, k], larger is better; rows with NaN are never on it.

    Returns:
        shape [n].
    """
    front = np.zeros(len(objectives), dtype=bool)
    # what beats a row comes before it in this order, and something on the front beats it, too
    order = np.lexsort(-objectives.T[::-1])
    found: list[int] = []
    for i in order[np.isfinite(objectives[order]).all(axis=1)].tolist():
        as_good = (objectives[found] >= objectives[i]).all(1)
        better = (objectives[found] > objectives[i]).any(1)
        if not (as_good & better).any():
            found.append(i)
    front[found] = True
    return front


def front_panel(
    name: str,
    pairs: Sequence[tuple[Series, Series]],
    *,
    front: tuple[Floats, Floats],
    title: str,
    axes: tuple[str, str],
) -> str:
    """One point a molecule; those of the front are ringed, and joined where two objectives are all there are.

    Args:
        name: prefix of the ids within the page.
        pairs: the two objectives in each set, larger is better.
        front: those of the designs on the front.
        title: for the text alternative.
        axes: what the objectives are.

    Returns:
        inline SVG.
    """
    with canvas(300) as (figure, ax):
        for x, y in pairs:
            points(ax, x, x.values, y.values, size=26)
        across, up = (values[np.argsort(front[0], kind="stable")] for values in front)
        if (np.diff(up) <= 1e-12).all():
            ax.step(across, up, where="pre", color=PALETTE["ink"], linewidth=1.1, zorder=1)
        ax.scatter(
            across,
            up,
            s=70,
            facecolors="none",
            edgecolors=PALETTE["ink"],
            linewidths=1.4,
            zorder=5,
            label="Front",
        )
        ax.set_xlabel(f"{axes[0]} →")
        ax.set_ylabel(f"{axes[1]} →")
        key(ax)
        return finish(figure, name, title)

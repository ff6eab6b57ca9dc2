"""Several wishes at once: what is wanted, the designs that no other beats in everything, and the panels of these."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gendesign.metrics.summary import num_distinct
from gendesign.report import molecule_figures
from gendesign.report.figures import Floats
from gendesign.report.molecule_figures import not_dominated
from gendesign.report.shown import Shown
from gendesign.report.text import wrapped

PANELS = 3


class Front:
    """The Pareto front of the designs: of the guide's parts, or of the guide and another wish.

    Args:
        sets: what is shown, the steered designs last.
        other: name and values in each set of a wish that goes without saying, larger is better; it counts where the
            guide has no parts.
    """

    def __init__(self, sets: Sequence[Shown], other: tuple[str, list[Floats]]) -> None:
        self.sets = sets
        self.other = other

    @cached_property
    def objectives(self) -> list[tuple[str, list[Floats]]]:
        """By name the values in each set; none where fewer than two wishes vary among the designs."""
        run = self.sets[-1].run
        named = [(name, [one.run.wishes[name] for one in self.sets]) for name in run.wishes]
        named = [(name, values) for name, values in named if np.isfinite(values[-1]).sum() > 1]
        guide = next(iter(run.scores), None)
        if len(named) < 2:
            named = [(f"guide ({guide})", [one.values(guide) for one in self.sets]), self.other]
        varied = [(name, values) for name, values in named if _varies(np.concatenate(values))]
        return varied if len(varied) > 1 and np.isfinite(varied[0][1][-1]).any() else []

    @cached_property
    def designs(self) -> NDArray[np.bool_]:
        """Which steered designs are on it."""
        return not_dominated(np.stack([values[-1] for _, values in self.objectives], axis=1))

    def panels(self) -> list[Markup]:
        """The first objective against the others; of three, each against each."""
        objectives = self.objectives
        pairs = [(0, i) for i in range(1, len(objectives))] + ([(1, 2)] if len(objectives) == 3 else [])
        return [self._panel(i, objectives[a], objectives[b]) for i, (a, b) in enumerate(pairs[:PANELS])]

    def _panel(self, i: int, first: tuple[str, list[Floats]], second: tuple[str, list[Floats]]) -> Markup:
        (x_name, x), (y_name, y) = first, second
        both = [np.isfinite(u) & np.isfinite(v) for u, v in zip(x, y, strict=True)]
        drawn = [
            (one.series(u[keep]), one.series(v[keep]))
            for one, u, v, keep in zip(self.sets, x, y, both, strict=True)
        ]
        on = self.designs & both[-1]
        svg = molecule_figures.front_panel(
            f"front{i}",
            drawn,
            front=(x[-1][on], y[-1][on]),
            title=f"{y_name} against {x_name}",
            axes=(wrapped(x_name), wrapped(y_name)),
        )
        return Markup(svg)

    def text(self) -> str:
        """What is wanted, and how many designs are on the front."""
        if not self.objectives:
            return ""
        names = [name for name, _ in self.objectives]
        designs = self.sets[-1].designs
        on = num_distinct([designs[i] for i in np.flatnonzero(self.designs)])
        which = "1 of them is" if on == 1 else f"{on} of them are"
        return (
            f"Wanted at once, and better to the upper right: {', '.join(names[:-1])} and {names[-1]}. Of the steered "
            f"designs, {which} on the front: no other design is at least as good in everything and better in something."
        )


def _varies(values: Floats) -> bool:
    return len(np.unique(values[np.isfinite(values)])) > 1

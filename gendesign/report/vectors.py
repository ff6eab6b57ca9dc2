"""Vectors and sequences of vectors on the page: where the designs lie, column by column."""

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from gendesign.designs import Design
from gendesign.forms import Vector, VectorSequence, stack
from gendesign.report import figures, vector_figures
from gendesign.report.content import Content, Floats, Words
from gendesign.report.shown import Shown
from gendesign.report.text import number

if TYPE_CHECKING:
    from gendesign.design_set import DesignSet

MOST = 12
"""Columns drawn, and columns of a design in the list."""


class Vectors(Content):
    """Rows of named columns, or many such rows."""

    later = "vectors.html.jinja"

    def __init__(self, run: "DesignSet", sets: list[Shown]) -> None:
        super().__init__(run, sets)
        if isinstance(run.form, Vector) and run.form.scale:
            unit = "Euclidean distance in standard deviations of the columns"
            self.two = f"{unit}, mean"
            self.from_training = f"to the nearest one: {unit}, median"
            self.nearest_said = f"From nearest is the {unit} to the nearest training design."

    @property
    def words(self) -> Words:
        form, size = self.run.form, f"number of {self.run.form.part}s"
        return Words(form.part, form.part, size, form.many, form.natural, "estimated by its flow")

    @property
    def _names(self) -> tuple[str, ...]:
        form = self.run.form
        num = np.shape(self.run.designs[0])[-1] if self.run.designs else 0
        return form.names(num) if isinstance(form, Vector) else ()

    def variables(self) -> dict[str, Any]:
        sets = [(one, _finite(stack(one.designs))) for one in self.sets if one.designs]
        sets = [(one, values) for one, values in sets if len(values)]
        names = self._names if sets else ()
        plane = None
        if len(names) == 2 and not self._stepwise:
            pairs = [(one.series(values[:, 0]), one.series(values[:, 1])) for one, values in sets]
            title = f"{names[1]} against {names[0]}"
            plane = Markup(figures.scatter_panel("plane", pairs, title=title, axes=(names[0], names[1])))
        columns = [
            Markup(self._panel(i, name, [(one, values[..., i]) for one, values in sets]))
            for i, name in enumerate(names[:MOST])
        ]
        left_out = f"The first {MOST} of {len(names)} columns are shown." if len(names) > MOST else ""
        return {"plane": plane, "marginals": columns, "marginals_note": left_out, "stepwise": self._stepwise}

    @property
    def _stepwise(self) -> bool:
        return isinstance(self.run.form, VectorSequence)

    def _panel(self, i: int, name: str, sets: list[tuple[Shown, Floats]]) -> str:
        series = [(one.series(np.empty(0)), values) for one, values in sets]
        if self._stepwise:
            return vector_figures.path_panel(f"column{i}", series, title=name)
        return vector_figures.histogram_panel(f"column{i}", series, title=name)

    def show(self, design: Design) -> Markup:
        values = np.asarray(design)
        names = self._names[:MOST]
        shown = [path(values[:, i]) for i in range(len(names))] if values.ndim > 1 else values.tolist()
        cells = [
            Markup("<span>{} <b>{}</b></span>").format(
                name, number(value) if isinstance(value, float) else value
            )
            for name, value in zip(names, shown, strict=False)
        ]
        return Markup("").join(cells) + ("…" if len(self._names) > MOST else "")

    def missing(self) -> list[str]:
        if self.run.nearest is None:
            said = self.words.natural
            return [f"The {said} are not on this machine, so the distance to the nearest one is not known."]
        return []


def _finite(values: Floats) -> Floats:
    """The designs whose numbers are all finite."""
    return values[np.isfinite(values).reshape(len(values), -1).all(1)]


def path(values: Floats, *, width: int = 120, height: int = 28) -> Markup:
    """A column along the steps as a small line, from its lowest to its highest value."""
    values = np.nan_to_num(values)
    low, spread = float(values.min()), float(np.ptp(values)) or 1.0
    x = np.linspace(1, width - 1, len(values))
    y = (height - 2) * (1 - (values - low) / spread) + 1
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    svg = '<svg class="path" viewBox="0 0 {} {}" role="img"><title>{} to {}</title><polyline points="{}"/></svg>'
    return Markup(svg).format(width, height, number(low), number(float(values.max())), points)

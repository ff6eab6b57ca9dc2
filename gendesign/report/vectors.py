"""Vectors and sequences of vectors on the page: where the designs lie, column by column."""

from typing import Any

import numpy as np
from markupsafe import Markup

from gendesign.designs import Design
from gendesign.forms import Vector, VectorSequence, stack
from gendesign.report import figures, vector_figures
from gendesign.report.content import Content, Floats, Words
from gendesign.report.shown import Shown
from gendesign.report.text import number

MOST = 12
"""Columns drawn, and columns of a design in the list."""


class Vectors(Content):
    """Rows of named columns, or many such rows."""

    later = "vectors.html.jinja"

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
        sets = [(one, stack(one.designs)) for one in self.sets if one.designs]
        names = self._names if sets else ()
        panels = []
        if sets and len(names) == 2 and sets[0][1].ndim == 2:
            pairs = [(one.series(values[:, 0]), one.series(values[:, 1])) for one, values in sets]
            svg = figures.scatter_panel(
                "plane", pairs, title=f"{names[1]} against {names[0]}", axes=(names[0], names[1])
            )
            panels.append(Markup(svg))
        for i, name in enumerate(names[:MOST]):
            panels.append(Markup(self._panel(i, name, [(one, values[..., i]) for one, values in sets])))
        left_out = f"The first {MOST} of {len(names)} columns are shown." if len(names) > MOST else ""
        return {"marginals": panels, "marginals_note": left_out, "stepwise": self._stepwise}

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
        if values.ndim > 1:
            return Markup("{} steps, in steps.csv").format(len(values))
        cells = [
            Markup("<span>{} <b>{}</b></span>").format(name, number(float(value)))
            for name, value in list(zip(self._names, values, strict=True))[:MOST]
        ]
        return Markup("").join(cells) + (Markup("<span>…</span>") if len(values) > MOST else Markup(""))

    def missing(self) -> list[str]:
        if self.run.nearest is None:
            said = self.words.natural
            return [f"The {said} are not on this machine, so the distance to the nearest one is not known."]
        return []

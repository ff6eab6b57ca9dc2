"""Images on the page: contact sheets of unsteered and steered designs, and the nearest training image of the best ones.

Pictures are inside the page. Small ones are PNG and keep their pixels, which the browser enlarges without smoothing.
Large ones are reduced to the size at which they are seen, as JPEG.
"""

import base64
from typing import Any

import numpy as np
from markupsafe import Markup

from gendesign.designs import Array, Design
from gendesign.files.designs import encode_picture
from gendesign.report.content import Content, Words
from gendesign.report.shown import Shown
from gendesign.report.text import number

SHEET = ((32, 8, 64), (64, 6, 36), (10**9, 4, 16))
"""Of pictures up to so many pixels high or wide: how many in a row of a contact sheet, and how many at most."""
SMALL = 64
"""Pixels, high or wide, up to which every pixel is kept."""
LARGEST = 192
"""Pixels of a picture inside the page."""


class Pictures(Content):
    """Images [H, W] or [H, W, 3] in [0, 1]."""

    first = "pictures.html.jinja"
    nearest_said = (
        "The nearest training image and the Euclidean distance to it show whether a design is a copy."
    )

    @property
    def words(self) -> Words:
        form, size = self.run.form, f"number of {self.run.form.part}s"
        return Words(form.part, form.part, size, form.many, form.natural, "estimated by its flow")

    def variables(self) -> dict[str, Any]:
        side = max((max(np.shape(d)[:2]) for d in self.run.designs), default=1)
        columns, most = next((row, number) for largest, row, number in SHEET if side <= largest)
        sheets = [self._sheet(one, most) for one in self.sets if one.designs]
        return {"sheets": sheets, "sheet_columns": columns}

    def _sheet(self, one: Shown, most: int) -> dict[str, Any]:
        """Pictures of a set, best first, with what they score."""
        guide = next(iter(self.run.scores), None)
        values = one.values(guide)
        order = np.argsort(np.where(np.isfinite(values), -values, np.inf), kind="stable").tolist()
        if len(order) > most:  # over the whole range, from the best to the worst
            order = [order[i] for i in np.linspace(0, len(order) - 1, most).round().astype(int)]
        pictures = []
        for i in order:
            said = f"{number(float(values[i]))} by {guide}" if np.isfinite(values[i]) else "no score"
            pictures.append(self.picture(one.designs[i], label=f"{one.label} design: {said}"))
        note = f"{len(order)} of {len(one.designs)}" if len(order) < len(one.designs) else str(len(order))
        return {
            "label": one.label,
            "colour": one.colour,
            "pictures": pictures,
            "note": f"{note}, best first" if guide is not None else note,
        }

    def show(self, design: Design) -> Markup:
        return Markup("")

    def picture(self, design: Design, *, label: str) -> Markup:
        image = np.asarray(design)
        small = max(image.shape[:2]) <= SMALL
        content = encode_picture(image) if small else encode_picture(reduced(image), "JPEG")
        data = f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(content).decode()}"
        look = Markup('class="pixels" ') if small else Markup("")
        return Markup('<img {}src="{}" alt="{}" title="{}">').format(look, data, label, label)

    def missing(self) -> list[str]:
        if self.run.nearest is None:
            return ["The training images are not on this machine, so the nearest ones are not shown."]
        return []


def reduced(image: Array) -> Array:
    """A picture no larger than LARGEST, each of its pixels the mean of those it stands for."""
    step = -(-max(image.shape[:2]) // LARGEST)
    if step == 1:
        return image
    height, width = (side // step * step for side in image.shape[:2])
    blocks = image[:height, :width].reshape(height // step, step, width // step, step, *image.shape[2:])
    smaller: Array = blocks.mean((1, 3))
    return smaller

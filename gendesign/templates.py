"""Templates as words: what a user writes to fix some coordinates of the designs.

A sequence is written letter by letter, `ACGT****`. Numbers are separated by commas, `0.3,*,2`, the rows of a
sequence of vectors, or of an image, by semicolons. A star is free.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.array_codecs import ArrayCodec
from gendesign.codecs import FREE, Codec
from gendesign.designs import Array
from gendesign.errors import DesignError


def read_template(template: str | Array | None, codec: Codec) -> Any:
    """What a codec's `encode_template` takes.

    Args:
        template: the user's text, or already an array with NaN where free.
        codec: of the backbone.

    Raises:
        DesignError: a cell is neither a number nor a star, or rows differ in length.
    """
    if not isinstance(template, str) or not isinstance(codec, ArrayCodec):
        return template
    rows = [[_number(cell.strip(), template) for cell in row.split(",")] for row in template.split(";")]
    if len({len(row) for row in rows}) > 1:
        raise DesignError(f"the rows of a template must have one length, got {template!r}")
    values: Array = np.array(rows, dtype=np.float64)
    return values.reshape(codec.shape) if values.size == math.prod(codec.shape) else values


def _number(cell: str, template: str) -> float:
    if cell == FREE:
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        raise DesignError(
            f"a template of numbers is written like 0.3,{FREE},2 with {FREE} where free, got {cell!r} in {template!r}"
        ) from None


def template_text(template: str | NDArray[Any] | None) -> str | None:
    """The text that gives this template again; None for none."""
    if template is None or isinstance(template, str):
        return template
    values = np.asarray(template, dtype=np.float64)
    rows = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
    return ";".join(",".join(FREE if np.isnan(v) else repr(float(v)) for v in row) for row in rows)

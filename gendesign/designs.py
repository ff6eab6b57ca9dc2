"""What a design is: a string, or an array of numbers.

A sequence or a molecule is a `str`. A vector is an array [n] in the user's units, a sequence of vectors [H, n], an
image [H, W] or [H, W, 3] with values in [0, 1].
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Design = str | Array


def key(design: Design) -> Hashable:
    """What tells designs apart in dictionaries and sets: a string is its own key, equal arrays have equal keys."""
    if isinstance(design, str):
        return design
    array = np.ascontiguousarray(design, dtype=np.float64)
    return array.shape, (array + 0.0).tobytes()  # -0.0 equals 0.0


def distinct(designs: Sequence[Design]) -> tuple[list[Design], NDArray[np.int64]]:
    """The different designs in order of first appearance, and for each design its row among them."""
    rows: dict[Hashable, int] = {}
    first: list[Design] = []
    index = np.empty(len(designs), dtype=np.int64)
    for i, design in enumerate(designs):
        own = key(design)
        if own not in rows:
            rows[own] = len(first)
            first.append(design)
        index[i] = rows[own]
    return first, index

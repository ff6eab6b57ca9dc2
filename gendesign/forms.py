"""What designs look like: what their parts are called, how they are written into files, how they are compared.

Above the codec nothing asks whether a design is a string or an array. It asks the form of its designs: `Text`, `Vector`
(one row of named columns), `VectorSequence` (many rows of them) or `Image`.
"""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.array_codecs import ImageCodec, VectorCodec, VectorSequenceCodec
from gendesign.codecs import Codec, SequenceCodec
from gendesign.designs import Array, Design
from gendesign.files.designs import encode_npz, encode_picture

Files = Mapping[str, "bytes | Files"]
"""Contents of files by their names; a mapping is a folder."""


class Form(ABC):
    """A form of designs.

    Attributes:
        part: what a design consists of many of; likelihoods are given for one.
        many: what several designs are called.
        natural: what the backbone was trained on.
        result: the file that holds the designs.
    """

    part: str
    many: str
    natural: str
    result: str

    def size(self, design: Design) -> int:
        """Number of parts."""
        return len(design) if isinstance(design, str) else design.size

    def comparable(self, designs: Sequence[Design]) -> Sequence[Design]:
        """The designs on a scale where distances mean something."""
        return designs

    def changes(self, design: Design, lead: Design) -> dict[str, str | float]:
        """What designs.csv says of a design beside the one that it started from, by column."""
        return {}

    @abstractmethod
    def cells(self, design: Design, rank: int) -> dict[str, str | float]:
        """What designs.csv says of a design, by column."""

    @abstractmethod
    def files(self, designs: Sequence[Design], titles: Sequence[str | None]) -> Files:
        """What is written beside designs.csv.

        Args:
            designs: best first.
            titles: a line about each; None for a design without a score by the guide.
        """


class Text(Form):
    """Strings."""

    part, many, natural, result = "token", "sequences", "natural sequences", "designs.fasta"

    def cells(self, design: Design, rank: int) -> dict[str, str | float]:
        return {"design": str(design)}

    def changes(self, design: Design, lead: Design) -> dict[str, str | float]:
        """The lead, and mutations where lengths are equal."""
        text, start = str(design), str(lead)
        equal = len(text) == len(start)
        mutations = sum(a != b for a, b in zip(text, start, strict=True)) if equal else ""
        return {"start": start, "mutations": mutations}

    def files(self, designs: Sequence[Design], titles: Sequence[str | None]) -> Files:
        """FASTA of the designs that have a score."""
        lines = [f">{t}\n{d}\n" for d, t in zip(designs, titles, strict=True) if t is not None]
        return {self.result: "".join(lines).encode()}


@dataclass(frozen=True)
class Vector(Form):
    """Arrays [n] in the user's units.

    Args:
        columns: n names.
        scale: a typical spread of each column in its own unit, so that distances weigh columns alike; () for 1.
    """

    columns: tuple[str, ...] = ()
    scale: tuple[float, ...] = ()

    part, many, natural, result = "coordinate", "rows", "training rows", "designs.npz"

    def names(self, num: int) -> tuple[str, ...]:
        """Names of `num` columns."""
        return self.columns or tuple(f"x{i + 1}" for i in range(num))

    def comparable(self, designs: Sequence[Design]) -> Sequence[Design]:
        return [np.asarray(d) / self.scale for d in designs] if self.scale else designs

    def cells(self, design: Design, rank: int) -> dict[str, str | float]:
        values = np.asarray(design)
        return dict(zip(self.names(len(values)), values.tolist(), strict=True))

    def files(self, designs: Sequence[Design], titles: Sequence[str | None]) -> Files:
        """All designs in the order of designs.csv, to the last bit."""
        return {self.result: encode_npz(designs=stack(designs), columns=self._column_names(designs))}

    def _column_names(self, designs: Sequence[Design]) -> NDArray[Any]:
        return np.array(self.names(np.shape(designs[0])[-1]) if len(designs) else self.columns, dtype=np.str_)


@dataclass(frozen=True)
class VectorSequence(Vector):
    """Arrays [H, n]: H rows of n columns, in the user's units."""

    many, natural = "trajectories", "training trajectories"

    def cells(self, design: Design, rank: int) -> dict[str, str | float]:
        """Too many for a row: they stand in steps.csv."""
        return {}

    def files(self, designs: Sequence[Design], titles: Sequence[str | None]) -> Files:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["rank", "step", *self._column_names(designs).tolist()])
        for rank, design in enumerate(designs, start=1):
            writer.writerows([rank, step, *row] for step, row in enumerate(np.asarray(design).tolist()))
        return {**super().files(designs, titles), "steps.csv": text.getvalue().encode()}


@dataclass(frozen=True)
class Image(Form):
    """Arrays [H, W] or [H, W, 3] in [0, 1].

    Args:
        channels: 1 or 3.
    """

    channels: int = 1

    many, natural, result = "images", "training images", "designs.npz"

    @property
    def part(self) -> str:  # type: ignore[override]
        """A pixel; of a coloured image, one of its pixel's three values."""
        return "pixel" if self.channels == 1 else "coordinate"

    def cells(self, design: Design, rank: int) -> dict[str, str | float]:
        return {"file": f"images/{_png(rank)}"}

    def files(self, designs: Sequence[Design], titles: Sequence[str | None]) -> Files:
        """The arrays, and a PNG of 8 bits each."""
        pictures = {_png(rank): encode_picture(np.asarray(d)) for rank, d in enumerate(designs, start=1)}
        return {self.result: encode_npz(designs=stack(designs)), "images": pictures}


def _png(rank: int) -> str:
    return f"design_{rank:04d}.png"


def stack(designs: Sequence[Design]) -> Array:
    """Arrays of one shape as one array, shape [B, ...]."""
    return np.stack([np.asarray(d, dtype=np.float64) for d in designs]) if len(designs) else np.empty(0)


@singledispatch
def form_of(codec: Codec) -> Form | None:
    """The form of a codec's designs; None where a codec of the user's own does not tell."""
    return None


@form_of.register
def _(codec: SequenceCodec) -> Form:
    return Text()


@form_of.register
def _(codec: ImageCodec) -> Form:
    return Image(codec.channels)


@form_of.register
def _(codec: VectorCodec) -> Form:
    return Vector(tuple(codec.columns), _spread(codec.std))


@form_of.register
def _(codec: VectorSequenceCodec) -> Form:
    return VectorSequence(tuple(codec.columns), _spread(codec.std))


def _spread(std: Sequence[float] | Array | None) -> tuple[float, ...]:
    return () if std is None else tuple(float(value) for value in np.ravel(std))


def guess_form(designs: Sequence[Design]) -> Form:
    """The form that designs show by themselves: pictures are two-dimensional arrays within [0, 1]."""
    first = designs[0] if len(designs) else ""
    if isinstance(first, str):
        return Text()
    if first.ndim == 1:
        return Vector()
    if first.ndim == 3:
        return Image(first.shape[-1])
    return Image() if all(0 <= np.min(d) and np.max(d) <= 1 for d in designs) else VectorSequence()

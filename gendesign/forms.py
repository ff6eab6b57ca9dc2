"""What designs look like: what their parts are called, how they are written into files, how they are compared.

Above the codec nothing asks whether a design is a string or an array. It asks the form of its designs: `Text`,
`Molecule`, `Vector` (one row of named columns), `VectorSequence` (many rows of them) or `Image`.
"""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.array_codecs import ImageCodec, VectorCodec, VectorSequenceCodec
from gendesign.codecs import Codec, SequenceCodec
from gendesign.designs import Array, Design
from gendesign.files.designs import encode_npz, encode_picture
from gendesign.files.molecules import encode_sdf, encode_smi
from gendesign.files.structures import threaded_pdb
from gendesign.metrics.distances import Floats, pairwise_distance
from gendesign.metrics.similarity import molecule_distance
from gendesign.molecules.codec import MoleculeCodec
from gendesign.molecules.graph_codec import MolecularGraphCodec
from gendesign.structure_codec import StructureCodec

Files = Mapping[str, "bytes | Files"]
"""Contents of files by their names; a mapping is a folder."""
Cells = Sequence[Mapping[str, Any]]
"""Rows of designs.csv, by column."""


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

    def distances(self, designs: Sequence[Design]) -> Floats:
        """Distances between all of B designs, shape [B, B]; NaN where one of two cannot be compared."""
        return pairwise_distance(self.comparable(designs))

    def changes(self, design: Design, lead: Design) -> dict[str, str | float]:
        """What designs.csv says of a design beside the one that it started from, by column."""
        return {}

    @abstractmethod
    def cells(self, design: Design, rank: int) -> dict[str, str | float]:
        """What designs.csv says of a design, by column."""

    @abstractmethod
    def files(self, designs: Sequence[Design], titles: Sequence[str | None], rows: Cells = ()) -> Files:
        """What is written beside designs.csv.

        Args:
            designs: best first.
            titles: a line about each; None for a design without a score by the guide.
            rows: what designs.csv says of each.
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

    def files(self, designs: Sequence[Design], titles: Sequence[str | None], rows: Cells = ()) -> Files:
        """FASTA of the designs that have a score."""
        lines = [f">{t}\n{d}\n" for d, t in zip(designs, titles, strict=True) if t is not None]
        return {self.result: "".join(lines).encode()}


@dataclass(frozen=True)
class Fold(Text):
    """Sequences for the backbone of a protein.

    Args:
        codec: holds the structure.
    """

    codec: StructureCodec

    def cells(self, design: Design, rank: int) -> dict[str, str | float]:
        """The sequence, its relation to the structure's own, and its file."""
        own, text = self.codec.structure.sequence, str(design)
        same = sum(a == b for a, b in zip(own, text, strict=False)) / max(len(own), len(text), 1)
        return {"design": text, "recovery": round(same, 4), "file": f"structures/design_{rank:04d}.pdb"}

    def files(self, designs: Sequence[Design], titles: Sequence[str | None], rows: Cells = ()) -> Files:
        """FASTA, and each valid design threaded onto the backbone, the B-factor its confidence."""
        threaded: dict[str, bytes | Files] = {}
        for rank, design in enumerate(designs, start=1):
            if self.codec.is_valid(design):
                sure = self.codec.confidence(str(design))
                text = threaded_pdb(self.codec.structure, str(design), confidence=sure)
                threaded[f"design_{rank:04d}.pdb"] = text.encode()
        return {**super().files(designs, titles, rows), "structures": threaded}


@dataclass(frozen=True)
class Molecule(Form):
    """Molecules, as canonical SMILES.

    Args:
        part: what the backbone builds them of: tokens, or the coordinates of a graph.
        tokens: the number of these in a design; None: not known, characters are counted.
    """

    part: str = "token"
    tokens: Callable[[str], int] | None = None

    many, natural, result = "molecules", "training molecules", "designs.sdf"

    def size(self, design: Design) -> int:
        return len(design) if self.tokens is None else self.tokens(str(design))

    def distances(self, designs: Sequence[Design]) -> Floats:
        """1 - Tanimoto similarity of fingerprints."""
        return molecule_distance(designs)

    def cells(self, design: Design, rank: int) -> dict[str, str | float]:
        """The SMILES under the name that all designs have, and under the one by which tools of chemists look for it."""
        return {"design": str(design), "smiles": str(design)}

    def changes(self, design: Design, lead: Design) -> dict[str, str | float]:
        """The lead, and how like it the design is."""
        return {
            "start": str(lead),
            "similarity_to_start": round(1.0 - molecule_distance([design, lead])[0, 1], 4),
        }

    def files(self, designs: Sequence[Design], titles: Sequence[str | None], rows: Cells = ()) -> Files:
        """SMILES, and drawings with the scores, of the molecules that have a score."""
        kept = [i for i, title in enumerate(titles) if title is not None]
        molecules = [str(designs[i]) for i in kept]
        names = [str(titles[i]).partition(" ")[0] for i in kept]
        said = [{k: v for k, v in rows[i].items() if k not in ("design", "smiles")} for i in kept if rows]
        records = encode_sdf(molecules, names, said or [{}] * len(kept))
        return {"designs.smi": encode_smi(molecules, names), self.result: records}


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

    def files(self, designs: Sequence[Design], titles: Sequence[str | None], rows: Cells = ()) -> Files:
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

    def files(self, designs: Sequence[Design], titles: Sequence[str | None], rows: Cells = ()) -> Files:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["rank", "step", *self._column_names(designs).tolist()])
        for rank, design in enumerate(designs, start=1):
            writer.writerows([rank, step, *row] for step, row in enumerate(np.asarray(design).tolist()))
        return {**super().files(designs, titles, rows), "steps.csv": text.getvalue().encode()}


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

    def files(self, designs: Sequence[Design], titles: Sequence[str | None], rows: Cells = ()) -> Files:
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
def _(codec: StructureCodec) -> Form:
    return Fold(codec)


@form_of.register
def _(codec: MoleculeCodec) -> Form:
    return Molecule("token", lambda design: len(codec.split(design)) if codec.is_valid(design) else 0)


@form_of.register
def _(codec: MolecularGraphCodec) -> Form:
    return Molecule("coordinate", lambda design: codec.length)


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

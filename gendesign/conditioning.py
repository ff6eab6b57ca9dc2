"""What a backbone is conditioned on: a label, a length or a structure, in every domain.

    labels, scores, lengths    a vector c, one-hot, or several numbers as they are; the zero vector means "any"
    structures                 what the batch itself brings, padded to the longest; NaN means "any"

Training leaves some out at random, so that one network knows p(x | c) and p(x), and guidance between the two needs no
classifier: `gendesign.models.conditioned`, `gendesign.models.on_structure`.

Ho and Salimans 2022, Classifier-Free Diffusion Guidance, arXiv 2207.12598.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from gendesign.building import Configurable, finite, whole
from gendesign.errors import ConfigError, DataError

Given = dict[str, Tensor | None]


class Conditioning(Configurable, ABC):
    """What a batch gives to the network beside the designs.

    Args:
        dropout: share of the training designs whose condition is left out.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(self, *, dropout: float = 0.1) -> None:
        self.dropout = finite("dropout", dropout, at_least=0.0)
        if self.dropout > 1:
            raise ConfigError(f"dropout must be from 0 to 1, got {dropout:g}")

    @abstractmethod
    def check(self, denoiser: object) -> None:
        """Refuse a network that does not take it.

        Raises:
            ConfigError: it takes something else.
        """

    @abstractmethod
    def given(self, batch: Mapping[str, Tensor], *, generator: Generator | None = None) -> Given:
        """`cond` and `mask`, by the names of the process's arguments.

        Args:
            batch: of a data module.
            generator: given in training, where some conditions are left out.

        Raises:
            ConfigError: the batch does not fit this conditioning.
            DataError: as in `Vectors.encode`.
        """


class Brought(Conditioning):
    """What the batch itself brings as `cond`, such as backbones of proteins.

    Designs are as long as what they are conditioned on, and padding is no part of them.

    Args:
        dropout: share of the training designs whose condition is left out, NaN in its place.
    """

    def check(self, denoiser: object) -> None:
        if getattr(denoiser, "cond_dim", 0):
            raise ConfigError("this network takes a vector; condition it on Labels, Bins or Lengths")

    def given(self, batch: Mapping[str, Tensor], *, generator: Generator | None = None) -> Given:
        if "cond" not in batch:
            raise ConfigError("the data bring no cond of their own; condition on Labels, Bins or Lengths")
        cond = batch["cond"]
        if generator is not None and self.dropout:
            left_out = torch.rand(len(cond), device=cond.device, generator=generator) < self.dropout
            cond = torch.where(left_out.view(-1, *[1] * (cond.ndim - 1)), torch.nan, cond)
        return {"cond": cond, "mask": batch["mask"]}


class Vectors(Conditioning):
    """Targets of a batch to conditioning vectors.

    Args:
        dropout: share of the training designs whose label is left out.

    Attributes:
        dim: length of the vector, the network's `cond_dim`.

    Raises:
        ConfigError: an argument is out of range.
    """

    dim: int

    def check(self, denoiser: object) -> None:
        """Refuse a network that does not take this vector.

        Raises:
            ConfigError: its `cond_dim` is another.
        """
        takes = getattr(denoiser, "cond_dim", 0)
        if takes != self.dim:
            raise ConfigError(
                f"conditioning gives {self.dim} numbers, the network has cond_dim={takes}; they must agree"
            )

    def given(self, batch: Mapping[str, Tensor], *, generator: Generator | None = None) -> Given:
        if "cond" in batch:
            raise ConfigError("the data bring their own cond; condition on that (Brought), or on nothing")
        targets = self.targets(batch)
        label = self.encode(targets) if generator is None else self.for_training(targets, generator=generator)
        return {"cond": label, "mask": None}  # PAD is a token that the backbone learns to generate

    def targets(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "B n"]:
        """What the label is read from."""
        return batch["targets"]

    @abstractmethod
    def encode(self, targets: Float[Tensor, "B n"]) -> Float[Tensor, "B C"]:
        """The vectors; zero where the target was not measured.

        Raises:
            DataError: there is no such column, or a value has no class.
        """

    def for_training(self, targets: Float[Tensor, "B n"], *, generator: Generator) -> Float[Tensor, "B C"]:
        """The vectors, some of them left out at random.

        Raises:
            DataError: as in `encode`.
        """
        cond = self.encode(targets)
        u = torch.rand(len(cond), device=cond.device, generator=generator)
        return torch.where((u < self.dropout)[:, None], 0.0, cond)

    @abstractmethod
    def label(self, value: float | Sequence[float]) -> Float[Tensor, " C"]:
        """The vector of one label.

        Raises:
            ConfigError: it has none.
        """


class Classes(Vectors):
    """One-hots of one target.

    Args:
        column: which of the data module's targets is read.
        dropout: share of the training designs whose label is left out.
    """

    def __init__(self, *, column: int = 0, dropout: float = 0.1) -> None:
        super().__init__(dropout=dropout)
        self.column = whole("column", column, at_least=0)

    @abstractmethod
    def classes(self, values: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
        """The class of each value.

        Raises:
            DataError: a value has none.
        """

    def encode(self, targets: Float[Tensor, "B n"]) -> Float[Tensor, "B C"]:
        _has(targets, self.column)
        values = targets[:, self.column]
        known = ~values.isnan()
        vectors = torch.zeros(len(values), self.dim, device=targets.device)
        vectors[known] = torch.nn.functional.one_hot(self.classes(values[known]), self.dim).to(vectors)
        return vectors

    def label(self, value: float | Sequence[float]) -> Float[Tensor, " C"]:
        if not isinstance(value, int | float):
            raise ConfigError(f"expected one number as label, got {value!r}")
        try:
            return self.encode(torch.full((1, self.column + 1), finite("label", value)))[0]
        except DataError as error:
            raise ConfigError(str(error)) from error


class Labels(Classes):
    """Class labels 0..C-1.

    Args:
        num_classes: C.
        column: which of the data module's targets is the label.
        dropout: share of the training designs whose label is left out.
    """

    def __init__(self, num_classes: int, *, column: int = 0, dropout: float = 0.1) -> None:
        super().__init__(column=column, dropout=dropout)
        self.dim = whole("num_classes", num_classes, at_least=2)

    def classes(self, values: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
        wrong = values[(values != values.round()) | (values < 0) | (values >= self.dim)]
        if len(wrong):
            raise DataError(f"expected a label 0..{self.dim - 1}, got {wrong[0].item():g}")
        return values.long()


class Bins(Classes):
    """Scores by the bin that they fall into: below the first edge, between two, from the last one on.

    Args:
        edges: E ascending numbers, in the target's unit; there are E + 1 bins.
        column: which of the data module's targets is the score.
        dropout: share of the training designs whose score is left out.
    """

    def __init__(self, edges: Sequence[float], *, column: int = 0, dropout: float = 0.1) -> None:
        super().__init__(column=column, dropout=dropout)
        self.edges = [finite("edges", float(edge)) for edge in edges]
        if not self.edges or any(b <= a for a, b in zip([-math.inf, *self.edges], self.edges, strict=False)):
            raise ConfigError(f"edges must be one or more ascending numbers, got {list(edges)}")
        self.dim = len(self.edges) + 1

    def classes(self, values: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
        return torch.bucketize(
            values.double(), torch.tensor(self.edges, device=values.device).double(), right=True
        )


class Lengths(Bins):
    """Lengths of the designs themselves, by the bin that they fall into, where the codec allows several.

    The network must see where a position is: convolutions do, attention with relative positions alone does not.

    Args:
        edges: E ascending numbers of letters or tokens; there are E + 1 bins.
        dropout: share of the training designs whose length is left out.
    """

    def __init__(self, edges: Sequence[float], *, dropout: float = 0.1) -> None:
        super().__init__(edges, dropout=dropout)

    def targets(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "B 1"]:
        return batch["mask"].sum(1, keepdim=True).float()


class Numbers(Vectors):
    """Several targets as they are, standardised; all of them, or none.

        c = ((y - mean) / std, 1)

    Args:
        columns: which of the data module's targets, such as those of an initial observation, in the label's order.
        mean: of each, about; zeros where not said.
        std: of each, about; ones where not said.
        dropout: share of the training designs that are told nothing.
    """

    def __init__(
        self,
        columns: Sequence[int],
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(dropout=dropout)
        self.columns = [whole("columns", column, at_least=0) for column in columns]
        count = len(self.columns)
        self.mean = [finite("mean", float(each)) for each in ([0.0] * count if mean is None else mean)]
        self.std = [finite("std", float(each), above=0.0) for each in ([1.0] * count if std is None else std)]
        if not count or {len(self.mean), len(self.std)} != {count}:
            raise ConfigError(
                f"expected columns, and a mean and a std of each, got {count}, {len(self.mean)} and {len(self.std)}"
            )
        self.dim = count + 1

    def encode(self, targets: Float[Tensor, "B n"]) -> Float[Tensor, "B C"]:
        _has(targets, max(self.columns))
        return self._vectors(targets[:, self.columns])

    def _vectors(self, values: Float[Tensor, "B K"]) -> Float[Tensor, "B C"]:
        mean, std = values.new_tensor(self.mean), values.new_tensor(self.std)
        vectors = torch.nn.functional.pad((values - mean) / std, (0, 1), value=1.0)
        return torch.where(values.isnan().any(1, keepdim=True), 0.0, vectors)

    def label(self, value: float | Sequence[float]) -> Float[Tensor, " C"]:
        given = [value] if isinstance(value, int | float) else list(value)
        if len(given) != len(self.columns) or not all(isinstance(each, int | float) for each in given):
            raise ConfigError(f"expected {len(self.columns)} numbers as label, got {value!r}")
        return self._vectors(torch.tensor([[finite("label", float(each)) for each in given]]))[0]


def _has(targets: Float[Tensor, "B n"], column: int) -> None:
    if column >= targets.shape[1]:
        raise DataError(
            f"conditioning reads target {column}, the data have {targets.shape[1]}; name the column there"
        )


def given_in(
    batch: Mapping[str, Tensor],
    conditioning: Conditioning | None = None,
    *,
    generator: Generator | None = None,
) -> Given:
    """What a batch gives to the network beside the designs, by the names of the process's arguments.

    Args:
        batch: of a data module.
        conditioning: makes it of the batch; None: the batch's own `cond`, if it brings one, and never left out.
        generator: given in training, where some conditions are left out.

    Raises:
        ConfigError: batch and conditioning do not fit each other.
        DataError: as in `Vectors.encode`.
    """
    if conditioning is None and "cond" not in batch:
        return {"cond": None, "mask": None}
    return (conditioning or Brought(dropout=0.0)).given(batch, generator=generator)

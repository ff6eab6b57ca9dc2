"""Images, vectors and sequences of vectors as the N numbers that a continuous process works on.

Images are mapped from [0, 1] to [-1, 1]. Vectors are standardised, column by column,

    x = (value - mean) / std,

with the statistics of the training rows: a codec that is fitted holds them among its arguments, so that they are saved
with the weights.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gendesign.building import finite, whole
from gendesign.codecs import Codec
from gendesign.designs import Array
from gendesign.errors import ConfigError, DataError, DesignError


class ArrayCodec(Codec):
    """Base class of codecs whose designs are arrays of one shape, encoded by an affine map of each number.

    Attributes:
        shape: of a design.
    """

    shape: tuple[int, ...]

    @abstractmethod
    def _scaled(self, values: Array) -> Array:
        """Designs [B, *shape] to the numbers x, in the same shape."""

    @abstractmethod
    def _restored(self, x: Tensor) -> Tensor:
        """The inverse of `_scaled`, differentiable: Float[B *shape] to the same shape."""

    def encode(self, designs: Sequence[Any]) -> Float[Tensor, "B N"]:
        """Float32 rows of N numbers.

        Raises:
            DesignError: a design has another shape, or numbers that this codec does not take.
        """
        for design in designs:
            reason = self.reason_invalid(design)
            if reason:
                raise DesignError(reason)
        values = np.asarray(designs, dtype=np.float64).reshape(len(designs), *self.shape)
        return torch.from_numpy(self._flat(self._scaled(values))).float()

    def decode(self, x: Float[Tensor, "B N"]) -> list[Array]:
        """Designs in the user's units, in float64."""
        return list(self._restored(self._unflat(x.detach().cpu().double())).numpy())

    def reason_invalid(self, design: Any) -> str:
        """Why a design cannot be encoded, as one line; empty if it can."""
        try:
            values = np.asarray(design, dtype=np.float64)
        except (TypeError, ValueError):
            return f"expected an array of numbers of shape {list(self.shape)}, got {type(design).__name__}"
        if values.shape != self.shape:
            return f"expected an array of shape {list(self.shape)}, got {list(values.shape)}"
        if not np.isfinite(values).all():
            where = np.argwhere(~np.isfinite(values))[0].tolist()
            return f"expected finite numbers, got {values[tuple(where)]} at {where}"
        return ""

    def encode_template(self, template: Any) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"]]:
        """Read a template: an array of a design's shape, NaN where free.

        Returns:
            The encoded numbers, NaN where free, and which coordinates are fixed.

        Raises:
            DesignError: it does not fit, or fixes everything.
        """
        try:
            values = np.asarray(template, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.zeros(0)
        free = np.isnan(values)
        # the fixed numbers must be those of a design: the free ones are lent values that are
        if values.shape == self.shape:
            values = np.where(free, self._neutral(), values)
        reason = self.reason_invalid(values)
        if reason:
            raise DesignError(f"template: {reason} (NaN marks free numbers)")
        if not free.any():
            raise DesignError("the template fixes every number; mark those to design with NaN")
        fixed = ~torch.from_numpy(self._flat(free[None])[0])
        x = self.encode([values])[0]
        return torch.where(fixed, x, torch.nan), fixed

    def _neutral(self) -> float | Array:
        return 0.0

    def _flat(self, values: Any) -> Any:
        return values.reshape(len(values), self.length)

    def _unflat(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.shape)


class ImageCodec(ArrayCodec):
    """Images [H, W] or, of three channels, [H, W, 3], with values in [0, 1]; x = 2 value - 1 in the order C, H, W.

    Args:
        height: pixels.
        width: pixels.
        channels: 1 for grey, 3 for red, green and blue.
    """

    def __init__(self, height: int, width: int, channels: int = 1) -> None:
        if channels not in (1, 3):
            raise ConfigError(f"channels must be 1 (grey) or 3 (red, green, blue), got {channels!r}")
        self.height = whole("height", height)
        self.width = whole("width", width)
        self.channels = channels
        self.shape = (height, width) if channels == 1 else (height, width, channels)
        self.length = height * width * channels
        self.log_volume = self.length * math.log(2)

    def decode(self, x: Float[Tensor, "B N"]) -> list[Array]:
        """Images, clamped to [0, 1]."""
        return [image.clip(0.0, 1.0) for image in super().decode(x)]

    def relax(self, x: Float[Tensor, "B N"]) -> Float[Tensor, "B C H W"]:
        """Images with channels first, in the scale of [0, 1], not clamped."""
        return (x.reshape(len(x), self.channels, self.height, self.width) + 1) / 2

    def harden(self, x: Float[Tensor, "B C H W"]) -> list[Array]:
        """Clamped to [0, 1]."""
        return self.decode(2 * x.flatten(1) - 1)

    def reason_invalid(self, design: Any) -> str:
        reason = super().reason_invalid(design)
        if reason:
            return reason
        values = np.asarray(design, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        return "" if 0 <= low and high <= 1 else f"expected pixels in [0, 1], got {low:.4g} to {high:.4g}"

    def _scaled(self, values: Array) -> Array:
        return 2 * values - 1

    def _restored(self, x: Tensor) -> Tensor:
        return (x + 1) / 2

    def _flat(self, values: Any) -> Any:
        chosen = values if self.channels == 1 else np.moveaxis(values, -1, 1)
        return np.ascontiguousarray(chosen).reshape(len(values), self.length)

    def _unflat(self, x: Tensor) -> Tensor:
        if self.channels == 1:
            return x.reshape(len(x), *self.shape)
        return x.reshape(len(x), self.channels, self.height, self.width).permute(0, 2, 3, 1)


class VectorCodec(ArrayCodec):
    """Vectors [n] in the user's units, standardised column by column.

    Args:
        columns: names of the n numbers.
        mean: of each column; with `std` left out, the codec has to be fitted before use.
        std: of each column, above 0.
    """

    statistics = ("mean", "std")

    def __init__(
        self,
        columns: Sequence[str],
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self._take(columns, 1, mean, std)
        self.shape = (len(self.columns),)

    def _take(
        self,
        columns: Sequence[str],
        steps: int,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
    ) -> None:
        self.columns = (columns,) if isinstance(columns, str) else tuple(columns)
        if not self.columns or len(set(self.columns)) != len(self.columns):
            raise ConfigError(f"columns must be distinct names, at least one; got {list(self.columns)}")
        if (mean is None) != (std is None):
            raise ConfigError("give both mean and std, or neither")
        self.steps = whole("steps", steps)
        self.length = steps * len(self.columns)
        self.mean: tuple[float, ...] | None = None
        self.std: tuple[float, ...] | None = None
        if mean is not None and std is not None:
            if not len(mean) == len(std) == len(self.columns):
                raise ConfigError(
                    f"mean and std need one number for each of the {len(self.columns)} columns, "
                    f"got {len(mean)} and {len(std)}"
                )
            self.mean = tuple(finite("mean", value) for value in mean)
            self.std = tuple(finite("std", value, above=0.0) for value in std)
            self.log_volume = -steps * sum(math.log(value) for value in self.std)

    @property
    def is_fitted(self) -> bool:
        """Whether the codec has the statistics that it needs."""
        return self.mean is not None

    def fit(self, rows: Sequence[Any] | Array) -> VectorCodec:
        """A codec with the statistics of these designs.

        Args:
            rows: designs of this codec's shape, such as the training rows.

        Raises:
            DataError: fewer than two rows, numbers that are not finite, or a column that is constant.
        """
        values = np.asarray(rows, dtype=np.float64)
        if values.shape[1:] != self.shape or len(values) < 2:
            raise DataError(
                f"expected at least two rows of shape {list(self.shape)} to fit, got {list(values.shape)}"
            )
        values = values.reshape(-1, len(self.columns))
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0].tolist()
            raise DataError(f"column {self.columns[column]!r} has {values[row, column]} in row {row + 1}")
        mean, std = values.mean(0), values.std(0)
        for name, column, level in zip(self.columns, values.T, std.tolist(), strict=True):
            # rounding leaves a constant column a tiny deviation
            if np.ptp(column) == 0 or level == 0:
                raise DataError(
                    f"column {name!r} is constant ({column[0]:g}) over the training rows; leave it out of the columns"
                )
        return self._with(mean.tolist(), std.tolist())

    def _with(self, mean: list[float], std: list[float]) -> VectorCodec:
        return VectorCodec(self.columns, mean=mean, std=std)

    def relax(self, x: Float[Tensor, "B N"]) -> Tensor:
        """Numbers in the user's units, in a design's shape."""
        return self._restored(self._unflat(x))

    def harden(self, x: Tensor) -> list[Array]:
        """As they are."""
        return list(x.detach().cpu().double().numpy())

    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self.mean is None or self.std is None:
            raise ConfigError(
                f"{type(self).__name__} has no statistics yet: fit it on training rows, or give mean and std"
            )
        return self.mean, self.std

    def _scaled(self, values: Array) -> Array:
        mean, std = self._statistics()
        scaled: Array = (values - np.array(mean)) / np.array(std)
        return scaled

    def _restored(self, x: Tensor) -> Tensor:
        mean, std = (torch.tensor(each, dtype=x.dtype, device=x.device) for each in self._statistics())
        return x * std + mean

    def _neutral(self) -> float | Array:
        return np.array(self._statistics()[0])


class VectorSequenceCodec(VectorCodec):
    """Sequences of vectors [H, n] in the user's units; a column has the same statistics at every step.

    Args:
        columns: names of the n numbers of a step.
        steps: H.
        mean: of each column; with `std` left out, the codec has to be fitted before use.
        std: of each column, above 0.
    """

    def __init__(
        self,
        columns: Sequence[str],
        steps: int,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        self._take(columns, steps, mean, std)
        self.shape = (steps, len(self.columns))

    def _with(self, mean: list[float], std: list[float]) -> VectorSequenceCodec:
        return VectorSequenceCodec(self.columns, self.steps, mean=mean, std=std)

"""Rewards that are read off an image's pixels: how small a JPEG it makes, how bright it is, how rich in contrast.

With the luminance Y = 0.299 R + 0.587 G + 0.114 B of a pixel (a grey image's own value), 0 black and 1 white,

    Brightness           mean of Y over the pixels
    Contrast             standard deviation of Y over the pixels (RMS contrast)
    JPEGCompressibility  - bytes of the JPEG's pixels / 1000

The first two have a gradient, the third has none. To lower one, give it a negative weight in a `WeightedSum`.

References: Black et al. 2023, Training Diffusion Models with Reinforcement Learning, arXiv 2305.13301, and Li et al.
2024, Derivative-Free Guidance in Continuous and Discrete Diffusion Models with Soft Value-Based Decoding, arXiv
2408.08252 (compressibility); Peli 1990, Contrast in complex images, J. Opt. Soc. Am. A 7:2032 (RMS contrast); ITU-R
BT.601 (luminance).
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import whole
from gendesign.designs import Array, Design
from gendesign.errors import ConfigError, MissingExtraError
from gendesign.rewards.base import DifferentiableReward, Reward

LUMINANCE = (0.299, 0.587, 0.114)
"""What red, green and blue give to the luminance."""


def not_image(design: Design) -> str:
    """Why a design is not an image [H, W] or [H, W, 3] of numbers in [0, 1]; "" if it is one."""
    if isinstance(design, str):
        return "expected an image, got a string"
    if design.ndim not in (2, 3) or (design.ndim == 3 and design.shape[2] != 3) or design.size == 0:
        return f"expected an image [H, W] or [H, W, 3], got an array of shape {design.shape}"
    if not np.isfinite(design).all():
        return "expected an image of finite numbers, got NaN or infinite ones"
    low, high = float(design.min()), float(design.max())
    if low < 0 or high > 1:
        return f"expected an image of numbers in [0, 1], got {low:g} to {high:g}"
    return ""


def to_pixels(designs: Sequence[Array]) -> Float[Tensor, "B C H W"]:
    """Images of one shape as a float64 tensor; grey ones have one channel."""
    stacked = torch.from_numpy(np.stack(designs).astype(np.float64))
    return stacked[:, None] if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2)


def luminance(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B H W"]:
    """Luminance of grey or colour pixels."""
    return x[:, 0] if x.shape[1] == 1 else torch.einsum("bchw,c->bhw", x, x.new_tensor(LUMINANCE))


class ImageReward(DifferentiableReward):
    """Base of differentiable rewards of images: `relaxed` says it all, images of any size may be mixed."""

    def unreadable(self, design: Design) -> str:
        return not_image(design)

    @torch.no_grad()
    def score(self, designs: Sequence[Array]) -> Tensor:
        values = torch.empty(len(designs), dtype=torch.float64)
        for shape in dict.fromkeys(design.shape for design in designs):
            rows = [i for i, design in enumerate(designs) if design.shape == shape]
            values[rows] = self.relaxed(to_pixels([designs[i] for i in rows])).double().cpu()
        return values


class Brightness(ImageReward):
    """Mean luminance: 0 for a black image, 1 for a white one."""

    unit = "fraction of white"

    def __init__(self) -> None:
        self.name = "brightness"

    def relaxed(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        return luminance(x).mean((1, 2))


class Contrast(ImageReward):
    """RMS contrast: the standard deviation of luminance over the pixels.

    0 for a flat image, at most 0.5 for one half black and half white.
    """

    unit = "fraction of white"

    def __init__(self) -> None:
        self.name = "contrast"

    def relaxed(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        y = luminance(x).flatten(1)
        # the norm has a gradient at a flat image too (0), which the square root of a variance has not
        return torch.linalg.vector_norm(y - y.mean(1, keepdim=True), dim=1) / y.shape[1] ** 0.5


class JPEGCompressibility(Reward):
    """Minus the size of an image's JPEG, in kB (1000 bytes): simple images score high.

    Pixels are rounded to 8 bits; colour is subsampled as JPEGs usually are (4:2:0). The file's head, its tables and
    markers, is left out: it has the same length for all images of one kind (0.3 kB grey, 0.6 kB colour), so that the
    published figure differs by a constant, which no temperature notices, and an 8 x 8 image would be mostly head.

    Args:
        quality: of the JPEG, 1 to 100; 95 as published.

    Raises:
        ConfigError: a quality out of range.
        MissingExtraError: Pillow is not installed (raised when scoring).
    """

    unit = "kB"
    source = "size of the JPEG that Pillow writes"

    def __init__(self, *, quality: int = 95) -> None:
        if whole("quality", quality) > 100:
            raise ConfigError(f"quality must be 1 to 100, got {quality}")
        self.quality = quality
        self.name = "compressibility"

    def unreadable(self, design: Design) -> str:
        return not_image(design)

    def score(self, designs: Sequence[Array]) -> list[float]:
        try:
            from PIL import Image
        except ImportError as error:
            raise MissingExtraError("Pillow", "images") from error
        values = []
        for design in designs:
            file = io.BytesIO()
            Image.fromarray((design * 255).round().astype(np.uint8)).save(file, "JPEG", quality=self.quality)
            values.append(-pixel_bytes(file.getvalue()) / 1000)
        return values


def pixel_bytes(jpeg: bytes) -> int:
    """Bytes of a baseline JPEG's pixels: what follows its head, without the end marker.

    The head is a chain of segments: two bytes that name it, two bytes of its length, its content. The last is named
    FF DA.
    """
    place, last = 2, False
    while not last:
        last = jpeg[place + 1] == 0xDA
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4], "big")
    return len(jpeg) - place - 2

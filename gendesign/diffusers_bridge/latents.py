"""Images through the autoencoder of a latent pipeline: designs stay arrays in [0, 1], the process sees latents.

    z = scaling (E(2 image - 1) - shift),   image = (D(z/scaling + shift) + 1)/2

with E the mean of the encoder and D the decoder.

Rombach et al. 2022, High-Resolution Image Synthesis with Latent Diffusion Models, arXiv 2112.10752.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gendesign.array_codecs import ImageCodec
from gendesign.building import whole
from gendesign.designs import Array, Design
from gendesign.errors import UnsupportedError


class LatentCodec(ImageCodec):
    """Images <-> latents of an autoencoder of diffusers.

    Args:
        autoencoder: `AutoencoderKL`, `VQModel` or one with the same methods.
        latent_shape: channels, rows and columns of the latents.
        height: of the images, in pixels.
        width: likewise.
        channels: of the images, 1 or 3.
        max_rows: images decoded at once, which bounds memory.
    """

    def __init__(
        self,
        autoencoder: nn.Module,
        latent_shape: tuple[int, int, int],
        *,
        height: int,
        width: int,
        channels: int = 3,
        max_rows: int = 16,
    ) -> None:
        super().__init__(height, width, channels)
        self.pixels = ImageCodec(height, width, channels)
        self.autoencoder = autoencoder
        self.latent_shape = latent_shape
        self.max_rows = whole("max_rows", max_rows)
        config: Any = autoencoder.config
        if config.get("force_upcast"):  # half precision overflows in it
            autoencoder.float()
        self.scaling = float(config.get("scaling_factor") or 1.0)
        self.shift = float(config.get("shift_factor") or 0.0)
        if config.get("latents_mean") is not None or config.get("latents_std") is not None:
            raise UnsupportedError(
                "autoencoders with latents_mean and latents_std are not supported; supported are those with "
                "scaling_factor and shift_factor"
            )
        self.length = math.prod(latent_shape)
        self.log_volume = 0.0  # densities are those of the latents

    @torch.no_grad()
    def encode(self, designs: Sequence[Design]) -> Float[Tensor, "B N"]:
        """Latents of images; a lossy code, unlike that of pixels."""
        images = self.pixels.encode(designs).view(
            -1, self.pixels.channels, self.pixels.height, self.pixels.width
        )
        if not len(images):
            return images.new_zeros(0, self.length)
        return torch.cat([self._encode(part) for part in images.split(self.max_rows)]).flatten(1)

    def _encode(self, images: Tensor) -> Tensor:
        coded = self.autoencoder.encode(self._placed(images))  # type: ignore[operator]
        latents = coded.latent_dist.mode() if hasattr(coded, "latent_dist") else coded.latents
        return self.scaling * (latents.float() - self.shift)

    @torch.no_grad()
    def decode(self, x: Float[Tensor, "B N"]) -> list[Array]:
        """Images of latents."""
        parts = x.split(self.max_rows) if len(x) else ()
        return [image for part in parts for image in self.pixels.decode(self._pixels(part))]

    def relax(self, x: Float[Tensor, "B N"]) -> Float[Tensor, "B C H W"]:
        """Images of latents, not clamped: the gradient passes through the decoder."""
        return torch.cat([self.pixels.relax(self._pixels(part)) for part in x.split(self.max_rows)])

    def encode_template(self, template: Any) -> tuple[Float[Tensor, " N"], Bool[Tensor, " N"]]:
        """Refused: a pixel has no coordinate of its own among the latents.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError("a latent pipeline takes no template: pixels cannot be fixed in latent space")

    def _pixels(self, x: Tensor) -> Tensor:
        """Flat pixels in [-1, 1], about, on the device of the latents."""
        latents = x.view(-1, *self.latent_shape) / self.scaling + self.shift
        decoded: Tensor = self.autoencoder.decode(self._placed(latents), return_dict=False)[0]  # type: ignore[operator]
        return decoded.flatten(1).to(x.device, torch.float32)

    def _placed(self, images: Tensor) -> Tensor:
        weight = next(self.autoencoder.parameters())
        return images.to(weight.device, weight.dtype)

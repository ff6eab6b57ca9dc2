"""A U-Net over images, diffusers' `UNet2DModel`, as the network of a continuous denoiser.

It has twice as many output channels as input channels: the first half is the raw output F of the preconditioned mean,
the second half the log-variance of every pixel. diffusers' time embedding expects step numbers, so the noise c_noise =
ln(sigma)/4, which spans about 2.7 from .002 to 80, is stretched first.

Ronneberger, Fischer, Brox 2015, U-Net: Convolutional Networks for Biomedical Image Segmentation, arXiv 1505.04597.
Ho, Jain, Abbeel 2020, Denoising Diffusion Probabilistic Models, arXiv 2006.11239: the network for diffusion.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gendesign.building import whole
from gendesign.errors import ConfigError, MissingExtraError
from gendesign.models.base import VectorNetwork, embed_cond

TIME_SCALE = 100.0
"""Step numbers a unit of c_noise: neighbouring noise levels of a schedule stay close in the embedding."""


class UNet2DNetwork(VectorNetwork):
    """U-Net over images, flattened in the order channels, rows, columns.

    Args:
        height: pixels, a multiple of 2^(levels - 1).
        width: pixels, likewise.
        channels: 1 for grey, 3 for colour.
        widths: channels of each level, each a multiple of `norm_groups`; a level has half the size of the one before.
        layers: residual blocks a level.
        attention: whether the lowest level attends over its pixels.
        dropout: in residual blocks.
        norm_groups: groups of the group normalisation.
        cond_dim: length of the vector `cond` that a conditional network takes; 0 for none.

    Raises:
        ConfigError: sizes that the levels cannot halve, or arguments out of range.
        MissingExtraError: diffusers is not installed.
    """

    def __init__(
        self,
        height: int,
        width: int,
        channels: int = 1,
        *,
        widths: Sequence[int] = (32, 64),
        layers: int = 1,
        attention: bool = True,
        dropout: float = 0.0,
        norm_groups: int = 8,
        cond_dim: int = 0,
    ) -> None:
        super().__init__()
        self.shape = (whole("channels", channels), whole("height", height), whole("width", width))
        whole("layers", layers), whole("norm_groups", norm_groups)
        if not widths or any(level < 1 or level % norm_groups for level in widths):
            raise ConfigError(f"widths must be multiples of norm_groups={norm_groups}, got {list(widths)}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        factor = 2 ** (len(widths) - 1)
        if height % factor or width % factor:
            raise ConfigError(
                f"{len(widths)} levels need height and width to be multiples of {factor}, got {height} x {width}; "
                "give fewer widths or resize the images"
            )
        try:
            from diffusers import UNet2DModel
        except ImportError as error:
            raise MissingExtraError("diffusers", "images") from error
        unet: Any = UNet2DModel(
            sample_size=(height, width),
            in_channels=channels,
            out_channels=2 * channels,
            block_out_channels=tuple(widths),
            down_block_types=("DownBlock2D",) * len(widths),
            up_block_types=("UpBlock2D",) * len(widths),
            layers_per_block=layers,
            add_attention=attention,
            attention_head_dim=norm_groups,
            norm_num_groups=norm_groups,
            resnet_time_scale_shift="scale_shift",
            dropout=dropout,
            # what is added to the time embedding is projected here
            class_embed_type="identity" if cond_dim else None,
        )
        self.cond_dim = whole("cond_dim", cond_dim, at_least=0)
        self.cond = nn.Linear(cond_dim, 4 * widths[0]) if cond_dim else None
        # The first answer is the preconditioning's own, c_skip x, with variance c_out^2.
        nn.init.zeros_(unet.conv_out.weight)
        nn.init.zeros_(unet.conv_out.bias)
        self.unet: nn.Module = unet

    def forward(
        self,
        x: Float[Tensor, "B N"],
        noise: Float[Tensor, " B"],
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"]]:
        """Raw output and log-variance; see `VectorNetwork.forward`. The mask is not read.

        Raises:
            ConfigError: x is not of this image size, or `cond` does not fit.
        """
        channels, height, width = self.shape
        if x.ndim != 2 or x.shape[1] != channels * height * width:
            raise ConfigError(
                f"expected [batch, {channels * height * width}] for images of {channels} x {height} x {width}, "
                f"got {list(x.shape)}"
            )
        image = x.reshape(-1, channels, height, width)
        extra = embed_cond(self.cond, cond, len(x))
        answer: Tensor = self.unet(image, TIME_SCALE * noise, class_labels=extra, return_dict=False)[0]
        mean, log_variance = torch.chunk(answer.flatten(1), 2, dim=1)
        return mean, log_variance

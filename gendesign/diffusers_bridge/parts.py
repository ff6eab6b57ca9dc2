"""A pipeline of diffusers taken apart: its network as a denoiser, its autoencoder (or none) as a codec."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gendesign.array_codecs import ImageCodec
from gendesign.building import finite, whole
from gendesign.diffusers_bridge.coordinates import coordinates_of, own_setting
from gendesign.diffusers_bridge.denoiser import PipelineDenoiser, Prompt
from gendesign.diffusers_bridge.latents import LatentCodec
from gendesign.errors import ConfigError, UnsupportedError


@dataclass(frozen=True)
class Settings:
    """What is asked of a pipeline; see `gendesign.diffusers_bridge.backbone.DiffusersBackbone`.

    Attributes:
        prompt: what to draw, None for unconditional pipelines.
        negative_prompt: what not to draw.
        guidance_scale: g, 1 for none.
        size: height and width in pixels, None for the network's own.
        clip: bound on the mean's absolute values, None for the scheduler's own.
        max_rows: network rows a call.
    """

    prompt: str | None = None
    negative_prompt: str = ""
    guidance_scale: float = 7.5
    size: tuple[int, int] | None = None
    clip: float | None = None
    max_rows: int = 64


def take_apart(pipeline: Any, settings: Settings) -> tuple[ImageCodec, PipelineDenoiser]:
    """Codec and denoiser of a pipeline.

    Raises:
        UnsupportedError: its network or scheduler cannot be a backbone; the message says which can.
        ConfigError: a setting that is out of range, or that does not fit the pipeline.
    """
    network = _network(pipeline)
    coordinates = coordinates_of(pipeline.scheduler)
    name, reads_text = type(pipeline).__name__, getattr(pipeline, "text_encoder", None) is not None
    if reads_text and settings.prompt is None:
        raise ConfigError(f"{name} draws what a text says: load it with load_diffusers(..., prompt='...')")
    if not reads_text and settings.prompt is not None:
        raise ConfigError(f"{name} takes no prompt; leave it out")
    autoencoder: Any = getattr(pipeline, "vae", None) or getattr(pipeline, "vqvae", None)
    factor = 1 if autoencoder is None else 2 ** (len(autoencoder.config.block_out_channels) - 1)
    height, width = _size(network, settings.size, factor)
    pixels, channels = (height * factor, width * factor), int(network.config.in_channels)
    codec = ImageCodec(*pixels, channels) if autoencoder is None else None
    if codec is None:
        if autoencoder.config.latent_channels != channels:
            raise UnsupportedError(
                f"{name}: the network takes {channels} channels, the autoencoder gives "
                f"{autoencoder.config.latent_channels}: networks for inpainting, depth or editing are not supported"
            )
        codec = LatentCodec(
            autoencoder,
            (channels, height, width),
            height=pixels[0],
            width=pixels[1],
            channels=int(autoencoder.config.out_channels),
            max_rows=settings.max_rows,
        )
    prompt = None if settings.prompt is None else _read(pipeline, settings, pixels)
    denoiser = PipelineDenoiser(
        network,
        coordinates,
        channels=channels,
        height=height,
        width=width,
        prompt=prompt,
        guidance_scale=settings.guidance_scale,
        clip=_clip(pipeline.scheduler, settings.clip),
        max_rows=settings.max_rows,
    )
    return codec, denoiser


def _network(pipeline: Any) -> Any:
    """The pipeline's network, if it can be asked for the mean of an image."""
    name, network = type(pipeline).__name__, getattr(pipeline, "unet", None)
    if type(network).__name__ not in ("UNet2DModel", "UNet2DConditionModel"):
        parts = ", ".join(str(part) for part in pipeline.components)
        raise UnsupportedError(
            f"{name} is not supported: a backbone needs a unet of class UNet2DModel (unconditional pipelines) or "
            f"UNet2DConditionModel (Stable Diffusion 1, 2 and XL); this pipeline has {parts}"
        )
    assert isinstance(network, nn.Module)
    config: Any = network.config
    usual = {"time_embedding_type": "positional", "addition_embed_type": "text_time"}
    for setting in (
        "class_embed_type",
        "num_class_embeds",
        "time_cond_proj_dim",
        "encoder_hid_dim_type",
        "time_embedding_type",
        "addition_embed_type",
    ):
        value = config.get(setting)
        if value is not None and value != usual.get(setting):
            raise UnsupportedError(
                f"{name}: a network with {setting}={value!r} is not supported; expected "
                f"{usual.get(setting, 'none')}: unconditional, or conditioned on a text alone"
            )
    return network


def _size(network: Any, size: tuple[int, int] | None, factor: int) -> tuple[int, int]:
    """Rows and columns that the network sees."""
    if size is not None:
        if len(size) != 2 or any(whole("size", pixels) % factor for pixels in size):
            raise ConfigError(f"size must be (height, width) in multiples of {factor} pixels, got {size}")
        return size[0] // factor, size[1] // factor
    known = network.config.sample_size
    if known is None:
        raise ConfigError("the network does not say the size of its images: give size=(height, width)")
    return (known, known) if isinstance(known, int) else (int(known[0]), int(known[1]))


def _clip(scheduler: Any, clip: float | None) -> float:
    """The bound on the mean: what was asked, else what the scheduler does."""
    if clip is not None:
        return clip if clip == math.inf else finite("clip", clip, above=0.0)
    if own_setting(scheduler, "thresholding", False):
        raise UnsupportedError(
            f"{type(scheduler).__name__} with thresholding=True is not supported: its bound depends on the image; load "
            "the pipeline with clip=1.0, or with clip=math.inf for none"
        )
    clips = own_setting(scheduler, "clip_sample", False)
    return float(own_setting(scheduler, "clip_sample_range", 1.0)) if clips else math.inf


@torch.no_grad()
def _read(pipeline: Any, settings: Settings, pixels: tuple[int, int]) -> Prompt:
    """The prompt as the network reads it, preceded by the negative one where there is guidance."""
    guided = finite("guidance_scale", settings.guidance_scale, at_least=0.0) != 1
    found = pipeline.encode_prompt(
        prompt=settings.prompt,
        device=pipeline.unet.device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=guided,
        negative_prompt=settings.negative_prompt if guided else None,
    )
    # (text, negative text) of Stable Diffusion; XL adds (pooled text, pooled negative text)
    pairs = [found[i : i + 2] for i in range(0, len(found), 2)]
    embeddings, *pooled = (torch.cat([second, first]) if guided else first for first, second in pairs)
    if not pooled:
        return Prompt(embeddings)
    # original size, crop and target size of the picture
    ids = torch.tensor([[*pixels, 0, 0, *pixels]], dtype=embeddings.dtype, device=embeddings.device)
    return Prompt(embeddings, {"text_embeds": pooled[0], "time_ids": ids.expand(len(embeddings), -1)})

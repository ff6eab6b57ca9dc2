"""Any pipeline of diffusers that is a denoiser, as a backbone: every steering method works on it unchanged.

    gd.load_backbone("diffusers:google/ddpm-cifar10-32")
    load_diffusers("stable-diffusion-v1-5/stable-diffusion-v1-5", prompt="a lighthouse", guidance_scale=7.5)

The process is EDM (`PoissonFlow` at D = inf) over the noise levels of the pipeline's own scheduler; see `coordinates`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from gendesign.backbone import Backbone
from gendesign.diffusers_bridge.parts import Settings, take_apart
from gendesign.diffusers_bridge.pipeline import PoissonFlowPipeline
from gendesign.diffusers_bridge.reading import is_poisson_flow, read_pipeline
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import ConfigError, UnsupportedError

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
PREFIX = "diffusers:"


class DiffusersBackbone(Backbone):
    """A pipeline of diffusers.

    Args:
        source: its folder, its id on the Hugging Face hub, or the pipeline itself.
        prompt: what to draw; needed by text-to-image pipelines, refused by others.
        negative_prompt: what not to draw.
        guidance_scale: g of classifier-free guidance, which costs a second network row a design; 1 for none. Read with
            a prompt only.
        size: height and width of the images in pixels; None for the ones that the network was trained at.
        dtype: "float32", "bfloat16", "float16" or "float64", of networks that are read; the process keeps float64.
        clip: bound on the absolute values of the mean of x_0; None: the scheduler's own, `math.inf` for none.
        max_rows: network rows a call, which bounds memory.

    Raises:
        CheckpointError: there is no such pipeline, or its weights are no safetensors.
        TrustError: it brings code of its own.
        UnsupportedError: its network or scheduler cannot be a backbone; the message says which can.
        ConfigError: an argument is out of range, or does not fit the pipeline.
    """

    def __init__(
        self,
        source: Any,
        *,
        prompt: str | None = None,
        negative_prompt: str = "",
        guidance_scale: float = 7.5,
        size: tuple[int, int] | None = None,
        dtype: str = "float32",
        clip: float | None = None,
        max_rows: int = 64,
    ) -> None:
        given = isinstance(source, DiffusionPipeline)
        pipeline = source if given else read_pipeline(source, dtype=_dtype(dtype))
        settings = Settings(prompt, negative_prompt, guidance_scale, size, clip, max_rows)
        codec, denoiser = take_apart(pipeline, settings)
        known = denoiser.coordinates
        process = PoissonFlow(math.inf, sigma_min=known.sigma_min, sigma_max=known.sigma_max)
        super().__init__(codec, process, denoiser)
        # a codec is no module: so the autoencoder moves to the backbone's device and mode too
        self.autoencoder = getattr(codec, "autoencoder", None)
        name = type(pipeline).__name__ if given else f"{PREFIX}{source}"
        self.provenance = {"name": name, "prompt": prompt, "training": {}}

    def save_pretrained(self, folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Refused: the pipeline is its own checkpoint.

        Raises:
            UnsupportedError: always.
        """
        raise UnsupportedError(
            "a pipeline of diffusers is saved by diffusers: pipeline.save_pretrained(folder)"
        )

    def load_weights(self, source: Backbone) -> None:
        """Refused, as training is.

        Raises:
            UnsupportedError: always.
        """
        raise self._untrainable()

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Refused: its network was trained in other coordinates.

        Raises:
            UnsupportedError: always.
        """
        raise self._untrainable()

    def configure_optimizers(self) -> Any:
        """Refused, as training is.

        Raises:
            UnsupportedError: always.
        """
        raise self._untrainable()

    def _untrainable(self) -> UnsupportedError:
        return UnsupportedError(
            "a pipeline of diffusers is not trained here; train it with diffusers and load the result, or train a "
            "gendesign backbone (configs/train/image_folder.yaml)"
        )


def load_diffusers(
    path_or_id: Any,
    *,
    device: torch.device | str = "cpu",
    prompt: str | None = None,
    negative_prompt: str = "",
    guidance_scale: float = 7.5,
    size: tuple[int, int] | None = None,
    dtype: str = "float32",
    clip: float | None = None,
    max_rows: int = 64,
) -> Backbone:
    """Load a pipeline of diffusers as a backbone, for use: in evaluation mode, without gradients.

    A folder that `save_diffusers` wrote gives the backbone that was saved.

    Args:
        path_or_id: folder, hub id (each with or without the prefix "diffusers:"), or a pipeline.
        device: where to put it.
        prompt: see `DiffusersBackbone`, as for the following.
        negative_prompt: likewise.
        guidance_scale: likewise.
        size: likewise.
        dtype: likewise.
        clip: likewise.
        max_rows: likewise.

    Raises:
        GendesignError: as `DiffusersBackbone` does.
    """
    source = path_or_id.removeprefix(PREFIX) if isinstance(path_or_id, str) else path_or_id
    ours = source if isinstance(source, PoissonFlowPipeline) else None
    if not isinstance(source, DiffusionPipeline) and is_poisson_flow(source):
        ours = read_pipeline(source, dtype=_dtype(dtype))
    if ours is not None:
        if prompt is not None:
            raise ConfigError(f"{type(ours).__name__} takes no prompt; leave it out")
        saved = ours.backbone()
        name = type(ours).__name__ if source is ours else f"{PREFIX}{source}"
        saved.provenance = {"name": name, "training": {}}
        return saved.to(device).eval().requires_grad_(False)
    backbone = DiffusersBackbone(
        source,
        prompt=prompt,
        negative_prompt=negative_prompt,
        guidance_scale=guidance_scale,
        size=size,
        dtype=dtype,
        clip=clip,
        max_rows=max_rows,
    )
    return backbone.to(device).eval().requires_grad_(False)


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]

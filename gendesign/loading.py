"""Pretrained backbones by name, folder or hub id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from gendesign.backbone import Backbone
from gendesign.building import build
from gendesign.codecs import Codec
from gendesign.diffusion.process import Process
from gendesign.diffusion.schedules import Schedule
from gendesign.diffusion.unmasking import Unmasking
from gendesign.errors import CheckpointError, ConfigError, GendesignError
from gendesign.models.base import Denoiser, VectorNetwork
from gendesign.pretrained import CONFIG, find_pretrained, list_pretrained, load_weights, read_pretrained

SHIPPED = Path(__file__).parent / "models" / "pretrained"
KINDS = (Codec, Process, Schedule, Unmasking, Denoiser, VectorNetwork)
"""What the config of a backbone may name."""
PIPELINE = "diffusers:"
"""Before the folder or hub id of a pipeline of diffusers."""


def load_backbone(
    name_or_path: str | Path,
    *,
    device: torch.device | str = "cpu",
    trust: Sequence[str] = (),
    prompt: str | None = None,
    guidance_scale: float | None = None,
) -> Backbone:
    """Load a backbone for use: in evaluation mode, without gradients.

    Args:
        name_or_path: a shipped name (see `list_backbones`), a local folder, or the id of a repository on
            the Hugging Face hub; "diffusers:" before a folder or id reads a pipeline of diffusers.
        device: where to put it.
        trust: top-level packages, besides gendesign, whose classes its config may name.
        prompt: what a text-to-image pipeline is to draw; see `gendesign.load_diffusers` for more of its settings.
        guidance_scale: of its classifier-free guidance; None: the pipeline's usual.

    Raises:
        CheckpointError: there is none, it is damaged, or its parts do not fit each other.
        TrustError: its config names code that is not trusted.
        ConfigError: a prompt for a backbone that takes none.
    """
    if str(name_or_path).startswith(PIPELINE):
        from gendesign.diffusers_bridge import load_diffusers

        scale = {} if guidance_scale is None else {"guidance_scale": guidance_scale}
        return load_diffusers(str(name_or_path), device=device, prompt=prompt, **scale)
    if prompt is not None or guidance_scale is not None:
        raise ConfigError(
            f"{name_or_path}: takes no prompt; text-to-image pipelines do (diffusers:FOLDER_OR_ID)"
        )
    folder = find_pretrained(str(name_or_path), SHIPPED, noun="backbone")
    config, weights = read_pretrained(folder)
    if config.get("kind") != "backbone":
        raise CheckpointError(f"{folder}: holds a {config.get('kind')!r}, expected a backbone")
    parts = {}
    for key, kind in {"codec": Codec, "process": Process, "denoiser": Denoiser}.items():
        if not isinstance(config.get(key), dict):
            raise CheckpointError(f"{folder / CONFIG}: has no {key!r} with class_path and init_args")
        try:
            parts[key] = build(config[key], kinds=KINDS, trust=trust)
        except ConfigError as error:
            raise CheckpointError(f"{folder / CONFIG}: {key}: {error}") from error
        if not isinstance(parts[key], kind):
            raise CheckpointError(
                f"{folder / CONFIG}: {key} is a {type(parts[key]).__name__}, expected a {kind.__name__}"
            )
    try:
        backbone = Backbone(parts["codec"], parts["process"], parts["denoiser"])
    except GendesignError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error
    load_weights(backbone.denoiser, weights, str(folder))
    backbone.folder = folder
    backbone.provenance = {
        "name": str(name_or_path),
        "weights_sha256": config["weights_sha256"],
        "training": config.get("training", {}),
    }
    return backbone.to(device).eval().requires_grad_(False)


def list_backbones() -> dict[str, str]:
    """Names of the shipped backbones, with one line about each."""
    return list_pretrained(SHIPPED)

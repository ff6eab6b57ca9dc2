"""Pretrained backbones by name, folder or hub id."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gendesign.backbone import Backbone
from gendesign.building import build, check_arguments
from gendesign.codecs import Codec
from gendesign.conditioning import Conditioning
from gendesign.diffusion.process import Process
from gendesign.diffusion.schedules import Schedule
from gendesign.diffusion.unmasking import Unmasking
from gendesign.errors import CheckpointError, ConfigError, GendesignError
from gendesign.inverse_folding import on_structure
from gendesign.models.base import Denoiser, VectorNetwork
from gendesign.pretrained import CONFIG, find_pretrained, list_pretrained, load_weights, read_pretrained
from gendesign.tempering import at_temperature

SHIPPED = Path(__file__).parent / "models" / "pretrained"
KINDS = (Codec, Process, Schedule, Unmasking, Denoiser, VectorNetwork, Conditioning)
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
    label: float | Sequence[float] | None = None,
    structure: str | None = None,
    chain: str | None = None,
    temperature: float | None = None,
    precision: str = "float32",
) -> Backbone:
    """Load a backbone for use: in evaluation mode, without gradients.

    Args:
        name_or_path: a shipped name (see `list_backbones`), a local folder, or the id of a repository on
            the Hugging Face hub; "diffusers:" before a folder or id reads a pipeline of diffusers.
        device: where to put it.
        trust: top-level packages, besides gendesign, whose classes its config may name.
        prompt: what a text-to-image pipeline is to draw; see `gendesign.load_diffusers` for more of its settings.
        guidance_scale: of classifier-free guidance toward the prompt, the label or the structure; None: the pipeline's
            usual, 1 for a label or a structure.
        label: what a conditional backbone is conditioned on; see `Backbone.conditioned_on`.
        structure: PDB or mmCIF file whose chain a backbone of inverse folding designs sequences for.
        chain: letter of the chain, where several are proteins.
        temperature: of each token's choice, where the backbone is a masked diffusion; see `gendesign.tempering`. None:
            what its config says, 1 where it says nothing.
        precision: "float32", or "bfloat16" for matrix products; see `gendesign.models.half`.

    Raises:
        CheckpointError: there is none, it is damaged, or its parts do not fit each other.
        TrustError: its config names code that is not trusted.
        ConfigError: a prompt, or a label, for a backbone that takes none; a chain that the structure does not have; no
            such precision.
        UnsupportedError: a structure, or a temperature, for a backbone that takes none.
        DataError: the structure cannot be read.
    """
    if precision not in ("float32", "bfloat16"):
        raise ConfigError(f"{name_or_path}: precision must be float32 or bfloat16, got {precision!r}")
    if chain is not None and structure is None:
        raise ConfigError(f"{name_or_path}: chain needs a structure, whose chain it is")
    if str(name_or_path).startswith(PIPELINE):
        from gendesign.diffusers_bridge import load_diffusers

        if label is not None or structure is not None or temperature not in (None, 1):
            raise ConfigError(f"{name_or_path}: takes no label, structure or temperature; give a prompt")
        if guidance_scale is None:
            return load_diffusers(str(name_or_path), device=device, prompt=prompt)
        return load_diffusers(str(name_or_path), device=device, prompt=prompt, guidance_scale=guidance_scale)
    if prompt is not None:
        raise ConfigError(
            f"{name_or_path}: takes no prompt; text-to-image pipelines do (diffusers:FOLDER_OR_ID)"
        )
    if guidance_scale is not None and label is None and structure is None:
        raise ConfigError(f"{name_or_path}: guidance_scale needs a label or a structure to guide toward")
    folder = find_pretrained(str(name_or_path), SHIPPED, noun="backbone")
    config, weights = read_pretrained(folder)
    if config.get("kind") != "backbone":
        raise CheckpointError(f"{folder}: holds a {config.get('kind')!r}, expected a backbone")
    parts: dict[str, Any] = {}
    kinds = {"codec": Codec, "process": Process, "denoiser": Denoiser, "conditioning": Conditioning}
    for key, kind in kinds.items():
        if key == "conditioning" and key not in config:
            continue
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
        backbone = Backbone(**parts)
    except GendesignError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error
    usual = config.get("temperature", 1.0)
    if not isinstance(usual, int | float) or not 0 < usual < math.inf:
        raise CheckpointError(f"{folder / CONFIG}: temperature must be a number above 0, got {usual!r}")
    load_weights(backbone.denoiser, weights, str(folder))
    backbone.folder, backbone.trusted = folder, tuple(trust)
    backbone.provenance = {
        "name": str(name_or_path),
        "weights_sha256": config["weights_sha256"],
        "training": config.get("training", {}),
    }
    backbone = backbone.to(device).eval().requires_grad_(False)
    scale = 1.0 if guidance_scale is None else guidance_scale
    if structure is not None:
        backbone = on_structure(backbone, structure, chain=chain, guidance_scale=scale)
    if label is not None:
        backbone = backbone.conditioned_on(label, guidance_scale=scale)
    if precision == "bfloat16":
        backbone = backbone.in_bfloat16()
    temperature = usual if temperature is None else temperature
    return backbone if temperature == 1 else at_temperature(backbone, temperature)


def list_backbones() -> dict[str, str]:
    """Names of the shipped backbones, with one line about each."""
    return list_pretrained(SHIPPED)


def load_described(
    given: str | Mapping[str, Any], *, device: torch.device | str = "cpu", trust: Sequence[str] = ()
) -> Backbone:
    """Load a backbone that a file describes: by its name, or as a mapping of `load_backbone`'s arguments.

    Args:
        given: a name, folder or hub id; or {path: it, structure: ..., temperature: ...}.
        device: where to put it.
        trust: see `load_backbone`.

    Raises:
        ConfigError: no path, or an argument that there is not; and what `load_backbone` raises.
    """
    if isinstance(given, str):
        return load_backbone(given, device=device, trust=trust)
    if "path" not in given:
        raise ConfigError(f"a backbone needs a path, got {', '.join(map(str, given)) or 'nothing'}")
    arguments = {("name_or_path" if key == "path" else key): value for key, value in given.items()}
    check_arguments(load_backbone, arguments)
    return load_backbone(**arguments | {"device": device, "trust": trust})

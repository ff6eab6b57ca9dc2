"""Pipelines of diffusers read from a folder or the hub: safetensors only, no code, no pickles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils import is_accelerate_available, logging

from gendesign.diffusers_bridge.pipeline import INDEX, PoissonFlowPipeline
from gendesign.diffusers_bridge.scheduler import PoissonFlowScheduler
from gendesign.errors import CheckpointError, GendesignError, MissingExtraError, TrustError

PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}


def read_pipeline(source: str | Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """Load a pipeline; one that `save_diffusers` wrote comes as a `PoissonFlowPipeline`.

    Args:
        source: a folder with a model_index.json, or the id of a repository on the Hugging Face hub.
        dtype: of the networks.

    Raises:
        CheckpointError: there is none, or its weights are no safetensors.
        TrustError: it names code of its own.
        MissingExtraError: transformers, which pipelines with a prompt need, is not installed.
    """
    kind = PoissonFlowPipeline if is_poisson_flow(source) else DiffusionPipeline
    with _own_errors(source):
        pipeline: Any = kind.from_pretrained(
            str(source),
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=Path(source).is_dir(),
            low_cpu_mem_usage=is_accelerate_available(),
        )
        return pipeline


def is_poisson_flow(source: str | Path) -> bool:
    """Whether `save_diffusers` wrote it.

    Raises:
        CheckpointError: there is no pipeline.
    """
    folder = Path(source)
    if folder.is_dir():
        _check_folder(folder)
    elif folder.exists() or str(source).count("/") != 1 or str(source).startswith((".", "~", "/")):
        raise CheckpointError(
            f"{source}: expected a folder with a {INDEX}, or the id of a hub repository (organisation/name)"
        )
    with _own_errors(source):
        index: Any = DiffusionPipeline.load_config(str(source), local_files_only=folder.is_dir())
    return list(index.get("scheduler", [])) == [
        PoissonFlowScheduler.__module__,
        PoissonFlowScheduler.__name__,
    ]


@contextmanager
def _own_errors(source: str | Path) -> Iterator[None]:
    """Say what diffusers and the hub complain of as errors of gendesign; no bars of progress are drawn meanwhile."""
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except GendesignError:
        raise
    except ImportError as error:
        raise MissingExtraError("transformers", "diffusers") from error
    except Exception as error:  # they raise many kinds: absence, network, damage, refused code
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if "trust_remote_code" in str(error):
            raise TrustError(f"{source}: names code of its own, which is never run ({reason})") from error
        raise CheckpointError(f"{source}: cannot be read as a pipeline of diffusers ({reason})") from error
    finally:
        if bars:
            logging.enable_progress_bar()


def _check_folder(folder: Path) -> None:
    """Raise CheckpointError where a folder is no pipeline, or would be read from pickles."""
    if not (folder / INDEX).is_file():
        raise CheckpointError(f"{folder}: has no {INDEX}, so it is no pipeline of diffusers")
    for part in sorted(item for item in folder.iterdir() if item.is_dir()):
        names = sorted(item.name for item in part.iterdir())
        pickles = [name for name in names if Path(name).suffix in PICKLES]
        if pickles and not any(name.endswith(".safetensors") for name in names):
            raise CheckpointError(
                f"{part}: {pickles[0]} may be a pickle, which is never read; expected safetensors "
                "(save the pipeline with safe_serialization=True)"
            )

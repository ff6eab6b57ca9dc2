"""Folders of pretrained weights: config.yaml (what to build), model.safetensors (weights), CARD.md (what they are).

The config holds the digest of the weights, so that a folder whose files do not belong together, or were
damaged or changed, is refused. Nothing in the folder is ever unpickled, and a config can only name classes
that `gendesign.building.build` allows.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor, nn

from gendesign.errors import CheckpointError, OutputError

FORMAT_VERSION = 1
CONFIG = "config.yaml"
WEIGHTS = "model.safetensors"
CARD = "CARD.md"


def write_pretrained(folder: str | Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write a folder that is never half-written.

    A new folder appears whole; in an existing one files are replaced whole.

    Args:
        folder: where. It may exist if it is empty or holds an earlier export; other files in it are left alone.
        config: plain data; the format version and the digest of the weights are added.
        weights: tensors by name.

    Raises:
        OutputError: the folder holds something else, or cannot be written.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, expected a folder to write to")
    if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG).exists():
        raise OutputError(f"{folder}: holds other files and no {CONFIG}; choose a new or empty folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            tensors = {name: value.detach().to("cpu").contiguous() for name, value in weights.items()}
            save_file(tensors, made / WEIGHTS)
            (made / WEIGHTS).chmod(
                0o644
            )  # mkdtemp and save_file keep other users out; what is shipped is for all
            full = {"format_version": FORMAT_VERSION, **config, "weights_sha256": _digest(made / WEIGHTS)}
            (made / CONFIG).write_text(
                yaml.safe_dump(full, sort_keys=False, allow_unicode=True), encoding="utf-8"
            )
            made.chmod(0o755)
            if folder.exists():
                os.replace(
                    made / WEIGHTS, folder / WEIGHTS
                )  # until the next line the digest disagrees: refused, not wrong
                os.replace(made / CONFIG, folder / CONFIG)
            else:
                os.rename(made, folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error


def read_pretrained(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a folder that `write_pretrained` wrote.

    Returns:
        The config, and the weights by name.

    Raises:
        CheckpointError: something is missing, damaged, changed, a pickle, or of an unknown version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    folder = Path(folder)
    if folder.is_file():
        raise CheckpointError(
            f"{folder}: is a file; expected a folder with {CONFIG} and {WEIGHTS}. A training checkpoint (.ckpt) "
            "becomes one by resuming its run to the end (gendesign fit)"
        )
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    config = read_config(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        others = sorted(
            item.name for item in folder.iterdir() if item.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
        )
        found = f"; {', '.join(others)} may be a pickle, which is never read" if others else ""
        raise CheckpointError(f"{folder}: has no {WEIGHTS}{found}")
    raw = path.read_bytes()
    expected = config.get("weights_sha256")
    if hashlib.sha256(raw).hexdigest() != expected:
        raise CheckpointError(
            f"{path}: is not what {CONFIG} describes (sha256 differs): cut short, changed, or of another export; "
            "copy the whole folder again"
        )
    try:
        return config, load(raw)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: is not a safetensors file ({error}); other formats are never read"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read and check the config of a folder.

    Raises:
        CheckpointError: it is missing, not YAML, or of an unknown version.
    """
    path = folder / CONFIG
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: has no {CONFIG}, so it is no pretrained folder") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{path}: cannot be read as YAML ({str(error).splitlines()[0]})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path}: expected keys and values, got {type(config).__name__}")
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format_version is {version!r}, this gendesign reads {FORMAT_VERSION}; update gendesign"
        )
    return config


def card_line(folder: Path) -> str:
    """The one-line description of a folder: the first line of text after the title of its card."""
    try:
        lines = (folder / CARD).read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")


def list_pretrained(shipped: Path) -> dict[str, str]:
    """Names of the folders in `shipped`, with the one-line description of each."""
    folders = sorted(shipped.iterdir()) if shipped.is_dir() else []
    return {folder.name: card_line(folder) for folder in folders if (folder / CONFIG).is_file()}


def find_pretrained(name: str, shipped: Path, *, noun: str) -> Path:
    """The local folder of a shipped name, a path, or a hub id, whose repository is downloaded.

    Args:
        name: what the user gave.
        shipped: where shipped folders are.
        noun: what is looked for, for the message.

    Raises:
        CheckpointError: there is none.
    """
    if "/" not in name and (shipped / name / CONFIG).is_file():
        return shipped / name
    if (path := Path(name).expanduser()).exists():
        return path
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        return _download(name)
    known = list(list_pretrained(shipped))
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(known) or 'none'}"
    raise CheckpointError(f"no {noun} {name!r}: no such shipped name or folder; {hint}")


def _download(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=["*.yaml", "*.safetensors", CARD]))
    except Exception as error:  # the hub client raises many kinds: network, authorisation, absence
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{repository}: no such folder, and the hub did not give it ({reason})"
        ) from error


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a network, which must be the one that they were trained in.

    Raises:
        CheckpointError: names or shapes differ; the message lists them.
    """
    own = network.state_dict()
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    wrong = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if missing or unknown or wrong:
        found = {"lacks": missing, "has the unknown": unknown, "has another shape of": wrong}
        trouble = [
            f"{word} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            for word, names in found.items()
            if names
        ]
        raise CheckpointError(f"{source}: the weights do not fit the network: {'; '.join(trouble)}")
    network.load_state_dict(dict(weights))

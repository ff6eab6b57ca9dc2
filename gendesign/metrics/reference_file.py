"""The file of a reference: tensors and a few texts, written whole or not at all, and read with every doubt.

A reference is what reports compare designs with, so that no data set is needed at run time: `reference.safetensors`
beside the backbone's weights. Its kind is written in the file's head.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from gendesign.errors import CheckpointError, OutputError

Floats = NDArray[np.float64]

PERCENTILES = np.arange(101.0)
"""The percentiles at which quantiles are kept."""
AGAIN = "fetch the backbone again, or rebuild the file with the script of benchmarks/ that its card names"


def write_reference(path: str | Path, tensors: Mapping[str, NDArray], head: Mapping[str, str]) -> None:
    """Write the file whole or not at all.

    Args:
        path: where.
        tensors: by name.
        head: texts, `format` and `version` among them.

    Raises:
        OutputError: the file cannot be written.
    """
    path, temporary = Path(path), None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(save(dict(tensors), metadata=dict(head)))
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def read_reference(path: str | Path) -> tuple[dict[str, str], dict[str, NDArray]]:
    """The head and the tensors of a file.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"expected a reference file at {path}, but there is none: {AGAIN}")
    try:
        with safe_open(path, framework="numpy") as file:
            head = file.metadata() or {}
            return head, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): {AGAIN}") from error


def check_kind(path: str | Path, head: Mapping[str, str], *, kind: str, version: str) -> None:
    """Refuse a file of another kind or version.

    Raises:
        CheckpointError: it is one.
    """
    if head.get("format") != kind or head.get("version") != version:
        came = f"{head.get('format')!r} version {head.get('version')!r}"
        raise CheckpointError(f"expected {kind!r} version {version} in {path}, but came {came}: {AGAIN}")


def rising_quantiles(quantiles: Mapping[str, Floats]) -> dict[str, Floats]:
    """The quantiles, if they are some.

    Raises:
        ValueError: they do not rise, or are not those of `PERCENTILES`.
    """
    for name, values in quantiles.items():
        if values.shape != PERCENTILES.shape or not np.all(np.diff(values) >= 0):
            raise ValueError(f"quantiles of {name} that do not rise")
    return dict(quantiles)

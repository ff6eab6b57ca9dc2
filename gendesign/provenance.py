"""What a run writes down of itself, so that it can be repeated, and is not resumed with something else."""

from __future__ import annotations

import hashlib
import platform
from importlib import metadata
from typing import Any

import torch

from gendesign.backbone import Backbone
from gendesign.building import describe
from gendesign.errors import GendesignError
from gendesign.rewards.base import Reward


def described(value: Any) -> Any:
    """The configuration of an object, or at least the name of its class; None for None."""
    if value is None:
        return None
    try:
        return describe(value)
    except GendesignError:
        return {"class_path": f"{type(value).__module__}.{type(value).__qualname__}"}


def label(reward: Reward) -> dict[str, str]:
    """What a reward says of itself."""
    return {
        "unit": reward.unit,
        "direction": reward.direction,
        "source": reward.source,
        "trained_on": reward.trained_on,
    }


def fingerprint(backbone: Backbone) -> str:
    """A digest of the weights, so that a run is not resumed with others."""
    digest = hashlib.sha256()
    for name, tensor in sorted(backbone.denoiser.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide a run's numbers."""
    names = ("gendesign", "torch", "numpy", "lightning")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in names}

"""Values that were learned from roll-outs of a backbone: `gendesign fit-value` trains them, methods look them up.

A folder holds config.yaml (the network, what it was trained on), model.safetensors and CARD.md, and is trusted as
little as a backbone's. See `gendesign.value_scale` for what the number is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import build
from gendesign.codecs import Codec
from gendesign.errors import CheckpointError, ConfigError
from gendesign.models.predictor import SequencePredictor
from gendesign.models.values import ValueNetwork
from gendesign.pretrained import CONFIG, find_pretrained, load_weights, read_pretrained
from gendesign.steering.value import StateValue
from gendesign.value_scale import ValueScale

SHIPPED = Path(__file__).parents[1] / "models" / "pretrained"
ROWS = 4096
"""States a call of the network."""


class LearnedValue(StateValue):
    """A value network as a value.

    Args:
        folder: where `gendesign fit-value` saved it, or a hub id.
        device: where to compute.
        trust: top-level packages, besides gendesign, whose classes its config may name.

    Raises:
        CheckpointError: there is none, it is damaged, or holds something else.
        TrustError: its config names code that is not trusted.
    """

    def __init__(
        self, folder: str | Path, *, device: torch.device | str = "cpu", trust: Sequence[str] = ()
    ) -> None:
        path = find_pretrained(str(folder), SHIPPED, noun="value")
        config, weights = read_pretrained(path)
        if config.get("kind") != "value":
            raise CheckpointError(f"{path}: holds a {config.get('kind')!r}, expected a value")
        try:
            network = build(config.get("network"), kinds=(ValueNetwork, SequencePredictor), trust=trust)
            self.scale = ValueScale(**config["scale"])
            self.size = int(config["size"])
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path / CONFIG}: {error}") from error
        if not isinstance(network, ValueNetwork):
            raise CheckpointError(
                f"{path / CONFIG}: network is a {type(network).__name__}, expected a value's"
            )
        load_weights(network, weights, str(path))
        self.network = network.to(device).eval().requires_grad_(False)
        self.time_conditioned = network.time_conditioned
        self.alpha = self.scale.alpha
        self.folder = path
        rolled = config.get("training", {}).get("roll_outs", {})
        self.training_calls = int(rolled.get("num", 0))
        self.provenance: dict[str, Any] = {
            "name": str(folder),
            "weights_sha256": config["weights_sha256"],
            "training": config.get("training", {}),
        }

    @torch.no_grad()
    def read(self, codec: Codec, x: Tensor, t: Float[Tensor, " B"], *, alpha: float) -> Float[Tensor, " B"]:
        """Ask the network.

        Raises:
            ConfigError: it was trained on designs of another size.
        """
        if x.shape[1] != self.size:
            raise ConfigError(
                f"the value in {self.folder} reads states of {self.size} coordinates, this backbone has {x.shape[1]}"
            )
        device = next(self.network.parameters()).device
        parts = [
            self.network(x[rows].to(device), t[rows].to(device)) for rows in torch.arange(len(x)).split(ROWS)
        ]
        return self.scale.value(torch.cat(parts)).to(x.device)


def load_value(
    folder: str | Path, *, device: torch.device | str = "cpu", trust: Sequence[str] = ()
) -> LearnedValue:
    """Load a learned value: `gd.SVDD(value=gd.load_value("runs/value/pretrained"))`.

    Args:
        folder: where `gendesign fit-value` saved it, or a hub id.
        device: where to compute.
        trust: top-level packages, besides gendesign, whose classes its config may name.

    Raises:
        CheckpointError: there is none, it is damaged, or holds something else.
        TrustError: its config names code that is not trusted.
    """
    return LearnedValue(folder, device=device, trust=trust)

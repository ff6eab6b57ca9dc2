"""Training of value networks on roll-outs, as a Lightning run.

    gendesign fit-value --config configs/train/value_dna.yaml

The states that base trajectories pass through are regressed on the rewards they end with (`gendesign.value_scale`);
what comes of it is a folder that `gd.load_value` reads, and `SVDD`, `SMC` and `Guidance` take as `value`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from gendesign.building import Configurable, describe, finite, whole
from gendesign.determinism import dropout_seeded
from gendesign.errors import ConfigError
from gendesign.models.values import ValueNetwork
from gendesign.optimisation import adamw_with_cosine
from gendesign.pretrained import CARD, write_pretrained
from gendesign.training.value_data import RollOuts
from gendesign.value_scale import Kind, ValueScale, check_target


class ValueModel(Configurable, LightningModule):
    """A value network in training.

    Args:
        network: what is trained.
        target: "mean": E[r | x_t]; "soft": alpha log E[exp(r/alpha) | x_t].
        alpha: temperature of a soft value, in the reward's unit.
        lr: highest learning rate.
        weight_decay: of AdamW.
        warmup_steps: steps of linear warm-up; then cosine decay to the trainer's max_steps.
        seed: of dropout.

    Raises:
        ConfigError: a soft value without a temperature, or a number out of range.
    """

    center: Tensor
    spread: Tensor

    def __init__(
        self,
        network: ValueNetwork,
        *,
        target: Kind = "soft",
        alpha: float | None = None,
        lr: float = 2e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_target(target, alpha)
        self.network = network
        self.target: Kind = target
        self.alpha = alpha
        self.lr = finite("lr", lr, above=0.0)
        self.weight_decay = finite("weight_decay", weight_decay, at_least=0.0)
        self.warmup_steps = whole("warmup_steps", warmup_steps, at_least=0)
        self.seed = seed
        self.register_buffer("center", torch.zeros((), dtype=torch.float64))
        self.register_buffer("spread", torch.ones((), dtype=torch.float64))
        self._sums: Tensor | None = None
        self._data: RollOuts | None = None

    @property
    def scale(self) -> ValueScale:
        """How the network's output becomes a value."""
        return ValueScale(self.target, self.alpha, float(self.center), float(self.spread))

    def setup(self, stage: str) -> None:
        """Measure the rewards of the roll-outs."""
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, RollOuts):
            raise ConfigError(f"ValueModel learns from RollOuts, got {type(data).__name__}")
        self._data = data
        scale = ValueScale.of(self.target, self.alpha, data.rewards)
        self.center.fill_(scale.center)
        self.spread.fill_(scale.spread)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean loss of a batch of states."""
        with dropout_seeded(self.seed, "value", int(batch["position"]), self.global_rank, device=self.device):
            each = self.scale.loss(self.network(batch["x"], batch["t"]), batch["reward"])
        loss = each.mean()
        self.log("train_loss", loss.detach(), on_step=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add up the loss over the states of trajectories that were held out."""
        each = self.scale.loss(self.network(batch["x"], batch["t"]), batch["reward"]).double()
        weight = batch["weight"].double()
        sums = torch.stack([(weight * each).sum(), weight.sum()])
        self._sums = sums if self._sums is None else self._sums + sums

    def on_validation_epoch_end(self) -> None:
        """Log `val_loss`."""
        if self._sums is not None:
            loss, count = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
            self.log("val_loss", loss / count, prog_bar=True, rank_zero_only=False)
            self._sums = None

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine over the trainer's max_steps."""
        return adamw_with_cosine(
            self.network,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            total_steps=self.trainer.max_steps,
        )

    def save_pretrained(self, folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Save config.yaml, model.safetensors and, where there is none, a CARD.md; never half-written.

        Args:
            folder: where; an earlier export there is replaced.
            training: facts of the training to write down, plain data.

        Raises:
            ConfigError: the module was never trained.
            OutputError: the folder holds something else, or cannot be written.
        """
        if self._data is None:
            raise ConfigError("this value has no roll-outs yet: train it before it is saved")
        facts, scale = self._data.describe(), self.scale
        config = {
            "kind": "value",
            "network": describe(self.network),
            "size": self._data.backbone.codec.length,
            "scale": {
                "target": scale.target,
                "alpha": scale.alpha,
                "center": scale.center,
                "spread": scale.spread,
            },
            "training": {**(training or {}), "roll_outs": facts},
        }
        write_pretrained(folder, config, self.network.state_dict())
        card = Path(folder) / CARD
        if not card.exists():
            kind = "mean value" if scale.alpha is None else f"soft value at alpha={scale.alpha:g}"
            card.write_text(
                f"# Value of {facts['label']}\n\nLearned {kind} of {facts['label']} for states of "
                f"{facts['backbone']['name']}, from {facts['num']} roll-outs of {facts['steps']} steps.\n",
                encoding="utf-8",
            )

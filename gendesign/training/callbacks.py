"""Lightning callbacks of training runs: an exponential moving average of the weights, and their export."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from gendesign.building import finite
from gendesign.data.training_table import describe_training
from gendesign.errors import ConfigError

log = logging.getLogger(__name__)


class EMA(Callback):
    """Keep an exponential moving average of the weights, and validate, test and export with it.

    After update n the average is  a <- a + (1 - d_n)(w - a)  with d_n = min(decay, (1 + n) / (10 + n)):
    early on the average follows the weights, which have not settled. Averages are part of the checkpoint,
    so a resumed run continues them.

    Args:
        decay: d, in (0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        self.decay = finite("decay", decay, above=0.0)
        if not self.decay < 1:
            raise ConfigError(f"decay must be below 1, got {decay}")
        self.average: dict[str, Tensor] = {}
        self.updates = 0
        self._raw: dict[str, Tensor] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start from the weights, unless a checkpoint brought an average."""
        self._start(pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update once an optimiser step, also with accumulated gradients."""
        if trainer.global_step <= self.updates:
            return
        rate = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        with torch.no_grad():
            for name, weight in pl_module.named_parameters():
                self.average[name].lerp_(weight.detach(), rate)
        self.updates = trainer.global_step

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate with the average."""
        self._start(pl_module)
        self._swap_in(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the trained weights."""
        self._swap_out(pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test with the average."""
        self._start(pl_module)
        self._swap_in(pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the trained weights back."""
        self._swap_out(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Never leave the average in the place of the weights."""
        self._swap_out(pl_module)

    @contextmanager
    def applied(self, module: LightningModule) -> Iterator[None]:
        """Within the block the module has the averaged weights."""
        swapped = self._raw is None and bool(self.average)
        if swapped:
            self._swap_in(module)
        try:
            yield
        finally:
            if swapped:
                self._swap_out(module)

    def state_dict(self) -> dict[str, Any]:
        """The averages, as tensors."""
        return {"average": self.average, "updates": self.updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue averages."""
        self.average = {name: value.clone() for name, value in state_dict["average"].items()}
        self.updates = state_dict["updates"]

    def _start(self, module: LightningModule) -> None:
        for name, weight in module.named_parameters():
            own = self.average.get(name, weight.detach())
            self.average[name] = own.to(weight.device, torch.float32, copy=name not in self.average)

    def _swap_in(self, module: LightningModule) -> None:
        if self._raw is None:
            self._raw = {name: weight.detach().clone() for name, weight in module.named_parameters()}
            _copy(self.average, module)

    def _swap_out(self, module: LightningModule) -> None:
        if self._raw is not None:
            _copy(self._raw, module)
            self._raw = None


class ExportPretrained(Callback):
    """Save the module's pretrained folder whenever a validation figure improves.

    It holds the averaged weights where the trainer has an `EMA`.

    Args:
        folder: where; an earlier export there is replaced.
        monitor: name of the figure, lower being better; None exports at the end of training.
    """

    def __init__(self, folder: str, *, monitor: str | None = None) -> None:
        self.folder = Path(folder)
        self.monitor = monitor
        self.best = float("inf")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export if the figure improved."""
        if self.monitor is None or trainer.sanity_checking or not trainer.state.fn == "fit":
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise ConfigError(
                f"ExportPretrained monitors {self.monitor!r}, which is not logged; logged are {known}"
            )
        value = float(trainer.callback_metrics[self.monitor])
        if value < self.best:
            self.best = value
            self._export(trainer, pl_module, {self.monitor: value})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export the last weights where no figure is watched, or where none was ever seen."""
        if self.monitor is None or self.best == float("inf"):
            self._export(trainer, pl_module, {})

    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best figure so far."""
        self.best = state_dict["best"]

    def _export(self, trainer: Trainer, module: LightningModule, figures: Mapping[str, float]) -> None:
        if not trainer.is_global_zero:
            return
        save = getattr(module, "save_pretrained", None)
        if save is None:
            raise ConfigError(f"{type(module).__name__} has no save_pretrained; remove ExportPretrained")
        average = next((callback for callback in trainer.callbacks if isinstance(callback, EMA)), None)  # type: ignore[attr-defined]
        training: dict[str, Any] = {"step": trainer.global_step, **figures}
        data = describe_training(getattr(trainer, "datamodule", None))
        if data:
            training["data"] = data
        if average is None:
            save(self.folder, training=training)
        else:
            with average.applied(module):
                save(self.folder, training={"ema": average.decay, **training})
        log.info("exported step %d to %s", trainer.global_step, self.folder)


def _copy(values: Mapping[str, Tensor], module: LightningModule) -> None:
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.copy_(values[name])

"""Stop fine-tuning where it over-optimises, and keep the best weights from before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from gendesign.building import whole
from gendesign.errors import ConfigError
from gendesign.training.callbacks import ExportPretrained
from gendesign.training.finetuning import FineTuning
from gendesign.training.guard import Guard

log = logging.getLogger(__name__)


class GuardedExport(ExportPretrained):
    """Save the policy whenever a figure is the best so far and its designs stay in the guard's bands; else stop.

    Args:
        folder: where; an earlier export there is replaced.
        monitor: logged figure, higher being better.
        guard: the bands.
        patience: validations in a row outside them, after which the run stops.
    """

    def __init__(
        self, folder: str, *, monitor: str = "val_heldout", guard: Guard | None = None, patience: int = 2
    ) -> None:
        super().__init__(folder, monitor=monitor)
        self.guard = Guard() if guard is None else guard
        self.patience = whole("patience", patience)
        self.best = -float("inf")
        self.best_heldout = -float("inf")
        self.outside = 0
        self.reason = ""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the designs of this validation."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        if not isinstance(pl_module, FineTuning) or pl_module.found is None:
            raise ConfigError("GuardedExport watches a FineTuning; use ExportPretrained for other modules")
        found, base = pl_module.found, pl_module.natural()
        self.reason = self.guard.broken(found, base, best_heldout=self.best_heldout)
        if self.reason:
            self.outside += 1
            log.warning("step %d: %s", trainer.global_step, self.reason)
            trainer.should_stop = trainer.should_stop or self.outside >= self.patience
            return
        self.outside = 0
        medians = found.medians()
        if medians["heldout"] > self.best_heldout:
            self.best_heldout = medians["heldout"]
        value = float(trainer.callback_metrics.get(str(self.monitor), float("nan")))
        if value != value:
            known = ", ".join(sorted(trainer.callback_metrics))
            raise ConfigError(
                f"GuardedExport monitors {self.monitor!r}, which is unknown; logged are {known}"
            )
        if value > self.best:
            self.best = value
            names = ("val_guide", "val_heldout", "val_kl", "val_naturalness", "val_likeness")
            shown = {name: float(trainer.callback_metrics[name]) for name in names}
            self._export(trainer, pl_module, {k: v for k, v in shown.items() if v == v})

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say so if nothing was kept; what left the bands is not."""
        if self.best == -float("inf"):
            log.warning(
                "nothing was kept: no validation stayed within the guard's bands; raise alpha, lower lr, or validate "
                "earlier (val_check_interval)"
            )

    def state_dict(self) -> dict[str, Any]:
        """The best figures so far, and validations outside in a row."""
        return {"best": self.best, "best_heldout": self.best_heldout, "outside": self.outside}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.best = state_dict["best"]
        self.best_heldout = state_dict["best_heldout"]
        self.outside = state_dict["outside"]

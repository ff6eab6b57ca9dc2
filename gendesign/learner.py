"""How a backbone learns: as a LightningModule it minimises the process's loss, divided by the number of coordinates.

It validates with the process's figure (masked diffusion: the bound on the log-likelihood in bits a letter; continuous:
EDM's weighted squared error):  sum_i w_i figure_i / sum_i w_i length_i  over designs i of weight w_i.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from gendesign.codecs import Codec
from gendesign.conditioning import Conditioning, given_in
from gendesign.determinism import dropout_seeded, generator
from gendesign.diffusion.process import Process
from gendesign.errors import ConfigError
from gendesign.models.base import Denoiser
from gendesign.optimisation import adamw_with_cosine


class Learner(LightningModule):
    """The steps of training, validation and testing; `Backbone` holds their parts and says what they are."""

    codec: Codec
    process: Process
    denoiser: Denoiser
    conditioning: Conditioning | None
    lr: float
    weight_decay: float
    warmup_steps: int
    val_times: int
    test_times: int
    seed: int
    muon: bool
    _sums: Tensor | None = None

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean loss a coordinate, with noise and dropout that depend on (seed, batch of the run, rank) alone."""
        place = (self.seed, "train", int(batch["position"]), self.global_rank)
        noise = generator(*place, "noise", device=self.device)
        with dropout_seeded(*place, "dropout", device=self.device):
            given = given_in(batch, self.conditioning, generator=noise)
            each = self.process.loss(self.denoiser, batch["x"], generator=noise, **given)
        length = batch["x"].shape[1] if given["mask"] is None else given["mask"].sum(1).float().mean()
        loss = (batch["weight"] * each).mean() / length
        shown = loss.detach() / (math.log(2) if self.process.figure == "bits" else 1)
        self.log(f"train_{self.process.figure}", shown, on_step=True, prog_bar=True)
        return loss

    def setup(self, stage: str) -> None:
        """Take the codec that the data module has fitted, whose statistics become part of the checkpoint.

        Raises:
            ConfigError: the data are encoded by another codec than the model's.
        """
        fitted = getattr(getattr(self.trainer, "datamodule", None), "codec", None)
        if not isinstance(fitted, Codec):
            return
        own, other = self.codec.unfitted(), fitted.unfitted()
        if own != other:
            raise ConfigError(
                f"model and data need the same codec: model.codec is {own}, data.codec is {other}"
            )
        self.codec = fitted

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add up the process's figure."""
        self._add_figure(batch, self.val_times)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add up the process's figure."""
        self._add_figure(batch, self.test_times)

    def on_validation_epoch_end(self) -> None:
        """Log `val_bits` or `val_loss`, a coordinate."""
        self._log_figure("val")

    def on_test_epoch_end(self) -> None:
        """Log `test_bits` or `test_loss`, a coordinate."""
        self._log_figure("test")

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine over the trainer's max_steps."""
        return adamw_with_cosine(
            self.denoiser,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            total_steps=self.trainer.max_steps,
            muon=self.muon,
        )

    def _add_figure(self, batch: Mapping[str, Tensor], num_times: int) -> None:
        # The same noise at every validation, so that two of them differ by the weights alone.
        noise = generator(self.seed, "validate", int(batch["position"]), self.global_rank, device=self.device)
        given: dict[str, Any] = given_in(batch, self.conditioning)
        with torch.autocast(self.device.type, enabled=False):
            figure = self.process.evaluate(
                self.denoiser, batch["x"], num_times=num_times, generator=noise, **given
            )
        weight = batch["weight"].double()
        sums = torch.stack([(weight * figure).sum(), (weight * batch["mask"].sum(1)).sum()])
        self._sums = sums if self._sums is None else self._sums + sums

    def _log_figure(self, stage: str) -> None:
        if self._sums is None:
            return
        figure, coordinates = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
        name = f"{stage}_{self.process.figure}"
        self.log(name, figure / coordinates, prog_bar=True, rank_zero_only=False)
        self._sums = None

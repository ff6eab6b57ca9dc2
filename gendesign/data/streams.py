"""What data modules share: one endless stream of training batches that resumes exactly, and evaluation in order."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import Timer
from numpy.typing import NDArray

from gendesign.building import whole
from gendesign.data.batching import Batch, EvaluationBatches, RowSampler, TrainingStream
from gendesign.data.splitting import SIDES
from gendesign.errors import ConfigError

log = logging.getLogger(__name__)

Index = NDArray[np.int64]


class StreamDataModule(LightningDataModule, ABC):
    """Base class of data modules: a subclass says which rows a split has and what a batch of rows is.

    Args:
        path: where the rows are from, for messages.
        batch_size: rows of a training batch, over all processes.
        eval_batch_size: rows of a validation or test batch, over all processes.
        seed: of the order of training rows.
    """

    def __init__(self, path: str, *, batch_size: int, eval_batch_size: int, seed: int) -> None:
        super().__init__()
        self.path = path
        self.batch_size = whole("batch_size", batch_size)
        self.eval_batch_size = whole("eval_batch_size", eval_batch_size)
        self.seed = seed

    @abstractmethod
    def indices(self, split: str) -> Index:
        """Rows of a split.

        Args:
            split: train, val or test.
        """

    @abstractmethod
    def collate(self, rows: Index) -> Batch:
        """Rows to a batch."""

    def setup(self, stage: str) -> None:
        """Read and split the rows; check that training will end."""
        trainer = self.trainer
        if stage == "fit" and trainer is not None and trainer.max_steps < 1:
            if not any(isinstance(callback, Timer) for callback in trainer.callbacks):  # type: ignore[attr-defined]
                raise ConfigError(
                    "training rows are one endless stream: set trainer.max_steps or max_time (max_epochs never comes)"
                )
        for split in SIDES:
            log.info("%s: %d rows for %s", self.path, len(self.indices(split)), split)

    def train_dataloader(self) -> TrainingStream:
        """The endless stream of training batches, from wherever the run stands."""
        rank, world = self._ranks()
        if self.batch_size % world:
            raise ConfigError(
                f"batch_size {self.batch_size} must be a multiple of the {world} processes that share it"
            )
        sampler = RowSampler(self._groups(self.indices("train")), self.batch_size, seed=self.seed)
        return TrainingStream(sampler, self.collate, start=self._position, rank=rank, world=world)

    def val_dataloader(self) -> EvaluationBatches:
        """The validation rows."""
        return self._evaluation("val")

    def test_dataloader(self) -> EvaluationBatches:
        """The test rows."""
        return self._evaluation("test")

    def _evaluation(self, split: str) -> EvaluationBatches:
        rows = self.indices(split)
        rank, world = self._ranks()
        weights = torch.zeros(int(rows.max()) + 1 if len(rows) else 0)
        for group in self._groups(rows):
            weights[group] = 1 / len(group)

        def collate(chosen: Index) -> Batch:
            batch = self.collate(chosen)
            return batch | {"weight": batch["weight"] * weights[chosen]}

        return EvaluationBatches(rows, self.eval_batch_size, collate, rank=rank, world=world)

    def _groups(self, rows: Index) -> list[Index]:
        """The sampling units: an epoch visits each once, and evaluation counts each once."""
        return list(rows[:, None])

    def _ranks(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _position(self) -> int:
        # A checkpoint is written between optimiser steps, so the step says exactly which batches were used.
        return 0 if self.trainer is None else self.trainer.global_step * self.trainer.accumulate_grad_batches

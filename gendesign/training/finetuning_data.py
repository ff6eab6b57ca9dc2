"""The data of runs that need none: an endless stream of batches that hold only their number in the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor


class Numbers:
    """Batches 0, 1, 2, ... from wherever the run stands.

    Args:
        start: asked at the start of an iteration: the number of the batch to begin with.
        stop: how many; None: endless.
    """

    def __init__(self, start: Callable[[], int], stop: int | None = None) -> None:
        self.start = start
        self.stop = stop

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        number = self.start()
        while self.stop is None or number < self.stop:
            yield {"position": torch.tensor(number)}
            number += 1


class EndlessData(LightningDataModule):
    """For modules that sample their own batches, from noise that depends on the batch's number alone."""

    def train_dataloader(self) -> Numbers:
        """Every batch of the run, from the one that comes next."""
        return Numbers(self._position)

    def val_dataloader(self) -> Numbers:
        """One batch."""
        return Numbers(lambda: 0, 1)

    def _position(self) -> int:
        # a checkpoint is written between optimiser steps, so the step says exactly which batches were used
        return 0 if self.trainer is None else self.trainer.global_step * self.trainer.accumulate_grad_batches

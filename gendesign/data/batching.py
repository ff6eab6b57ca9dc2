"""Batches whose order is a pure function of (seed, epoch), so that a killed run resumes at the very next one.

Training reads one endless stream. Batch number n of the run, whatever the process that draws it, holds the
same rows: epoch e is the permutation drawn from (seed, e), and the stream is the epochs one after another.
The stream starts wherever it is told to, which is all that a resumed run needs. With several processes each
takes every `world`-th row of the same batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Batch = dict[str, Tensor]
"""x, mask, targets, row, weight and position; see `gendesign.data.sequences.SequenceDataModule`."""


class RowSampler:
    """Which rows each batch of a run holds.

    Args:
        groups: the rows of each sampling unit, such as the alleles of one gene. An epoch visits every unit
            once, in an order and with one of its rows drawn from (seed, epoch).
        batch_size: rows of a batch, over all processes.
        seed: of the order.
    """

    def __init__(self, groups: Sequence[NDArray[np.int64]], batch_size: int, *, seed: int) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self._sizes = np.array([len(group) for group in groups])
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        self._rows = np.concatenate(groups)
        self._epochs: dict[int, NDArray[np.int64]] = {}

    def epoch(self, number: int) -> NDArray[np.int64]:
        """The rows of an epoch, in order."""
        if number not in self._epochs:
            generator = np.random.default_rng([self.seed, number])
            order = generator.permutation(len(self._sizes))
            chosen = np.floor(generator.random(len(order)) * self._sizes[order]).astype(np.int64)
            rows = self._rows[self._starts[order] + chosen]
            self._epochs = {k: v for k, v in self._epochs.items() if k == number - 1} | {number: rows}
        return self._epochs[number]

    def batch(self, number: int) -> NDArray[np.int64]:
        """The rows of batch `number` of the run, counted from 0; it may span two epochs, or more of a tiny table."""
        positions = np.arange(number * self.batch_size, (number + 1) * self.batch_size)
        epochs, offsets = np.divmod(positions, len(self._sizes))
        return np.concatenate([self.epoch(int(e))[offsets[epochs == e]] for e in np.unique(epochs)])


class TrainingStream:
    """The endless training batches of one process.

    Args:
        sampler: what each batch holds.
        collate: rows to tensors.
        start: asked at the start of an iteration: the number of the batch to begin with.
        rank: this process.
        world: number of processes.
    """

    def __init__(
        self,
        sampler: RowSampler,
        collate: Callable[[NDArray[np.int64]], Batch],
        *,
        start: Callable[[], int],
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.sampler = sampler
        self.collate = collate
        self.start = start
        self.rank = rank
        self.world = world

    def __iter__(self) -> Iterator[Batch]:
        number = self.start()
        while True:
            batch = self.collate(self.sampler.batch(number)[self.rank :: self.world])
            yield batch | {"position": torch.tensor(number)}
            number += 1


class EvaluationBatches:
    """Every row once, in order.

    Processes take equal numbers of batches: where rows run out, rows of weight 0 fill up.

    Args:
        rows: the rows.
        batch_size: rows of a batch, over all processes.
        collate: rows to tensors.
        rank: this process.
        world: number of processes.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        batch_size: int,
        collate: Callable[[NDArray[np.int64]], Batch],
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.collate = collate
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for number in range(len(self)):
            rows = self.rows[number * self.batch_size : (number + 1) * self.batch_size]
            filler = -len(rows) % self.world
            batch = self.collate(np.concatenate([rows, rows[:1].repeat(filler)])[self.rank :: self.world])
            real = torch.arange(len(rows) + filler)[self.rank :: self.world] < len(rows)
            yield batch | {"weight": batch["weight"] * real, "position": torch.tensor(number)}

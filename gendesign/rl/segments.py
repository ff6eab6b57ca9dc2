"""Training segments: H consecutive steps of one episode, as batches of standardised numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gendesign.building import whole
from gendesign.data.images import ArrayDataModule
from gendesign.designs import Array
from gendesign.errors import DataError
from gendesign.files.arrays import Arrays
from gendesign.rl.trajectories import Trajectories
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.rl.trajectory_files import read_trajectories


def cut(data: Trajectories, steps: int, *, stride: int = 1) -> tuple[Array, list[str]]:
    """All segments of `steps` rows (observation, action, reward, terminal) that lie within one episode.

    Returns:
        Segments [rows, steps, S + A + 2], starting at every `stride`-th step, and the episode of each.

    Raises:
        DataError: no episode is long enough.
    """
    found: list[Array] = []
    names: list[str] = []
    for number, episode in enumerate(data.episodes):
        if len(episode) < steps:
            continue
        ends = (episode.rewards[:, None], episode.terminations[:, None])
        rows = np.concatenate([episode.observations[:-1], episode.actions, *ends], axis=1)
        windows = np.lib.stride_tricks.sliding_window_view(rows, steps, axis=0)[::stride]
        found.append(windows.transpose(0, 2, 1).astype(np.float64))
        names += [str(number)] * len(windows)
    if not found:
        longest = max(map(len, data.episodes))
        raise DataError(f"no episode has {steps} steps, the longest {longest}; train with fewer steps")
    return np.concatenate(found), names


class SegmentDataModule(ArrayDataModule):
    """Segments of the episodes of a file of trajectories (.npz, .hdf5); those of one episode stay in one split.

    Args:
        path: the file.
        codec: says how many steps a segment has.
        stride: steps from one segment's start to the next.
        val_fraction: as in `ArrayDataModule`, and so the rest.
    """

    def __init__(
        self,
        path: str,
        codec: TrajectoryCodec,
        *,
        stride: int = 1,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        batch_size: int = 128,
        eval_batch_size: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__(
            path,
            codec,
            group_column="episode",
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            split_seed=split_seed,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            seed=seed,
        )
        self.stride = whole("stride", stride)
        self.trajectory_codec = codec

    def _read(self) -> Arrays:
        segments, episodes = cut(
            read_trajectories(Path(self.path)), self.trajectory_codec.steps, stride=self.stride
        )
        if segments.shape[2] != len(self.trajectory_codec.columns):
            raise DataError(
                f"{self.path}: rows have {segments.shape[2]} numbers, the codec {len(self.trajectory_codec.columns)}"
            )
        return Arrays(segments, np.zeros((len(segments), 0)), {"episode": episodes}, unit="segment")

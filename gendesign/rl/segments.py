"""Training segments: H consecutive steps of one episode, as batches of standardised numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from gendesign.building import whole
from gendesign.data.images import ArrayDataModule
from gendesign.designs import Array
from gendesign.errors import DataError
from gendesign.files.arrays import Arrays
from gendesign.rl.trajectories import About, Trajectories
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.rl.trajectory_files import read_trajectories


def cut(data: Trajectories, steps: int, *, stride: int = 1) -> tuple[Array, list[str]]:
    """Segments of `steps` rows (observation, action, reward, terminal), none of them of two episodes.

    An episode that terminated goes on in its last state, with actions half-way between their bounds (0 where these are
    not known), rewards of 0 and terminal 1: so ends appear at every row of a segment, as often as in the data, and the
    last observation is seen. A truncated one stops where it stops.

    Returns:
        Segments [rows, steps, S + A + 2], starting at every `stride`-th step, and the episode of each.

    Raises:
        DataError: no episode is long enough.
    """
    found: list[Array] = []
    names: list[str] = []
    for number, episode in enumerate(data.episodes):
        ends = (episode.rewards[:, None], episode.terminations[:, None])
        rows = np.concatenate([episode.observations[:-1], episode.actions, *ends], axis=1, dtype=np.float64)
        if episode.terminations[-1]:
            action = np.zeros(episode.actions.shape[1])
            if data.action_low is not None and data.action_high is not None:
                action = (data.action_low + data.action_high) / 2
            rest = np.concatenate([episode.observations[-1], action, [0.0, 1.0]])
            rows = np.concatenate([rows, np.tile(rest, (steps - 1, 1))])
        if len(rows) < steps:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(rows, steps, axis=0)[::stride]
        found.append(windows.transpose(0, 2, 1))
        names += [str(number)] * len(windows)
    if not found:
        longest = max(map(len, data.episodes))
        raise DataError(f"no episode has {steps} steps, the longest {longest}; train with fewer steps")
    return np.concatenate(found), names


class SegmentDataModule(ArrayDataModule):
    """Segments of the episodes of trajectories; those of one episode stay in one split.

    A segment's targets, by which backbones may be conditioned, are its return, the sum of its rewards, as `Bins` takes
    it, and the numbers of its first observation (targets 1 to S), as `Numbers([1, ..., S])` takes them.

    Args:
        path: as `read_trajectories` takes it.
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
        self._about, self._dtype = About(), ""

    def _read(self) -> Arrays:
        data = read_trajectories(self.path)
        segments, episodes = cut(data, self.trajectory_codec.steps, stride=self.stride)
        if segments.shape[2] != len(self.trajectory_codec.columns):
            raise DataError(
                f"{self.path}: rows have {segments.shape[2]} numbers, the codec {len(self.trajectory_codec.columns)}"
            )
        self._about, self._dtype = data.about, str(data.episodes[0].observations.dtype)
        returns = segments[:, :, -2].sum(1, keepdims=True)
        starts = segments[:, 0, self.trajectory_codec.observation_columns]
        return Arrays(
            segments, np.concatenate([returns, starts], axis=1), {"episode": episodes}, unit="segment"
        )

    def facts(self) -> dict[str, Any]:
        """The environment, and the bounds of its observations, which synthetic data are to keep."""
        assert len(self.arrays)
        low, high = self._about.observation_low, self._about.observation_high
        return {
            "stride": self.stride,
            "environment": self._about.environment,
            "observation_low": None if low is None else low.tolist(),
            "observation_high": None if high is None else high.tolist(),
            "observation_dtype": self._dtype,
        }

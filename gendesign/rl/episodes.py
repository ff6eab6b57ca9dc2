"""Rows that a backbone of trajectories makes, as episodes that an environment could have given.

R rows (observation, action, reward, terminal) give R - 1 transitions: the last row gives its observation alone. A row
with a terminal above 0.5 is the last of its episode, which terminates; what follows is left out. An episode that does
not terminate is truncated where it stops. Observations are clipped to the bounds of their space, as far as these are
known; actions are inside theirs by construction.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gendesign.designs import Array
from gendesign.rl.trajectories import About, Episode
from gendesign.rl.trajectory_codec import TrajectoryCodec

TERMINAL = 0.5


def episode_of(
    rows: Array, codec: TrajectoryCodec, about: About, *, dtype: str = "float32"
) -> Episode | None:
    """One episode.

    Args:
        rows: [R, S + A + 2], R at least 2.
        codec: says which columns are which.
        about: the bounds of observations and actions.
        dtype: of observations.

    Returns:
        The episode; None where a number is not finite.
    """
    if not np.isfinite(rows).all():
        return None
    ends = np.flatnonzero(rows[:-1, -1] > TERMINAL)
    steps = int(ends[0]) + 1 if len(ends) else len(rows) - 1
    seen = rows[: steps + 1, codec.observation_columns].astype(dtype)
    if about.observation_low is not None and about.observation_high is not None:
        seen = np.clip(seen, about.observation_low.astype(dtype), about.observation_high.astype(dtype))
    actions = rows[:steps, codec.action_columns].astype(np.float32)
    if about.action_low is not None and about.action_high is not None:  # rounding to float32
        actions = np.clip(actions, about.action_low, about.action_high)
    last = np.arange(steps) == steps - 1
    return Episode(seen, actions, rows[:steps, -2].copy(), last & bool(len(ends)), last & (not len(ends)))


def pieces(rows: Array, horizon: int) -> Sequence[Array]:
    """Rows as parts of `horizon` transitions one after the other, the last row of one being the first of the next.

    What is left at the end is dropped; so is everything after the first terminal.
    """
    ends = np.flatnonzero(rows[:-1, -1] > TERMINAL)
    stop = int(ends[0]) + 2 if len(ends) else len(rows)
    parts = [rows[start : min(start + horizon + 1, stop)] for start in range(0, stop - 1, horizon)]
    return [part for part in parts if len(part) == horizon + 1 or len(ends)]

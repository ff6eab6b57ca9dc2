"""What a data set offers to offline reinforcement learning: how good its trajectories are, and how much they cover.

    TQ = (g - g_min) / (g_max - g_min),      SACo = u(D) / u(D_ref),

g the mean return, and u the number of distinct state-action pairs. In the paper g_min and g_max are the returns of a
random policy and of the best one, and D_ref is the replay of an online agent. Here they are taken from real data, cut
into episodes of the same length: the mean of the worst and of the best tenth, and as many transitions of either set.
Numbers are continuous here: pairs count as the same where every one of them falls into the same of `BINS` equal parts
of the real data's range.

Schweighofer et al. 2022, A Dataset Perspective on Offline Reinforcement Learning, arXiv 2111.04714.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import DataError
from gendesign.rl.trajectories import Episode

BINS = 10
"""Parts of each column's range."""


def returns_of(episodes: Sequence[Episode]) -> NDArray[np.float64]:
    """The sum of rewards of each episode."""
    return np.array([each.rewards.sum(dtype=np.float64) for each in episodes])


def parts_of(episodes: Sequence[Episode], horizon: int) -> list[Episode]:
    """Episodes divided into as many of `horizon` transitions as fit, one after the other.

    Raises:
        DataError: none is long enough.
    """
    found: list[Episode] = []
    for each in episodes:
        for start in range(0, len(each) - horizon + 1, horizon):
            part = slice(start, start + horizon)
            late = each.truncations[part].copy()
            late[-1] = not each.terminations[part][-1]
            found.append(
                Episode(
                    each.observations[start : start + horizon + 1], each.actions[part], each.rewards[part],
                    each.terminations[part], late,
                )
            )  # fmt: skip
    if not found:
        raise DataError(f"no episode of the real data has {horizon} transitions")
    return found


def trajectory_quality(episodes: Sequence[Episode], real: Sequence[Episode]) -> float:
    """TQ: 0 like the worst tenth of real episodes, 1 like the best.

    Args:
        episodes: of the data set.
        real: of the same length.
    """
    known = np.sort(returns_of(real))
    tenth = max(1, len(known) // 10)
    worst, best = known[:tenth].mean(), known[-tenth:].mean()
    if best <= worst:
        return float("nan")
    return float((returns_of(episodes).mean() - worst) / (best - worst))


def coverage(
    episodes: Sequence[Episode], real: Sequence[Episode], *, bins: int = BINS, seed: int = 0
) -> float:
    """SACo: distinct state-action pairs, relative to as many transitions of real data.

    Args:
        episodes: of the data set.
        real: what it is compared with, whose range is divided.
        bins: parts of each column.
        seed: of the draw of transitions, where one set has more.
    """
    ours, theirs = _pairs(episodes), _pairs(real)
    low, high = theirs.min(0), theirs.max(0)
    size = np.where(high > low, high - low, 1.0)
    rng = np.random.default_rng(seed)
    number = min(len(ours), len(theirs))
    counts = []
    for rows in (ours, theirs):
        chosen = rows[rng.choice(len(rows), number, replace=False)]
        cells = np.clip(np.floor((chosen - low) / size * bins), 0, bins - 1).astype(np.int64)
        counts.append(len(np.unique(cells, axis=0)))
    return counts[0] / counts[1]


def _pairs(episodes: Sequence[Episode]) -> NDArray[np.float64]:
    parts = [np.concatenate([e.observations[:-1], e.actions], axis=1, dtype=np.float64) for e in episodes]
    return np.concatenate(parts)

"""Filters of synthetic episodes, switched on by whoever synthesises or trains: by return, and by how they end.

A filter is fitted to real data once, and then takes episodes and gives episodes: it may leave some out, or end them
earlier. What it does to one episode depends on that episode and on the generator alone, so that data may come in parts.
The filter that knows dynamics is `gendesign.rl.dynamics_filter`.

`ReturnFilter` keeps an episode with probability, and weighs it by,

    w = exp((G - 1) / alpha),   G = (return - worst) / (best - worst) in [0, 1],

worst and best return being those of real data, or of the synthetic data that it is fitted to: alike in horizon.

Hong et al. 2023, Harnessing Mixed Offline Reinforcement Learning Datasets via Trajectory Weighting, arXiv 2306.13085.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gendesign.building import Configurable, finite, whole
from gendesign.errors import ConfigError, DataError, MissingExtraError
from gendesign.rl.trajectories import Episode, Trajectories


class Filter(Configurable, ABC):
    """Takes episodes, gives the ones to keep."""

    fitted = False

    @abstractmethod
    def fit(self, real: Trajectories) -> Filter:
        """Learn from real data what is good; returns itself."""

    @abstractmethod
    def keep(self, episode: Episode, *, generator: np.random.Generator) -> Episode | None:
        """The episode, a shorter one, or None.

        Args:
            episode: a synthetic one.
            generator: of what is decided by chance.
        """

    def __call__(self, episodes: Iterable[Episode], *, generator: np.random.Generator) -> list[Episode]:
        """Those that are kept, in their order.

        Raises:
            ConfigError: the filter is not fitted.
        """
        if not self.fitted:
            raise ConfigError(f"{type(self).__name__} must be fitted to real data first: .fit(data)")
        found = (self.keep(episode, generator=generator) for episode in episodes)
        return [episode for episode in found if episode is not None]


def filtered(data: Trajectories, filters: Sequence[Filter], *, seed: int = 0) -> Trajectories:
    """Data after all filters, in turn; their provenance says how many episodes and steps are left.

    Raises:
        DataError: nothing is left.
        ConfigError: a filter is not fitted.
    """
    episodes: Sequence[Episode] = data.episodes
    told: list[dict[str, object]] = []
    for number, each in enumerate(filters):
        episodes = each(episodes, generator=np.random.default_rng([seed, number]))
        told.append(
            {"filter": type(each).__name__, "episodes": len(episodes), "steps": sum(map(len, episodes))}
        )
        if not episodes:
            raise DataError(f"{type(each).__name__} left none of {len(data.episodes)} episodes; loosen it")
    return replace(data, episodes=tuple(episodes), provenance={**data.provenance, "filters": told})


def shortened(episode: Episode, steps: int) -> Episode:
    """The first steps of an episode, truncated there."""
    over, late = episode.terminations[:steps].copy(), episode.truncations[:steps].copy()
    late[-1] = not over[-1]
    return Episode(
        episode.observations[: steps + 1], episode.actions[:steps], episode.rewards[:steps], over, late
    )


class ReturnFilter(Filter):
    """Episodes by their return.

    Args:
        temperature: alpha above: small keeps the best alone, large keeps all.
    """

    def __init__(self, *, temperature: float = 0.1) -> None:
        self.temperature = finite("temperature", temperature, above=0.0)
        self.worst, self.best = 0.0, 0.0

    def fit(self, real: Trajectories) -> ReturnFilter:
        returns = real.returns()
        self.worst, self.best = float(returns.min()), float(returns.max())
        self.fitted = True
        return self

    def weights(self, episodes: Sequence[Episode]) -> NDArray[np.float64]:
        """The w of each episode, for `Replay.of(..., weights=)`: learns from all, from good ones more often."""
        returns = np.array([episode.rewards.sum(dtype=np.float64) for episode in episodes])
        if self.best <= self.worst:
            return np.ones(len(returns))
        good = np.clip((returns - self.worst) / (self.best - self.worst), 0, 1)
        return np.exp((good - 1) / self.temperature)

    def keep(self, episode: Episode, *, generator: np.random.Generator) -> Episode | None:
        return episode if generator.random() < self.weights([episode])[0] else None


class TerminalFilter(Filter):
    """Episodes must end where real ones do, and not elsewhere.

    A transition is said to end by the majority of its nearest real transitions (s, a, s'), each number standardised.
    Where an episode goes on although they end, it is ended there; where it ends although they go on, it is truncated
    (`repair`) or left out.

    Args:
        neighbours: how many are asked.
        repair: as said.
        most: real transitions that are looked at, evenly spread over the data; those that end are all kept.
    """

    def __init__(self, *, neighbours: int = 5, repair: bool = False, most: int = 20_000) -> None:
        self.neighbours, self.repair, self.most = whole("neighbours", neighbours), repair, whole("most", most)

    def fit(self, real: Trajectories) -> TerminalFilter:
        try:
            from scipy.spatial import KDTree
        except ImportError as error:
            raise MissingExtraError("scipy", "rl") from error
        rows = np.concatenate([_transitions(episode) for episode in real.episodes])
        ends = np.concatenate([episode.terminations for episode in real.episodes])
        stride = max(1, len(rows) // self.most)
        chosen = ends | (np.arange(len(rows)) % stride == 0)
        self._mean, self._std = rows.mean(0), rows.std(0) + 1e-9
        self._ends = ends[chosen]
        self._tree = KDTree((rows[chosen] - self._mean) / self._std) if ends.any() else None
        self.fitted = True
        return self

    def ends(self, episode: Episode) -> NDArray[np.bool_]:
        """What real data say of each transition [T]."""
        if self._tree is None:
            return np.zeros(len(episode), dtype=bool)
        asked = min(self.neighbours, len(self._ends))
        _, near = self._tree.query((_transitions(episode) - self._mean) / self._std, k=asked)
        return self._ends[near.reshape(len(episode), asked)].mean(1) > 0.5

    def keep(self, episode: Episode, *, generator: np.random.Generator) -> Episode | None:
        found = self.ends(episode)
        if found[:-1].any():
            cut = shortened(episode, int(np.flatnonzero(found)[0]) + 1)
            over = np.zeros(len(cut), dtype=bool)
            over[-1] = True
            return replace(cut, terminations=over, truncations=np.zeros_like(over))
        if found[-1] == episode.terminations[-1]:
            return episode
        if not self.repair:
            return None
        over, late = episode.terminations.copy(), episode.truncations.copy()
        over[-1], late[-1] = found[-1], not found[-1]
        return replace(episode, terminations=over, truncations=late)


def _transitions(episode: Episode) -> NDArray[np.float64]:
    parts = (episode.observations[:-1], episode.actions, episode.observations[1:])
    return np.concatenate(parts, axis=1, dtype=np.float64)

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
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gendesign.building import Configurable, finite, whole
from gendesign.determinism import dropout_seeded
from gendesign.determinism import generator as generator_of
from gendesign.errors import ConfigError, DataError
from gendesign.rl.agent import perceptron
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

    What was cut, shorter than the longest that it was fitted to and without an end, counts as if it had gone on as
    before: where rewards are costs, a short piece of a bad episode costs little.

    Args:
        temperature: alpha above: small keeps the best alone, large keeps all.
    """

    def __init__(self, *, temperature: float = 0.1) -> None:
        self.temperature = finite("temperature", temperature, above=0.0)
        self.worst, self.best, self.horizon = 0.0, 0.0, 0

    def fit(self, real: Trajectories) -> ReturnFilter:
        self.horizon = max(map(len, real.episodes))
        returns = [self._return(episode) for episode in real.episodes]
        self.worst, self.best = min(returns), max(returns)
        self.fitted = True
        return self

    def weights(self, episodes: Sequence[Episode]) -> NDArray[np.float64]:
        """The w of each episode, for `Replay.of(..., weights=)`: learns from all, from good ones more often."""
        returns = np.array([self._return(episode) for episode in episodes])
        if self.best <= self.worst:
            return np.ones(len(returns))
        good = np.clip((returns - self.worst) / (self.best - self.worst), 0, 1)
        return np.exp((good - 1) / self.temperature)

    def _return(self, episode: Episode) -> float:
        found = float(episode.rewards.sum(dtype=np.float64))
        cut = len(episode) < self.horizon and not episode.terminations[-1]
        return found * self.horizon / len(episode) if cut else found

    def keep(self, episode: Episode, *, generator: np.random.Generator) -> Episode | None:
        return episode if generator.random() < self.weights([episode])[0] else None


class TerminalFilter(Filter):
    """Episodes must end where real ones do, and not elsewhere.

    A network learns from real data which observations end an episode. Where a synthetic one goes on after such an
    observation, it is ended there; where it ends at another one, it is truncated (`repair`) or left out.

    Args:
        repair: as said.
        width: of the network's two hidden layers.
        steps: of its training.
        seed: of its weights and batches.
    """

    def __init__(self, *, repair: bool = False, width: int = 64, steps: int = 1000, seed: int = 0) -> None:
        self.repair = repair
        self.width, self.steps = whole("width", width), whole("steps", steps)
        self.seed = whole("seed", seed, at_least=0)

    def fit(self, real: Trajectories) -> TerminalFilter:
        x = torch.tensor(np.concatenate([e.observations[1:] for e in real.episodes]).astype(np.float32))
        y = torch.tensor(np.concatenate([e.terminations for e in real.episodes]).astype(np.float32))
        self._mean, self._std = x.mean(0), x.std(0) + 1e-6
        self._network = None
        if y.any():
            x = (x - self._mean) / self._std
            with dropout_seeded(self.seed, "ends"):
                self._network = perceptron(x.shape[1], 1, width=self.width, depth=2)
            optimiser = torch.optim.Adam(self._network.parameters(), lr=3e-3)
            for step in range(self.steps):
                rows = torch.randint(len(x), (256,), generator=generator_of(self.seed, "ends", step))
                told = self._network(x[rows])[:, 0]
                optimiser.zero_grad(set_to_none=True)
                functional.binary_cross_entropy_with_logits(told, y[rows]).backward()
                optimiser.step()
        self.fitted = True
        return self

    @torch.no_grad()
    def ends(self, episode: Episode) -> NDArray[np.bool_]:
        """Whether each step's next observation is one that ends an episode [T]."""
        if self._network is None:
            return np.zeros(len(episode), dtype=bool)
        x = torch.tensor(np.asarray(episode.observations[1:], dtype=np.float32))
        return (self._network((x - self._mean) / self._std)[:, 0] > 0).numpy()

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

"""Trajectories in memory, checked: T+1 observations, T actions, T rewards, and how each step ended.

A termination is the environment's own end (its value is 0 from there on); a truncation is a limit of time.
The last step of an episode has one of the two, no other step has any. The flat layout of D4RL (one row a
step, all episodes joined) is read and written here; files are in `gendesign.rl.trajectory_files` and
`gendesign.rl.minari_files`.

Fu et al. 2020, D4RL: Datasets for Deep Data-Driven Reinforcement Learning, arXiv 2004.07219.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import DataError

FLAT = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
"""Names of the arrays of the flat layout."""

SLACK = 1e-5
"""Actions may exceed their bounds by this much of the range: rounding to float32."""


@dataclass(frozen=True)
class Episode:
    """One episode.

    Args:
        observations: [T + 1, S].
        actions: [T, A].
        rewards: [T].
        terminations: [T] bool; true where the environment ended.
        truncations: [T] bool; true where time ended.
    """

    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[Any]
    terminations: NDArray[np.bool_]
    truncations: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.actions)


@dataclass(frozen=True)
class About:
    """What is known of trajectories beside their numbers.

    Args:
        action_low: lower bound of each action [A]; None where not known.
        action_high: upper bound.
        observation_low: lower bound of each observation [S], -inf where there is none; None where not known.
        observation_high: upper bound.
        environment: gymnasium's EnvSpec as JSON; "" where not known.
        provenance: where they came from, plain data.

    Raises:
        DataError: one bound without the other.
    """

    action_low: NDArray[Any] | None = None
    action_high: NDArray[Any] | None = None
    observation_low: NDArray[Any] | None = None
    observation_high: NDArray[Any] | None = None
    environment: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.action_low is None) != (self.action_high is None):
            raise DataError("give both bounds of actions, or neither")
        if (self.observation_low is None) != (self.observation_high is None):
            raise DataError("give both bounds of observations, or neither")

    def check(self, episode: Episode, number: int, *, like: Episode) -> None:
        """Refuse what is no episode.

        Args:
            episode: to be checked.
            number: from 0, for messages.
            like: an episode of the same numbers of observations and actions, usually the first.

        Raises:
            DataError: the message names the episode and the step, both from 0.
        """
        _check_shapes(episode, f"episode {number}")
        widths = (like.observations.shape[1:], like.actions.shape[1:])
        if (episode.observations.shape[1:], episode.actions.shape[1:]) != widths:
            raise DataError(
                f"episode {number}: observations and actions have {episode.observations.shape[1]} and "
                f"{episode.actions.shape[1]} numbers, those of episode 0 {widths[0][0]} and {widths[1][0]}"
            )
        bounds = (("observations", self.observation_low), ("actions", self.action_low))
        for (name, low), width in zip(bounds, widths, strict=True):
            if low is not None and low.shape != width:
                raise DataError(f"episode {number}: {width[0]} {name}, but bounds of {low.size}")
        self._check_values(episode, number)

    def _check_values(self, episode: Episode, number: int) -> None:
        for name in ("observations", "actions", "rewards"):
            bad = np.argwhere(~np.isfinite(getattr(episode, name)))
            if len(bad):
                raise DataError(f"episode {number}, step {bad[0][0]}: {name} has a number that is not finite")
        if self.action_low is not None and self.action_high is not None:
            slack = SLACK * (self.action_high - self.action_low)
            outside = (episode.actions < self.action_low - slack) | (
                episode.actions > self.action_high + slack
            )
            if outside.any():
                step, which = np.argwhere(outside)[0]
                raise DataError(
                    f"episode {number}, step {step}: action {which} is {episode.actions[step, which]:.6g}, outside "
                    f"[{self.action_low[which]:g}, {self.action_high[which]:g}]; clip it if the environment did"
                )
        ended = episode.terminations | episode.truncations
        if ended[:-1].any():
            step = int(np.flatnonzero(ended[:-1])[0])
            raise DataError(f"episode {number}, step {step}: ends here, but {len(episode)} steps are given")
        if not ended[-1]:
            raise DataError(
                f"episode {number}, step {len(episode) - 1}: the last step neither terminates nor is truncated; "
                "set its truncation where recording stopped"
            )


@dataclass(frozen=True)
class Trajectories:
    """Episodes of one environment, of equal numbers of observations S and of actions A.

    Args:
        episodes: at least one.
        action_low: as in `About`, and so the rest.

    Raises:
        DataError: an episode is no episode; the message names it and the step, both from 0.
    """

    episodes: Sequence[Episode]
    action_low: NDArray[Any] | None = None
    action_high: NDArray[Any] | None = None
    environment: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    observation_low: NDArray[Any] | None = None
    observation_high: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if not self.episodes:
            raise DataError("expected at least one episode, got none")
        about = self.about
        for number, episode in enumerate(self.episodes):
            about.check(episode, number, like=self.episodes[0])

    @classmethod
    def of(cls, episodes: Sequence[Episode], about: About) -> Trajectories:
        """Episodes, and what is known of them."""
        return cls(episodes, **{each.name: getattr(about, each.name) for each in fields(About)})

    @property
    def about(self) -> About:
        """What is known beside the episodes."""
        return About(**{each.name: getattr(self, each.name) for each in fields(About)})

    @property
    def num_steps(self) -> int:
        """Transitions of all episodes."""
        return sum(map(len, self.episodes))

    def returns(self) -> NDArray[np.float64]:
        """The sum of rewards of each episode."""
        return np.array([episode.rewards.sum(dtype=np.float64) for episode in self.episodes])


def _check_shapes(episode: Episode, where: str) -> None:
    steps = len(episode.actions)
    if not np.issubdtype(episode.actions.dtype, np.floating):
        raise DataError(
            f"{where}: actions are {episode.actions.dtype}; discrete actions are not supported, write them one-hot"
        )
    if episode.actions.ndim != 2 or episode.observations.ndim != 2:
        raise DataError(
            f"{where}: expected observations [T + 1, S] and actions [T, A], got "
            f"{list(episode.observations.shape)} and {list(episode.actions.shape)}"
        )
    if not steps or len(episode.observations) != steps + 1:
        raise DataError(
            f"{where}: expected T + 1 observations for T actions, T at least 1; "
            f"got {len(episode.observations)} and {steps}"
        )
    for name in ("rewards", "terminations", "truncations"):
        if getattr(episode, name).shape != (steps,):
            raise DataError(
                f"{where}: {name} has shape {list(getattr(episode, name).shape)}, expected [{steps}]"
            )


def flatten(data: Trajectories) -> dict[str, NDArray[Any]]:
    """The flat layout: one row a step, under the names of `FLAT`."""
    parts = data.episodes
    columns: tuple[Sequence[NDArray[Any]], ...] = (
        [e.observations[:-1] for e in parts],
        [e.actions for e in parts],
        [e.rewards for e in parts],
        [e.observations[1:] for e in parts],
        [e.terminations for e in parts],
        [e.truncations for e in parts],
    )
    return {name: np.concatenate(column) for name, column in zip(FLAT, columns, strict=True)}


def unflatten(flat: Mapping[str, NDArray[Any]], **about: Any) -> Trajectories:
    """Episodes of the flat layout.

    An episode ends where `terminals` or `timeouts` say so, the last one with the rows. Where the observation after
    its last action is not known (no `next_observations`, or NaN there), that action is left out and the episode is
    truncated before it.

    Args:
        flat: arrays by the names of `FLAT`; `next_observations` and `timeouts` may be missing.
        about: the rest of `Trajectories`.

    Raises:
        DataError: an array is missing or of another length, rows of an episode do not follow one another.
    """
    missing = [name for name in ("observations", "actions", "rewards", "terminals") if name not in flat]
    if missing:
        raise DataError(f"no array {missing[0]!r}; expected {', '.join(FLAT)}")
    rows = len(flat["observations"])
    for name in FLAT:
        if name in flat and len(flat[name]) != rows:
            raise DataError(f"{name} has {len(flat[name])} rows, observations has {rows}")
    terminals = np.asarray(flat["terminals"], dtype=bool).copy()
    timeouts = np.asarray(flat.get("timeouts", np.zeros(rows)), dtype=bool) & ~terminals
    after = flat.get("next_observations")
    ends = (np.flatnonzero(terminals | timeouts) + 1).tolist()
    if rows and (not ends or ends[-1] != rows):
        ends.append(rows)
    episodes: list[Episode] = []
    for number, (start, stop) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        seen = flat["observations"][start:stop]
        if after is not None:
            _check_continuity(seen, after[start:stop], number)
        known = after is not None and np.isfinite(after[stop - 1]).all()
        if known and after is not None:
            seen = np.concatenate([seen, after[stop - 1 : stop]])
        elif stop - start < 2:
            raise DataError(f"episode {number}, step 0: a single row without a next observation is no step")
        else:
            stop -= 1
        over, late = terminals[start:stop].copy(), timeouts[start:stop].copy()
        late[-1] = not over[-1]
        episodes.append(Episode(seen, flat["actions"][start:stop], flat["rewards"][start:stop], over, late))
    return Trajectories(tuple(episodes), **about)


def _check_continuity(seen: NDArray[Any], after: NDArray[Any], number: int) -> None:
    jumps = np.flatnonzero((after[:-1] != seen[1:]).any(1))
    if len(jumps):
        raise DataError(
            f"episode {number}, step {jumps[0]}: the next observation is not the observation of step {jumps[0] + 1}; "
            "rows must keep their order, and ends of episodes be marked in terminals or timeouts"
        )

"""Dynamics error, measured in the simulator itself: set its state, apply the action, compare what follows.

    e_t = s_(t+1) - f(s_t, a_t),      error = sqrt(mean over steps and columns of (e_t / spread)^2)

with f a step of the environment and the spread of each column that of real observations, where it is given. Pendulum's
state is read from its observation; MuJoCo's from positions and velocities, the coordinate along the way, which is not
observed, being 0. Where velocities stand at the clip of their observation, the state is not known, and the step is left
out. Real data have an error of rounding alone (1e-7 and less).

Jackson et al. 2024, Policy-Guided Diffusion, arXiv 2404.06356 (section 5).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rl.collecting import make
from gendesign.rl.trajectories import Episode, Trajectories

HIDDEN = {"Hopper": 1, "HalfCheetah": 1, "Walker2d": 1, "Swimmer": 2, "InvertedPendulum": 0}
"""MuJoCo environments whose observation is positions, but for so many first ones, then velocities."""
CLIPPED = {"Hopper": 10.0, "Walker2d": 10.0}
"""Where observed velocities are clipped."""
SMALLEST = 1e-9
"""Columns that never change have no spread to compare with; they count with this one."""


@dataclass(frozen=True)
class Dynamics:
    """What differs from the simulator, one row a step.

    Attributes:
        observations: [n, S] next observation minus the simulator's.
        rewards: [n] reward minus the simulator's.
        ends: [n] whether one of the two terminates and the other does not.
        spread: [S] standard deviation of each observation.
        steps: [n, 2] episode and step of each row.
        skipped: steps whose state is not known.
    """

    observations: NDArray[np.float64]
    rewards: NDArray[np.float64]
    ends: NDArray[np.bool_]
    spread: NDArray[np.float64]
    steps: NDArray[np.int64]
    skipped: int = 0

    @property
    def each(self) -> NDArray[np.float64]:
        """Root mean square over the columns of each step [n], in units of the spread."""
        scaled: NDArray[np.float64] = np.sqrt(((self.observations / self.spread) ** 2).mean(1))
        return scaled

    @property
    def error(self) -> float:
        """Root mean square over steps and columns, in units of the spread."""
        return float(np.sqrt((self.each**2).mean())) if len(self.steps) else float("nan")


class Simulator:
    """One environment, set to the state of an observation.

    Args:
        environment: a name that gymnasium knows, or its specification as JSON.
        render: it is to draw pictures.

    Raises:
        UnsupportedError: its state cannot be set from an observation.
        ConfigError: no such environment.
        MissingExtraError: what it needs is not installed.
    """

    def __init__(self, environment: str, *, render: bool = False) -> None:
        self.env = make(environment, render_mode="rgb_array" if render else None).unwrapped
        self.name = str(self.env.spec.id) if self.env.spec else type(self.env).__name__
        self.kind = self.name.rpartition("/")[2].partition("-v")[0]
        self._pendulum = self.name == "Pendulum-v1"
        width = self.env.observation_space.shape[0]
        if self._pendulum:
            self.env.reset(seed=0)
            return
        model = getattr(self.env, "model", None)
        hidden = HIDDEN.get(self.kind, -1)
        if model is None or hidden < 0 or width != model.nq - hidden + model.nv:
            names = ", ".join(["Pendulum-v1", *(f"{name}-v5" for name in HIDDEN)])
            raise UnsupportedError(
                f"{self.name}: its state cannot be set from an observation of {width} numbers; known are {names} as "
                "they come"
            )
        self.env.reset(seed=0)

    def known(self, observation: NDArray[Any]) -> bool:
        """Whether the state can be told from the observation."""
        clip = CLIPPED.get(self.kind)
        if clip is None:
            return True
        return bool((np.abs(observation[-self.env.model.nv :]) < clip).all())

    def step(
        self, observation: NDArray[Any], action: NDArray[Any]
    ) -> tuple[NDArray[np.float64], float, bool]:
        """Next observation, reward, and whether the environment terminated."""
        self._set(observation)
        after, reward, over, *_ = self.env.step(np.asarray(action, dtype=self.env.action_space.dtype))
        return np.asarray(after, dtype=np.float64), float(reward), bool(over)

    def picture(self, observation: NDArray[Any]) -> NDArray[np.uint8]:
        """What the environment shows at the state of an observation [H, W, 3].

        Raises:
            ConfigError: it cannot be drawn here.
        """
        self._set(observation)
        try:
            return np.asarray(self.env.render(), dtype=np.uint8)
        except Exception as error:  # whatever a missing screen or library makes it raise
            raise ConfigError(f"{self.name} cannot be drawn here ({error})") from error

    def _set(self, observation: NDArray[Any]) -> None:
        seen = np.asarray(observation, dtype=np.float64)
        if self._pendulum:
            self.env.last_u = None
            self.env.state = np.array([np.arctan2(seen[1], seen[0]), seen[2]])
        else:
            model = self.env.model
            positions = np.zeros(model.nq)
            hidden = HIDDEN[self.kind]
            positions[hidden:] = seen[: model.nq - hidden]
            self.env.set_state(positions, seen[model.nq - hidden :])

    def close(self) -> None:
        """Let the environment go."""
        self.env.close()


def dynamics(
    data: Trajectories | Iterable[Episode],
    environment: str = "",
    *,
    max_steps: int | None = 2_000,
    seed: int = 0,
    spread: NDArray[Any] | None = None,
) -> Dynamics:
    """Compare steps with the simulator.

    Args:
        data: trajectories.
        environment: a name that gymnasium knows, or a specification as JSON; "": that of the trajectories.
        max_steps: so many steps, drawn at random without replacement; None: all.
        seed: of the draw.
        spread: of each observation, such as that of real data; None: of these.

    Raises:
        UnsupportedError: the environment's state cannot be set.
        ConfigError: no environment is known, or it is another one.
    """
    episodes = data.episodes if isinstance(data, Trajectories) else tuple(data)
    environment = environment or (data.environment if isinstance(data, Trajectories) else "")
    if not environment:
        raise ConfigError("these trajectories do not say their environment; name it, such as Pendulum-v1")
    simulator = Simulator(environment)
    width = simulator.env.observation_space.shape[0]
    own = episodes[0].observations.shape[1]
    if own != width:
        raise ConfigError(f"{simulator.name} has observations of {width} numbers, the trajectories {own}")
    if spread is None:
        spread = np.concatenate([each.observations for each in episodes]).std(0)
    places = np.array([(i, t) for i, each in enumerate(episodes) for t in range(len(each))], dtype=np.int64)
    if max_steps is not None and len(places) > max_steps:
        chosen = np.random.default_rng(seed).choice(len(places), max_steps, replace=False)
        places = places[np.sort(chosen)]
    off, rewards, ends, kept = [], [], [], []
    for i, t in places.tolist():
        each = episodes[i]
        if not simulator.known(each.observations[t]):
            continue
        after, reward, over = simulator.step(each.observations[t], each.actions[t])
        off.append(each.observations[t + 1] - after)
        rewards.append(float(each.rewards[t]) - reward)
        ends.append(bool(each.terminations[t]) != over)
        kept.append((i, t))
    simulator.close()
    return Dynamics(
        np.array(off, dtype=np.float64).reshape(len(kept), width),
        np.array(rewards, dtype=np.float64),
        np.array(ends, dtype=bool),
        np.maximum(np.asarray(spread, dtype=np.float64), SMALLEST),
        np.array(kept, dtype=np.int64).reshape(len(kept), 2),
        len(places) - len(kept),
    )

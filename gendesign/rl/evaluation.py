"""How good an agent is in its environment: returns of seeded episodes, and D4RL's scale.

    score = 100 (return - random) / (expert - random).

Fu et al. 2020, D4RL: Datasets for Deep Data-Driven Reinforcement Learning, arXiv 2004.07219.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.building import finite, whole
from gendesign.errors import ConfigError
from gendesign.rl.collecting import make
from gendesign.rl.trajectories import Trajectories

REFERENCES = {
    "ant": (-325.6, 3879.7),
    "halfcheetah": (-280.178953, 12135.0),
    "hopper": (-20.272305, 3234.3),
    "walker2d": (1.629008, 4592.3),
}
"""Returns of a random and of an expert policy in D4RL, whose versions of the environments are older than ours."""


def evaluate(
    act: Callable[[NDArray[Any]], NDArray[Any]], environment: str, *, episodes: int = 10, seed: int = 0
) -> NDArray[np.float64]:
    """Returns of whole episodes, all acted side by side.

    Args:
        act: actions [B, A] for observations [B, S], such as `Agent.act`; clipped to their bounds.
        environment: a name that gymnasium knows.
        episodes: how many; episode i begins as (seed, i) says.
        seed: as said.

    Returns:
        [episodes].

    Raises:
        ConfigError: no such environment, or actions of another shape.
    """
    whole("episodes", episodes), whole("seed", seed, at_least=0)
    envs = [make(environment) for _ in range(episodes)]
    low, high = envs[0].action_space.low, envs[0].action_space.high
    returns = np.zeros(episodes)
    seen = np.stack(
        [
            env.reset(seed=int(np.random.default_rng([seed, i]).integers(2**31)))[0]
            for i, env in enumerate(envs)
        ]
    )
    running = list(range(episodes))
    while running:
        actions = np.asarray(act(seen[running]))
        if actions.shape != (len(running), *low.shape):
            raise ConfigError(
                f"{environment} takes actions of shape {[len(running), *low.shape]}, got {list(actions.shape)}"
            )
        going: list[int] = []
        for i, action in zip(running, np.clip(actions, low, high).astype(low.dtype), strict=True):
            seen[i], reward, over, late, _ = envs[i].step(action)
            returns[i] += float(reward)
            if not (over or late):
                going.append(i)
        running = going
    for env in envs:
        env.close()
    return returns


def environment_name(data: Trajectories) -> str:
    """The name by which gymnasium makes the environment of these data; "" where not known."""
    try:
        return str(json.loads(data.environment)["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def normalised_score(
    returns: NDArray[Any] | float,
    environment: str = "",
    *,
    random: float | None = None,
    expert: float | None = None,
) -> NDArray[np.float64] | np.float64:
    """0 for a random policy, 100 for the expert.

    Args:
        returns: as they are.
        environment: whose `REFERENCES` are taken, whatever its version ("Hopper-v5").
        random: the return of a random policy, where the environment has no references.
        expert: the return of an expert.

    Raises:
        ConfigError: neither references nor both returns are known, or they are equal.
    """
    if random is None or expert is None:
        name = environment.partition("-")[0].lower()
        if name not in REFERENCES:
            raise ConfigError(
                f"D4RL has no references for {environment or 'this environment'}; give random= and expert="
            )
        random, expert = REFERENCES[name]
    if finite("expert", float(expert)) == finite("random", float(random)):
        raise ConfigError("random and expert must differ")
    return 100 * (np.asarray(returns, dtype=np.float64) - random) / (expert - random)

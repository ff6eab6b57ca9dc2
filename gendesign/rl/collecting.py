"""Behaviour data: a mixture of policies, from poor to good, acts in an environment of gymnasium.

A policy is a word: `random` draws actions evenly; `swing-up` is the controller of Pendulum-v1;
`agent:FOLDER` is an agent that `gendesign train-agent` wrote; `module:function` is a function of your own, from an
observation to an action. `WORD@0.5` adds normal noise of
.5 of half an action's range. Episode i is acted by policy i modulo their number, with streams of (seed, i)
alone: the same words give the same data.

Towers et al. 2024, Gymnasium: A Standard Interface for Reinforcement Learning Environments, arXiv 2407.17032.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendesign.building import finite, whole
from gendesign.errors import ConfigError, MissingExtraError, UnsupportedError
from gendesign.rl.swing_up import swing_up
from gendesign.rl.trajectories import Episode, Trajectories

Act = Callable[[NDArray[Any]], Any]
MIXTURES = {"Pendulum-v1": ("random", "swing-up@1", "swing-up@0.7", "swing-up@0.4", "swing-up@0.2")}
"""Policies where none are named; elsewhere `random` alone."""


def collect(
    environment: str, *, policies: Sequence[str] = (), num_steps: int = 20_000, seed: int = 0
) -> Trajectories:
    """Act until there are at least `num_steps` steps, in whole episodes.

    Args:
        environment: a name that gymnasium knows.
        policies: words as above; () takes those of `MIXTURES`.
        num_steps: the least number of steps.
        seed: of environments and policies.

    Raises:
        ConfigError: no such environment or policy, or a policy's action has the wrong shape.
        UnsupportedError: observations or actions are no flat vectors of numbers.
        MissingExtraError: gymnasium, or what the environment needs, is not installed.
    """
    whole("num_steps", num_steps), whole("seed", seed, at_least=0)
    env = make(environment)
    words = tuple(policies) or MIXTURES.get(environment, ("random",))
    actors = [_policy(word) for word in words]
    low, high = np.asarray(env.action_space.low), np.asarray(env.action_space.high)
    episodes: list[Episode] = []
    done = 0
    while done < num_steps:
        number = len(episodes)
        stream = np.random.default_rng([seed, number])
        act, noise = actors[number % len(actors)]

        def action(
            seen: NDArray[Any],
            act: Act | None = act,
            noise: float = noise,
            stream: np.random.Generator = stream,
            word: str = words[number % len(words)],
        ) -> NDArray[Any]:
            if act is None:
                return stream.uniform(low, high)
            chosen = np.asarray(act(seen), dtype=np.float64)
            if chosen.shape != low.shape or not np.isfinite(chosen).all():
                raise ConfigError(
                    f"policy {word!r} gave {chosen!r}; {environment} takes finite actions of shape {list(low.shape)}"
                )
            chosen = chosen + noise * (high - low) / 2 * stream.standard_normal(low.shape)
            return np.clip(chosen, low, high)

        episodes.append(_episode(env, action, int(stream.integers(2**31))))
        done += len(episodes[-1])
    spec = specification(env)
    seen = env.observation_space
    env.close()
    about = {"collected": environment, "policies": list(words), "seed": seed, "num_steps": num_steps}
    return Trajectories(tuple(episodes), low, high, spec, about, seen.low, seen.high)


def make(environment: str, *, render_mode: str | None = None) -> Any:
    """An environment whose observations and actions are flat vectors of numbers.

    Args:
        environment: a name that gymnasium knows, or its specification as JSON.
        render_mode: of gymnasium; None draws nothing.
    """
    try:
        import gymnasium
        from gymnasium.envs.registration import EnvSpec
    except ImportError as error:
        raise MissingExtraError("gymnasium", "rl") from error
    try:
        spec: Any = EnvSpec.from_json(environment) if environment.startswith("{") else environment
        env: Any = (
            gymnasium.make(spec) if render_mode is None else gymnasium.make(spec, render_mode=render_mode)
        )
    except gymnasium.error.DependencyNotInstalled as error:
        raise MissingExtraError(f"what {environment} needs ({error})", "rl") from error
    except (gymnasium.error.Error, ValueError) as error:
        raise ConfigError(f"no environment {environment!r}: {error}") from error
    except Exception as error:  # whatever the user's own makes of its arguments
        reason = f"{type(error).__name__}: {error}"
        raise ConfigError(f"environment {environment!r} cannot be made ({reason})") from error
    box = gymnasium.spaces.Box
    for name, space in (("observation", env.observation_space), ("action", env.action_space)):
        if not isinstance(space, box) or len(space.shape) != 1:
            raise UnsupportedError(
                f"{environment} has {name} space {space}; expected a Box of one dimension "
                "(wrap it: FlattenObservation, one-hot actions)"
            )
    if not np.isfinite([env.action_space.low, env.action_space.high]).all():
        raise UnsupportedError(f"{environment} has actions without bounds; wrap it in RescaleAction")
    return env


def specification(env: Any) -> str:
    """As JSON; "" where it has none that can be written, such as one registered by its class."""
    try:
        return env.spec.to_json() if env.spec else ""
    except ValueError:
        return ""


def _episode(env: Any, action: Act, seed: int) -> Episode:
    seen, _ = env.reset(seed=seed)
    rows: list[tuple[Any, ...]] = []
    observations = [np.array(seen)]  # the environment may write its next state into the same array
    over = late = False
    while not (over or late):
        chosen = action(observations[-1]).astype(env.action_space.dtype)
        seen, reward, over, late, _ = env.step(chosen)
        observations.append(np.array(seen))
        rows.append((chosen, reward, over, late and not over))
    actions, rewards, overs, lates = zip(*rows, strict=True)
    return Episode(
        np.stack(observations),
        np.stack(actions),
        np.array(rewards, dtype=np.float64),
        np.array(overs, dtype=bool),
        np.array(lates, dtype=bool),
    )


def _policy(word: str) -> tuple[Act | None, float]:
    """The function that a word names (None: random), and its noise."""
    name, at, level = word.rpartition("@")
    name, level = (name, level) if at else (level, "")
    try:
        noise = finite("noise", float(level), at_least=0.0) if at else 0.0
    except ValueError:
        raise ConfigError(f"expected a number after @, got {word!r}") from None
    if name == "random":
        return None, 0.0
    if name == "swing-up":
        return swing_up, noise
    module, colon, function = name.partition(":")
    if not colon:
        raise ConfigError(f"no policy {name!r}; expected random, swing-up, agent:FOLDER or module:function")
    if module == "agent":
        from gendesign.rl.agent import load_agent  # heavy

        return load_agent(function).act, noise
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"policy {name!r} cannot be imported: {error}") from error
    if not callable(found):
        raise ConfigError(f"policy {name!r} is no function")
    return found, noise

"""The verb `train-agent`: an agent of offline reinforcement learning from trajectories.

    gendesign train-agent pendulum.npz method=td3bc synthetic=guided.npz share=0.5
    gendesign train-agent pendulum.npz method=iql backbone=rl-pendulum turns=4 mode=diagonal

With `backbone=` the agent guides synthetic data of its own, made anew every `updates` steps. `filters=` takes words of
`gendesign.rl.filter_words` for synthetic data, whichever they are.
"""

import argparse
import dataclasses
import inspect
import shutil
import sys
import time
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gendesign.command.assignment import nearest
from gendesign.command.terminal import QUIET_SECONDS
from gendesign.command.values import read_value
from gendesign.errors import ConfigError, DataError, GendesignError, OutputError, UnsupportedError
from gendesign.loading import load_backbone
from gendesign.rl.agent import save_agent
from gendesign.rl.collecting import make, specification
from gendesign.rl.evaluation import environment_name, evaluate, normalised_score
from gendesign.rl.filter_words import named_filters
from gendesign.rl.filters import Filter, filtered
from gendesign.rl.loop import Loop
from gendesign.rl.objectives import IQL, TD3BC, Objective
from gendesign.rl.offline import train_agent
from gendesign.rl.replay import Replay
from gendesign.rl.trajectories import Trajectories
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.rl.trajectory_files import read_trajectories
from gendesign.steering.policy_guidance import PolicyGuidance

METHODS: dict[str, type[Objective]] = {"td3bc": TD3BC, "iql": IQL}
KEYS: dict[str, Any] = {
    "method": str,
    "out": str,
    "synthetic": str,
    "share": float,
    "filters": list[str],
    "environment": str,
    "steps": int,
    "seed": int,
    "episodes": int,
}
LOOP: dict[str, Any] = {
    "backbone": str,
    "turns": int,
    "updates": int,
    "warmup": int,
    "num_steps": int,
    "sampling_steps": int,
    "mode": str,
    "strength": float,
}
"""Words of the loop, which `backbone=` switches on."""
"""Words of the verb beside the arguments of its method, and their types."""


def train_agent_verb(arguments: argparse.Namespace) -> None:
    """Train, write the agent's folder, say how good it is where its environment is installed."""
    method, given = _read(arguments.words)
    out = Path(given["out"] or f"outputs/{Path(arguments.data).stem}-{given['method']}").expanduser()
    if out.exists():  # before the work, not after it
        raise OutputError(f"{out} exists; give another name or remove it")
    named = given["environment"]
    real = read_trajectories(arguments.data)
    try:
        real = _bounded(real, named)
    except DataError as error:
        raise DataError(f"{arguments.data}: {error}") from error
    progress = None if arguments.quiet else _Lines()
    about = {"data": arguments.data, "method": method_settings(method), "seed": given["seed"]}
    if not 0 <= given["share"] <= 1:
        raise ConfigError(f"share, of synthetic rows in a batch, must be in [0, 1], got {given['share']:g}")
    if given["backbone"]:
        folder = out.with_name(out.name + ".loop")
        backbone = load_backbone(given["backbone"])
        if not isinstance(backbone.codec, TrajectoryCodec):
            raise UnsupportedError(f"{given['backbone']} makes no trajectories; name one such as rl-pendulum")
        chosen = named_filters(given["filters"], real, horizon=backbone.codec.steps - 1)
        loop = _loop(given, chosen)
        agent = loop.run(
            backbone,
            real,
            method,
            seed=given["seed"],
            folder=folder,
            progress=progress,
        )
        save_agent(agent, out, environment=real.environment, provenance=about | {"loop": loop.settings()})
        shutil.rmtree(folder, ignore_errors=True)
    else:
        checkpoint = out.with_name(out.name + ".checkpoint")
        sources, shares = [real], []
        if given["synthetic"]:
            made = read_trajectories(given["synthetic"])
            longest = max(map(len, made.episodes))
            made = filtered(made, named_filters(given["filters"], real, horizon=longest), seed=given["seed"])
            sources.append(made)
            shares = [1 - given["share"], given["share"]]
        agent = train_agent(
            Replay.of(*sources, shares=shares), method,
            steps=given["steps"], seed=given["seed"], checkpoint=checkpoint, progress=progress,
        )  # fmt: skip
        about |= {
            "steps": given["steps"], "synthetic": given["synthetic"] or None, "shares": shares,
            "filters": given["filters"],
        }  # fmt: skip
        save_agent(agent, out, environment=real.environment, provenance=about)
        checkpoint.unlink(missing_ok=True)
    print(out)
    name = named or environment_name(real)
    if name and given["episodes"]:
        try:
            returns = evaluate(
                agent.act, named or real.environment, episodes=given["episodes"], seed=given["seed"]
            )
        except GendesignError as error:
            print(f"not tried in its environment: {error}")
            return
        deviation = f" ± {returns.std(ddof=1) / np.sqrt(len(returns)):.1f}" if len(returns) > 1 else ""
        print(f"mean return of {len(returns)} episodes of {name}: {returns.mean():.1f}{deviation}")
        try:
            print(f"D4RL's normalised score: {normalised_score(returns.mean(), name):.1f}")
        except ConfigError:
            pass  # D4RL does not know it


def method_settings(method: Objective) -> dict[str, Any]:
    """Its class and arguments, plain."""
    return {"name": type(method).__name__, **dataclasses.asdict(method)}


def _read(words: list[str]) -> tuple[Objective, dict[str, Any]]:
    defaults = {
        "method": "td3bc", "out": "", "synthetic": "", "share": 0.5, "filters": [], "environment": "",
        "steps": inspect.signature(train_agent).parameters["steps"].default, "seed": 0, "episodes": 10, "backbone": "",
    }  # fmt: skip
    split: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"expected key=value, got {word!r}")
        split[key] = value
    name = split.get("method", defaults["method"])
    if name not in METHODS:
        raise ConfigError(f"no method {name!r}; {nearest(str(name), METHODS)}")
    hints = typing.get_type_hints(METHODS[str(name)])
    settings: dict[str, Any] = {}
    given: dict[str, Any] = dict(defaults)
    for key, text in split.items():
        if key in KEYS or key in LOOP:
            given[key] = read_value(key, text, KEYS.get(key) or LOOP[key])
        elif key in {field.name for field in dataclasses.fields(METHODS[str(name)])}:
            settings[key] = read_value(key, text, hints[key])
        else:
            known = [*KEYS, *LOOP, *(field.name for field in dataclasses.fields(METHODS[str(name)]))]
            raise ConfigError(f"no key {key!r}; {nearest(key, known)}")
    stray = sorted(LOOP.keys() & split.keys())
    if stray and not given["backbone"]:
        raise ConfigError(f"{stray[0]} belongs to the loop; name its backbone=, such as rl-pendulum")
    clash = sorted({"steps", "synthetic"} & split.keys())
    if clash and given["backbone"]:
        raise ConfigError(f"{clash[0]} does not go with backbone=; say turns, updates, warmup and num_steps")
    for key in ("filters", "share"):
        if key in split and not (given["backbone"] or given["synthetic"]):
            verb = "are" if key == "filters" else "is"
            raise ConfigError(f"{key} {verb} for synthetic data; name them (synthetic=FILE), or a backbone=")
    if not isinstance(given["episodes"], int) or given["episodes"] < 0:
        raise ConfigError(f"episodes must be a whole number of at least 0, got {given['episodes']!r}")
    return METHODS[str(name)](**settings), given


def _loop(given: dict[str, Any], filters: Sequence[Filter]) -> Loop:
    """The loop's settings, with its own defaults."""
    plain: dict[str, Any] = {
        key: given[key] for key in ("turns", "updates", "warmup", "num_steps") if key in given
    }
    if "sampling_steps" in given:
        plain["steps"] = given["sampling_steps"]
    guided = {key: given[key] for key in ("mode", "strength") if key in given}
    guidance = PolicyGuidance(**{"mode": "diagonal", **guided})
    return Loop(share=given["share"], guidance=guidance, filters=filters, **plain)


def _bounded(data: Trajectories, environment: str) -> Trajectories:
    """With the bounds of actions that the environment names, where the file has none."""
    if not environment:
        return data
    env = make(environment)
    low, high, spec = env.action_space.low, env.action_space.high, specification(env)
    env.close()
    if data.action_low is not None:
        return dataclasses.replace(data, environment=data.environment or spec)
    return dataclasses.replace(data, action_low=low, action_high=high, environment=spec)


class _Lines:
    """A line on standard error now and then."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def __call__(self, done: int, total: int, losses: dict[str, float]) -> None:
        now = time.monotonic()
        if done == total or now - self._shown > QUIET_SECONDS:
            parts = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            print(f"step {done} of {total}: {parts}", file=sys.stderr, flush=True)
            self._shown = now

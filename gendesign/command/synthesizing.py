"""The verb `synthesize`: a data set of trajectories from a backbone, a target policy and guidance.

    gendesign synthesize policy=swing-up num_steps=100000 out=minari:pendulum/guided-v0

Backbone, reward and steering are chosen and set as for `gendesign design`; `trajectories` is the configuration that is
meant where none is named.
"""

import argparse
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gendesign.command.compose import compose
from gendesign.command.terminal import RunProgress
from gendesign.command.values import read_value
from gendesign.command.verbs import (
    load_backbone_of,
    named_reward,
    resolved_device,
    steering_of,
    with_named_policy,
)
from gendesign.errors import ConfigError, OutputError, UnsupportedError
from gendesign.report.trajectories import write_trajectory_report
from gendesign.rl.filter_words import named_filters
from gendesign.rl.minari_files import PREFIX
from gendesign.rl.synthesis import synthesize
from gendesign.rl.trajectories import Trajectories
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.rl.trajectory_files import check_target, read_trajectories
from gendesign.steering.policy_guidance import PolicyGuidance

OWN: dict[str, Any] = {
    "num_steps": int,
    "horizon": int | None,
    "overlap": int,
    "policy": str,
    "start": str,
    "filters": list[str],
    "out": list[str],
    "real": str,
    "report": str | None,
}
"""What is said of a data set; the rest is said as for `design`."""
SHARED = ("backbone", "reward", "steering", "heldout", "steps", "seed", "device")


def synthesize_verb(arguments: argparse.Namespace) -> None:
    """Make the data set and its page, say where they are."""
    given, config = _words(arguments)
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a policy of the user's may lie where the user stands
    out = given.get("out") or ["outputs/synthetic.hdf5"]
    for target in out:  # before anything is loaded
        check_target(target)
    _check_page(given, out[0], resume=arguments.resume)
    device = resolved_device(config.get("device", "auto"))
    backbone = load_backbone_of(config["backbone"], device, arguments.trust)
    if not isinstance(backbone.codec, TrajectoryCodec):
        name = config["backbone"]["path"]
        raise UnsupportedError(
            f"{name} makes no trajectories; synthesize needs backbone=rl-pendulum, or one of your own"
        )
    steering = steering_of(config["steering"], arguments.trust)
    steering = with_named_policy(steering, backbone, given.get("policy"))
    if isinstance(steering, PolicyGuidance) and steering.policy is None:
        raise ConfigError(
            "say which policy is the target: policy=swing-up, policy=agent:FOLDER or policy=module:name; "
            "steering=unsteered has none"
        )
    real = read_trajectories(given["real"]) if "real" in given else None
    asked: dict[str, Any] = {key: given[key] for key in ("num_steps", "horizon", "overlap") if key in given}
    asked |= {key: config[key] for key in ("steps", "seed") if key in config}
    with RunProgress(quiet=arguments.quiet) as progress:
        made = synthesize(
            backbone,
            steering,
            reward=named_reward(config["reward"], device, arguments.trust),
            start=_start(given.get("start")),
            filters=named_filters(
                given.get("filters", []), real, horizon=asked.get("horizon") or backbone.codec.steps - 1
            ),
            out=out,
            resume=arguments.resume,
            progress=progress,
            **asked,
        )
    lost = f", {made.lost} segments lost" if made.lost else ""
    lost += f", {made.filtered} episodes filtered out" if made.filtered else ""
    print(f"{made.num_steps:,} transitions in {made.num_episodes:,} episodes{lost}; {made.cost}")
    for target, path in zip(out, made.paths, strict=True):
        print(f"{target}: {path}" if target.startswith(PREFIX) else path)
    page = given.get("report", _page(made.paths[0]))
    if page is not None:
        command = shlex.join(["gendesign", "synthesize", *arguments.words])
        target = getattr(steering, "policy", None)
        some = Trajectories.of(made.sample, made.about)
        whole = (made.num_steps, made.num_episodes)
        print(
            f"report: {write_trajectory_report(some, page, policy=target, real=real, command=command, whole=whole)}"
        )


def _words(arguments: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is said of the data set, and the composed configuration of the rest."""
    words, name = list(arguments.words), "trajectories"
    if words and "=" not in words[0]:
        name, *words = words
    given: dict[str, Any] = {}
    rest = []
    for word in words:
        key, equals, value = word.partition("=")
        if key in OWN and equals:
            given[key] = read_value(key, value, OWN[key])
        elif key.partition(".")[0] in SHARED:
            rest.append(word)
        else:
            raise ConfigError(f"expected key=value with a key of {', '.join([*OWN, *SHARED])}; got {word!r}")
    return given, compose(rest, config=name, config_dir=arguments.config_dir, trust=arguments.trust)


def _start(word: str | None) -> Any:
    """Initial observations: numbers, or those that the episodes of some data begin with."""
    if word is None:
        return None
    try:
        return [float(part) for part in word.strip("[]").split(",")]
    except ValueError:
        data = read_trajectories(word)
    return np.stack([episode.observations[0] for episode in data.episodes])


def _check_page(given: dict[str, Any], first: str, *, resume: bool) -> None:
    """Refuse to overwrite a page that is there, such as that of data of the same name in another format."""
    beside = None if first.startswith(PREFIX) else _page(Path(first).expanduser())
    page = given.get("report", beside)
    if page is not None and not resume and Path(page).expanduser().exists():
        raise OutputError(f"{page} exists; name another page (report=FILE), or remove it")


def _page(first: Path) -> Path:
    """Beside a file, or inside the folder of a Minari data set, where nothing else looks at it."""
    return first / "report.html" if first.is_dir() else first.with_suffix(".html")

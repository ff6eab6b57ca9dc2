"""What each verb of the command line does: resolve the words, build, call the library, say where to look."""

import argparse
import inspect
import re
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gendesign.backbone import Backbone
from gendesign.building import build
from gendesign.command.compose import (
    GROUPS,
    OBJECTS,
    SETTINGS,
    backbone_settings,
    compose,
    configurations,
    options,
    read_yaml,
    steering_methods,
)
from gendesign.command.folds import leads_of, said_of_structure
from gendesign.command.terminal import RunProgress, digits
from gendesign.data import tables
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import Ancestral
from gendesign.errors import ConfigError, RewardError
from gendesign.loading import list_backbones, load_backbone
from gendesign.report import write_report
from gendesign.rewards.base import Reward
from gendesign.rewards.catalog import build_reward, list_rewards, load_reward
from gendesign.run import check_request, design, estimate_cost, with_unmasking
from gendesign.steering.policy_guidance import PolicyGuidance
from gendesign.steering.sampler import Steering
from gendesign.storage import check_folder
from gendesign.templates import read_template


def composed(arguments: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    """The configuration that the words describe."""
    config, rest = None, list(words)
    if rest and "=" not in rest[0]:
        config, *rest = rest
    return compose(rest, config=config, config_dir=arguments.config_dir, trust=arguments.trust)


def resolved_device(name: str) -> str:
    """Resolve `auto`; nothing below the command line picks a device."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:N, got {name!r}") from None
    if device.type == "cuda" and (device.index or 0) >= (num := torch.cuda.device_count()):
        found = f"{num} CUDA devices, counted from 0," if num else "no CUDA device"
        raise ConfigError(f"device={name}, but PyTorch sees {found} here; use device=cpu or device=auto")
    try:
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError, ImportError) as error:
        said = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"device={name} cannot be used here ({said}); use device=cpu or device=auto"
        ) from error
    return name


PROBE = 64
"""Designs from which `check` estimates times."""

PROBE_SECONDS = 10.0
"""The most that it spends on timing a reward."""


@dataclass
class _Job:
    """Everything that a configuration names, built."""

    config: dict[str, Any]
    backbone: Backbone
    reward: Reward | None
    heldout: Reward | None
    steering: Steering
    settings: dict[str, Any]
    out: Path


def _job(arguments: argparse.Namespace) -> _Job:
    config = composed(arguments, arguments.words)
    device = resolved_device(config.get("device", "auto"))
    settings = {
        key: value for key, value in config.items() if key in SETTINGS and key not in ("out", "device")
    }
    for key, value in _signature_defaults().items():
        settings.setdefault(key, value)
    resolved = {key: config.get(key) for key in GROUPS} | settings
    backbone = load_backbone_of(config["backbone"], device, arguments.trust)
    reward = named_reward(config["reward"], device, arguments.trust)
    heldout = named_reward(config.get("heldout"), device, arguments.trust)
    steering = with_named_policy(steering_of(config["steering"], arguments.trust), backbone)
    settings |= {key: build(settings[key], trust=arguments.trust) for key in OBJECTS}
    settings["start"] = leads_of(settings["start"], config["backbone"], backbone)
    parts = [
        Path(config["backbone"]["path"]).name,
        reward.label if reward else "",
        type(steering).__name__.lower(),
    ]
    default = "_".join(
        [*(re.sub(r"[^\w.-]+", "-", part)[:80] for part in parts if part), f"seed{settings['seed']}"]
    )
    out = Path(config.get("out") or Path("outputs") / default).expanduser()
    return _Job(resolved, backbone, reward, heldout, steering, settings, out)


def load_backbone_of(config: dict[str, Any], device: str, trust: Sequence[str]) -> Backbone:
    """Load the backbone with what else is said of it, such as a prompt."""
    backbone_settings(config)
    given = {key: value for key, value in config.items() if key != "path"}
    return load_backbone(config["path"], device=device, trust=trust, **given)


def steering_of(config: dict[str, Any], trust: Sequence[str]) -> Steering:
    """The method of a configuration."""
    steering = build(config, trust=trust)
    if not isinstance(steering, Steering):
        raise ConfigError(
            f"{config.get('class_path')} is no steering method; expected a subclass of Steering"
        )
    return steering


def with_named_policy(steering: Steering, backbone: Backbone, word: Any = None) -> Steering:
    """The method with the target policy that a word names: `word`, or what stands where its policy belongs.

    Raises:
        ConfigError: no such policy, or a method that follows none.
    """
    word = getattr(steering, "policy", None) if word is None else word
    if not isinstance(word, str):
        return steering
    from gendesign.rl.policy_words import named_policy
    from gendesign.rl.trajectory_codec import TrajectoryCodec

    if not isinstance(steering, PolicyGuidance):
        raise ConfigError(f"policy={word} needs steering=policy_guidance, got {type(steering).__name__}")
    if not isinstance(backbone.codec, TrajectoryCodec):
        raise ConfigError(f"policy={word} needs a backbone of trajectories, such as rl-pendulum")
    return replace(steering, policy=named_policy(word, backbone.codec.low, backbone.codec.high))


def _signature_defaults() -> dict[str, Any]:
    """The settings' defaults, which live in the signature of `design`."""
    parameters = inspect.signature(design).parameters
    return {key: parameters[key].default for key in SETTINGS if key in parameters and key != "out"}


def named_reward(config: dict[str, Any] | None, device: str, trust: Sequence[str]) -> Reward | None:
    """The reward of a configuration, under the name of the shipped file that it equals, if one does."""
    if config is None:
        return None
    if "path" in config:
        return load_reward(config["path"], device=device, trust=trust)
    for name, file in options("reward").items():
        if read_yaml(file) == config:  # unchanged: it keeps its name, which reports look up
            return load_reward(name, device=device, trust=trust)
    reward = build_reward(config, trust=trust)
    reward.to(device)
    return reward


def design_verb(arguments: argparse.Namespace) -> None:
    """Sample designs and write them, a summary and the report."""
    job = _job(arguments)
    print(said_of_structure(job.backbone), end="")
    unit = job.reward.unit if job.reward is not None else ""
    with RunProgress(quiet=arguments.quiet, unit=unit) as progress:
        run = design(
            job.backbone,
            job.reward,
            job.steering,
            heldout=job.heldout,
            out=job.out,
            resume=arguments.resume,
            progress=progress,
            config=job.config,
            **job.settings,
        )
    command = shlex.join(["gendesign", "design", *arguments.words])
    run = replace(run, provenance=run.provenance | {"command": command})
    run.save(job.out, overwrite=arguments.resume)
    report = write_report(run, job.out / "report.html")
    for label, scores in run.scores.items():
        compared = "" if run.base is None else f" (unsteered {_median(run.base.scores[label].values)})"
        lost = len(scores) - int(scores.ok.sum())
        print(
            f"{label}: median {_median(scores.values)}{compared}"
            + (f", {lost} without a score" if lost else "")
        )
    if np.isfinite(run.naturalness).any():
        compared = "" if run.base is None else f" (unsteered {_median(run.base.naturalness)})"
        print(f"naturalness: median {_median(run.naturalness)}{compared} nats a {run.form.part}")
    print(f"{len(run)} designs: {job.out / run.form.result}, {job.out / 'designs.csv'}\nreport: {report}")
    if run.guide is not None and not run.guide.ok.any():
        why = next((message for message in run.guide.message if message), "no reason given")
        raise RewardError(
            f"no design could be scored by {job.reward.label if job.reward else ''} ({why}); all are kept"
        )


def _median(values: Any) -> str:
    fine = np.asarray(values)[np.isfinite(values)]
    return digits(float(np.median(fine))) if len(fine) else "none"


def check_verb(arguments: argparse.Namespace) -> None:
    """Build everything and try backbone and rewards on a few rough designs, so that what is broken breaks now."""
    job = _job(arguments)
    check_request(
        job.backbone, job.reward, job.heldout, job.steering, ess_fraction=job.settings["ess_fraction"]
    )
    bound = {
        key: job.settings[key]
        for key in ("num_designs", "steps", "base_designs", "template", "start", "remask", "unmasking")
    }
    cost = estimate_cost(job.backbone, job.steering, **bound)
    if getattr(job.steering, "alpha", None) != "auto":  # which is only known after a pilot
        job.steering(job.backbone, job.reward)
    seed, template = job.settings["seed"], read_template(job.settings["template"], job.backbone.codec)
    rough = _in_few_steps(job.backbone)
    rough.sample(2, steps=1, seed=seed, template=template)  # the first call is slower than any other
    start = time.perf_counter()
    probe = rough.sample(PROBE, steps=2, seed=seed, template=template)
    seconds = (time.perf_counter() - start) / (2 * PROBE) * cost.network_rows
    parameters = sum(p.numel() for p in job.backbone.denoiser.parameters())
    print(f"backbone: {job.config['backbone']['path']}, {parameters:,} parameters")
    print(said_of_structure(job.backbone), end="")
    for role, reward in (("reward", job.reward), ("held out", job.heldout)):
        if reward is None:
            print(f"{role}: none")
            continue
        scores = reward(probe[:2])
        statuses = ", ".join(f"{count} {status}" for status, count in scores.counts().items())
        why = next((f": {message}" for message in scores.message if message), "")
        print(f"{role}: {reward.label} [{reward.unit or 'no unit'}]; two rough designs: {statuses}{why}")
        if role == "reward":
            affordable = int(
                PROBE_SECONDS / max(scores.seconds / 2, 1e-6)
            )  # more at a time is quicker a design
            timed = reward(probe[: min(affordable, PROBE)]) if affordable > 2 else scores
            seconds += timed.seconds / len(timed) * cost.reward_calls
    print(f"steering: {type(job.steering).__name__}")
    print(f"cost: at most {cost}")
    print(f"time: at most about {_duration(seconds)} on this machine, as busy as it is now")
    print(f"out: {job.out}")
    check_folder(job.out)


def _in_few_steps(backbone: Backbone) -> Backbone:
    """The backbone by a rule of unmasking that takes as many steps as it is told, whatever the length of designs."""
    process = backbone.process
    if isinstance(process, MaskedDiffusion) and process.num_steps(2, backbone.codec.length) > 2:
        return with_unmasking(backbone, Ancestral())
    return backbone


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def list_verb(arguments: argparse.Namespace) -> None:
    """Print what can be named on the command line."""
    public = {name: f"{about} [{tables.state(name)}]" for name, about in tables.list_tables().items()}
    for title, found in (
        ("configurations", configurations(arguments.config_dir)),
        ("backbones", list_backbones()),
        ("rewards", list_rewards()),
        ("steering", steering_methods(arguments.config_dir, trust=arguments.trust)),
        ("tables", public),
    ):
        print(f"{title}:")
        width = max(map(len, found), default=0)
        for name, about in found.items():
            print(f"  {name:<{width}}  {about}")

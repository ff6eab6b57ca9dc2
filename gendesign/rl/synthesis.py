"""`synthesize`: a backbone of trajectories, steered by a target policy, written as a data set.

It is the sampling of `gendesign.design`: blocks of 64 segments, each with its own stream of random numbers, kept on
disk as soon as they are finished. Memory does not grow with the number of transitions, a run that was stopped
continues, and the same settings give the same bytes. A backbone trained on segments of R rows gives R - 1 transitions
each; see `gendesign.rl.episodes`.

Shorter horizons: a segment is divided into as many episodes as fit. Longer ones: further segments continue the last
`overlap` rows of the one before, which are held fixed by replacement (the network's prediction of them is replaced by
what is given; it was not trained on that, so that seams are less exact). Initial states are given in the same way.

Jackson et al. 2024, Policy-Guided Diffusion, arXiv 2404.06356. Janner et al. 2022, Planning with Diffusion, arXiv
2205.09991 (replacement).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gendesign.backbone import Backbone
from gendesign.blocks import Progress
from gendesign.building import whole
from gendesign.designs import Array
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.provenance import described, fingerprint, versions
from gendesign.rewards.base import Reward
from gendesign.rl.making import Filter, Making
from gendesign.rl.minari_files import PREFIX, hidden_folder
from gendesign.rl.policy_words import policy_digest
from gendesign.rl.trajectories import About, Episode, Trajectories
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.rl.trajectory_files import check_target, read_trajectories, write_episodes
from gendesign.steering.particles import Cost
from gendesign.steering.sampler import Steering
from gendesign.steering.unsteered import Unsteered
from gendesign.storage import Store

LOOKED_AT = 2_000
"""Episodes that reports look at, about."""


class EvenSample:
    """Some of what comes by, evenly spread, however much comes: every one, then every second, every fourth.

    Args:
        least: so many are kept at least, as soon as so many came; never more than twice as many.
    """

    def __init__(self, least: int) -> None:
        self.least, self.every, self.seen = least, 1, 0
        self.kept: list[Episode] = []

    def of(self, episodes: Iterable[Episode]) -> Iterator[Episode]:
        """Hand all of them on."""
        for episode in episodes:
            if self.seen % self.every == 0:
                self.kept.append(episode)
            self.seen += 1
            if len(self.kept) == 2 * self.least:
                self.kept, self.every = self.kept[::2], 2 * self.every
            yield episode


@dataclass(frozen=True)
class SyntheticSet:
    """What `synthesize` made.

    Attributes:
        paths: files and folders that were written.
        num_steps: transitions.
        num_episodes: episodes.
        lost: segments with numbers that are not finite, which are left out.
        filtered: episodes that filters took out.
        cost: of sampling.
        about: bounds, environment and provenance.
        kept: the episodes, where nothing was written.
        sample: some of them, evenly spread: all below twice `LOOKED_AT`, else at least `LOOKED_AT`.
    """

    paths: tuple[Path, ...]
    num_steps: int
    num_episodes: int
    lost: int
    filtered: int
    cost: Cost
    about: About
    targets: tuple[str, ...] = ()
    kept: tuple[Episode, ...] = field(default=(), repr=False)
    sample: tuple[Episode, ...] = field(default=(), repr=False)

    @cached_property
    def trajectories(self) -> Trajectories:
        """The data, from memory, or read from what was written first."""
        if not self.targets:
            return Trajectories.of(self.kept, self.about)
        return read_trajectories(self.targets[0])


def synthesize(
    backbone: Backbone,
    steering: Steering | None = None,
    *,
    reward: Reward | None = None,
    num_steps: int = 10_000,
    steps: int = 32,
    seed: int = 0,
    horizon: int | None = None,
    overlap: int = 8,
    start: Sequence[Any] | Array | None = None,
    filters: Sequence[Filter] = (),
    out: str | Path | Sequence[str | Path] = (),
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> SyntheticSet:
    """Make episodes until there are `num_steps` transitions.

    Args:
        backbone: of trajectories; bind it to a return first (`conditioned_on`) to ask for one.
        steering: such as `PolicyGuidance(policy, mode="diagonal")`; None steers nothing.
        reward: what methods such as SVDD steer by; policy guidance needs none.
        num_steps: the least number of transitions, in whole episodes.
        steps: reverse steps.
        seed: block b of 64 segments depends on (seed, b) alone, so that a longer run begins with the shorter one's.
        horizon: transitions an episode; None: as many as a segment gives.
        overlap: rows that a further segment continues, where the horizon is longer.
        start: an initial observation [S], or several [n, S], which segments take in turn.
        filters: applied to the episodes of each block in turn, with a generator of (seed, block, filter).
        out: where to write: .npz, .hdf5, minari:ID, or several; nothing: the episodes are kept in memory.
        resume: continue a run that was stopped; its finished blocks lie beside the first of `out` until it ends.
        overwrite: replace what `out` names.
        progress: told after every step.

    Raises:
        UnsupportedError: the backbone makes no trajectories, or the method cannot do what is asked.
        ConfigError: a number out of range, or a policy of another shape.
        DataError: filters leave nothing.
        OutputError: `out` exists, or cannot be written; a run with other settings is there.
    """
    codec = backbone.codec
    if not isinstance(codec, TrajectoryCodec):
        raise UnsupportedError(
            f"synthesize needs a backbone of trajectories, such as rl-pendulum; this one has {type(codec).__name__}"
        )
    for name, value in (("num_steps", num_steps), ("steps", steps), ("overlap", overlap)):
        whole(name, value)
    whole("seed", seed, at_least=0)
    horizon = codec.steps - 1 if horizon is None else whole("horizon", horizon)
    steering = Unsteered() if steering is None else steering
    if steering.leaves_particles:
        raise UnsupportedError(
            "keep='weighted' leaves weighted particles instead of trajectories; use keep='resample'"
        )
    targets = [str(each) for each in ([out] if isinstance(out, (str, Path)) else out)]
    if len(set(targets)) < len(targets):
        raise ConfigError(f"out names a place twice: {', '.join(targets)}")
    for target in targets:
        check_target(target, overwrite=overwrite)
    settings = {
        "backbone": described(backbone), "steering": said_of(steering), "reward": described(reward), "steps": steps,
        "seed": seed, "horizon": horizon, "overlap": overlap,
        "start": None if start is None else np.asarray(start).tolist(),
    }  # fmt: skip
    about, dtype = source(backbone)
    weights = fingerprint(backbone)
    place = blocks_of(targets[0]) if targets else None
    _sweep(place)
    store = Store.open(
        place, settings, weights=weights, resume=resume and place is not None and place.exists()
    )
    made = Making(
        backbone, steering, steering(backbone, reward), steps, seed, horizon, overlap, start, tuple(filters), store,
        num_steps, progress, about, dtype,
    )  # fmt: skip
    provenance = {
        "generator": "gendesign.synthesize", "backbone": backbone.provenance.get("name", ""), "weights_sha256": weights,
        **{key: settings[key] for key in ("steering", "reward", "steps", "seed", "horizon", "overlap")},
        "label": backbone.provenance.get("label"), "filters": [type(each).__name__ for each in filters],
        "start": settings["start"], "num_steps": num_steps, "versions": versions(),
    }  # fmt: skip
    about = replace(about, provenance=json.loads(json.dumps(provenance, default=str)))
    paths: list[Path] = []
    episodes: tuple[Episode, ...] = ()
    sample = EvenSample(LOOKED_AT)
    if not targets:
        episodes = tuple(sample.of(made.episodes()))
        Trajectories.of(episodes, about)  # what is written is checked as it is written
    workshop = None if place is None else place / "writing"
    if workshop is not None:
        shutil.rmtree(workshop, ignore_errors=True)  # of a run that was killed
    try:
        for target in targets:
            stream = made.episodes() if paths else sample.of(made.episodes())
            near = workshop if blocks_of(target).parent == blocks_of(targets[0]).parent else None
            paths.append(write_episodes(stream, about, target, overwrite=overwrite, workshop=near))
    finally:
        _sweep(place)
    if place is not None:
        shutil.rmtree(place, ignore_errors=True)
    tally = made.tally
    return SyntheticSet(
        tuple(paths),
        tally.steps,
        tally.episodes,
        tally.lost,
        tally.filtered,
        tally.cost,
        about,
        tuple(targets),
        episodes,
        tuple(sample.kept),
    )


def blocks_of(target: str) -> Path:
    """The folder in which a run that writes there keeps its finished blocks until it ends."""
    if target.startswith(PREFIX):
        return hidden_folder(target.removeprefix(PREFIX), ".blocks")
    path = Path(target).expanduser()
    return path.with_name(f".{path.name}.blocks")


def _sweep(place: Path | None) -> None:
    """Remove a hidden folder in which no block was begun: a full disk, or a kill, left nothing to continue."""
    if place is not None and place.is_dir() and not (place / "blocks" / "run.json").exists():
        shutil.rmtree(place, ignore_errors=True)


def said_of(steering: Steering) -> dict[str, Any]:
    """The method's settings, a policy among them by its digest, as plain data."""
    said: dict[str, Any] = {"class_path": f"{type(steering).__module__}.{type(steering).__qualname__}"}
    for each in fields(steering):  # type: ignore[arg-type]
        value = getattr(steering, each.name)
        if each.name == "policy" and value is not None:
            value = {"policy": described(value), "sha256": policy_digest(value)}
        elif not isinstance(value, (str, int, float, bool, type(None))):
            value = described(value)
        said[each.name] = value
    return said


def source(backbone: Backbone) -> tuple[About, str]:
    """Bounds and environment of the data that a backbone was trained on, and the type of their observations."""
    codec = backbone.codec
    assert isinstance(codec, TrajectoryCodec)
    said = (backbone.provenance.get("training") or {}).get("data") or {}
    said = said if isinstance(said, Mapping) else {}
    dtype = str(said.get("observation_dtype") or "float32")
    low, high = (said.get(f"observation_{side}") for side in ("low", "high"))
    known = low is not None and high is not None and len(low) == len(codec.observation_columns)
    return About(
        np.array(codec.low, np.float32),
        np.array(codec.high, np.float32),
        np.array(low, dtype) if known else None,
        np.array(high, dtype) if known else None,
        str(said.get("environment") or ""),
    ), dtype

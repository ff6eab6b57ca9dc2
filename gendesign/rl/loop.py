"""The loop of policy-guided diffusion: the current agent guides new data, and learns from them and from real ones.

    repeat:  tau ~ p(tau) prod_h pi(a_h | s_h)^w,   pi <- `updates` steps on a batch of real and synthetic rows.

Every turn's data replace the last one's. A folder keeps them, and networks, targets and optimisers after every turn: a
killed run continues to the same agent.

Jackson et al. 2024, Policy-Guided Diffusion, arXiv 2404.06356.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gendesign.backbone import Backbone
from gendesign.building import describe, whole
from gendesign.designs import Array
from gendesign.determinism import dropout_seeded, generator
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rl.agent import Agent
from gendesign.rl.episodes import episode_of
from gendesign.rl.filters import Filter, filtered
from gendesign.rl.objectives import Objective
from gendesign.rl.offline import Told, advance, read_checkpoint, write_checkpoint
from gendesign.rl.replay import Replay
from gendesign.rl.trajectories import Trajectories
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.rl.trajectory_files import read_trajectories, write_trajectories
from gendesign.steering.particles import make_plan
from gendesign.steering.policy_guidance import PolicyGuidance
from gendesign.steering.sampler import Steering, run_sampler

BLOCK = 64
"""Segments that share a stream of noise."""


@dataclass(frozen=True)
class Loop:
    """Settings of the loop.

    Args:
        turns: how often data are made anew.
        updates: steps of training a turn.
        warmup: steps on real data alone, before the first turn.
        segments: that are sampled a turn.
        share: of synthetic rows in a batch, in (0, 1].
        steps: of sampling.
        guidance: how the agent guides; its policy is set by the loop.
        filters: fitted ones, for synthetic data.

    Raises:
        ConfigError: a setting out of range.
    """

    turns: int = 4
    updates: int = 1000
    warmup: int = 1000
    segments: int = 256
    share: float = 0.5
    steps: int = 32
    guidance: PolicyGuidance = PolicyGuidance(mode="diagonal")
    filters: Sequence[Filter] = ()

    def __post_init__(self) -> None:
        for name in ("turns", "updates", "segments", "steps"):
            whole(name, getattr(self, name))
        whole("warmup", self.warmup, at_least=0)
        if not 0 < self.share <= 1:
            raise ConfigError(f"share must be in (0, 1], got {self.share}")

    def run(
        self,
        backbone: Backbone,
        real: Trajectories,
        method: Objective,
        *,
        seed: int = 0,
        folder: str | Path | None = None,
        progress: Told | None = None,
        on_turn: Callable[[int, Agent], None] | None = None,
    ) -> Agent:
        """Train an agent.

        Args:
            backbone: of trajectories of the environment.
            real: data, which also say how observations are standardised.
            method: `TD3BC` or `IQL`.
            seed: of everything that is drawn.
            folder: keeps every turn; a folder of an unfinished run of the same settings is continued.
            progress: hears of every hundredth step.
            on_turn: is shown the agent after every turn, the warm-up being turn 0.

        Returns:
            The agent, not asking for gradients.

        Raises:
            UnsupportedError: the backbone is none of trajectories.
            CheckpointError: the folder is of other settings.
            MissingExtraError: torchrl is not installed.
        """
        replay = Replay.of(real)
        with dropout_seeded(seed, "agent"):
            agent = method.agent(replay)
            learner = method.learner(agent)
        total = self.warmup + self.turns * self.updates
        about = {"method": describe(method), "seed": seed, "rows": len(replay), "loop": self.settings()}
        kept = None if folder is None else Path(folder)
        place = None if kept is None else kept / "loop.checkpoint"
        done = read_checkpoint(place, about, learner) if place is not None and place.exists() else 0
        for turn in range(self.turns + 1):
            stop = self.warmup + turn * self.updates
            if stop <= done:
                continue
            rows = replay
            if turn:
                made = self._turn(turn, backbone, agent, real, seed=seed, folder=kept)
                rows = Replay.of(real, made, shares=[1 - self.share, self.share])
            advance(learner, rows, done, stop, total=total, seed=seed, progress=progress)
            done = stop
            if place is not None:
                write_checkpoint(place, about, learner, done)
            if on_turn is not None:
                on_turn(turn, agent)
        return agent.eval().requires_grad_(False)

    def _turn(
        self,
        turn: int,
        backbone: Backbone,
        agent: Agent,
        real: Trajectories,
        *,
        seed: int,
        folder: Path | None,
    ) -> Trajectories:
        file = None if folder is None else folder / f"turn-{turn}.npz"
        if file is not None and file.exists():
            return read_trajectories(file)
        wanted = [parameter.requires_grad for parameter in agent.parameters()]
        agent.requires_grad_(False)
        guided = replace(self.guidance, policy=agent)
        made = sample_trajectories(
            backbone, guided, self.segments, steps=self.steps, like=real, place=(seed, "loop", turn)
        )
        for parameter, ask in zip(agent.parameters(), wanted, strict=True):
            parameter.requires_grad_(ask)
        if self.filters:
            made = filtered(made, self.filters, seed=seed)
        if file is not None:
            write_trajectories(made, file)
        return made

    def settings(self) -> dict[str, Any]:
        """All of them, plain."""
        plain = {
            name: getattr(self, name) for name in ("turns", "updates", "warmup", "segments", "share", "steps")
        }
        guidance = {
            name: getattr(self.guidance, name)
            for name in ("mode", "strength", "iterations", "sigma_floor", "cosine", "normalise")
        }
        return plain | {"guidance": guidance, "filters": [describe(each) for each in self.filters]}


def sample_trajectories(
    backbone: Backbone,
    method: Steering,
    num: int,
    *,
    steps: int,
    like: Trajectories,
    place: Sequence[int | str],
) -> Trajectories:
    """Segments of a backbone as episodes, truncated where they end.

    Args:
        backbone: of trajectories.
        method: such as `PolicyGuidance` or `Unsteered`.
        num: how many.
        steps: of sampling.
        like: whose environment and bounds they have.
        place: of the noise; block i of 64 draws from the stream of (place, i).

    Raises:
        UnsupportedError: the backbone is none of trajectories.
    """
    codec = backbone.codec
    if not isinstance(codec, TrajectoryCodec):
        raise UnsupportedError(
            f"expected a backbone of trajectories (TrajectoryCodec), got one of {type(codec).__name__}"
        )
    rows: list[Array] = []
    for block in range(0, num, BLOCK):
        count = min(BLOCK, num - block)
        plan = make_plan(backbone, steps=steps, max_rows=count)
        noise = generator(*place, block // BLOCK)
        final = run_sampler(method(backbone, None), count, plan, generator=noise)
        rows += [np.asarray(design) for design in codec.decode(final.x.detach())]
    return segments_as_trajectories(rows, codec, like=like)


def segments_as_trajectories(
    segments: Sequence[Array], codec: TrajectoryCodec, *, like: Trajectories
) -> Trajectories:
    """Segments [R, S + A + 2] as episodes of at most R - 1 steps; not finite ones are left out."""
    made = (episode_of(np.asarray(rows, dtype=np.float64), codec, like.about) for rows in segments)
    about = replace(like.about, provenance={"generator": "backbone", "rows": codec.steps})
    return Trajectories.of(tuple(episode for episode in made if episode is not None), about)

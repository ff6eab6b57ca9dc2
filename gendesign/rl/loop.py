"""The loop of policy-guided diffusion: the current agent guides new data, and learns from them and from real ones.

    repeat:  tau ~ p(tau) prod_h pi(a_h | s_h)^w,   pi <- `updates` steps on a batch of real and synthetic rows.

Every turn's data are a set of `gendesign.rl.synthesis`, and replace the last one's. A folder keeps them, and networks,
targets and optimisers after every turn: a killed run continues to the same agent.

Jackson et al. 2024, Policy-Guided Diffusion, arXiv 2404.06356.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gendesign.backbone import Backbone
from gendesign.building import describe, whole
from gendesign.determinism import dropout_seeded, stream_seed
from gendesign.errors import ConfigError
from gendesign.provenance import described, fingerprint
from gendesign.rl.agent import Agent
from gendesign.rl.filters import Filter
from gendesign.rl.objectives import Objective
from gendesign.rl.offline import Told, advance, read_checkpoint, write_checkpoint
from gendesign.rl.replay import Replay
from gendesign.rl.synthesis import synthesize
from gendesign.rl.trajectories import Trajectories
from gendesign.rl.trajectory_files import read_trajectories
from gendesign.steering.policy_guidance import PolicyGuidance


@dataclass(frozen=True)
class Loop:
    """Settings of the loop.

    Args:
        turns: how often data are made anew.
        updates: steps of training a turn.
        warmup: steps on real data alone, before the first turn.
        num_steps: the least number of transitions that are made a turn, in whole episodes.
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
    num_steps: int = 8_000
    share: float = 0.5
    steps: int = 32
    guidance: PolicyGuidance = PolicyGuidance(mode="diagonal")
    filters: Sequence[Filter] = ()

    def __post_init__(self) -> None:
        for name in ("turns", "updates", "num_steps", "steps"):
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
        about = {
            "method": describe(method),
            "seed": seed,
            "data": replay.digest(),
            "backbone": fingerprint(backbone),
            "loop": self.settings(),
        }
        kept = None if folder is None else Path(folder)
        place = None if kept is None else kept / "loop.checkpoint"
        done = 0
        if place is not None and place.exists():
            done = read_checkpoint(place, about, learner)
        elif place is not None:  # turns that lie here are of a run that nothing is known of
            for left in place.parent.glob("turn-*.npz"):
                left.unlink()
            for blocks in place.parent.glob(".turn-*.blocks"):
                shutil.rmtree(blocks)
            write_checkpoint(place, about, learner, 0)
        for turn in range(self.turns + 1):
            stop = self.warmup + turn * self.updates
            if stop <= done:
                continue
            rows = replay
            if turn:
                made = self._turn(turn, backbone, agent, seed=seed, folder=kept)
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
        *,
        seed: int,
        folder: Path | None,
    ) -> Trajectories:
        file = None if folder is None else folder / f"turn-{turn}.npz"
        if file is not None and file.exists():
            return read_trajectories(file)
        wanted = [parameter.requires_grad for parameter in agent.parameters()]
        agent.requires_grad_(False)
        made = synthesize(
            backbone,
            replace(self.guidance, policy=agent),
            num_steps=self.num_steps,
            steps=self.steps,
            seed=stream_seed(seed, "loop", turn),
            filters=self.filters,
            out=() if file is None else file,
            resume=file is not None,
        )
        for parameter, ask in zip(agent.parameters(), wanted, strict=True):
            parameter.requires_grad_(ask)
        return made.trajectories

    def settings(self) -> dict[str, Any]:
        """All of them, plain."""
        plain = {
            name: getattr(self, name)
            for name in ("turns", "updates", "warmup", "num_steps", "share", "steps")
        }
        guidance = {
            name: getattr(self.guidance, name)
            for name in ("mode", "strength", "iterations", "sigma_floor", "cosine", "normalise")
        }
        guidance["solver"] = described(self.guidance.solver)
        return plain | {"guidance": guidance, "filters": [describe(each) for each in self.filters]}

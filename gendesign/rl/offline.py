"""Training an agent on transitions alone, and continuing what was stopped to the same weights.

Batch and noise of step i depend on (seed, i) alone; a checkpoint holds networks, targets and optimisers.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from gendesign.building import describe, whole
from gendesign.determinism import dropout_seeded, generator
from gendesign.errors import CheckpointError, OutputError
from gendesign.rl.agent import Agent
from gendesign.rl.objectives import Learner, Objective
from gendesign.rl.replay import Replay

Told = Callable[[int, int, dict[str, float]], None]
"""Called with the steps done, all steps, and the last losses by name."""

EVERY = 1000
"""Steps between two checkpoints."""


def train_agent(
    replay: Replay,
    method: Objective,
    *,
    steps: int = 20_000,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    every: int = EVERY,
    progress: Told | None = None,
) -> Agent:
    """Train an agent.

    Args:
        replay: the rows.
        method: `TD3BC` or `IQL`.
        steps: updates; the same number is expected of a run that continues.
        seed: of first weights, batches and noise.
        checkpoint: a file, written every `every` steps; where it exists, the run continues from it.
        every: as said.
        progress: hears of every hundredth step.

    Returns:
        The agent, not asking for gradients.

    Raises:
        CheckpointError: the checkpoint is damaged, or of other settings.
        MissingExtraError: torchrl is not installed.
        OutputError: the checkpoint cannot be written.
    """
    whole("steps", steps), whole("seed", seed, at_least=0), whole("every", every)
    with dropout_seeded(seed, "agent"):
        agent = method.agent(replay)
        learner = method.learner(agent)
    about = {"method": describe(method), "steps": steps, "seed": seed, "data": replay.digest()}
    place = None if checkpoint is None else Path(checkpoint)
    first = 0
    if place is not None and place.exists():
        first = read_checkpoint(place, about, learner)
    while first < steps:
        last = min(steps, (first // every + 1) * every)
        advance(learner, replay, first, last, total=steps, seed=seed, progress=progress)
        if place is not None:
            write_checkpoint(place, about, learner, last)
        first = last
    return agent.eval().requires_grad_(False)


def advance(
    learner: Learner,
    replay: Replay,
    start: int,
    stop: int,
    *,
    total: int,
    seed: int,
    progress: Told | None = None,
) -> None:
    """Steps `start` to `stop` of a run of `total` steps."""
    method = learner.method
    for step in range(start, stop):
        chosen = replay.draw(method.batch_size, generator=generator(seed, "agent", step))
        with dropout_seeded(seed, "agent", step, "noise"):
            losses = learner.update(learner.rows(replay, chosen), step, total)
        if progress is not None and ((step + 1) % 100 == 0 or step + 1 == total):
            progress(step + 1, total, losses)


def write_checkpoint(path: Path, about: Mapping[str, Any], learner: Learner, step: int) -> None:
    """What `read_checkpoint` reads, whole or not at all."""
    state = {"about": dict(about), "step": step, "learner": learner.state()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
            partial = Path(folder) / path.name
            torch.save(state, partial)
            os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from error


def read_checkpoint(path: Path, about: Mapping[str, Any], learner: Learner) -> int:
    """Put a checkpoint into a learner; returns the number of steps done.

    Raises:
        CheckpointError: it is damaged, or `about` differs.
    """
    try:
        state = torch.load(path, weights_only=True)
        found = state["about"]
    except Exception as error:  # torch raises many kinds for a file that is none
        raise CheckpointError(f"{path}: is no checkpoint of an agent ({type(error).__name__})") from error
    if found != dict(about):
        differs = next((key for key in about if found.get(key) != about[key]), "kind")
        raise CheckpointError(
            f"{path}: was made with another {differs}; repeat the first command, or remove the file"
        )
    learner.load_state(state["learner"])
    return int(state["step"])

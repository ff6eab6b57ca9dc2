"""Designs are made block by block: 64 share one random stream, and are kept on disk together.

So the same seed gives the same designs however work is split, and a run that was stopped continues to the same ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from gendesign.design_set import DesignSet
from gendesign.determinism import generator
from gendesign.errors import OutputError
from gendesign.steering.particles import Cost, Particles, Plan
from gendesign.steering.sampler import Sampler, run_sampler
from gendesign.storage import Store, Stored

BLOCK = 64
"""Designs that share one random stream, and that are kept on disk together."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: what is being done, such as "base designs" or "steered designs".
        done: design-steps done.
        total: design-steps of the stage.
        cost: spent in this stage.
        best: highest value so far in the reward's unit, NaN where unknown.
    """

    stage: str
    done: int
    total: int
    cost: Cost
    best: float

    def after(self, block: Stored, done: int) -> Progress:
        """With one more block, of so many design-steps."""
        known = [value for value in block.values if value is not None]
        best = float(np.fmax(self.best, max(known))) if known else self.best
        return replace(self, done=self.done + done, cost=self.cost + block.cost, best=best)


def sample_blocks(
    sampler: Sampler,
    num: int,
    plan_of: Callable[[int, int], Plan],
    *,
    seed: int,
    stage: str,
    store: Store,
    progress: Callable[[Progress], None] | None,
) -> list[Stored]:
    """Run a sampler block by block; blocks that are on disk are read instead.

    Args:
        sampler: what to run.
        num: designs.
        plan_of: the plan of a block, by its number and size.
        seed: block b of a stage draws everything from a stream derived from (seed, stage, b).
        stage: what is being done, such as "base designs".
        store: keeps finished blocks.
        progress: told after every step.
    """
    blocks: list[Stored] = []
    steps = plan_of(0, 1).steps
    so_far = Progress(stage, 0, num * steps, Cost(), float("nan"))
    for number, first in enumerate(range(0, num, BLOCK)):
        size = min(BLOCK, num - first)
        done = sample_block(
            sampler, number, size, plan_of, seed=seed, store=store, so_far=so_far, progress=progress
        )
        blocks.append(done)
        so_far = so_far.after(done, size * steps)
    return blocks


def sample_block(
    sampler: Sampler,
    number: int,
    size: int,
    plan_of: Callable[[int, int], Plan],
    *,
    seed: int,
    store: Store,
    so_far: Progress,
    progress: Callable[[Progress], None] | None,
) -> Stored:
    """One block of the stage that `so_far` names: from disk, or made and kept there; see `sample_blocks`."""
    stage = so_far.stage
    done = store.load(stage, number)
    if done is None:
        start = time.perf_counter()
        noise = generator(seed, stage, number, device=sampler.backbone.device)
        watch = _watch(progress, so_far, size) if progress is not None else None
        final = run_sampler(sampler, size, plan_of(number, size), generator=noise, on_step=watch)
        spent = replace(final.cost, seconds=time.perf_counter() - start)
        known = (final.ok & final.value.isfinite()).tolist()
        values = [v if fine else None for v, fine in zip(final.value.tolist(), known, strict=True)]
        done = Stored(sampler.backbone.codec.decode(final.x), final.kl.tolist(), spent, values)
        store.save(stage, number, done)
    return done


def same_reward(blocks: list[Stored], run: DesignSet) -> None:
    """Raise OutputError if finished blocks were steered by a reward that gave other values than it gives now."""
    before = np.array(
        [np.nan if v is None else v for block in blocks for v in block.values], dtype=np.float64
    )
    both = np.isfinite(before) & np.isfinite(run.values)
    if not np.allclose(before[both], run.values[both], rtol=1e-3, atol=1e-6):
        raise OutputError(
            f"the reward {next(iter(run.scores))!r} gives other values than when this run began; "
            "restore it, or start anew in another folder (nothing was overwritten)"
        )


def _watch(
    progress: Callable[[Progress], None], so_far: Progress, size: int
) -> Callable[[int, Particles], None]:
    """What tells `progress` of each step of a block of `size` designs."""

    def on_step(step: int, particles: Particles) -> None:
        best = float(np.fmax(so_far.best, _highest(particles)))
        cost = so_far.cost + particles.cost
        progress(replace(so_far, done=so_far.done + step * size, cost=cost, best=best))

    return on_step


def _highest(particles: Particles) -> float:
    fine = particles.value[particles.value.isfinite()]
    return float(fine.max()) if len(fine) else float("nan")

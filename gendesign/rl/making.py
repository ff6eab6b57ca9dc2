"""The episodes of one synthetic set, as often as they are asked for: block after block, from disk or new."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any, cast

import numpy as np
import torch

from gendesign.backbone import Backbone
from gendesign.blocks import BLOCK, Progress, sample_block
from gendesign.designs import Array
from gendesign.errors import ConfigError, DataError, UnsupportedError
from gendesign.rl.episodes import episode_of, pieces
from gendesign.rl.trajectories import About, Episode
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.steering.guidance import Guidance
from gendesign.steering.particles import Cost, Plan, make_plan
from gendesign.steering.policy_guidance import PolicyGuidance
from gendesign.steering.sampler import Sampler, Steering
from gendesign.steering.unsteered import Unsteered
from gendesign.storage import Store

Filter = Callable[..., Sequence[Episode]]
"""Takes episodes and `generator=`, a generator of numpy; gives those to keep, perhaps shorter."""

FRUITLESS = 50
"""Blocks in a row that may leave no episode, before a run gives up."""


@dataclass
class Tally:
    """What was made so far; see `gendesign.rl.synthesis.SyntheticSet`."""

    steps: int = 0
    episodes: int = 0
    lost: int = 0
    filtered: int = 0
    cost: Cost = field(default_factory=Cost)


@dataclass
class Making:
    """One run.

    Args:
        sampler: the method, bound to the backbone.
        store: keeps finished blocks.
        about: bounds that observations and actions keep.
        dtype: of observations.
        backbone: as in `synthesize`, and so the rest.

    Raises:
        ConfigError: initial states that are none, or an overlap of whole segments.
        UnsupportedError: the method cannot hold different rows of different designs.
    """

    backbone: Backbone
    steering: Steering
    sampler: Sampler
    steps: int
    seed: int
    horizon: int
    overlap: int
    start: Any
    filters: tuple[Filter, ...]
    store: Store
    num_steps: int
    progress: Callable[[Progress], None] | None
    about: About
    dtype: str

    def __post_init__(self) -> None:
        self.codec = cast(TrajectoryCodec, self.backbone.codec)
        rows = self.codec.steps
        if self.horizon >= rows and self.overlap >= rows:
            raise ConfigError(f"overlap must be below the {rows} rows of a segment, got {self.overlap}")
        # rows of the first segment, and what each further one adds
        more = self.horizon + 1 - rows
        self.links = 1 if more <= 0 else 1 - (-more // (rows - self.overlap))
        starts = None if self.start is None else np.atleast_2d(np.asarray(self.start, dtype=np.float64))
        width = len(self.codec.observation_columns)
        if starts is not None and (
            starts.ndim != 2 or starts.shape[1] != width or not np.isfinite(starts).all()
        ):
            raise ConfigError(
                f"start must be an observation of {width} finite numbers, or several [n, {width}], got shape "
                f"{list(starts.shape)}"
            )
        self.starts = starts
        several = self.links > 1 or (starts is not None and len(starts) > 1)
        if several and not isinstance(self.steering, (Unsteered, Guidance, PolicyGuidance)):
            what = "a longer horizon than trained" if self.links > 1 else "several initial states"
            raise UnsupportedError(
                f"{type(self.steering).__name__} cannot do {what}; use Unsteered, Guidance or PolicyGuidance"
            )
        self.plan = make_plan(self.backbone, steps=self.steps)
        self.tally = Tally()

    def episodes(self) -> Iterator[Episode]:
        """Episodes until there are enough transitions; what is on disk is read."""
        self.tally = tally = Tally()
        each = max(1, (self.codec.steps - 1) // self.horizon) * self.horizon
        blocks = -(-self.num_steps // (each * BLOCK))
        so_far = Progress("segments", 0, blocks * BLOCK * self.links * self.plan.steps, Cost(), float("nan"))
        fruitless = 0
        for number in count():
            rows, so_far = self._rows(number, so_far)
            tally.cost = so_far.cost
            found = self._cut(rows)
            kept: Sequence[Episode] = found
            for place, one in enumerate(self.filters):
                kept = one(kept, generator=np.random.default_rng([self.seed, number, place]))
            tally.filtered += len(found) - len(kept)
            fruitless = 0 if len(kept) else fruitless + 1
            if fruitless == FRUITLESS:
                raise DataError(
                    f"the last {FRUITLESS * BLOCK} segments left no episode (filters took {tally.filtered}, "
                    f"{tally.lost} were not finite); loosen the filters or the guidance"
                )
            for episode in kept:
                tally.episodes, tally.steps = tally.episodes + 1, tally.steps + len(episode)
                yield episode
                if tally.steps >= self.num_steps:
                    return

    def _rows(self, number: int, so_far: Progress) -> tuple[Array, Progress]:
        """Block `number`: rows [64, R, n], R of all its links."""
        rows: Array | None = None
        for link in range(self.links):
            plan = self._plan(number, rows)
            block = sample_block(
                self.sampler, number, BLOCK, partial(_given, plan), seed=self.seed, store=self.store,
                so_far=replace(so_far, stage="segments" if not link else f"link{link} of segments"),
                progress=None if self.progress is None else self._told(so_far),
            )  # fmt: skip
            so_far = so_far.after(block, BLOCK * self.plan.steps)
            fresh = np.stack([np.asarray(design, dtype=np.float64) for design in block.designs])
            rows = fresh if rows is None else np.concatenate([rows, fresh[:, self.overlap :]], axis=1)
        assert rows is not None
        return rows, so_far

    def _told(self, so_far: Progress) -> Callable[[Progress], None]:
        def told(news: Progress) -> None:
            assert self.progress is not None
            self.progress(replace(news, stage="segments", total=max(news.total, news.done)))

        return told

    def _plan(self, number: int, rows: Array | None) -> Plan:
        """With what is given: an initial observation, or the last rows of the link before."""
        shape = (self.codec.steps, len(self.codec.columns))
        if rows is None:
            if self.starts is None:
                return self.plan
            given = np.full((len(self.starts), *shape), np.nan)
            given[:, 0, self.codec.observation_columns] = self.starts
            taken = given[(np.arange(BLOCK) + number * BLOCK) % len(given)] if len(given) > 1 else given
        else:
            taken = np.full((len(rows), *shape), np.nan)
            # what is not finite is lost anyway, and must not look free
            taken[:, : self.overlap] = np.nan_to_num(rows[:, -self.overlap :], posinf=0.0, neginf=0.0)
        encoded = torch.stack([self.codec.encode_template(each)[0] for each in taken]).to(
            self.backbone.device
        )
        return replace(self.plan, template=encoded[0] if len(encoded) == 1 else encoded)

    def _cut(self, rows: Array) -> list[Episode]:
        """Episodes of a block's rows."""
        found: list[Episode] = []
        whole_rows = rows[:, : self.horizon + 1] if self.links > 1 else rows
        for one in whole_rows:
            parts = pieces(one, self.horizon) if np.isfinite(one).all() else []
            self.tally.lost += not len(parts)
            made = (episode_of(part, self.codec, self.about, dtype=self.dtype) for part in parts)
            found += [each for each in made if each is not None]
        return found


def _given(plan: Plan, block: int, size: int) -> Plan:
    return plan

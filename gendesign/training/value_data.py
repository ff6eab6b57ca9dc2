"""Roll-outs of a backbone: the noisy states that base trajectories pass through, and the rewards they end with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gendesign.backbone import BLOCK, Backbone
from gendesign.building import describe, whole
from gendesign.data.batching import Batch
from gendesign.data.streams import Index, StreamDataModule
from gendesign.determinism import generator
from gendesign.errors import ConfigError, DataError
from gendesign.loading import load_backbone
from gendesign.rewards.base import Reward
from gendesign.rewards.catalog import load_reward
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import Sampler

log = logging.getLogger(__name__)


class RollOuts(StreamDataModule):
    """Base trajectories, drawn when training starts: a function of the seed, so that a killed run repeats them.

    A batch is a dictionary: `x` (the states), `t` Float[B] (their times), `reward` Float[B], `weight` and `position`.
    An epoch visits each trajectory once, at one of its states.

    Args:
        backbone: what is rolled out: a shipped name, a folder, a hub id, or a backbone.
        reward: what the designs are scored with: a shipped name, a folder or file, or a reward.
        num: trajectories.
        steps: reverse steps of each.
        val_fraction: share of the trajectories held out for validation; as many again are not.
        batch_size: states of a training batch, over all processes.
        eval_batch_size: states of a validation batch.
        seed: of the trajectories, the split and the order.
        device: where to roll out.
        trust: packages besides gendesign whose classes named configurations may use.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(
        self,
        backbone: str | Backbone,
        reward: str | Reward,
        *,
        num: int = 2048,
        steps: int = 80,
        val_fraction: float = 0.1,
        batch_size: int = 256,
        eval_batch_size: int = 1024,
        seed: int = 0,
        device: str = "cpu",
        trust: Sequence[str] = (),
    ) -> None:
        super().__init__("roll-outs", batch_size=batch_size, eval_batch_size=eval_batch_size, seed=seed)
        self.backbone = (
            load_backbone(backbone, device=device, trust=trust) if isinstance(backbone, str) else backbone
        )
        self.reward = load_reward(reward, device=device, trust=trust) if isinstance(reward, str) else reward
        self.num = whole("num", num, at_least=2)
        self.steps = whole("steps", steps)
        if not 0 < val_fraction < 1:
            raise ConfigError(f"val_fraction must be between 0 and 1, got {val_fraction}")
        self.num_val = max(1, round(val_fraction * num))
        self._x: Tensor | None = None

    def setup(self, stage: str) -> None:
        """Roll out, once."""
        if self._x is None:
            self._roll_out()
        super().setup(stage)

    def _roll_out(self) -> None:
        sampler, plan = Sampler(self.backbone, None), make_plan(self.backbone, steps=self.steps)
        states, times, designs = [], [], []
        for block, start in enumerate(range(0, self.num, BLOCK)):
            noise = generator(self.seed, "roll-out", block, device=self.backbone.device)
            particles = sampler.init(min(BLOCK, self.num - start), plan, generator=noise)
            path = []
            for step in range(plan.steps):
                path.append((particles.x, particles.t))
                particles = sampler.step(particles, step, plan, generator=noise)
            states.append(torch.stack([x for x, _ in path], 1).cpu())
            times.append(torch.stack([t for _, t in path], 1).cpu())
            designs += self.backbone.codec.decode(particles.x)
        scores = self.reward(designs)
        fine = torch.from_numpy(scores.ok)
        if int(fine.sum()) < 2:
            why = next((message for message in scores.message if message), "no reason given")
            raise DataError(f"{self.reward.label} scored {int(fine.sum())} of {self.num} roll-outs ({why})")
        if not bool(fine.all()):
            log.info("%d of %d roll-outs have no reward and are left out", int((~fine).sum()), self.num)
        x, t = torch.cat(states)[fine], torch.cat(times)[fine]
        self._x = x.to(torch.int16) if not x.is_floating_point() else x.float()
        self._t = t.double()
        self.rewards = torch.from_numpy(scores.values)[fine]
        order = np.random.default_rng([self.seed, 1]).permutation(len(x))
        self._val = np.sort(order[: min(self.num_val, len(x) - 1)])

    def indices(self, split: str) -> Index:
        """States of a split: of the trajectories that are held out, or of the others; there are none for testing."""
        assert self._x is not None
        held = np.isin(np.arange(len(self._x)), self._val)
        chosen = {"train": ~held, "val": held, "test": np.zeros_like(held)}[split].nonzero()[0]
        steps = self._x.shape[1]
        return (chosen[:, None] * steps + np.arange(steps)).ravel().astype(np.int64)

    def _groups(self, rows: Index) -> list[Index]:
        assert self._x is not None
        return list(rows.reshape(-1, self._x.shape[1]))

    def collate(self, rows: Index) -> Batch:
        """States, times and rewards."""
        assert self._x is not None
        place = torch.from_numpy(rows)
        which, step = place // self._x.shape[1], place % self._x.shape[1]
        x = self._x[which, step]
        return {
            "x": x if x.is_floating_point() else x.long(),
            "t": self._t[which, step],
            "reward": self.rewards[which],
            "weight": torch.ones(len(rows)),
        }

    def describe(self) -> dict[str, Any]:
        """What to write down of the roll-outs, as plain values."""
        known = {key: self.backbone.provenance.get(key) for key in ("name", "weights_sha256")}
        label = self.reward.label
        try:
            reward = describe(self.reward)
        except ConfigError:
            reward = label
        return {
            "backbone": known,
            "reward": reward,
            "label": label,
            "unit": self.reward.unit,
            "num": self.num,
            "steps": self.steps,
            "seed": self.seed,
        }

"""Plain sampling from the backbone: the base of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator

from gendesign.backbone import Backbone
from gendesign.rewards.base import Reward
from gendesign.steering.sampler import Cost, Particles, Plan, Sampler, Steering


@dataclass(frozen=True)
class Unsteered(Steering):
    """Sample p(x); a reward is not looked at."""

    def __call__(self, backbone: Backbone, reward: Reward | None = None) -> UnsteeredSampler:
        """Bind the method to a backbone."""
        return UnsteeredSampler(backbone, None)

    def bound(self, num: int, plan: Plan) -> Cost:
        """One evaluation a step."""
        return Cost(network_rows=num * plan.steps)


class UnsteeredSampler(Sampler):
    """x_s ~ p(x_s | x_t), step after step."""

    def step(self, particles: Particles, step: int, plan: Plan, *, generator: Generator) -> Particles:
        """Draw the next state of each particle."""
        x = self.candidates(particles, 1, step, plan, generator=generator)[0]
        parent = torch.arange(len(particles), device=x.device)
        return self.children(particles, x, parent, step, plan, generator=generator)

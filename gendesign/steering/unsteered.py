"""Plain sampling from the backbone: the base of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

from gendesign.backbone import Backbone
from gendesign.rewards.base import Reward
from gendesign.steering.particles import Cost, Plan
from gendesign.steering.sampler import Sampler, Steering


@dataclass(frozen=True)
class Unsteered(Steering):
    """Sample p(x); a reward is not looked at."""

    def __call__(self, backbone: Backbone, reward: Reward | None = None) -> Sampler:
        """Bind the method to a backbone."""
        return Sampler(backbone, None)

    def bound(self, num: int, plan: Plan) -> Cost:
        """One evaluation a step."""
        return Cost(network_rows=num * plan.steps)

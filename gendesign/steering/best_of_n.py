"""Best-of-N: draw N designs from the backbone and keep one, the baseline of every steering method.

Keeping the best costs KL = log N - (N - 1)/N at most (Beirami et al. 2024, arXiv 2401.01879). Keeping one drawn with
weights exp(r/alpha) is importance resampling of p*(x) ∝ p(x) exp(r(x)/alpha), exact as N grows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.building import whole
from gendesign.divergences import Divergence
from gendesign.errors import ConfigError
from gendesign.rewards.base import Reward
from gendesign.steering.particles import Cost, Particles, Plan
from gendesign.steering.resampling import best_log_weights, best_of_kl, choose, selection_kl
from gendesign.steering.sampler import Sampler, Steering, run_sampler, temperature
from gendesign.steering.value import PosteriorMode, score_distinct

PILOT = 64
"""Base designs from which alpha is chosen."""


@dataclass(frozen=True)
class BestOfN(Steering):
    """Keep one of N.

    Args:
        candidates: N, designs drawn for each one kept.
        selection: "best" keeps the highest reward; "resample" draws with weights exp(r/alpha).
        alpha: temperature in the reward's unit, for "resample".
        divergence: whose best law "resample" approaches as N grows; None: reverse KL, weights exp(r/alpha).
    """

    candidates: int = 10
    selection: Literal["best", "resample"] = "best"
    alpha: float | Literal["auto"] = "auto"
    divergence: Divergence | None = None

    sized_by = "candidates"

    def __post_init__(self) -> None:
        whole("candidates", self.candidates)
        if self.selection not in ("best", "resample"):
            raise ConfigError(f"selection must be 'best' or 'resample', got {self.selection!r}")
        if self.alpha != "auto":
            temperature(self.alpha)

    def __call__(self, backbone: Backbone, reward: Reward | None) -> BestOfNSampler:
        """Bind the method to a backbone and a reward."""
        return BestOfNSampler(backbone, self.require(reward), self)

    def bound(self, num: int, plan: Plan) -> Cost:
        """N evaluations a step, N rewards a design."""
        return Cost(network_rows=num * self.candidates * plan.steps, reward_calls=num * self.candidates)

    def pilot(
        self, backbone: Backbone, reward: Reward, plan: Plan, *, generator: Generator
    ) -> tuple[Float[Tensor, "G M"], Cost]:
        """Rewards of base designs in groups that would compete: of N, under one template."""
        size = min(self.candidates, PILOT)
        base = Sampler(backbone, None, particles_per_design=size)
        final = run_sampler(base, PILOT // size, plan, generator=generator)
        values, _, calls = score_distinct(reward, backbone.codec.decode(final.x))
        return torch.from_numpy(values).view(-1, size), final.cost + Cost(reward_calls=calls)

    def pilot_bound(self, plan: Plan) -> Cost:
        """The base designs and their rewards."""
        return Cost(network_rows=PILOT * plan.steps, reward_calls=PILOT)


class BestOfNSampler(Sampler):
    """Unsteered particles, N a design; the choice comes at the end."""

    def __init__(self, backbone: Backbone, reward: Reward, method: BestOfN) -> None:
        super().__init__(backbone, None, particles_per_design=method.candidates)
        self.method = method
        self.judge = reward
        self.temperature = temperature(method.alpha) if method.selection == "resample" else None

    def finish(self, particles: Particles, plan: Plan, *, generator: Generator) -> Particles:
        """Score the N designs of each group and keep one; one that cannot be scored loses to any that can."""
        n = self.method.candidates
        look = PosteriorMode()  # nothing is masked any more: this is the reward itself
        found = look(
            self.judge,
            self.backbone.codec,
            particles.x,
            particles.t,
            particles.prediction,
            alpha=self.temperature or 1.0,
            generator=generator,
        )
        reward, ok = found.values.view(-1, n), found.ok.view(-1, n)
        if self.temperature is None:
            log_w = best_log_weights(reward, ok)
            kl = torch.full_like(reward[:, 0], best_of_kl(n))
        else:
            reward = torch.where(ok, reward, -torch.inf)
            # a group without any score keeps an arbitrary member, whose status says what is wrong
            reward = torch.where(ok.any(-1, keepdim=True), reward, 0.0)
            divergence = self.method.divergence
            log_w = (
                reward / self.temperature
                if divergence is None
                else divergence.log_weights(reward, self.temperature)
            )
            kl = selection_kl(log_w)
        row = choose(log_w, generator=generator)
        index = torch.arange(len(reward), device=row.device) * n + row
        kept = replace(particles, value=found.values, ok=found.ok)[index]
        return replace(kept, kl=kl, cost=particles.cost + Cost(reward_calls=found.reward_calls))

"""The pilot from which alpha="auto" is chosen: values of states that would compete with each other.

Base particles walk down; at a few steps along the way each draws candidates for its next state, whose values are
compared. `gendesign.steering.resampling.temperature_for` turns them into a temperature.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.rewards.base import Reward
from gendesign.steering.particles import Cost, Plan
from gendesign.steering.sampler import Sampler
from gendesign.steering.value import Value

PARTICLES, LOOKS, CANDIDATES = 32, 8, 10
"""Base particles, the steps at which their candidates are valued, and how many of these each has by default."""


def competing_values(
    backbone: Backbone,
    reward: Reward,
    value: Value,
    plan: Plan,
    *,
    candidates: int = CANDIDATES,
    generator: Generator,
) -> tuple[Float[Tensor, "G M"], Cost]:
    """Values of the candidates of base particles, at a few steps along the way.

    Args:
        backbone: what is sampled.
        reward: what is wanted.
        value: gives candidates their values.
        plan: of the run.
        candidates: M.
        generator: of the pilot's randomness.

    Returns:
        Values in the reward's unit, NaN where unknown, one group a particle and look; and what they cost.
    """
    walker = Sampler(backbone, None)
    # at a huge alpha a soft value is the mean: the temperature is not known yet
    looker = Sampler(backbone, reward, value=value, alpha=1e9)
    looks = {round((i + 0.5) * plan.steps / LOOKS) for i in range(LOOKS)}
    particles = walker.init(PARTICLES, plan, generator=generator)
    parent = torch.arange(PARTICLES, device=particles.x.device).repeat_interleave(candidates)
    groups, cost = [], Cost()
    for step in range(plan.steps):
        if step in looks:
            law, _ = walker.transitions(particles, step, plan)
            x = law.sample(candidates, generator=generator).transpose(0, 1).flatten(0, 1)
            before = replace(particles, cost=Cost())
            seen = looker.children(before, x, parent, step, plan, generator=generator)
            groups.append(seen.value.view(PARTICLES, candidates).cpu())
            cost = cost + seen.cost
        particles = walker.step(particles, step, plan, generator=generator)
    return torch.cat(groups), cost + particles.cost


def pilot_cost(value: Value, plan: Plan, *, candidates: int = CANDIDATES) -> Cost:
    """The most that `competing_values` can spend."""
    looks = PARTICLES * candidates * LOOKS
    return Cost(
        network_rows=PARTICLES * plan.steps + looks,
        # states of the last look may be clean: they are scored whatever the value
        reward_calls=looks * max(1, value.rewards_per_state),
        value_rows=looks * value.reads_per_state,
    )

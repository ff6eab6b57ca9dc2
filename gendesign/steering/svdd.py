"""SVDD: soft value-based decoding.

At each reverse step draw M candidates from p(x_s | x_t), give each a value v(x_s), and keep one drawn with probability
proportional to exp(v(x_s)/alpha). The reward needs no gradient; with the exact soft value and exact transitions the
designs follow p*(x) ∝ p(x) exp(r(x)/alpha) as M grows. Where look-aheads tell little, and a path is often led astray,
several paths a design, of which the best is kept, find more than as many more candidates do.

Li et al. 2024, Derivative-Free Guidance in Continuous and Discrete Diffusion Models with Soft Value-Based Decoding,
arXiv 2408.08252, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.building import whole
from gendesign.divergences import Divergence
from gendesign.errors import ConfigError
from gendesign.rewards.base import Reward
from gendesign.steering.needs import Needs
from gendesign.steering.particles import Cost, Particles, Plan
from gendesign.steering.pilot import competing_values, pilot_cost
from gendesign.steering.proposals import Base, Proposal, log_ratio
from gendesign.steering.resampling import best_log_weights, best_of_kl, choose, selection_kl
from gendesign.steering.sampler import Sampler, Steering, alpha_of, most_spent, temperature
from gendesign.steering.value import PosteriorMode, Value


@dataclass(frozen=True)
class SVDD(Steering):
    """Keep the most valuable of M candidates, at every step.

    Args:
        candidates: M, candidates a design and step.
        alpha: temperature in the reward's unit: smaller is greedier. "auto" aims at a stated effective sample size.
        selection: "categorical" draws with probability ∝ exp(v/alpha); "argmax" is its limit alpha -> 0, what published
            code does.
        value: gives candidates their values: `PosteriorMode`, `PosteriorSamples`, or a learned one.
        divergence: whose weights the choice within a step follows; None: reverse KL, exp(v/alpha). With another one the
            designs follow no known law: soft values belong to the KL.
        proposal: what candidates are drawn from; where it is not p(x_s | x_t) itself, they are weighted by p/q too.
        paths: independent runs of the algorithm for each design, of which the one of highest reward is kept: with more
            than one, designs are greedier than p*.
    """

    candidates: int = 10
    alpha: float | Literal["auto"] = "auto"
    selection: Literal["categorical", "argmax"] = "categorical"
    value: Value = field(default_factory=PosteriorMode)
    proposal: Proposal = field(default_factory=Base)
    divergence: Divergence | None = None
    paths: int = 1

    sized_by = "candidates"

    def __post_init__(self) -> None:
        whole("candidates", self.candidates), whole("paths", self.paths)
        object.__setattr__(self, "alpha", alpha_of(self.alpha, self.value))
        if self.selection not in ("categorical", "argmax"):
            raise ConfigError(f"selection must be 'categorical' or 'argmax', got {self.selection!r}")
        if self.alpha != "auto":
            temperature(self.alpha)

    @property
    def needs(self) -> Needs:
        """What the proposal needs."""
        return Needs() | self.proposal.needs

    def __call__(self, backbone: Backbone, reward: Reward | None) -> SVDDSampler:
        """Bind the method to a backbone and a reward."""
        return SVDDSampler(backbone, self.require(reward, backbone), self)

    def bound(self, num: int, plan: Plan) -> Cost:
        """M evaluations a step and path, and one to begin with; a reward for each look-ahead."""
        paths = num * self.paths
        return most_spent(self.value, self.proposal, plan, [paths] + [paths * self.candidates] * plan.steps)

    def pilot(
        self, backbone: Backbone, reward: Reward, plan: Plan, *, generator: Generator
    ) -> tuple[Float[Tensor, "G M"], Cost]:
        """Values of the candidates of base particles, at a few steps along the way."""
        return competing_values(
            backbone, reward, self.value, plan, candidates=self.candidates, generator=generator
        )

    def pilot_bound(self, plan: Plan) -> Cost:
        """The walk of the base particles, and their candidates at each look."""
        return pilot_cost(self.value, plan, candidates=self.candidates)


class SVDDSampler(Sampler):
    """Algorithm 1."""

    def __init__(self, backbone: Backbone, reward: Reward, method: SVDD) -> None:
        # argmax needs no temperature, unless the value does
        greedy = method.selection == "argmax" and method.alpha == "auto"
        alpha = 1.0 if greedy else temperature(method.alpha)
        super().__init__(
            backbone,
            reward,
            value=method.value,
            alpha=alpha,
            particles_per_design=method.paths,
            proposal=method.proposal,
        )
        self.method = method

    def step(self, particles: Particles, step: int, plan: Plan, *, generator: Generator) -> Particles:
        """Draw, value, keep."""
        m, b = self.method.candidates, len(particles)
        # 1. M candidates from the proposal, the candidates of one particle side by side
        q, p = self.transitions(particles, step, plan)
        drawn = q.sample(m, generator=generator)
        ratio = log_ratio(p, q, drawn).T
        parent = torch.arange(b, device=drawn.device).repeat_interleave(m)
        # 2. their values (and predictions, of which the winner's serves the next step)
        ahead = self.children(
            particles, drawn.transpose(0, 1).flatten(0, 1), parent, step, plan, generator=generator
        )
        last = step + 1 == plan.steps
        log_w = self._log_weights(ahead.value.view(b, m), ahead.ok.view(b, m), last=last) + ratio
        # 3. keep one, with probability ∝ exp(v/alpha) p/q
        row = choose(log_w, generator=generator)
        kept = row + torch.arange(b, device=drawn.device) * m
        # a choice among paths prefers some choices within them: then only what was chosen counts, not its mean
        index = None if self.method.paths == 1 else row
        spent = selection_kl(log_w, None if q is p else ratio, index=index)
        return replace(ahead[kept], kl=particles.kl + spent)

    def finish(self, particles: Particles, plan: Plan, *, generator: Generator) -> Particles:
        """Keep the best path of each design."""
        n = self.method.paths
        if n == 1:
            return particles
        log_w = best_log_weights(particles.value.view(-1, n), particles.ok.view(-1, n))
        row = choose(log_w, generator=generator)
        kept = particles[row + torch.arange(len(row), device=row.device) * n]
        return replace(kept, kl=kept.kl + best_of_kl(n))

    def _log_weights(self, value: Float[Tensor, "B M"], ok: Tensor, *, last: bool) -> Float[Tensor, "B M"]:
        """v/alpha, or its argmax limit; a candidate without any value counts as its siblings' mean."""
        known = ~value.isnan()
        mean = torch.where(known, value, 0.0).sum(-1, keepdim=True) / known.sum(-1, keepdim=True).clamp(min=1)
        value = torch.where(known, value, mean)
        if last:  # only the clean design's own status excludes it, where a sibling can be scored
            value = torch.where(ok | ~ok.any(-1, keepdim=True), value, -torch.inf)
        if self.method.selection == "argmax":
            return torch.where(value == value.amax(-1, keepdim=True), 0.0, -torch.inf)
        if self.method.divergence is None:
            return value / self.alpha
        return self.method.divergence.log_weights(value, self.alpha)

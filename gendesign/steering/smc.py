"""SMC: particles that are weighted and resampled on their way down, each design a group of its own.

    x_s ~ q(. | x_t),   log w <- log w + log G + log p(x_s | x_t) - log q(x_s | x_t),

with potentials G whose product along any path is exp(r(x_0)/alpha): the last one is on the true reward. Weights are
accumulated; a group is resampled when its effective sample size falls, and its particles then share the mean weight, so
that the mean of the last weights is an unbiased estimate of Z = E_p[exp(r/alpha)], whatever the potential and proposal.

Singhal et al. 2025, A General Framework for Inference-time Scaling and Steering of Diffusion Models, arXiv 2501.06848
(potentials); Wu et al. 2023, Practical and Asymptotically Exact Conditional Sampling in Diffusion Models (TDS),
arXiv 2306.17775 (twisted proposals).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.building import finite, whole
from gendesign.errors import ConfigError
from gendesign.rewards.base import Reward
from gendesign.steering.needs import Needs
from gendesign.steering.particles import Cost, Particles, Plan
from gendesign.steering.pilot import competing_values, pilot_cost
from gendesign.steering.proposals import Base, Proposal, log_ratio
from gendesign.steering.resampling import choose, effective_sample_size, resample
from gendesign.steering.sampler import Sampler, Steering, alpha_of, most_spent, temperature
from gendesign.steering.value import PosteriorMode, Value


@dataclass(frozen=True)
class SMC(Steering):
    """Resample P particles a design in proportion to what they promise.

    Args:
        particles: P.
        alpha: temperature in the reward's unit: smaller is greedier. "auto" aims at a stated effective sample size.
        potential: "difference" weighs each step by exp((v_s - v_t)/alpha), the only one that stays well-conditioned as
            steps grow. "max" and "sum" weigh it by the best value, or the sum of values, on the way so far: properly
            weighted all the same, but the last potential takes back ever more, and weights degenerate with many steps.
        resampling: "systematic" has less variance than "multinomial".
        ess_threshold: a group is resampled when its effective sample size is below this share of P; 0 never, 1 always.
        schedule: numbers of the steps (from 0) after which every group is resampled, instead of `ess_threshold`.
        proposal: what steps are drawn from; its weights are corrected by p/q.
        value: gives noisy states their values.
        keep: "resample" leaves one particle a design, drawn with its weight; "best" the one of highest reward, which is
            greedier than p*; "weighted" all of them, with `log_weight`.

    Raises:
        ConfigError: a setting out of range.
    """

    particles: int = 10
    alpha: float | Literal["auto"] = "auto"
    potential: Literal["difference", "max", "sum"] = "difference"
    resampling: Literal["systematic", "multinomial"] = "systematic"
    ess_threshold: float = 0.5
    schedule: Sequence[int] | None = None
    proposal: Proposal = field(default_factory=Base)
    value: Value = field(default_factory=PosteriorMode)
    keep: Literal["resample", "best", "weighted"] = "resample"

    sized_by = "particles"

    def __post_init__(self) -> None:
        whole("particles", self.particles)
        choices = {
            "potential": ("difference", "max", "sum"),
            "resampling": ("systematic", "multinomial"),
            "keep": ("resample", "best", "weighted"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if not 0 <= finite("ess_threshold", self.ess_threshold) <= 1:
            raise ConfigError(f"ess_threshold must be from 0 to 1, got {self.ess_threshold:g}")
        for step in self.schedule or ():
            whole("schedule", step, at_least=0)
        object.__setattr__(self, "alpha", alpha_of(self.alpha, self.value))
        if self.alpha != "auto":
            temperature(self.alpha)

    @property
    def needs(self) -> Needs:
        """What the proposal needs."""
        return Needs(density=True) | self.proposal.needs

    @property
    def leaves_particles(self) -> bool:
        """With keep="weighted"; `run_sampler` returns them."""
        return self.keep == "weighted"

    def __call__(self, backbone: Backbone, reward: Reward | None) -> SMCSampler:
        """Bind the method to a backbone and a reward."""
        return SMCSampler(backbone, self.require(reward, backbone), self)

    def bound(self, num: int, plan: Plan) -> Cost:
        """One evaluation a step and particle; a reward for each look-ahead, and what the proposal scores."""
        return most_spent(self.value, self.proposal, plan, [num * self.particles] * (1 + plan.steps))

    def pilot(
        self, backbone: Backbone, reward: Reward, plan: Plan, *, generator: Generator
    ) -> tuple[Float[Tensor, "G M"], Cost]:
        """Values of candidates of base particles, as many as SVDD has by default: the two then share an alpha."""
        return competing_values(backbone, reward, self.value, plan, generator=generator)

    def pilot_bound(self, plan: Plan) -> Cost:
        """The walk of the base particles, and their candidates at each look."""
        return pilot_cost(self.value, plan)


class SMCSampler(Sampler):
    """Propose, weigh, resample.

    The `state` of its particles holds, for each, the last value (of the path so far: its maximum, its sum) and the log
    of the product of potentials.
    """

    def __init__(self, backbone: Backbone, reward: Reward, method: SMC) -> None:
        super().__init__(
            backbone,
            reward,
            value=method.value,
            alpha=temperature(method.alpha),
            particles_per_design=method.particles,
            proposal=method.proposal,
        )
        self.method = method

    def init(self, num: int, plan: Plan, *, generator: Generator) -> Particles:
        """Pure noise, weighted by the first potential."""
        noise = super().init(num, plan, generator=generator)
        none = torch.zeros_like(noise.value)
        if self.method.potential == "max":
            none = none - torch.inf
        return self.weigh(replace(noise, state=torch.stack([none, torch.zeros_like(none)], -1)), 0.0)

    def step(self, particles: Particles, step: int, plan: Plan, *, generator: Generator) -> Particles:
        """One reverse step of all particles."""
        # 1. x_s ~ q(. | x_t)
        q, p = self.transitions(particles, step, plan)
        drawn = q.sample(1, generator=generator)
        # 2. predictions and values, one evaluation a particle
        parent = torch.arange(len(particles), device=drawn.device)
        ahead = self.children(particles, drawn[0], parent, step, plan, generator=generator)
        # 3. log w <- log w + log G + log p - log q
        last = step + 1 == plan.steps
        ahead = self.weigh(ahead, log_ratio(p, q, drawn)[0], last=last)
        # 4. groups that need it are resampled
        return ahead if last else self.resample(ahead, step, generator=generator)

    def weigh(
        self, particles: Particles, ratio: Float[Tensor, " B"] | float, *, last: bool = False
    ) -> Particles:
        """Multiply weights by the potential of each particle's value, and by p/q.

        Args:
            particles: at their new states.
            ratio: log p/q.
            last: the states are clean, and the potential makes the product exp(r/alpha).
        """
        assert particles.state is not None
        before, total = particles.state.unbind(-1)
        value = self._known(particles)
        path = {"difference": value, "max": torch.maximum(before, value), "sum": before + value}
        now = path[self.method.potential]
        product = value / self.alpha
        if self.method.potential != "difference" and not last:
            product = total + now / self.alpha
        log_w = particles.log_weight + (product - total) + ratio
        return replace(particles, log_weight=log_w, state=torch.stack([now, product], -1))

    def resample(self, particles: Particles, step: int, *, generator: Generator) -> Particles:
        """Resample the groups whose weights have become uneven, or all of them on schedule."""
        method, size = self.method, self.method.particles
        log_w = particles.log_weight.view(-1, size)
        index = resample(log_w, systematic=method.resampling == "systematic", generator=generator)
        if method.schedule is None:
            due = effective_sample_size(log_w) < method.ess_threshold * size * (1 + 1e-12)
        else:
            due = torch.full_like(log_w[:, 0], step in method.schedule, dtype=torch.bool)
        place = torch.arange(size, device=log_w.device)
        index = torch.where(due[:, None], index, place)
        start = torch.arange(len(log_w), device=log_w.device)[:, None] * size
        mean = (log_w.logsumexp(-1, keepdim=True) - math.log(size)).expand_as(log_w)
        chosen = particles[(index + start).flatten()]
        return replace(chosen, log_weight=torch.where(due[:, None], mean, log_w).flatten())

    def finish(self, particles: Particles, plan: Plan, *, generator: Generator) -> Particles:
        """Leave what `keep` says; a kept particle's `log_weight` is then its group's log Z-hat."""
        assert particles.state is not None
        size, keep = self.method.particles, self.method.keep
        ok = particles.ok.view(-1, size)
        # only the clean design's own status excludes it, where a sibling can be scored
        excluded = ~ok & ok.any(-1, keepdim=True)
        log_w = particles.log_weight.view(-1, size).masked_fill(excluded, -torch.inf)
        log_z = log_normaliser(log_w)
        product = particles.state[:, 1].view(-1, size)
        if keep == "weighted":
            kl = product - log_z[:, None]
            return replace(particles, log_weight=log_w.flatten(), kl=kl.flatten())
        if keep == "best":
            reward = product.masked_fill(excluded, -torch.inf)
            choice = torch.where(reward == reward.amax(-1, keepdim=True), 0.0, -torch.inf)
        else:
            choice = log_w
        row = choose(choice, generator=generator)[:, None]
        kept = particles[(row.squeeze(-1) + torch.arange(len(log_w), device=row.device) * size)]
        # log of (how the group and its choice came about) / (how with this one from the base): its mean is the bound
        log_mass = log_z[:, None] if keep == "resample" else log_w.gather(-1, row) - math.log(size)
        kl = (product.gather(-1, row) - log_mass).squeeze(-1)
        return replace(kept, log_weight=log_z, kl=kl)

    def _known(self, particles: Particles) -> Float[Tensor, " B"]:
        """Values; one that is unknown counts as its siblings' mean."""
        value = particles.value.view(-1, self.method.particles)
        known: Bool[Tensor, "G P"] = ~value.isnan()
        mean = torch.where(known, value, 0.0).sum(-1, keepdim=True) / known.sum(-1, keepdim=True).clamp(min=1)
        return torch.where(known, value, mean).flatten()


def log_normaliser(log_weights: Float[Tensor, "G P"]) -> Float[Tensor, " G"]:
    """Log Z-hat of each group: the log of the mean weight."""
    return log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])

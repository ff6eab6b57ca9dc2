"""Guidance: every step is drawn from a guided proposal, and nothing is weighted.

Cheap, one particle a design, and biased: by what the proposal approximates, and since no weight corrects it. With
`MaskedExact`, one token a step and the exact soft value it samples p*(x) ∝ p(x) exp(r(x)/alpha) itself; SMC with the
same proposal removes the bias as particles grow.

See `gendesign.steering.proposals` and `gendesign.steering.token_proposals` for the rules and their papers.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.solvers import Solver
from gendesign.diffusion.student_transition import MeanPrediction
from gendesign.errors import ConfigError
from gendesign.rewards.base import Reward
from gendesign.steering.needs import Needs, kind_of
from gendesign.steering.particles import Cost, Particles, Plan
from gendesign.steering.pilot import competing_values, pilot_cost
from gendesign.steering.proposals import (
    Base,
    GuidedMean,
    MeanGuidance,
    Proposal,
    VarianceAware,
    log_ratio,
)
from gendesign.steering.sampler import Sampler, Steering, alpha_of, temperature
from gendesign.steering.token_proposals import FirstOrder
from gendesign.steering.value import PosteriorMode, Value


@dataclass(frozen=True)
class Guidance(Steering):
    """Draw every step from a guided proposal.

    Args:
        alpha: temperature in the reward's unit: smaller guides harder. "auto" aims at a stated effective sample size of
            candidates, as in SVDD.
        proposal: the rule. None: `FirstOrder` for tokens, `VarianceAware` for numbers.
        solver: takes steps of the guided probability flow instead of random transitions (continuous only); what that
            costs in KL is not known.
        value: for proposals that read the values of states, and for the choice of alpha.

    Raises:
        ConfigError: a setting out of range.
    """

    alpha: float | Literal["auto"] = "auto"
    proposal: Proposal | None = None
    solver: Solver | None = None
    value: Value = field(default_factory=PosteriorMode)

    alternative = "SMC or SVDD"

    def __post_init__(self) -> None:
        if type(self.proposal) is Base:
            raise ConfigError("proposal=Base() guides nothing; leave it out, or use Unsteered")
        if self.solver is not None and not isinstance(self.proposal, MeanGuidance | None):
            raise ConfigError(f"{type(self.proposal).__name__} guides tokens, which no solver moves")
        object.__setattr__(self, "alpha", alpha_of(self.alpha, self.value))
        if self.alpha != "auto":
            temperature(self.alpha)

    @property
    def needs(self) -> Needs:
        """What the proposal needs; without one of its own, a gradient."""
        if self.proposal is None:
            process = None if self.solver is None else "continuous"
            return Needs(gradient=True, density=True, process=process)  # type: ignore[arg-type]
        return Needs() | self.proposal.needs

    def __call__(self, backbone: Backbone, reward: Reward | None) -> GuidanceSampler:
        """Bind the method to a backbone and a reward."""
        return GuidanceSampler(backbone, self.require(reward, backbone), self)

    def bound(self, num: int, plan: Plan) -> Cost:
        """One evaluation a step, and what the solver adds; what the proposal scores."""
        rule = VarianceAware() if self.proposal is None else self.proposal
        each = 1 if self.solver is None else self.solver.rows_per_step
        looks = [num * each] * plan.steps + [0]
        # particles never branch: where values do not depend on the time, no state is looked at twice
        scored = rule.bound(plan, looks, revisits=self.value.time_conditioned)
        return Cost(network_rows=sum(looks)) + scored

    def pilot(
        self, backbone: Backbone, reward: Reward, plan: Plan, *, generator: Generator
    ) -> tuple[Float[Tensor, "G M"], Cost]:
        """Values of candidates of base particles, as many as SVDD has by default."""
        return competing_values(backbone, reward, self.value, plan, generator=generator)

    def pilot_bound(self, plan: Plan) -> Cost:
        """The walk of the base particles, and their candidates at each look."""
        return pilot_cost(self.value, plan)


class GuidanceSampler(Sampler):
    """X_s ~ q(. | x_t)."""

    def __init__(self, backbone: Backbone, reward: Reward, method: Guidance) -> None:
        rule = method.proposal
        if rule is None:
            rule = FirstOrder() if kind_of(backbone) == "masked" else VarianceAware()
        super().__init__(
            backbone, reward, alpha=temperature(method.alpha), proposal=rule, solver=method.solver
        )
        # proposals may read the value of states; steps do not
        self.target = replace(self.target, value=method.value)

    def step(self, particles: Particles, step: int, plan: Plan, *, generator: Generator) -> Particles:
        """Take one guided step."""
        parent = torch.arange(len(particles), device=particles.x.device)
        if self.solver is not None:
            x, cost = self._solve(particles, step, plan, generator=generator)
            spent = replace(
                particles, cost=particles.cost + cost, kl=torch.full_like(particles.kl, torch.nan)
            )
            return self.children(spent, x, parent, step, plan, generator=generator)
        q, p = self.transitions(particles, step, plan)
        drawn = q.sample(1, generator=generator)
        # log q/p, whose mean is the divergence of this step's paths from the base's
        costs = replace(particles, kl=particles.kl - log_ratio(p, q, drawn)[0])
        return self.children(costs, drawn[0], parent, step, plan, generator=generator)

    def _solve(
        self, particles: Particles, step: int, plan: Plan, *, generator: Generator
    ) -> tuple[Tensor, Cost]:
        """A solver's step of the guided flow."""
        process, rule = self.backbone.process, self.proposal
        assert self.solver is not None and isinstance(process, PoissonFlow) and isinstance(rule, MeanGuidance)
        s, calls = self.next_time(particles, step, plan), Cost()
        on = not bool((s < rule.sigma_floor).any())

        def ask(x: Tensor, t: Tensor) -> MeanPrediction:
            nonlocal calls
            found = rule.predict(self.target, x, t, template=plan.template)
            assert isinstance(found, GuidedMean)
            calls = calls + Cost(reward_calls=found.reward_calls, lookahead_failures=found.failures)
            return found.moved() if on else found

        first = particles.prediction
        assert isinstance(first, GuidedMean)
        first = first.moved() if on else first
        solved = self.solver.step(process, ask, first, particles.x, particles.t, s, generator=generator)
        return solved.x, calls + Cost(network_rows=solved.rows)

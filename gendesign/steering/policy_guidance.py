"""Policy-guided diffusion: trajectories as the target policy would have made them, dynamics as in the data.

    p*(tau) ∝ p(tau) h(tau)^w,   log h = sum_h log pi(a_h | s_h).

It is gradient guidance whose reward is the policy's likelihood, in three modes:

- `exact`: the mean of N(x_hat_0, V) h^w with V = sigma^2 times the network's Jacobian, log h linearised in actions and
  observations (`CovarianceAware`). The only one that converges to p* where states and actions are correlated.
- `diagonal`: the variances alone, gradient to actions only (`VarianceAware`): x_hat_a moves by
  v_a / (v_a + sd^2) (mu(s) - x_hat_a) at w = 1. No backward pass through the network, and its answer does not depend on
  the number of steps; biased where actions are correlated with anything, or mu depends on s.
- `published`: before step i of n the state moves along the gradient G = d log h / d a at x_hat_0,

      x <- x + lambda_i G/|G|,   lambda_i = w ((n - i)/n + c sin(pi (i + 1)/n)),   lambda_{n-1} = 0,

  which is no posterior of anything: its answer depends on n, and collapses onto the policy's mode as n grows.

Both posterior rules are Gaussian: exact at D = inf at best. At finite D `exact` is refused, and `diagonal`
moves by the Gaussian rule with the variance that the network learned, an approximation.

Jackson et al. 2024, Policy-Guided Diffusion, arXiv 2404.06356.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.building import finite, whole
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.solvers import Solver
from gendesign.diffusion.student_transition import MeanPrediction
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards.base import Reward
from gendesign.rewards.policy import PolicyLikelihood
from gendesign.steering.covariance_proposal import CovarianceAware
from gendesign.steering.guidance import Guidance, GuidanceSampler
from gendesign.steering.needs import Needs
from gendesign.steering.particles import Cost, Particles, Plan
from gendesign.steering.proposals import VarianceAware, free
from gendesign.steering.sampler import Sampler, Steering
from gendesign.steering.tilting import expansion

Mode = Literal["exact", "diagonal", "published"]


@dataclass(frozen=True)
class PolicyGuidance(Steering):
    """Guide trajectories by a target policy. A reward, if there is one, judges them and steers nothing.

    Args:
        policy: pi, with `log_prob(actions, observations)`: see `gendesign.rl.policies`.
        mode: "exact", "diagonal" or "published".
        strength: w above: the power of the policy's likelihood; "published": lambda.
        solver: takes steps of the guided probability flow instead of random transitions.
        iterations: of conjugate gradients; in "exact" each passes backward through the network once.
        sigma_floor: steps that end below this noise level are not guided ("published" guides all but the last).
        cosine: "published": c, how much more guidance there is half-way.
        normalise: "published": the gradient of each trajectory has norm 1.

    Raises:
        ConfigError: a setting out of range.
    """

    policy: Any = None
    mode: Mode | str = "exact"
    strength: float = 1.0
    solver: Solver | None = None
    iterations: int = 4
    sigma_floor: float = 0.002
    cosine: float = 0.3
    normalise: bool = True

    alternative = "Guidance"
    needs = Needs(reward=False, process="continuous", trajectories=True)

    def __post_init__(self) -> None:
        if self.mode not in ("exact", "diagonal", "published"):
            raise ConfigError(f"mode must be exact, diagonal or published, got {self.mode!r}")
        finite("strength", self.strength, above=0.0)
        finite("cosine", self.cosine, at_least=0.0)
        finite("sigma_floor", self.sigma_floor, above=0.0)
        whole("iterations", self.iterations)

    def __call__(self, backbone: Backbone, reward: Reward | None = None) -> Sampler:
        """Bind the method to a backbone of trajectories.

        Raises:
            ConfigError: there is no policy.
            UnsupportedError: the backbone is none of trajectories, or not continuous; or "exact" at finite D.
        """
        missing = self.needs.unmet(backbone, reward)
        if missing:
            raise UnsupportedError(f"PolicyGuidance {missing}; use {self.alternative}")
        if self.policy is None:
            raise ConfigError(
                "PolicyGuidance needs policy=, such as gendesign.rl.policies.Gaussian(mean, std)"
            )
        both = self.mode == "exact"
        process = backbone.process
        if both and isinstance(process, PoissonFlow) and math.isfinite(process.aug_dim):
            raise UnsupportedError(
                "PolicyGuidance mode='exact' needs D = inf (EDM), where the network's Jacobian is the covariance; this "
                f"backbone has D = {process.aug_dim:g}: use mode='diagonal' or 'published'"
            )
        likelihood = PolicyLikelihood.of(self.policy, backbone.codec, gradient="both" if both else "actions")
        if self.mode == "published":
            return PublishedSampler(backbone, likelihood, self)
        return GuidanceSampler(backbone, likelihood, self._guidance())

    def _guidance(self) -> Guidance:
        cls = CovarianceAware if self.mode == "exact" else VarianceAware
        rule = cls(iterations=self.iterations, sigma_floor=self.sigma_floor)
        return Guidance(alpha=1 / self.strength, proposal=rule, solver=self.solver)

    def bound(self, num: int, plan: Plan) -> Cost:
        """As guidance; "published" predicts once more a step, from the state that it moved."""
        if self.mode != "published":
            return self._guidance().bound(num, plan)
        each = 2 if self.solver is None else 1 + self.solver.rows_per_step
        return Cost(network_rows=num * each * plan.steps, reward_calls=num * plan.steps)


class PublishedSampler(Sampler):
    """x <- x + lambda_i G/|G|, then the base's step."""

    def __init__(self, backbone: Backbone, likelihood: PolicyLikelihood, method: PolicyGuidance) -> None:
        super().__init__(backbone, likelihood, solver=method.solver)
        self.likelihood = likelihood
        self.method = method

    def step(self, particles: Particles, step: int, plan: Plan, *, generator: Generator) -> Particles:
        """Move, predict anew, and take the base's step."""
        weight = published_weights(plan.steps, self.method.strength, cosine=self.method.cosine)[step].item()
        if weight > 0:
            found = particles.prediction
            assert isinstance(found, MeanPrediction)
            g, _ = expansion(self.backbone, self.likelihood, found.mean, alpha=1.0)
            fine = g.isfinite().all(-1, keepdim=True)
            g = torch.where(fine & free(found, plan.template), g, 0.0)
            x = particles.x + weight * (unit(g) if self.method.normalise else g)
            with torch.no_grad():
                prediction = self.backbone.predict(x, particles.t, template=plan.template)
            spent = Cost(prediction.rows, len(x), int((~fine).sum()))
            particles = replace(particles, x=x, prediction=prediction, cost=particles.cost + spent)
        # no law of this step is known, so neither is its divergence
        particles = replace(particles, kl=torch.full_like(particles.kl, torch.nan))
        return super().step(particles, step, plan, generator=generator)


def published_weights(steps: int, strength: float, *, cosine: float) -> Float[Tensor, " n"]:
    """lambda_i = strength ((n - i)/n + cosine sin(pi (i + 1)/n)), and 0 for the last step."""
    i = torch.arange(steps, dtype=torch.float64)
    weights = strength * ((steps - i) / steps + cosine * torch.sin(math.pi * (i + 1) / steps))
    weights[-1] = 0.0
    return weights


def unit(g: Float[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """Rows of norm 1; a row of zeros stays one."""
    norm = g.norm(dim=-1, keepdim=True)
    return torch.where(norm > 0, g / norm, 0.0)

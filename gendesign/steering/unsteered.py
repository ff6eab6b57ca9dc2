"""Plain sampling from the backbone: the base of every comparison."""

from __future__ import annotations

from dataclasses import dataclass

from gendesign.backbone import Backbone
from gendesign.diffusion.solvers import Solver
from gendesign.rewards.base import Reward
from gendesign.steering.needs import Needs
from gendesign.steering.particles import Cost, Plan
from gendesign.steering.sampler import Sampler, Steering


@dataclass(frozen=True)
class Unsteered(Steering):
    """Sample p(x); a reward is not looked at.

    Args:
        solver: Euler, Heun or Churn on the probability flow of a continuous backbone; None takes random transitions,
            which every backbone has.
    """

    solver: Solver | None = None

    alternative = "Unsteered without a solver"

    @property
    def needs(self) -> Needs:
        """No reward; a solver needs a flow."""
        return Needs(reward=False, process=None if self.solver is None else "continuous")

    def __call__(self, backbone: Backbone, reward: Reward | None = None) -> Sampler:
        """Bind the method to a backbone."""
        return Sampler(backbone, None, solver=self.solver)

    def bound(self, num: int, plan: Plan) -> Cost:
        """One evaluation a step, and what the solver adds."""
        return Cost(network_rows=num * plan.steps * (1 if self.solver is None else self.solver.rows_per_step))

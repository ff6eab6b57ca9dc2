"""Proposals: what a step is drawn from instead of p(x_s | x_t), and how likely it was.

A proposal asks the network once and keeps, beside its prediction, the gradient or the differences of value that it
found (`predict`); `__call__` turns that into a transition q, whose log-density corrects the weights of particles.

- `Base`: p itself.
- `PlugIn` (DPS): x_hat_0 moves by sigma^2 grad_{x_t} r(x_hat_0(x_t))/alpha; one vector-Jacobian product of the network.
  Chung et al. 2022, Diffusion Posterior Sampling for General Noisy Inverse Problems, arXiv 2209.14687.
- `VarianceAware` (after PiGDM): x_hat_0 moves to the mean of N(x_hat_0, V) exp(r/alpha), r to second order: d solves
  (1/V - H/alpha) d = g/alpha, with g, H the reward's gradient and Hessian. No product through the network; correlations
  between coordinates are left out. Song et al. 2023, Pseudoinverse-Guided Diffusion Models for Inverse Problems (ICLR).
- `CovarianceAware`, the same with correlations: see `gendesign.steering.covariance_proposal`.
- `FirstOrder` and `MaskedExact`: see `gendesign.steering.token_proposals`.

Both continuous rules are Gaussian: exact at D = inf at best, and biased at finite D, where the score of the marginal is
not (x_hat_0 - x)/sigma^2. Particle weights undo the bias.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gendesign.backbone import Backbone
from gendesign.building import Configurable, finite, whole
from gendesign.diffusion.process import Prediction, Transition
from gendesign.diffusion.student_transition import MeanPrediction, StudentTransition
from gendesign.errors import UnsupportedError
from gendesign.rewards.base import Reward
from gendesign.steering.needs import Needs
from gendesign.steering.particles import Cost, Plan
from gendesign.steering.tilting import expansion, tilted_mean
from gendesign.steering.value import Value


@dataclass(frozen=True)
class Target:
    """What is aimed at: p(x) exp(r(x)/alpha).

    Attributes:
        backbone: p.
        reward: r.
        alpha: temperature, in the reward's unit.
        value: of noisy states, where a method has one.
    """

    backbone: Backbone
    reward: Reward | None
    alpha: float
    value: Value | None = None


class Guided:
    """What predictions carry that a proposal has looked at.

    Attributes:
        reward_calls: designs, or relaxed designs, scored for the proposal.
        failures: rows whose gradient was not finite; they are not guided.
        value_rows: noisy states that a value was read of.
    """

    reward_calls: int = 0
    failures: int = 0
    value_rows: int = 0


class Proposal(Configurable, ABC):
    """A rule that turns a prediction into the law of a step. This base class is p(x_s | x_t) itself."""

    needs: Needs = Needs(reward=False)
    alternative: str = "Base"
    """The nearest proposal without those needs."""
    rewards_per_step: int = 0
    """Designs, or relaxed designs, scored for each state that is looked at."""

    def predict(
        self, target: Target, x: Tensor, t: Float[Tensor, " B"], *, template: Tensor | None = None
    ) -> Prediction:
        """Ask the network once, and look where to go.

        Args:
            target: what is aimed at.
            x: states.
            t: their times.
            template: given coordinates.
        """
        return target.backbone.predict(x, t, template=template)

    def __call__(
        self, target: Target, prediction: Any, x: Tensor, t: Float[Tensor, " B"], s: Float[Tensor, " B"]
    ) -> tuple[Transition, Transition]:
        """The law q to draw x_s from, and p(x_s | x_t); the same object where the step is not guided."""
        p = target.backbone.process.transition(prediction, x, t, s)
        return p, p

    def bound(self, plan: Plan, states: Sequence[int], *, revisits: bool) -> Cost:
        """The most that its looks spend.

        Args:
            plan: of the run.
            states: how many states are looked at at the start, and after each step; the last, which are clean, cost
                nothing.
            revisits: whether one design's states may stand at the same positions masked more than once: particles that
                are drawn anew from others, candidates, values that depend on the time.
        """
        return Cost(reward_calls=sum(states[:-1]) * self.rewards_per_step)


class Base(Proposal):
    """P(x_s | x_t) itself."""


@dataclass(frozen=True)
class GuidedMean(MeanPrediction, Guided):
    """Clean mean and variance, and by how much guidance moves the mean.

    Attributes:
        shift: of the clean mean.
        reward_calls: see `Guided`.
        failures: see `Guided`.
    """

    shift: Float[Tensor, "B N"] = None  # type: ignore[assignment]
    reward_calls: int = 0
    failures: int = 0

    def __getitem__(self, index: Tensor) -> GuidedMean:
        chosen = super().__getitem__(index)
        return GuidedMean(chosen.mean, chosen.variance, mask=chosen.mask, shift=self.shift[index])

    def append(self, other: Prediction) -> GuidedMean:
        assert isinstance(other, GuidedMean)
        both = super().append(other)
        return GuidedMean(
            both.mean,
            both.variance,
            both.rows,
            both.mask,
            torch.cat([self.shift, other.shift]),
            self.reward_calls + other.reward_calls,
            self.failures + other.failures,
        )

    def moved(self) -> MeanPrediction:
        """The guided prediction, for solvers."""
        return MeanPrediction(self.mean + self.shift, self.variance, self.rows, self.mask)


class MeanGuidance(Proposal):
    """Base of continuous proposals: the clean mean moves, the scale of the step stays.

    Args:
        sigma_floor: steps that end below this noise level are not guided: the last one is deterministic, and
            log-density ratios explode on the way there.
    """

    needs = Needs(gradient=True, density=True, process="continuous")
    rewards_per_step = 1

    def __init__(self, *, sigma_floor: float = 0.05) -> None:
        self.sigma_floor = finite("sigma_floor", sigma_floor, above=0.0)

    def __call__(
        self, target: Target, prediction: Any, x: Tensor, t: Float[Tensor, " B"], s: Float[Tensor, " B"]
    ) -> tuple[Transition, Transition]:
        p = target.backbone.process.transition(prediction, x, t, s)
        if not isinstance(p, StudentTransition):
            raise UnsupportedError(f"{type(self).__name__} moves Student-t steps, this is {type(p).__name__}")
        return (p, p) if bool((s < self.sigma_floor).any()) else (p.moved(prediction.shift), p)

    def _below(self, t: Float[Tensor, " B"]) -> bool:
        """Whether no step from here on is guided."""
        return bool((t < self.sigma_floor).all())

    def _unguided(self, target: Target, x: Tensor, t: Tensor, template: Tensor | None) -> GuidedMean:
        prediction = target.backbone.predict(x, t, template=template)
        assert isinstance(prediction, MeanPrediction)
        return self._guided(prediction, torch.zeros_like(prediction.mean), template, calls=0)

    def _guided(
        self, prediction: MeanPrediction, shift: Float[Tensor, "B N"], template: Tensor | None, *, calls: int
    ) -> GuidedMean:
        """Keep the shift of rows where it is finite; fixed coordinates do not move."""
        fine = shift.isfinite().all(-1)
        shift = torch.where(fine[:, None] & free(prediction, template), shift, 0.0)
        return GuidedMean(
            prediction.mean.detach(),
            None if prediction.variance is None else prediction.variance.detach(),
            prediction.rows,
            prediction.mask,
            shift.detach(),
            calls,
            int((~fine).sum()),
        )


class PlugIn(MeanGuidance):
    """DPS: the gradient of r(x_hat_0(x_t)) with respect to x_t, through the network.

    Args:
        sigma_floor: steps that end below this noise level are not guided.
    """

    def predict(
        self, target: Target, x: Tensor, t: Float[Tensor, " B"], *, template: Tensor | None = None
    ) -> GuidedMean:
        if self._below(t):
            return self._unguided(target, x, t, template)
        with torch.enable_grad():
            leaf = x.detach().double().requires_grad_()
            prediction = target.backbone.predict(leaf, t, template=template)
            assert isinstance(prediction, MeanPrediction)
            value = relaxed_value(target, prediction.mean).sum()
            (gradient,) = torch.autograd.grad(value, leaf)
        shift = (t.double() ** 2)[:, None] * gradient / target.alpha
        return self._guided(prediction, shift, template, calls=len(x))


class VarianceAware(MeanGuidance):
    """The mean of N(x_hat_0, V) exp(r/alpha), with r expanded to second order at x_hat_0.

    Args:
        iterations: of preconditioned conjugate gradients, each one Hessian-vector product of the reward. The first
            already solves what has one curvature, such as a squared distance under an even variance.
        sigma_floor: steps that end below this noise level are not guided.
    """

    alternative = "PlugIn"

    def __init__(self, *, iterations: int = 1, sigma_floor: float = 0.05) -> None:
        super().__init__(sigma_floor=sigma_floor)
        self.iterations = whole("iterations", iterations)
        self.rewards_per_step = 1 + self.iterations

    def predict(
        self, target: Target, x: Tensor, t: Float[Tensor, " B"], *, template: Tensor | None = None
    ) -> GuidedMean:
        if self._below(t):
            return self._unguided(target, x, t, template)
        prediction = target.backbone.predict(x, t, template=template)
        assert isinstance(prediction, MeanPrediction)
        if prediction.variance is None:
            raise UnsupportedError(
                "VarianceAware needs the posterior variance, which this network does not predict; use PlugIn"
            )
        variance = prediction.variance
        assert target.reward is not None
        gradient, curvature = expansion(target.backbone, target.reward, prediction.mean, alpha=target.alpha)
        shift = tilted_mean(gradient, curvature, lambda r: variance * r, iterations=self.iterations)
        return self._guided(prediction, shift, template, calls=len(x) * self.rewards_per_step)


def free(prediction: MeanPrediction, template: Float[Tensor, " *B N"] | None) -> Bool[Tensor, "B N"]:
    """Coordinates that guidance may move: neither fixed nor given, and not known exactly."""
    movable = torch.ones_like(prediction.mean, dtype=torch.bool)
    if prediction.mask is not None:
        movable = movable & prediction.mask
    if template is not None:
        movable = movable & template.isnan()
    return movable if prediction.variance is None else movable & (prediction.variance > 0)


def relaxed_value(target: Target, mean: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
    """The differentiable reward of clean states, in the precision that networks compute in."""
    assert target.reward is not None
    codec = target.backbone.codec
    relaxed = codec.relax(mean).to(torch.get_default_dtype())
    return target.reward.relaxed(relaxed).double()


def log_ratio(p: Transition, q: Transition, drawn: Tensor) -> Float[Tensor, "M B"]:
    """Log p - log q of `drawn` [M, B, ...], in nats; 0 where q is p."""
    if q is p:
        return torch.zeros(drawn.shape[:2], dtype=torch.float64, device=drawn.device)
    return torch.stack([p.log_prob(x) - q.log_prob(x) for x in drawn])

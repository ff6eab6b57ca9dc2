"""The single loop that runs every steering method, and the state that it carries.

A `Sampler` is one method bound to a backbone and a reward: `init` makes particles of pure noise, `step` takes them one
reverse step further, `finish` leaves one particle a design. `run_sampler` is the only loop over steps.

No prediction is computed twice: a state that equals its parent, or another state of the step, shares its prediction and
its value, and the prediction of a chosen candidate is carried into the next step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.building import Configurable, finite
from gendesign.diffusion.process import Prediction, Transition, concatenate
from gendesign.diffusion.solvers import Solver
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards.base import Reward
from gendesign.steering.needs import Needs
from gendesign.steering.particles import Cost, Particles, Plan
from gendesign.steering.proposals import Base, Guided, Proposal, Target
from gendesign.steering.sharing import match
from gendesign.steering.value import Value


class Sampler:
    """A steering method bound to a backbone and a reward. This base class steers nothing: it samples p(x).

    Args:
        backbone: what is sampled.
        reward: what is wanted; None where the method needs none.
        value: gives states their values while sampling; None where the method looks at the end only.
        alpha: temperature in the reward's unit, for values that depend on it.
        particles_per_design: particles that share one design.
        solver: takes the base steps instead of random transitions (continuous processes only).
        proposal: what steps are drawn from; p(x_s | x_t) itself by default.
    """

    def __init__(
        self,
        backbone: Backbone,
        reward: Reward | None,
        *,
        value: Value | None = None,
        alpha: float = 1.0,
        particles_per_design: int = 1,
        solver: Solver | None = None,
        proposal: Proposal | None = None,
    ) -> None:
        self.backbone = backbone
        self.reward = reward
        self.value = value
        self.alpha = alpha
        self.particles_per_design = particles_per_design
        self.solver = solver
        self.proposal = Base() if proposal is None else proposal
        self.target = Target(backbone, reward, alpha, value)

    def init(self, num: int, plan: Plan, *, generator: Generator) -> Particles:
        """Pure noise for `num` designs."""
        process, count = self.backbone.process, num * self.particles_per_design
        template = plan.template_of(num, copies=self.particles_per_design)
        x = process.prior(count, plan.length, generator=generator, template=template)
        t = process.event_time(x, None, 0, plan.times, generator=generator)
        seen = self._look(x, t, plan, None, generator=generator)
        rows = torch.arange(count, device=x.device)
        zeros = torch.zeros(count, dtype=torch.float64, device=x.device)
        return Particles(
            x=x,
            t=t,
            prediction=seen.prediction,
            value=seen.value,
            ok=seen.ok,
            group=rows // self.particles_per_design,
            ancestor=rows,
            log_weight=zeros,
            kl=zeros,
            cost=seen.cost,
        )

    def step(self, particles: Particles, step: int, plan: Plan, *, generator: Generator) -> Particles:
        """Take reverse step number `step` (0-based): here x_s ~ p(x_s | x_t), or the solver's step."""
        with torch.no_grad():
            x, rows = self.backbone.advance(
                particles.prediction,
                particles.x,
                particles.t,
                self.next_time(particles, step, plan),
                generator=generator,
                template=plan.template,
                solver=self.solver,
            )
        parent = torch.arange(len(particles), device=x.device)
        particles = replace(particles, cost=particles.cost + Cost(rows))
        return self.children(particles, x, parent, step, plan, generator=generator)

    def finish(self, particles: Particles, plan: Plan, *, generator: Generator) -> Particles:
        """Leave one particle a design."""
        return particles

    def transitions(self, particles: Particles, step: int, plan: Plan) -> tuple[Transition, Transition]:
        """The law q that the proposal draws x_s from, and p(x_s | x_t); one object where they are the same."""
        s = self.next_time(particles, step, plan)
        with torch.no_grad():
            return self.proposal(self.target, particles.prediction, particles.x, particles.t, s)

    def next_time(self, particles: Particles, step: int, plan: Plan) -> Float[Tensor, " B"]:
        """S, the end of reverse step number `step`, of each particle."""
        return plan.times[step + 1].to(particles.t.device).expand(len(particles))

    def children(
        self,
        particles: Particles,
        x: Tensor,
        parent: Int[Tensor, " R"],
        step: int,
        plan: Plan,
        *,
        generator: Generator,
    ) -> Particles:
        """Particles at new states, with their predictions and values.

        Args:
            particles: the parents.
            x: new states.
            parent: row of each state's parent.
            step: number of the step that led here.
            plan: of the run.
            generator: of the block.
        """
        t = self.backbone.process.event_time(
            x, particles.t[parent], step + 1, plan.times, generator=generator
        )
        seen = self._look(x, t, plan, particles, generator=generator)
        # a failed look-ahead is not a failed design: it inherits, which is potential 1
        value = torch.where(seen.ok, seen.value, particles.value[parent])
        return replace(
            particles[parent],
            x=x,
            t=t,
            prediction=seen.prediction,
            value=value,
            ok=seen.ok,
            ancestor=parent,
            cost=particles.cost + seen.cost,
        )

    def _look(
        self, x: Tensor, t: Tensor, plan: Plan, known: Particles | None, *, generator: Generator
    ) -> _Seen:
        """Predict and value states, each distinct one once; what is known of the parents costs nothing."""
        denoiser = self.backbone.denoiser
        read = self.target.value  # by the step or by its proposal
        in_time = denoiser.time_conditioned or (read is not None and read.time_conditioned)
        source, fresh = match(x, t, known, in_time=in_time)
        with torch.no_grad():
            asked = [
                self.proposal.predict(self.target, x[part], t[part], template=plan.template)
                for part in fresh.split(plan.max_rows)
            ]
        new = concatenate(asked)
        value, ok = (
            torch.full_like(t[fresh], torch.nan, dtype=torch.float64),
            torch.ones_like(t[fresh], dtype=torch.bool),
        )
        calls = rows = 0
        if self.value is not None and self.reward is not None and len(fresh):
            codec = self.backbone.codec
            found = self.value(
                self.reward, codec, x[fresh], t[fresh], new, alpha=self.alpha, generator=generator
            )
            value, ok, calls, rows = found.values, found.ok, found.reward_calls, found.rows
        cost = Cost(new.rows, calls, int((~ok).sum()), value_rows=rows)
        if isinstance(new, Guided):
            cost = cost + Cost(0, new.reward_calls, new.failures, value_rows=new.value_rows)
        if known is not None and len(fresh) == len(x):  # the usual case, without copies
            return _Seen(new, value, ok, cost)
        if known is not None:
            new = known.prediction.append(new)
            value, ok = torch.cat([known.value, value]), torch.cat([known.ok, ok])
        return _Seen(new[source], value[source], ok[source], cost)


@dataclass(frozen=True)
class _Seen:
    """What looking at states gave; values are NaN where not ok."""

    prediction: Prediction
    value: Float[Tensor, " R"]
    ok: Bool[Tensor, " R"]
    cost: Cost


class Steering(Configurable, ABC):
    """The settings of a steering method; calling it with a backbone and a reward gives a `Sampler`."""

    alternative: str = "SVDD"
    """The nearest method that does without what this one needs, named when a pair is refused."""

    sized_by: str | None = None
    """The argument that its cost grows with, such as the number of candidates; None: its cost is fixed."""

    @property
    def needs(self) -> Needs:
        """What the backbone and the reward must offer."""
        return Needs()

    @property
    def leaves_particles(self) -> bool:
        """Whether a run leaves several weighted particles a design."""
        return False

    @property
    def training_calls(self) -> int:
        """Designs that were scored before any run, to train what the method uses; 0 where nothing says so."""
        value = getattr(self, "value", None)
        return value.training_calls if isinstance(value, Value) else 0

    @abstractmethod
    def __call__(self, backbone: Backbone, reward: Reward | None) -> Sampler:
        """Bind the method.

        Raises:
            UnsupportedError: the method cannot work with this reward or backbone.
        """

    @abstractmethod
    def bound(self, num: int, plan: Plan) -> Cost:
        """The most that a run of `num` designs can spend, before anything is shared."""

    def pilot(
        self, backbone: Backbone, reward: Reward, plan: Plan, *, generator: Generator
    ) -> tuple[Float[Tensor, "G M"], Cost]:
        """Values that compete with each other on base trajectories, from which alpha="auto" is chosen.

        Returns:
            G groups of M values in the reward's unit, NaN where unknown, and what finding them cost.

        Raises:
            UnsupportedError: the method has no temperature.
        """
        raise UnsupportedError(f"{type(self).__name__} has no temperature to choose")

    def pilot_bound(self, plan: Plan) -> Cost:
        """The most that a pilot can spend."""
        return Cost()

    def require(self, reward: Reward | None, backbone: Backbone | None = None) -> Reward:
        """The reward, if this method can use it, and the backbone.

        Raises:
            UnsupportedError: what the method needs is missing; the message names the nearest one that does without.
        """
        missing = self.needs.unmet(backbone, reward)
        if missing:
            use = "give one, or use Unsteered" if reward is None else f"use {self.alternative}"
            raise UnsupportedError(f"{type(self).__name__} {missing}; {use}")
        assert reward is not None
        return reward


def temperature(alpha: float | str) -> float:
    """Check a temperature.

    Raises:
        ConfigError: not a number above 0; "auto" is resolved by `gendesign.design` before a sampler is made.
    """
    if isinstance(alpha, str):
        if alpha == "auto":
            raise ConfigError(
                "alpha='auto' is chosen by gendesign.design from a pilot of base designs; here give a number"
            )
        raise ConfigError(f"alpha must be a number above 0 or 'auto', got {alpha!r}")
    return finite("alpha", alpha, above=0.0)


def alpha_of(alpha: float | Literal["auto"], value: Value) -> float | Literal["auto"]:
    """The temperature of a method, whose value may hold at one only.

    Raises:
        ConfigError: the value holds at another one.
    """
    if value.alpha is None or alpha == value.alpha:
        return alpha
    if alpha != "auto":
        raise ConfigError(
            f"this value was learned at alpha={value.alpha:g}, got alpha={alpha}; leave alpha out"
        )
    return value.alpha


def most_spent(
    value: Value, proposal: Proposal, plan: Plan, states: Sequence[int], *, revisits: bool = True
) -> Cost:
    """The most that looking at states spends: their predictions, values and proposals.

    Args:
        value: of the states.
        proposal: of the steps from them.
        plan: of the run.
        states: how many are looked at at the start, and after each step. Clean ones, which the last are, are scored
            whatever the value, but the network is not asked.
        revisits: see `Proposal.bound`.
    """
    noisy, clean = sum(states[:-1]), states[-1]
    once = max(1, value.rewards_per_state)
    # where chance says how many positions a step reveals, states may be clean before the end
    early = plan.tokens > 0 and plan.reveals == 0
    looked = noisy * (once if early else value.rewards_per_state) + clean * once
    own = Cost(noisy, looked, value_rows=noisy * value.reads_per_state)
    return own + proposal.bound(plan, states, revisits=revisits)


def run_sampler(
    sampler: Sampler,
    num: int,
    plan: Plan,
    *,
    generator: Generator,
    on_step: Callable[[int, Particles], None] | None = None,
) -> Particles:
    """Run a sampler: the one loop over steps.

    Args:
        sampler: what to run.
        num: designs.
        plan: of the run.
        generator: all randomness of these designs.
        on_step: told the number of steps done and the particles, after each.

    Returns:
        One particle a design, in order.
    """
    particles = sampler.init(num, plan, generator=generator)
    for step in range(plan.steps):
        particles = sampler.step(particles, step, plan, generator=generator)
        if on_step is not None:
            on_step(step + 1, particles)
    return sampler.finish(particles, plan, generator=generator)

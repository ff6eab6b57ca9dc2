"""The single loop that runs every steering method, and the state that it carries.

A `Sampler` is one method bound to a backbone and a reward: `init` makes particles of pure noise, `step` takes them one
reverse step further, `finish` leaves one particle a design. `run_sampler` is the only loop over steps.

No prediction is computed twice: a state that equals its parent, or another state of the step, shares its prediction and
its value, and the prediction of a chosen candidate is carried into the next step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.building import Configurable, finite
from gendesign.diffusion.process import Prediction, concatenate
from gendesign.diffusion.solvers import Solver
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards.base import Reward
from gendesign.steering.particles import Cost, Particles, Plan
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
    ) -> None:
        self.backbone = backbone
        self.reward = reward
        self.value = value
        self.alpha = alpha
        self.particles_per_design = particles_per_design
        self.solver = solver

    def init(self, num: int, plan: Plan, *, generator: Generator) -> Particles:
        """Pure noise for `num` designs."""
        process, count = self.backbone.process, num * self.particles_per_design
        x = process.prior(count, plan.length, generator=generator, template=plan.template)
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

    def candidates(
        self, particles: Particles, num: int, step: int, plan: Plan, *, generator: Generator
    ) -> Tensor:
        """Draw `num` states a particle from p(x_s | x_t)."""
        s = self.next_time(particles, step, plan)
        transition = self.backbone.process.transition(particles.prediction, particles.x, particles.t, s)
        return transition.sample(num, generator=generator)

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
        process, denoiser = self.backbone.process, self.backbone.denoiser
        in_time = denoiser.time_conditioned or (self.value is not None and self.value.time_conditioned)
        source, fresh = match(x, t, known, in_time=in_time)
        with torch.no_grad():
            asked = [
                process.predict(denoiser, x[part], t[part], template=plan.template)
                for part in fresh.split(plan.max_rows)
            ]
        new = concatenate(asked)
        value, ok = (
            torch.full_like(t[fresh], torch.nan, dtype=torch.float64),
            torch.ones_like(t[fresh], dtype=torch.bool),
        )
        calls = 0
        if self.value is not None and self.reward is not None and len(fresh):
            codec = self.backbone.codec
            found = self.value(
                self.reward, codec, x[fresh], t[fresh], new, alpha=self.alpha, generator=generator
            )
            value, ok, calls = found.values, found.ok, found.reward_calls
        cost = Cost(new.rows, calls, int((~ok).sum()))
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


def match(
    x: Tensor, t: Float[Tensor, " R"], known: Particles | None, *, in_time: bool
) -> tuple[Int[Tensor, " R"], Int[Tensor, " U"]]:
    """Find equal states.

    Args:
        x: new states, R of them.
        t: their times.
        known: particles already looked at, B of them.
        in_time: equal states at different times differ.

    Returns:
        For each new state the row to use of [known; fresh], and the rows of `x` that are fresh: the first of each set
        of equal ones that is not among the known.
    """
    num_known, num = 0 if known is None else len(known), len(x)
    rows = torch.arange(num_known + num, device=x.device)
    if x.is_floating_point():  # continuous states never meet
        return rows[num_known:], rows[:num]
    pool = x if known is None else torch.cat([known.x, x])
    if in_time:
        pool = torch.cat([pool.double(), (t if known is None else torch.cat([known.t, t]))[:, None]], -1)
    inverse = pool.unique(dim=0, return_inverse=True)[1]
    first = torch.full_like(rows, len(pool)).scatter_reduce(0, inverse, rows, "amin")[inverse][num_known:]
    fresh = (first == rows[num_known:]).nonzero().squeeze(-1)
    slot = rows.clone()
    slot[num_known + fresh] = num_known + rows[: len(fresh)]
    return slot[first], fresh


class Steering(Configurable, ABC):
    """The settings of a steering method; calling it with a backbone and a reward gives a `Sampler`."""

    needs_gradient: bool = False
    """Whether the reward must be differentiable."""

    alternative: str = "SVDD"
    """The nearest method without that need, named when a reward is refused."""

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

    def require(self, reward: Reward | None) -> Reward:
        """The reward, if this method can use it."""
        name = type(self).__name__
        if reward is None:
            raise UnsupportedError(f"{name} needs a reward; give one, or use Unsteered")
        if self.needs_gradient and not reward.differentiable:
            raise UnsupportedError(
                f"{name} needs a differentiable reward, {reward.label} is not; use {self.alternative}"
            )
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

"""How far each mode of policy guidance ends from the product of behaviour and policy, where that is known.

    python benchmarks/policy_guidance.py        (writes benchmarks/POLICY_GUIDANCE.md; a few minutes on one core)

A linear-Gaussian environment of horizon 4, s' = .9 s + .5 a + .2 noise, behaviour a = -.4 s + .7 noise: trajectories
(s_h, a_h) are jointly Gaussian, and so is their product with a linear Gaussian policy. The denoiser is exact.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from gendesign.array_codecs import VectorSequenceCodec
from gendesign.backbone import Backbone
from gendesign.diffusion.exact_gaussian import CorrelatedGaussian
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.solvers import Heun, Solver
from gendesign.rl.policies import Gaussian
from gendesign.steering.particles import make_plan
from gendesign.steering.policy_guidance import PolicyGuidance
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.unsteered import Unsteered

PAGE = Path(__file__).parent / "POLICY_GUIDANCE.md"
HORIZON = 4
POLICIES = {"constant": (0.0, 1.0, 0.5), "state-dependent": (1.2, 0.5, 0.5)}
"""Slope k, offset c and deviation of pi(a | s) = N(k s + c, sd^2)."""


class RowCodec(VectorSequenceCodec):
    """Rows of one observation and one action, standardised."""

    observation_columns = (0,)
    action_columns = (1,)


@dataclass(frozen=True)
class World:
    """Behaviour, its exact backbone, and the product with a policy, in the environment's units."""

    backbone: Backbone
    policy: Gaussian
    mean: Tensor
    covariance: Tensor

    def moments(self, method: Steering, *, steps: int, num: int, seed: int = 0) -> tuple[Tensor, Tensor, Any]:
        """Mean and covariance of the samples of a method, and what it spent."""
        plan = make_plan(self.backbone, steps=steps, max_rows=num)
        noise = Generator().manual_seed(seed)
        final = run_sampler(method(self.backbone, None), num, plan, generator=noise)
        x = self.backbone.codec.relax(final.x).flatten(1)  # type: ignore[attr-defined]
        return x.mean(0), torch.cov(x.T), final.cost

    def errors(self, mean: Tensor, covariance: Tensor) -> tuple[float, float]:
        """Largest error of the means, and the error of the covariance relative to its norm."""
        off = (covariance - self.covariance).norm() / self.covariance.norm()
        return float((mean - self.mean).abs().max()), float(off)


def world(name: str) -> World:
    """The environment with one of `POLICIES`."""
    slope, offset, sd = POLICIES[name]
    size = 2 * HORIZON
    # x = L z + m for independent z: s_0, then in turn the action's and the state's noise
    rows: list[Tensor] = []
    state = torch.zeros(size + 1, dtype=torch.float64)
    state[0] = 1.0
    for h in range(HORIZON):
        action = -0.4 * state
        action[2 * h + 1] += 0.7
        rows += [state, action]
        state = 0.9 * state + 0.5 * action
        state[2 * h + 2] += 0.2
    factor = torch.stack(rows)
    mean, covariance = torch.zeros(size, dtype=torch.float64), factor @ factor.T
    # statistics are a column's, whatever the step
    spread = covariance.diagonal().view(HORIZON, 2).mean(0).sqrt()
    codec = RowCodec(["s", "a"], HORIZON, mean=[0.0, 0.0], std=spread.tolist())
    scale = spread.repeat(HORIZON)
    denoiser = CorrelatedGaussian(mean / scale, covariance / scale[:, None] / scale)
    process = PoissonFlow(torch.inf, sigma_data=1.0)
    reads = torch.zeros(HORIZON, size, dtype=torch.float64)
    for h in range(HORIZON):
        reads[h, 2 * h], reads[h, 2 * h + 1] = -slope, 1.0
    precision = torch.linalg.inv(covariance) + reads.T @ reads / sd**2
    product = torch.linalg.inv(precision)
    target = product @ (
        torch.linalg.solve(covariance, mean) + reads.T @ torch.full((HORIZON,), offset).double() / sd**2
    )
    policy = Gaussian(lambda s: slope * s + offset, sd)
    return World(Backbone(codec, process, denoiser), policy, target, product)


def arms() -> Iterator[tuple[str, dict[str, Any]]]:
    """The settings that are compared."""
    yield "exact", {"mode": "exact", "iterations": HORIZON}
    yield "diagonal", {"mode": "diagonal", "iterations": 2 * HORIZON}
    for strength in (0.02, 0.1):
        yield f"published, lambda={strength:g}", {"mode": "published", "strength": strength}


def table(name: str, *, num: int, seed: int = 0) -> list[str]:
    """One policy's table."""
    one = world(name)
    slope, offset, sd = POLICIES[name]
    lines = [f"## {name}: pi(a | s) = N({slope:g} s + {offset:g}, {sd:g}^2)", ""]
    lines += [
        "| mode | steps | by | evaluations a trajectory | error of the mean | error of the covariance |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    solvers: tuple[tuple[str, Solver | None], ...] = (("Heun", Heun()),)
    for label, settings in arms():
        for by, solver in solvers:
            for steps in (16, 64, 256):
                method = PolicyGuidance(one.policy, solver=solver, **settings)
                mean, covariance, cost = one.moments(method, steps=steps, num=num, seed=seed)
                wrong, off = one.errors(mean, covariance)
                each = cost.network_rows / num
                lines.append(f"| {label} | {steps} | {by} | {each:g} | {wrong:.3f} | {100 * off:.1f} % |")
    mean, covariance, cost = one.moments(Unsteered(solver=Heun()), steps=64, num=num, seed=seed)
    wrong, off = one.errors(mean, covariance)
    lines.append(f"| unsteered | 64 | Heun | {cost.network_rows / num:g} | {wrong:.3f} | {100 * off:.1f} % |")
    drawn = torch.distributions.MultivariateNormal(one.mean, one.covariance)
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    x = drawn.sample((num,))
    torch.random.set_rng_state(torch_state)
    wrong, off = one.errors(x.mean(0), torch.cov(x.T))
    lines.append(f"| draws of the product itself | | | 0 | {wrong:.3f} | {100 * off:.1f} % |")
    return [*lines, ""]


HEAD = """\
# Policy guidance against the known product

Written by `python benchmarks/policy_guidance.py`. A linear-Gaussian environment of horizon 4 with the exact denoiser
(D = inf): behaviour times policy is a Gaussian in closed form. The error of the mean is the largest over the eight
numbers of a trajectory, in the environment's units; that of the covariance is a Frobenius norm relative to that of the
product. {num} trajectories an arm, seed 0; the last row of each table is what chance alone gives. Evaluations are
forward passes; `exact` passes backward four times more a prediction.
"""


def main(num: int = 2_000) -> None:
    """Write the page."""
    start = time.perf_counter()
    body = [line for name in POLICIES for line in table(name, num=num)]
    seconds = f"Measured in {time.perf_counter() - start:.0f} s on one core."
    PAGE.write_text("\n".join([HEAD.format(num=f"{num:,}"), *body, seconds]) + "\n")


if __name__ == "__main__":
    main()

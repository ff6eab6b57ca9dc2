"""Continuous methods against the exactly known target: four points in three dimensions, at every D.

    python benchmarks/arena_points.py

writes ARENA_POINTS.md beside itself. p is a law on four points, r(y) = y_1 + y_2, alpha = .8; denoiser and posterior
variance are exact, and p*(y) ∝ p(y) exp(r(y)/alpha) is a table. Distances are total variation over the points, each
design counted at its nearest one. What a method misses has parts that are told apart: the grid of T steps (whose base
law, weighted exactly, is no longer p*), the particles, and for guidance without weights the rule itself, which is
Gaussian and so wrong at finite D even where its gradient is right.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from gendesign.array_codecs import VectorCodec
from gendesign.backbone import Backbone
from gendesign.codecs import Codec
from gendesign.diffusion.exact import PointSet
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.process import Prediction
from gendesign.rewards.base import DifferentiableReward, Reward
from gendesign.steering.guidance import Guidance
from gendesign.steering.particles import make_plan
from gendesign.steering.proposals import Base, PlugIn, Proposal, VarianceAware
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.smc import SMC
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered
from gendesign.steering.value import Value, Valued

POINTS = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.5, 0], [0, 0, -2.0]], dtype=torch.float64)
LAW = torch.tensor([0.1, 0.5, 0.1, 0.3], dtype=torch.float64)
ALPHA = 0.8
DIMS = (2.0, 16.0, 128.0, math.inf)
STEPS = (12, 24, 48, 96, 192)
PROPOSALS: dict[str, Proposal] = {"p": Base(), "PlugIn": PlugIn(), "VarianceAware": VarianceAware()}

HEAD = """\
# Continuous methods and the exact target

    python benchmarks/arena_points.py

Four points in three dimensions, exact denoiser and posterior variance; see the script. Distances are total variation
from p\\*; {num:,} particles or designs a cell, of which the mean distance of as many exact draws would be {floor:.4f}.
Unsteered designs are {base:.3f} away.
"""


class Sum(DifferentiableReward):
    """The sum of the first two coordinates."""

    name = "sum"

    def score(self, designs: Any) -> list[float]:
        return [float(design[0] + design[1]) for design in designs]

    def relaxed(self, x: Tensor) -> Tensor:
        return x[:, 0] + x[:, 1]


class Ahead(Value):
    """The reward of the predicted mean, as `PosteriorMode` has it, without a detour over designs."""

    def __call__(
        self,
        reward: Reward,
        codec: Codec,
        x: Tensor,
        t: Tensor,
        prediction: Prediction,
        *,
        alpha: float,
        generator: Generator,
    ) -> Valued:
        values = Sum().relaxed(prediction.mode()).double()
        return Valued(values, torch.ones_like(values, dtype=torch.bool), len(x))


def backbone_of(aug_dim: float) -> Backbone:
    """The points under PFGM++ of a D, with the step that knows mean and variance."""
    codec = VectorCodec(["x", "y", "z"], mean=[0.0] * 3, std=[1.0] * 3)
    process = PoissonFlow(aug_dim, sigma_min=0.01, sigma_max=40.0, sigma_data=1.0)
    return Backbone(codec, process, PointSet(POINTS, aug_dim, weights=LAW))


def target() -> Tensor:
    """p*."""
    return (LAW.log() + (POINTS[:, 0] + POINTS[:, 1]) / ALPHA).softmax(0)


def distance(aug_dim: float, method: Steering, *, num: int, steps: int, seed: int = 0) -> float:
    """Total variation of a method's designs from p*; where it leaves weighted particles, of their weighted law."""
    backbone = backbone_of(aug_dim)
    weighted = method.leaves_particles
    size = method.particles if isinstance(method, SMC) and weighted else 1
    noise = Generator().manual_seed(seed)
    sampler = method(backbone, Sum())
    final = run_sampler(sampler, num // size, make_plan(backbone, steps=steps), generator=noise)
    nearest = torch.cdist(final.x.double(), POINTS).argmin(-1)
    if weighted:
        each = final.log_weight.view(-1, size).softmax(-1).flatten() * size / num
    elif isinstance(method, Unsteered):  # exact weights: what is left is the grid's error
        each = ((final.x[:, 0] + final.x[:, 1]) / ALPHA).softmax(0)
    else:
        each = torch.full((len(nearest),), 1 / len(nearest), dtype=torch.float64)
    law = torch.zeros(len(POINTS), dtype=torch.float64).index_add_(0, nearest, each.double())
    return 0.5 * float((law - target()).abs().sum())


def table(title: str, heads: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Markdown."""
    lines = [f"## {title}", "", "| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |" for name, values in rows]
    return "\n".join(lines) + "\n"


def shown(aug_dim: float) -> str:
    return "∞" if math.isinf(aug_dim) else f"{aug_dim:g}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=8_000, help="particles or designs a cell")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("ARENA_POINTS.md"))
    arguments = parser.parse_args()
    num, start = arguments.num, time.perf_counter()
    q, parts = target(), []

    def smc(proposal: Proposal, size: int, **settings: Any) -> SMC:
        return SMC(particles=size, alpha=ALPHA, proposal=proposal, value=Ahead(), keep="weighted", **settings)

    rows = []
    for d in DIMS:
        own = [distance(d, Unsteered(), num=num, steps=t) for t in STEPS]
        rows.append((f"D = {shown(d)} | the grid alone", own))
        for name, proposal in PROPOSALS.items():
            own = [distance(d, smc(proposal, min(num, 2_000)), num=num, steps=t) for t in STEPS]
            rows.append((f"D = {shown(d)} | SMC, {name}", own))
    heads = ["noise", "method", *(f"T = {t}" for t in STEPS)]
    parts.append(table("SMC as steps grow (2,000 particles a group)", heads, rows))

    sizes = [p for p in (20, 100, 500, 2_000, 8_000) if p <= num]
    rows = [
        (f"D = {shown(d)} | {name}", [distance(d, smc(rule, p), num=num, steps=48) for p in sizes])
        for d in (16.0, math.inf)
        for name, rule in PROPOSALS.items()
    ]
    heads = ["noise", "proposal", *(f"P = {p:,}" for p in sizes)]
    parts.append(table("SMC as particles grow (T = 48)", heads, rows))

    kinds: dict[str, dict[str, Any]] = {
        "never": {"ess_threshold": 0.0},
        "below half, systematic": {},
        "below half, multinomial": {"resampling": "multinomial"},
        "every step, systematic": {"ess_threshold": 1.0},
    }
    rows = []
    for kind, settings in kinds.items():
        own = [
            distance(math.inf, smc(rule, min(num, 500), **settings), num=num, steps=48)
            for rule in PROPOSALS.values()
        ]
        rows.append((kind, own))
    parts.append(table("Resampling (D = ∞, T = 48, 500 particles)", ["resampled", *PROPOSALS], rows))

    rows = []
    for d in DIMS:
        for name, rule in PROPOSALS.items():
            if name != "p":
                guided = Guidance(alpha=ALPHA, proposal=rule)
                rows.append(
                    (f"D = {shown(d)} | {name}", [distance(d, guided, num=num, steps=t) for t in STEPS])
                )
        ahead = SVDD(candidates=10, alpha=ALPHA, value=Ahead())
        own = [distance(d, ahead, num=num // 4, steps=t) for t in STEPS]
        rows.append((f"D = {shown(d)} | SVDD(10), look-ahead at the mean", own))
    heads = ["noise", "method", *(f"T = {t}" for t in STEPS)]
    parts.append(table("Without weights: the bias of the rules", heads, rows))

    head = HEAD.format(
        num=num,
        floor=float((q * (1 - q) / (2 * math.pi * num)).sqrt().sum()),
        base=0.5 * float((LAW - q).abs().sum()),
    )
    seconds = f"{time.perf_counter() - start:.0f} seconds on one core.\n"
    notes = Path(__file__).with_name("arena_points_notes.md")
    parts += [notes.read_text()] if notes.exists() else []
    arguments.out.write_text("\n".join([head, *parts, seconds]))
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()

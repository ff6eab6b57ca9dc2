"""How fast samplers of PFGM++ approach the data, with exact denoisers.

`python benchmarks/convergence.py` writes CONVERGENCE.md beside itself. Points: four of them in three dimensions (and
two in one dimension, where the step at D = 1 has no finite variance); the distance is total variation of which point is
reached. Mixture: two Gaussians in the plane; the distance is the square root of the energy distance to fresh draws.
Slopes are d log(distance - floor)/d log(steps).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from gendesign.diffusion.exact import GaussianMixture, PointSet, PosteriorDraws
from gendesign.diffusion.poisson_flow import MeanPrediction, PoissonFlow
from gendesign.diffusion.solvers import Churn, Euler, Heun, Solver
from gendesign.metrics.fidelity import energy_distance

DIMS = (1.0, 2.0, 16.0, 128.0, 2048.0, math.inf)
STEPS = (8, 16, 32, 64, 128, 256)
POINTS = torch.tensor([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.5, 0], [0, 0, -2.0]], dtype=torch.float64)
LAW = torch.tensor([0.1, 0.5, 0.1, 0.3], dtype=torch.float64)
SAMPLERS: dict[str, tuple[bool, Solver | None]] = {
    "steps, plug-in": (False, None),
    "steps with the variance": (True, None),
    "Euler": (True, Euler()),
    "Heun": (True, Heun()),
    "churn": (True, Churn()),
}

HEAD = """\
# Convergence of the samplers, with exact denoisers

`python benchmarks/convergence.py`. Slopes are of the distance above its floor, where three distances are at least
twice it.

Every sampler approaches the data at every D as steps grow, but for the plug-in step at small D: it leaves out the
posterior variance, its noise is too small, and it stays behind. Drawing the clean point from the posterior is exact at
any number of steps. Heun is far ahead at few steps. In one dimension at D = 1 the step has no finite variance: with the
variance term its distance falls slowly, and so does that of churn, which draws the same scale. Where the squared
distance of the mixture came out below 0, which an unbiased estimate may, the table says 0.
"""


def sample(process: PoissonFlow, denoiser: Any, dim: int, steps: int, num: int, kind: str) -> Tensor:
    """Designs of one sampler."""
    noise = Generator().manual_seed(steps)
    with_variance, solver = SAMPLERS.get(kind, (True, None))

    def ask(x: Tensor, t: Tensor) -> Any:
        prediction = process.predict(denoiser, x, t)
        if with_variance or not isinstance(prediction, MeanPrediction):
            return prediction
        return MeanPrediction(prediction.mean)

    x, times = process.prior(num, dim, generator=noise), process.times(steps)
    for t, s in zip(times, times[1:], strict=False):
        now, then = t.expand(num), s.expand(num)
        prediction = ask(x, now)
        if solver is None:
            x = process.transition(prediction, x, now, then).sample(1, generator=noise)[0]
        else:
            x = solver.step(process, ask, prediction, x, now, then, generator=noise).x
    return x


def slope(distances: list[float], steps: list[int], floor: float) -> str:
    """Of the part above the floor, where there are three such distances."""
    above = [(n, d - floor) for n, d in zip(steps, distances, strict=True) if d > 2 * floor]
    if len(above) < 3:
        return "floor"
    logs = np.log(np.array(above))
    return f"{np.polyfit(logs[:, 0], logs[:, 1], 1)[0]:.2f}"


def table(
    title: str, kinds: list[str], distance: Callable[[float, str, int], float], dims: tuple[float, ...],
    steps: list[int], floor: float,
) -> list[str]:  # fmt: skip
    """A Markdown table: one row a D and a sampler."""
    lines = [f"## {title}", "", f"Monte-Carlo floor: {floor:.4f}.", ""]
    lines += ["| D | sampler | " + " | ".join(f"T = {n}" for n in steps) + " | slope |"]
    lines += ["|---" * (len(steps) + 3) + "|"]
    for aug_dim in dims:
        for kind in kinds:
            found = [distance(aug_dim, kind, n) for n in steps]
            cells = " | ".join(f"{d:.4f}" for d in found)
            lines.append(f"| {aug_dim:g} | {kind} | {cells} | {slope(found, steps, floor)} |")
            print(lines[-1], flush=True)
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=10_000, help="designs of each run on points")
    parser.add_argument("--num-mixture", type=int, default=1_500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.perf_counter()
    num = arguments.num
    settings: dict[str, Any] = {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 1.0}

    def on_points(points: Tensor, law: Tensor) -> Callable[[float, str, int], float]:
        def distance(aug_dim: float, kind: str, steps: int) -> float:
            denoiser = PointSet(points, aug_dim, weights=law)
            cls = PosteriorDraws if kind == "posterior draws" else PoissonFlow
            x = sample(cls(aug_dim, **settings), denoiser, points.shape[1], steps, num, kind)
            frequency = torch.bincount(torch.cdist(x, points).argmin(-1), minlength=len(points)) / num
            return 0.5 * float((frequency - law).abs().sum())

        return distance

    def on_mixture(aug_dim: float, kind: str, steps: int) -> float:
        law = GaussianMixture(
            torch.tensor([[-1.0, 0.0], [1.0, 1.0]]), torch.tensor([0.2, 0.4]), aug_dim, nodes=48
        )
        x = sample(PoissonFlow(aug_dim, **settings), law, 2, steps, arguments.num_mixture, kind)
        fresh = law.sample(arguments.num_mixture, generator=Generator().manual_seed(7))
        return math.sqrt(max(0.0, energy_distance(x.numpy(), fresh.numpy())))

    law = GaussianMixture(torch.tensor([[-1.0, 0.0], [1.0, 1.0]]), torch.tensor([0.2, 0.4]), math.inf)
    draws = [
        law.sample(arguments.num_mixture, generator=Generator().manual_seed(i)).numpy() for i in range(9)
    ]
    pairs = [abs(energy_distance(draws[0], other)) for other in draws[1:]]
    mixture_floor = math.sqrt(sum(pairs) / len(pairs))
    floor = float((LAW * (1 - LAW) / (2 * math.pi * num)).sqrt().sum())
    half = torch.tensor([0.3, 0.7], dtype=torch.float64)
    low = float((half * (1 - half) / (2 * math.pi * num)).sqrt().sum())
    line = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    lines = [*HEAD.splitlines(), ""]
    kinds = [*SAMPLERS, "posterior draws"]
    lines += table("Four points in three dimensions", kinds, on_points(POINTS, LAW), DIMS, list(STEPS), floor)
    lines += table(
        "Two points in one dimension at D = 1", kinds, on_points(line, half), (1.0,), [16, 64, 256, 1024], low
    )
    lines += table(
        "Two Gaussians in the plane",
        list(SAMPLERS),
        on_mixture,
        DIMS,
        [8, 16, 32, 64],
        mixture_floor,
    )
    lines += [f"{num} designs a run on points, {arguments.num_mixture} on the mixture; one thread, "
              f"{time.perf_counter() - start:.0f} s in all."]  # fmt: skip
    (Path(__file__).parent / "CONVERGENCE.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

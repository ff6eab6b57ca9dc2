"""How far fine-tuning ends from the optimum of E[r] - alpha KL, on spaces whose optimum is known.

    python benchmarks/drakes_gap.py
    python benchmarks/drakes_gap.py --steps 8 16 --updates 100 --lr 0.01 0.1 0.3 1 --rewards acg --methods "tau 1"

Strings of three letters with p = (.4, .3, .2, .1), alpha = .5, and a table for a policy. Reward "count" is how many A
there are (optimum alpha log Z = 1.902795), reward "acg" is 3 for ACG and 0 else (1.183169 with one token a step). What
is printed is the exact objective of the trained table, by enumeration, and the best of any table on the same grid.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.diffusion.enumerated import best_objective, path_objective
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import Ancestral, FirstHitting
from gendesign.models.tabular import TabularDenoiser
from gendesign.rewards.base import DifferentiableReward
from gendesign.steering.drakes import DRAKES
from gendesign.steering.finetuned import FineTuned
from gendesign.steering.policy_gradient import PolicyGradient

DESIGNS = ["".join(letters) for letters in itertools.product("ACGT", repeat=3)]
REWARDS = {
    "count": [float(design.count("A")) for design in DESIGNS],
    "acg": [3.0 * (design == "ACG") for design in DESIGNS],
}
ALPHA = 0.5


class TableReward(DifferentiableReward):
    """A number for every design, multilinear in relaxed ones."""

    name = "table"

    def __init__(self, values: Sequence[float]) -> None:
        self.values = torch.tensor(values, dtype=torch.float64)

    def score(self, designs: Sequence[str]) -> Any:
        return self.values[torch.tensor([DESIGNS.index(design) for design in designs])]

    def relaxed(self, x: Tensor) -> Tensor:
        return torch.einsum("ba,bc,bd,acd->b", *x.unbind(1), self.values.view(4, 4, 4))


def reached(
    method: FineTuned,
    process: MaskedDiffusion,
    reward: TableReward,
    times: Tensor,
    *,
    updates: int,
    seed: int,
    lr: float = 0.1,
) -> float:
    """The exact objective after training by Adam, whose rate falls to 0 along a cosine."""
    p = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    law = torch.einsum("a,b,c->abc", p, p, p).flatten()
    policy, base = (Backbone(DNACodec(3), process, TabularDenoiser(4, 3).set_law(law)) for _ in range(2))
    base.requires_grad_(False)
    noise = Generator().manual_seed(seed)
    ascent = torch.optim.Adam(policy.parameters(), lr=lr)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(ascent, updates)
    for _ in range(updates):
        found = method.objective(policy, base, reward, times, 256, alpha=ALPHA, generator=noise)
        ascent.zero_grad()
        found.loss.backward()
        ascent.step()
        slower.step()
    tables: list[Any] = [backbone.denoiser.table.detach() for backbone in (policy, base)]
    return float(path_objective(process, *tables, reward.values, times, alpha=ALPHA))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="*", default=[8], help="T of ancestral grids")
    parser.add_argument("--updates", type=int, default=300)
    parser.add_argument("--lr", type=float, nargs="+", default=[0.1], help="rates of Adam, a row each")
    parser.add_argument("--rewards", nargs="+", choices=REWARDS, default=list(REWARDS))
    parser.add_argument("--methods", nargs="+", help="columns; default: all")
    parser.add_argument("--ancestral", action="store_true", help="leave out one token a step")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    shared: dict[str, Any] = {"truncation": None, "recompute": False}
    methods: dict[str, FineTuned] = {
        "policy gradient": PolicyGradient(**shared),
        "tau 1": DRAKES(tau=1.0, **shared),
        "tau .3": DRAKES(tau=0.3, **shared),
        "tau .1": DRAKES(tau=0.1, **shared),
        "tau 1, straight-through": DRAKES(tau=1.0, straight_through=True, **shared),
    }
    if arguments.methods:
        methods = {name: methods[name] for name in arguments.methods}
    grids: list[Any] = [] if arguments.ancestral else [(FirstHitting(), 3)]
    grids += [(Ancestral(), steps) for steps in arguments.steps]
    print(f"| reward | unmasking | Adam's rate | optimum of the grid | {' | '.join(methods)} | seconds |")
    print(f"|---|---|---|---|{'---|' * len(methods)}---|")
    for name, (unmasking, steps), lr in itertools.product(arguments.rewards, grids, arguments.lr):
        values, begun = REWARDS[name], time.perf_counter()
        process, reward = MaskedDiffusion(4, unmasking=unmasking), TableReward(values)
        times = process.times(steps)
        law = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
        start = TabularDenoiser(4, 3).set_law(torch.einsum("a,b,c->abc", law, law, law).flatten()).table
        best, _ = best_objective(process, start.detach(), reward.values, times, alpha=ALPHA)
        row = [
            reached(method, process, reward, times, updates=arguments.updates, seed=arguments.seed, lr=lr)
            for method in methods.values()
        ]
        kind = f"{type(unmasking).__name__}, T={steps}"
        shown = " | ".join(f"{value:.3f}" for value in row)
        seconds = time.perf_counter() - begun
        print(f"| {name} | {kind} | {lr:g} | {best:.3f} | {shown} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()

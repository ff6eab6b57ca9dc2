"""Sampler time over bare-network time for the same forwards.

    python benchmarks/sampler_overhead.py
    python benchmarks/sampler_overhead.py --backbone image-digits --steps 32
    python benchmarks/sampler_overhead.py --methods all --lengths 80 --turns 3

A run of 64 designs is recorded: every input that the network saw (of a continuous backbone, inside its
preconditioning). The same inputs are then given to the bare network. Both are timed in turns, in seconds of processor
time, so that a busy machine disturbs both alike; the ratio of each turn is taken. Steered runs follow a reward that
costs next to nothing, so that what is left is the method's own: drawing, decoding, sharing, choosing. DRAKES samples
its own network unsteered: `--backbone dna-yeast-promoter-drakes`.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gendesign.backbone import Backbone
from gendesign.building import build, describe
from gendesign.codecs import DNACodec
from gendesign.loading import load_backbone
from gendesign.rewards.base import DifferentiableReward
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.guidance import Guidance
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.smc import SMC
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered

METHODS: dict[str, Steering] = {
    "unsteered": Unsteered(),
    "best of 4": BestOfN(candidates=4),
    "SVDD(10)": SVDD(candidates=10, alpha=1.0),
    "SMC(4)": SMC(particles=4, alpha=1.0),
    "guidance": Guidance(alpha=1.0),
}


class Free(DifferentiableReward):
    """The same for every design."""

    name = "free"

    def score(self, designs: Sequence[Any]) -> list[float]:
        return [0.0] * len(designs)

    def relaxed(self, x: Tensor) -> Tensor:
        return 0.0 * x.flatten(1).sum(-1)


class Recorder(nn.Module):
    """Passes inputs on to a network and keeps them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen: list[tuple[Any, ...]] = []

    @property
    def time_conditioned(self) -> bool:
        return bool(getattr(self.network, "time_conditioned", True))

    def forward(self, *inputs: Tensor | None) -> Any:
        self.seen.append(inputs)
        return self.network(*inputs)


def longer(backbone: Backbone, length: int) -> Backbone:
    """The same network, at another length (its weights do not matter for time)."""
    if backbone.codec.length == length or not isinstance(backbone.codec, DNACodec):
        return backbone
    fresh = build(describe(backbone.denoiser))
    fresh.load_state_dict(backbone.denoiser.state_dict())
    return Backbone(DNACodec(length), backbone.process, fresh).eval().requires_grad_(False)


def compare(backbone: Backbone, name: str, *, num: int, steps: int, turns: int) -> None:
    plan = make_plan(backbone, steps=steps)
    holder, part = (
        (backbone.denoiser, "network") if hasattr(backbone.denoiser, "network") else (backbone, "denoiser")
    )
    network: nn.Module = getattr(holder, part)
    recorder = Recorder(network)

    def sample(net: nn.Module) -> float:
        setattr(holder, part, net)
        sampler = METHODS[name](backbone, Free())
        start = time.process_time()
        run_sampler(sampler, num, plan, generator=torch.Generator().manual_seed(0))
        return time.process_time() - start

    @torch.inference_mode()
    def bare() -> float:
        start = time.process_time()
        for inputs in recorder.seen:
            network(*inputs)
        return time.process_time() - start

    sample(recorder)
    setattr(holder, part, network)
    bare()
    pairs = [(sample(network), bare()) for _ in range(turns)]
    ratio = statistics.median(a / b for a, b in pairs)
    sampler, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    rows = sum(len(inputs[0]) for inputs in recorder.seen)
    cells = [name, num, backbone.codec.length, steps, len(recorder.seen), f"{rows:,}"]
    cells += [f"{plain:.2f}", f"{sampler:.2f}", f"{ratio:.3f}"]
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="dna-yeast-promoter")
    parser.add_argument(
        "--methods", nargs="+", default=["unsteered"], help=f"of {', '.join(METHODS)}; or all"
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[80, 200])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    backbone = load_backbone(arguments.backbone)
    columns = ("method", "batch", "L", "steps", "forwards", "rows", "network (s)", "sampler (s)", "ratio")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    lengths = arguments.lengths if isinstance(backbone.codec, DNACodec) else [backbone.codec.length]
    for length in lengths:
        for name in METHODS if arguments.methods == ["all"] else arguments.methods:
            plan = {"num": arguments.batch, "steps": arguments.steps, "turns": arguments.turns}
            compare(longer(backbone, length), name, **plan)


if __name__ == "__main__":
    main()

"""Sampler time over bare-network time for the same forwards.

    python benchmarks/sampler_overhead.py
    python benchmarks/sampler_overhead.py --backbone image-digits --steps 32

A run of 64 unsteered designs is recorded: every input that the network saw (of a continuous backbone, inside its
preconditioning). The same inputs are then given to the bare network. Both are timed in turns, so that a busy machine
disturbs both alike; the ratio of each turn is taken.
"""

import argparse
import statistics
import time
from typing import Any

import torch
from torch import Tensor, nn

from gendesign.backbone import Backbone
from gendesign.building import build, describe
from gendesign.codecs import DNACodec
from gendesign.loading import load_backbone
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import run_sampler
from gendesign.steering.unsteered import Unsteered


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


@torch.inference_mode()
def compare(backbone: Backbone, *, num: int, steps: int, turns: int) -> None:
    plan = make_plan(backbone, steps=steps)
    holder, name = (
        (backbone.denoiser, "network") if hasattr(backbone.denoiser, "network") else (backbone, "denoiser")
    )
    network: nn.Module = getattr(holder, name)
    recorder = Recorder(network)

    def sample(net: nn.Module) -> float:
        setattr(holder, name, net)
        sampler = Unsteered()(backbone)
        start = time.perf_counter()
        run_sampler(sampler, num, plan, generator=torch.Generator().manual_seed(0))
        return time.perf_counter() - start

    def bare() -> float:
        start = time.perf_counter()
        for inputs in recorder.seen:
            network(*inputs)
        return time.perf_counter() - start

    sample(recorder)
    setattr(holder, name, network)
    bare()
    pairs = [(sample(network), bare()) for _ in range(turns)]
    ratio = statistics.median(a / b for a, b in pairs)
    sampler, plain = (statistics.median(column) for column in zip(*pairs, strict=True))
    rows = sum(len(inputs[0]) for inputs in recorder.seen)
    print(
        f"| {num} | {backbone.codec.length} | {steps} | {len(recorder.seen)} | {rows:,} | {plain:.2f} | {sampler:.2f} "
        f"| {ratio:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="dna-yeast-promoter")
    parser.add_argument("--lengths", type=int, nargs="+", default=[80, 200])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    backbone = load_backbone(arguments.backbone)
    print(
        "| batch | L | steps | forwards | rows | network (s) | sampler (s) | ratio |\n|---|---|---|---|---|---|---|---|"
    )
    lengths = arguments.lengths if isinstance(backbone.codec, DNACodec) else [backbone.codec.length]
    for length in lengths:
        compare(longer(backbone, length), num=arguments.batch, steps=arguments.steps, turns=arguments.turns)


if __name__ == "__main__":
    main()

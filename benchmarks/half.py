"""A backbone in bfloat16 beside float32: time of the network, and how far the predicted laws are apart.

The designs are the backbone's own, with a random share of their tokens masked.

python benchmarks/half.py                      (dna-yeast-promoter, molecule-zinc; one thread)
python benchmarks/half.py molecule-zinc --threads 2 --device cuda
"""

from __future__ import annotations

import argparse
import time

import torch

import gendesign as gd
from gendesign.backbone import Backbone
from gendesign.determinism import generator
from gendesign.errors import DesignError


def seconds(backbone: Backbone, x: torch.Tensor, t: torch.Tensor, repeats: int) -> float:
    """Of one call of the network: the median of several."""
    found = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        backbone.denoiser(x, t)
        if x.is_cuda:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begun)
    return sorted(found[1:])[repeats // 2]


def encoded(backbone: Backbone, rows: int) -> torch.Tensor:
    """Designs of the backbone as tokens, less those few molecules that its own vocabulary cannot write."""
    found = []
    for design in backbone.sample(rows, seed=0):
        try:
            found.append(backbone.codec.encode([design]))
        except DesignError:
            continue
    return torch.cat(found)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backbones", nargs="*", default=["dna-yeast-promoter", "molecule-zinc"])
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    print("| backbone | float32 (s) | bfloat16 (s) | ratio | KL (nats a position) |")
    print("|---|---|---|---|---|")
    for name in a.backbones:
        exact = gd.load_backbone(name, device=a.device)
        half = exact.in_bfloat16()
        noise = generator(0, "half")
        x = encoded(exact, a.rows).to(a.device)
        t = torch.rand(len(x), generator=noise).to(a.device)
        mask = exact.denoiser.vocab_size
        x = torch.where((torch.rand(x.shape, generator=noise).to(a.device) < t[:, None]), mask, x)
        p, q = (one.denoiser(x, t).double().log_softmax(-1) for one in (exact, half))
        divergence = (p.exp() * (p - q)).sum(-1)[x == mask].mean()
        first, second = (seconds(one, x, t, a.repeats) for one in (exact, half))
        print(
            f"| {name} | {first:.3f} | {second:.3f} | {first / second:.2f} | {divergence:.1e} |", flush=True
        )


if __name__ == "__main__":
    main()

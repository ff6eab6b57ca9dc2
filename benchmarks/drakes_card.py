"""Figures of the card of a fine-tuned backbone: alone, decoded with SVDD, and beside its base.

    python benchmarks/drakes_card.py dna-yeast-promoter-drakes --seeds 3
    python benchmarks/drakes_card.py FOLDER --rows tuned                     one row: the fine-tuned backbone alone

Medians over seeds of the median design, by the guiding and by the held-out predictor; likelihood under the base, nats
a letter; correlation of the 6-mer spectrum with that of the top natural percentile; KL of the path from what is
steered (for SVDD an upper bound); distinct designs; network evaluations and reward calls a design.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch

import gendesign as gd
from gendesign.metrics.kmers import kmer_spectrum, spectrum_correlation
from gendesign.steering.sampler import Steering

COLUMNS = ("guide", "held-out", "naturalness", "6-mer r", "KL", "distinct", "evaluations", "reward calls")


def row(
    backbone: gd.Backbone, base: gd.Backbone, method: Steering, seed: int, *, num: int, steps: int
) -> list[float]:
    """One run in numbers."""
    guide, heldout = gd.load_reward("dna-expression"), gd.load_reward("dna-expression-heldout")
    run = gd.design(
        backbone, guide, method, heldout=heldout, num_designs=num, steps=steps, seed=seed, base_designs=0
    )
    reference = base.reference
    assert reference is not None
    texts: Any = run.designs
    natural = base.log_likelihood(texts, num_times=32).numpy() / base.codec.length
    likeness = spectrum_correlation(kmer_spectrum(texts, 6, "ACGT"), reference.top_spectra[6])
    return [
        float(np.nanmedian(run.values)),
        float(np.nanmedian(run.scores[heldout.label].values)),
        float(np.median(natural)),
        likeness,
        float(np.mean(run.kl)),
        len(set(texts)) / num,
        run.cost.network_rows / num,
        run.cost.reward_calls / num,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tuned", help="name or folder of the fine-tuned backbone")
    parser.add_argument("--base", default="dna-yeast-promoter")
    parser.add_argument("--rows", nargs="+", default=["base", "SVDD", "tuned", "tuned + SVDD"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--num-designs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--alpha", type=float, help="of SVDD; default: auto")
    parser.add_argument("--argmax", action="store_true", help="SVDD keeps the best candidate")
    parser.add_argument("--blend", type=float, default=1.0, help="share of the way from base to fine-tuned")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base, tuned = gd.load_backbone(arguments.base), gd.load_backbone(arguments.tuned)
    tuned = tuned if arguments.blend == 1 else gd.blend(base, tuned, arguments.blend)
    svdd = gd.SVDD(
        candidates=10,
        alpha="auto" if arguments.alpha is None else arguments.alpha,
        selection="argmax" if arguments.argmax else "categorical",
    )
    made: dict[str, tuple[gd.Backbone, Steering]] = {
        "base": (base, gd.Unsteered()),
        "SVDD": (base, svdd),
        "tuned": (base, gd.DRAKES(tuned=arguments.tuned)),
        "tuned + SVDD": (tuned, svdd),
    }
    print(f"| {arguments.tuned} | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}")
    for name in arguments.rows:
        backbone, method = made[name]
        rows = [
            row(backbone, base, method, seed, num=arguments.num_designs, steps=arguments.steps)
            for seed in range(arguments.seeds)
        ]
        values = " | ".join(f"{value:.3g}" if value < 100 else f"{value:.0f}" for value in np.median(rows, 0))
        print(f"| {name} | {values} |", flush=True)


if __name__ == "__main__":
    main()

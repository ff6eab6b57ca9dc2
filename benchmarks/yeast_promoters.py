"""The default job over several seeds, against natural promoters and against best-of-N at equal budgets.

    python benchmarks/yeast_promoters.py --seeds 5
    python benchmarks/yeast_promoters.py --seeds 5 --best-of-n 12

Prints one row a run: the median by the guiding and by the held-out predictor, and the percentile of natural promoters
that the latter reaches; the correlation of the 6-mer spectrum with that of the top natural percentile, steered and
unsteered; duplicates; network evaluations, reward calls and seconds. Then the medians over seeds.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

import gendesign as gd
from gendesign.metrics.kmers import kmer_spectrum, spectrum_correlation
from gendesign.metrics.summary import percentile_of, unique_fraction
from gendesign.steering.sampler import Steering


def row(method: Steering, seed: int, *, num_designs: int, base_designs: int, steps: int) -> dict[str, float]:
    """One run in numbers."""
    backbone = gd.load_backbone("dna-yeast-promoter")
    guide, heldout = gd.load_reward("dna-expression"), gd.load_reward("dna-expression-heldout")
    start = time.perf_counter()
    run = gd.design(
        backbone,
        guide,
        method,
        heldout=heldout,
        num_designs=num_designs,
        steps=steps,
        seed=seed,
        base_designs=base_designs,
    )
    seconds = time.perf_counter() - start
    reference = backbone.reference
    assert reference is not None and run.base is not None
    top = reference.top_spectra[6]

    def likeness(designs: list[str]) -> float:
        return spectrum_correlation(kmer_spectrum(designs, 6, "ACGT"), top)

    judged = run.scores[heldout.label].values
    quantiles = reference.reward_quantiles[heldout.label]
    return {
        "seed": seed,
        "guide": float(np.nanmedian(run.values)),
        "heldout": float(np.nanmedian(judged)),
        "heldout_percentile_of_natural": float(percentile_of(np.array([np.nanmedian(judged)]), quantiles)[0]),
        "natural_p99_heldout": float(quantiles[99]),
        "base_heldout": float(np.nanmedian(run.base.scores[heldout.label].values)),
        "naturalness_nats": float(np.nanmedian(run.naturalness)),
        "base_naturalness_nats": float(np.nanmedian(run.base.naturalness)),
        "sixmer_top_natural": likeness(run.designs),
        "base_sixmer_top_natural": likeness(run.base.designs),
        "duplicates": round((1 - unique_fraction(run.designs)) * len(run)),
        "alpha": float("nan") if run.alpha is None or isinstance(run.alpha, str) else run.alpha,
        "kl_bound_nats": float(np.mean(run.kl)),
        "evaluations_a_design": run.cost.network_rows / len(run),
        "reward_calls_a_design": run.cost.reward_calls / len(run),
        "sampling_seconds": run.cost.seconds,
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--num-designs", type=int, default=64)
    parser.add_argument("--base-designs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--alpha", type=float, default=None, help="default: auto")
    parser.add_argument("--best-of-n", type=int, metavar="N", help="best-of-N instead of SVDD")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    common = {
        "num_designs": arguments.num_designs,
        "base_designs": arguments.base_designs,
        "steps": arguments.steps,
    }
    alpha = "auto" if arguments.alpha is None else arguments.alpha
    method: gd.SVDD | gd.BestOfN = gd.SVDD(candidates=arguments.candidates, alpha=alpha)
    if arguments.best_of_n:
        method = gd.BestOfN(candidates=arguments.best_of_n)
    name = f"{type(method).__name__}({method.candidates})"
    rows = []
    for seed in range(arguments.seeds):
        rows.append(row(method, seed, **common))
        print(name, json.dumps({key: round(value, 4) for key, value in rows[-1].items()}), flush=True)
    medians = {key: float(np.median([r[key] for r in rows])) for key in rows[0] if key != "seed"}
    print(f"{name}, median over {len(rows)} seeds:")
    for key, value in medians.items():
        print(f"  {key:<32} {value:.4f}")


if __name__ == "__main__":
    main()

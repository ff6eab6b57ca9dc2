"""GFP: the predictors on variants that neither has seen, and designs of a finished run against the wild type.

    python benchmarks/gfp.py predictors              (seconds on one CPU core)
    gendesign design gfp out=FOLDER; python benchmarks/gfp.py designs FOLDER
    python benchmarks/gfp.py seeds                   (a minute: the same designs for seeds 0 to 9, no report)

`predictors` and `backbone` need the table gfp_sarkisyan2016 (`gendesign data get gfp_sarkisyan2016`).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy.stats import spearmanr

import gendesign as gd
from gendesign.codecs import ProteinCodec
from gendesign.data.protein_sources import AVGFP
from gendesign.data.sequences import SequenceDataModule
from gendesign.rewards import load_reward

CONFIGS = Path(__file__).parents[1] / "configs" / "train"
REWARDS = {
    "gfp-brightness": "protein_gfp_brightness",
    "gfp-brightness-heldout": "protein_gfp_brightness_heldout",
}


def module(name: str) -> SequenceDataModule:
    """The data module of a training configuration."""
    given = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["data"]["init_args"]
    return SequenceDataModule(codec=ProteinCodec(237), **{k: v for k, v in given.items() if k != "codec"})


def predictors() -> None:
    """Spearman on the shared test variants by number of mutations, beside error against standard deviation."""
    errors = {}
    for reward, config in REWARDS.items():
        data = module(config)
        rows = data.indices("test")
        sequences, y = [data.sequences[i] for i in rows], data.targets[rows, 0]
        mutations = np.array([int(data.column("n_mutations")[i]) for i in rows])
        scores = load_reward(reward)(sequences)
        error = scores.values - y
        errors[reward] = error
        by = [
            f"{n}: {spearmanr(scores.values[mutations == n], y[mutations == n])[0]:.2f} ({(mutations == n).sum()})"
            for n in range(1, 10)
        ]
        wild = load_reward(reward)([AVGFP])
        print(
            f"{reward}: {len(y)} variants, Spearman {spearmanr(scores.values, y)[0]:.3f}, RMSE "
            f"{np.sqrt((error**2).mean()):.3f} (of the mean {y.std():.3f}); by mutations (variants) {', '.join(by)}; "
            f"|error| against std {spearmanr(np.abs(error), scores.std)[0]:.2f}; wild type {wild.values[0]:.3f} "
            f"± {wild.std[0]:.3f}"
        )
        bright = y > 3.4
        print(f"  of the {bright.sum()} above 3.4: {spearmanr(scores.values[bright], y[bright])[0]:.3f}")
    print(f"errors of the two: Pearson {np.corrcoef(*errors.values())[0, 1]:.3f}")


def backbone() -> None:
    """Bits a letter on left-out bright variants, against the profile of the training ones."""
    data, base = module("protein_gfp"), gd.load_backbone("protein-gfp")
    test = [data.sequences[i] for i in data.indices("test")]
    bits = -base.log_likelihood(test, num_times=64, seed=0).numpy() / np.log(2)
    letters = ProteinCodec(1).alphabet
    train = np.array([list(data.sequences[i]) for i in data.indices("train")])
    share = np.stack([(train == a).sum(0) + 0.05 for a in letters], 1)
    share = np.log2(share / share.sum(1, keepdims=True))
    profile = [-sum(share[i, letters.index(a)] for i, a in enumerate(s)) for s in test]
    print(f"{len(test)} variants: {bits.mean():.2f} bits a variant, profile {np.mean(profile):.2f}")


def designs(folder: str) -> None:
    """Designs against the wild type, by guide and auditor."""
    table = pd.read_csv(Path(folder) / "designs.csv")
    for reward in REWARDS:
        wild = load_reward(reward)([AVGFP]).values[0]
        scores = load_reward(reward)(table["design"].tolist())
        gain = scores.values - wild
        print(
            f"{reward}: wild type {wild:.3f}, designs median {np.median(scores.values):.3f} (std of the ensemble "
            f"{np.median(scores.std):.3f}), above wild type {(gain > 0).sum()} of {len(gain)}, by more than its std "
            f"{(gain > scores.std).sum()}"
        )
    print(
        f"mutations {table['mutations'].min()} to {table['mutations'].max()}, median {table['mutations'].median():g}; "
        f"{table['design'].nunique()} distinct"
    )


def seeds() -> None:
    """What configs/design/gfp.yaml designs, by seed, beside the guide's mean without doubt."""
    base = gd.load_backbone("protein-gfp", temperature=2.0)
    auditor, guide = load_reward("gfp-brightness-heldout"), load_reward("gfp-brightness")
    wild = auditor([AVGFP]).values[0]
    for reward, steering in (
        ("gfp-brightness-cautious", gd.SVDD(candidates=32, alpha=0.005)),  # as configs/design/gfp.yaml
        ("gfp-brightness", gd.SVDD(candidates=10, alpha=0.01)),
    ):
        steered_by = load_reward(reward)
        for seed in range(10):
            run = gd.design(
                base, steered_by, steering, num_designs=64, seed=seed, base_designs=0, start=AVGFP, remask=8
            )
            held, seen = auditor(run.designs), guide(run.designs)
            count = [sum(a != b for a, b in zip(one, AVGFP, strict=True)) for one in run.designs]
            print(
                f"{reward}, seed {seed}: guide {np.median(seen.values):.3f}, auditor {np.median(held.values):.3f} "
                f"(std {np.median(held.std):.3f}), above wild type {(held.values > wild).sum()}, by more than its std "
                f"{(held.values - wild > held.std).sum()}; mutations {min(count)} to {max(count)}"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("predictors", "backbone", "designs", "seeds"))
    parser.add_argument("folder", nargs="?", help="of a run")
    options = parser.parse_args()
    if options.what == "designs":
        designs(options.folder)
    else:
        {"predictors": predictors, "backbone": backbone, "seeds": seeds}[options.what]()

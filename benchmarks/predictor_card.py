"""Measure two learned predictors on promoters that neither was trained on, as their cards report it.

    python benchmarks/predictor_card.py [--guide dna-expression] [--audit dna-expression-heldout]

Test groups are the same for both (the splits share `split_seed` and `test_fraction`). Figures: Pearson r of
the ensemble's mean with a 95 % interval (bootstrap over groups, since near-copies are not independent), by
library and medium; the same for each predictor over everything it has not seen (test groups and the other
half), where natural groups are more; the correlation of the two predictors' errors; how well the ensembles'
standard deviation ranks errors; and the time of a forward pass. The output is Markdown.
"""

import argparse
import time

import numpy as np
import torch
import yaml

from gendesign.building import build
from gendesign.codecs import SequenceCodec
from gendesign.data.sequences import SequenceDataModule
from gendesign.rewards import Predictor, load_predictor

DRAWS = 2000
CONFIGS = {"guide": "configs/train/dna_expression.yaml", "audit": "configs/train/dna_expression_heldout.yaml"}


def data_module(config: str) -> SequenceDataModule:
    """The data module of a training config."""
    with open(config) as handle:
        arguments = dict(yaml.safe_load(handle)["data"]["init_args"])
    codec = build(arguments.pop("codec"), kinds=(SequenceCodec,))
    return SequenceDataModule(codec=codec, **arguments)


@torch.no_grad()
def predict(predictor: Predictor, data: SequenceDataModule) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over members, [rows, heads]."""
    members = torch.cat(
        [
            predictor(predictor.codec.encode(data.sequences[i : i + 512]))
            for i in range(0, len(data.sequences), 512)
        ],
        dim=1,
    ).double()
    return members.mean(0).numpy(), members.std(0).numpy()


def pearson(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> float:
    """Pearson r with a weight for each row."""
    a, b = (v - np.average(v, weights=weights) for v in (a, b))
    return float((weights * a * b).sum() / np.sqrt((weights * a * a).sum() * (weights * b * b).sum()))


def interval(a: np.ndarray, b: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> str:
    """Pearson r with its 95 % interval over resampled groups."""
    _, index = np.unique(groups, return_inverse=True)
    num = index.max() + 1
    draws = rng.multinomial(num, np.full(num, 1 / num), size=DRAWS)
    low, high = np.percentile([pearson(a, b, counts[index]) for counts in draws], [2.5, 97.5])
    return f"{pearson(a, b, np.ones(len(a))):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guide", default="dna-expression", help="name or folder")
    parser.add_argument("--audit", default="dna-expression-heldout", help="name or folder")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    data = {role: data_module(config) for role, config in CONFIGS.items()}
    predictors = {role: load_predictor(getattr(options, role)) for role in CONFIGS}
    found = {role: predict(predictors[role], data[role]) for role in CONFIGS}
    table = data["guide"]
    library, group, targets = (
        np.array(table.column("library")),
        np.array(table.column("group")),
        table.targets,
    )
    test = np.zeros(len(library), dtype=bool)
    test[table.indices("test")] = True
    assert set(table.indices("test")) == set(data["audit"].indices("test"))
    unseen = {}
    for role in CONFIGS:
        unseen[role] = np.ones(len(library), dtype=bool)
        unseen[role][np.concatenate([data[role].indices("train"), data[role].indices("val")])] = False

    print(
        "| predictor | rows | library | medium | rows (groups) | Pearson r (95 % interval) | error vs std, Spearman |"
    )
    print("|---|---|---|---|---|---|---|")
    for role in CONFIGS:
        mean, std = found[role]
        for which, mask in (("test", test), ("all unseen", unseen[role])):
            for name in ("random", "native"):
                for head, medium in enumerate(predictors[role].heads):
                    rows = np.flatnonzero(mask & (library == name) & np.isfinite(targets[:, head]))
                    truth, value = targets[rows, head], mean[rows, head]
                    r = interval(value, truth, group[rows], rng)
                    ranks = [np.argsort(np.argsort(v)) for v in (np.abs(value - truth), std[rows, head])]
                    print(
                        f"| {role} | {which} | {name} | {medium} | {len(rows)} ({len(set(group[rows]))}) | {r} "
                        f"| {np.corrcoef(*ranks)[0, 1]:.2f} |"
                    )
    print("\n| errors of guide and audit, test groups | medium | correlation (95 % interval) |")
    print("|---|---|---|")
    for name in ("random", "native"):
        for head, medium in enumerate(predictors["guide"].heads):
            rows = np.flatnonzero(test & (library == name) & np.isfinite(targets[:, head]))
            errors = [found[role][0][rows, head] - targets[rows, head] for role in CONFIGS]
            print(f"| {name} | {medium} | {interval(*errors, group[rows], rng)} |")
    x = predictors["guide"].codec.encode(table.sequences[:640])
    torch.set_num_threads(2)
    for role, predictor in predictors.items():
        seconds = []
        for _ in range(7):
            start = time.perf_counter()
            with torch.no_grad():
                for chunk in x.split(64):  # as `PredictedReward` does
                    predictor(chunk)
            seconds.append(time.perf_counter() - start)
        print(f"\n{role}: {sorted(seconds)[3]:.2f} s for 640 sequences (two threads, median of seven)")


if __name__ == "__main__":
    main()

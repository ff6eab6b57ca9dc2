"""The figures of a backbone's card, measured on unseen groups of natural sequences.

    python benchmarks/backbone_card.py dna-yeast-promoter --config configs/train/dna_yeast_promoter.yaml

Bound: bits a base on the test split of the config, each gene counting once, with a bootstrap interval over
groups; beside it the best order-k Markov model (interpolated, fitted on the training split, its strength
and order chosen on validation). Spectra: correlation of word frequencies of samples with unseen natives, at
equal numbers of sequences, beside two halves of the unseen natives. Copies: stretches of 25 bases or more
that occur in the training split.
"""

import argparse
import math
import time

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from gendesign.backbone import Backbone
from gendesign.building import build
from gendesign.data.sequences import SequenceDataModule
from gendesign.loading import load_backbone
from gendesign.metrics.kmers import kmer_spectrum, spectrum_correlation

Floats = NDArray[np.float64]
Index = NDArray[np.int64]


def gene_weights(data: SequenceDataModule, rows: Index, gene_column: str) -> Floats:
    """Weights that let every gene count once."""
    genes = np.array(data.column(gene_column))[rows]
    names, inverse = np.unique(genes, return_inverse=True)
    return 1 / np.bincount(inverse)[inverse]


def bootstrap_over_groups(
    values: Floats, weights: Floats, groups: list[str], *, draws: int = 2000
) -> tuple[float, float]:
    """95 % interval of the weighted mean when groups are drawn with replacement."""
    _, inverse = np.unique(groups, return_inverse=True)
    total = np.bincount(inverse, weights * values)
    mass = np.bincount(inverse, weights)
    chosen = np.random.default_rng(0).integers(0, len(mass), (draws, len(mass)))
    means = total[chosen].sum(1) / mass[chosen].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def markov_bits(x: Index, weights: Floats, train: Index, order: int, strength: float) -> Floats:
    """Bits a base of each row of x under an order-k model of the rows `train`: p_j = (n + a p_{j-1}) / (N + a)."""
    length, previous = x.shape[1], np.full((1, 4), 0.25)
    tables: list[Floats] = []
    for k in range(order + 1):
        contexts = sum(
            (x[:, i : length - k + i] * 4 ** (k - 1 - i) for i in range(k)),
            np.zeros((len(x), length - k), dtype=int),
        )
        counts = np.zeros((4**k, 4))
        np.add.at(counts, (contexts[train], x[train, k:]), np.repeat(weights[train, None], length - k, 1))
        if k:
            previous = tables[-1][np.arange(4**k) % 4 ** (k - 1)]
        tables.append((counts + strength * previous) / (counts.sum(1, keepdims=True) + strength))
    bits = np.zeros(len(x))
    for position in range(length):
        k = min(position, order)
        context = sum(
            (x[:, position - k + i] * 4 ** (k - 1 - i) for i in range(k)), np.zeros(len(x), dtype=int)
        )
        bits -= np.log2(tables[k][context, x[:, position]])
    return bits / length


def best_markov(data: SequenceDataModule, gene_column: str) -> tuple[str, Floats]:
    """The order and strength that are best on validation, and the bits of every row."""
    x = data.codec.encode(data.sequences).numpy()
    weights = gene_weights(data, np.arange(len(x)), gene_column)
    val = data.indices("val")
    best, name, bits = math.inf, "", np.zeros(0)
    for order in range(3, 8):
        for strength in (30.0, 100.0, 300.0, 1000.0):
            found = markov_bits(x, weights, data.indices("train"), order, strength)
            figure = float(np.average(found[val], weights=weights[val]))
            if figure < best:
                best, name, bits = figure, f"order {order}, strength {strength:g}", found
    return name, bits


def one_a_gene(data: SequenceDataModule, rows: Index, gene_column: str) -> list[str]:
    """One sequence of each gene, drawn at random."""
    genes = data.column(gene_column)
    order = np.random.default_rng(0).permutation(rows)
    return list({genes[row]: data.sequences[row] for row in order}.values())


def spectra(samples: list[str], natives: list[str], k: int, *, draws: int = 50) -> tuple[float, float]:
    """Mean correlation with one half of the natives: of as many samples, and of the other half."""
    generator = np.random.default_rng(0)
    half = len(natives) // 2
    ours, theirs = [], []
    for _ in range(draws):
        order = generator.permutation(len(natives))
        first, second = ([natives[i] for i in part] for part in (order[:half], order[half : 2 * half]))
        drawn = [samples[i] for i in generator.permutation(len(samples))[:half]]
        goal = kmer_spectrum(first, k)
        ours.append(spectrum_correlation(kmer_spectrum(drawn, k), goal))
        theirs.append(spectrum_correlation(kmer_spectrum(second, k), goal))
    return float(np.mean(ours)), float(np.mean(theirs))


def copies(designs: list[str], words: set[str], k: int) -> tuple[int, int, int]:
    """Designs with a stretch of k or more letters from training, such stretches, and the longest."""
    holders, stretches, longest = 0, 0, 0
    for design in designs:
        known = [design[i : i + k] in words for i in range(len(design) - k + 1)]
        runs = [len(run) for run in "".join("x" if hit else " " for hit in known).split()]
        holders += bool(runs)
        stretches += len(runs)
        longest = max([longest, *(run + k - 1 for run in runs)])
    return holders, stretches, longest


def bound(backbone: Backbone, data: SequenceDataModule, rows: Index, num_times: int) -> Floats:
    """Bits a base of some rows."""
    designs = [data.sequences[row] for row in rows]
    nats = backbone.log_likelihood(designs, num_times=num_times).numpy()
    return -nats / np.array([len(design) for design in designs]) / math.log(2)


def print_likeness(
    backbone: Backbone, data: SequenceDataModule, gene: str, *, num_samples: int, steps: int
) -> None:
    """Print what samples share with unseen natives, and with training."""
    start = time.perf_counter()
    samples = backbone.sample(num_samples, steps=steps, seed=0)
    print(
        f"{len(samples)} samples ({len(set(samples))} distinct), {steps} steps, "
        f"{time.perf_counter() - start:.1f} s"
    )
    natives = one_a_gene(data, data.indices("test"), gene)
    for k in (3, 6):
        ours, theirs = spectra(samples, natives, k)
        everything = spectrum_correlation(
            kmer_spectrum(samples, k),
            kmer_spectrum(one_a_gene(data, np.arange(len(data.sequences)), gene), k),
        )
        print(
            f"{k}-mers: samples with unseen natives {ours:.3f}, two halves of unseen natives {theirs:.3f} "
            f"({len(natives) // 2} sequences each); all samples with all natives {everything:.3f}"
        )
    training = [data.sequences[row] for row in data.indices("train")]
    words = {sequence[i : i + 25] for sequence in training for i in range(len(sequence) - 24)}
    for who, designs in (("samples", samples), ("unseen natives", natives)):
        holders, stretches, longest = copies(designs, words, 25)
        print(
            f"copies of 25 bases or more: {stretches} in {holders} of {len(designs)} {who}, the longest {longest} bases"
        )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backbone", help="shipped name or folder")
    parser.add_argument(
        "--config", required=True, help="the YAML that it was trained with (its data section is used)"
    )
    parser.add_argument("--num-times", type=int, default=64, help="noise levels a sequence")
    parser.add_argument("--num-samples", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    with open(arguments.config, encoding="utf-8") as file:
        settings = yaml.safe_load(file)["data"]["init_args"]
    settings["codec"] = build(settings["codec"])
    data = SequenceDataModule(**settings)
    gene, group = settings["sample_by"], data.column(settings["group_column"])
    backbone = load_backbone(arguments.backbone)

    name, markov = best_markov(data, gene)
    x = data.codec.encode(data.sequences).numpy()
    all_weights = gene_weights(data, np.arange(len(x)), gene)
    order_5 = markov_bits(x, all_weights, data.indices("train"), 5, 10.0)
    splits = {split: data.indices(split) for split in ("val", "test")}
    bound_of = np.full(len(x), np.nan)
    for rows in splits.values():
        bound_of[rows] = bound(backbone, data, rows, arguments.num_times)
    splits["val and test"] = np.concatenate(list(splits.values()))
    for split, rows in splits.items():
        weights, groups = gene_weights(data, rows, gene), [group[row] for row in rows]
        bits = bound_of[rows]
        figures = {
            "backbone": bits,
            f"best Markov ({name})": markov[rows],
            "backbone less best Markov": bits - markov[rows],
            "order-5 Markov": order_5[rows],
            "backbone less order-5 Markov": bits - order_5[rows],
        }
        for who, values in figures.items():
            low, high = bootstrap_over_groups(values, weights, groups)
            mean = np.average(values, weights=weights)
            interval = f"95 % {low:.4f} to {high:.4f}, over {len(set(groups))} groups"
            print(f"{split}: {who}: {mean:.4f} bits a base, {interval}")

    print_likeness(backbone, data, gene, num_samples=arguments.num_samples, steps=arguments.steps)
    network = torch.randint(0, 5, (640, 80))
    with torch.no_grad():
        backbone.denoiser(network)
        start = time.perf_counter()
        backbone.denoiser(network)
    print(f"forward of 640 x 80 on {arguments.threads} threads: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()

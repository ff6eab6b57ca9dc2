"""Write a backbone's reference.safetensors: what its reports compare designs with.

    python benchmarks/build_reference.py dna-yeast-promoter --config configs/train/dna_yeast_promoter.yaml

Reads the training configuration for the data and its split. Measures
    hashes of the training sequences' 16-letter words, for copied stretches (the file holds no sequence);
    word spectra of one training sequence a gene (its most common allele), and of the training alleles that the
    guide scores in the top percentile, each gene counting once; and how random sets of natural sequences correlate
    with both;
    mean distance, base content and runs of the natural set;
    quantiles of every shipped reward over one sequence a gene, of all genes, those of validation and test included;
    quantiles of the backbone's likelihood bound over one sequence a gene of validation and test.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from gendesign.backbone import Backbone
from gendesign.building import build
from gendesign.codecs import SequenceCodec
from gendesign.data.sequences import SequenceDataModule
from gendesign.loading import load_backbone
from gendesign.metrics.summary import Reference, build_reference
from gendesign.rewards import list_rewards, load_reward
from gendesign.rewards.base import Reward

Index = NDArray[np.int64]


def most_common(genes: list[str], counts: NDArray[np.float64], rows: Index) -> Index:
    """One row a gene: the one with the highest count, the first of equals."""
    best: dict[str, int] = {}
    for row in rows.tolist():
        if genes[row] not in best or counts[row] > counts[best[genes[row]]]:
            best[genes[row]] = row
    return np.array(sorted(best.values()))


def scored(reward: Reward, designs: list[str], *, block: int = 512) -> NDArray[np.float64]:
    """Values of a reward, NaN where it has none."""
    parts = [reward(designs[start : start + block]).values for start in range(0, len(designs), block)]
    return np.concatenate(parts)


def bound(backbone: Backbone, designs: list[str], *, times: int, block: int = 64) -> NDArray[np.float64]:
    """Likelihood bound in nats a letter."""
    parts = []
    for start in range(0, len(designs), block):
        some = designs[start : start + block]
        values = backbone.log_likelihood(some, num_times=times, seed=0).cpu().numpy()
        parts.append(values / np.array([len(design) for design in some]))
    return np.concatenate(parts)


def reference_of(
    backbone: Backbone,
    data: SequenceDataModule,
    *,
    guide: str,
    rewards: list[str],
    gene_column: str,
    count_column: str,
    times: int,
) -> Reference:
    """Measure everything; see the module's docstring."""
    if not isinstance(backbone.codec, SequenceCodec):
        raise SystemExit("references of sequences need a backbone of sequences")
    alphabet = backbone.codec.alphabet
    sequences, genes = data.sequences, data.column(gene_column)
    counts = np.array(data.column(count_column), dtype=np.float64)
    train = data.indices("train")
    unseen = np.concatenate([data.indices("val"), data.indices("test")])
    everyone = most_common(genes, counts, np.concatenate([train, unseen]))
    held = most_common(genes, counts, unseen)
    quantiles = {}
    for name in rewards:
        start = time.perf_counter()
        reward = load_reward(name)
        if getattr(reward, "alphabet", alphabet) != alphabet:
            continue  # ACGT are amino acids, too, and would be scored as a protein
        values = scored(reward, [sequences[i] for i in everyone])
        known = np.isfinite(values)
        print(
            f"{name}: {known.sum()} of {len(values)} scored, {time.perf_counter() - start:.1f} s", flush=True
        )
        if known.sum() >= 1000:  # quantiles of fewer say little about the top percentile
            quantiles[name] = values
    start = time.perf_counter()
    guiding = scored(load_reward(guide), [sequences[i] for i in train])
    print(f"{guide} over {len(train)} training alleles: {time.perf_counter() - start:.1f} s", flush=True)
    start = time.perf_counter()
    naturalness = bound(backbone, [sequences[i] for i in held], times=times)
    print(f"likelihood of {len(held)} unseen genes: {time.perf_counter() - start:.1f} s", flush=True)
    return build_reference(
        [sequences[i] for i in train],
        alphabet,
        genes=[genes[i] for i in train],
        counts=counts[train],
        guide_scores=guiding,
        reward_scores=quantiles,
        naturalness=naturalness,
        notes={
            "natural": f"Natural rewards are of {len(everyone):,} genes, the most common allele of each; natural "
            f"words are of the {len(set(genes[i] for i in train)):,} training genes; natural likelihoods are of "
            f"{len(held):,} unseen genes.",
            "guide": guide,
        },
    )


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("backbone", help="shipped name or folder")
    parser.add_argument(
        "--config", type=Path, required=True, help="training configuration, for the data's split"
    )
    parser.add_argument("--guide", default="dna-expression")
    parser.add_argument("--rewards", nargs="*", default=None, help="default: all that ship")
    parser.add_argument("--gene-column", default="gene_promoter")
    parser.add_argument("--count-column", default="num_isolates")
    parser.add_argument("--times", type=int, default=32, help="time samples of the likelihood bound")
    parser.add_argument("--out", type=Path, default=None, help="default: into the backbone's folder")
    arguments = parser.parse_args()
    backbone = load_backbone(arguments.backbone)
    data = build(
        yaml.safe_load(arguments.config.read_text())["data"], kinds=(SequenceDataModule, SequenceCodec)
    )
    out = arguments.out or (backbone.folder or Path()) / "reference.safetensors"
    reference = reference_of(
        backbone,
        data,
        guide=arguments.guide,
        rewards=arguments.rewards if arguments.rewards is not None else list(list_rewards()),
        gene_column=arguments.gene_column,
        count_column=arguments.count_column,
        times=arguments.times,
    )
    reference.save(out)
    for name, values in reference.reward_quantiles.items():
        print(f"{name}: median {values[50]:.3f}, 99th percentile {values[99]:.3f}")
    print(f"halves correlate: {dict(reference.half_correlation)}; top: {reference.notes['top']}")
    print(f"{out}: {out.stat().st_size:,} bytes, {len(reference.hashes):,} hashed words")


if __name__ == "__main__":
    main()

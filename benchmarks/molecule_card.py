"""The figures of a molecule backbone's card: are its unsteered molecules like unseen natural ones?

    python benchmarks/molecule_card.py molecule-zinc --config configs/train/molecule_zinc.yaml

Draws molecules and sets them beside as many unseen ones (validation and test); beside every distance stands the same
distance between training molecules and the unseen ones, which is what a perfect backbone would have. Validity is
printed, although SELFIES give it to any string of symbols. What tells a backbone that writes SELFIES from one that
stumbles into them: the share of rows that are written as SELFIES would write the molecule, the shares of structures
that nature avoids, and the distances. The Frechet ChemNet distance is measured where `fcd_torch` is installed, which
brings its weights along (`pip install fcd_torch`; nothing is fetched while it runs).

Bjerrum and Threlfall (2017, arXiv 1705.04612) and Preuer et al., "Frechet ChemNet distance" (2018, doi
10.1021/acs.jcim.8b00234); how published figures are taken: Polykovskiy et al., "MOSES" (2020, doi
10.3389/fphar.2020.565644).
"""

import argparse
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from gendesign.backbone import Backbone
from gendesign.building import build
from gendesign.codecs import Codec
from gendesign.data.sequences import SequenceDataModule
from gendesign.data.splitting import SIDES, hashed_split
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import Ancestral, FirstHitting
from gendesign.errors import DesignError
from gendesign.files.sequences import read_rows
from gendesign.loading import load_backbone
from gendesign.metrics.molecule_reference import PROPERTIES, MoleculeReference, properties, ring_sizes
from gendesign.metrics.similarity import molecule_distance
from gendesign.molecules import oddities
from gendesign.molecules.chemistry import parse
from gendesign.molecules.codec import MoleculeCodec

RULES = {"ancestral": Ancestral, "first-hitting": FirstHitting}


def sampled(
    backbone: Backbone, num: int, *, steps: int, seed: int, exact: bool
) -> tuple[list[str], list[list[int]]]:
    """Unsteered molecules and the rows of symbols that they were, the network in bfloat16 unless `exact`."""
    rows: list[list[int]] = []
    codec, start, cpu = backbone.codec, time.perf_counter(), time.process_time()
    decode = codec.decode

    def noted(x: torch.Tensor) -> list[str]:
        rows.extend(x.tolist())
        return decode(x)

    codec.decode = noted  # type: ignore[method-assign]
    with nullcontext() if exact else torch.autocast("cpu", dtype=torch.bfloat16):
        found = backbone.sample(num, steps=steps, seed=seed)
    codec.decode = decode  # type: ignore[method-assign]
    spent = time.perf_counter() - start, time.process_time() - cpu
    print(f"sampled {num} in {spent[0]:.0f} s ({spent[1]:.0f} s of CPU)", flush=True)
    return found, rows


def as_written(codec: MoleculeCodec, molecules: list[str], rows: list[list[int]]) -> float:
    """Share of the rows that hold exactly the symbols by which their molecule is encoded."""
    return float(
        np.mean(
            [codec.is_valid(m) and codec.ids(m) == row for m, row in zip(molecules, rows, strict=True) if m]
        )
    )


def split(config: Path) -> dict[str, list[str]]:
    """Training and unseen molecules of the table, each in random order.

    The table is not encoded, which would take minutes: of ZINC every molecule is inside the vocabulary
    (`molecule_vocabulary.py`).
    """
    data = build(yaml.safe_load(config.read_text())["data"], kinds=(SequenceDataModule, Codec))
    rows = read_rows(data._file()).column(data.sequence_column, meant_for="smiles", path=data._file())
    side = hashed_split(
        rows,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction,
        seed=data.split_seed,
        always_train=data.always_train,
    )
    random = np.random.default_rng(0)
    places = {
        "unseen": np.flatnonzero(side != SIDES["train"]),
        "training": np.flatnonzero(side == SIDES["train"]),
    }
    return {name: [rows[row] for row in random.permutation(place)] for name, place in places.items()}


def wasserstein(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Wasserstein's distance of two samples, by a thousand quantiles."""
    at = (np.arange(1000) + 0.5) / 10
    return float(np.abs(np.percentile(first, at) - np.percentile(second, at)).mean())


def odd_shares(molecules: list[str]) -> dict[str, float]:
    """Percent of the molecules that are odd in each way, and that hold rings of unusual size."""
    # Kept alive: ring information does not keep its molecule.
    parsed = [parse(smiles) for smiles in molecules]
    sizes = [[len(ring) for ring in molecule.GetRingInfo().AtomRings()] for molecule in parsed]
    rings = {
        "ring of 3 or 4": np.mean([any(size < 5 for size in some) for some in sizes]),
        "ring above 6": np.mean([any(size > 6 for size in some) for some in sizes]),
    }
    return {name: 100 * float(share) for name, share in (oddities.shares(molecules) | rings).items()}


def tokens(codec: MoleculeCodec, molecules: list[str]) -> NDArray[np.float64]:
    """SELFIES symbols of each molecule; NaN where the codec cannot encode it."""
    found = np.full(len(molecules), np.nan)
    for row, smiles in enumerate(molecules):
        try:
            found[row] = len(codec.split(smiles))
        except DesignError:
            continue
    return found


def diversity(molecules: list[str]) -> float:
    """Mean distance (1 - Tanimoto similarity) of the pairs of 1,000 molecules."""
    rows = molecules[:1000]
    return float(molecule_distance(rows)[np.triu_indices(len(rows), 1)].mean())


def chemnet(groups: dict[str, list[str]], unseen: list[str]) -> None:
    """Print Frechet ChemNet distances to unseen molecules, where the package is there."""
    try:
        from fcd_torch import FCD  # type: ignore[import-not-found]
    except ImportError:
        print("Frechet ChemNet distance: left out, fcd_torch is not installed")
        return
    distance = FCD(device="cpu", n_jobs=1)
    natural = distance.precalc(unseen)
    for name, molecules in groups.items():
        print(
            f"Frechet ChemNet distance, {name} to unseen: {distance(pref=natural, gen=molecules):.3f}",
            flush=True,
        )


def picture(
    path: Path, groups: dict[str, list[str]], measured: dict[str, dict[str, NDArray[np.float64]]]
) -> None:
    """Distributions of the properties and of ring sizes, one line a group."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 4, figsize=(13, 8.5))
    colours = {"samples": "#c0392b", "unseen": "#2c3e50", "training": "#95a5a6"}
    for axis, name in zip(axes.flat, measured["unseen"], strict=False):
        natural = measured["unseen"][name]
        low, high = np.nanpercentile(natural, [0, 100])
        whole = bool(np.all(natural[np.isfinite(natural)] % 1 == 0)) and high - low < 90
        edges = np.arange(low - 1.5, high + 2.5) if whole else np.linspace(low, high, 50)
        for group, values in measured.items():
            known = values[name][np.isfinite(values[name])]
            axis.hist(known.clip(edges[0], edges[-1]), edges, density=True, histtype="step", label=group,
                      color=colours[group], lw=1.6 if group == "samples" else 1.2)  # fmt: skip
        axis.set_title(name, fontsize=10)
        axis.set_yticks([])
    last = axes.flat[len(measured["unseen"])]
    for group, molecules in groups.items():
        sizes = ring_sizes(molecules)
        at = range(3, 13)
        last.plot(
            list(at),
            [sizes.get(size, 0) + 1e-5 for size in at],
            "o-",
            ms=3,
            label=group,
            color=colours[group],
        )
    last.set_yscale("log")
    last.set_title("ring sizes, share of rings", fontsize=10)
    axes.flat[0].legend(fontsize=8, frameon=False)
    for axis in list(axes.flat)[len(measured["unseen"]) + 1 :]:
        axis.set_axis_off()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Parse the command line, sample, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("backbone", help="shipped name or folder")
    parser.add_argument("--config", type=Path, required=True, help="training configuration, for the split")
    parser.add_argument("--num", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=72, help="of ancestral sampling")
    parser.add_argument("--unmasking", choices=RULES, help="instead of the backbone's own rule")
    parser.add_argument("--temperature", type=float, help="instead of the backbone's own")
    parser.add_argument(
        "--float32", action="store_true", help="sample in float32, as `gendesign design` does"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--samples", type=Path, help="SMILES, one a line: read if the file is there, else written"
    )
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--likelihoods", type=int, default=0, help="unseen molecules whose bound is measured")
    arguments = parser.parse_args()
    backbone = load_backbone(arguments.backbone, temperature=arguments.temperature)
    codec, process = backbone.codec, backbone.process
    assert isinstance(codec, MoleculeCodec) and isinstance(process, MaskedDiffusion)
    if arguments.unmasking is not None:
        backbone.process = process.with_unmasking(RULES[arguments.unmasking]())

    if arguments.samples is not None and arguments.samples.is_file():
        drawn = arguments.samples.read_text().splitlines()
    else:
        drawn, rows = sampled(
            backbone, arguments.num, steps=arguments.steps, seed=arguments.seed, exact=arguments.float32
        )
        print(f"as written {as_written(codec, drawn, rows):.3%}", flush=True)
        if arguments.samples is not None:
            arguments.samples.write_text("".join(f"{smiles}\n" for smiles in drawn))
    table = split(arguments.config)
    valid = [smiles for smiles in drawn if smiles]
    groups = {"samples": valid} | {name: some[: len(drawn)] for name, some in table.items()}
    distinct = list(dict.fromkeys(valid))
    assert isinstance(backbone.reference, MoleculeReference)
    novel = backbone.reference.novelty(distinct)["novel"]
    lengths = {name: tokens(codec, molecules) for name, molecules in groups.items()}
    print(f"valid {len(valid) / len(drawn):.4%}, unique {len(distinct) / len(valid):.3%}")
    print(f"novel {novel.mean():.3%} of the unique, encodable {np.isfinite(lengths['samples']).mean():.3%}")
    print(
        "internal diversity:", {name: round(diversity(some), 4) for name, some in groups.items()}, flush=True
    )

    measured = {
        name: properties(molecules) | {"symbols": lengths[name]} for name, molecules in groups.items()
    }
    print(
        "| property | mean unseen | mean samples | W samples-unseen | W training-unseen | W / sd |\n|"
        + "---|" * 6
    )
    for name in [*PROPERTIES, "symbols"]:
        own, seen_, natural = (
            values[np.isfinite(values)]
            for values in (measured[group][name] for group in ("samples", "training", "unseen"))
        )
        far, floor = wasserstein(own, natural), wasserstein(seen_, natural)
        means = f"{natural.mean():.3f} | {own.mean():.3f}"
        print(f"| {name} | {means} | {far:.4f} | {floor:.4f} | {far / natural.std():.3f} |")
    odd = {name: odd_shares(molecules) for name, molecules in groups.items()}
    print("| % of molecules with | unseen | training | samples |\n|---|---|---|---|")
    for name in odd["unseen"]:
        print(
            f"| {name} | {odd['unseen'][name]:.2f} | {odd['training'][name]:.2f} | {odd['samples'][name]:.2f} |"
        )
    for name, molecules in groups.items():
        print(
            f"ring sizes, {name}:",
            {size: round(100 * share, 3) for size, share in ring_sizes(molecules).items()},
        )
        atoms = measured[name]["heavy atoms"]
        print(
            f"heavy atoms, {name}: percentiles 0.1, 1, 50, 99, 99.9:",
            np.percentile(atoms, [0.1, 1, 50, 99, 99.9]),
        )
    chemnet({name: groups[name] for name in ("samples", "training")}, groups["unseen"])
    if arguments.picture is not None:
        picture(arguments.picture, groups, measured)
    if arguments.likelihoods:
        some = table["unseen"][: arguments.likelihoods]
        nats = -backbone.log_likelihood(some, num_times=16, seed=0).cpu().numpy()
        per = nats.sum() / np.log(2) / tokens(codec, some).sum()
        print(
            f"bound: {per:.4f} bits a symbol, {nats.mean():.2f} nats a molecule, over {len(some)} unseen molecules"
        )


if __name__ == "__main__":
    main()

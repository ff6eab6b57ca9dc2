"""Inverse folding and stability on proteins that neither backbone nor predictors have seen: the figures of the cards.

    python benchmarks/protein_stability.py predictors     (a minute on one CPU core)
    python benchmarks/protein_stability.py backbone       (a minute)
    python benchmarks/protein_stability.py guided         (a minute)
    python benchmarks/protein_stability.py designs        (some minutes)
    python benchmarks/protein_stability.py drakes         (a minute or two a protein to train; folders in --folder)

It needs the tables megascale_backbones and stability_megascale_subset (`gendesign data get NAME`).
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from scipy.stats import spearmanr

import gendesign as gd
from gendesign.codecs import ProteinCodec
from gendesign.data.stability import StabilityDataModule
from gendesign.data.structures import StructureDataModule, batch_structures
from gendesign.files.structures import threaded_pdb
from gendesign.models.pairwise_energy import PairwiseEnergy
from gendesign.rewards.predictors import load_trained
from gendesign.rewards.stability import Stability, StabilityPredictor

CONFIGS = Path(__file__).parents[1] / "configs" / "train"


def settings(name: str) -> dict:
    """The data module's arguments of a training configuration."""
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["data"]["init_args"]


@torch.no_grad()
def predictors() -> None:
    """Spearman and RMSE of ddG by test protein, and what the standard deviation says of the error."""
    errors = {}
    for reward in ("stability", "stability-heldout"):
        data = StabilityDataModule(**settings(f"protein_{reward.replace('-', '_')}"))
        model = load_trained(reward, StabilityPredictor, (PairwiseEnergy,))
        train = np.concatenate([data.tables[i][np.isfinite(data.tables[i])] for i in data.indices("train")])
        rho, found, spread, truth = {}, [], [], []
        for i in data.indices("test"):
            batch = data.collate([i])
            measured = batch["targets"][0].isfinite()
            members = model(batch)[:, 0, measured].double()
            ddg, y = members.mean(0).numpy(), batch["targets"][0, measured].double().numpy()
            rho[data.proteins.structures[i].name] = spearmanr(ddg, y)[0]
            found.append(ddg), truth.append(y), spread.append(members.std(0, correction=0).numpy())
        ddg, y, std = (np.concatenate(parts) for parts in (found, truth, spread))
        errors[reward] = ddg - y
        rmse, flat = (np.sqrt(((guess - y) ** 2).mean()) for guess in (ddg, train.mean()))
        print(
            f"{reward}: {len(rho)} proteins, {len(y)} substitutions; Spearman by protein, median "
            f"{np.median(list(rho.values())):.3f} ({min(rho.values()):.3f} to {max(rho.values()):.3f}), of all "
            f"{spearmanr(ddg, y)[0]:.3f}; RMSE {rmse:.3f} kcal/mol (the training mean everywhere: {flat:.3f}); "
            f"|error| against std {spearmanr(np.abs(ddg - y), std)[0]:.2f}"
        )
        print("  " + ", ".join(f"{name} {value:.2f}" for name, value in rho.items()))
    print(f"errors of the two: Pearson {np.corrcoef(*errors.values())[0, 1]:.2f}")


@torch.no_grad()
def backbone() -> None:
    """Perplexity and recovery of test proteins, beside the composition of the training proteins."""
    data = StructureDataModule(**settings("protein_inverse_folding"))
    base = gd.load_backbone("protein-inverse-folding")
    train = [data.structures[i].sequence for i in data.indices("train")]
    letters = ProteinCodec(1).alphabet
    counts = np.array([sum(s.count(a) for s in train) for a in letters]) + 1.0
    share = dict(zip(letters, counts / counts.sum(), strict=True))
    test = [data.structures[i] for i in data.indices("test")]
    batch = batch_structures(test)
    nats = -base.process.log_likelihood(
        base.denoiser, batch["x"], num_times=64, generator=torch.Generator().manual_seed(0),
        cond=batch["cond"], mask=batch["mask"],
    ).numpy()  # fmt: skip
    lengths = np.array([len(one) for one in test])
    alone = np.array([-sum(math.log(share[a]) for a in one.sequence) for one in test])
    logits = base.denoiser(torch.full_like(batch["x"], 20), None, batch["cond"], batch["mask"])
    hit = ((logits.argmax(-1) == batch["x"]) & batch["mask"]).sum(1).numpy()
    drawn = sum(share[a] for one in test for a in one.sequence) / lengths.sum()
    common = max(share, key=share.get)
    same = sum(one.sequence.count(common) for one in test) / lengths.sum()
    each = np.random.default_rng(0).integers(0, len(test), (1000, len(test)))
    low, high = np.percentile([math.exp(nats[i].sum() / lengths[i].sum()) for i in each], [2.5, 97.5])
    print(
        f"{len(test)} proteins, {lengths.sum()} residues: perplexity {math.exp(nats.sum() / lengths.sum()):.2f} "
        f"({low:.2f} to {high:.2f}), composition {math.exp(alone.sum() / lengths.sum()):.2f}; "
        f"most likely amino acid from the backbone alone {hit.sum() / lengths.sum():.3f}, "
        f"most common one ({common}) {same:.3f}, one drawn from the composition {drawn:.3f}"
    )


def guided() -> None:
    """Recovery of samples by the scale of guidance toward the structure, and their likelihood at scale 1."""
    data = StructureDataModule(**settings("protein_inverse_folding"))
    test = [data.structures[i] for i in data.indices("test")]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{one.name}.pdb" for one in test]
        for one, path in zip(test, paths, strict=True):
            path.write_text(threaded_pdb(one, one.sequence))
        for scale in (1.0, 1.5, 2.0):
            own, nats = [], []
            for one, path in zip(test, paths, strict=True):
                base, bound = (
                    gd.load_backbone("protein-inverse-folding", structure=str(path), guidance_scale=w)
                    for w in (1.0, scale)
                )
                drawn = bound.sample(8, seed=0)
                own.append(np.mean([[a == b for a, b in zip(d, one.sequence, strict=True)] for d in drawn]))
                nats.append(float(base.log_likelihood(drawn, num_times=16).mean()) / len(one))
            print(
                f"guidance_scale {scale:g}: recovery {np.mean(own):.1%}, perplexity {math.exp(-np.mean(nats)):.1f}"
            )


MUTATIONS = 5
METHODS = {
    "base": (gd.Unsteered(), False),
    "SVDD(10)": (gd.SVDD(candidates=10, alpha=0.2), False),
    "guidance": (gd.Guidance(alpha=0.2), False),
    f"base, at most {MUTATIONS} mutations": (gd.Unsteered(), True),
    f"SVDD(10), at most {MUTATIONS} mutations": (gd.SVDD(candidates=10, alpha=0.2), True),
}


SMALLEST = ["2hdz_A_11-60", "2mkx_A_4-50_L14A", "2l09_A_2-53", "2l6q_A_2-56"]
"""Test proteins that DRAKES is measured on: small ones, which have four folds."""


def drakes(num: int, folder: str) -> None:
    """Fine-tune on some test proteins by the shipped configuration, then design on these by every method."""
    data = StructureDataModule(**settings("protein_inverse_folding"))
    tuned = {}
    for one in (one for one in data.structures if one.name in SMALLEST):
        inside = (Path(folder) / one.name).resolve()
        inside.mkdir(parents=True, exist_ok=True)
        pdb = inside / f"{one.name}.pdb"
        pdb.write_text(threaded_pdb(one, one.sequence))
        keys = ("backbone", "reward.init_args", "heldout.init_args")
        words = [word for key in keys for word in (f"--model.{key}.structure", str(pdb))]
        file = str(CONFIGS.parent / "finetune" / "protein_stability.yaml")
        command = [sys.executable, "-m", "gendesign", "finetune", "--config", file, *words]
        made = inside / "runs" / "protein-stability-drakes" / "pretrained"
        if not made.exists():
            subprocess.run(command, cwd=inside, check=True)
        tuned[one.name] = str(made)
    designs(num, list(tuned), tuned)


def designs(num: int, names: list[str], tuned: dict[str, str] | None = None) -> None:
    """What the predictors say of designs, recovery, and likelihood under the base: means over proteins, and ranges."""
    data = StructureDataModule(**settings("protein_inverse_folding"))
    rows: dict[str, list[list[float]]] = {}
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for one in (one for one in data.structures if one.name in names):
            path = str(Path(folder) / f"{one.name}.pdb")
            Path(path).write_text(threaded_pdb(one, one.sequence))
            methods = dict(METHODS)
            if tuned:
                fine = gd.DRAKES(tuned=tuned[one.name])
                methods |= {"DRAKES": (fine, False), f"DRAKES, at most {MUTATIONS} mutations": (fine, True)}
            base = gd.load_backbone("protein-inverse-folding", structure=path)
            guide, auditor = Stability(path), Stability(path, predictor="stability-heldout")
            for name, (steering, bounded) in methods.items():
                given = {"start": one.sequence, "remask": MUTATIONS} if bounded else {}
                run = gd.design(
                    base, guide, steering, num_designs=num, seed=0, base_designs=0, heldout=auditor, **given
                )
                own = np.mean([[a == b for a, b in zip(d, one.sequence, strict=True)] for d in run.designs])
                held = run.scores["stability-heldout"].values
                rows.setdefault(name, []).append(
                    [np.median(run.values), np.median(held), (held > 0).mean(), own, run.naturalness.mean()]
                )
            print(one.name, f"{time.process_time() - start:.0f} s", flush=True)
    print("| | guide, median | auditor, median | above wild type, auditor | recovery | perplexity |")
    print("|---|---|---|---|---|---|")
    for name, found in rows.items():
        m, low, high = np.mean(found, axis=0), np.min(found, axis=0), np.max(found, axis=0)
        print(
            f"| {name} | {m[0]:.2f} ({low[0]:.2f} to {high[0]:.2f}) | {m[1]:.2f} ({low[1]:.2f} to {high[1]:.2f}) | "
            f"{m[2]:.0%} ({low[2]:.0%} to {high[2]:.0%}) | {m[3]:.1%} | {math.exp(-m[4]):.1f} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("predictors", "backbone", "guided", "designs", "drakes"))
    parser.add_argument("--num", type=int, default=8, help="designs a protein")
    parser.add_argument("--proteins", type=int, default=18, help="test proteins")
    parser.add_argument("--folder", default="runs/protein_drakes", help="where what DRAKES trains is kept")
    options = parser.parse_args()
    if options.what == "designs":
        designs(options.num, settings("protein_inverse_folding")["test"][: options.proteins])
    elif options.what == "drakes":
        drakes(options.num, options.folder)
    else:
        {"predictors": predictors, "backbone": backbone, "guided": guided}[options.what]()

"""Inverse folding and stability on proteins that neither backbone nor predictors have seen: the figures of the cards.

    python benchmarks/protein_stability.py predictors     (a minute on one CPU core)
    python benchmarks/protein_stability.py backbone       (a minute)
    python benchmarks/protein_stability.py designs        (some minutes)

It needs the tables megascale_backbones and stability_megascale_subset (`gendesign data get NAME`).
"""

import argparse
import math
import tempfile
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
from gendesign.models.structure_denoiser import StructureDenoiser
from gendesign.rewards.predictors import load_trained
from gendesign.rewards.stability import Stability, StabilityPredictor

CONFIGS = Path(__file__).parents[1] / "configs" / "train"


def settings(name: str) -> dict:
    """The data module's arguments of a training configuration."""
    return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["data"]["init_args"]


def stability_data(name: str) -> StabilityDataModule:
    """Substitutions as one of the predictors saw them, whole proteins in a batch."""
    return StabilityDataModule(**settings(name) | {"substitutions": 5000})


@torch.no_grad()
def predictors() -> None:
    """Spearman and RMSE of ddG by test protein."""
    for reward in ("stability", "stability-heldout"):
        data = stability_data(f"protein_{reward.replace('-', '_')}")
        model = load_trained(reward, StabilityPredictor, (StructureDenoiser,))
        mean = np.concatenate([data.collate([i])["targets"][:, 0] for i in data.indices("train")]).mean()
        rho, errors, found, truth = [], [], [], []
        for i in data.indices("test"):
            batch = data.collate([i])
            y = batch["targets"][:, 0].numpy()
            ddg = -model.change(batch["x"][1:], batch["x"][:1], model.network.encode(batch["cond"])).numpy()
            rho.append(spearmanr(ddg, y)[0]), errors.append(math.sqrt(((ddg - y) ** 2).mean()))
            found.append(ddg), truth.append(y)
        ddg, y = np.concatenate(found), np.concatenate(truth)
        rmse, flat = (np.sqrt(((guess - y) ** 2).mean()) for guess in (ddg, mean))
        print(
            f"{reward}: {len(rho)} proteins, {len(y)} substitutions; Spearman by protein, median {np.median(rho):.3f} "
            f"({min(rho):.3f} to {max(rho):.3f}), of all {spearmanr(ddg, y)[0]:.3f}; RMSE {rmse:.3f} "
            f"kcal/mol (the training mean everywhere: {flat:.3f})"
        )


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
    common = max(share, key=share.get)
    same = sum(one.sequence.count(common) for one in test) / lengths.sum()
    each = np.random.default_rng(0).integers(0, len(test), (1000, len(test)))
    low, high = np.percentile([math.exp(nats[i].sum() / lengths[i].sum()) for i in each], [2.5, 97.5])
    print(
        f"{len(test)} proteins, {lengths.sum()} residues: perplexity {math.exp(nats.sum() / lengths.sum()):.2f} "
        f"({low:.2f} to {high:.2f}), composition {math.exp(alone.sum() / lengths.sum()):.2f}; "
        f"most likely amino acid from the backbone alone {hit.sum() / lengths.sum():.3f}, "
        f"most common one ({common}) {same:.3f}"
    )


def designs(num: int, proteins: int) -> None:
    """Base and SVDD: what the predictors say, recovery, and likelihood under the base."""
    data = StructureDataModule(**settings("protein_inverse_folding"))
    rows: dict[str, list[list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for i in data.indices("test")[:proteins]:
            one = data.structures[i]
            path = str(Path(folder) / f"{one.name}.pdb")
            Path(path).write_text(threaded_pdb(one, one.sequence))
            base = gd.load_backbone("protein-inverse-folding", structure=path)
            guide, auditor = Stability(path), Stability(path, predictor="stability-heldout")
            for name, steering in (("base", gd.Unsteered()), ("SVDD", gd.SVDD(candidates=5, alpha=0.1))):
                run = gd.design(
                    base, guide, steering, num_designs=num, seed=0, base_designs=0, heldout=auditor
                )
                own = np.mean([[a == b for a, b in zip(d, one.sequence, strict=True)] for d in run.designs])
                held = list(run.scores.values())[1].values
                rows.setdefault(name, []).append(
                    [np.median(run.values), np.median(held), (held > 0).mean(), own, run.naturalness.mean()]
                )
    print("| | guide, median | auditor, median | above wild type, auditor | recovery | perplexity |")
    print("|---|---|---|---|---|---|")
    for name, found in rows.items():
        m = np.mean(found, axis=0)
        print(f"| {name} | {m[0]:.2f} | {m[1]:.2f} | {m[2]:.0%} | {m[3]:.1%} | {math.exp(-m[4]):.1f} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("predictors", "backbone", "designs"))
    parser.add_argument("--num", type=int, default=16, help="designs a protein")
    parser.add_argument("--proteins", type=int, default=18, help="test proteins")
    options = parser.parse_args()
    if options.what == "designs":
        designs(options.num, options.proteins)
    else:
        {"predictors": predictors, "backbone": backbone}[options.what]()

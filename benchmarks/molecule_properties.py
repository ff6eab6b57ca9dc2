"""Measure the differentiable predictor of molecule properties, as its card reports it.

    python benchmarks/molecule_properties.py [--predictor molecule-properties] [--backbone molecule-zinc]

R^2 and error of each head against RDKit: on ZINC molecules that it was not trained on;
on molecules of the backbone, read from the tokens as they were generated (what a gradient method sees) and from the
canonical spelling (what is scored); and on molecules that were steered by the predictor's own gradient, where it is
tempted to be wrong. The output is Markdown.
"""

from __future__ import annotations

import argparse
import hashlib

import numpy as np
import torch
import yaml
from torch.nn.functional import one_hot

from gendesign.data import tables
from gendesign.files.sequences import read_rows
from gendesign.loading import load_backbone
from gendesign.molecules import chemistry, descriptors
from gendesign.rewards import PredictedReward, Predictor, load_predictor
from gendesign.steering.guidance import Guidance
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.token_proposals import FirstOrder
from gendesign.steering.unsteered import Unsteered

CONFIG = "configs/train/molecule_properties.yaml"
TRUE = {"qed": descriptors.qed, "logp": descriptors.logp, "sa": descriptors.synthetic_accessibility}


def unseen(num: int) -> list[str]:
    """Molecules of the table that the training config leaves out: those whose hash comes after its `max_rows`."""
    with open(CONFIG) as handle:
        given = yaml.safe_load(handle)["data"]["init_args"]
    path = tables.locate(given["path"].removeprefix("data:"))
    molecules = read_rows(path).column("smiles", meant_for="molecules", path=path)
    molecules.sort(key=lambda smiles: hashlib.sha256(smiles.encode()).digest())
    return [chemistry.canonical(smiles) for smiles in molecules[given["max_rows"] :][:num]]


@torch.no_grad()
def predicted(model: Predictor, x: torch.Tensor) -> np.ndarray:
    """Predictions [rows, heads] of token ids."""
    letters = one_hot(x, model.codec.vocab_size).float()
    return torch.cat([model(part).mean(0) for part in letters.split(512)]).double().numpy()


def measured(names: list[str]) -> np.ndarray:
    """RDKit's values [rows, heads]."""
    return np.array([[of(chemistry.molecule(name)) for of in TRUE.values()] for name in names])


def show(which: str, found: np.ndarray, true: np.ndarray) -> None:
    """One line a head."""
    for head, p, t in zip(TRUE, found.T, true.T, strict=True):
        r2 = 1 - np.mean((p - t) ** 2) / np.var(t)
        print(
            f"| {which} | {len(t)} | {head} | {r2:.3f} | {np.corrcoef(p, t)[0, 1]:.3f} "
            f"| {np.sqrt(np.mean((p - t) ** 2)):.3f} | {p.mean():.3f} | {t.mean():.3f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predictor", default="molecule-properties", help="name or folder")
    parser.add_argument("--backbone", default="molecule-zinc", help="name or folder")
    parser.add_argument("--unseen", type=int, default=2000, help="test molecules")
    parser.add_argument("--generated", type=int, default=256, help="molecules of each kind")
    options = parser.parse_args()
    model = load_predictor(options.predictor)
    print("| molecules | n | head | R^2 | Pearson r | RMSE | predicted, mean | true, mean |")
    print("|---|---|---|---|---|---|---|---|")
    names = unseen(options.unseen)
    names = [name for name in names if model.codec.is_valid(name)]
    show("unseen ZINC", predicted(model, model.codec.encode(names)), measured(names))

    backbone, reward = load_backbone(options.backbone), PredictedReward(options.predictor, head="qed")
    kinds: dict[str, Steering] = {
        "generated": Unsteered(),
        "guided by its gradient, alpha 0.05": Guidance(proposal=FirstOrder(), alpha=0.05),
        "guided by its gradient, alpha 0.01": Guidance(proposal=FirstOrder(), alpha=0.01),
    }
    for which, method in kinds.items():
        plan = make_plan(backbone, steps=backbone.codec.length)
        sampler = method(backbone, reward)
        x = run_sampler(sampler, options.generated, plan, generator=torch.Generator().manual_seed(0)).x
        designs = backbone.codec.decode(x)
        good = [i for i, name in enumerate(designs) if name]
        true = measured([designs[i] for i in good])
        show(f"{which}: tokens", predicted(model, x[good]), true)
        if which == "generated":
            fits = [k for k, i in enumerate(good) if model.codec.is_valid(designs[i])]
            again = model.codec.encode([designs[good[k]] for k in fits])
            show(f"{which}: canonical", predicted(model, again), true[fits])


if __name__ == "__main__":
    main()

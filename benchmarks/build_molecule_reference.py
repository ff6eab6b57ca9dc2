"""Write the reference.safetensors of a backbone of molecules: what its reports compare designs with.

    python benchmarks/build_molecule_reference.py molecule-zinc --config configs/train/molecule_zinc.yaml

Reads the training configuration for the data and its split. Measures
    a hash of every training molecule, for novelty (the file holds no molecule);
    quantiles of properties and ring sizes of unseen molecules (validation and test);
    quantiles of every shipped reward that scores most of them;
    quantiles of the backbone's likelihood bound over some of them.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from gendesign.backbone import Backbone
from gendesign.building import build
from gendesign.codecs import Codec, TokenCodec
from gendesign.data.sequences import SequenceDataModule
from gendesign.errors import GendesignError
from gendesign.loading import load_backbone
from gendesign.metrics.reference_builder import build_molecule_reference
from gendesign.rewards import list_rewards, load_reward

BLOCK = 512
LEFT_OUT = ("dna", "gc-", "protein", "docking", "digit", "brightness", "contrast", "compressibility")
"""Rewards of other designs, and docking, which takes seconds a molecule."""


def scores(names: list[str], molecules: list[str]) -> dict[str, NDArray[np.float64]]:
    """Values of the rewards that score most of the molecules."""
    found = {}
    for name in names:
        start = time.perf_counter()
        try:
            reward = load_reward(name)
            first = reward(molecules[:20]).values
            if np.isfinite(first).sum() < 10:
                continue
            parts = [reward(molecules[i : i + BLOCK]).values for i in range(0, len(molecules), BLOCK)]
        except GendesignError as error:
            print(f"{name}: left out ({error})", flush=True)
            continue
        found[name] = np.concatenate(parts)
        print(
            f"{name}: {time.perf_counter() - start:.1f} s, median {np.nanmedian(found[name]):.3f}", flush=True
        )
    return found


def bound(backbone: Backbone, molecules: list[str], *, times: int) -> NDArray[np.float64]:
    """Likelihood bound in nats a token."""
    codec = backbone.codec
    assert isinstance(codec, TokenCodec)
    parts = []
    for start in range(0, len(molecules), 64):
        some = molecules[start : start + 64]
        values = backbone.log_likelihood(some, num_times=times, seed=0).cpu().numpy()
        parts.append(values / np.array([len(codec.split(molecule)) for molecule in some]))
    return np.concatenate(parts)


def main() -> None:
    """Parse the command line, measure, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("backbone", help="shipped name or folder")
    parser.add_argument("--config", type=Path, required=True, help="training configuration, for the split")
    parser.add_argument("--rewards", nargs="*", default=None, help="default: all that ship and fit")
    parser.add_argument("--num", type=int, default=10_000, help="unseen molecules that stand for nature")
    parser.add_argument("--likelihoods", type=int, default=1_000, help="of so many the bound is measured")
    parser.add_argument("--times", type=int, default=32, help="noise levels a molecule of the bound")
    parser.add_argument("--out", type=Path, default=None, help="default: into the backbone's folder")
    arguments = parser.parse_args()
    backbone = load_backbone(arguments.backbone)
    data = build(yaml.safe_load(arguments.config.read_text())["data"], kinds=(SequenceDataModule, Codec))
    rows = np.random.default_rng(0).permutation(np.concatenate([data.indices("val"), data.indices("test")]))
    unseen = [data.sequences[row] for row in rows[: arguments.num]]
    training = [data.sequences[row] for row in data.indices("train")]
    names = [name for name in list_rewards() if not name.startswith(LEFT_OUT)]
    reference = build_molecule_reference(
        training,
        unseen,
        reward_scores=scores(names if arguments.rewards is None else arguments.rewards, unseen),
        naturalness=bound(backbone, unseen[: arguments.likelihoods], times=arguments.times),
        notes={
            "natural": f"Natural figures are of {len(unseen):,} molecules of {data.path} that the backbone never "
            f"saw; natural likelihoods of {min(len(unseen), arguments.likelihoods):,} of them. Novelty is against "
            f"its {len(training):,} training molecules."
        },
    )
    out = arguments.out or (backbone.folder or Path()) / "reference.safetensors"
    reference.save(out)
    print(f"{out}: {out.stat().st_size:,} bytes, {len(reference.hashes):,} hashed molecules")
    print(reference.natural_facts, {size: round(share, 5) for size, share in reference.ring_sizes.items()})


if __name__ == "__main__":
    main()

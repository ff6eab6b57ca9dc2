"""The figures of the backbone of molecular graphs: validity without and with correction, and what is made.

    python benchmarks/molecule_graph.py runs/molecule-graph/pretrained --num 2000
    python benchmarks/molecule_graph.py runs/molecule-graph/pretrained --num 500 --compare

Raw validity counts graphs that RDKit sanitises and that are connected, as they leave the sampler: nothing is corrected.
Uniqueness is over corrected designs, novelty over those that are not in the training table without its
stereochemistry. Wasserstein distances of properties are to test molecules of the same sizes, in standard deviations of
these; beside them those of as many validation molecules: what a perfect model would have. With --compare raw validity
alone, by sampler and number of steps. Sampling runs in bfloat16 unless --float32 is given.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from scipy.stats import wasserstein_distance  # type: ignore[import-untyped]

from gendesign.backbone import Backbone
from gendesign.data.graphs import MolecularGraphDataModule
from gendesign.diffusion.solvers import Churn, Heun, Solver
from gendesign.loading import load_backbone
from gendesign.molecules import descriptors
from gendesign.molecules.chemistry import parse
from gendesign.molecules.graph_codec import MolecularGraphCodec

PROPERTIES: dict[str, Callable[[Any], float]] = {
    "QED": descriptors.qed,
    "SA": descriptors.synthetic_accessibility,
    "logP": descriptors.logp,
    "MW": descriptors.molecular_weight,
    "TPSA": descriptors.tpsa,
    "rings": descriptors.rings,
    "aromatic rings": descriptors.aromatic_rings,
    "largest ring": descriptors.largest_ring,
    "heavy atoms": descriptors.heavy_atoms,
}
SAMPLERS: dict[str, Solver | None] = {"transitions": None, "Heun": Heun(), "churn": Churn()}


class Recorder(MolecularGraphCodec):
    """The codec, which also keeps what was valid before it was corrected."""

    raw: list[str]

    def decode(self, x: torch.Tensor) -> list[str]:
        self.raw += self.decode_uncorrected(x)
        return super().decode(x)


def sample(
    backbone: Backbone, num: int, *, steps: int, solver: Solver | None, seed: int, half: bool
) -> tuple[list[str], list[str], float]:
    """Designs, their uncorrected readings ('' where invalid), and CPU seconds a design."""
    codec = backbone.codec
    assert isinstance(codec, MolecularGraphCodec)
    recorder = Recorder(codec.atoms, codec.max_atoms)
    recorder.raw = []
    backbone.codec, start = recorder, time.process_time()
    try:
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            designs = backbone.sample(num, steps=steps, solver=solver, seed=seed)
    finally:
        backbone.codec = codec
    return designs, recorder.raw, (time.process_time() - start) / num


def properties(smiles: Sequence[str]) -> dict[str, np.ndarray]:
    """Each property of every molecule."""
    mols = [parse(text) for text in smiles]
    return {name: np.array([float(of(mol)) for mol in mols]) for name, of in PROPERTIES.items()}


def main() -> None:
    """Print the figures as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("backbone")
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--sampler", choices=sorted(SAMPLERS), default="transitions")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", default="data:zinc250k_properties")
    parser.add_argument("--cache", default="runs/molecule-graph/graphs.npz")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--float32", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load_backbone(given.backbone)
    assert isinstance(backbone.codec, MolecularGraphCodec)

    if given.compare:
        print("| sampler | steps | raw validity | CPU ms a design |\n|---|---|---|---|")
        for name, steps in [("transitions", n) for n in (20, 40, 80, 160)] + [
            (name, n) for name in ("Heun", "churn") for n in (20, 40)
        ]:
            _, raw, cost = sample(
                backbone,
                given.num,
                steps=steps,
                solver=SAMPLERS[name],
                seed=given.seed,
                half=not given.float32,
            )
            valid = np.mean([bool(text) for text in raw])
            print(f"| {name} | {steps} | {valid:.3f} | {1000 * cost:.0f} |", flush=True)
        return

    designs, raw, cost = sample(
        backbone,
        given.num,
        steps=given.steps,
        solver=SAMPLERS[given.sampler],
        seed=given.seed,
        half=not given.float32,
    )
    data = MolecularGraphDataModule(given.table, backbone.codec, cache=given.cache)
    smiles, train = data.smiles, {data.smiles[row] for row in data.indices("train")}
    whole, as_they_are = [text for text in designs if text], [text for text in raw if text]
    print(
        f"{given.num} samples, {given.sampler}, {given.steps} steps, seed {given.seed}, {1000 * cost:.0f} CPU ms each"
    )
    for name, share in {
        "raw validity": len(as_they_are) / given.num,
        "validity after correction": len(whole) / given.num,
        "uniqueness": len(set(whole)) / len(whole),
        "novelty": np.mean([text not in train for text in whole]),
        "novelty of test molecules": np.mean([smiles[row] not in train for row in data.indices("test")]),
    }.items():
        print(f"- {name}: {share:.4f}")

    unseen = properties([smiles[row] for row in data.indices("test")[: 2 * given.num]])
    sets = {
        "all designs": properties(whole),
        "valid as they are": properties(as_they_are),
        "unseen molecules": properties([smiles[row] for row in data.indices("val")[: given.num]]),
    }
    print("\n| Wasserstein | " + " | ".join(sets) + " | mean, designs | mean, ZINC |\n" + "|---" * 6 + "|")
    for name in PROPERTIES:
        spread = unseen[name].std()
        cells = [wasserstein_distance(each[name], unseen[name]) / spread for each in sets.values()]
        means = [sets["all designs"][name].mean(), unseen[name].mean()]
        print(
            f"| {name} | "
            + " | ".join(f"{cell:.3f}" for cell in cells)
            + f" | {means[0]:.3g} | {means[1]:.3g} |"
        )


if __name__ == "__main__":
    main()

"""Steered molecules beside best-of-N and a genetic algorithm, at equal network evaluations and at equal reward calls.

    python benchmarks/molecules.py --out runs/molecules         (writes benchmarks/MOLECULES.md)

One pool of unsteered molecules is drawn and kept in --out, at the backbone's own temperature; best-of-N takes the best
of consecutive groups of it, which is what drawing them anew for every objective would give. Each run is kept too, so
that the command continues. SVDD is what `gendesign design molecules` runs: in the backbone's own order, greedy, the
best of some paths.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gendesign as gd
from gendesign.backbone import Backbone
from gendesign.determinism import generator
from gendesign.metrics.similarity import molecule_distance
from gendesign.molecules.chemistry import molecule
from gendesign.molecules.descriptors import logp, qed, synthetic_accessibility
from gendesign.provenance import fingerprint
from gendesign.steering.particles import Cost, make_plan
from gendesign.steering.sampler import Sampler, Steering, run_sampler

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Goal:
    """An objective: its words, the temperature at which SVDD draws candidates, its numbers of paths, designs a run."""

    words: str
    temperature: float = 0.75
    paths: tuple[int, ...] = (4,)
    designs: int = 24


OBJECTIVES = {
    "qed": Goal("drug-likeness (QED)", 0.85, (1, 3), 64),
    "drug-like": Goal("several goals at once: QED, SA, logP", 0.75, (1, 3), 64),
    "guacamol-perindopril": Goal("GuacaMol perindopril MPO"),
    "guacamol-median-1": Goal("GuacaMol median molecules 1"),
    "guacamol-c9h10n2o2pf2cl": Goal("GuacaMol isomers of C9H10N2O2PF2Cl"),
    "molecule-seh": Goal("predicted inhibition of sEH (molecule-seh, pIC50)"),
    "guacamol-zaleplon": Goal("GuacaMol zaleplon MPO"),
}


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What is on disk, or made and put there."""
    if path.exists():
        return json.loads(path.read_text())
    found = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(json.dumps(found))
    path.with_suffix(".part").replace(path)
    return found


def measured(molecules: list[str], values: np.ndarray) -> dict[str, float]:
    """A set of designs in numbers."""
    fine = [one for one in molecules if one]  # the empty one is none
    mols = [molecule(one) for one in fine]
    numbers = np.array([(qed(m), synthetic_accessibility(m), logp(m)) for m in mols])
    box = (numbers[:, 0] > 0.8) & (numbers[:, 1] < 3) & (numbers[:, 2] > 1) & (numbers[:, 2] < 4)
    known = values[np.isfinite(values)]
    return {
        "median": float(np.median(known)),
        "best": float(known.max()),
        "scored": len(known) / len(molecules),
        "diversity": spread(fine),
        "distinct": len(set(molecules)) / len(molecules),
        "sa": float(np.median(numbers[:, 1])),
        "box": float(box.mean()),
    }


def spread(molecules: list[str]) -> float:
    """Internal diversity: the mean distance of two different molecules of the set."""
    distance = molecule_distance(molecules)
    return float(np.nanmean(distance[~np.eye(len(molecules), dtype=bool)]))


def sampled(backbone: Backbone, sampler: Sampler, num: int, seed: int) -> tuple[list[str], Cost]:
    """Designs in blocks of 64, each with a stream of its own, and what they cost."""
    plan, designs, cost = make_plan(backbone, steps=1), [], Cost()
    for block, first in enumerate(range(0, num, 64)):
        noise = generator(seed, "molecules", block)
        final = run_sampler(sampler, min(64, num - first), plan, generator=noise)
        designs += backbone.codec.decode(final.x)
        cost = cost + final.cost
    return designs, cost


class Bench:
    """A backbone, its pool of unsteered molecules, and the runs on it."""

    def __init__(self, a: argparse.Namespace) -> None:
        self.a = a
        self.backbone = gd.load_backbone(a.backbone, precision=a.precision)
        mark = fingerprint(self.backbone)
        told = f"{mark}-{a.precision}-{a.pool}"
        self.folder = a.out / hashlib.sha256(told.encode()).hexdigest()[:12]
        found = kept(self.folder / "pool.json", self.draw)
        self.pool: list[str] = found["molecules"]
        self.rows_each: float = found["rows"]

    def draw(self) -> dict[str, Any]:
        """Unsteered molecules, of a seed that no run has."""
        begun = time.perf_counter()
        molecules, cost = sampled(self.backbone, gd.Unsteered()(self.backbone), self.a.pool, 1000)
        seconds = time.perf_counter() - begun
        return {"molecules": molecules, "rows": cost.network_rows / self.a.pool, "seconds": seconds}

    def values(self, name: str) -> np.ndarray:
        """An objective's values of the pool, NaN where it has none."""

        def score() -> list[float | None]:
            found = gd.load_reward(name)(self.pool).values
            return [float(v) if np.isfinite(v) else None for v in found]

        return np.array([np.nan if v is None else v for v in kept(self.folder / name / "pool.json", score)])

    def best_of(self, name: str, n: int) -> dict[str, float]:
        """The best of consecutive groups of n, as many as SVDD has designs, or as the pool has."""
        values = self.values(name)
        groups = min(OBJECTIVES[name].designs * self.a.seeds, len(values) // n)
        scores = np.where(np.isfinite(values), values, -np.inf)[: groups * n].reshape(groups, n)
        chosen = scores.argmax(1) + np.arange(groups) * n
        told = measured([self.pool[i] for i in chosen], values[chosen])
        return told | {"rows": n * self.rows_each, "calls": n, "processor": 0.0, "designs": groups}

    def run(
        self, name: str, label: str, method: Steering, seed: int, temperature: float | None = None
    ) -> dict[str, Any]:
        """A steered run in numbers; what steering spends, without judging the designs."""
        num = OBJECTIVES[name].designs

        def make() -> dict[str, Any]:
            backbone = self.backbone
            if temperature is not None:
                backbone = gd.load_backbone(
                    self.a.backbone, precision=self.a.precision, temperature=temperature
                )
            reward = gd.load_reward(name)
            begun, used = time.perf_counter(), time.process_time()
            designs, cost = sampled(backbone, method(backbone, reward), num, seed)
            seconds, processor = time.perf_counter() - begun, time.process_time() - used
            return measured(designs, reward(designs).values) | {
                "rows": cost.network_rows / num, "calls": cost.reward_calls / num,
                "seconds": seconds, "processor": processor, "designs": num, "molecules": designs,
            }  # fmt: skip

        return kept(self.folder / name / f"{label}-{num}-{seed}.json", make)

    def median(self, runs: list[dict[str, Any]]) -> dict[str, float]:
        """Medians over seeds, and the lowest and highest median."""
        told = {key: float(np.median([run[key] for run in runs])) for key in runs[0] if key != "molecules"}
        medians = [run["median"] for run in runs]
        return told | {"low": min(medians), "high": max(medians)}


HEAD = (
    "| method | median | best | in the box | diversity | SA | distinct | evaluations | calls | CPU seconds |"
)


def line(label: str, one: dict[str, float]) -> str:
    """A row of a table."""
    seconds = f"{one['processor']:.0f}" if one["processor"] else ""
    spread = f" ({one['low']:.3f} to {one['high']:.3f})" if one.get("low") != one.get("high") else ""
    return (
        f"| {label} | {one['median']:.3f}{spread} | {one['best']:.3f} | {100 * one['box']:.0f} % "
        f"| {one['diversity']:.3f} "
        f"| {one['sa']:.2f} | {100 * one['distinct']:.0f} % | {one['rows']:.0f} | {one['calls']:.0f} | {seconds} |"
    )


def table(bench: Bench, name: str) -> list[str]:
    """The methods on one objective."""
    a = bench.a
    goal = OBJECTIVES[name]
    seeds = range(a.first_seed, a.first_seed + a.seeds)
    lines = [f"## {goal.words}", "", HEAD, "|---" * 10 + "|", line("unsteered", bench.best_of(name, 1))]
    for paths in goal.paths:
        method = gd.SVDD(candidates=a.candidates, selection="argmax", paths=paths)
        label = f"svdd-{a.candidates}-{paths}-{goal.temperature}"
        svdd = bench.median([bench.run(name, label, method, seed, goal.temperature) for seed in seeds])
        many = "one path" if paths == 1 else f"best of {paths} paths"
        lines.append(line(f"**SVDD, {many}**", svdd))
        for each, what in ((bench.rows_each, "evaluations"), (1, "calls")):
            n = max(1, round(svdd["rows" if what == "evaluations" else "calls"] / each))
            best = bench.best_of(name, n)
            lines.append(line(f"best of {n} (equal {what}; {best['designs']} groups)", best))
        generations = max(1, round(svdd["calls"] / 2) - 1)
        bred = gd.Genetic(population=2, generations=generations)
        genetic = bench.median([bench.run(name, f"genetic-{generations}", bred, seed) for seed in seeds])
        lines.append(line(f"genetic, {generations} generations (at most as many calls)", genetic))
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="molecule-zinc")
    parser.add_argument("--out", type=Path, default=Path("runs/molecules"))
    parser.add_argument("--page", type=Path, default=HERE / "MOLECULES.md")
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--pool", type=int, default=2048)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=2, help="0 and 1 served to choose the settings")
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES)
    a = parser.parse_args()
    bench = Bench(a)
    lines = [
        "# Molecules",
        "",
        "    python benchmarks/molecules.py",
        "",
        f"Backbone {a.backbone} ({a.precision}), in its own order. SVDD keeps the best of {a.candidates} candidates a",
        "step, drawn at a temperature of .85 for QED and .75 for the others, and the best of so many paths. 64 designs",
        f"a run, 24 for GuacaMol's goals; medians over {a.seeds} seeds (and their range) that chose no settings.",
        f"Best-of-N takes the best of consecutive groups of one pool of {a.pool:,} unsteered molecules, drawn",
        "at .75, as many groups as SVDD has designs, or as the pool has. **In the box**: QED > .8, SA < 3 and logP 1",
        "to 4. **Best**: of a run's designs (median over seeds), but of all groups of best-of-N and of",
        "unsteered molecules, whose numbers differ: compare medians. **Diversity**: mean Tanimoto distance (ECFP4)",
        "of two designs. Evaluations and calls are a design's,",
        f"as spent; CPU seconds a whole run's steering, on {torch.get_num_threads()} thread.",
        "",
    ]
    for name in a.objectives:
        lines += table(bench, name)
        print("\n".join(lines[-16:]), flush=True)
        notes = HERE / "molecules_notes.md"
        told = notes.read_text().splitlines() if notes.exists() else []
        versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}."
        a.page.write_text("\n".join([*lines, *told, "", versions]) + "\n")


if __name__ == "__main__":
    main()

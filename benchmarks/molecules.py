"""Steered molecules beside best-of-N and a genetic algorithm, at equal network evaluations and at equal reward calls.

    python benchmarks/molecules.py --out runs/molecules         (writes benchmarks/MOLECULES.md)

One pool of unsteered molecules is drawn and kept in --out; best-of-N takes the best of consecutive groups of it, which
is what drawing them anew for every objective would give. Each run is kept too, so that the command continues.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gendesign as gd
from gendesign.determinism import generator
from gendesign.metrics.similarity import molecule_distance
from gendesign.molecules.chemistry import molecule
from gendesign.molecules.descriptors import logp, qed, synthetic_accessibility
from gendesign.provenance import fingerprint
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import run_sampler

HERE = Path(__file__).parent
OBJECTIVES = {
    "qed": "drug-likeness (QED)",
    "drug-like": "several goals at once: QED, SA, logP",
    "penalised-logp": "penalised logP",
    "guacamol-osimertinib": "GuacaMol osimertinib MPO",
    "guacamol-fexofenadine": "GuacaMol fexofenadine MPO",
    "guacamol-ranolazine": "GuacaMol ranolazine MPO",
    "guacamol-perindopril": "GuacaMol perindopril MPO",
    "guacamol-amlodipine": "GuacaMol amlodipine MPO",
    "guacamol-zaleplon": "GuacaMol zaleplon MPO",
    "guacamol-sitagliptin": "GuacaMol sitagliptin MPO",
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


class Bench:
    """A backbone, its pool of unsteered molecules, and the runs on it."""

    def __init__(self, a: argparse.Namespace) -> None:
        self.a = a
        self.backbone = gd.load_backbone(a.backbone, precision=a.precision)
        mark = fingerprint(self.backbone)
        told = f"{mark}-{a.precision}-{a.steps}-{a.num}-{a.pool}"
        self.folder = a.out / hashlib.sha256(told.encode()).hexdigest()[:12]
        found = kept(self.folder / "pool.json", self.draw)
        self.pool: list[str] = found["molecules"]
        self.rows_each: float = found["rows"]

    def draw(self) -> dict[str, Any]:
        """Unsteered molecules, of a seed that no run has."""
        begun = time.perf_counter()
        plan = make_plan(self.backbone, steps=self.a.steps)
        sampler, molecules, rows = gd.Unsteered()(self.backbone), [], 0
        for block, first in enumerate(range(0, self.a.pool, 64)):
            noise = generator(1000, "pool", block)
            final = run_sampler(sampler, min(64, self.a.pool - first), plan, generator=noise)
            molecules += self.backbone.codec.decode(final.x)
            rows += final.cost.network_rows
        seconds = time.perf_counter() - begun
        return {"molecules": molecules, "rows": rows / self.a.pool, "seconds": seconds}

    def values(self, name: str) -> np.ndarray:
        """An objective's values of the pool, NaN where it has none."""

        def score() -> list[float | None]:
            found = gd.load_reward(name)(self.pool).values
            return [float(v) if np.isfinite(v) else None for v in found]

        return np.array([np.nan if v is None else v for v in kept(self.folder / name / "pool.json", score)])

    def best_of(self, name: str, n: int) -> dict[str, float]:
        """The best of consecutive groups of n, as many as are asked for, or as the pool has."""
        values = self.values(name)
        groups = min(self.a.num, len(values) // n)
        scores = np.where(np.isfinite(values), values, -np.inf)[: groups * n].reshape(groups, n)
        chosen = scores.argmax(1) + np.arange(groups) * n
        told = measured([self.pool[i] for i in chosen], values[chosen])
        return told | {"rows": n * self.rows_each, "calls": n, "processor": 0.0, "designs": groups}

    def run(self, name: str, label: str, method: Any, seed: int, unmasking: Any = None) -> dict[str, float]:
        """A steered run in numbers."""

        def make() -> dict[str, Any]:
            begun, used = time.perf_counter(), time.process_time()
            run = gd.design(
                self.backbone,
                gd.load_reward(name),
                method,
                num_designs=self.a.num,
                steps=self.a.steps,
                seed=seed,
                base_designs=0,
                unmasking=unmasking,
            )
            cost = run.cost
            told = measured(run.designs, run.values)
            return told | {
                "rows": cost.network_rows / self.a.num, "calls": cost.reward_calls / self.a.num,
                "seconds": time.perf_counter() - begun, "processor": time.process_time() - used,
                "designs": self.a.num, "molecules": run.designs,
            }  # fmt: skip

        return kept(self.folder / name / f"{label}-{seed}.json", make)

    def median(self, runs: list[dict[str, Any]]) -> dict[str, float]:
        """Medians over seeds."""
        return {key: float(np.median([run[key] for run in runs])) for key in runs[0] if key != "molecules"}


HEAD = (
    "| method | median | best | in the box | diversity | SA | distinct | evaluations | calls | CPU seconds |"
)


def line(label: str, one: dict[str, float]) -> str:
    """A row of a table."""
    seconds = f"{one['processor']:.0f}" if one["processor"] else ""
    return (
        f"| {label} | {one['median']:.3f} | {one['best']:.3f} | {100 * one['box']:.0f} % | {one['diversity']:.3f} "
        f"| {one['sa']:.2f} | {100 * one['distinct']:.0f} % | {one['rows']:.0f} | {one['calls']:.0f} | {seconds} |"
    )


def table(bench: Bench, name: str, words: str, seeds: int) -> list[str]:
    """The methods on one objective."""
    a = bench.a
    greedy = gd.SVDD(candidates=a.candidates, selection="argmax")
    lines = [f"## {words}", "", HEAD, "|---" * 10 + "|", line("unsteered", bench.best_of(name, 1))]
    for label, rule in (("in order", None), ("ancestral", gd.Ancestral())):
        svdd = bench.median(
            [bench.run(name, f"svdd-{a.candidates}-{label}", greedy, s, rule) for s in range(seeds)]
        )
        lines.append(line(f"**SVDD, {label}**", svdd))
        equal_rows, equal_calls = (
            max(1, round(svdd[key] / each)) for key, each in (("rows", bench.rows_each), ("calls", 1))
        )
        for n, what in ((equal_rows, "evaluations"), (equal_calls, "calls")):
            best = bench.best_of(name, n)
            lines.append(line(f"best of {n} (equal {what}; {best['designs']} groups)", best))
        generations = max(1, round(svdd["calls"] / 2) - 1)
        bred = gd.Genetic(population=2, generations=generations)
        genetic = bench.median([bench.run(name, f"genetic-{generations}", bred, s) for s in range(seeds)])
        lines.append(line(f"genetic, {generations} generations (equal calls)", genetic))
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="molecule-zinc")
    parser.add_argument("--out", type=Path, default=Path("runs/molecules"))
    parser.add_argument("--page", type=Path, default=HERE / "MOLECULES.md")
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--num", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--pool", type=int, default=4096)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES))
    a = parser.parse_args()
    bench = Bench(a)
    lines = [
        "# Molecules",
        "",
        f"    python benchmarks/molecules.py --steps {a.steps} --num {a.num} --pool {a.pool} --seeds {a.seeds} "
        f"--objectives {' '.join(a.objectives)}",
        "",
        f"Backbone {a.backbone} ({a.precision}, at its own temperature of .75). SVDD keeps the best of {a.candidates}",
        f"candidates, in the backbone's own order or in {a.steps} ancestral steps. {a.num} designs a run; medians",
        f"over {a.seeds} seeds. Best-of-N takes",
        f"the best of consecutive groups of one pool of {a.pool:,} unsteered molecules, {a.num} groups or as many as",
        "there are. **In the box**: QED > .8, SA < 3 and logP 1 to 4. **Diversity**: mean Tanimoto distance (ECFP4) of",
        "two designs. Evaluations and calls are a design's, as spent; CPU seconds a whole run's, judging included, on",
        f"{torch.get_num_threads()} threads of {os.cpu_count()} cores.",
        "",
    ]
    for name in a.objectives:
        lines += table(bench, name, OBJECTIVES.get(name, name), a.seeds)
        print("\n".join(lines[-14:]), flush=True)
        notes = HERE / "molecules_notes.md"
        told = notes.read_text().splitlines() if notes.exists() else []
        versions = f"Python {platform.python_version()}, PyTorch {torch.__version__}."
        a.page.write_text("\n".join([*lines, *told, "", versions]) + "\n")


if __name__ == "__main__":
    main()

"""Every method against the exactly known p* of a landscape that was measured, at equal budgets.

    python benchmarks/landscape.py --data DATA --out runs/arena      (once; the backbone)
    python benchmarks/arena_value.py --data DATA --out runs/arena    (once; the learned value)
    python benchmarks/arena_tuned.py --data DATA --out runs/arena    (once; the fine-tuned backbones)
    python benchmarks/arena.py --data DATA --out runs/arena          (writes benchmarks/ARENA.md and its figure)
    python benchmarks/arena.py ... --compared FOLDER                 (and the section of yeast promoters anew)

and likewise with `--config benchmarks/arena_gb1.yaml`, after `landscape_gb1.py`, for ARENA_GB1.md. p is the
backbone's own law under first-hitting sampling, by dynamic programming over the partly masked strings; p*(x) ∝ p(x)
exp(r(x)/alpha) with r the measured score, 0 where nothing was measured: such designs are INVALID, their share is told,
and laws are compared on the others. What is compared is in the YAML file; what has been run is kept in OUT/results, so
that a method more costs only itself and a run that was ended goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from arena_page import COMPARED, retell, write_page
from arena_space import Arena

from gendesign.building import build, describe
from gendesign.comparison.cells import at_size, sized
from gendesign.comparison.config import CURRENCIES, Task
from gendesign.determinism import generator
from gendesign.errors import GendesignError
from gendesign.loading import load_backbone
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import Steering, run_sampler

HERE = Path(__file__).parent
BLOCK = 250


def sample(arena: Arena, method: Steering, *, num: int, seed: int) -> dict[str, Any]:
    """Draw designs; their indices and what they cost."""
    plan = make_plan(arena.backbone, steps=arena.length)
    sampler, found, kl = method(arena.backbone, arena.reward), [], []
    cost, start = None, time.process_time()
    for block, first in enumerate(range(0, num, BLOCK)):
        noise = generator(seed, "arena", block)
        final = run_sampler(sampler, min(BLOCK, num - first), plan, generator=noise)
        found.append((final.x * arena.place).sum(-1))
        kl.append(final.kl)
        cost = final.cost if cost is None else cost + final.cost
    assert cost is not None
    return {
        "designs": torch.cat(found).tolist(),
        "kl_bound": float(torch.cat(kl).mean()),
        "network_evaluations": cost.network_rows / num,
        "reward_calls": cost.reward_calls / num,
        "seconds": time.process_time() - start,
    }


class Results:
    """What has been run, kept in files of which none is ever half there.

    Args:
        folder: where they lie.

    Attributes:
        used: what was asked for, by file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used: dict[Path, Any] = {}

    def place(self, arena: Arena, method: Steering) -> Path:
        """Where those of a method are: another network, temperature or argument is another place."""
        tuned, value = getattr(method, "tuned", None), getattr(method, "value", None)
        networks = [arena.backbone, value if tuned is None else load_backbone(tuned)]
        weights = [one.provenance["weights_sha256"] for one in networks if hasattr(one, "provenance")]
        text = json.dumps([describe(method), arena.alpha, weights], sort_keys=True)
        return self.folder / hashlib.sha256(text.encode()).hexdigest()[:16]

    def kept(self, path: Path, make: Callable[[], Any]) -> Any:
        """What a file holds, made where it does not exist."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(make()))
            partial.replace(path)
        self.used[path] = json.loads(path.read_text())
        return self.used[path]

    def seconds(self) -> dict[str, float]:
        """Processor time of what was asked for."""
        spent = {"exact laws": 0.0, "designs": 0.0}
        for path, one in self.used.items():
            spent["exact laws" if path.stem == "exact" else "designs"] += (
                0.0 if one is None else one["seconds"]
            )
        return spent

    def law(self, arena: Arena, method: Steering) -> Any:
        """Measures of a method's exact law; None where it is not known."""
        return self.kept(self.place(arena, method) / "exact.json", lambda: arena.law_measures(method))

    def designs(self, arena: Arena, method: Steering, *, num: int, seed: int) -> Any:
        """Designs of a method."""
        path = self.place(arena, method) / f"{num}-{seed}.json"
        return self.kept(path, lambda: sample(arena, method, num=num, seed=seed))


def made(config: dict[str, Any], name: str, alpha: float, seed: int) -> Steering:
    """A method for a seed; seeds take turns with networks that were fine-tuned with fewer."""
    described = config["methods"][name]
    tuned = described.get("init_args", {}).get("tuned", "")
    if tuned.endswith("-{seed}"):
        trained = config["tuned"][Path(tuned).name.removesuffix("-{seed}")]["seeds"]
        described = {
            **described,
            "init_args": {**described["init_args"], "tuned": tuned.format(seed=seed % trained)},
        }
    method = build(described, trust=["landscape"])
    # at the arena's temperature
    return replace(method, alpha=alpha) if getattr(method, "alpha", None) == "auto" else method


def measure(arena: Arena, config: dict[str, Any], results: Results) -> list[dict[str, Any]]:
    """One record a method and budget."""
    records = []
    for currency in CURRENCIES:
        for budget in config[currency]:
            for name in config["methods"]:
                about = {"method": name, "currency": currency, "budget": budget}
                try:
                    found = one_method(arena, config, results, name, currency, budget)
                except Exception as error:  # a method that cannot run stops no other
                    records.append(about | {"reason": str(error)})
                    print(f"{currency} {budget:>5} {name}: {error}", file=sys.stderr, flush=True)
                    continue
                records.append(found | about)
                print(
                    f"{currency} {budget:>5} {name} {found['size'] or ''}: tv {found['tv']:.3f}", flush=True
                )
    return records


def one_method(
    arena: Arena, config: dict[str, Any], results: Results, name: str, currency: str, budget: int
) -> dict[str, Any]:
    """What all seeds of a method show at a budget."""
    num, runs, laws = config["num_designs"], [], {}
    task = Task("arena", "table", steps=arena.length, num_designs=num)
    for seed in range(config["seeds"]):
        method = made(config, name, arena.alpha, seed)
        method = sized(method, arena.backbone, task, currency, budget)
        runs.append(results.designs(arena, method, num=num, seed=seed))
        laws[results.place(arena, method)] = results.law(arena, method)
    known = [law for law in laws.values() if law is not None]
    size = getattr(method, method.sized_by) if method.sized_by else None
    return summarise(arena, runs) | {"exact": known, "size": size}


def grow(arena: Arena, config: dict[str, Any], results: Results) -> dict[str, dict[int, dict[str, Any]]]:
    """Exact measures of the methods whose law is known, at each of `exact_sizes`."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name in config["methods"]:
        try:
            method = made(config, name, arena.alpha, 0)
        except GendesignError:  # its folder does not exist yet: the tables say so
            continue
        if method.sized_by is None:
            continue
        for size in config["exact_sizes"]:
            law = results.law(arena, at_size(method, size))
            if law is None:
                break
            found.setdefault(name, {})[size] = law
            print(f"exact {name} {size}: {law['kl_to_target']:.4f} nats", flush=True)
    return found


def networks(arena: Arena, config: dict[str, Any], results: Results) -> list[dict[str, Any]]:
    """What was trained, and what each network samples."""
    found, seen = [], set()
    for name in config["methods"]:
        for seed in range(config["seeds"]):
            method = made(config, name, arena.alpha, seed)
            tuned = getattr(method, "tuned", None)
            if tuned is not None and tuned not in seen and Path(tuned).is_dir():
                facts = load_backbone(tuned).provenance["training"]
                found.append({**facts, "method": name, "law": results.law(arena, method)})
            seen.add(tuned)
    return found


def summarise(arena: Arena, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """All seeds together, and the range of their mean rewards."""
    designs = [torch.tensor(run["designs"]) for run in runs]
    laws = [torch.bincount(one, minlength=len(arena.p)).double() / len(one) for one in designs]
    rewards = [arena.measures(law)["mean_reward"] for law in laws]
    best = [float(arena.r[one[arena.ok[one]]].max()) for one in designs]
    told = {key: sum(run[key] for run in runs) / len(runs) for key in runs[0] if key != "designs"}
    whole = torch.stack(laws).mean(0)
    tvs = [arena.measures(law)["tv"] for law in laws]
    regret = float(arena.r[arena.ok].max()) - sum(best) / len(best)
    ranges = {"reward_range": [min(rewards), max(rewards)], "tv_seeds": tvs, "regret": regret}
    return arena.measures(whole) | told | ranges


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the landscape's table")
    parser.add_argument("--out", type=Path, help="folder of the run; the configuration's own when left out")
    parser.add_argument("--config", type=Path, default=HERE / "arena.yaml")
    parser.add_argument("--page", type=Path, help="likewise")
    parser.add_argument(
        "--compared",
        type=Path,
        help="folder of `gendesign compare yeast_promoters`: new tables in that section",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = arguments.config.read_text()
    own = yaml.safe_load(text)
    out, page = arguments.out or Path(own["out"]), arguments.page or HERE / own["page"]
    config = yaml.safe_load(text.replace("{arena}", str(out)))
    reward = importlib.import_module(config["landscape"]).measured(arguments.data)
    arena = Arena(out, reward, config["alpha"])
    results = Results(out / "results")
    records = measure(arena, config, results)
    grown, trained = grow(arena, config, results), networks(arena, config, results)
    seconds = results.seconds() | {"fine-tuning": sum(one["seconds"] for one in trained)}
    for part, folder in (("backbone", "backbone"), ("learned value", "value")):
        told = out / folder / "config.yaml"
        if told.is_file():
            seconds[part] = yaml.safe_load(told.read_text())["training"].get("seconds", 0.0)
    if arguments.compared is not None:
        retell(page.with_name(COMPARED), arguments.compared)
    write_page(page, arena, config, records, grown, trained, seconds)


if __name__ == "__main__":
    main()

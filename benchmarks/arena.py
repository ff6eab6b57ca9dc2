"""Every method against the exactly known p* of a landscape that was measured, at equal budgets.

    python benchmarks/landscape.py --data DATA --out runs/arena      (once; the backbone)
    python benchmarks/arena_value.py --data DATA --out runs/arena    (once; the learned value)
    python benchmarks/arena_tuned.py --data DATA --out runs/arena    (once; the fine-tuned backbone)
    python benchmarks/arena.py --data DATA --out runs/arena          (writes benchmarks/ARENA.md and its figure)
    python benchmarks/arena.py ... --compared FOLDER                 (with the tables of a `gendesign compare`)

and likewise with `--config benchmarks/arena_gb1.yaml --out runs/arena-gb1`, after `landscape_gb1.py`. p is the
backbone's own law under first-hitting sampling, by dynamic programming over the partly masked strings; p*(x) ∝ p(x)
exp(r(x)/alpha) with r the measured score, 0 where nothing was measured: such designs are INVALID, their share is told,
and laws are compared on the others. What is compared is in the YAML file; what has been run is kept in OUT/results, so
that a method more costs only itself.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from arena_page import write_page
from exact_laws import best_of_n_law, svdd_law, weighted_law
from safetensors.torch import save_file
from torch import Tensor

from gendesign.building import build, describe
from gendesign.comparison.cells import at_size, sized
from gendesign.comparison.config import CURRENCIES, Task
from gendesign.determinism import generator
from gendesign.diffusion.partial_strings import Enumerated
from gendesign.errors import GendesignError
from gendesign.loading import load_backbone
from gendesign.rewards.base import Reward
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.finetuned import FineTuned
from gendesign.steering.guidance import Guidance
from gendesign.steering.particles import make_plan
from gendesign.steering.proposals import Base
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.svdd import SVDD
from gendesign.steering.token_proposals import MaskedExact
from gendesign.steering.unsteered import Unsteered
from gendesign.steering.value import PosteriorMode, StateValue, Value

HERE = Path(__file__).parent
BLOCK = 250


class Arena:
    """p, r and p* of all strings.

    Args:
        folder: of the backbone that `landscape.py` wrote.
        reward: the measured score.
        alpha: temperature.
    """

    def __init__(self, folder: Path, reward: Reward, alpha: float) -> None:
        self.backbone = load_backbone(folder / "backbone")
        self.reward = reward
        self.alpha = alpha
        self.length, k = self.backbone.codec.length, self.backbone.codec.vocab_size
        self.place = k ** torch.arange(self.length - 1, -1, -1)
        every = torch.cartesian_prod(*[torch.arange(k)] * self.length)
        scores = torch.from_numpy(reward(self.backbone.codec.decode(every)).values)
        self.ok = ~scores.isnan()
        self.r = torch.where(self.ok, scores, 0.0)
        self.space = Enumerated(self.backbone.denoiser.table)
        self.p = self.space.law()
        self.target = (self.p.log() + scores.masked_fill(~self.ok, -torch.inf) / alpha).softmax(0)
        # what an unmeasured design is worth in dynamic programming: e^-20 of the worst measured one
        self.low = torch.where(self.ok, scores, float(scores[self.ok].min()) - 20 * alpha)
        self.soft = self.space.soft_values(self.low, alpha=alpha)
        huge = 1e5  # the limit of this temperature is the mean, of the measured designs
        counted = [torch.where(self.ok, part, -torch.inf) for part in (self.r, torch.zeros_like(self.r))]
        total, share = (self.space.soft_values(part, alpha=huge) for part in counted)
        self.mean = (total - share).nan_to_num(0.0)
        for name in ("soft", "mean"):
            save_file({"values": getattr(self, name)}, folder / f"{name}.safetensors")
        mode = self.space.log_probs.argmax(-1)
        mode = torch.where(self.space.states == k, mode, self.space.states)
        self.mode = self.r[(mode * self.place).sum(-1)]
        order = self.r.argsort()
        reached = self.target[order].cumsum(0)
        self.bin = torch.empty_like(order)
        self.bin[order] = (reached * 10).long().clamp(max=9)

    def _complete(self, values: Tensor) -> Tensor:
        """Values of complete strings, at their places among all."""
        everywhere = torch.zeros(len(self.space.states), dtype=torch.float64)
        everywhere[self.space.complete] = values
        return everywhere

    def deciles(self, q: Tensor) -> Tensor:
        """Mass of a law in each decile of the reward under p*."""
        return torch.zeros(10, dtype=torch.float64).index_add_(0, self.bin, q)

    def measures(self, q: Tensor) -> dict[str, Any]:
        """How far the measured part of a law is from p*."""
        feasible = float(q[self.ok].sum())
        q = torch.where(self.ok, q, 0.0) / feasible
        mine, right = self.deciles(q), self.deciles(self.target)
        return {
            "feasible": feasible,
            "mean_reward": float(q @ self.r),
            "log_p": float(q @ self.p.log()),
            "deciles": mine.tolist(),
            "tv": 0.5 * float((mine - right).abs().sum()),
            "kl_deciles": float(torch.where(mine > 0, mine * (mine / right).log(), 0.0).sum()),
        }

    def exact(self, method: Steering) -> Tensor | None:
        """The law of a method where it is known without sampling."""
        if isinstance(method, Unsteered):
            return self.p
        if isinstance(method, BestOfN):
            if method.selection == "best":
                return best_of_n_law(self.p, self.low, method.candidates)
            return weighted_law(self.p, self.low, alpha=self.alpha, num=method.candidates)
        if isinstance(method, FineTuned) and method.tuned is not None:
            return Enumerated(load_backbone(method.tuned).denoiser.table).law()
        table = self.table(getattr(method, "value", None))
        if table is None or not isinstance(method, SVDD | Guidance):
            return None
        if isinstance(method, Guidance):
            exact = isinstance(method.proposal, MaskedExact)
            return svdd_law(self.space, table, alpha=self.alpha, candidates=math.inf) if exact else None
        if method.selection != "categorical" or type(method.proposal) is not Base:
            return None
        return svdd_law(self.space, table, alpha=self.alpha, candidates=method.candidates)

    def table(self, value: Value | None) -> Tensor | None:
        """A value of every partly masked string, and the reward of the others; None where the state does not tell."""
        if type(value) is PosteriorMode:  # one of an unmeasured design is the parent's
            return self.mode if bool(self.ok.all()) else None
        if not isinstance(value, StateValue) or value.time_conditioned:
            return None
        codec, time = self.backbone.codec, torch.zeros(len(self.space.states))
        found = value.read(codec, self.space.states, time, alpha=self.alpha).double()
        return torch.where(self.space.complete, self._complete(self.low), found)


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


def at(method: Steering, alpha: float) -> Steering:
    """The method at the arena's temperature."""
    return replace(method, alpha=alpha) if getattr(method, "alpha", None) == "auto" else method  # type: ignore[type-var]


def place(folder: Path, method: Steering, alpha: float) -> Path:
    """Where the results of a method are kept."""
    tuned = getattr(method, "tuned", None)
    weights = "" if tuned is None else load_backbone(tuned).provenance["weights_sha256"]
    text = json.dumps([describe(method), alpha, weights], sort_keys=True)
    return folder / "results" / hashlib.sha256(text.encode()).hexdigest()[:16]


def kept(path: Path, make: Any) -> Any:
    """What a file holds, made where it does not exist."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def measure(arena: Arena, config: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """One record a method and budget."""
    num, seeds, records = config["num_designs"], config["seeds"], []
    task = Task(str(folder), "table", steps=arena.length, num_designs=num)
    for currency in CURRENCIES:
        for budget in config[currency]:
            for name, described in config["methods"].items():
                try:
                    method = at(build(described, trust=["landscape"]), arena.alpha)
                    method = sized(method, arena.backbone, task, currency, budget)
                    size = getattr(method, method.sized_by) if method.sized_by else None
                    own = place(folder, method, arena.alpha)
                    runs = [
                        kept(
                            own / f"{num}-{seed}.json",
                            lambda m=method, s=seed: sample(arena, m, num=num, seed=s),
                        )
                        for seed in range(seeds)
                    ]
                    law = kept(own / "exact.json", lambda m=method: exact(arena, m))
                except Exception as error:  # a method that cannot run stops no other
                    records.append(
                        {"method": name, "currency": currency, "budget": budget, "reason": str(error)}
                    )
                    print(f"{currency} {budget:>5} {name}: {error}", file=sys.stderr, flush=True)
                    continue
                records.append(summarise(arena, runs) | {"exact": law, "method": name, "currency": currency,
                                                         "budget": budget, "size": size})  # fmt: skip
                print(f"{currency} {budget:>5} {name} {size or ''}: tv {records[-1]['tv']:.3f}", flush=True)
    return records


def exact(arena: Arena, method: Steering) -> dict[str, Any] | None:
    """Measures of a method's exact law, with its full divergences."""
    q = arena.exact(method)
    if q is None:
        return None
    log_q = q.clamp(min=1e-300).log()
    given = torch.where(arena.ok, q, 0.0) / q[arena.ok].sum()
    log_given = given.clamp(min=1e-300).log()
    to_target = torch.where(given > 0, given * (log_given - arena.target.log()), 0.0)
    return arena.measures(q) | {
        "kl_to_target": float(to_target.sum()),
        "kl_to_base": float((q * (log_q - arena.p.log())).sum()),
        "tv_designs": 0.5 * float((given - arena.target).abs().sum()),
    }


def grow(arena: Arena, config: dict[str, Any], folder: Path) -> dict[str, dict[int, dict[str, Any]]]:
    """Exact measures of the methods whose law is known, at each of `exact_sizes`."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for name, described in config["methods"].items():
        try:
            method = at(build(described, trust=["landscape"]), arena.alpha)
        except GendesignError:  # its folder does not exist yet: the tables say so
            continue
        if method.sized_by is None:
            continue
        for size in config["exact_sizes"]:
            sized_so = at_size(method, size)
            own = place(folder, sized_so, arena.alpha)
            law = kept(own / "exact.json", lambda m=sized_so: exact(arena, m))
            if law is None:
                break
            found.setdefault(name, {})[size] = law
            print(f"exact {name} {size}: {law['kl_to_target']:.4f} nats", flush=True)
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
    parser.add_argument("--out", type=Path, default=Path("runs/arena"))
    parser.add_argument("--config", type=Path, default=HERE / "arena.yaml")
    parser.add_argument("--page", type=Path, default=HERE / "ARENA.md")
    parser.add_argument("--compared", type=Path, help="folder of a `gendesign compare`, whose tables follow")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    text = arguments.config.read_text().replace("{arena}", str(arguments.out))
    config = yaml.safe_load(text)
    reward = importlib.import_module(config["landscape"]).measured(arguments.data)
    arena = Arena(arguments.out, reward, config["alpha"])
    records = measure(arena, config, arguments.out)
    grown = grow(arena, config, arguments.out)
    write_page(arguments.page, arena, config, records, grown, compared=arguments.compared)


if __name__ == "__main__":
    main()

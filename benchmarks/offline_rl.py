"""Does guided synthetic data make better agents? TD3+BC and IQL on real, unguided and guided data.

    gendesign collect Pendulum-v1 policies=random,swing-up@1 num_steps=5000 out=runs/poor.npz
    python benchmarks/offline_rl.py       (writes benchmarks/OFFLINE_RL.md; keeps what is measured in runs/offline_rl/)

Another environment, with a backbone of its own, and the returns that are 0 and 100 on the scale:

    python benchmarks/offline_rl.py --environment Hopper-v5 --backbone MINE --real FILE.npz
        --random -20.3 --expert 3234.3 --reward-scale 1 --updates 100000 --segments 2000

Every agent sees as many rows in as many updates; half of each batch of the synthetic arms is real. The policy that
guides is the first seed's agent of the same method on real data alone.
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import gendesign as gd
from gendesign.backbone import Backbone
from gendesign.rl.agent import Agent, load_agent, save_agent
from gendesign.rl.evaluation import evaluate
from gendesign.rl.loop import sample_trajectories
from gendesign.rl.objectives import IQL, TD3BC, Objective
from gendesign.rl.offline import train_agent
from gendesign.rl.replay import Replay
from gendesign.rl.swing_up import swing_up
from gendesign.rl.trajectories import Trajectories
from gendesign.rl.trajectory_files import read_trajectories, write_trajectories
from gendesign.steering.policy_guidance import PolicyGuidance
from gendesign.steering.sampler import Steering
from gendesign.steering.unsteered import Unsteered

PAGE = Path(__file__).parent / "OFFLINE_RL.md"
MODES: dict[str, dict[str, Any] | None] = {
    "real": None,
    "unguided": {},
    "diagonal": {"mode": "diagonal", "strength": 1.0},
    "exact": {"mode": "exact", "strength": 1.0},
    "published": {"mode": "published", "strength": 0.1},
}
"""Arms, and how their synthetic half is sampled."""


@dataclass
class Bench:
    """What all agents share."""

    environment: str
    name: str
    real: Trajectories
    backbone: Backbone
    folder: Path
    updates: int
    segments: int
    steps: int
    reward_scale: float

    @property
    def best(self) -> str:
        """What 100 means."""
        return "the hand-written controller" if self.environment == "Pendulum-v1" else "an expert"

    def method(self, name: str) -> Objective:
        """Small networks and a higher rate than the papers', for few updates."""
        cls = {"TD3+BC": TD3BC, "IQL": IQL}[name]
        return cls(width=64, lr=1e-3, polyak=0.02, discount=0.97, reward_scale=self.reward_scale, noise=0.25)

    def agent(self, name: str, arm: str, seed: int) -> Agent:
        """Trained on an arm's data."""
        folder = self.folder / f"{name}-{arm}-{seed}"
        if not folder.exists():
            sources, shares = [self.real], []
            if arm != "real":
                sources, shares = [self.real, self.synthetic(name, arm)], [0.5, 0.5]
            trained = train_agent(
                Replay.of(*sources, shares=shares), self.method(name), steps=self.updates, seed=seed
            )
            save_agent(trained, folder)
        return load_agent(folder)

    def synthetic(self, name: str, arm: str) -> Trajectories:
        """An arm's synthetic data; unguided ones are the same for both methods."""
        settings = MODES[arm]
        assert settings is not None
        path = self.folder / (f"{name}-{arm}.npz" if settings else f"{arm}.npz")
        if not path.exists():
            steering: Steering = Unsteered()
            if settings:
                steering = PolicyGuidance(self.agent(name, "real", 0), **settings)
            made = sample_trajectories(
                self.backbone, steering, self.segments, steps=self.steps, like=self.real, place=(0, name, arm)
            )
            write_trajectories(made, path)
        return read_trajectories(path)


def head(bench: Bench, words: str, references: dict[str, float]) -> list[str]:
    """What the page says before its table."""
    returns = bench.real.returns()
    quantiles = ", ".join(f"{q:.0f}" for q in np.quantile(returns, (0.05, 0.25, 0.5, 0.75, 0.95)))
    policies = ", ".join(bench.real.provenance.get("policies", []))
    first = f"""Written by `python benchmarks/offline_rl.py{words}`. Real data: {bench.real.num_steps:,} steps by
        policies {policies}: few and poor, chosen so that there is room above them. Quantiles of their returns (5, 25,
        50, 75, 95 %): {quantiles}. The backbone, {bench.name}, was trained on more than these: 200,000 steps, by better
        policies as well. So synthetic data bring knowledge of their own, and the row to compare guidance with is
        the unguided one; that they beat real data alone would be no merit of guidance. Synthetic data: {bench.segments}
        segments of {bench.backbone.codec.steps - 1} transitions an arm, {bench.steps} sampling steps; half of each
        batch is real, half synthetic. The policy that guides is the agent of the same method, of seed 0, from real
        data alone."""
    second = f"""Every agent takes {bench.updates:,} updates of 256 rows (networks of 2 x 64, Adam at 0.001, targets
        moving by 0.02, discount 0.97, rewards times {bench.reward_scale:g}, else the papers' settings): far
        fewer than papers take, and TD3+BC has not settled. Returns are means over 20 episodes that begin
        alike for all; intervals are 95 % of Student's t over seeds of training, the synthetic data being
        one draw an arm. The score is 0 for a random policy ({references["random"]:.0f}) and 100 for
        {bench.best} ({references["expert"]:.0f})."""
    return [
        f"# Agents from real and synthetic data: {bench.environment}",
        "",
        *(line for part in (first, second) for line in [*textwrap.wrap(" ".join(part.split()), 118), ""]),
        "| method | data | return | score | more than real alone | more than with unguided | seeds |",
        "|---|---|---|---|---|---|---|",
    ]


def page(bench: Bench, results: dict[str, float], references: dict[str, float], words: str) -> None:
    """Write the table of what is known."""
    lines = head(bench, words, references)
    low, high = references["random"], references["expert"]
    for name in ("TD3+BC", "IQL"):
        rows = {arm: _seeds(results, f"{name}|{arm}") for arm in MODES}
        for arm, found in rows.items():
            if len(found) < 2:
                continue
            values = np.array(list(found.values()))
            scores = 100 * (values - low) / (high - low)
            gains = [
                _paired(found, rows[other]) if arm not in ("real", other) else ""
                for other in ("real", "unguided")
            ]
            data = "real" if arm == "real" else f"real and {arm}"
            cells = [name, data, interval(values, 0), interval(scores, 1), *gains, str(len(values))]
            lines.append(f"| {' | '.join(cells)} |")
    if bench.environment == "Pendulum-v1":
        lines += ["", READING]
    PAGE.with_name(
        f"OFFLINE_RL{'' if bench.environment == 'Pendulum-v1' else '_' + bench.environment}.md"
    ).write_text("\n".join(lines) + "\n")


def _seeds(results: dict[str, float], start: str) -> dict[int, float]:
    """Returns of the seeds of an arm."""
    return {
        int(key.rpartition("|")[2]): value for key, value in results.items() if key.startswith(start + "|")
    }


def _paired(found: dict[int, float], other: dict[int, float]) -> str:
    """The gain in return, seed by seed."""
    both = sorted(found.keys() & other.keys())
    return interval(np.array([found[seed] - other[seed] for seed in both]), 0) if len(both) > 1 else ""


def interval(values: np.ndarray, digits: int) -> str:
    """Mean and half width of the 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


READING = """\
## What it says

The goal, that guided data beat real data alone, is not reached: no row of `diagonal` or `exact` is above real data
alone, or above unguided data, by more than chance among so few seeds. What `published` adds to unguided data with
TD3+BC is not seen with IQL. Hopper and the other environments of MuJoCo were not run.
"""


def main() -> None:
    """Train and try what is not yet known, then write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--environment", default="Pendulum-v1")
    parser.add_argument("--backbone", default="rl-pendulum")
    parser.add_argument("--real", default="runs/poor.npz", help="what agents learn from")
    parser.add_argument("--updates", type=int, default=1000)
    parser.add_argument("--segments", type=int, default=128)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reward-scale", type=float, default=0.1)
    parser.add_argument("--random", type=float, help="return of a random policy; measured for Pendulum-v1")
    parser.add_argument("--expert", type=float, help="return of an expert")
    parser.add_argument("--page", action="store_true", help="only write the page from what is measured")
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = f"{given.environment}-{given.updates}-{given.segments}-{given.steps}-{given.reward_scale:g}"
    folder = Path("runs/offline_rl") / settings
    bench = Bench(
        given.environment, given.backbone, read_trajectories(given.real), gd.load_backbone(given.backbone), folder,
        given.updates, given.segments, given.steps, given.reward_scale,
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "results.json"
    results: dict[str, float] = json.loads(kept.read_text()) if kept.exists() else {}
    references = {"random": given.random, "expert": given.expert}
    if given.environment == "Pendulum-v1":
        draw = np.random.default_rng(0)
        references = {
            "random": evaluate(lambda s: draw.uniform(-2, 2, (len(s), 1)), "Pendulum-v1", episodes=20).mean(),
            "expert": evaluate(
                lambda s: np.stack([swing_up(one) for one in s]), "Pendulum-v1", episodes=20
            ).mean(),
        }
    changed = [f" --{key} {getattr(given, key)}" for key in ("updates", "segments", "steps", "seeds")
               if getattr(given, key) != parser.get_default(key)]  # fmt: skip
    for seed in range(given.seeds):
        for name in ("TD3+BC", "IQL"):
            for arm in MODES:
                key = f"{name}|{arm}|{seed}"
                if key in results or given.page:
                    continue
                start = time.process_time()
                results[key] = float(
                    evaluate(bench.agent(name, arm, seed).act, given.environment, episodes=20).mean()
                )
                kept.write_text(json.dumps(results, indent=1))
                print(key, round(results[key], 1), f"{time.process_time() - start:.0f} s", flush=True)
    page(bench, results, references, "".join(changed))


if __name__ == "__main__":
    main()

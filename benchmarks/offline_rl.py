"""Does guided synthetic data make better agents? TD3+BC and IQL on real, unguided and guided data.

    python benchmarks/offline_rl.py                                  (a section of benchmarks/OFFLINE_RL.md)
    python benchmarks/offline_rl.py Hopper-v5 --expert FILE          (another; see benchmarks/behaviour.py)

The second takes about half an hour of one core for Hopper-v5, data and backbone included; HalfCheetah-v5 and
Walker2d-v5 are the same command. What is measured is kept in
runs/offline_rl/, so that a run that was killed continues, and more seeds or arms cost what is new alone.

Every agent takes as many updates on as many rows. An arm's synthetic data are made anew for every seed, guided by the
agent of the same method and seed that learned from real data alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from behaviour import backbone, behaviour
from offline_rl_page import write_results

import gendesign as gd
from gendesign.backbone import Backbone
from gendesign.rl.agent import Agent, load_agent, save_agent
from gendesign.rl.collecting import collect
from gendesign.rl.evaluation import REFERENCES, evaluate
from gendesign.rl.loop import Loop
from gendesign.rl.objectives import IQL, TD3BC, Objective
from gendesign.rl.offline import train_agent
from gendesign.rl.replay import Replay
from gendesign.rl.swing_up import swing_up
from gendesign.rl.synthesis import synthesize
from gendesign.rl.trajectories import Trajectories
from gendesign.rl.trajectory_files import read_trajectories, write_trajectories
from gendesign.steering.policy_guidance import PolicyGuidance

METHODS: dict[str, type[Objective]] = {"TD3+BC": TD3BC, "IQL": IQL}
ARMS: dict[str, dict[str, Any] | None] = {
    "real": None,
    "unguided": {},
    "diagonal": {"mode": "diagonal", "strength": 1.0},
    "exact": {"mode": "exact", "strength": 1.0},
    "published": {"mode": "published", "strength": 0.1},
    "loop": {"mode": "diagonal", "strength": 1.0},
}
"""How the synthetic half is sampled; `loop` makes it anew as the agent learns."""
TURNS = 3


@dataclass(frozen=True)
class Setting:
    """What all agents of an environment share."""

    updates: int
    num_steps: int
    width: int
    discount: float
    reward_scale: float = 0.1
    noise: float = 0.1
    steps: int = 32
    episodes: int = 10
    share: float = 0.5

    def method(self, name: str) -> Objective:
        """Small networks and a higher rate than the papers', for few updates."""
        return METHODS[name](
            width=self.width, lr=1e-3, polyak=0.02, discount=self.discount, reward_scale=self.reward_scale,
            noise=self.noise,
        )  # fmt: skip


PENDULUM = Setting(updates=1200, num_steps=4000, width=64, discount=0.97, noise=0.25, episodes=20)
MUJOCO = Setting(updates=2000, num_steps=16_000, width=128, discount=0.99)
FEW, POLICIES = 2000, ("random", "swing-up@1")
"""Real transitions of Pendulum-v1, and who acted."""


@dataclass
class Bench:
    """Data, backbone, and agents as they are trained."""

    environment: str
    setting: Setting
    real: Trajectories
    backbone: Backbone
    folder: Path

    def agent(self, name: str, arm: str, seed: int) -> Agent:
        """Trained on an arm's data."""
        folder = self.folder / f"{name}-{arm}-{seed}"
        if folder.exists():
            return load_agent(folder)
        own, method = self.setting, self.setting.method(name)
        settings = ARMS[arm]
        if arm == "loop":
            assert settings is not None
            each = own.updates // (TURNS + 1)
            trained = Loop(
                turns=TURNS, updates=each, warmup=own.updates - TURNS * each, num_steps=own.num_steps,
                share=own.share, steps=own.steps, guidance=PolicyGuidance(**settings),
            ).run(self.backbone, self.real, method, seed=seed)  # fmt: skip
        else:
            sources, shares = [self.real], []
            if settings is not None:
                sources.append(self.synthetic(name, arm, seed))
                shares = [1 - own.share, own.share]
            trained = train_agent(Replay.of(*sources, shares=shares), method, steps=own.updates, seed=seed)
        save_agent(trained, folder)
        return load_agent(folder)

    def synthetic(self, name: str, arm: str, seed: int) -> Trajectories:
        """An arm's synthetic data; unguided ones are the same for both methods."""
        settings = ARMS[arm]
        path = self.folder / (f"{name}-{arm}-{seed}.npz" if settings else f"{arm}-{seed}.npz")
        if not path.exists():
            guided = PolicyGuidance(self.agent(name, "real", seed), **settings) if settings else None
            own = self.setting
            synthesize(
                self.backbone,
                guided,
                num_steps=own.num_steps,
                steps=own.steps,
                seed=seed,
                out=path,
                resume=True,
            )
        return read_trajectories(path)


def few() -> Path:
    """The real data of Pendulum-v1."""
    path = Path("runs/offline_rl") / f"Pendulum-v1-{FEW}.npz"
    if not path.exists():
        write_trajectories(collect("Pendulum-v1", policies=POLICIES, num_steps=FEW, seed=0), path)
    return path


def references(environment: str) -> tuple[float, float]:
    """Returns that are 0 and 100 on the scale: D4RL's, or a random policy's and the controller's."""
    if environment != "Pendulum-v1":
        return REFERENCES[environment.partition("-")[0].lower()]
    draw = np.random.default_rng(0)
    return (
        float(evaluate(lambda s: draw.uniform(-2, 2, (len(s), 1)), environment, episodes=20).mean()),
        float(evaluate(lambda s: np.stack([swing_up(one) for one in s]), environment, episodes=20).mean()),
    )


def main() -> None:
    """Train and try what is not yet known, then write the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("environment", nargs="?", default="Pendulum-v1")
    parser.add_argument("--expert", help="episodes of an expert, where behaviour data are not made yet")
    parser.add_argument("--seeds", type=int, default=0, help="5 for Pendulum-v1, else 3")
    parser.add_argument(
        "--updates", type=int, default=0, help="another number than the setting's: a section of its own"
    )
    parser.add_argument("--methods", default="TD3+BC,IQL")
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--page", action="store_true", help="only write the page from what is measured")
    given = parser.parse_args()
    torch.set_num_threads(1)
    pendulum = given.environment == "Pendulum-v1"
    usual = PENDULUM if pendulum else MUJOCO
    setting = replace(usual, updates=given.updates or usual.updates)
    section = given.environment + ("" if setting == usual else f", {setting.updates:,} updates")
    place = few() if pendulum else behaviour(given.environment, given.expert)
    real, name = read_trajectories(place), "rl-pendulum" if pendulum else backbone(given.environment)
    folder = Path("runs/offline_rl") / section.replace(",", "").replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    bench = Bench(given.environment, setting, real, gd.load_backbone(name), folder)
    kept = folder / "results.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {"setting": asdict(setting)}
    if results["setting"] != asdict(setting):
        raise SystemExit(f"{kept} is of other settings; move {folder} away")
    seeds = given.seeds or (5 if pendulum else 3)
    for key in [] if given.page else _asked(given.methods.split(","), given.arms.split(","), seeds):
        if "|".join(map(str, key)) in results:
            continue
        start = time.process_time()
        found = evaluate(bench.agent(*key).act, given.environment, episodes=setting.episodes).mean()
        results["|".join(map(str, key))] = float(found)
        results["seconds"] = results.get("seconds", 0.0) + time.process_time() - start
        kept.write_text(json.dumps(results, indent=1))
        print(*key, round(float(found), 1), f"{time.process_time() - start:.0f} s", flush=True)
    write_results(section, asdict(setting), real, results, references(given.environment))


def _asked(methods: Sequence[str], arms: Sequence[str], seeds: int) -> list[tuple[str, str, int]]:
    return [(method, arm, seed) for seed in range(seeds) for method in methods for arm in arms]


if __name__ == "__main__":
    main()

"""Dynamics error against policy likelihood: guided diffusion, its baselines and real data, in the simulator itself.

    python benchmarks/dynamics.py                                  (a section of benchmarks/DYNAMICS.md)
    python benchmarks/dynamics.py Hopper-v5 --expert FILE          (another; see benchmarks/behaviour.py)

HalfCheetah-v5 and Walker2d-v5 are the second command. Real data are what the backbone was trained on; the target policy
is an agent of TD3+BC that learned from them; the world model is trained on them, anew for every seed. What is measured
is kept in runs/dynamics/. One thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from behaviour import backbone, behaviour

import gendesign as gd
from gendesign.backbone import Backbone
from gendesign.determinism import dropout_seeded, generator
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.rl.agent import Agent, load_agent, save_agent
from gendesign.rl.collecting import collect
from gendesign.rl.dynamics import dynamics
from gendesign.rl.episodes import episode_of
from gendesign.rl.objectives import TD3BC
from gendesign.rl.offline import train_agent
from gendesign.rl.replay import Replay
from gendesign.rl.segments import cut
from gendesign.rl.trajectories import Trajectories
from gendesign.rl.trajectory_codec import TrajectoryCodec
from gendesign.rl.trajectory_files import read_trajectories, write_trajectories
from gendesign.rl.world_model import WorldModel
from gendesign.steering.particles import make_plan
from gendesign.steering.policy_guidance import PolicyGuidance
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.unsteered import Unsteered

PAGE = Path(__file__).parent / "DYNAMICS.md"
RUNS = Path("runs/dynamics")
PENDULUM = "Pendulum-v1"
REAL_STEPS = 200_000
POLICIES = ("random", "swing-up@1", "swing-up@0.7", "swing-up@0.4", "swing-up@0.2")
SEEDS = (0, 1, 2, 3)
POSTERIOR = (0.1, 0.3, 1.0)
PUBLISHED = (0.05, 0.1, 0.2)
"""Strengths: the power w of the policy's likelihood, and lambda."""


@dataclass(frozen=True)
class Arm:
    """One row of the table."""

    name: str
    kind: str
    mode: str = ""
    strength: float = 0.0
    steps: int = 32

    @property
    def key(self) -> str:
        """Under which its results are kept."""
        return f"{self.kind}|{self.mode}|{self.strength:g}|{self.steps}"

    def method(self, policy: Agent) -> Steering:
        """How it is sampled."""
        if not self.mode:
            return Unsteered()
        return PolicyGuidance(policy, mode=self.mode, strength=self.strength)


def arms() -> Iterator[Arm]:
    """All rows."""
    yield Arm("real data", "real", steps=0)
    yield Arm("world model, the policy's mean actions", "world", "mean", steps=0)
    yield Arm("world model, actions drawn from the policy", "world", "drawn", steps=0)
    yield Arm("transitions, unguided", "transition")
    yield Arm("transitions, diagonal, w=1", "transition", "diagonal", 1.0)
    yield Arm("trajectories, unguided", "trajectory")
    for mode in ("diagonal", "exact"):
        for w in POSTERIOR:
            yield Arm(f"trajectories, {mode}, w={w:g}", "trajectory", mode, w)
    for steps in (32, 256):
        if steps == 256:
            yield Arm("trajectories, unguided", "trajectory", steps=steps)
        for w in PUBLISHED:
            yield Arm(f"trajectories, published, lambda={w:g}", "trajectory", "published", w, steps)


@dataclass
class Bench:
    """What all rows share."""

    environment: str
    real: Trajectories
    spread: np.ndarray
    policy: Agent
    backbone: Backbone
    transitions: Backbone
    num: int
    horizon: int
    models: dict[int, WorldModel] = field(default_factory=dict)

    def data(self, arm: Arm, seed: int) -> tuple[Trajectories, float]:
        """Trajectories of an arm, and network rows a transition."""
        draw = np.random.default_rng([seed, 7])
        if arm.kind == "real":
            chosen = draw.choice(len(self.real.episodes), 8, replace=False)
            episodes = tuple(self.real.episodes[i] for i in chosen)
            return Trajectories(episodes, self.real.action_low, self.real.action_high), 0.0
        if arm.kind == "world":
            if seed not in self.models:
                self.models[seed] = WorldModel(seed=seed, steps=2000).fit(self.real)
            model = self.models[seed]
            starts = np.concatenate([e.observations[: -self.horizon - 1] for e in self.real.episodes])
            noise = generator(seed, "rollout")
            policy = self.policy
            made = model.rollout(
                starts[draw.choice(len(starts), self.num, replace=False)],
                policy if arm.mode == "mean" else lambda s: policy.sample(s, generator=noise),
                horizon=self.horizon,
                generator=noise,
                like=self.real,
            )
            return made, 0.0
        backbone = self.backbone if arm.kind == "trajectory" else self.transitions
        num = self.num if arm.kind == "trajectory" else self.horizon * self.num
        plan = make_plan(backbone, steps=arm.steps, max_rows=num)
        final = run_sampler(
            arm.method(self.policy)(backbone, None), num, plan, generator=generator(seed, "dynamics")
        )
        found = (episode_of(rows, backbone.codec, self.real.about) for rows in backbone.codec.decode(final.x))
        made = Trajectories.of(tuple(each for each in found if each is not None), self.real.about)
        return made, final.cost.network_rows / made.num_steps

    def measure(self, arm: Arm, seed: int) -> dict[str, float]:
        """Error, likelihood and cost of one seed."""
        start = time.process_time()
        data, rows = self.data(arm, seed)
        found = dynamics(data, self.environment, max_steps=None, spread=self.spread)
        seen = torch.tensor(np.concatenate([e.observations[:-1] for e in data.episodes]), dtype=torch.float64)
        acted = torch.tensor(np.concatenate([e.actions for e in data.episodes]), dtype=torch.float64)
        likely = self.policy.log_prob(acted, seen)
        rewards = np.concatenate([e.rewards for e in data.episodes])
        return {
            "error": found.error,
            "median_error": float(np.median(found.each)),
            "reward_error": float(np.sqrt((found.rewards**2).mean())),
            "likelihood": float(likely.mean()),
            "median_likelihood": float(likely.median()),
            "reward": float(rewards.mean()),
            "rows": rows,
            "transitions": float(data.num_steps),
            "seconds": time.process_time() - start,
        }


def real_data(environment: str = PENDULUM, expert: str | None = None) -> Trajectories:
    """What the backbone was trained on."""
    if environment != PENDULUM:
        return read_trajectories(behaviour(environment, expert))
    path = Path("runs/pendulum.npz")
    if not path.exists():
        write_trajectories(collect(PENDULUM, policies=POLICIES, num_steps=REAL_STEPS, seed=0), path)
    return read_trajectories(path)


def target(real: Trajectories, folder: Path = RUNS) -> Agent:
    """The policy that guides: TD3+BC on the real data."""
    folder = folder / "agent"
    if not folder.exists():
        method = TD3BC(width=64, lr=1e-3, reward_scale=0.1, noise=0.25)
        save_agent(train_agent(Replay.of(real), method, steps=1500, seed=0), folder)
    return load_agent(folder)


def transition_backbone(real: Trajectories, like: TrajectoryCodec, folder: Path) -> Backbone:
    """Diffusion of pairs of rows, (s, a, r) and (s', a', r'), by the same process."""
    folder = folder / "transitions"
    if not folder.exists():
        rows, _ = cut(real, 2, stride=4)
        codec = TrajectoryCodec(len(like.observation_columns), like.low, like.high, steps=2).fit(rows)
        x = codec.encode(list(rows)).float()
        with dropout_seeded(0, "transitions"):
            network = MLPNetwork(x.shape[1], width=192, depth=4)
        denoiser = Preconditioned(network, sigma_data=1.0, aug_dim=float("inf"))
        process = PoissonFlow(float("inf"), sigma_data=1.0)
        average = torch.optim.swa_utils.AveragedModel(
            denoiser, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998)
        )
        optimiser = torch.optim.AdamW(denoiser.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1200)
        for step in range(1200):
            noise = generator(0, "transitions", step)
            chosen = torch.randint(len(x), (256,), generator=noise)
            loss = process.loss(denoiser, x[chosen], generator=noise).mean() / x.shape[1]
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            average.update_parameters(denoiser)
        denoiser.load_state_dict(average.module.state_dict())
        Backbone(codec, process, denoiser).save_pretrained(folder)
    return gd.load_backbone(str(folder))


def main() -> None:
    """Measure what is not yet measured, then write the section."""
    parser = argparse.ArgumentParser()
    parser.add_argument("environment", nargs="?", default=PENDULUM)
    parser.add_argument("--expert", help="episodes of an expert, where behaviour data are not made yet")
    parser.add_argument("--num", type=int, default=4, help="trajectories a seed")
    parser.add_argument("--page", action="store_true", help="only write the page from what is measured")
    words = parser.parse_args()
    torch.set_num_threads(1)
    folder = RUNS if words.environment == PENDULUM else RUNS / words.environment
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"results-{words.num}.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if not words.page:
        real = real_data(words.environment, words.expert)
        spread = np.concatenate([e.observations for e in real.episodes]).std(0)
        made = gd.load_backbone(
            "rl-pendulum" if words.environment == PENDULUM else backbone(words.environment)
        )
        codec = made.codec
        assert isinstance(codec, TrajectoryCodec)
        bench = Bench(
            words.environment, real, spread, target(real, folder), made,
            transition_backbone(real, codec, folder), words.num, codec.steps - 1,
        )  # fmt: skip
        for arm in sorted(arms(), key=lambda arm: arm.steps * (5 if arm.mode == "exact" else 1)):
            for seed in SEEDS:
                if f"{arm.key}|{seed}" not in results:
                    results[f"{arm.key}|{seed}"] = bench.measure(arm, seed)
                    kept.write_text(json.dumps(results, indent=1))
                    print(arm.name, arm.steps, seed, results[f"{arm.key}|{seed}"], flush=True)
    from dynamics_page import write_page

    write_page(PAGE, results, list(arms()), environment=words.environment, num=words.num)


if __name__ == "__main__":
    main()

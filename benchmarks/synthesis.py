"""Synthetic trajectories of Pendulum-v1 by the shipped backbone: time, memory, and how true and how on-policy they are.

    python benchmarks/synthesis.py          (writes benchmarks/SYNTHESIS.md; a quarter of an hour on two cores)

Time and memory are of whole commands, in processes of their own. Dynamics error is measured in the simulator.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gendesign as gd
from gendesign.rl.collecting import collect
from gendesign.rl.dynamics import dynamics
from gendesign.rl.swing_up import SwingUp
from gendesign.rl.trajectories import Episode, Trajectories
from gendesign.steering.policy_guidance import PolicyGuidance

PAGE = Path(__file__).parent / "SYNTHESIS.md"
NOISE = 0.2
TIMED = (
    ("unguided", ["steering=unsteered"]),
    ("`diagonal`", [f"policy=swing-up@{NOISE}", "steering.mode=diagonal"]),
)


def timed(words: list[str], num_steps: int) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of cores and peak memory in MB of a command, with two threads."""
    code = "import sys; from gendesign.cli import main; sys.exit(main())"
    with tempfile.TemporaryDirectory() as folder:
        out = f"out={folder}/synthetic.hdf5"
        command = [sys.executable, "-c", code, "synthesize", *words, f"num_steps={num_steps}", out, "--quiet"]
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, env=os.environ | {"OMP_NUM_THREADS": "2"}, stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{command} failed")
        return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def windows(data: Trajectories, horizon: int) -> list[Episode]:
    """Real episodes as parts of `horizon` transitions."""
    found = []
    last = np.arange(horizon) == horizon - 1
    for each in data.episodes:
        for start in range(0, len(each) - horizon + 1, horizon):
            part = slice(start, start + horizon)
            found.append(
                Episode(
                    each.observations[start : start + horizon + 1], each.actions[part], each.rewards[part],
                    np.zeros(horizon, bool), last,
                )
            )  # fmt: skip
    return found


def row(label: str, episodes: list[Episode], spread: Any, cost: str = "") -> str:
    """One line of the table."""
    policy = SwingUp(NOISE)
    found = dynamics(episodes, "Pendulum-v1", max_steps=None, spread=spread)
    likelihood = np.mean(
        [
            policy.log_prob(torch.tensor(e.actions).double(), torch.tensor(e.observations[:-1]).double())
            .mean()
            .item()
            for e in episodes
        ]
    )
    returns = np.array([e.rewards.sum() for e in episodes])
    each = found.each
    quantiles = " / ".join(f"{q:.0f}" for q in np.quantile(returns, [0.1, 0.5, 0.9]))
    rewards = np.sqrt((found.rewards**2).mean())
    return (
        f"| {label} | {cost} | {found.error:.4f} | {np.median(each):.4f} | {np.quantile(each, 0.99):.3f} | "
        f"{rewards:.3f} | {likelihood:.2f} | {returns.mean():.1f} | {quantiles} |"
    )


HEAD = """\
# Synthetic trajectories of Pendulum-v1

Written by `python benchmarks/synthesis.py`: `rl-pendulum`, 32 reverse steps, seed 0. Target policy: the energy
controller with noise {noise:g} of the largest torque.

## Time and memory

    gendesign synthesize steering=unsteered num_steps=100000 out=synthetic.hdf5
    gendesign synthesize policy=swing-up@{noise:g} steering.mode=diagonal num_steps=100000 out=synthetic.hdf5

Whole commands, loading included, without a report, on two cores in float32; {load}.

| | transitions | seconds | seconds of cores | peak memory, MB |
|---|---|---|---|---|
"""

TRUTH = """
## Dynamics and likelihood

Error: root mean square of next observation minus the simulator's, from the same state and torque, in standard
deviations of real observations; its median and 99 % quantile over transitions. Reward: root mean square of the same
difference. Likelihood of the target policy: nats a transition. Returns of episodes of {horizon} transitions: mean,
and 10 / 50 / 90 % quantiles. 6,400 transitions each; real: 100,000 fresh ones, in parts of the same length.

| | evaluations a transition | error | median | 99 % | reward | likelihood | return | quantiles |
|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Write the page."""
    load = f"others used the machine too: load {os.getloadavg()[0]:.1f} at the start"
    lines = [HEAD.format(noise=NOISE, load=load).rstrip()]
    for label, words in TIMED:
        for num in (10_000, 100_000):
            seconds, cores, memory = timed(words, num)
            lines.append(f"| {label} | {num:,} | {seconds:.0f} | {cores:.0f} | {memory:.0f} |")
    backbone = gd.load_backbone("rl-pendulum")
    horizon = backbone.codec.steps - 1  # type: ignore[attr-defined]
    real = collect("Pendulum-v1", num_steps=100_000, seed=1)
    spread = np.concatenate([e.observations for e in real.episodes]).std(0)
    lines += [TRUTH.format(horizon=horizon).rstrip(), row("real", windows(real, horizon), spread)]
    policy = SwingUp(NOISE)
    arms: list[tuple[str, Any, dict[str, Any]]] = [
        ("unguided", None, {}),
        ("`diagonal`", PolicyGuidance(policy, mode="diagonal"), {}),
        ("`exact`", PolicyGuidance(policy, mode="exact"), {}),
        ("asked for a return of -150", None, {"label": -150.0}),
        ("unguided, 128 transitions an episode, 8 rows overlap", None, {"horizon": 128}),
        ("unguided, started upright at rest", None, {"start": [1.0, 0.0, 0.0]}),
    ]
    for label, steering, extra in arms:
        asked = dict(extra)
        bound = backbone.conditioned_on(asked.pop("label")) if "label" in asked else backbone
        made = gd.synthesize(bound, steering, num_steps=6_400, **asked)
        cost = f"{made.cost.network_rows / made.num_steps:.2g}"
        lines.append(row(label, list(made.trajectories.episodes), spread, cost))
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

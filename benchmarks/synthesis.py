"""Synthetic trajectories of Pendulum-v1 by the shipped backbone: time, memory, and how true and how on-policy they are.

    python benchmarks/synthesis.py          (writes benchmarks/SYNTHESIS.md; some minutes)

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
from gendesign.rl.quality import parts_of
from gendesign.rl.swing_up import SwingUp
from gendesign.rl.trajectories import Episode
from gendesign.steering.policy_guidance import PolicyGuidance

PAGE = Path(__file__).parent / "SYNTHESIS.md"
NOISE = 0.2
TIMED = (2_000, 10_000, 100_000)
GUIDED = [f"policy=swing-up@{NOISE}", "steering.mode=diagonal"]
NUM_STEPS = 3_200
"""Transitions whose dynamics are measured."""


def timed(words: list[str], num_steps: int) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of its core and peak memory in MB of a command, with one thread."""
    code = "import sys; from gendesign.cli import main; sys.exit(main())"
    with tempfile.TemporaryDirectory() as folder:
        out = [f"num_steps={num_steps}", f"out={folder}/synthetic.hdf5", "report=null", "--quiet"]
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", code, "synthesize", *words, *out],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{words} failed")
        return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


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

Written by `python benchmarks/synthesis.py time truth`: `rl-pendulum`, 32 reverse steps, seed 0. Target policy: the
energy controller with noise {noise:g} of the largest torque.
"""

TIME = """\
## Time and memory

    gendesign synthesize policy=swing-up@{noise:g} steering.mode=diagonal num_steps=10000 report=null out=a.hdf5

Whole commands, loading included, of the shipped model in mode `diagonal`, with one thread in float32. The machine has
{cores} cores and was shared: load {load:.0f} when this began, so that seconds of the core say more than those of the
clock.

| transitions | seconds of one core | seconds on the clock | peak memory, MB |
|---|---|---|---|
"""

TRUTH = """\
## Dynamics and likelihood

Error: root mean square of next observation minus the simulator's, from the same state and torque, in standard
deviations of real observations; its median and 99 % quantile over transitions. Reward: root mean square of the same
difference. Likelihood of the target policy: nats a transition. Returns of episodes of {horizon} transitions: mean,
and 10 / 50 / 90 % quantiles. {num:,} transitions each; real: 40,000 fresh ones, in parts of the same length.
Evaluations are forward passes; `exact` passes backward four times more a prediction.

| | evaluations a transition | error | median | 99 % | reward | likelihood | return | quantiles |
|---|---|---|---|---|---|---|---|---|
"""


def time_section() -> str:
    """Commands in processes of their own."""
    lines = [TIME.format(noise=NOISE, load=os.getloadavg()[0], cores=os.cpu_count()).rstrip()]
    for num in TIMED:
        seconds, core, memory = timed(GUIDED, num)
        lines.append(f"| {num:,} | {core:.0f} | {seconds:.0f} | {memory:.0f} |")
    return "\n".join(lines) + "\n"


def truth_section() -> str:
    """Sets against the simulator."""
    backbone = gd.load_backbone("rl-pendulum")
    horizon = backbone.codec.steps - 1  # type: ignore[attr-defined]
    real = collect("Pendulum-v1", num_steps=40_000, seed=1)
    spread = np.concatenate([e.observations for e in real.episodes]).std(0)
    lines = [TRUTH.format(horizon=horizon, num=NUM_STEPS).rstrip()]
    lines.append(row("real", parts_of(real.episodes, horizon), spread))
    policy = SwingUp(NOISE)
    arms: list[tuple[str, Any, dict[str, Any]]] = [
        ("unguided", None, {}),
        ("`diagonal`", PolicyGuidance(policy, mode="diagonal"), {}),
        ("asked for a return of -150", None, {"label": -150.0}),
        ("unguided, 128 transitions an episode, 8 rows overlap", None, {"horizon": 128}),
        ("unguided, started upright at rest", None, {"start": [1.0, 0.0, 0.0]}),
        ("`exact`", PolicyGuidance(policy, mode="exact"), {}),
    ]
    for label, steering, extra in arms:
        asked = dict(extra)
        bound = backbone.conditioned_on(asked.pop("label")) if "label" in asked else backbone
        made = gd.synthesize(bound, steering, num_steps=NUM_STEPS, **asked)
        cost = f"{made.cost.network_rows / made.num_steps:.2g}"
        lines.append(row(label, list(made.trajectories.episodes), spread, cost))
    return "\n".join(lines) + "\n"


SECTIONS = {"time": ("## Time", time_section), "truth": ("## Dynamics", truth_section)}


def main(chosen: list[str]) -> None:
    """Write the chosen sections of the page; the others stay."""
    old = PAGE.read_text().split("\n## ")[1:] if PAGE.exists() else []
    parts = {
        name: f"## {text}"
        for name, (title, _) in SECTIONS.items()
        for text in old
        if f"## {text}".startswith(title)
    }
    for name in chosen or list(SECTIONS):
        parts[name] = SECTIONS[name][1]()
    body = [HEAD.format(noise=NOISE), *(parts[name].rstrip() + "\n" for name in SECTIONS if name in parts)]
    PAGE.write_text("\n".join(body))


if __name__ == "__main__":
    main(sys.argv[1:])

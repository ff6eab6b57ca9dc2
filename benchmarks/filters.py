"""What filters of synthetic trajectories take out, and what is better afterwards.

    python benchmarks/filters.py          (writes benchmarks/FILTERS.md)

Synthetic episodes of Pendulum-v1 from the shipped backbone (unguided, guided) and from a world model, judged in the
simulator before and after each filter; ends of episodes on Hopper-v5, since Pendulum has none.
"""

from __future__ import annotations

import argparse
import textwrap
import time
from pathlib import Path

import numpy as np
import torch
from dynamics import real_data, target

import gendesign as gd
from gendesign.determinism import generator
from gendesign.errors import DataError
from gendesign.rl.collecting import collect
from gendesign.rl.dynamics import dynamics
from gendesign.rl.dynamics_filter import DynamicsFilter
from gendesign.rl.filters import Filter, ReturnFilter, TerminalFilter, filtered
from gendesign.rl.synthesis import synthesize
from gendesign.rl.trajectories import Episode, Trajectories
from gendesign.rl.world_model import WorldModel
from gendesign.steering.policy_guidance import PolicyGuidance
from gendesign.steering.unsteered import Unsteered

PAGE = Path(__file__).parent / "FILTERS.md"
HORIZON = 32


def sets(real: Trajectories, backbone: str, num: int) -> dict[str, Trajectories]:
    """Synthetic data by their origin."""
    generates = gd.load_backbone(backbone)
    policy = target(real)
    found = {}
    for name, method in (
        ("diffusion, unguided", Unsteered()),
        ("diffusion, diagonal, w=1", PolicyGuidance(policy, mode="diagonal")),
        ("diffusion, published, lambda=0.3", PolicyGuidance(policy, mode="published", strength=0.3)),
    ):
        found[name] = synthesize(generates, method, num_steps=HORIZON * num).trajectories
    model = WorldModel(steps=600, lr=2e-3).fit(real)
    draw, noise = np.random.default_rng(0), generator(0, "rollout")
    starts = np.concatenate([e.observations[:-1] for e in real.episodes])
    found["world model"] = model.rollout(
        starts[draw.choice(len(starts), num, replace=False)],
        policy,
        horizon=HORIZON,
        generator=noise,
        like=real,
    )
    return found


def pendulum(backbone: str, num: int) -> list[str]:
    """The table of dynamics and returns."""
    real = real_data()
    spread = np.concatenate([e.observations for e in real.episodes]).std(0)
    made = sets(real, backbone, num)
    judge = DynamicsFilter(steps=400).fit(real)
    lines = [
        "| data | filter | episodes | transitions | dynamics error | its median | reward a step | their error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, data in made.items():
        rules: dict[str, list[Filter]] = {
            "none": [],
            "return, alpha=0.2": [ReturnFilter(temperature=0.2).fit(data)],
            "dynamics": [judge],
            "ends": [TerminalFilter().fit(real)],
            "dynamics, then return": [judge, ReturnFilter(temperature=0.2).fit(data)],
        }
        for label, filters in rules.items():
            try:
                kept = filtered(data, filters, seed=0)
            except DataError:
                lines.append(f"| {name} | {label} | 0 | 0 | | | | |")
                continue
            found = dynamics(kept, "Pendulum-v1", max_steps=None, spread=spread)
            rewards = np.concatenate([e.rewards for e in kept.episodes])
            lines.append(
                f"| {name} | {label} | {len(kept.episodes)} | {kept.num_steps:,} | {found.error:.4f} | "
                f"{np.median(found.each):.4f} | {rewards.mean():.2f} | {np.sqrt((found.rewards**2).mean()):.3f} |"
            )
    return lines


def hopper() -> list[str]:
    """How well ends are recognised, where one end in two was moved away or made up."""
    data = collect("Hopper-v5", policies=["random"], num_steps=12_000, seed=0)
    half = len(data.episodes) // 2
    known = Trajectories(data.episodes[:half], data.action_low, data.action_high)
    rule = TerminalFilter().fit(known)
    noise = np.random.default_rng(0)
    fresh = data.episodes[half:]
    lines = [
        "| episodes of Hopper-v5 | number | left as they are | ended earlier | left out |",
        "|---|---|---|---|---|",
    ]
    early = [_ended(e, len(e) // 2) for e in fresh if len(e) > 3]
    late = [_open(e) for e in fresh]
    for name, group in (
        ("real, unseen", list(fresh)),
        ("cut half-way and called terminal", early),
        ("terminal, called truncated", late),
    ):
        kept = [rule.keep(e, generator=noise) for e in group]
        same = sum(new is old for new, old in zip(kept, group, strict=True))
        none = sum(new is None for new in kept)
        lines.append(f"| {name} | {len(group)} | {same} | {len(group) - same - none} | {none} |")
    return lines


def _ended(episode: Episode, steps: int) -> Episode:
    last = np.arange(steps) == steps - 1
    return Episode(
        episode.observations[: steps + 1],
        episode.actions[:steps],
        episode.rewards[:steps],
        last,
        ~last & False,
    )


def _open(episode: Episode) -> Episode:
    late = np.zeros(len(episode), dtype=bool)
    late[-1] = True
    return Episode(episode.observations, episode.actions, episode.rewards, ~late & False, late)


TEXT = """Written by `python benchmarks/filters.py`. Synthetic episodes of {horizon} transitions of Pendulum-v1, {num}
of each kind, seed 0, guided by, or acted by, the agent of DYNAMICS.md; judged in the simulator as there
(root mean square and median, in spreads of real observations). The return filter keeps an episode with
probability exp((G - 1) / alpha), G being its return between the worst (0) and the best (1) of the set (one
that was cut counts as if it had gone on as before); the dynamics filter (four discriminators, 400 steps of
training on 200,000 real transitions) cuts an episode before its first doubtful transition;
ends never come in Pendulum, so that filter leaves it alone."""


READING = """\
## What it says

- The dynamics filter was made for world models, and there it works: what is left is far more exact. On diffusion it
  does harm: noise is spread over all steps, so that it cuts nearly every episode, and keeps fast ones, whose error is
  larger.
- The return filter keeps the better half, which here is the more exact one, too: near the top, the pendulum moves
  little.
- No synthetic episode ends, as no real one does, so that the filter of ends has nothing to do in Pendulum.
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="rl-pendulum")
    parser.add_argument("--num", type=int, default=32)
    words = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    about = textwrap.wrap(" ".join(TEXT.format(horizon=HORIZON, num=words.num).split()), 118)
    lines = ["# Filters of synthetic trajectories", "", *about, "", *pendulum(words.backbone, words.num), ""]
    ends = (
        "Ends, on episodes of a random policy in Hopper-v5: half of them teach the filter what an "
        "end is, the other half is real, cut short and called terminal, or terminal and called truncated."
    )
    lines += ["## Ends", "", *textwrap.wrap(ends, 118), "", *hopper(), ""]
    lines += [READING]
    lines.append(f"Measured in {time.process_time() - start:.0f} s of one core.")
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""The sections of OFFLINE_RL.md, one an environment, from what `offline_rl.py` measured."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from sections import write_section

from gendesign.rl.trajectories import Trajectories

PAGE = Path(__file__).parent / "OFFLINE_RL.md"
TITLE = "# Agents from real and synthetic data"
PENDULUM = """Written by `python benchmarks/offline_rl.py{more}`. The setting is one of little real data: {real:,}
    transitions, half of them by random torques, half by a controller with as much noise as its range is wide.
    The backbone, `rl-pendulum`, was trained on more than these: 200,000 transitions, by better policies as
    well. So synthetic data bring knowledge of their own, and that they beat real data alone is no merit of
    guidance; what guidance adds is seen beside unguided data."""
MUJOCO = """Written by `python benchmarks/offline_rl.py {environment} --expert ...{more}`, which makes everything
    itself: {real:,} transitions by random actions and by a clone of an expert with noise of 1, .6, .4, .3 and
    .2 of half the range of actions (the expert's own episodes are not among them), and a backbone of segments
    of 16 transitions trained on the same data by `configs/train/rl_hopper.yaml` (3,000 steps). Agents and
    backbone know the same: what is gained is gained from these data."""
COMMON = """Quantiles of the real episodes' returns (5, 25, 50, 75, 95 %): {quantiles}. Synthetic data:
    {num_steps:,} transitions a seed, {steps} reverse steps; half of each batch is real, half synthetic. Each
    seed's data are guided by the agent of the same method and seed that learned from real data alone{loop}.
    Every agent takes {updates:,} updates of 256 rows (networks of 2 x {width}, Adam at 0.001, targets moving by
    0.02, discount {discount:g}, rewards times {reward_scale:g}, else the papers' settings): far fewer than
    papers take. Returns are means over {episodes} episodes that begin alike for all; intervals are 95 % of
    Student's t over seeds of training and of sampling. The score is 0 at a return of {low:.0f} and 100 at
    {high:.0f} ({scale})."""
LOOP = """; `loop` is the paper's: a quarter of the updates on real data, then three times new data, guided by
    the agent as it is, and a quarter of the updates each"""
READING = {
    "Pendulum-v1": """\
The goal, that guided data beat real data alone, is reached by TD3+BC in this setting: by the paper's loop, and by
data guided once, by the first agent, in modes `exact` and `published` (each gain excludes chance among five seeds at
95 %, without correction for four guided rows); that of `diagonal` does not. But unguided data gain as much: what
helps is what the backbone knows, not guidance. IQL, which learns far more from the real data alone, gains nothing
that excludes chance. The setting was chosen after trials on seeds 0 and 1 that showed larger gains at few updates.
Single trials, not by this command (24 reverse steps, TD3+BC, seed 0): with 2,400 updates -338 from real data, -301
with unguided and -253 with guided ones; with 1,000 real transitions and 5,000 updates -267 from real data and -420
with guided ones.
""",
    "Hopper-v5": """\
Nothing is decided here: so few seeds, so few updates and ten episodes each leave intervals as wide as the returns.
The command and the data are what matters: with `--seeds 10`, more updates and a GPU it says more. `--arms
real,unguided,diagonal,exact,published,loop` has the loop, too, which was not tried. HalfCheetah-v5 and Walker2d-v5 were
not run.
""",
}
"""What each section says, below its table."""


def write_results(
    section: str,
    setting: Mapping[str, Any],
    real: Trajectories,
    results: Mapping[str, Any],
    references: tuple[float, float],
) -> None:
    """Put a section into the page, new or in the place of the one that is there: ENVIRONMENT, or with what differs."""
    low, high = references
    returns = real.returns()
    environment = section.partition(",")[0]
    pendulum = environment == "Pendulum-v1"
    words = {
        **setting, "environment": environment, "real": real.num_steps, "low": low, "high": high,
        "quantiles": ", ".join(f"{q:.0f}" for q in np.quantile(returns, (0.05, 0.25, 0.5, 0.75, 0.95))),
        "scale": "a random policy, and the controller without noise" if pendulum else "D4RL's references",
        "more": _words(section, setting, results),
        "loop": LOOP if any("|loop|" in key for key in results) else "",
    }  # fmt: skip
    lines: list[str] = []
    for part in (PENDULUM if pendulum else MUJOCO, COMMON):
        lines += [*textwrap.wrap(" ".join(part.format(**words).split()), 118), ""]
    lines += [
        "| method | data | return | score | more than real alone | more than with unguided | seeds |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in ("TD3+BC", "IQL"):
        arms = list(dict.fromkeys(key.split("|")[1] for key in results if key.startswith(f"{method}|")))
        rows = {arm: _seeds(results, f"{method}|{arm}|") for arm in arms}
        for arm, found in rows.items():
            values = np.array(list(found.values()))
            if len(values) < 2:
                continue
            gains = [
                _paired(found, rows.get(other, {})) if arm not in ("real", other) else ""
                for other in ("real", "unguided")
            ]
            data = "real" if arm == "real" else f"real and {arm}"
            score = interval(100 * (values - low) / (high - low), 1)
            lines.append(
                f"| {' | '.join([method, data, interval(values, 0), score, *gains, str(len(values))])} |"
            )
    lines += ["", *([READING[section].strip(), ""] if section in READING else [])]
    seconds = results.get("seconds", 0.0)
    lines += [f"Training, sampling and trying of the agents: {seconds / 60:.0f} minutes of one core."]
    write_section(PAGE, TITLE, section, lines)


def _words(section: str, setting: Mapping[str, Any], results: Mapping[str, Any]) -> str:
    """What the command says of what was run."""
    known = [key.split("|") for key in results if "|" in key]
    words = f" --updates {setting['updates']}" if "," in section else ""
    for number, name in enumerate(("methods", "arms")):
        words += f" --{name} {','.join(dict.fromkeys(key[number] for key in known))}"
    return words


def interval(values: np.ndarray, digits: int) -> str:
    """Mean and half width of the 95 % interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():.{digits}f} ± {half:.{digits}f}"


def _seeds(results: Mapping[str, Any], start: str) -> dict[int, float]:
    return {int(key.rpartition("|")[2]): value for key, value in results.items() if key.startswith(start)}


def _paired(found: Mapping[int, float], other: Mapping[int, float]) -> str:
    """The gain in return, seed by seed."""
    both = sorted(found.keys() & other.keys())
    return interval(np.array([found[seed] - other[seed] for seed in both]), 0) if len(both) > 1 else ""

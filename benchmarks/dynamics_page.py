"""The page of `dynamics.py`: tables and a picture from what was measured."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from sections import write_section

if TYPE_CHECKING:
    from dynamics import Arm

matplotlib.use("Agg")

TITLE = "# Dynamics error against policy likelihood"
HEAD = """\
Written by `python benchmarks/dynamics.py{words}`. The error is measured in the simulator itself: its
state is set to what a step observed, the action is applied, and what follows is compared, as a root mean square over
steps and numbers, in units of the spread of real observations; its median is over steps. Likelihood is the mean of
log pi(a|s) in nats, pi being the target policy: an agent of TD3+BC from the same real data, believed with a deviation
of .25 of half the range of actions. {num} trajectories of {horizon} transitions a seed (real data: 8 episodes), four
seeds, ± their standard error. The backbone is one, {backbone}, and so is the model of transitions (a
perceptron, 1,200 steps of training, the backbone's {trained}); the world model (five networks, 2,000 steps of training)
is trained anew every seed, on all {real} real transitions. Evaluations are forward passes a transition; `exact` passes
backward four times a step besides.
"""
PENDULUM = {"horizon": 32, "backbone": "`rl-pendulum`", "trained": "5,000", "real": "200,000"}
MUJOCO = {
    "horizon": 16,
    "backbone": "that of `configs/train/rl_hopper.yaml` on the data of `benchmarks/behaviour.py`",
    "trained": "3,000",
    "real": "60,117",
}


READING = {
    "Pendulum-v1": """\
- Guided trajectories of `diagonal` at w = 1 are likelier under the policy than a world model's roll-outs with actions
  drawn from it, and their root-mean-square error is lower. Not so the median: in three seeds of four,
  most steps of the world model are more exact than diffusion's; its mean is made by a few large errors. It also wins in
  likelihood where it takes the policy's mean actions.
- `diagonal` and `exact` in 32 steps have no more error than `published` in 256 at equal likelihood, for a sixteenth of
  its evaluations (`exact`: besides four backward passes a step). The ratio itself is uncertain: the error at 256 steps
  has a wide interval, and without guidance it is as large.
- Guidance hardly costs dynamics here, in any mode; `exact` gains nothing over `diagonal` at this size.
- The model of transitions was trained briefly and is far off; it says little about transition-level diffusion at its
  best.
""",
    "Hopper-v5": """\
- The paper's claim holds: guided trajectories are likelier under the policy than a world model's roll-outs with actions
  drawn from it, at about half the error, in the mean and in the median. Where the world model takes the policy's mean
  actions, its likelihood is the highest.
- `exact` is the better mode here: at w = 1 likelier than `diagonal` (0.88 against 0.51) at no more error, and at
  w = 0.3 as likely, with an error of 0.066 against 0.077; the differences are of one or two standard errors.
- Both in 32 steps are more exact than `published` in 256 at equal likelihood, by a quarter to two fifths, for a
  sixteenth of its evaluations.
- Unguided, 256 steps are no better than 32: what limits the error is the network, trained for six minutes of one core.
- The world model goes on where Hopper would fall; ends are not among the errors.
""",
}
"""What each section says."""


def write_page(
    page: Path, results: Mapping[str, Mapping[str, float]], arms: Sequence[Arm], *, environment: str, num: int
) -> None:
    """Tables, the comparison at matched likelihood, and the picture, as a section of the page."""
    pendulum = environment == "Pendulum-v1"
    words = ("" if pendulum else f" {environment}") + ("" if num == 4 else f" --num {num}")
    picture = page.with_name("dynamics.svg" if pendulum else f"dynamics_{environment}.svg")
    known = [arm for arm in arms if f"{arm.key}|0" in results]
    head = HEAD.format(num=num, words=words, **(PENDULUM if pendulum else MUJOCO))
    lines = [*textwrap.wrap(head.replace("\n", " "), 118), ""]
    lines += [
        "| data | steps | evaluations | log pi | dynamics error | its median | error of rewards | mean reward |"
    ]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for arm in known:
        steps = str(arm.steps) if arm.steps else ""
        cells = [_cell(results, arm, name, digits) for name, digits in (
            ("likelihood", 2), ("error", 4), ("median_error", 4), ("reward_error", 3), ("reward", 2))]  # fmt: skip
        rows = _values(results, arm, "rows").mean()
        lines.append(f"| {arm.name} | {steps} | {rows:.1f} | {' | '.join(cells)} |")
    lines += ["", *_matched(results, known), "", f"![Error against likelihood]({picture.name})", ""]
    if environment in READING:
        lines += ["### What it says", "", READING[environment]]
    seconds = sum(each["seconds"] for each in results.values())
    lines += [
        "",
        f"All of it took {seconds:.0f} s of one core, training of the agent and of the transition model apart.",
    ]
    write_section(page, TITLE, environment, lines)
    _draw(picture, results, known)


def _values(results: Mapping[str, Any], arm: Arm, name: str) -> np.ndarray:
    found = [value[name] for key, value in results.items() if key.rpartition("|")[0] == arm.key]
    return np.array(found)


def _cell(results: Mapping[str, Any], arm: Arm, name: str, digits: int) -> str:
    values = _values(results, arm, name)
    spread = f" ± {values.std(ddof=1) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def _matched(results: Mapping[str, Any], arms: Sequence[Arm]) -> list[str]:
    """Error of each diagonal or exact arm beside that of `published` at 256 steps, interpolated at its likelihood."""
    curve = sorted(
        tuple(
            each
            for name in ("likelihood", "error")
            for each in (_values(results, arm, name).mean(), _deviation(_values(results, arm, name)))
        )
        for arm in arms
        if arm.kind == "trajectory" and arm.steps == 256
    )
    if len(curve) < 3:
        return []
    x, _, y, y_off = np.array(curve).T
    lines = [
        "### At matched likelihood",
        "",
        "The error of `published` at 256 steps is interpolated between its strengths (unguided at 256 steps",
        "being strength 0), at the likelihood that the other mode reaches in 32.",
        "",
        "| mode, 32 steps | log pi | its error | error of published, 256 steps | ratio |",
        "|---|---|---|---|---|",
    ]
    for arm in arms:
        if arm.kind == "trajectory" and arm.mode in ("diagonal", "exact"):
            at, error = _values(results, arm, "likelihood").mean(), _values(results, arm, "error")
            own = f"{error.mean():.4f} ± {_deviation(error):.4f}"
            if x[0] <= at <= x[-1]:
                other, off = float(np.interp(at, x, y)), float(np.interp(at, x, y_off))
                rest = f"{other:.4f} ± {off:.4f} | {error.mean() / other:.2f} |"
            else:
                rest = "not reached | |"
            lines.append(f"| {arm.mode}, w={arm.strength:g} | {at:.2f} | {own} | {rest}")
    return lines


def _deviation(values: np.ndarray) -> float:
    """Standard error of the mean."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def _draw(path: Path, results: Mapping[str, Any], arms: Sequence[Arm]) -> None:
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6.5, 4.2))
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        name = arm.name.split(", w=")[0].split(", lambda=")[0]
        groups.setdefault(
            name + (f", {arm.steps} steps" if arm.mode == "published" or arm.steps == 256 else ""), []
        ).append(arm)
    for number, (name, members) in enumerate(groups.items()):
        x, y = (
            [_values(results, arm, column).mean() for arm in members] for column in ("likelihood", "error")
        )
        style = {"color": f"C{number % 10}", "label": name}
        if members[0].kind == "real":  # rounding alone, far below the rest
            axis.axvline(x[0], linestyle=":", **style)
        else:
            axis.plot(
                x, y, marker="os"[number > 9], linestyle="-" if len(x) > 1 else "none", markersize=4, **style
            )
    axis.set_xlabel("mean log pi(a | s), nats")
    axis.set_ylabel("dynamics error, real spreads")
    axis.set_yscale("log")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)

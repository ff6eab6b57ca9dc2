"""One page about a synthetic data set: what its episodes return, cover and look like, and how true they are.

With real data at hand, everything stands beside them, cut into episodes of the same length. What cannot be measured (an
environment whose state cannot be set, no policy, nothing to draw with) is said to be missing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from markupsafe import Markup
from numpy.typing import NDArray

from gendesign.errors import DataError, GendesignError
from gendesign.report.figures import Floats, Series
from gendesign.report.svg import PALETTE
from gendesign.report.text import number, percent
from gendesign.report.trajectory_figures import errors_panel, frames, lines_panel
from gendesign.report.vector_figures import histogram_panel
from gendesign.rl.dynamics import Dynamics, dynamics
from gendesign.rl.policies import precision_of
from gendesign.rl.quality import coverage, parts_of, returns_of, trajectory_quality
from gendesign.rl.synthesis import LOOKED_AT
from gendesign.rl.trajectories import Episode, Trajectories
from gendesign.storage import write_text

if TYPE_CHECKING:
    import jinja2

DRAWN = 6
"""Trajectories that are drawn."""
SHOWN = 2
"""Of them, those that the environment shows."""


def write_trajectory_report(
    data: Trajectories,
    path: str | Path,
    *,
    policy: Any = None,
    real: Trajectories | None = None,
    command: str = "",
    whole: tuple[int, int] | None = None,
) -> Path:
    """Write the page, whole or not at all.

    Args:
        data: the synthetic set, or some of its episodes, evenly spread.
        path: of the file; an existing one is replaced.
        policy: the target, with `log_prob`; None: there was none.
        real: data to compare with.
        command: that made the set.
        whole: transitions and episodes of the whole set; None: these are it.

    Raises:
        OutputError: the file cannot be written.
        DataError: real data have other observations or actions.
    """
    write_text(Path(path), render_trajectories(data, policy=policy, real=real, command=command, whole=whole))
    return Path(path)


def render_trajectories(
    data: Trajectories,
    *,
    policy: Any = None,
    real: Trajectories | None = None,
    command: str = "",
    whole: tuple[int, int] | None = None,
) -> str:
    """The page that `write_trajectory_report` writes."""
    episodes = _some(data.episodes)
    num_steps, num_episodes = whole or (data.num_steps, len(data.episodes))
    missing: list[str] = []
    sets = [("Synthetic", "steered", True, episodes)]
    if real is None:
        missing.append("How the data compare with real ones, and what they cover of them: give real=FILE.")
    else:
        _check_alike(data, real)
        try:
            sets.append(("Real", "natural", False, _some(parts_of(real.episodes, max(map(len, episodes))))))
        except DataError:
            sets.append(("Real", "natural", False, _some(real.episodes)))
            missing.append("Real episodes of the same length: they are shorter, and are shown as they are.")
    spread = np.concatenate([e.observations for e in sets[-1][3]]).std(0)
    found, why = _dynamics(sets, data.environment, spread)
    if why:
        missing.append(f"Dynamics error: {why}.")
    likelihood = [None if policy is None else _likelihood(policy, one[3]) for one in sets]
    if policy is None:
        missing.append("Likelihood of a target policy: there was none.")
    pictures, why = _pictures(data.environment, episodes)
    if why:
        missing.append(f"Pictures of the environment: {why}.")
    rows = [
        {
            "label": label, "colour": colour, "episodes": len(own),
            "returns": np.quantile(returns_of(own), [0.5, 0.1, 0.9]).tolist(),
            "likelihood": likelihood[i],
            "error": found[i].error if found else None,
            "median": float(np.median(found[i].each)) if found else None,
            "reward": float(np.sqrt((found[i].rewards ** 2).mean())) if found else None,
            "ends": float(np.mean([e.terminations[-1] for e in own])),
        }
        for i, (label, colour, _, own) in enumerate(sets)
    ]  # fmt: skip
    quality = trajectory_quality(episodes, sets[1][3]) if real is not None else None
    covered = coverage(episodes, sets[1][3]) if real is not None else None
    names = [f"observation {i + 1}" for i in range(episodes[0].observations.shape[1])]
    names += [f"action {i + 1}" for i in range(episodes[0].actions.shape[1])] + ["reward"]
    returns = [(_series(one), returns_of(one[3])) for one in sets]
    errors = [(_series(one), each.each) for one, each in zip(sets, found, strict=False)]
    marginals = []
    for i, name in enumerate(names):
        columns = [(_series(one), _column(one[3], i)) for one in sets]
        marginals.append(histogram_panel(f"m{i}", columns, title=name, counted="transitions"))
    drawn = [episodes[i] for i in np.linspace(0, len(episodes) - 1, min(DRAWN, len(episodes))).astype(int)]
    return _template().render(
        palette=PALETTE,
        num_steps=num_steps,
        num_episodes=num_episodes,
        environment=_name(data.environment),
        backbone=data.provenance.get("backbone", ""),
        tiles=_tiles(rows, quality, covered, num_steps, num_episodes),
        rows=rows,
        missing=missing,
        returns=Markup(histogram_panel("returns", returns, title="return of an episode", counted="episodes")),
        errors=Markup(errors_panel("errors", errors)) if found else None,
        marginals=[Markup(one) for one in marginals],
        lines=[
            Markup(lines_panel(f"l{i}", [_column([one], i) for one in drawn], title=name))
            for i, name in enumerate(names)
        ],
        num_drawn=len(drawn),
        pictures=pictures,
        looked_at=len(episodes),
        bounded=data.action_low is not None,
        provenance=yaml.safe_dump(dict(data.provenance), sort_keys=False, allow_unicode=True),
        command=command,
    )  # fmt: skip


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gendesign.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent}
    return environment.get_template("trajectories.html.jinja")


def _some(episodes: Sequence[Episode]) -> list[Episode]:
    chosen = np.linspace(0, len(episodes) - 1, min(LOOKED_AT, len(episodes))).astype(int)
    return [episodes[i] for i in chosen]


def _check_alike(data: Trajectories, real: Trajectories) -> None:
    ours, theirs = data.episodes[0], real.episodes[0]
    widths = [(one.observations.shape[1], one.actions.shape[1]) for one in (ours, theirs)]
    if widths[0] != widths[1]:
        raise DataError(
            f"real data have {widths[1][0]} observations and {widths[1][1]} actions, the synthetic ones {widths[0][0]} "
            f"and {widths[0][1]}"
        )


def _series(one: tuple[str, str, bool, list[Episode]]) -> Series:
    return Series(one[0], one[1], np.zeros(0), one[2])


def _column(episodes: Sequence[Episode], which: int) -> Floats:
    """One number of every step: observations, then actions, then the reward."""
    seen = episodes[0].observations.shape[1]
    acted = episodes[0].actions.shape[1]
    if which < seen:
        parts = [e.observations[:-1, which] for e in episodes]
    elif which < seen + acted:
        parts = [e.actions[:, which - seen] for e in episodes]
    else:
        parts = [e.rewards for e in episodes]
    return np.concatenate(parts).astype(np.float64)


def _dynamics(sets: Sequence[Any], environment: str, spread: NDArray[Any]) -> tuple[list[Dynamics], str]:
    """Of each set, or why not."""
    if not environment:
        return [], "the data do not say their environment"
    try:
        found = [dynamics(one[3], environment, max_steps=2_000, spread=spread) for one in sets]
    except GendesignError as error:
        return [], str(error)
    return (found, "") if all(len(one.steps) for one in found) else ([], "no step's state is known")


def _likelihood(policy: Any, episodes: Sequence[Episode]) -> float:
    """Mean log-likelihood of a transition's action, in nats."""
    kind = precision_of(policy) or torch.float64
    actions = torch.tensor(np.concatenate([e.actions for e in episodes]), dtype=kind)
    seen = torch.tensor(np.concatenate([e.observations[:-1] for e in episodes]), dtype=kind)
    with torch.no_grad():
        return float(policy.log_prob(actions, seen).double().mean())


def _pictures(environment: str, episodes: Sequence[Episode]) -> tuple[list[list[str]], str]:
    """Frames of some trajectories, or why there are none."""
    if not environment:
        return [], "the data do not say their environment"
    try:
        return [frames(environment, each.observations) for each in episodes[:SHOWN]], ""
    except (GendesignError, ImportError) as error:
        return [], str(error)


def _name(environment: str) -> str:
    try:
        return str(json.loads(environment)["id"])
    except (ValueError, KeyError, TypeError):
        return environment


def _tiles(
    rows: Sequence[dict[str, Any]],
    quality: float | None,
    covered: float | None,
    num_steps: int,
    num_episodes: int,
) -> list[dict[str, Any]]:
    ours, real = rows[0], rows[1] if len(rows) > 1 else None

    def beside(key: str) -> list[str]:
        return [] if real is None or real[key] is None else [f"real {number(real[key])}"]

    tiles = [
        {
            "label": "Transitions",
            "value": f"{num_steps:,}",
            "notes": [f"{num_episodes:,} episodes", f"{percent(ours['ends'])} terminate"],
        },
        {
            "label": "Return of an episode, median",
            "value": number(ours["returns"][0]),
            "notes": [] if real is None else [f"real {number(real['returns'][0])}"],
        },
    ]
    if quality is not None and covered is not None:
        tiles.append(
            {
                "label": "Trajectory quality (TQ)",
                "value": number(quality, 2),
                "notes": ["0: worst tenth of real episodes, 1: best"],
            }
        )
        tiles.append(
            {
                "label": "State-action coverage (SACo)",
                "value": number(covered, 2),
                "notes": ["1: as many distinct pairs as real data"],
            }
        )
    if ours["likelihood"] is not None:
        notes = ["nats a transition", *beside("likelihood")]
        tiles.append(
            {"label": "Target policy's likelihood", "value": number(ours["likelihood"], 2), "notes": notes}
        )
    if ours["error"] is not None:
        notes = ["standard deviations of the observations", *beside("error")]
        tiles.append({"label": "Dynamics error", "value": number(ours["error"]), "notes": notes})
    return tiles

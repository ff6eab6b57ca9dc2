"""The report's tables: variety, every design, and what was run at what cost."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gendesign.metrics import summary as metrics
from gendesign.report.content import Content, Words
from gendesign.report.sequences import copied
from gendesign.report.shown import Role, Shown, sequences_of
from gendesign.report.text import NONE, median, number

if TYPE_CHECKING:
    from gendesign.design_set import DesignSet

Floats = NDArray[np.float64]

SHORTLIST = 16
SHOWN = 12
LISTED = 1000
"""Designs of the list, with and without a score; browsers are slow with longer ones."""


def variety_table(sets: list[Shown], content: Content) -> dict[str, Any]:
    """Diversity, novelty and composition, one column a set.

    Args:
        sets: what is shown.
        content: the form of the designs, with the natural column and rows of its own.

    Returns:
        the template's variables variety (label, explanation, cells) and variety_columns (label, colour).
    """
    heads = [(one.label, one.colour) for one in sets]
    natural = content.natural_cells()
    if natural:
        heads.insert(0, ("Natural", "natural"))

    def distinct(one: Shown) -> str:
        return f"{metrics.num_distinct(one.designs)} of {len(one.designs)}" if one.designs else NONE

    def apart(one: Shown) -> str:
        return content.distance(one.apart)

    def new(one: Shown) -> str:
        return content.distance(median(one.novelty("nearest_distance")))

    rows = []
    for label, explained, cell in (
        ("Distinct", "of all designs", distinct),
        ("Difference between two", content.two, apart),
        ("Difference from training", content.from_training, new),
        *content.variety(),
    ):
        cells = [natural.get(label, NONE)] if natural else []
        cells += [cell(one) for one in sets]
        if any(text != NONE for text in cells):
            rows.append((label, explained, cells))
    return {"variety": rows, "variety_columns": heads}


def design_table(one: Shown, guide: Role | None, heldout: Role | None, content: Content) -> dict[str, Any]:
    """The designs, best first by the guide, those without a score at the end with their status.

    Args:
        one: the steered designs.
        guide: the guiding reward, or None.
        heldout: the held-out one, or None.
        content: shows a design.

    Returns:
        the template's variables top, more, failed (rows), num_more, num_failed, shortlist (its length), pictured,
        nearest_said, and has_copied, has_nearest, has_naturalness.
    """
    num = len(one.designs)
    by_guide = one.values(guide.name if guide is not None else None)
    order = np.argsort(np.where(np.isfinite(by_guide), -by_guide, np.inf), kind="stable")
    chosen: set[int] = set()
    if np.isfinite(by_guide).any():
        least = min(SHORTLIST, num)
        chosen = set(
            metrics.diverse_subset(by_guide, one.designs, least, distance=one.run.form.distances).tolist()
        )
    stretch, nearest = one.novelty("longest_copied"), one.novelty("nearest_distance")
    reference = sequences_of(one.run)
    word = 1 if reference is None else reference.word
    known = one.run.nearest
    without = np.full(num, guide is not None) & ~np.isfinite(by_guide)
    num_good = num - int(without.sum())  # they come first
    rows = []
    for rank, i in enumerate(order.tolist(), start=1):
        if rank > LISTED and not num_good < rank <= num_good + LISTED:
            continue
        states = [
            (name, str(scores.status[i]), scores.message[i])
            for name, scores in one.run.scores.items()
            if str(scores.status[i]) != "OK"
        ]
        rows.append(
            {
                "rank": rank,
                "guide": _score(one, guide, i),
                "heldout": _score(one, heldout, i),
                "naturalness": number(float(one.naturalness[i]), 2),
                "copied": copied(float(stretch[i]), word),
                "nearest": content.distance(float(nearest[i])),
                "picture": content.picture(one.designs[i], label=f"design {rank}"),
                "nearest_picture": None
                if known is None
                else content.picture(known[i], label=f"training design nearest to design {rank}"),
                "states": states,
                "failed": bool(without[i]),
                "shortlist": i in chosen,
                "text": content.show(one.designs[i]),
                "facts": content.facts(one.designs[i]),
                "cautions": content.cautions(one.designs[i]),
            }
        )
    good = [row for row in rows if not row["failed"]]
    return {
        "top": good[:SHOWN],
        "more": good[SHOWN:],
        "failed": [row for row in rows if row["failed"]],
        "num_more": num_good - len(good[:SHOWN]),
        "num_failed": num - num_good,
        "shortlist": len(chosen),
        "has_copied": bool(np.isfinite(stretch).any()),
        "has_nearest": bool(np.isfinite(nearest).any()),
        "has_naturalness": bool(np.isfinite(one.naturalness).any()),
        "nearest_said": content.nearest_said,
        "pictured": any(row["picture"] for row in rows),
    }


def _mean(values: Floats) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _score(one: Shown, role: Role | None, i: int) -> tuple[str, str]:
    """Value and standard deviation as text."""
    if role is None:
        return NONE, ""
    scores = one.run.scores[role.name]
    spread = float("nan") if scores.std is None else float(scores.std[i])
    value = number(float(scores.values[i]), role.decimals)
    return value, number(spread, role.decimals) if np.isfinite(spread) else ""


_COSTS = (
    ("Network rows", "network_rows", "{} that passed through the backbone's network, one time each"),
    ("Reward calls", "reward_calls", "{}, finished or foreseen, that the guide scored"),
    ("Value rows", "value_rows", "noisy states of {} that the learned value was read of"),
    ("Failed look-aheads", "lookahead_failures", "foreseen {} without a score; their designs went on"),
    ("Seconds", "seconds", "of sampling"),
)
_RUN = ("backbone", "steering", "seed", "steps", "command", "seconds_in_all")


def run_table(run: "DesignSet", words: Words) -> dict[str, Any]:
    """What was run, what steering cost in naturalness, and what it cost in computing.

    Args:
        run: the designs with their provenance.
        words: of their form.

    Returns:
        the template's variables run, run_rewards, versions, config, rest, alpha, kl, kl_part and costs.
    """
    said = dict(run.provenance)
    kl = _mean(np.asarray(run.kl, dtype=np.float64))
    length = _mean(np.array([run.form.size(design) for design in run.designs], dtype=np.float64))
    costs = []
    for label, name, explained in _COSTS:
        spent, planned = getattr(run.cost, name), getattr(run.estimate, name)
        if name == "value_rows" and not (spent or planned):
            continue  # most methods read no value
        text = number(spent) if name == "seconds" else f"{spent:,}"
        share = f"{100 * spent / planned:.0f} %" if planned else ""
        costs.append((label, explained.format(words.many), f"{planned:,}" if planned else NONE, text, share))
    told = (*_RUN, "config", "resolved", "rewards", "versions")
    rest = {key: value for key, value in said.items() if key not in told}
    return {
        "run": {
            key: said.get(key)
            for key in ("backbone", "steering", "seed", "steps", "command", "seconds_in_all")
        },
        "run_rewards": dict(said.get("rewards") or {}),
        "versions": dict(said.get("versions") or {}),
        "config": _yaml(said.get("resolved") or said.get("config")),
        "rest": _yaml(rest),
        "alpha": None if run.alpha is None else number(run.alpha),
        "kl": number(kl) if np.isfinite(kl) else None,
        "kl_part": number(kl / length) if np.isfinite(kl) and length > 0 else None,
        "costs": costs,
    }


def _yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(_plain(value), sort_keys=False, allow_unicode=True) if value else ""


def _plain(value: Any) -> Any:
    """Only what YAML's safe dumper knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)

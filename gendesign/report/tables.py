"""The report's tables: variety, every design, and what was run at what cost."""

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gendesign import metrics
from gendesign.report.shown import NUCLEIC, Role, Shown
from gendesign.report.text import NONE, median, number, percent

if TYPE_CHECKING:
    from gendesign.design_set import DesignSet

Floats = NDArray[np.float64]

SHORTLIST = 16
SHOWN = 12
COPIED = 25
"""Letters; two sequences of a yeast's genome that share so long a stretch share it by descent, not by chance."""


def variety_table(run: "DesignSet", sets: list[Shown], alphabet: str) -> dict[str, Any]:
    """Diversity, novelty and composition, one column a set.

    Args:
        run: the designs, with the reference that holds the natural column.
        sets: what is shown.
        alphabet: letters in order.

    Returns:
        the template's variables variety (label, explanation, cells) and variety_columns (label, colour).
    """
    reference, word = run.reference, 16
    columns = [(one.designs, one.novelty("longest_copied"), one.novelty("nearest_distance")) for one in sets]
    heads = [(one.label, one.colour) for one in sets]
    natural = _natural_cells({} if reference is None else reference.natural_facts)
    if reference is not None:
        word = reference.word
    if natural:
        heads.insert(0, ("Natural", "natural"))
    rows: list[tuple[str, str, list[str]]] = []

    def row(label: str, explained: str, cell: Callable[[list[str], Floats, Floats], str]) -> None:
        cells = [cell(*column) for column in columns]
        if natural:
            cells.insert(0, natural.get(label, NONE))
        if any(text != NONE for text in cells):
            rows.append((label, explained, cells))

    def runs(designs: list[str]) -> str:
        longest = metrics.longest_run(designs)
        return f"{np.median(longest):.0f} (most {longest.max()})" if len(longest) else NONE

    def copies(values: Floats) -> str:
        known = values[np.isfinite(values)]
        return f"{copied(median(known), word)} (most {copied(known.max(), word)})" if len(known) else NONE

    def long_copies(values: Floats) -> str:
        return f"{(values >= COPIED).sum()} of {len(values)}" if np.isfinite(values).any() else NONE

    row("Distinct", "of all designs", lambda d, c, n: f"{len(set(d))} of {len(d)}" if d else NONE)
    row(
        "Difference between two",
        "positions in which two designs differ, mean",
        lambda d, c, n: percent(100 * metrics.mean_pairwise_distance(d)),
    )
    row("Difference from training", "positions that differ from the nearest training sequence, median",
        lambda d, c, n: percent(100 * median(n)))  # fmt: skip
    row(
        "Longest copied stretch", "letters in a row that training may hold, median", lambda d, c, n: copies(c)
    )
    row(f"Copies of {COPIED} letters or more", "designs with such a stretch", lambda d, c, n: long_copies(c))
    if set(alphabet) <= set("ACGTU"):
        row(
            "GC content",
            "share of G and C, mean",
            lambda d, c, n: percent(100 * _mean(metrics.gc_content(d))),
        )
    row("Longest run of one letter", "median", lambda d, c, n: runs(d))
    return {"variety": rows, "variety_columns": heads}


def _natural_cells(facts: Mapping[str, float]) -> dict[str, str]:
    """Cells of the natural column by the row's label; none where no natural set was measured."""
    if not facts.get("num", 0) > 1:
        return {}
    cells = {"Distinct": f"{facts.get('distinct', np.nan):,.0f} of {facts['num']:,.0f}"}
    if "mean_distance" in facts:
        cells["Difference between two"] = percent(100 * facts["mean_distance"])
    if "gc" in facts:
        cells["GC content"] = percent(100 * facts["gc"])
    if {"median_run", "longest_run"} <= facts.keys():
        cells["Longest run of one letter"] = f"{facts['median_run']:.0f} (most {facts['longest_run']:.0f})"
    return cells


def copied(length: float, word: int) -> str:
    """The length of a copied stretch as text; those shorter than a word are not seen."""
    if np.isnan(length):
        return NONE
    return f"{length:.0f}" if length >= word else f"< {word}"


def _mean(values: Floats) -> float:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def design_table(one: Shown, guide: Role | None, heldout: Role | None, alphabet: str) -> dict[str, Any]:
    """Every design, best first by the guide, those without a score at the end with their status.

    Args:
        one: the steered designs.
        guide: the guiding reward, or None.
        heldout: the held-out one, or None.
        alphabet: letters in order.

    Returns:
        the template's variables top, more, failed (rows), shortlist (its length), has_copied, has_nearest.
    """
    num = len(one.designs)
    by_guide = one.values(guide.name if guide is not None else None)
    order = np.argsort(np.where(np.isfinite(by_guide), -by_guide, np.inf), kind="stable")
    chosen: set[int] = set()
    if np.isfinite(by_guide).any():
        chosen = set(metrics.diverse_subset(by_guide, one.designs, min(SHORTLIST, num)).tolist())
    stretch, nearest = one.novelty("longest_copied"), one.novelty("nearest_distance")
    word = one.run.reference.word if one.run.reference is not None else 1
    rows = []
    for rank, i in enumerate(order.tolist(), start=1):
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
                "nearest": percent(100 * float(nearest[i])),
                "states": states,
                "failed": guide is not None and not np.isfinite(by_guide[i]),
                "shortlist": i in chosen,
                "sequence": coloured(one.designs[i], alphabet),
            }
        )
    good = [row for row in rows if not row["failed"]]
    return {
        "top": good[:SHOWN],
        "more": good[SHOWN:],
        "failed": [row for row in rows if row["failed"]],
        "shortlist": len(chosen),
        "has_copied": bool(np.isfinite(stretch).any()),
        "has_nearest": bool(np.isfinite(nearest).any()),
    }


def _score(one: Shown, role: Role | None, i: int) -> tuple[str, str]:
    """Value and standard deviation as text."""
    if role is None:
        return NONE, ""
    scores = one.run.scores[role.name]
    spread = float("nan") if scores.std is None else float(scores.std[i])
    value = number(float(scores.values[i]), role.decimals)
    return value, number(spread, role.decimals) if np.isfinite(spread) else ""


def coloured(design: str, alphabet: str) -> Markup:
    """A design in groups of ten letters, runs of one base in one coloured element.

    Args:
        design: any text; it is escaped.
        alphabet: letters in order; only nucleotides are coloured.

    Returns:
        HTML whose text is the design, without added white space.
    """
    nucleic = set(alphabet) <= set(NUCLEIC)
    groups = []
    for start in range(0, len(design), 10):
        parts = []
        for letter, run in itertools.groupby(design[start : start + 10]):
            letters, colour = "".join(run), NUCLEIC.get(letter) if nucleic else None
            parts.append(
                Markup('<i class="{}">{}</i>').format(colour, letters) if colour else Markup.escape(letters)
            )
        groups.append(Markup("<span>{}</span>").format(Markup("").join(parts)))
    return Markup("").join(groups)


_COSTS = (
    ("Network rows", "network_rows", "sequences that passed through the backbone's network, one time each"),
    ("Reward calls", "reward_calls", "sequences, finished or foreseen, that the guide scored"),
    ("Failed look-aheads", "lookahead_failures", "foreseen sequences without a score; their designs went on"),
    ("Seconds", "seconds", "of sampling"),
)
_RUN = ("backbone", "steering", "seed", "steps", "command", "seconds_in_all")


def run_table(run: "DesignSet") -> dict[str, Any]:
    """What was run, what steering cost in naturalness, and what it cost in computing.

    Args:
        run: the designs with their provenance.

    Returns:
        the template's variables run, run_rewards, versions, config, rest, alpha, kl, kl_letter and costs.
    """
    said = dict(run.provenance)
    kl = _mean(np.asarray(run.kl, dtype=np.float64))
    length = _mean(np.array([len(design) for design in run.designs], dtype=np.float64))
    costs = []
    for label, name, explained in _COSTS:
        spent, planned = getattr(run.cost, name), getattr(run.estimate, name)
        text = number(spent) if name == "seconds" else f"{spent:,}"
        share = f"{100 * spent / planned:.0f} %" if planned else ""
        costs.append((label, explained, f"{planned:,}" if planned else NONE, text, share))
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
        "kl_letter": number(kl / length) if np.isfinite(kl) and length > 0 else None,
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

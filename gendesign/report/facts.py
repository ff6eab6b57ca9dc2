"""From a DesignSet to everything the report's page prints: numbers, sentences, tables and figures.

`gather` returns the template's variables. A part that cannot be computed is None or empty, and a sentence in
`missing` says what to give for it; nothing here raises because something optional is absent.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gendesign.forms import Fold, Form, Image, Molecule, Text, Vector, VectorSequence
from gendesign.metrics import summary as metrics
from gendesign.report import figures
from gendesign.report.content import Content, Words
from gendesign.report.figures import Series
from gendesign.report.folds import Folds
from gendesign.report.molecules import Molecules
from gendesign.report.pictures import Pictures
from gendesign.report.sequences import Sequences
from gendesign.report.shown import Role, Shown
from gendesign.report.tables import design_table, run_table, variety_table
from gendesign.report.text import (
    check_overoptimisation,
    check_typicality,
    decimals_for,
    median,
    number,
    percent,
    wrapped,
)
from gendesign.report.vectors import Vectors

if TYPE_CHECKING:
    from gendesign.design_set import DesignSet

Floats = NDArray[np.float64]


def gather(run: "DesignSet") -> dict[str, Any]:
    """All variables of report.html.jinja."""
    sets = [Shown("Steered", "steered", run)]
    if run.base is not None:
        sets.insert(0, Shown("Unsteered", "base", run.base))
    guide, heldout = _roles(run, sets)
    content = content_of(run, sets)
    words = content.words
    facts: dict[str, Any] = {
        "guide": guide,
        "heldout": heldout,
        "num": len(run.designs),
        "has_base": run.base is not None,
        "palette": figures.PALETTE,
        "missing": _missing(run, guide, heldout, content),
        "words": words,
        "parts": {"first": content.first, "later": content.later},
        "headline": _headline(run, sets, guide, heldout, words),
        "tiles": _tiles(run, sets, guide, heldout, content),
        "verdict": _verdict(run, sets, guide, heldout, words),
        "scatters": _scatters(run, sets, guide, heldout, words),
        "natural_note": "" if run.reference is None else run.reference.notes.get("natural", ""),
    }
    facts |= _rewards(sets, [role for role in (heldout, guide) if role is not None])
    facts |= content.variables()
    facts |= variety_table(sets, content)
    facts |= design_table(sets[-1], guide, heldout, content)
    facts |= run_table(run, words)
    return facts


CONTENTS: dict[type[Form], type[Content]] = {
    Text: Sequences,
    Fold: Folds,
    Molecule: Molecules,
    Vector: Vectors,
    VectorSequence: Vectors,
    Image: Pictures,
}


def content_of(run: "DesignSet", sets: list[Shown]) -> Content:
    """What the form of a run's designs adds to the page."""
    # a form of the user's own is shown as what it derives from
    kind = next(kind for kind in type(run.form).__mro__ if kind in CONTENTS)
    return CONTENTS[kind](run, sets)


def _roles(run: "DesignSet", sets: list[Shown]) -> tuple[Role | None, Role | None]:
    """The guide and the held-out reward; equal units share their number of decimals."""
    names: list[str | None] = list(run.scores)
    resolved = run.provenance.get("resolved") or {}
    if "reward" in resolved and resolved["reward"] is None:
        names.insert(0, None)  # a run without a guide may still be audited
    labels = run.provenance.get("rewards") or {}
    units = {name: str(labels.get(name, {}).get("unit") or "") for name in run.scores}
    roles: list[Role | None] = []
    for name, role in zip([*names, None, None], ("guide", "held-out"), strict=False):
        if name is None:
            roles.append(None)
            continue
        alike = [other for other in units if other == name or units[other] == units[name] != ""]
        decimals = decimals_for(np.concatenate([one.values(other) for one in sets for other in alike]))
        natural = None if run.reference is None else run.reference.reward_quantiles.get(name)
        roles.append(Role(name, role, units[name], decimals, natural))
    return roles[0], roles[1]


def _missing(run: "DesignSet", guide: Role | None, heldout: Role | None, content: Content) -> list[str]:
    said = []
    if guide is None:
        said.append("No reward guided this run.")
    elif len(run.designs) and not np.isfinite(run.scores[guide.name].values).any():
        said.append(
            f"None of the designs was scored by {guide.name}: the statuses in the list below say why."
        )
    if run.base is None:
        said.append(
            "No unsteered designs were drawn (base_designs=...), so the effect of steering is not shown."
        )
    said += content.missing()
    if len(run.designs) > figures.MOST:
        said.append(f"Figures draw {figures.MOST:,} points of {len(run.designs):,} designs, evenly spaced.")
    if run.reference is not None:
        absent = [role.name for role in (guide, heldout) if role is not None and role.natural is None]
        said += [
            f"The backbone's reference holds no values of {name} for {content.words.natural}."
            for name in absent
        ]
    return said


def _headline(
    run: "DesignSet", sets: list[Shown], guide: Role | None, heldout: Role | None, words: Words
) -> Markup:
    """The result in one sentence."""
    num = len(run.designs)
    if not num:
        return Markup("The run made no designs.")
    if guide is None and heldout is None:
        return Markup("{} designs were drawn; no reward was given to score them.").format(num)
    scored = int(np.isfinite(sets[-1].values((guide or heldout).name)).sum())  # type: ignore[union-attr]
    parts = []
    for role, by in ((heldout, "by a held-out score that steering never saw"), (guide, "by its guide")):
        if role is None or not np.isfinite(median(sets[-1].values(role.name))):
            continue
        now, before, aside = median(sets[-1].values(role.name)), median(sets[0].values(role.name)), []
        if role.natural is not None:
            share = float(metrics.percentile_of(np.array(now), role.natural))
            every = f"{percent(min(share, 99.9))} of {words.natural}"
            every = f"every {words.natural.removesuffix('s')}" if now > role.natural[100] else every
            aside.append(f"above {every}")
        if len(sets) == 2 and np.isfinite(before):
            aside.append(f"unsteered: {number(before, role.decimals)}")
        inside = f" ({'; '.join(aside)})" if aside else ""
        parts.append(Markup("<strong>{}</strong> {}{}").format(number(now, role.decimals), by, inside))
    if not parts:
        return Markup("None of the {} designs could be scored.").format(num)
    which = (
        "The median design scores" if scored == num else f"The median of the {scored} designs with a score is"
    )
    if num == 1:
        which = "The one design scores"
    return Markup("{} {}.").format(which, Markup(", and ").join(parts))


def _tiles(
    run: "DesignSet", sets: list[Shown], guide: Role | None, heldout: Role | None, content: Content
) -> list[dict[str, Any]]:
    """Up to four figures with what they compare with."""
    tiles = []
    for role, label in ((heldout, "Held-out median"), (guide, "Guide median")):
        if role is None or not np.isfinite(median(sets[-1].values(role.name))):
            continue
        values = sets[-1].values(role.name)
        low, high = metrics.bootstrap_interval(values)
        notes = [role.unit] if role.unit else []
        notes.append(f"95 % interval {number(low, role.decimals)} to {number(high, role.decimals)}")
        if len(sets) == 2:
            notes.append(f"unsteered {number(median(sets[0].values(role.name)), role.decimals)}")
        tiles.append({"label": label, "value": number(median(values), role.decimals), "notes": notes})
    if np.isfinite(sets[-1].naturalness).any():
        natural = None if run.reference is None else run.reference.naturalness
        compared = "higher is likelier" if natural is None else f"natural {number(float(natural[50]), 2)}"
        notes = [f"nats a {content.words.unit}, median", compared]
        if len(sets) == 2:
            notes.append(f"unsteered {number(median(sets[0].naturalness), 2)}")
        tiles.append(
            {"label": "Naturalness", "value": number(median(sets[-1].naturalness), 2), "notes": notes}
        )
    distance = sets[-1].apart
    notes = [content.apart(distance)] if np.isfinite(distance) else []
    if run.designs:
        value = f"{metrics.num_distinct(run.designs)} of {len(run.designs)}"
        tiles.append({"label": "Distinct designs", "value": value, "notes": notes})
    return tiles


def _verdict(
    run: "DesignSet", sets: list[Shown], guide: Role | None, heldout: Role | None, words: Words
) -> Any:
    if guide is None or not np.isfinite(sets[-1].values(guide.name)).any():
        return None

    def pair(role: Role) -> tuple[Floats, Floats]:
        return (sets[0].values(role.name) if len(sets) == 2 else np.empty(0)), sets[-1].values(role.name)

    same = heldout is not None and guide.compares_with(heldout)
    audited = None if heldout is None else pair(heldout)
    verdict = check_overoptimisation(pair(guide), audited, same_unit=same)
    typical, which = _typical(run, sets, words)
    return check_typicality(verdict, median(sets[-1].naturalness), typical, which=which)


def _typical(run: "DesignSet", sets: list[Shown], words: Words) -> tuple[Floats | None, str]:
    """Naturalness at percentiles 0..100 of what designs compare with, and what that is: natural ones, or unsteered."""
    if run.reference is not None and run.reference.naturalness is not None:
        return run.reference.naturalness, words.natural
    base = sets[0].naturalness[np.isfinite(sets[0].naturalness)] if len(sets) == 2 else np.empty(0)
    return (np.quantile(base, metrics.PERCENTILES / 100) if len(base) else None), f"unsteered {words.many}"


def _rewards(sets: list[Shown], roles: list[Role]) -> dict[str, Any]:
    """One panel and one block of a table a reward; rewards of one unit share an axis."""
    panels, blocks = [], []
    for role in roles:
        alike = [other for other in roles if role.compares_with(other)]
        limits = _limits(
            [one.values(other.name) for one in sets for other in alike]
            + [other.natural[[1, 99]] for other in alike if other.natural is not None]
        )
        if limits is None:
            continue
        scored = [(one, one.values(role.name)[np.isfinite(one.values(role.name))]) for one in sets]
        svg = figures.reward_panel(
            f"reward-{role.role}",
            [one.series(values) for one, values in scored],
            title=f"Scores by {role.name}",
            axis=wrapped(role.unit or "score"),
            limits=limits,
            decimals=role.decimals,
            quantiles=role.natural,
        )
        title = "Guide" if role.role == "guide" else "Held-out"
        panels.append((f"{title}: {role.name}", Markup(svg)))
        rows: list[tuple[str, str, float | None, Floats]] = []
        if role.natural is not None:
            top = 1.0 if role.natural[100] > role.natural[99] else 0.0
            rows.append(("Natural", "natural", top, role.natural[[50, 25, 75, 100]]))
        for one, values in scored:
            if len(values):
                share = None if role.natural is None else float((values > role.natural[99]).mean() * 100)
                rows.append((one.label, one.colour, share, np.quantile(values, [0.5, 0.25, 0.75, 1.0])))
        blocks.append((f"{title}: {role.name}", role.decimals, rows))
    return {
        "reward_panels": panels,
        "reward_blocks": blocks,
        "reward_natural": any(role.natural is not None for role in roles),
    }


def _limits(values: list[Floats]) -> tuple[float, float] | None:
    flat = np.concatenate([v[np.isfinite(v)] for v in values]) if values else np.empty(0)
    if not len(flat):
        return None
    pad = 0.05 * (float(np.ptp(flat)) or 1.0)
    return float(flat.min()) - pad, float(flat.max()) + pad


def _scatters(
    run: "DesignSet", sets: list[Shown], guide: Role | None, heldout: Role | None, words: Words
) -> list[tuple[Markup, str]]:
    """Guide against held-out, and naturalness against guide, each with its caption."""
    panels: list[tuple[Markup, str]] = []
    if guide is None:
        return panels
    if heldout is not None:
        pairs = [_both(one, one.values(guide.name), one.values(heldout.name)) for one in sets]
        same = guide.compares_with(heldout)
        axes = (wrapped(_axis("guide", guide)), wrapped(_axis("held-out", heldout)))
        if any(len(x.values) for x, _ in pairs):
            svg = figures.scatter_panel(
                "trust", pairs, title="Guide against held-out", axes=axes, identity=same
            )
            caption = "Each circle is a design. "
            caption += "On the dashed line both agree; below it only the guide is convinced." if same else ""
            panels.append((Markup(svg), caption))
    pairs = [_both(one, one.values(guide.name), one.naturalness) for one in sets]
    if any(len(x.values) for x, _ in pairs):
        typical, which = _typical(run, sets, words)
        which = "natural" if which == words.natural else "unsteered"
        svg = figures.scatter_panel(
            "natural",
            pairs,
            title="Naturalness against reward",
            axes=(wrapped(_axis("guide", guide)), f"naturalness (nats a {words.unit})"),
            band=None if typical is None else (float(typical[5]), float(typical[95])),
            band_label=f"90 % of {which}",
        )
        caption = (
            f"Naturalness is the log-likelihood of a design under the backbone ({words.likelihood}) over its "
            f"{words.size}. "
        )
        caption += (
            f"High scores far from the {which} band, on either side, deserve suspicion."
            if typical is not None
            else ""
        )
        panels.append((Markup(svg), caption))
    return panels


def _axis(label: str, role: Role) -> str:
    return f"{label} ({role.unit})" if role.unit else label


def _both(one: Shown, x: Floats, y: Floats) -> tuple[Series, Series]:
    keep = np.isfinite(x) & np.isfinite(y)
    return one.series(x[keep]), one.series(y[keep])

"""Molecules on the page: drawings, properties beside those of natural molecules, the front of objectives, oddities."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from gendesign.designs import Design
from gendesign.errors import DesignError
from gendesign.metrics.molecule_reference import PROPERTIES, MoleculeReference
from gendesign.metrics.similarity import molecule_distance
from gendesign.molecules import chemistry
from gendesign.molecules.oddities import EXPLAINED, ODDITIES, oddities
from gendesign.molecules.open_ends import read_scaffold
from gendesign.report import molecule_figures
from gendesign.report.content import Content, Floats, Row, Words
from gendesign.report.drawings import drawing
from gendesign.report.fronts import Front
from gendesign.report.shown import Shown
from gendesign.report.text import NONE, number, percent

if TYPE_CHECKING:
    from gendesign.design_set import DesignSet

SHEET = 8
"""Molecules drawn of each set at the top of the page."""

SHOWN: Mapping[str, tuple[str, int]] = {
    "QED": ("QED: drug-likeness, 0 to 1", 3),
    "SA": ("SA score: 1 easy to make, 10 hard", 2),
    "logP": ("logP (Crippen)", 2),
    "molecular weight": ("molecular weight (g/mol)", 0),
    "TPSA": ("polar surface (Å²)", 0),
    "rings": ("rings", 0),
}
"""Properties drawn, by name: what the axis says, and decimals."""
SHORT = {"QED": "QED", "SA": "SA", "logP": "logP", "molecular weight": "MW"}
"""Properties said of each molecule, as chemists shorten them."""


class Molecules(Content):
    """Canonical SMILES."""

    first = "molecules.html.jinja"
    later = "molecule_properties.html.jinja"
    two = "1 − Tanimoto similarity (ECFP4), mean: internal diversity"
    from_training = "1 − Tanimoto similarity to the most similar training molecule, median"
    nearest_said = (
        "From nearest is 1 − Tanimoto similarity to the most similar training molecule, drawn beside it."
    )

    def __init__(self, run: "DesignSet", sets: list[Shown]) -> None:
        super().__init__(run, sets)
        self.core = scaffold_of((run.provenance.get("resolved") or {}).get("template"))
        self._found: dict[str, dict[str, float]] = {}
        self._odd: dict[str, list[str]] = {}
        for smiles in dict.fromkeys(text for one in sets for text in one.texts):
            self._measure(smiles)

    def _measure(self, smiles: str) -> None:
        try:
            mol = chemistry.parse(smiles)
        except DesignError:
            return
        self._found[smiles] = {name: float(PROPERTIES[name](mol)) for name in SHOWN}
        self._odd[smiles] = oddities(mol)

    @property
    def words(self) -> Words:
        form = self.run.form
        likelihood = "a lower bound" if form.part == "token" else "estimated by its flow"
        return Words(form.part, form.part, f"number of {form.part}s", form.many, form.natural, likelihood)

    def variables(self) -> dict[str, Any]:
        front = Front(self.sets, ("minus SA score", [-self._values(one, "SA") for one in self.sets]))
        return {
            "sheets": self._leads() + [self._sheet(one) for one in reversed(self.sets) if one.designs],
            "core": self.core,
            "properties": self._panels(),
            "property_rows": self._property_rows(),
            "fronts": front.panels(),
            "front_text": front.text(),
            "property_columns": [
                *([("Natural", "natural")] if self._natural else []),
                *((one.label, one.colour) for one in self.sets),
            ],
            "oddities": self._oddity_rows(),
            "oddity_text": self._oddity_text(),
            "molecule_columns": [
                *([("Natural", "natural")] if self._natural_facts else []),
                *((one.label, one.colour) for one in self.sets),
            ],
        }

    def _leads(self) -> list[dict[str, Any]]:
        """A sheet of what the designs started from, where they did not start from noise."""
        leads = list(dict.fromkeys(str(lead) for lead in self.run.leads or ()))
        for smiles in leads:
            self._measure(smiles)
        drawn = [
            {"drawing": self.picture(smiles, label=smiles), "score": "", "facts": self.facts(smiles)}
            for smiles in leads[:SHEET]
        ]
        note = f"{len(drawn)} of {len(leads)}" if len(drawn) < len(leads) else ""
        return (
            [{"label": "Started from", "colour": "natural", "note": note, "molecules": drawn}]
            if drawn
            else []
        )

    def _sheet(self, one: Shown) -> dict[str, Any]:
        """Drawings of a set: the best steered ones, unsteered ones over their whole range."""
        guide = next(iter(self.run.scores), None)
        values = one.values(guide)
        order = np.argsort(np.where(np.isfinite(values), -values, np.inf), kind="stable")
        order = order[[one.designs[i] in self._found for i in order.tolist()]]
        if np.isfinite(values).any():
            order = order[np.isfinite(values[order])]
        different = list(dict.fromkeys(one.texts[i] for i in order.tolist()))
        chosen = different[:SHEET]
        note = (
            f"the {len(chosen)} best of {len(one.designs)}" if guide is not None else f"{len(chosen)} of them"
        )
        if one.colour != "steered" and len(different) > SHEET:
            chosen = [different[i] for i in np.linspace(0, len(different) - 1, SHEET).round().astype(int)]
            note = f"{SHEET} of {len(one.designs)}, from the best to the worst" if guide is not None else note
        score = dict(zip(one.texts, values.tolist(), strict=True))
        return {
            "label": one.label,
            "colour": one.colour,
            "note": note,
            "guide": "guide" if guide is None or len(guide) > 12 else guide,
            "molecules": [
                {
                    "drawing": self.picture(smiles, label=smiles),
                    "score": number(score[smiles]),
                    "facts": [fact for fact in self.facts(smiles) if fact[0].lower() != guide],
                }
                for smiles in chosen
            ],
        }

    def _values(self, one: Shown, name: str) -> Floats:
        """A property of each design, NaN for what is no molecule."""
        return np.array([self._found.get(text, {}).get(name, np.nan) for text in one.texts], dtype=np.float64)

    @property
    def _reference(self) -> MoleculeReference | None:
        return self.run.reference if isinstance(self.run.reference, MoleculeReference) else None

    @property
    def _natural(self) -> Mapping[str, Floats]:
        return {} if self._reference is None else self._reference.quantiles

    @property
    def _natural_facts(self) -> Mapping[str, float]:
        facts = {} if self._reference is None else self._reference.natural_facts
        return {name: facts[name] for name in ODDITIES if name in facts}

    def _panels(self) -> list[Markup]:
        panels = []
        for i, (name, (axis, _)) in enumerate(SHOWN.items()):
            series = [one.series(_finite(self._values(one, name))) for one in self.sets]
            if not any(len(one.values) for one in series):
                continue
            natural, whole = self._natural.get(name), name == "rings"
            svg = molecule_figures.property_panel(
                f"property{i}", series, title=name, axis=axis, natural=natural, whole=whole
            )
            panels.append(Markup(svg))
        return panels

    def _property_rows(self) -> list[tuple[str, list[str]]]:
        """Median and middle 90 % of each property."""
        rows = []
        for name, (_, decimals) in SHOWN.items():
            quantiles = [self._natural[name][[50, 5, 95]]] if name in self._natural else []
            if self._natural and not quantiles:
                quantiles = [np.full(3, np.nan)]
            for one in self.sets:
                values = _finite(self._values(one, name))
                quantiles.append(
                    np.quantile(values, [0.5, 0.05, 0.95]) if len(values) else np.full(3, np.nan)
                )
            cells = [
                f"{number(q[0], decimals)} ({number(q[1], decimals)} to {number(q[2], decimals)})"
                if np.isfinite(q[0])
                else NONE
                for q in quantiles
            ]
            rows.append((name, cells))
        return rows

    def _share(self, one: Shown, name: str) -> float:
        """Share of the molecules of a set with an oddity, in per cent."""
        known = [self._odd[text] for text in one.texts if text in self._odd]
        return 100 * sum(name in odd for odd in known) / len(known) if known else float("nan")

    def _oddity_rows(self) -> list[tuple[str, str, list[str]]]:
        natural = self._natural_facts
        rows = []
        for name in ODDITIES:
            cells = [percent(100 * natural[name]) if name in natural else NONE] if natural else []
            cells += [percent(self._share(one, name)) for one in self.sets]
            rows.append((name.capitalize() if name != "PAINS" else name, EXPLAINED[name], cells))
        return rows if self._odd else []

    def _oddity_text(self) -> str:
        """Which oddities are more frequent among the designs than among what they compare with."""
        natural, last = self._natural_facts, self.sets[-1]
        more = []
        for name in ODDITIES:
            other = 100 * natural[name] if name in natural else self._share(self.sets[0], name)
            own = self._share(last, name)
            if own > 2 * other and own - other > 5 and (natural or len(self.sets) == 2):
                more.append(f"{name} ({percent(own)} against {percent(other)})")
        which = "training molecules" if natural else "unsteered designs"
        if more:
            return (
                f"More frequent than among {which}: {', '.join(more)}. Look at these before you order them."
            )
        return (
            f"Nothing of this is notably more frequent than among {which}."
            if natural or len(self.sets) == 2
            else ""
        )

    def show(self, design: Design) -> Markup:
        return Markup.escape(str(design) or "(empty)")

    def picture(self, design: Design, *, label: str) -> Markup:
        return drawing(str(design), label=label, core=self.core)

    def facts(self, design: Design) -> list[tuple[str, str]]:
        found = self._found.get(str(design), {})
        return [
            (short, number(found[name], SHOWN[name][1])) for name, short in SHORT.items() if name in found
        ]

    def cautions(self, design: Design) -> list[str]:
        return self._odd.get(str(design), [])

    def apart(self, value: float) -> str:
        return f"internal diversity {number(value, 2)}: 1 − mean Tanimoto similarity"

    def distance(self, value: float) -> str:
        return number(value, 2)

    def variety(self) -> Sequence[Row]:
        def new(one: Shown) -> str:
            known = _finite(one.novelty("novel"))
            return percent(100 * float(known.mean())) if len(known) else NONE

        def close(one: Shown) -> str:
            known = _finite(one.novelty("nearest_distance"))
            return percent(100 * float((known <= 0.4).mean())) if len(known) else NONE

        def valid(one: Shown) -> str:
            return (
                f"{sum(text in self._found for text in one.texts)} of {len(one.texts)}" if one.texts else NONE
            )

        def like_lead(one: Shown) -> str:
            pairs = list(zip(one.texts, one.run.leads or (), strict=False))
            known = _finite(np.array([1 - molecule_distance(pair)[0, 1] for pair in pairs], dtype=np.float64))
            return f"{np.median(known):.2f} (least {known.min():.2f})" if len(known) else NONE

        return [
            ("Like the start", "Tanimoto similarity to what the design started from, median", like_lead),
            ("Molecules", "that RDKit reads", valid),
            ("New", "not among the training molecules", new),
            ("Close to training", "a training molecule with Tanimoto similarity .6 or more", close),
        ]

    def natural_cells(self) -> dict[str, str]:
        facts = {} if self._reference is None else self._reference.natural_facts
        cells = {}
        if "mean_distance" in facts:
            cells["Difference between two"] = self.distance(facts["mean_distance"])
        if {"num", "distinct"} <= facts.keys():
            cells["Distinct"] = f"{facts['distinct']:,.0f} of {facts['num']:,.0f}"
        return cells

    def missing(self) -> list[str]:
        said = []
        if self._reference is None:
            said.append(
                "The backbone has no reference file, so nothing is compared with its training molecules."
            )
        if self.run.nearest is None:
            said.append(
                "The training molecules are not on this machine, so the most similar ones are not shown."
            )
        return said


def scaffold_of(template: Any) -> str:
    """The scaffold of a template, `*` at its open ends; "" where there is none."""
    try:
        read = read_scaffold(template) if isinstance(template, str) else None
    except DesignError:
        return ""
    return "" if read is None or read.is_open else re.sub(r"\[\d+\*\]", "*", read.smiles)


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]

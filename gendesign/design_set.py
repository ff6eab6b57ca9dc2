"""What a run returns: designs with everything measured of them, and their files."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from gendesign.building import whole
from gendesign.designs import Design
from gendesign.errors import OutputError
from gendesign.forms import Form, Text
from gendesign.metrics.distances import num_distinct
from gendesign.metrics.molecule_reference import MoleculeReference
from gendesign.metrics.reference import Reference
from gendesign.metrics.summary import diverse_subset
from gendesign.rewards.base import Scores
from gendesign.steering.particles import Cost
from gendesign.storage import RESULTS, write_file, write_text

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DesignSet:
    """Designs, in the order in which they were made.

    Attributes:
        designs: the designs.
        scores: by reward name; the first guided the run, the others (held-out) only judge it.
        parts: where the guide is made of several rewards, their scores by name.
        wishes: of those parts, by name, what is better the larger it is; NaN where a part has no value.
        naturalness: log p(design) under the backbone, a lower bound or the flow's estimate, nats a token or coordinate.
        novelty: by name, figures that compare each design with the training data, where the backbone knows it.
        kl: upper bound on what steering each design cost, KL to the backbone in nats.
        alpha: temperature used, in the guiding reward's unit; None where the method has none.
        cost: what sampling spent.
        estimate: the most that it could have spent, known beforehand.
        provenance: everything needed to repeat the run.
        base: the same for unsteered designs of the same backbone.
        reference: the natural designs to compare with.
        form: what the designs are: text, vectors, images.
        nearest: the training design nearest to each, where the training data are at hand, except of text.
        leads: what each design started from; None where designs started from noise.
    """

    designs: list[Design]
    scores: dict[str, Scores]
    naturalness: Floats
    novelty: dict[str, Floats]
    kl: Floats
    alpha: float | None
    cost: Cost
    estimate: Cost
    provenance: dict[str, Any]
    base: DesignSet | None = None
    reference: Reference | MoleculeReference | None = None
    form: Form = field(default_factory=Text)
    nearest: list[Design] | None = None
    leads: list[Design] | None = None
    parts: dict[str, Scores] = field(default_factory=dict)
    wishes: dict[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.designs)

    @property
    def guide(self) -> Scores | None:
        """Scores by the guiding reward."""
        return next(iter(self.scores.values()), None)

    @property
    def values(self) -> Floats:
        """The guiding reward of each design, NaN where its status is not OK."""
        return np.full(len(self), np.nan) if self.guide is None else self.guide.values

    def __getitem__(self, index: Sequence[int] | npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> DesignSet:
        """Some of the designs, in the order of `index`, or where it is true; the cost of the whole run stays with them.

        Raises:
            IndexError: no list of numbers, one beyond the designs, or as many truths as there are not designs.
        """
        given = np.asarray(index)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "biu"):
            raise IndexError(f"expected a list of numbers, or one truth a design, got {index!r}")
        rows = np.arange(len(self))[given if given.dtype == bool else given.astype(np.int64)]
        return replace(
            self,
            designs=[self.designs[i] for i in rows],
            scores={name: scores.subset(rows) for name, scores in self.scores.items()},
            naturalness=self.naturalness[rows],
            novelty={name: values[rows] for name, values in self.novelty.items()},
            kl=self.kl[rows],
            nearest=None if self.nearest is None else [self.nearest[i] for i in rows],
            leads=None if self.leads is None else [self.leads[i] for i in rows],
            parts={name: scores.subset(rows) for name, scores in self.parts.items()},
            wishes={name: values[rows] for name, values in self.wishes.items()},
        )

    def ranked(self) -> DesignSet:
        """The designs from the best to the worst by the guiding reward; those without a score come last."""
        return self[np.argsort(-np.nan_to_num(self.values, nan=-np.inf), kind="stable")]

    def select(self, n: int, *, diversity: float = 0.5) -> DesignSet:
        """A diverse shortlist, for a plate.

        Args:
            n: how many designs to keep; fewer come back if fewer are distinct and scored.
            diversity: 0 keeps the best ones, 1 the most different ones.

        Returns:
            The chosen designs in the order of choice (see `gendesign.metrics.summary.diverse_subset`).
        """
        whole("n", n)
        form = self.form
        return self[
            diverse_subset(self.values, self.designs, n, diversity=diversity, distance=form.distances)
        ]

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write designs.csv, config.yaml, summary.json, and the designs.

        These are in designs.fasta; molecules in designs.sdf and designs.smi; arrays in designs.npz, with images/.

        Args:
            folder: is made where needed.
            overwrite: replace such files, each at once, as a resumed run does with its own.

        Returns:
            The folder.

        Raises:
            OutputError: the folder holds such files already, or cannot be written; nothing is half-written.
        """
        path = Path(folder)
        present = [name for name in RESULTS if (path / name).exists()]
        if present and not overwrite:
            raise OutputError(
                f"{path} already holds {present[0]}; choose another folder, nothing was overwritten"
            )
        for name, content in self.form.files(self.ranked().designs, self._titles(), self._rows()).items():
            write_file(path / name, content)
        write_text(path / "designs.csv", self.csv())
        write_text(path / "config.yaml", yaml.safe_dump(self.provenance.get("config", {}), sort_keys=False))
        write_text(path / "summary.json", json.dumps(_plain(self.summary()), indent=2) + "\n")
        return path

    def _titles(self) -> list[str | None]:
        """A line about each design, best first; None where the guide gave no score."""
        return [
            " ".join(
                [f"design_{rank:04d}", *(f"{n}={s.values[i]:.5g}" for n, s in self.scores.items() if s.ok[i])]
            )
            if self.guide is None or self.guide.ok[i]
            else None
            for rank, i in enumerate(self._order(), start=1)
        ]

    def csv(self) -> str:
        """One row a design, best first: every score with its status, naturalness, novelty, KL."""
        text = io.StringIO()
        rows = self._rows()
        names = list(rows[0]) if rows else ["rank"]
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def _rows(self) -> list[dict[str, Any]]:
        return [self._row(rank, int(i)) for rank, i in enumerate(self._order(), start=1)]

    def _order(self) -> npt.NDArray[np.int64]:
        return np.argsort(-np.nan_to_num(self.values, nan=-np.inf), kind="stable")

    def _row(self, rank: int, i: int) -> dict[str, Any]:
        row: dict[str, Any] = {"rank": rank, "index": i}
        cells = self.form.cells(self.designs[i], rank)
        row |= {name if name not in row else f"{name} (column)": value for name, value in cells.items()}
        if self.leads is not None:
            row |= self.form.changes(self.designs[i], self.leads[i])
        for name, scores in self.scores.items():
            shown = name if name not in row else f"{name} (score)"
            row[shown] = _number(scores.values[i])
            if scores.std is not None:
                row[f"{shown}_std"] = _number(scores.std[i])
            row[f"{shown}_status"] = str(scores.status[i])
            row[f"{shown}_message"] = scores.message[i]
        for name, scores in self.parts.items():
            row.setdefault(name, _number(scores.values[i]))
        row[self._naturalness] = _number(self.naturalness[i])
        row |= {name: _number(values[i]) for name, values in self.novelty.items()}
        row["kl_bound_nats"] = _number(self.kl[i])
        return row

    @property
    def _naturalness(self) -> str:
        return f"naturalness_nats_per_{self.form.part}"

    def summary(self) -> dict[str, Any]:
        """The run in numbers."""
        return {
            "num_designs": len(self),
            "scores": {name: _describe(scores) for name, scores in self.scores.items()},
            "base_scores": {}
            if self.base is None
            else {n: _describe(s) for n, s in self.base.scores.items()},
            self._naturalness: _median(self.naturalness),
            f"base_{self._naturalness}": None if self.base is None else _median(self.base.naturalness),
            "unique_designs": num_distinct(self.designs),
            "alpha": self.alpha,
            "kl_bound_nats": float(np.mean(self.kl)) if len(self) else None,
            "cost": asdict(self.cost),
            "cost_bound": asdict(self.estimate),
            "provenance": self.provenance,
        }


def _number(value: float) -> float | str:
    if math.isnan(value):
        return ""
    return round(float(value), 6) if abs(value) >= 1 else float(f"{value:.6g}")  # 2e-9 is not 0


def _median(values: Floats) -> float | None:
    fine = values[np.isfinite(values)]
    return float(np.median(fine)) if len(fine) else None


def _describe(scores: Scores) -> dict[str, Any]:
    fine = scores.values[scores.ok]
    quartiles = np.percentile(fine, [0, 25, 50, 75, 100]) if len(fine) else [None] * 5
    names = ("minimum", "lower_quartile", "median", "upper_quartile", "maximum")
    return {
        **dict(zip(names, quartiles, strict=True)),
        "status": {str(k): n for k, n in scores.counts().items()},
    }


def _plain(value: Any) -> Any:
    """JSON data: numpy numbers become Python's, NaN becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)

"""Sequences for a backbone on the page: beside the structure's own, and what the backbone thinks of every residue."""

from typing import Any

import numpy as np
from markupsafe import Markup

from gendesign.designs import Design
from gendesign.forms import Fold
from gendesign.report.content import Floats
from gendesign.report.sequences import Sequences
from gendesign.report.shown import PROTEIN, Shown
from gendesign.report.text import percent

ROWS, BLOCK = 8, 50  # designs beside the structure's own sequence; residues a line
PANEL = 40  # residues of a panel
ORDER = "GAVLIMFWYPCSTNQHKRED"  # by the chemistry of side chains
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
CELL, LEFT, TOP = 8.2, 16.0, 14.0  # units of the panels, which are 360 wide


class Folds(Sequences):
    """Sequences for a backbone."""

    later = "folds.html.jinja"

    def variables(self) -> dict[str, Any]:
        form = self.run.form
        assert isinstance(form, Fold)
        designs = [str(design) for design in _best_first(self.run, self.sets[-1])]
        valid = [design for design in designs if form.codec.is_valid(design)]
        own, numbers = form.codec.structure.sequence, form.codec.structure.numbers
        found: dict[str, Any] = {
            "aligned": Markup(""),
            "residues": [],
            "residues_text": "",
            "aligned_text": "",
        }
        if valid:
            same = np.mean([[a == b for a, b in zip(design, own, strict=True)] for design in valid])
            found["aligned"], found["rules"] = alignment(own, numbers, valid), form.codec.structure.notes
            found["aligned_text"] = (
                f"Designs keep {percent(100 * float(same))} of the residues of {form.codec.structure.name}, mean. "
                f"A dot is the structure's own residue; the last line says how many tenths of all "
                f"{len(valid)} designs keep it, + being all of them."
            )
            chances = form.codec.chances(valid[0])
            if chances is not None:
                found["residues"] = residue_panels(chances, form.codec.alphabet, own, valid[0], numbers)
                found["residues_text"] = _said(chances, form.codec.alphabet, own, valid[0])
        return super().variables() | found


def alignment(own: str, numbers: tuple[str, ...], designs: list[str]) -> Markup:
    """Designs under the structure's own sequence, in the file's numbering.

    Args:
        own: the structure's sequence.
        numbers: of its residues, as in the file.
        designs: as long as it, best first; the first few are shown, all of them are counted.

    Returns:
        HTML of preformatted lines.
    """
    kept = np.mean([[a == b for a, b in zip(design, own, strict=True)] for design in designs], axis=0)
    tenths = ["+" if share == 1 else str(int(10 * share)) for share in kept]
    lines = []
    for start in range(0, len(own), BLOCK):
        part = slice(start, start + BLOCK)
        lines.append(
            Markup('<b class="own">{:>8} {} {}</b>').format(numbers[start], own[part], numbers[part][-1])
        )
        for rank, design in enumerate(designs[:ROWS], start=1):
            letters = [
                Markup("·") if a == b else Markup('<i class="{}">{}</i>').format(PROTEIN.get(a, "other"), a)
                for a, b in zip(design[part], own[part], strict=True)
            ]
            lines.append(Markup("{:>8} {}").format(rank, Markup("").join(letters)))
        lines.append(Markup('<span class="kept">{:>8} {}</span>').format("kept", "".join(tenths[part])))
        lines.append(Markup(""))
    return Markup("\n").join(lines[:-1])


def residue_panels(
    chances: Floats, alphabet: str, own: str, design: str, numbers: tuple[str, ...]
) -> list[Markup]:
    """The chance of every amino acid at every residue, as squares the darker the likelier.

    Args:
        chances: shape [residues, letters].
        alphabet: the letters.
        own: the structure's sequence, whose letters have a frame.
        design: whose letters have a point.
        numbers: of the residues.

    Returns:
        inline SVG, one a stretch of residues.
    """
    column = {letter: place for place, letter in enumerate(alphabet)}
    panels = []
    for start in range(0, len(own), PANEL):
        stretch = range(start, min(start + PANEL, len(own)))
        squares: dict[float, list[str]] = {level: [] for level in LEVELS}
        frames, points = [], []
        for place in stretch:
            x = LEFT + CELL * (place - start)
            for row, letter in enumerate(ORDER):
                chance, y = float(chances[place, column[letter]]), TOP + CELL * row
                reached = [level for level in LEVELS if chance >= level]
                if reached:
                    squares[reached[-1]].append(f"M{x:.1f} {y:.1f}h{CELL}v{CELL}h-{CELL}z")
                if letter == own[place]:
                    frames.append(f"M{x + 0.6:.1f} {y + 0.6:.1f}h{CELL - 1.2}v{CELL - 1.2}h-{CELL - 1.2}z")
                if letter == design[place]:
                    points.append(f"M{x + CELL / 2 - 1:.1f} {y + CELL / 2:.1f}h2")
        parts = [
            f'<path d="{"".join(paths)}" fill="var(--steered)" fill-opacity="{0.1 + 0.9 * rank / len(LEVELS):.2f}"/>'
            for rank, paths in enumerate(squares.values())
            if paths
        ]
        parts.append(f'<path d="{"".join(frames)}" fill="none" stroke="var(--ink)" stroke-width="1"/>')
        parts.append(
            f'<path d="{"".join(points)}" stroke="var(--base)" stroke-width="3.4" stroke-linecap="round"/>'
        )
        labels = [
            f'<text x="6" y="{TOP + CELL * (row + 0.8):.1f}" font-size="7.5" fill="var(--muted)">{letter}</text>'
            for row, letter in enumerate(ORDER)
        ]
        labels += [
            f'<text x="{LEFT + CELL * (place - start + 0.5):.1f}" y="10" font-size="8" text-anchor="middle" '
            f'fill="var(--muted)">{Markup.escape(numbers[place])}</text>'
            for place in stretch
            if (place - start) % 5 == 0
        ]
        height = TOP + CELL * len(ORDER) + 2
        named = f"Chances of amino acids at residues {numbers[stretch[0]]} to {numbers[stretch[-1]]}"
        panels.append(
            Markup(
                f'<svg viewBox="0 0 360 {height:.0f}" role="img" aria-label="{Markup.escape(named)}">'
                f"{''.join(parts + labels)}</svg>"
            )
        )
    return panels


def _said(chances: Floats, alphabet: str, own: str, design: str) -> str:
    rows = np.arange(len(design))
    chosen = chances[rows, [alphabet.index(letter) for letter in design]]
    known = [place for place, letter in enumerate(own) if letter in alphabet]
    natural = chances[known, [alphabet.index(own[place]) for place in known]]
    return (
        "The chance that the backbone gives each amino acid of the best design, all other residues of it being known. "
        f"Darker is likelier, a point marks the design's residue (median {percent(100 * float(np.median(chosen)))}), a "
        f"frame the structure's own (median {percent(100 * float(np.median(natural)))})."
    )


def _best_first(run: Any, shown: Shown) -> list[Design]:
    values = shown.values(next(iter(run.scores), None))
    order = np.argsort(-np.where(np.isfinite(values), values, -np.inf), kind="stable")
    return [shown.designs[i] for i in order]

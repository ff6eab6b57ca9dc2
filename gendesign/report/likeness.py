"""Whether designs read like natural sequences: word spectra and the sequence logo."""

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gendesign.errors import DesignError
from gendesign.metrics import summary as metrics
from gendesign.report import sequence_figures
from gendesign.report.figures import Series
from gendesign.report.shown import NUCLEIC, PROTEIN, Shown, sequences_of
from gendesign.report.text import number

if TYPE_CHECKING:
    from gendesign.design_set import DesignSet

Floats = NDArray[np.float64]

ROW = 20  # positions in a panel of the logo
MOST = 320  # positions in all


def likeness(run: "DesignSet", sets: list[Shown], alphabet: str) -> dict[str, Any]:
    """Correlations with natural spectra, beside those of as many natural sequences.

    Args:
        run: the designs, with the reference to compare with.
        sets: what is shown, the steered designs last.
        alphabet: letters in order.

    Returns:
        the template's variables likeness (panels), likeness_text, and likeness_notes.
    """
    reference = sequences_of(run)
    out: dict[str, Any] = {"likeness": [], "likeness_text": "", "likeness_notes": []}
    if reference is None or not reference.spectra or not run.designs:
        return out
    num = min(len(run.designs), int(reference.expected_sizes.max(initial=1)))
    rows, said = [], []
    for kind, target, spectra in (
        ("natural", "natural", reference.spectra),
        ("top", "best natural", reference.top_spectra),
    ):
        for k, natural in spectra.items():
            points = [
                (one.series(np.empty(0)), _correlation(one.texts, k, alphabet, natural)) for one in sets
            ]
            points = [(one, r) for one, r in points if np.isfinite(r)]
            if kind == "top" and k == max(spectra) and len(points) == 2:
                said.append(_comparison(k, points[0][1], points[1][1]))
            expected = reference.expected_correlation(kind, k, num)
            if np.isfinite(expected):
                points.append((Series(f"{num} natural", "natural", np.empty(0)), expected))
            rows.append((f"{k}-letter words,\n{target}", points))
    panel = sequence_figures.correlation_panel(
        "words", rows, title="Correlation of word frequencies with natural sequences"
    )
    out["likeness"].append(
        (Markup(panel), "How alike the frequencies of words are; to the right is more alike.")
    )
    k = min(reference.spectra)
    spectra_of = [(one, _spectrum(one.texts, k, alphabet)) for one in sets]
    drawn = [one.series(spectrum) for one, spectrum in spectra_of if spectrum is not None]
    if drawn and len(reference.spectra[k]) <= 512:
        words = ["".join(word) for word in itertools.product(alphabet, repeat=k)]
        svg = sequence_figures.word_panel(
            "frequency", words, reference.spectra[k], drawn, title=f"Frequencies of {k}-letter words"
        )
        caption = f"Each circle is one of {len(words)} words; those above the dashed line are more frequent in designs."
        out["likeness"].append((Markup(svg), caption))
    said.append(
        f"Few sequences hold few words, so small sets correlate less: {num} random natural ones show how much."
    )
    if reference.half_correlation:
        halves = " and ".join(f"{r:.3f} for {k} letters" for k, r in reference.half_correlation.items())
        out["likeness_notes"].append(
            f"Random halves of the natural sequences correlate with each other at {halves}."
        )
    if "top" in reference.notes and reference.top_spectra:
        out["likeness_notes"].append(f"Best natural: {reference.notes['top']}.")
    out["likeness_text"] = " ".join(said)
    return out


def _comparison(k: int, base: float, steered: float) -> str:
    which = "closer" if steered > base else "no closer"
    return (
        f"In {k}-letter words steered designs are {which} to the best natural sequences than unsteered ones are: "
        f"correlation {steered:.2f} against {base:.2f}."
    )


def _spectrum(designs: list[str], k: int, alphabet: str) -> Floats | None:
    try:
        return metrics.kmer_spectrum(designs, k, alphabet)
    except DesignError:  # nothing long enough, or no letter of the alphabet
        return None


def _correlation(designs: list[str], k: int, alphabet: str, natural: Floats) -> float:
    spectrum = _spectrum(designs, k, alphabet)
    return float("nan") if spectrum is None else metrics.spectrum_correlation(spectrum, natural)


def information(designs: list[str], alphabet: str) -> Floats:
    """Letter heights of a sequence logo: share of each letter times the position's information.

        R_i = log2 K - H_i - (K - 1) / (2 n ln 2), at least 0

    Args:
        designs: n sequences of one length L over the alphabet.
        alphabet: K letters.

    Returns:
        heights in bits, shape [L, K].

    Reference:
        T. Schneider and R. Stephens, "Sequence logos: a new way to display consensus sequences", 1990.
    """
    digits = np.array([list(design) for design in designs])
    share = np.stack([(digits == letter).mean(0) for letter in alphabet], axis=1)
    entropy = -np.sum(share * np.log2(np.where(share > 0, share, 1.0)), axis=1)
    bits = np.log2(len(alphabet)) - entropy - (len(alphabet) - 1) / (2 * len(designs) * np.log(2))
    return share * np.maximum(bits, 0.0)[:, None]


def logo(sets: list[Shown], alphabet: str) -> dict[str, Any]:
    """The logo of the steered designs, where all have one length.

    Args:
        sets: what is shown, the steered designs last.
        alphabet: letters in order.

    Returns:
        the template's variables logo (rows of it) and logo_text.
    """
    designs, out = sets[-1].texts, {"logo": [], "logo_text": ""}
    lengths = {len(design) for design in designs}
    if len(designs) < 2 or len(alphabet) > 24 or not set("".join(designs)) <= set(alphabet) or lengths == {0}:
        return out
    if len(lengths) > 1:
        return out | {"logo_text": "The designs have different lengths, so there is no logo by position."}
    heights = information(designs, alphabet)
    colours = NUCLEIC if set(alphabet) <= set(NUCLEIC) else PROTEIN
    top = max(0.25, float(heights.sum(1).max()) * 1.1)
    length = len(heights)
    rows = [
        sequence_figures.logo_panel(
            f"logo{i}", heights[i : i + ROW], alphabet, start=i + 1, top=top, colours=colours, width=ROW
        )
        for i in range(0, min(length, MOST), ROW)
    ]
    mean = number(float(heights.sum(1).mean()), 2)
    text = (
        "Tall letters mark positions where the designs agree. Full agreement would be "
        f"{np.log2(len(alphabet)):.2g} bits high, and the mean is {mean}; designs that differ from each other, "
        "as a diverse set should, make a flat logo."
    )
    if len(sets) == 2 and {len(design) for design in sets[0].texts} == lengths and len(sets[0].texts) > 1:
        base = float(information(sets[0].texts, alphabet).sum(1).mean())
        text += f" (Unsteered designs: {number(base, 2)} bits.)"
    if length > MOST:
        text += f" Positions 1 to {MOST} of {length} are shown."
    return {"logo": [Markup(row) for row in rows], "logo_text": text}

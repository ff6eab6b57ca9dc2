"""The report's wording: numbers for readers, and the verdict on over-optimisation.

A guide is over-optimised where steering raises it while a reward that steering never saw falls: with medians m,

    m(guide, steered) > m(guide, unsteered)   and   m(held-out, steered) < m(held-out, unsteered).
"""

import textwrap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gendesign.metrics.summary import resampled

Floats = NDArray[np.float64]
NONE = "–"


def number(value: float | None, decimals: int | None = None) -> str:
    """Three significant digits or so many decimals, thousands separated, a true minus, a dash for no number."""
    if value is None or not np.isfinite(value):
        return NONE
    if decimals is not None:
        text = f"{value:,.{decimals}f}"
    elif value == 0 or abs(value) >= 999.5:
        text = f"{value:,.0f}"
    else:
        text = f"{value:#.3g}".rstrip(".")
    return text.replace("-", "−" if text.strip("-0.,") else "")  # what rounds to zero has no sign


def decimals_for(values: Floats) -> int | None:
    """Decimals that show a thousandth of the range of these values, or nearly; 2 if they have none.

    None where these were more than six, so that three significant digits are shown instead.
    """
    values = values[np.isfinite(values)]
    spread = float(np.ptp(values)) if len(values) else 0.0
    decimals = max(0, int(2 - np.floor(np.log10(spread / 3)))) if spread > 0 else 2
    return decimals if decimals <= 6 else None


def percent(value: float | None) -> str:
    """A share in per cent that is never rounded up to all or down to none."""
    if value is None or not np.isfinite(value):
        return NONE
    if value in (0, 100):
        return f"{value:.0f} %"
    return f"{min(max(value, 0.1), 99.9):.1f} %"


def wrapped(text: str) -> str:
    """An axis label in lines that fit under a panel."""
    return "\n".join(textwrap.wrap(text, 44)[:3])


def median(values: Floats) -> float:
    """Median of what is finite, NaN if nothing is."""
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


@dataclass(frozen=True)
class Verdict:
    """Whether the guide was over-optimised.

    Args:
        level: "calm", "caution" or "warning".
        title: in a few words.
        text: in a sentence or two, with numbers.
    """

    level: str
    title: str
    text: str


def check_overoptimisation(
    guide: tuple[Floats, Floats], heldout: tuple[Floats, Floats] | None, *, same_unit: bool = True
) -> Verdict:
    """Compare the rise of the guiding reward with that of the held-out one.

    Args:
        guide: the guiding reward of unsteered and of steered designs; NaN are left out.
        heldout: the same of the held-out reward, or None.
        same_unit: whether the two rewards are in one unit, so that their rises compare.

    Returns:
        `warning` where the guide's median rose and the held-out one's fell; `caution` where that cannot be
        told, or the held-out rise may be chance (95 % bootstrap interval of the difference of medians).
    """
    if heldout is None:
        text = "No held-out reward was given (heldout=...), so nothing independent checks the guide's scores."
        return Verdict("caution", "Not audited", text)
    clean = [[values[np.isfinite(values)] for values in pair] for pair in (guide, heldout)]
    if any(len(values) == 0 for pair in clean for values in pair):
        text = "Over-optimisation shows in unsteered and steered designs scored by both rewards; some are missing."
        return Verdict("caution", "Cannot be checked", text)
    rises = [float(np.median(after) - np.median(before)) for before, after in clean]
    low, high = _rise_interval(clean[1][0], clean[1][1])
    said = (
        f"The guide's median {_moved(rises[0])}, the held-out median {_moved(rises[1])} "
        f"(95 % interval {number(low)} to {number(high)})"
    )
    if rises[0] > 0 and rises[1] < 0:
        text = (
            f"{said}. What only the guide believes is not worth a plate: use a larger alpha or another guide."
        )
        return Verdict("warning", "Over-optimised", text)
    if rises[0] <= 0:
        return Verdict("caution", "The guide did not rise", f"{said}. There is no effect to audit.")
    if low <= 0:
        return Verdict("caution", "Not confirmed", f"{said}. A held-out rise this small may be chance.")
    share = f", {100 * rises[1] / rises[0]:.0f} % of the guide's rise" if same_unit else ""
    return Verdict("calm", "No sign of over-optimisation", f"{said}{share}.")


def check_typicality(
    verdict: Verdict, naturalness: float, typical: Floats | None, *, which: str = "natural sequences"
) -> Verdict:
    """Turn a calm verdict into a caution where the designs' likelihood is not that of what they compare with.

    Args:
        verdict: on over-optimisation.
        naturalness: median of the designs, nats a letter.
        typical: the same of those that they compare with at percentiles 0 to 100, or None.
        which: what those are.

    Returns:
        the verdict; a likelihood outside the middle 98 % of theirs, on either side, is not typical.
    """
    if typical is None or verdict.level != "calm" or typical[1] <= naturalness <= typical[99]:
        return verdict
    if naturalness > typical[99]:
        said = f"likelier than 99 % of {which}: simple, repetitive designs are likely, not natural"
    else:
        said = f"less likely than 99 % of {which}"
    text = f"{verdict.text} Yet the median design is {said}. A larger alpha keeps designs closer to nature."
    return Verdict("caution", "The audit agrees, but the designs are not typical", text)


def _rise_interval(before: Floats, after: Floats, resamples: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the difference of medians."""
    rng = np.random.default_rng(0)
    medians = [resampled(v, np.median, resamples=resamples, rng=rng) for v in (before, after)]
    low, high = np.quantile(medians[1] - medians[0], [0.025, 0.975])
    return float(low), float(high)


def _moved(rise: float) -> str:
    if rise == 0:
        return "did not move"
    return f"{'rose' if rise > 0 else 'fell'} by {number(abs(rise))}"

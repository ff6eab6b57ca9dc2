"""Inline SVG whose colours and fonts follow the page around it.

Matplotlib draws with the colours of `PALETTE`, and `finish` replaces each by a CSS variable of the same name
(`--steered`, `--natural`, ...), so that a panel is legible in light, in dark and in print. Panels are 360 units
wide: one fills a phone, two stand side by side on a desk, and text stays readable in both. Colours are after
Okabe and Ito, "Color universal design" (2008), darkened where text needs contrast; no meaning rests on colour
alone (steered designs are filled circles, unsteered ones hollow, natural ones diamonds).
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

PALETTE = {
    "ink": "#1b2432",
    "muted": "#5a6576",
    "line": "#dfe4eb",
    "steered": "#0b6cae",
    "base": "#c26a00",
    "natural": "#7d8796",
    "band": "#e9edf2",
    "A": "#00734e",
    "C": "#0a5ca9",
    "G": "#8e6200",
    "T": "#b23b02",
    "other": "#4a5568",
}
WIDTH = 360.0
"""Units; one is a CSS pixel where a panel is 360 pixels wide."""

# text stays text (small, selectable, in the page's font); a $ in a name is a dollar, not mathematics
_RC: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gendesign",
    "font.size": 10.5,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
}


@contextmanager
def canvas(height: float, *, grid: str = "both", width: float = WIDTH) -> Iterator[tuple[Figure, Axes]]:
    """A figure of its own, with quiet axes, under settings that end with the block.

    Args:
        height: in units.
        grid: which axes have grid lines: "both", "x" or "y".
        width: in units.
    """
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(width / 72, height / 72), layout="constrained")
        figure.set_layout_engine("constrained", w_pad=0.04, h_pad=0.03)
        figure.patch.set_alpha(0)
        ax = figure.subplots()
        ax.patch.set_alpha(0)
        ax.set_frame_on(False)
        ax.tick_params(length=0, colors=PALETTE["muted"], labelsize=10)
        ax.grid(axis=grid, color=PALETTE["line"], linewidth=0.8)  # type: ignore[arg-type]
        ax.set_axisbelow(True)
        ax.xaxis.label.set_color(PALETTE["ink"])
        ax.yaxis.label.set_color(PALETTE["ink"])
        yield figure, ax


def finish(figure: Figure, name: str, alternative: str) -> str:
    """The figure as inline SVG.

    Args:
        figure: drawn on a `canvas`.
        name: prefix of its ids, which must differ within a page.
        alternative: text for readers who do not see it.

    Returns:
        an svg element without prolog, metadata, or anything that a browser would load.
    """
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(r"font: ([^;\"]*?)(\d+(?:\.\d+)?)px[^;\"]*", _font, text)
    for colour, value in PALETTE.items():
        text = text.replace(value, f"var(--{colour})")
    head = re.match(r"<svg [^>]*?viewBox=\"([^\"]*)\"[^>]*>", text)
    assert head is not None, "matplotlib writes a viewBox"
    title = f"<title>{escape(alternative)}</title>"
    return f'<svg viewBox="{head[1]}" role="img">{title}{text[head.end() :].strip()}'


def _font(match: re.Match[str]) -> str:
    """Size and weight of a font, whose family is the page's."""
    weight = next((word for word in match[1].split() if word.isdigit() or word == "bold"), "")
    return f"font-size: {match[2]}px" + (f"; font-weight: {weight}" if weight else "")

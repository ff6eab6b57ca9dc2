"""One page that says what a design run achieved, what it cost, and how far its scores can be trusted.

`write_report` writes a single HTML file that loads nothing from anywhere: styles and figures are inside. What
is missing (a held-out reward, a reference, unsteered designs, scores) is said to be missing, and everything
else is shown.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gendesign.design_set import write_text
from gendesign.report.text import number, percent

if TYPE_CHECKING:
    import jinja2

    from gendesign.design_set import DesignSet

__all__ = ["render_report", "write_report"]


def render_report(design_set: "DesignSet") -> str:
    """Render the page that `write_report` writes.

    Args:
        design_set: what `design` returned.

    Returns:
        HTML.
    """
    from gendesign.report.facts import gather  # here, because it imports matplotlib

    return _template().render(gather(design_set))


@cache
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gendesign.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent}
    return environment.get_template("report.html.jinja")


def write_report(design_set: "DesignSet", path: str | Path) -> Path:
    """Write the report of a run as one HTML file, whole or not at all.

    Args:
        design_set: what `design` returned.
        path: of the file; an existing one is replaced.

    Returns:
        the path.

    Raises:
        OutputError: the file cannot be written.
    """
    write_text(Path(path), render_report(design_set))
    return Path(path)

"""Pages of several sections, one an environment, each written by its own run."""

from __future__ import annotations

from pathlib import Path


def write_section(page: Path, title: str, name: str, lines: list[str]) -> None:
    """Put a section into a page: new at its end, or in the place of the one that is there.

    Args:
        page: the file; where it has another title, it is begun anew.
        title: its first line, with the #.
        name: the section's heading, without the ##.
        lines: what stands below the heading.
    """
    text = page.read_text() if page.exists() else ""
    head, *sections = text.split("\n## ") if text.startswith(title + "\n") else [title]
    parts = {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in sections}
    parts[name] = "\n".join(lines).strip()
    page.write_text(
        "\n".join([head.strip() + "\n", *(f"## {each}\n\n{body}\n" for each, body in parts.items())])
    )

"""The molecules of ARENA.md: the tables of a `gendesign compare molecules`, and what to read in them.

    gendesign compare molecules out=runs/compare_molecules
    python benchmarks/molecule_arena.py --compared runs/compare_molecules      (writes the section of ARENA.md anew)

The words stand in arena_molecule_notes.md; `arena.py` keeps the section as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HERE = Path(__file__).parent
HEADING = "# Molecules, beside a genetic algorithm"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--compared", type=Path, required=True, help="folder of a `gendesign compare`")
    compared = parser.parse_args().compared
    notes = (HERE / "arena_molecule_notes.md").read_text()
    section = f"{HEADING}\n\n{notes}\n{(compared / 'results.md').read_text()}"
    page, part = HERE / "ARENA.md", HERE / "arena_molecules.md"
    whole = page.read_text()
    if part.exists():
        whole = whole.replace(part.read_text(), section)
    else:
        body, last = whole.rstrip().rsplit("\n", 1)  # the line that names the versions stays the last
        whole = f"{body}\n{section}\n{last}\n"
    part.write_text(section)
    page.write_text(whole)


if __name__ == "__main__":
    main()

"""What the command line says of a structure that designs are for, and takes from it."""

from __future__ import annotations

from typing import Any

from gendesign.backbone import Backbone
from gendesign.designs import Design
from gendesign.files.designs import named_designs
from gendesign.structure_codec import StructureCodec

NOTES = 8
"""Of how a structure was read, the most that are printed."""


def leads_of(start: str | None, config: dict[str, Any], backbone: Backbone) -> list[Design] | None:
    """The designs that `start` names; the backbone's structure file stands for its own sequence.

    Args:
        start: a design, a file of designs, or the structure file.
        config: of the backbone.
        backbone: the same, loaded.

    Raises:
        DataError: a file cannot be read, or holds a row that is no design.
    """
    if not start:
        return None
    if isinstance(backbone.codec, StructureCodec) and start == config.get("structure"):
        return [backbone.codec.structure.sequence]
    return named_designs(start)


def said_of_structure(backbone: Backbone) -> str:
    """What was read of a structure file, and by which rules, in lines; "" where designs are for none."""
    if not isinstance(backbone.codec, StructureCodec):
        return ""
    one = backbone.codec.structure
    first = (
        f"structure: {one.name}, chain {one.chain}, {len(one)} residues {one.numbers[0]} to {one.numbers[-1]}"
    )
    more = [f"and {len(one.notes) - NOTES} more"] if len(one.notes) > NOTES else []
    return "\n  ".join([first, *one.notes[:NOTES], *more]) + "\n"

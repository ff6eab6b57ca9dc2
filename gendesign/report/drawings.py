"""Molecules as SVG inside the page: one scale, one line width, black bonds and coloured heteroatoms on white.

A bond is equally long in every drawing, so that large molecules look large; only what would not fit is drawn smaller.
With a core given, molecules that hold it are turned so that it lies alike in all of them, and it is shaded.
"""

import re
from functools import lru_cache
from typing import Any

from markupsafe import Markup, escape

from gendesign.errors import DesignError
from gendesign.files.molecules import flat
from gendesign.molecules import chemistry

WIDTH, HEIGHT = 300, 210
"""Units of a drawing; a bond is BOND of them long."""
BOND = 21
_STYLE = {
    "fixedBondLength": BOND,
    "bondLineWidth": 1.5,
    "padding": 0.04,
    "minFontSize": 9,
    "maxFontSize": 14,
    "additionalAtomLabelPadding": 0.06,
    "clearBackground": False,
    "highlightRadius": 0.36,
    "fillHighlights": True,
    "highlightBondWidthMultiplier": 9,
    "standardColoursForHighlightedAtoms": True,
}
"""Of RDKit's drawing."""
_SHADE = (0.84, 0.91, 0.99)
_COLOURS = {
    7: (0.13, 0.3, 0.85),
    8: (0.85, 0.1, 0.1),
    9: (0.0, 0.5, 0.4),
    15: (0.75, 0.4, 0.0),
    16: (0.62, 0.48, 0.0),
    17: (0.0, 0.5, 0.1),
    35: (0.55, 0.25, 0.1),
    53: (0.45, 0.1, 0.55),
}
"""Of elements by atomic number, each dark enough to be read on white."""


@lru_cache(maxsize=1024)
def drawing(smiles: str, *, label: str = "", core: str = "") -> Markup:
    """A molecule as an svg element; a dashed frame in words where it is none.

    Args:
        smiles: of the molecule.
        label: text alternative; the SMILES by default.
        core: SMILES of a part to lay out alike, `*` at its open ends; "" for none.
    """
    try:
        mol = chemistry.parse(smiles)
    except DesignError:
        return Markup('<div class="nothing" role="img" aria-label="{}">no molecule</div>').format(
            label or "no molecule"
        )
    drawn, shaded = _laid_out(mol, core)
    with chemistry.rdkit():
        from rdkit.Chem.Draw import rdMolDraw2D

        canvas = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT)
        options = canvas.drawOptions()
        for name, value in _STYLE.items():
            setattr(options, name, value)
        options.updateAtomPalette(_COLOURS)
        atoms, bonds = shaded
        canvas.DrawMolecule(
            drawn,
            highlightAtoms=atoms,
            highlightBonds=bonds,
            highlightAtomColors=dict.fromkeys(atoms, _SHADE),
            highlightBondColors=dict.fromkeys(bonds, _SHADE),
        )
        canvas.FinishDrawing()
        return _element(canvas.GetDrawingText(), label or smiles)


def _laid_out(mol: Any, core: str) -> tuple[Any, tuple[list[int], list[int]]]:
    """The molecule in the plane, and the atoms and bonds of the core."""
    drawn = flat(mol)
    pattern = _core(core) if core else None
    inside = list(drawn.GetSubstructMatch(pattern)) if pattern is not None else []
    if not inside:
        return drawn, ([], [])
    with chemistry.rdkit():
        from rdkit.Chem import rdDepictor

        rdDepictor.GenerateDepictionMatching2DStructure(drawn, pattern, acceptFailure=True)
    ends = set(inside)
    bonds = [b.GetIdx() for b in drawn.GetBonds() if {b.GetBeginAtomIdx(), b.GetEndAtomIdx()} <= ends]
    return drawn, (inside, bonds)


@lru_cache(maxsize=4)
def _core(smiles: str) -> Any:
    """The core without its open ends, where a hydrogen may be, as a molecule in the plane; None where it is none."""
    try:
        mol = chemistry.parse(smiles, attachments=True)
    except DesignError:
        return None
    with chemistry.rdkit() as chem:
        cut = chem.RWMol(flat(mol))
        for i in reversed([atom.GetIdx() for atom in mol.GetAtoms() if not atom.GetAtomicNum()]):
            cut.RemoveAtom(i)
        return cut.GetMol() if cut.GetNumAtoms() else None


def _element(text: str, label: str) -> Markup:
    """RDKit's file as an element of a page: no prolog, no classes, colours only where they are not black."""
    body = text[text.index("<!-- END OF HEADER -->") + 22 : text.rindex("</svg>")]
    body = re.sub(r"\sclass='[^']*'", "", body)
    body = re.sub(
        r"fill-rule:evenodd;|stroke-linecap:butt;|stroke-linejoin:miter;|stroke-opacity:1;?", "", body
    )
    body = re.sub(r"fill:none;", "", body)
    body = re.sub(r"\s*\n\s*", "", body)
    head = f'<svg class="mol" viewBox="0 0 {WIDTH} {HEIGHT}" fill="none" role="img"><title>{escape(label)}</title>'
    return Markup(head + body + "</svg>")

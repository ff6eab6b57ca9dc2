"""Molecules as files, and back: lines of SMILES (.smi), and records with drawings and properties (.sdf).

What is read becomes canonical SMILES where RDKit can read it, and stays as it is where it cannot, so that every row is
still there and says what is wrong with it. Repeats stay repeats. Salts are not taken apart: which fragment was meant is
for their owner to say.

SMILES: Weininger (1988, doi 10.1021/ci00057a005); SDF: Dalby et al., "Description of several chemical structure file
formats used by computer programs developed at Molecular Design Limited" (1992, doi 10.1021/ci00007a012).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gendesign.errors import DesignError
from gendesign.molecules import chemistry

if TYPE_CHECKING:
    from rdkit.Chem import Mol

SMILES_ENDINGS = (".smi", ".smiles")
SDF_ENDINGS = (".sdf", ".sd")
HEADS = ("smiles", "canonical_smiles", "smile", "structure")
"""What the first word of a .smi file may be, in any case, where its first line names the columns."""
PROPERTY = "SMILES"
"""The property of a record that repeats its SMILES."""


def normal(text: str) -> str:
    """The canonical SMILES of a molecule; what is none stays as it is, without blanks around it."""
    try:
        return chemistry.canonical(text.strip())
    except DesignError:
        return text.strip()


def encode_smi(molecules: Sequence[str], names: Sequence[str]) -> bytes:
    """One molecule a line: SMILES, a tab, its name."""
    return "".join(f"{smiles}\t{name}\n" for smiles, name in zip(molecules, names, strict=True)).encode()


def encode_sdf(
    molecules: Sequence[str], names: Sequence[str], properties: Sequence[Mapping[str, Any]]
) -> bytes:
    """One record a molecule: its name, drawn in the plane, with its properties; what is no molecule has none.

    Args:
        molecules: B SMILES.
        names: a title of each.
        properties: of each by name; empty ones are left out.
    """
    text = io.StringIO()
    with chemistry.rdkit() as chem:
        writer = chem.SDWriter(text)
        for smiles, name, said in zip(molecules, names, properties, strict=True):
            try:
                mol = flat(chemistry.parse(smiles))
            except DesignError:
                continue
            mol.SetProp("_Name", name)
            for key, value in {PROPERTY: smiles, **said}.items():
                if value not in ("", None):
                    mol.SetProp(_one_line(key).replace("<", "(").replace(">", ")"), _one_line(str(value)))
            writer.write(mol)
        writer.close()
    return text.getvalue().encode()


def flat(mol: Mol) -> Mol:
    """A copy with coordinates in the plane, laid out alike whichever way its SMILES was written."""
    with chemistry.rdkit() as chem:
        from rdkit.Chem import rdDepictor

        drawn = chem.Mol(mol)
        rdDepictor.Compute2DCoords(drawn, canonOrient=True)
        rdDepictor.StraightenDepiction(drawn, minimizeRotation=True)
        return drawn


def _one_line(text: str) -> str:
    return " ".join(text.split())


def read_smi(text: str) -> tuple[dict[str, list[str]], list[int]]:
    """Columns `smiles` and `id` (the line's number where it has no name), and the number of each line.

    Blank lines and lines of comment (#) are no rows, nor is a first line that names the columns.
    """
    smiles: list[str] = []
    names: list[str] = []
    lines: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        first, _, rest = line.strip().replace("\t", " ").partition(" ")
        if not first or first.startswith("#") or (not lines and first.lower().rstrip(",;") in HEADS):
            continue
        smiles.append(first)
        names.append(rest.strip() or str(number))
        lines.append(number)
    return {"smiles": smiles, "id": names}, lines


def read_sdf(text: str) -> tuple[dict[str, list[str]], list[int], list[tuple[int, str]]]:
    """Columns `smiles`, `id` and every property that a record has; numbers of the records; those that are unreadable.

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    records: list[tuple[int, dict[str, str]]] = []
    problems: list[tuple[int, str]] = []
    with chemistry.rdkit() as chem:
        supplier = chem.SDMolSupplier()
        supplier.SetData("\n".join(text.splitlines()) + "\n")
        for number, mol in enumerate(supplier, start=1):
            if mol is None:
                problems.append((number, "RDKit cannot read the record"))
                continue
            said = {name: str(value) for name, value in mol.GetPropsAsDict(autoConvertStrings=False).items()}
            name = mol.GetProp("_Name").strip() if mol.HasProp("_Name") else ""
            own = {"smiles": chem.MolToSmiles(mol), "id": name or str(number)}
            records.append((number, {key: value.strip() for key, value in said.items()} | own))
    columns = dict.fromkeys(["smiles", "id", *(name for _, record in records for name in record)])
    cells = {name: [record.get(name, "") for _, record in records] for name in columns}
    return cells, [number for number, _ in records], problems

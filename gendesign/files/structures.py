"""Protein structures on disk: PDB and mmCIF files to checked backbones, and designs threaded onto them as PDB.

Biopython reads and writes the files. Rules, each noted in `Structure.notes` where it was applied: the first model; of
alternate locations the one of highest occupancy for a whole residue (the first of equals), likewise of alternate amino
acids; modified residues as their parent (MSE is M), unknown ones with a backbone as X; waters, nucleic acids and
ligands, amino acids among them that no bond joins to the chain, are left out; a residue that lacks backbone atoms
stays, see `Structure.resolved`. Author numbering with insertion codes is kept as it stands.

Reference: Hamelryck and Manderick 2003, PDB file parser and structure class implemented in Python,
doi 10.1093/bioinformatics/btg299.
"""

from __future__ import annotations

import gzip
import io
import re
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from gendesign.building import whole
from gendesign.errors import ConfigError, DataError, DesignError
from gendesign.structures import ATOMS, BOND, LETTERS, Structure

Array = NDArray[np.float64]
Residues = dict[str, list[tuple[str, Any]]]
"""Of each chain, the amino acids: letter, and Biopython's residue."""


def read_structure(
    path: str | Path, *, chain: str | None = None, model: int = 1, max_residues: int = 5000
) -> Structure:
    """Read one protein chain of a PDB or mmCIF file, plain or gzipped.

    Args:
        path: the file; which of the two formats it is, its text tells.
        chain: letter of the chain (author's); may be left out where one chain is a protein.
        model: which model of several, counted from 1.
        max_residues: longer chains are refused.

    Raises:
        DataError: the file cannot be read, holds no protein, or the chain is too long.
        ConfigError: there is no such chain or model; the message lists the chains.
    """
    file, residues, notes = _chains(path, model)
    return _build(file, _choose(file, residues, chain), residues, notes, max_residues)


def read_chains(path: str | Path, *, model: int = 1, max_residues: int = 5000) -> list[Structure]:
    """Read every protein chain of a file, as `read_structure` reads one; of chains with one sequence, the first.

    Args:
        path: the file.
        model: which model of several, counted from 1.
        max_residues: longer chains are refused.

    Returns:
        The chains, in the file's order; each is named by the file, with its letter where there are several.

    Raises:
        DataError: as in `read_structure`.
        ConfigError: there is no such model.
    """
    file, residues, notes = _chains(path, model)
    _choose(file, residues, next((name for name, found in residues.items() if found), None))
    chains = [_build(file, name, residues, notes, max_residues) for name, found in residues.items() if found]
    first: dict[str, Structure] = {}
    for one in chains:
        first.setdefault(one.sequence, one)
    alone = list(first.values())
    return alone if len(alone) == 1 else [replace(one, name=f"{one.name}:{one.chain}") for one in alone]


def _chains(path: str | Path, model: int) -> tuple[Path, Residues, list[str]]:
    """The amino acids of every chain of a model."""
    file = Path(path).expanduser()
    whole("model", model)
    parsed, notes = _parse(file)
    models = list(parsed)
    if not models:
        raise DataError(f"{file}: no atoms; expected a structure in PDB or mmCIF format")
    if model > len(models):
        raise ConfigError(f"{file}: there is no model {model}; the file has {len(models)}")
    if len(models) > 1:
        notes.append(f"model {model} of {len(models)}")
    return file, {part.id: _residues(part) for part in models[model - 1]}, notes


def _parse(file: Path) -> tuple[Any, list[str]]:
    """Biopython's structure, and its warnings."""
    from Bio.PDB import MMCIFParser, PDBParser
    from Bio.PDB.PDBExceptions import PDBConstructionException, PDBException

    try:
        content = file.read_bytes()
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode()
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read the structure {file}: {' '.join(str(error).split())[:200]}") from error
    is_cif = re.match(r"(\s|#[^\n]*\n)*data_", text) is not None
    if not is_cif:  # records such as TER are recognised by their padding
        text = "\n".join(line.ljust(80) for line in text.splitlines()) + "\n"
    parser = MMCIFParser() if is_cif else PDBParser(PERMISSIVE=True)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            parsed = parser.get_structure(file.name, io.StringIO(text))
        except (PDBConstructionException, PDBException, ValueError, LookupError, TypeError) as error:
            raise DataError(
                f"{file}: not a structure in PDB or mmCIF format ({' '.join(str(error).split())[:200]})"
            ) from error
    told = [" ".join(str(one.message).split()) for one in found]
    lost = [note for note in told if "may be missing" in note]
    if lost:  # the parser would leave out what it cannot place
        reason = lost[0].removeprefix("PDBConstructionException: ").partition(" Exception ignored")[0]
        raise DataError(
            f"{file}: atoms that contradict each other; renumber the file or name its chains ({reason})"
        )
    return parsed, [note for note in told if "discontinuous" not in note]


def _residues(chain: Any) -> list[tuple[str, Any]]:
    """The amino acids of a chain, each with its letter; of alternate ones the most occupied."""
    from Bio.Data.PDBData import protein_letters_3to1_extended as known

    kept = []
    for residue in chain:
        if residue.is_disordered() == 2:
            residue = max(residue.disordered_get_list(), key=_occupancy)
        letter = known.get(residue.resname.strip().upper(), "X")
        atoms = {atom.get_name() for atom in residue}
        if letter != "X" or {"N", "CA", "C"} <= atoms:
            kept.append((letter if letter in LETTERS else "X", residue))
    bonds = [_distance(a, b) < BOND for (_, a), (_, b) in zip(kept, kept[1:], strict=False)]
    # a hetero residue that is bonded to neither neighbour is a ligand
    held = [left or right for left, right in zip([False, *bonds], [*bonds, False], strict=True)][: len(kept)]
    return [one for one, is_held in zip(kept, held, strict=True) if one[1].id[0] == " " or is_held]


def _occupancy(residue: Any) -> float:
    values = [atom.get_occupancy() or 0.0 for atom in residue.get_unpacked_list()]
    return float(np.mean(values)) if values else 0.0


def _distance(before: Any, after: Any) -> float:
    first, second = _atoms(before)[0].get("C"), _atoms(after)[0].get("N")
    return np.inf if first is None or second is None else float(np.linalg.norm(first - second))


def _choose(file: Path, residues: Residues, chain: str | None) -> str:
    proteins = [name for name, found in residues.items() if found]
    listed = ", ".join(f"{name!r} ({len(residues[name])} residues)" for name in proteins)
    if not proteins:
        raise DataError(
            f"{file}: no protein in chains {', '.join(map(repr, residues))}; nucleic acids and ligands are not read"
        )
    if chain is None:
        if len(proteins) > 1:
            raise ConfigError(f"{file}: several chains are proteins, {listed}; say which with chain=")
        return proteins[0]
    if chain in residues and not residues[chain]:
        raise ConfigError(f"{file}: chain {chain!r} is no protein; those that are: {listed}")
    if chain not in residues:
        raise ConfigError(f"{file}: there is no chain {chain!r}; the protein chains are {listed}")
    return chain


def _build(file: Path, chain: str, chains: Residues, notes: list[str], max_residues: int) -> Structure:
    residues, notes = chains[chain], [*notes]
    if len(residues) > max_residues:
        raise DataError(
            f"{file}: chain {chain!r} has {len(residues):,} residues, more than {max_residues:,}; cut out the domain "
            "to design, or raise max_residues"
        )
    numbers, missing, alternate, changed = [], [], [], []
    coordinates, cb = np.full((len(residues), 4, 3), np.nan), np.full((len(residues), 3), np.nan)
    for row, (letter, residue) in enumerate(residues):
        _, number, code = residue.id
        numbers.append(f"{number}{code.strip()}")
        atoms, several = _atoms(residue)
        for column, atom in enumerate(ATOMS):
            coordinates[row, column] = atoms.get(atom, np.nan)
        cb[row] = atoms.get("CB", np.nan)
        name = residue.resname.strip()
        if np.isnan(coordinates[row]).any():
            absent = [a for a, place in zip(ATOMS, coordinates[row], strict=True) if np.isnan(place).any()]
            missing.append(f"{numbers[-1]} ({', '.join(absent)})")
        if several:
            alternate.append(numbers[-1])
        if _is_changed(name):
            changed.append(f"{name} {numbers[-1]} is read as {letter}")
    if missing:
        notes.append(f"missing atoms in residues {_some(missing)}")
    if alternate:
        notes.append(f"alternate locations, the most occupied was taken: {_some(alternate)}")
    if changed:
        notes.append(_some(changed))
    sequence = "".join(letter for letter, _ in residues)
    found = Structure(file.name, chain, sequence, coordinates, cb, tuple(numbers))
    for i in found.breaks:
        notes.append(f"chain break between {numbers[i]} and {numbers[i + 1]}")
    return replace(found, notes=tuple(notes))


def _atoms(residue: Any) -> tuple[dict[str, Array], bool]:
    """Coordinates by atom, all of one location; and whether it has alternates."""
    places: dict[str, list[Any]] = {}
    for atom in residue.get_unpacked_list():
        places.setdefault(atom.get_altloc().strip(), []).append(atom)
    atoms = places.pop("", [])
    if places:
        best = max(
            sorted(places), key=lambda label: np.mean([a.get_occupancy() or 0.0 for a in places[label]])
        )
        atoms = atoms + places[best]
    return {a.get_name(): a.get_coord().astype(np.float64) for a in atoms}, bool(places)


def _is_changed(name: str) -> bool:
    from Bio.Data.PDBData import protein_letters_3to1

    return name.upper() not in protein_letters_3to1


def _some(items: Sequence[str]) -> str:
    return ", ".join(items[:10]) + (f" and {len(items) - 10} more" if len(items) > 10 else "")


def threaded_pdb(
    structure: Structure,
    sequence: str,
    *,
    confidence: Float[np.ndarray, " L"] | Sequence[float] | None = None,
) -> str:
    """A design on its backbone, as the text of a PDB file.

    Backbone atoms and CB (the file's, or where it has none the ideal one); no side chains, which a repacking program
    builds. Numbers and chain are the structure's; a chain name of several letters, which the format cannot hold, is A.

    Args:
        structure: the backbone.
        sequence: L amino acids.
        confidence: of each residue, 0 to 1; its hundredfold is written as B-factor, 0 where not given.

    Raises:
        DesignError: the sequence or the confidence does not fit the structure.
    """
    from Bio.Data.PDBData import protein_letters_1to3
    from Bio.PDB import PDBIO
    from Bio.PDB.StructureBuilder import StructureBuilder

    from gendesign.models.backbone_features import ideal_cb

    num = len(structure)
    if len(sequence) != num or not set(sequence) <= set(LETTERS):
        raise DesignError(f"expected {num} amino acids {LETTERS} for {structure.name}, got {sequence!r}")
    values = np.zeros(num) if confidence is None else np.asarray(confidence, dtype=np.float64)
    if values.shape != (num,) or not ((values >= 0) & (values <= 1)).all():
        raise DesignError(f"expected a confidence from 0 to 1 for each of {num} residues")
    builder = StructureBuilder()
    builder.init_structure("design")
    builder.init_model(0)
    chain = structure.chain if len(structure.chain.strip()) == 1 else "A"
    builder.init_chain(chain)
    builder.init_seg("    ")
    for row in range(num):
        number = structure.numbers[row]
        digits = number.rstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
        name = protein_letters_1to3[sequence[row]].upper()
        builder.init_residue(name, " ", int(digits), number[len(digits) :] or " ")
        atoms = dict(zip(ATOMS, structure.coordinates[row], strict=True))
        if sequence[row] != "G":
            given = structure.cb[row]
            ideal = ideal_cb(torch.from_numpy(structure.coordinates[row])).numpy()
            atoms["CB"] = given if np.isfinite(given).all() else ideal
        for atom, place in atoms.items():
            if np.isfinite(place).all():
                b_factor = 100 * float(values[row])
                builder.init_atom(atom, place, b_factor, 1.0, " ", f" {atom:<3}", element=atom[0])
    writer, text = PDBIO(), io.StringIO()
    writer.set_structure(builder.get_structure())
    writer.save(text)
    meaning = "" if confidence is None else "; B-factor: confidence in percent"
    remarks = [f"design on {structure.name}, chain {structure.chain}{meaning}"]
    absent = [n for n, found in zip(structure.numbers, structure.resolved, strict=True) if not found]
    if absent:
        remarks.append(f"atoms missing in residues {_some(absent)}")
    return "".join(f"REMARK   6 {line}"[:80] + "\n" for line in remarks) + text.getvalue()

"""Molecules as text: SMILES are parsed, judged and written in one place, by RDKit.

A design is a canonical SMILES: one molecule of one fragment, stereochemistry and charges kept, isotopes as given. What
RDKit cannot read is refused with one line that says why; RDKit's own log stays silent while it is asked.

Weininger, "SMILES, a chemical language and information system" (1988, doi 10.1021/ci00057a005); RDKit, rdkit.org;
fingerprints: Rogers and Hahn, "Extended-Connectivity Fingerprints" (2010, doi 10.1021/ci100050t).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gendesign.errors import DesignError, MissingExtraError

if TYPE_CHECKING:
    from rdkit.Chem import Mol
    from rdkit.DataStructs import ExplicitBitVect

MAX_CHARACTERS = 1000
"""Characters of the longest SMILES that is read; what is longer would take RDKit long, and is no small molecule."""


@contextmanager
def rdkit() -> Iterator[Any]:
    """The package, with its log silent within the block.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import rdkit.Chem as package
        from rdkit.rdBase import BlockLogs
    except ImportError as error:
        raise MissingExtraError("rdkit", "molecules") from error
    with BlockLogs():
        yield package


def parse(smiles: Any, *, attachments: bool = False) -> Mol:
    """Read a SMILES.

    Args:
        smiles: of one molecule; it need not be canonical.
        attachments: allow `*`, an open end to which something can be attached.

    Returns:
        The molecule, sanitised.

    Raises:
        DesignError: it is none, with the one reason why.
        MissingExtraError: RDKit is not installed.
    """
    if not isinstance(smiles, str):
        raise DesignError(f"expected a SMILES, got {type(smiles).__name__}")
    if not smiles.strip():
        raise DesignError("expected a SMILES, got an empty one")
    if len(smiles) > MAX_CHARACTERS:
        raise DesignError(
            f"expected a SMILES of at most {MAX_CHARACTERS} characters, got {len(smiles)}: {shown(smiles)}"
        )
    with rdkit() as chem:
        mol = None if _has_space(smiles) else chem.MolFromSmiles(smiles)
        if mol is None:
            raise DesignError(f"RDKit cannot read the SMILES {shown(smiles)}: {_problem(chem, smiles)}")
        if mol.GetNumAtoms() == 0:
            raise DesignError(f"the SMILES {shown(smiles)} holds no atom")
        if not attachments and any(atom.GetAtomicNum() == 0 for atom in mol.GetAtoms()):
            raise DesignError(f"expected a whole molecule, got one with open ends ('*'): {shown(smiles)}")
        pieces = len(chem.GetMolFrags(mol))
    if pieces > 1:
        raise DesignError(
            f"expected one molecule, got {pieces} fragments: {shown(smiles)}; keep the one that is meant (no salts)"
        )
    return mol


def canonical(smiles: Any) -> str:
    """The canonical SMILES of a molecule, with stereochemistry.

    Raises:
        DesignError: it is no molecule, as of `parse`.
        MissingExtraError: RDKit is not installed.
    """
    return _canonical(smiles) if isinstance(smiles, str) else write(parse(smiles))


@lru_cache(maxsize=65_536)
def _canonical(smiles: str) -> str:
    return write(molecule(smiles))


@lru_cache(maxsize=4096)
def molecule(smiles: str) -> Mol:
    """What `parse` gives, remembered; it is shared, so read it only.

    Raises:
        DesignError: it is no molecule, as of `parse`.
        MissingExtraError: RDKit is not installed.
    """
    return parse(smiles)


def write(mol: Mol) -> str:
    """The canonical SMILES of a parsed molecule."""
    with rdkit() as chem:
        text: str = chem.MolToSmiles(mol)
    return text


def saturated(mol: Mol) -> Mol:
    """The molecule with hydrogens in the place of unpaired electrons; the same object where it has none."""
    open_ones = [atom.GetIdx() for atom in mol.GetAtoms() if atom.GetNumRadicalElectrons()]
    if not open_ones:
        return mol
    with rdkit() as chem:
        filled = chem.RWMol(mol)
        for index in open_ones:
            atom = filled.GetAtomWithIdx(index)
            atom.SetNumExplicitHs(atom.GetNumExplicitHs() + atom.GetNumRadicalElectrons())
            atom.SetNumRadicalElectrons(0)
            atom.SetNoImplicit(False)
        closed: Mol = filled.GetMol()
        chem.SanitizeMol(closed)
    return closed


def reason_invalid(smiles: Any) -> str:
    """Why a SMILES is no design, as one line; empty if it is one.

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    try:
        canonical(smiles)
    except DesignError as error:
        return str(error)
    return ""


def fingerprint(mol: Mol, *, radius: int = 2, bits: int = 2048) -> ExplicitBitVect:
    """The extended-connectivity fingerprint: which neighbourhoods of up to `radius` bonds a molecule holds.

    Args:
        mol: a parsed molecule.
        radius: bonds around an atom; 2 is known as ECFP4.
        bits: length of the bit vector.
    """
    return _fingerprints(radius, bits).GetFingerprint(mol)


@lru_cache(maxsize=8)
def _fingerprints(radius: int, bits: int) -> Any:
    with rdkit():
        from rdkit.Chem import rdFingerprintGenerator

        return rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits)


def is_element(symbol: str) -> bool:
    """Whether a text is the symbol of an element, such as C or Cl."""
    with rdkit() as chem:
        try:
            return bool(chem.GetPeriodicTable().GetAtomicNumber(symbol) > 0)
        except RuntimeError:
            return False


def version() -> str:
    """The version of RDKit, on which the last digits of what it calculates depend.

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    with rdkit():
        from rdkit import __version__

        return f"rdkit {__version__}"


def shown(smiles: str) -> str:
    """A SMILES as messages quote it, cut where it is long."""
    return repr(smiles if len(smiles) <= 60 else smiles[:57] + "...")


def _has_space(smiles: str) -> bool:
    """Whether it holds what no SMILES has; RDKit drops letters such as é at an end, and reads the rest."""
    return not smiles.isascii() or any(one.isspace() or not one.isprintable() for one in smiles)


def _problem(chem: Any, smiles: str) -> str:
    """What is wrong with a SMILES, in RDKit's words where it has any."""
    if _has_space(smiles):
        return "it holds blanks, or letters that no SMILES has; give the SMILES alone"
    mol = chem.MolFromSmiles(smiles, sanitize=False)
    if mol is None:
        return "its brackets, bonds or ring numbers do not fit together"
    problems = chem.DetectChemistryProblems(mol)
    return str(problems[0].Message()) if problems else "it cannot be sanitised"

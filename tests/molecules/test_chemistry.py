"""Molecules as text: what is read, what is refused and why, and what silence costs nobody else."""

import sys

import pytest

from gendesign.errors import DesignError, MissingExtraError
from gendesign.molecules.chemistry import (
    canonical,
    fingerprint,
    parse,
    rdkit,
    reason_invalid,
    saturated,
    write,
)

pytest.importorskip("rdkit")


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("OCC", "CCO"),
        ("C1=CC=CC=C1", "c1ccccc1"),
        ("C[C@H](F)Cl", "C[C@@H](Cl)F"),
        ("F/C=C/F", "C(\\F)=C/F"),
        ("[NH3+]CC([O-])=O", "O=C([O-])C[NH3+]"),
        ("C1.C1", "CC"),  # a dot joined by a ring number is one molecule
        ("[13CH4]", "[13CH4]"),
    ],
)
def test_one_molecule_has_one_name(written: str, same: str) -> None:
    assert canonical(written) == canonical(same) == canonical(canonical(written))
    assert reason_invalid(written) == ""


def test_stereochemistry_and_charges_tell_molecules_apart() -> None:
    assert canonical("C[C@H](F)Cl") != canonical("C[C@@H](F)Cl") != canonical("CC(F)Cl")
    assert canonical("F/C=C/F") != canonical("F/C=C\\F")
    assert canonical("C[NH3+]") != canonical("CN")


@pytest.mark.parametrize(
    ("smiles", "says"),
    [
        (None, "got NoneType"),
        (3.0, "got float"),
        ("", "empty"),
        ("  ", "empty"),
        ("C1CC", "ring numbers"),
        ("CC(C", "brackets"),
        ("c1cccc1", "kekulize"),
        ("CN(C)(C)(C)C", "valence"),
        ("not a molecule", "blanks"),
        ("CCO ethanol", "blanks"),
        ("CC\x00O", "blanks"),
        ("CCé", "letters that no SMILES has"),  # read as CC by RDKit itself
        ("€CC", "letters that no SMILES has"),
        ("Xx", "RDKit cannot read"),
        ("[Na+].CC(=O)[O-]", "2 fragments"),
        ("C.C.O", "3 fragments"),
        ("*CC", "open ends"),
        ("C" * 10_000, "at most 1000 characters"),
        ("(" * 900, "RDKit cannot read"),
    ],
)
def test_what_is_no_molecule_is_refused_in_one_line(smiles: object, says: str) -> None:
    with pytest.raises(DesignError) as caught:
        parse(smiles)
    message = str(caught.value)
    assert says.lower() in message.lower() and "\n" not in message and len(message) < 250
    assert reason_invalid(smiles) == message
    with pytest.raises(DesignError):
        canonical(smiles)


def test_open_ends_are_read_where_they_are_wanted() -> None:
    assert parse("*c1ccccc1", attachments=True).GetNumAtoms() == 7


@pytest.mark.parametrize(
    ("radical", "filled"),
    [("[CH2]C", "CC"), ("N[CH]CO", "NCCO"), ("C[C]C", "CCC"), ("O=C1[CH]CC1", "O=C1CCC1")],
)
def test_hydrogens_fill_unpaired_electrons(radical: str, filled: str) -> None:
    assert write(saturated(parse(radical))) == filled
    whole = parse(filled)
    assert saturated(whole) is whole


def test_fingerprints_tell_neighbourhoods_apart() -> None:
    first, same, other = (fingerprint(parse(s)) for s in ("CCO", "OCC", "c1ccccc1"))
    assert list(first.GetOnBits()) == list(same.GetOnBits()) != list(other.GetOnBits())
    assert fingerprint(parse("CCO"), bits=64).GetNumBits() == 64


def test_rdkit_is_silent_here_and_only_here(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def said() -> str:
        return capfd.readouterr().err + caplog.text  # RDKit speaks to either, as other packages have set it

    assert reason_invalid("C1CC") != ""
    assert said() == ""
    with rdkit() as chem:
        pass
    chem.MolFromSmiles("C1CC")
    assert "SMILES" in said()


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gendesign\[molecules\]'"):
        parse("CC")

"""Descriptors have the values of their papers, of chemistry, or of the table of ZINC."""

import sys

import pytest

from gendesign.errors import MissingExtraError, RewardError
from gendesign.molecules import descriptors
from gendesign.molecules.chemistry import molecule, parse

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
CYCLODODECANE = "C1CCCCCCCCCCC1"


def test_qed_is_that_of_its_paper() -> None:
    # Bickerton et al. 2012, the examples in the supplement
    assert descriptors.qed(parse("N=C(CCSCc1csc(N=C(N)N)n1)NS(N)(=O)=O")) == pytest.approx(0.253, abs=1e-3)
    assert descriptors.qed(parse("CNC(=NCCSCc1nc[nH]c1C)NC#N")) == pytest.approx(0.234, abs=1e-3)


def test_synthetic_accessibility_tells_easy_from_hard() -> None:
    assert descriptors.synthetic_accessibility(parse(ASPIRIN)) == pytest.approx(1.58, abs=0.01)
    taxol_core = "CC1=C2C(C(=O)C3(C(CC4C(C3C(C(C2(C)C)(CC1O)O)OC(=O)c1ccccc1)(CO4)OC(C)=O)O)C)OC(C)=O"
    assert descriptors.synthetic_accessibility(parse(taxol_core)) > 5


@pytest.mark.parametrize(
    ("function", "smiles", "value"),
    [
        (descriptors.logp, "c1ccccc1", 1.6866),
        (descriptors.molecular_weight, "CCO", 46.069),
        (descriptors.tpsa, ASPIRIN, 63.60),
        (descriptors.rotatable_bonds, "CCCC", 1),
        (descriptors.rotatable_bonds, "CC(=O)NC", 0),
        (descriptors.hydrogen_donors, "NCCO", 3),
        (descriptors.hydrogen_acceptors, "NCCO", 2),
        (descriptors.rings, "c1ccc2ccccc2c1", 2),
        (descriptors.aromatic_rings, "C1CCc2ccccc2C1", 1),
        (descriptors.largest_ring, CYCLODODECANE, 12),
        (descriptors.largest_ring, "CCO", 0),
        (descriptors.heavy_atoms, ASPIRIN, 13),
        (descriptors.bertz, "CC", 0.0),
    ],
)
def test_values_are_those_of_chemistry(function, smiles: str, value: float) -> None:  # type: ignore[no-untyped-def]
    assert function(parse(smiles)) == pytest.approx(value, abs=0.01)


def test_elements_are_counted_with_their_hydrogens() -> None:
    assert descriptors.element_counts(parse("C[C@H](N)C(=O)O")) == {"C": 3, "H": 7, "N": 1, "O": 2}
    assert descriptors.element_counts(parse("[2H]C(Cl)(Cl)Cl")) == {"C": 1, "H": 1, "Cl": 3}


def test_penalised_logp_is_the_sum_of_its_terms_in_standard_deviations() -> None:
    mol = parse(CYCLODODECANE)
    (m1, s1), (m2, s2), (m3, s3) = (descriptors.ZINC_MOMENTS[key] for key in ("logP", "SA", "excess"))
    expected = (descriptors.logp(mol) - m1) / s1
    expected -= (descriptors.synthetic_accessibility(mol) - m2) / s2 + (6 - m3) / s3
    assert descriptors.penalised_logp(mol) == pytest.approx(expected, rel=1e-12)
    assert descriptors.penalised_logp(mol) < -15  # a large ring alone costs 21


def test_parsed_molecules_are_remembered() -> None:
    assert molecule("CCO") is molecule("CCO")


def test_without_rdkit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    mol = parse("CCO")
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    with pytest.raises(MissingExtraError, match=r"gendesign\[molecules\]"):
        descriptors.logp(mol)


def test_an_rdkit_without_the_sa_score_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from rdkit.Chem import RDConfig

    monkeypatch.setattr(RDConfig, "RDContribDir", str(tmp_path))
    descriptors._sa_scorer.cache_clear()
    try:
        with pytest.raises(RewardError, match="has no SA score"):
            descriptors.synthetic_accessibility(parse("CCO"))
    finally:
        descriptors._sa_scorer.cache_clear()

"""Each oddity is found where a chemist sees it, and not in drugs."""

import numpy as np
import pytest

from gendesign.molecules.chemistry import parse
from gendesign.molecules.oddities import EXPLAINED, ODDITIES, oddities, shares

DRUGS = [
    "CC(=O)Oc1ccccc1C(=O)Nc1ccccn1",
    "CC(C)Cc1ccc(cc1)C(C)C(N)=O",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)O",
    "NS(=O)(=O)c1cc(C(=O)O)c(NCc2ccco2)cc1Cl",
    "C1CC1C(=O)N1CCC1",
]
ODD = {
    "large ring": ["O=C1CCCCCCCCCCCCCCO1", "C1CCCCCCC1"],
    "strained ring": ["C1=CC1", "C1=CC=C1", "C1CCC#CCC1", "C1CCC=C=CC1"],
    "long tail": ["CCCCCCCc1ccccc1", "O=C(O)C=CC=CC=CC=C", "NCCOCCOCc1ccccc1"],
    "heteroatoms in a row": ["CCN(C)NNC", "COOOC", "CC(=O)NON"],
    "radical": ["[CH2]CC", "C[N]C"],
    "reactive group": ["CC(=O)Cl", "CCOOCC"],
    "PAINS": ["O=C1C=CC(=O)C=C1"],
}


@pytest.mark.parametrize("name", ODDITIES)
def test_what_is_odd_is_found(name: str) -> None:
    assert name in EXPLAINED
    for smiles in ODD[name]:
        assert name in oddities(parse(smiles)), smiles


@pytest.mark.parametrize("smiles", DRUGS)
def test_drugs_are_not_odd(smiles: str) -> None:
    assert not set(oddities(parse(smiles))) - {"reactive group"}


def test_short_chains_nitro_groups_and_sulfonamides_are_usual() -> None:
    for smiles in ("CCCCCc1ccccc1", "CCCC(C)CCC", "O=[N+]([O-])c1ccccc1", "CNS(=O)(=O)OC", "CCCCC#C"):
        assert not {"long tail", "heteroatoms in a row"} & set(oddities(parse(smiles))), smiles


def test_shares_are_of_the_molecules() -> None:
    found = shares(["C1CCCCCCC1", "CCO", "not one", ""])
    assert found["large ring"] == 0.5 and found["PAINS"] == 0
    assert np.isnan(shares([""])["radical"])

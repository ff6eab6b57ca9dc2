"""Goals of several properties: their targets reach the top, and known molecules score as computed by hand."""

import math

import numpy as np
import pytest

from gendesign.errors import ConfigError
from gendesign.molecules import descriptors
from gendesign.molecules.chemistry import parse
from gendesign.rewards import Isomer, LikeReference, LogP, Similarity, list_rewards, load_reward
from gendesign.rewards.goals import parse_formula

GOALS = [name for name in list_rewards() if name.startswith("guacamol-")]
OSIMERTINIB = "COc1cc(N(C)CCN(C)C)c(NC(=O)C=C)cc1Nc2nccc(n2)c3cn(C)c4ccccc34"


@pytest.mark.parametrize("name", GOALS)
def test_every_goal_is_between_0_and_1(name: str) -> None:
    reward = load_reward(name)
    scores = reward([OSIMERTINIB, "CCO", "CC(C)C1CCC(C)CC1O"])
    assert scores.ok.all() and (scores.values >= 0).all() and (scores.values <= 1).all()
    assert "rdkit" in reward.version


@pytest.mark.parametrize(
    ("name", "molecule"),
    [
        ("celecoxib", "Cc1ccc(cc1)-c1cc(nn1-c1ccc(cc1)S(N)(=O)=O)C(F)(F)F"),
        ("albuterol", "CC(C)(C)NCC(O)c1ccc(O)c(CO)c1"),
        ("c11h24", "CC(C)CCCC(C)CCC"),
        ("c7h8n2o2", "COc1ccc(N)nc1C=O"),
        ("c9h10n2o2pf2cl", "NC(=O)c1c(F)c(F)c(Cl)c(CNO)c1CP"),
    ],
)
def test_targets_have_full_marks(name: str, molecule: str) -> None:
    assert load_reward(f"guacamol-{name}")([molecule]).values[0] == 1


def test_osimertinib_s_goal_by_hand() -> None:
    mol = parse(OSIMERTINIB)
    parts = [
        1.0,
        math.exp(-((0.15 / 0.1) ** 2) / 2),
        math.exp(-(((descriptors.tpsa(mol) - 100) / 10) ** 2) / 2),
        math.exp(-((descriptors.logp(mol) - 1) ** 2) / 2),
    ]
    value = load_reward("guacamol-osimertinib")([OSIMERTINIB]).values[0]
    assert value == pytest.approx(math.prod(parts) ** 0.25, rel=1e-12)


def test_hops_add_what_is_kept_and_what_is_changed() -> None:
    start = "CCCOc1cc2ncnc(Nc3ccc4ncsc4c3)c2cc1S(=O)(=O)C(C)(C)C"
    assert load_reward("guacamol-deco-hop")([start]).values[0] == pytest.approx(0.5)  # alike, scaffold kept
    assert load_reward("guacamol-scaffold-hop")([start]).values[0] == pytest.approx(2 / 3)


def test_an_isomer_has_the_formula() -> None:
    scores = Isomer("C2H6O")(["CCO", "COC", "CCC", "CC=O"])
    np.testing.assert_allclose(scores.values[:2], 1)
    propane = math.exp(-(1 + 4 + 1) / 2) * math.exp(-((11 - 9) ** 2) / 8)
    acetaldehyde = math.exp(-4 / 2) * math.exp(-(4) / 8)
    np.testing.assert_allclose(scores.values[2:], np.array([propane, acetaldehyde]) ** 0.25)


def test_a_formula_is_read() -> None:
    assert parse_formula("C9H10N2O2PF2Cl") == {"C": 9, "H": 10, "N": 2, "O": 2, "P": 1, "F": 2, "Cl": 1}
    for wrong in ("", "c6h6", "C6H6+", "2C"):
        with pytest.raises(ConfigError, match="formula"):
            parse_formula(wrong)
    with pytest.raises(ConfigError, match="element"):
        Isomer("C6Xy2")


def test_the_property_of_a_reference_is_wanted() -> None:
    reward = LikeReference(LogP(), "c1ccccc1", 0.2)
    assert reward(["c1ccccc1"]).values[0] == 1
    off = LogP()(["Cc1ccccc1"]).values[0] - LogP()(["c1ccccc1"]).values[0]
    assert reward(["Cc1ccccc1"]).values[0] == pytest.approx(math.exp(-((off / 0.2) ** 2) / 2))
    with pytest.raises(ConfigError, match="2 fragments"):
        LikeReference(LogP(), "CC.C", 0.2)


def test_drug_like_is_met_by_a_drug_like_molecule() -> None:
    reward = load_reward("drug-like")
    met, unmet = "O=C(Nc1ccc(F)cc1)C1CCN(C(=O)c2ccccc2)CC1", "CCO"
    mol = parse(met)
    assert descriptors.qed(mol) > 0.8 and descriptors.synthetic_accessibility(mol) < 3
    assert 1 < descriptors.logp(mol) < 4
    scores = reward([met, unmet])
    assert scores.values[0] == 1 > 0.2 > scores.values[1]


def test_similarity_goals_are_of_the_published_fingerprints() -> None:
    reward = load_reward("guacamol-mestranol")
    own = Similarity("COc1ccc2[C@H]3CC[C@@]4(C)[C@@H](CC[C@@]4(O)C#C)[C@@H]3CCc2c1", fingerprint="AP")
    np.testing.assert_allclose(
        reward([OSIMERTINIB]).values, np.minimum(own([OSIMERTINIB]).values / 0.75, 1), rtol=1e-12
    )

"""Predicted activities as rewards: values, deviations, the domain, and the shipped guide and auditor."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gendesign.errors import ConfigError
from gendesign.molecules.fingerprints import CountFingerprint
from gendesign.rewards import (
    PredictedActivity,
    Regressor,
    Status,
    TrainingSimilarity,
    load_regressor,
    load_reward,
)

pytest.importorskip("rdkit")
MOLECULES = ["CCO", "CCCO", "CCN", "c1ccccc1", "Cc1ccccc1"]
TPPU = "CCC(=O)N1CCC(NC(=O)Nc2ccc(OC(F)(F)F)cc2)CC1"
"""A known inhibitor, of nanomolar strength."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Regressor(CountFingerprint(size=256), unit="pIC50", source="somewhere")
    made.remember(made.fingerprint(MOLECULES), torch.tensor([5.0, 5.5, 6.0, 8.0, 8.5]), torch.zeros(5).bool())
    made.save_pretrained(tmp_path_factory.mktemp("weights") / "mine")
    return tmp_path_factory.getbasetemp() / "weights0" / "mine"


def test_values_are_means_and_the_bound_takes_deviations_off(folder: Path) -> None:
    designs = ["CCCN", "OCC", "CCO", "Oc1ccccc1"]
    reward = PredictedActivity(str(folder), batch_size=2)
    scores = reward(designs)
    regressor = load_regressor(str(folder))
    found = regressor(regressor.fingerprint(designs))
    np.testing.assert_allclose(scores.values, found.mean, rtol=1e-6)
    np.testing.assert_allclose(scores.std, found.std, rtol=1e-6)
    assert scores.values[1] == scores.values[2]  # spellings of one molecule
    cautious = PredictedActivity(str(folder), lower_confidence_bound=1.5)(designs)
    np.testing.assert_allclose(cautious.values, scores.values - 1.5 * scores.std)
    assert (reward.name, reward.unit, reward.trained_on) == ("mine", "pIC50", "somewhere")


def test_a_design_unlike_all_measured_ones_has_no_value_and_says_how_far_it_is(folder: Path) -> None:
    reward = PredictedActivity(str(folder), min_similarity=0.3)
    scores = reward(["BrI", "CCO", "C1CC", "C.C", "", "CC(C)(Br)S"])
    assert list(scores.status) == [Status.INVALID, Status.OK, *[Status.INVALID] * 4]
    assert "similarity 0.00, below 0.3" in scores.message[0]
    assert (
        "cannot read" in scores.message[2]
        and "2 fragments" in scores.message[3]
        and "empty" in scores.message[4]
    )
    assert np.isnan(scores.values[[0, 2, 3, 4, 5]]).all() and np.isfinite(scores.values[1])


def test_a_value_outside_the_domain_can_be_kept_and_says_so(folder: Path) -> None:
    scores = PredictedActivity(str(folder), flag_below=0.3)(["BrI", "CCO"])
    assert scores.ok.all() and scores.message[1] == "" and "outside the domain" in scores.message[0]
    prior = load_regressor(str(folder))
    assert scores.values[0] == pytest.approx(float(prior.mean))
    assert scores.std is not None and scores.std[0] > scores.std[1]


def test_the_similarity_is_a_reward_of_its_own(folder: Path) -> None:
    reward = TrainingSimilarity(str(folder))
    values = reward(["CCO", "CCCCO", "BrI"]).values
    assert values[0] == 1.0 > values[1] > values[2] == 0.0 and reward.unit == "Tanimoto"


def test_the_version_follows_the_weights(folder: Path) -> None:
    one, other = PredictedActivity(str(folder)), PredictedActivity(str(folder))
    assert one.version == other.version and one.version.startswith("rdkit ")
    other.regressor.target += 1
    assert one.version != other.version


def test_arguments_out_of_range_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="at most 1"):
        PredictedActivity(str(folder), min_similarity=1.5)
    with pytest.raises(ConfigError, match="at most 1"):
        PredictedActivity(str(folder), flag_below=1.5)
    with pytest.raises(ConfigError, match="lower_confidence_bound"):
        PredictedActivity(str(folder), lower_confidence_bound=-1.0)


def test_a_folder_of_weights_is_a_reward(folder: Path) -> None:
    assert load_reward(folder)(["CCO"]).ok.all()


@pytest.mark.parametrize("name", ["molecule-seh", "molecule-seh-heldout"])
def test_shipped_ones_know_inhibitors_from_other_drugs(name: str) -> None:
    reward = load_reward(name)
    adamantyl = "O=C(NC1CCC(Oc2ccc(C(=O)O)cc2)CC1)NC12CC3CC(CC(C3)C1)C2"  # t-AUCB
    scores = reward([TPPU, adamantyl, "CCO", "not a molecule"])
    assert (scores.values[:2] > 7).all() and (scores.values[:2] < 10.6).all()
    assert scores.std is not None and (scores.std[:2] > 0.3).all() and (scores.std[:2] < 1.5).all()
    assert scores.message[:2] == ("", "") and "outside the domain" in scores.message[2]
    assert scores.values[2] < 5.5 and scores.std[2] > scores.std[:2].max() and not scores.ok[3]
    strict = load_reward(name.replace("seh", "seh-in-domain"))([TPPU, "CCO"])
    assert list(strict.status) == [Status.OK, Status.INVALID] and strict.values[0] == scores.values[0]
    free = PredictedActivity(name)
    ibuprofen, caffeine = free(["CC(C)Cc1ccc(cc1)C(C)C(=O)O", "Cn1cnc2c1c(=O)n(C)c(=O)n2C"]).values
    assert max(ibuprofen, caffeine) < 6


def test_shipped_predictions_are_those_of_the_card() -> None:
    # computed when the weights were made
    expected = {"molecule-seh": (8.698, 0.6669), "molecule-seh-heldout": (8.6016, 0.4604)}
    for name, (value, std) in expected.items():
        scores = load_reward(name)([TPPU])
        np.testing.assert_allclose([scores.values[0], scores.std[0]], [value, std], atol=2e-4)

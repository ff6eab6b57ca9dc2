"""Rewards of molecules: signs, windows, and what is not a molecule."""

import pickle

import numpy as np
import pytest

from gendesign.building import build, describe
from gendesign.errors import ConfigError
from gendesign.molecules import descriptors
from gendesign.molecules.chemistry import parse
from gendesign.rewards import (
    QED,
    TPSA,
    AtomCount,
    Complexity,
    HeavyAtoms,
    LogP,
    MolecularWeight,
    PenalisedLogP,
    Reward,
    Rings,
    RotatableBonds,
    Status,
    SyntheticAccessibility,
    WeightedSum,
)

ASPIRIN, INDANE = "CC(=O)Oc1ccccc1C(=O)O", "c1ccc2c(c1)CCC2"
MOLECULES = [ASPIRIN, INDANE, "CCO"]


@pytest.mark.parametrize(
    ("reward", "function"),
    [
        (QED(), descriptors.qed),
        (SyntheticAccessibility(), lambda mol: -descriptors.synthetic_accessibility(mol)),
        (LogP(), descriptors.logp),
        (PenalisedLogP(), descriptors.penalised_logp),
        (MolecularWeight(), descriptors.molecular_weight),
        (TPSA(), descriptors.tpsa),
        (RotatableBonds(), descriptors.rotatable_bonds),
        (HeavyAtoms(), descriptors.heavy_atoms),
        (Rings(), descriptors.rings),
        (Rings(aromatic=True), descriptors.aromatic_rings),
        (Complexity(), descriptors.bertz),
        (AtomCount("C"), lambda mol: descriptors.element_counts(mol)["C"]),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_a_reward_is_its_descriptor_and_says_what_it_is(reward: Reward, function) -> None:  # type: ignore[no-untyped-def]
    scores = reward(MOLECULES)
    assert scores.values.tolist() == [function(parse(design)) for design in MOLECULES]
    assert reward.name and reward.unit and reward.source and "rdkit" in reward.version
    assert not reward.differentiable and reward.direction == "maximise"
    again = pickle.loads(pickle.dumps(reward))  # noqa: S301
    assert again(MOLECULES).values.tolist() == scores.values.tolist()
    assert build(describe(reward), kinds=(Reward,)).name == reward.name


def test_windows_are_of_the_quantity_itself() -> None:
    sa = np.array([descriptors.synthetic_accessibility(parse(m)) for m in MOLECULES])
    np.testing.assert_allclose(
        SyntheticAccessibility(target=[None, 1.7])(MOLECULES).values, -np.maximum(sa - 1.7, 0)
    )
    logp = LogP(target=[1.5, 4.0])
    np.testing.assert_allclose(logp(MOLECULES).values[2], LogP()(["CCO"]).values[0] - 1.5)
    assert logp.name == "logp 1.5 to 4" and logp([INDANE]).values[0] == 0


def test_atoms_of_any_element_count_with_hydrogens() -> None:
    assert AtomCount()(["CCO"]).values[0] == 9 and AtomCount("H")(["CCO"]).values[0] == 6
    assert AtomCount("Cl")(["CCO"]).values[0] == 0


def test_what_is_no_molecule_is_invalid_with_a_reason_and_the_rest_is_unharmed() -> None:
    bad = {
        "": "empty",
        "CCO.[Na+]": "2 fragments",
        "C" * 10_000: "10000",
        "C(C": "RDKit cannot read",
        "C[N](C)(C)(C)C": "valence",
        "CC*": "open ends",
        "C C": "blanks",
    }
    scores = QED()([*bad, np.zeros((2, 2)), "CCO", "OCC"])
    for design, status, message in zip(bad, scores.status, scores.message, strict=False):
        assert status is Status.INVALID and bad[design] in message, design
    assert scores.status[-3] is Status.INVALID and "array" in scores.message[-3]
    assert scores.values[-1] == scores.values[-2] == QED()(["CCO"]).values[0]


def test_spellings_of_one_molecule_are_scored_once_and_alike() -> None:
    asked: list[str] = []

    class Counting(QED):
        def score(self, designs):  # type: ignore[no-untyped-def]
            asked.extend(designs)
            return super().score(designs)

    spellings = ["OCC", "CCO", "C(O)C", "[CH3][CH2][OH]", ASPIRIN]
    values = Counting()(spellings).values
    assert asked == ["CCO", ASPIRIN]
    assert len(set(values[:4])) == 1 and values[4] != values[0]
    asked.clear()
    assert WeightedSum([Counting(), LogP()])(spellings).ok.all()
    assert asked == ["CCO", ASPIRIN]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="low <= high"):
        LogP(target=[4.0, 1.0])
    with pytest.raises(ConfigError, match="element"):
        AtomCount("Xx")

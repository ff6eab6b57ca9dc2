"""Tanimoto similarity against RDKit's own, and diversity, shortlist and nearest neighbours by it."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from rdkit.DataStructs import TanimotoSimilarity

from gendesign.metrics import similarity
from gendesign.metrics.similarity import fingerprints, molecule_distance, nearest_molecule, tanimoto
from gendesign.metrics.summary import diverse_subset, mean_pairwise_distance

SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "CC(=O)Nc1ccc(O)cc1", "Cn1cnc2c1c(=O)n(C)c(=O)n2C", "CCO", "c1ccccc1"]


def test_similarities_are_rdkit_s() -> None:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    bits = [generator.GetFingerprint(Chem.MolFromSmiles(smiles)) for smiles in SMILES]
    expected = [[TanimotoSimilarity(a, b) for b in bits] for a in bits]
    packed = fingerprints(SMILES)
    assert packed.shape == (5, 256)
    np.testing.assert_allclose(tanimoto(packed, packed), expected)
    np.testing.assert_allclose(molecule_distance(SMILES), 1 - np.array(expected))


def test_spelling_does_not_count_and_what_is_no_molecule_has_no_distance() -> None:
    distance = molecule_distance(["OCC", "CCO", "C1CC", "", "CC.O"])
    assert distance[0, 1] == distance[0, 0] == 0
    assert np.isnan(distance[2:]).all() and np.isnan(distance[:, 2:]).all()


def test_internal_diversity_leaves_out_what_is_no_molecule() -> None:
    both = molecule_distance(["CCO", "c1ccccc1"])[0, 1]
    found = mean_pairwise_distance(["CCO", "not a molecule", "c1ccccc1"], distance=molecule_distance)
    assert found == pytest.approx(both) and both > 0.9
    assert np.isnan(mean_pairwise_distance(["CCO", ""], distance=molecule_distance))


def test_a_shortlist_is_diverse_by_fingerprint() -> None:
    near = [
        "CCCCCCCCO",
        "CCCCCCCO",
        "CCCCCCO",
        "c1ccncc1",
    ]  # the alcohols differ in length, by letters as well
    values = np.array([4.0, 3.0, 2.0, 1.0])
    chosen = diverse_subset(values, near, 2, diversity=1.0, distance=molecule_distance)
    assert chosen.tolist() == [0, 3]
    broken = [*near, "("]
    chosen = diverse_subset(np.append(values, 0.0), broken, 5, distance=molecule_distance)
    assert sorted(chosen.tolist()) == [0, 1, 2, 3, 4]


def test_the_nearest_of_many_is_found_in_every_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_BLOCK", 2)
    found, rows = nearest_molecule(
        ["OCC", "CC(=O)Oc1ccccc1C(=O)OC", "", "Cn1cnc2c1c(=O)n(C)c(=O)n2C"], fingerprints(SMILES)
    )
    assert rows[[0, 1, 3]].tolist() == [3, 0, 2]
    assert found[0] == 1 and 0.5 < found[1] < 1 and np.isnan(found[2]) and found[3] == 1

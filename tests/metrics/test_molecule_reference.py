"""What reports compare molecules with: novelty by hashes, distances of properties, and a file read with every doubt."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gendesign.errors import CheckpointError, DesignError, OutputError
from gendesign.metrics.molecule_reference import (
    PROPERTIES,
    MoleculeReference,
    hash_molecules,
    properties,
    ring_sizes,
)
from gendesign.metrics.reference import Reference, load_reference
from gendesign.metrics.reference_builder import build_molecule_reference

pytest.importorskip("rdkit")

NATURAL = ["CCO", "c1ccccc1", "CC(=O)Nc1ccc(O)cc1", "C1CCNCC1", "CCCCCC"]


@pytest.fixture(scope="module")
def reference() -> MoleculeReference:
    found = properties(NATURAL)
    return MoleculeReference(
        np.sort(hash_molecules(NATURAL)),
        quantiles={name: np.percentile(values, np.arange(101)) for name, values in found.items()},
        ring_sizes=ring_sizes(NATURAL),
        natural_facts={"num": 5.0},
        reward_quantiles={"qed": np.linspace(0, 1, 101)},
        naturalness=np.linspace(-2, -1, 101),
        notes={"natural": "five molecules"},
    )


def test_novelty_is_of_the_molecule_not_of_its_spelling(reference: MoleculeReference) -> None:
    novel = reference.novelty(["OCC", "C1=CC=CC=C1", "CCN", "nonsense", ""])["novel"]
    assert novel.tolist()[:3] == [0, 0, 1] and np.isnan(novel[3:]).all()
    assert reference.novelty([])["novel"].shape == (0,)


def test_hashes_are_the_same_on_every_machine() -> None:
    assert hash_molecules(["CCO"]).tolist() == [14074757553414938733]


def test_properties_of_known_molecules() -> None:
    found = properties(["c1ccccc1", "O=C1CCCCCCCCCCC1", "nonsense"])
    assert set(found) == set(PROPERTIES)
    assert found["heavy atoms"].tolist()[:2] == [6, 13] and found["largest ring"].tolist()[:2] == [6, 12]
    assert found["aromatic rings"].tolist()[:2] == [1, 0] and found["molecular weight"][0] == pytest.approx(
        78.114
    )
    assert all(np.isnan(values[2]) for values in found.values())
    assert ring_sizes(["c1ccc2[nH]ccc2c1", "CC"]) == {5: 0.5, 6: 0.5} and ring_sizes(["CC"]) == {}


def test_distance_is_wassersteins() -> None:
    natural = np.random.default_rng(0).normal(size=20_000)
    one = MoleculeReference(
        np.empty(0, np.uint64), quantiles={"logP": np.percentile(natural, np.arange(101))}
    )
    other = np.random.default_rng(1).normal(size=20_000)
    assert one.distance("logP", other) < 0.05
    assert one.distance("logP", np.append(other + 2, np.nan)) == pytest.approx(2, abs=0.05)
    assert np.isnan(one.distance("QED", other)) and np.isnan(one.distance("logP", np.array([np.nan])))


def test_saved_and_read(reference: MoleculeReference, tmp_path: Path) -> None:
    path = tmp_path / "reference.safetensors"
    reference.save(path)
    again = load_reference(path)
    assert isinstance(again, MoleculeReference)
    assert again.hashes.tolist() == reference.hashes.tolist()
    for name in PROPERTIES:
        assert again.quantiles[name].tolist() == reference.quantiles[name].tolist()
    assert again.ring_sizes == reference.ring_sizes and again.notes == reference.notes
    assert again.natural_facts == {"num": 5.0} and list(again.reward_quantiles) == ["qed"]
    assert again.naturalness is not None and again.naturalness[0] == -2


def test_the_two_kinds_are_told_apart(reference: MoleculeReference, tmp_path: Path) -> None:
    Reference("ACGT", np.empty(0, np.uint32)).save(tmp_path / "sequences")
    assert isinstance(load_reference(tmp_path / "sequences"), Reference)
    reference.save(tmp_path / "molecules")
    with pytest.raises(CheckpointError, match="expected 'gendesign-reference'"):
        Reference.load(tmp_path / "molecules")
    with pytest.raises(CheckpointError, match="expected 'gendesign-molecule-reference'"):
        MoleculeReference.load(tmp_path / "sequences")


@pytest.mark.parametrize(
    "what", ["missing", "torn", "falling hashes", "falling quantiles", "no texts", "short"]
)
def test_damaged_files_are_refused(reference: MoleculeReference, tmp_path: Path, what: str) -> None:
    path = tmp_path / "reference.safetensors"
    reference.save(path)
    tensors = load_file(path)
    head = {
        "format": "gendesign-molecule-reference",
        "version": "1",
        "ring_sizes": "{}",
        "natural_facts": "{}",
    }
    if what == "missing":
        path.unlink()
    elif what == "torn":
        path.write_bytes(path.read_bytes()[:100])
    elif what == "no texts":
        save_file(tensors, path, metadata=head)
    else:
        tensors["hashes"] = tensors["hashes"][:: -1 if what == "falling hashes" else 1].copy()
        if what == "falling quantiles":
            tensors["property/logP"] = tensors["property/logP"][::-1].copy()
        if what == "short":
            tensors["naturalness"] = tensors["naturalness"][:7]
        save_file(tensors, path, metadata=head | {"notes": "{}"})
    with pytest.raises(CheckpointError, match="none|damaged"):
        load_reference(path)


def test_a_folder_that_is_not_there(reference: MoleculeReference, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        reference.save(tmp_path / "nowhere" / "reference.safetensors")


def test_built_from_what_was_seen_and_what_was_not() -> None:
    scores = {"qed": np.array([0.1, np.nan, 0.5]), "none": np.full(3, np.nan)}
    built = build_molecule_reference(
        NATURAL, ["CCN", "c1ccncc1"], reward_scores=scores, naturalness=np.zeros(2)
    )
    assert built.novelty(["OCC", "CCN"])["novel"].tolist() == [0, 1]
    assert built.quantiles["heavy atoms"][[0, 100]].tolist() == [3, 6] and built.ring_sizes == {6: 1.0}
    assert list(built.reward_quantiles) == ["qed"] and built.reward_quantiles["qed"][50] == pytest.approx(0.3)
    assert built.natural_facts["num"] == 2 and 0 < built.natural_facts["mean_distance"] <= 1
    with pytest.raises(DesignError, match="5 and 0"):
        build_molecule_reference(NATURAL, [])

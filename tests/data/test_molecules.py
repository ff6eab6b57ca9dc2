"""Measured molecules and decoys: medians, scaffolds, folds, bad rows."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gendesign.data.molecules import MoleculeDataModule, scaffold
from gendesign.errors import ConfigError, DataError, DesignError
from gendesign.molecules.fingerprints import CountFingerprint

pytest.importorskip("rdkit")
FINGERPRINT = CountFingerprint(size=64)


def table(path: Path, rows: list[tuple[str, str]]) -> str:
    path.write_text("smiles,y\n" + "".join(f"{smiles},{value}\n" for smiles, value in rows))
    return str(path)


def module(path: str, **changes: Any) -> MoleculeDataModule:
    return MoleculeDataModule(path, FINGERPRINT, target_column="y", **changes)


def test_measurements_of_one_molecule_become_their_median(tmp_path: Path) -> None:
    rows = [("OCC", "1"), ("CCO", "5"), ("C(C)O", "2"), ("c1ccccc1", "7")]
    data = module(table(tmp_path / "t.csv", rows), test_fraction=0.0)
    assert data.molecules == ["CCO", "c1ccccc1"] and data.targets[:, 0].tolist() == [2.0, 7.0]
    assert not data.presumed.any()


def test_bad_rows_are_named_and_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [("CCO", "1"), ("C1CC", "1"), ("CC.CC", "1"), ("CCN", "high"), ("CCCC", "nan")]
    with caplog.at_level(logging.WARNING):
        data = module(table(tmp_path / "t.csv", rows), test_fraction=0.0)
        assert data.molecules == ["CCO"]
    assert "dropped 4 bad rows" in caplog.text and "line 3" in caplog.text and "'high'" in caplog.text


def series(num: int) -> list[tuple[str, str]]:
    """Rings of several sizes and links, each with tails of several lengths."""
    cores = [
        f"C1{'C' * ring}C1{'O' * bool(link)}{'C' * link}c1ccccc1" for ring in range(1, 9) for link in range(4)
    ]
    return [("C" * tail + core, str(tail)) for core in cores for tail in range(num)]


def test_scaffolds_stay_together_and_folds_share_the_test(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", series(4))
    whole = module(path, test_fraction=0.25)
    halves = [module(path, test_fraction=0.25, folds=2, fold=fold) for fold in (0, 1)]
    names = np.array(whole.scaffolds)
    parts = [set(names[part.indices(split)]) for part in halves for split in ("train", "test")]
    assert parts[1] == parts[3] and len(parts[1]) == 8
    assert not (parts[0] & parts[2] or parts[0] & parts[1] or parts[2] & parts[1])
    assert sum(len(part.indices("train")) for part in halves) == len(whole.indices("train")) == 96
    shuffled = module(table(tmp_path / "s.csv", series(4)[::-1]), test_fraction=0.25)
    assert set(np.array(shuffled.molecules)[shuffled.indices("test")]) == set(
        np.array(whole.molecules)[whole.indices("test")]
    )


def test_decoys_are_marked_never_measured_and_disjoint_between_folds(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", series(1))
    decoys = table(
        tmp_path / "d.csv", [("C" * n + "N", "") for n in range(1, 40)] + [("CC.C", ""), series(1)[0]]
    )
    given: dict[str, Any] = {"decoys": decoys, "num_decoys": 30, "decoy_value": 4.0, "test_fraction": 0.2}
    halves = [module(path, folds=2, fold=fold, **given) for fold in (0, 1)]
    data = halves[0]
    assert data.presumed.sum() == 30 and len(set(data.molecules)) == len(data.molecules) == 62
    assert (data.targets[data.presumed] == 4.0).all() and all("N" in m for m in data.molecules[-30:])
    batch = data.collate(data.indices("train"))
    assert batch["presumed"].tolist() == data.presumed[data.indices("train")].tolist()
    assert batch["x"].shape[1] == 64 and batch["targets"].shape == (len(batch["x"]), 1)
    trained = [{part.molecules[i] for i in part.indices("train") if part.presumed[i]} for part in halves]
    tested = [{part.molecules[i] for i in part.indices("test") if part.presumed[i]} for part in halves]
    assert not trained[0] & trained[1] and tested[0] == tested[1] and len(tested[0]) == 6
    said = data.describe()
    assert said["num_train_decoys"] == len(trained[0]) and said["decoy_value"] == 4.0


def test_scaffolds_are_rings_and_their_links() -> None:
    assert scaffold("CCc1ccc(OC2CCNCC2)cc1C(=O)O") == "c1ccc(OC2CCNCC2)cc1"
    assert scaffold("CCCC") == ""
    with pytest.raises(DesignError):
        scaffold("C1C")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"test_fraction": 1.0}, "leave some training rows"),
        ({"folds": 2}, "folds"),
        ({"num_decoys": 3}, "together"),
        ({"decoys": "x.csv"}, "together"),
        ({"decoy_value": float("nan")}, "decoy_value"),
    ],
)
def test_contradictions_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        module("t.csv", **given)


def test_files_without_use_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no usable molecule"):
        module(table(tmp_path / "t.csv", [("C1C", "1")])).indices("train")
    decoys = table(tmp_path / "d.csv", [("CCN", "")])
    with pytest.raises(DataError, match="expected 2 decoys, found 1"):
        module(table(tmp_path / "u.csv", [("CCO", "1")]), decoys=decoys, num_decoys=2).indices("train")
    with pytest.raises(DataError, match="no column 'y'"):
        (tmp_path / "w.csv").write_text("smiles,z\nCC,1\n")
        module(str(tmp_path / "w.csv")).indices("train")
    with pytest.raises(DataError, match="no measured training rows"):
        for fold in (0, 1):  # one molecule is in one of them
            module(table(tmp_path / "v.csv", [("CCO", "1")]), folds=2, fold=fold).indices("train")

"""Training molecules with their fingerprints: read where they are, kept in the cache, left out where they are not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gendesign.data import training_molecules as module
from gendesign.data.training_molecules import training_molecules
from gendesign.metrics.similarity import fingerprints

MOLECULES = ["CCO", "c1ccccc1C", "CC(=O)Nc1ccc(O)cc1"]


def backbone(**data: Any) -> Any:
    return SimpleNamespace(provenance={"training": {"data": data} if data else None})


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "_read", {})
    path = tmp_path / "table.csv"
    path.write_text("number,SMILES\n" + "".join(f"1,{smiles}\n" for smiles in MOLECULES))
    return path


def test_they_are_read_once_and_kept_in_the_cache(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = training_molecules(backbone(path=str(table)))
    assert found is not None and found.molecules == MOLECULES
    np.testing.assert_array_equal(found.fingerprints, fingerprints(MOLECULES))
    assert training_molecules(backbone(path=str(table), sequence_column="SMILES")) is found
    kept = list((table.parent / "cache/gendesign/fingerprints").iterdir())
    assert len(kept) == 1
    monkeypatch.setattr(module, "_read", {})
    monkeypatch.setattr(module, "fingerprints", lambda molecules: pytest.fail("not needed"))
    again = training_molecules(backbone(path=str(table)))
    assert again is not None
    np.testing.assert_array_equal(again.fingerprints, found.fingerprints)


def test_a_damaged_cache_and_another_table_are_made_anew(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert training_molecules(backbone(path=str(table))) is not None
    kept = next((table.parent / "cache/gendesign/fingerprints").iterdir())
    kept.write_bytes(kept.read_bytes()[:50])
    monkeypatch.setattr(module, "_read", {})
    found = training_molecules(backbone(path=str(table)))
    assert found is not None and found.fingerprints.shape == (3, 256)
    table.write_text("smiles\nCCN\n")
    other = training_molecules(backbone(path=str(table)))
    assert other is not None and other.molecules == ["CCN"] and other.fingerprints.shape == (1, 256)


def test_without_a_table_there_are_none(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENDESIGN_DATA", str(table.parent / "nowhere"))
    assert training_molecules(backbone()) is None
    assert training_molecules(backbone(path="data:zinc250k_properties")) is None
    assert training_molecules(backbone(path=str(table.with_name("gone.csv")))) is None
    assert training_molecules(backbone(path=str(table), sequence_column="structure")) is None

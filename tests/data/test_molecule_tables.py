"""Tables of molecules: the sequence data module reads them as they are, and says which rows it could not use."""

import logging
from pathlib import Path

import pytest

from gendesign.data.sequences import SequenceDataModule
from gendesign.molecules.codec import MoleculeCodec

pytest.importorskip("rdkit")

ROWS = ["OCC", "CCO", "CCN", "CCC", "[Na+].[Cl-]", "C1CC", "", "CC[SiH3]", "CCCCCCCC", "CCCC"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "molecules.csv"
    path.write_text("smiles,active\n" + "".join(f"{smiles},{i}\n" for i, smiles in enumerate(ROWS)))
    return path


def test_molecules_are_rows_by_their_canonical_names(table: Path, caplog: pytest.LogCaptureFixture) -> None:
    codec = MoleculeCodec(["[C]", "[O]", "[N]"], 6)
    with caplog.at_level(logging.WARNING):
        data = SequenceDataModule(
            str(table), codec, sequence_column="smiles", target_columns=["active"], val_fraction=0.25,
            test_fraction=0.25,
        )  # fmt: skip
        assert data.sequences == ["CCO", "CCO", "CCN", "CCC", "CCCC"]
    assert data.targets[:, 0].tolist() == [0, 1, 2, 3, 9]
    batch = data.collate(data.indices("train"))
    assert codec.decode(batch["x"]) == [data.sequences[row] for row in batch["row"].tolist()]
    assert batch["mask"].sum(1).tolist() == [len(codec.split(name)) for name in codec.decode(batch["x"])]
    said = caplog.text
    assert "dropped 5 bad rows of 10" in said and "fragments" in said


def test_spellings_of_a_molecule_stay_on_one_side(table: Path) -> None:
    for seed in range(6):
        data = SequenceDataModule(
            str(table), MoleculeCodec(["[C]", "[O]", "[N]"], 6), sequence_column="smiles", val_fraction=0.25,
            test_fraction=0.25, split_seed=seed,
        )  # fmt: skip
        assert (
            sum(len({0, 1} & set(data.indices(side).tolist())) == 1 for side in ("train", "val", "test")) == 0
        )

"""A backbone's training sequences: found again where their table is, absent without a word where it is not."""

import json

import pytest

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.data import training_table
from gendesign.data.sequences import SequenceDataModule
from gendesign.data.training_table import describe_training, training_sequences
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.loading import load_backbone
from gendesign.models.dilated_conv import DilatedConvDenoiser


def rows(num=30):
    return ["".join("ACGT"[(i >> 2 * j) & 3] for j in range(6)) for i in range(1, 1 + 7 * num, 7)]


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("text,gene\n" + "".join(f"GG{row},{i % 11}\n" for i, row in enumerate(rows())) + "N,1\n")
    return SequenceDataModule(
        str(path),
        DNACodec(6),
        sequence_column="text",
        group_column="gene",
        val_fraction=0.2,
        test_fraction=0.2,
        split_seed=4,
        always_train=[3],
        folds=2,
        fold=1,
        trim=("GG", ""),
    )


def backbone_of(folder, training):
    made = Backbone(DNACodec(6), MaskedDiffusion(4), DilatedConvDenoiser(4, 8, depth=1))
    made.save_pretrained(folder, training=training)
    return load_backbone(folder)


def test_training_sequences_are_those_of_the_split(data, tmp_path, monkeypatch):
    said = describe_training(data)
    assert said == json.loads(json.dumps(said)) and said["num_train"] == len(data.indices("train"))
    assert not set(rows()) & set(map(str, said.values()))
    expected = [data.sequences[row] for row in data.indices("train")]
    assert 0 < len(expected) < len(rows())
    backbone = backbone_of(tmp_path / "pretrained", {"step": 7, "data": said})
    found = training_sequences(backbone)
    assert found == expected
    monkeypatch.setattr("gendesign.data.sequence_table.read_rows", lambda path: pytest.fail("read twice"))
    assert training_sequences(backbone) is found


def test_public_tables_are_looked_for_and_never_fetched(data, tmp_path, monkeypatch):
    from gendesign.data import tables

    said = describe_training(data) | {"path": "data:yeast_native_promoters_1011"}
    backbone = backbone_of(tmp_path / "pretrained", {"data": said})
    monkeypatch.setattr(tables, "get", lambda *a, **k: pytest.fail("fetched"))
    monkeypatch.setenv("GENDESIGN_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert training_sequences(backbone) is None
    monkeypatch.setattr(tables, "locate", lambda name: tmp_path / "table.csv")
    assert len(training_sequences(backbone)) == said["num_train"]


@pytest.mark.parametrize(
    "change",
    [
        {"path": "no/such/file.csv"},
        {"path": "data:no_such_table"},
        {"path": 7},
        {"sequence_column": "no such column"},
        {"val_fraction": "many"},
        {"trim": 3},
        {"num_train": 1},
    ],
)
def test_anything_missing_is_no_error(data, tmp_path, change):
    said = describe_training(data)
    training_table._read.clear()
    assert training_sequences(backbone_of(tmp_path / "a", {"data": said | change})) is None
    assert training_sequences(backbone_of(tmp_path / "b", {"data": said})) is not None


@pytest.mark.parametrize("training", [{}, {"step": 3}, {"data": "table.csv"}, {"data": {}}, {"data": None}])
def test_backbones_that_do_not_say(tmp_path, training):
    assert training_sequences(backbone_of(tmp_path / "pretrained", training)) is None
    assert describe_training(None) == describe_training(object()) == {}

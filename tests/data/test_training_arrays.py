"""What a backbone of arrays says of its training data, and how they are found again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from gendesign.array_codecs import ImageCodec, VectorCodec, VectorSequenceCodec
from gendesign.backbone import Backbone
from gendesign.codecs import Codec
from gendesign.data.images import ArrayDataModule, ImageDataModule
from gendesign.data.training_arrays import training_arrays
from gendesign.data.training_table import describe_training
from gendesign.data.vectors import ToyDataModule, VectorDataModule
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.models.base import Denoiser


class Flat(Denoiser):
    """Predicts the state itself."""

    time_conditioned = True

    def forward(self, x, t=None, cond=None, mask=None):
        return x


def backbone_of(codec: Codec, said: object) -> Backbone:
    backbone = Backbone(codec, PoissonFlow(), Flat())
    backbone.provenance = {"training": {"data": said}}
    return backbone


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    rows = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    path.write_text("run,a,b\n" + "".join(f"{i // 3},{a},{b}\n" for i, (a, b) in enumerate(rows)))
    return path


def modules(table: Path) -> list[tuple[ArrayDataModule, Codec]]:
    vector = VectorCodec(["a", "b"], mean=[0, 0], std=[1, 1])
    steps = VectorSequenceCodec(["a", "b"], 3, mean=[0, 0], std=[1, 1])
    return [
        (ImageDataModule("digits", ImageCodec(8, 8), split_seed=3, folds=2, fold=1), ImageCodec(8, 8)),
        (VectorDataModule(str(table), vector, val_fraction=0.0, group_column="run"), vector),
        (VectorDataModule(str(table), steps, sequence_column="run"), steps),
        (ToyDataModule("rings", num=50, seed=4), VectorCodec(["x", "y"], mean=[0, 0], std=[1, 1])),
    ]


@pytest.mark.parametrize("which", range(4))
def test_training_designs_are_those_of_the_split(table: Path, which: int) -> None:
    pytest.importorskip("sklearn")
    data, codec = modules(table)[which]
    said = describe_training(data)
    assert 0 < said["num_train"] < len(data.designs) and torch.tensor(said["num_train"]).ndim == 0
    backbone = backbone_of(codec, said)
    found = training_arrays(backbone)
    np.testing.assert_array_equal(found, data.designs[data.indices("train")])
    assert training_arrays(backbone) is found  # read once


@pytest.mark.parametrize(
    "change",
    [{"num_train": 3}, {"path": "no/such.csv"}, {"val_fraction": 2.0}, {"what": 1}, {"split_column": "side"}],
)
def test_other_data_than_said_are_not_taken(table: Path, change: dict[str, object]) -> None:
    data, codec = modules(table)[1]
    assert training_arrays(backbone_of(codec, describe_training(data) | change)) is None


def test_a_backbone_that_does_not_say() -> None:
    assert training_arrays(backbone_of(ImageCodec(8, 8), None)) is None
    assert training_arrays(backbone_of(ImageCodec(8, 8), {"path": "digits", "num_train": 1})) is None

"""Training on numbers: the loss falls, a killed run reaches the same weights, statistics travel with the weights."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from gendesign.array_codecs import ImageCodec, VectorCodec, VectorSequenceCodec
from gendesign.backbone import Backbone
from gendesign.data.images import ImageDataModule
from gendesign.data.vectors import VectorDataModule
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import ConfigError
from gendesign.loading import load_backbone
from gendesign.models.base import VectorNetwork
from gendesign.models.dit import DiTNetwork
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.models.unet2d import UNet2DNetwork
from gendesign.training.callbacks import EMA, ExportPretrained

COLUMNS = ["x", "y"]


class Die(Callback):
    """Stop the run by an exception before this step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
        if trainer.global_step == self.at:
            raise InterruptedError("killed")


def backbone(
    network: VectorNetwork, codec: Any, *, aug_dim: float = 128.0, sigma_data: float = 1.0
) -> Backbone:
    process = PoissonFlow(aug_dim, sigma_data=sigma_data)
    denoiser = Preconditioned(network, sigma_data=sigma_data, aug_dim=aug_dim)
    return Backbone(codec, process, denoiser, lr=5e-3, warmup_steps=5, val_times=8)


def line(folder: Path) -> VectorDataModule:
    """Two columns on a line, with other units."""
    folder.mkdir(parents=True, exist_ok=True)
    x = np.random.default_rng(0).normal(100, 5, 600)
    rows = "".join(f"{value},{-3 * value + 7}\n" for value in x)
    (folder / "line.csv").write_text("x,y\n" + rows)
    return VectorDataModule(str(folder / "line.csv"), VectorCodec(COLUMNS), batch_size=64)


def train(folder: Path, *, steps: int = 60, die_at: int | None = None) -> Backbone:
    torch.manual_seed(0)
    module = backbone(MLPNetwork(2, 32, depth=2, dropout=0.02), VectorCodec(COLUMNS))
    fit(module, line(folder), folder, steps=steps, die_at=die_at)
    return module


def fit(module: Backbone, data: Any, folder: Path, *, steps: int, die_at: int | None = None) -> None:
    Trainer(
        max_steps=steps,
        accelerator="cpu",
        val_check_interval=10,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            EMA(0.8),
            ExportPretrained(str(folder / "pretrained"), monitor="val_loss"),
            ModelCheckpoint(
                folder, every_n_train_steps=10, save_top_k=0, save_last=True, enable_version_counter=False
            ),
            *([] if die_at is None else [Die(die_at)]),
        ],
    ).fit(module, data, ckpt_path="last", weights_only=True)


def val_loss(module: Backbone, data: Any) -> float:
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    return float(trainer.validate(module, data, verbose=False)[0]["val_loss"])


def test_a_table_is_learned_and_its_statistics_travel_with_the_weights(tmp_path: Path) -> None:
    data = line(tmp_path)
    before = val_loss(backbone(MLPNetwork(2, 32, depth=2), VectorCodec(COLUMNS)), data)
    assert before == pytest.approx(1, abs=0.2)  # what the preconditioning is for
    trained = train(tmp_path)
    loaded = load_backbone(tmp_path / "pretrained")
    assert val_loss(loaded, data) < 0.8 * before
    rows = data.designs[data.indices("train")]
    assert isinstance(loaded.codec, VectorCodec) and isinstance(trained.codec, VectorCodec)
    assert loaded.codec.mean == trained.codec.mean == pytest.approx(tuple(rows.mean(0)))
    assert loaded.codec.std == trained.codec.std == pytest.approx(tuple(rows.std(0)))
    designs = np.array(loaded.sample(64, steps=12, seed=1))
    assert np.corrcoef(designs.T)[0, 1] < -0.9
    assert designs.mean(0) == pytest.approx(rows.mean(0), rel=0.05)  # in the user's units
    np.testing.assert_array_equal(designs, loaded.sample(64, steps=12, seed=1))


def test_a_killed_run_reaches_the_same_weights(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", steps=30)
    with pytest.raises(InterruptedError):
        train(tmp_path / "killed", steps=30, die_at=17)
    again = train(tmp_path / "killed", steps=30)
    for name, weight in whole.named_parameters():
        assert torch.equal(weight, again.get_parameter(name)), name
    assert isinstance(whole.codec, VectorCodec) and isinstance(again.codec, VectorCodec)
    assert whole.codec.mean == again.codec.mean


@pytest.mark.whole
def test_the_digits_train(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = UNet2DNetwork(8, 8, widths=(8, 8), norm_groups=4)
    module = backbone(network, ImageCodec(8, 8), aug_dim=math.inf, sigma_data=0.75)
    data = ImageDataModule("digits", ImageCodec(8, 8), batch_size=32)
    before = val_loss(module, data)
    fit(module, data, tmp_path, steps=30)
    loaded = load_backbone(tmp_path / "pretrained")
    assert val_loss(loaded, data) < 0.9 * before
    images = loaded.sample(2, steps=3)
    assert all(image.shape == (8, 8) and 0 <= image.min() and image.max() <= 1 for image in images)


@pytest.mark.whole
def test_sequences_of_vectors_train(tmp_path: Path) -> None:
    """Waves of random phase: what a step is follows from the others."""
    torch.manual_seed(0)
    phase = np.random.default_rng(0).uniform(0, 2 * np.pi, (300, 1))
    angle = phase + np.arange(6)
    np.savez(tmp_path / "waves.npz", waves=np.stack([10 * np.cos(angle), 3 + np.sin(angle)], axis=-1))
    data = VectorDataModule(str(tmp_path / "waves.npz"), VectorSequenceCodec(COLUMNS, 6), batch_size=64)
    module = backbone(DiTNetwork(6, 2, 32, depth=2, num_heads=2), VectorSequenceCodec(COLUMNS, 6))
    before = val_loss(module, data)
    fit(module, data, tmp_path, steps=120)
    loaded = load_backbone(tmp_path / "pretrained")
    assert val_loss(loaded, data) < 0.85 * before
    assert isinstance(loaded.codec, VectorSequenceCodec)
    assert loaded.codec.std == pytest.approx((10 / 2**0.5, 0.5**0.5), rel=0.1)
    assert loaded.sample(2, steps=3)[0].shape == (6, 2)


def test_model_and_data_need_one_codec() -> None:
    """Columns in another order, or another number of them, are refused before anything is trained."""
    model = Backbone(
        VectorCodec(["a", "b"]),
        PoissonFlow(16.0),
        Preconditioned(MLPNetwork(2, width=4, depth=1), aug_dim=16.0),
    )

    def given(codec: Any) -> None:
        model._trainer = SimpleNamespace(datamodule=SimpleNamespace(codec=codec))
        model.setup("fit")

    for other in (VectorCodec(["b", "a"]), VectorCodec(["a", "b", "c"])):
        with pytest.raises(ConfigError, match="need the same codec"):
            given(other)
    fitted = VectorCodec(["a", "b"], mean=[1.0, 2.0], std=[3.0, 4.0])
    given(fitted)
    assert model.codec is fitted

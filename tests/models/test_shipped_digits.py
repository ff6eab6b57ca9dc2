"""The shipped backbones of digits: built as their configurations say, small, and their samples are digits."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from gendesign.array_codecs import ImageCodec
from gendesign.building import build
from gendesign.data.images import ImageDataModule
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.solvers import Heun
from gendesign.loading import list_backbones, load_backbone
from gendesign.metrics.fidelity import energy_distance

CONFIGS = Path(__file__).parents[2] / "configs/train"
NAMES = {"image-digits": "image_digits.yaml", "image-digits-edm": "image_digits_edm.yaml"}


@pytest.mark.parametrize("name", NAMES)
def test_they_are_what_their_configuration_trains(name: str) -> None:
    backbone = load_backbone(name)
    assert isinstance(backbone.process, PoissonFlow)
    model = yaml.safe_load((CONFIGS / NAMES[name]).read_text())["model"]["init_args"]
    for part in ("codec", "process"):
        built, shipped = dict(vars(build(model[part]))), dict(vars(getattr(backbone, part)))
        assert built.pop("init_args").keys() <= shipped.pop("init_args").keys() and built == shipped
    denoiser = build(model["denoiser"])
    assert repr(denoiser) == repr(backbone.denoiser)  # every layer, with its sizes and dropout
    assert (denoiser.aug_dim, denoiser.sigma_data) == (backbone.process.aug_dim, backbone.process.sigma_data)
    assert "digits" in list_backbones()[name]
    assert backbone.folder is not None
    assert (backbone.folder / "model.safetensors").stat().st_size < 3e6


@pytest.mark.whole
@pytest.mark.parametrize("name", NAMES)
def test_their_samples_are_digits_and_no_copies(name: str) -> None:
    data = ImageDataModule("digits", ImageCodec(8, 8))
    train = data.designs[data.indices("train")].reshape(-1, 64)
    unseen = data.designs[data.indices("test")].reshape(-1, 64)
    designs = np.stack(load_backbone(name).sample(64, steps=10, seed=0, solver=Heun())).reshape(-1, 64)
    elsewhere = designs[:, np.random.default_rng(0).permutation(64)]
    assert energy_distance(designs, unseen) < 0.1 < energy_distance(elsewhere, unseen)
    nearest = np.linalg.norm(designs[:, None] - train, axis=2).min(1)
    beside = np.linalg.norm(unseen[:, None] - train, axis=2).min(1)
    assert np.median(nearest) > 0.9 * np.median(beside)

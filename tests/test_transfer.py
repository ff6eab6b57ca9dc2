"""A network trained at one augmented dimension is not sampled at another unless that is asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Generator

from gendesign.array_codecs import VectorCodec
from gendesign.backbone import Backbone
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import CheckpointError, ConfigError
from gendesign.loading import load_backbone
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned


def make(process: PoissonFlow, *, trained_at: float = 128.0, sigma_data: float = 0.5) -> Backbone:
    codec = VectorCodec(["a", "b"], mean=[0.0, 0.0], std=[1.0, 1.0])
    network = MLPNetwork(2, width=8, depth=1)
    return Backbone(codec, process, Preconditioned(network, sigma_data=sigma_data, aug_dim=trained_at))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make(PoissonFlow(128.0)).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def edit(folder: Path, **process: Any) -> None:
    """Change the process of a saved backbone, as a user would in its config.yaml."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["process"]["init_args"] |= process
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def test_another_dimension_is_refused_unless_asked(folder: Path) -> None:
    """r = sigma sqrt(D) makes noise levels of two dimensions comparable (arXiv 2302.04265, section 4)."""
    edit(folder, aug_dim=64.0)
    with pytest.raises(
        CheckpointError, match="trained at aug_dim=128, the process has 64; .* transfer_from=128"
    ):
        load_backbone(folder)
    edit(folder, aug_dim=64.0, transfer_from=128.0)
    assert len(load_backbone(folder).sample(3, steps=3)) == 3
    edit(folder, aug_dim=math.inf, transfer_from=128.0)
    assert math.isinf(load_backbone(folder).process.aug_dim)  # type: ignore[attr-defined]


def test_parts_that_do_not_fit_each_other() -> None:
    with pytest.raises(ConfigError, match="trained at aug_dim=inf"):
        make(PoissonFlow(128.0), trained_at=math.inf)
    with pytest.raises(ConfigError, match="transfer_from must be at least 1"):
        PoissonFlow(128.0, transfer_from=0.5)
    with pytest.raises(ConfigError, match="sigma_data is 0.7"):
        make(PoissonFlow(128.0), sigma_data=0.7)
    make(PoissonFlow(16.0, transfer_from=2048.0), trained_at=2048.0)


def test_a_prior_with_fixed_coordinates() -> None:
    """They are the template's, where there is one, and have no noise."""
    mask = torch.tensor([[True, False, False]]).expand(4, -1)
    template = torch.tensor([math.nan, 2.0, math.nan], dtype=torch.float64)
    x = PoissonFlow(16.0).prior(4, 3, generator=Generator().manual_seed(0), template=template, mask=mask)
    assert torch.equal(x[:, 1:], torch.tensor([2.0, 0.0]).double().expand(4, -1))
    assert (x[:, 0].abs() > 1e-3).all()

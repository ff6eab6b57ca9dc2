"""Tiny pipelines, made here: nothing is downloaded."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel


@pytest.fixture
def make_unet() -> Any:
    """A U-Net over 8 x 8 images with random weights."""

    def make(seed: int = 0, **changed: Any) -> UNet2DModel:
        options: dict[str, Any] = {
            "sample_size": 8,
            "in_channels": 1,
            "out_channels": 1,
            "block_out_channels": (8, 8),
            "down_block_types": ("DownBlock2D", "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "UpBlock2D"),
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "add_attention": False,
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return UNet2DModel(**(options | changed)).eval()

    return make


@pytest.fixture
def folder(tmp_path: Path, make_unet: Any) -> Path:
    """A saved unconditional pipeline."""
    scheduler = DDPMScheduler(num_train_timesteps=50, clip_sample=False)
    DDPMPipeline(make_unet(), scheduler).save_pretrained(tmp_path / "ddpm")
    return tmp_path / "ddpm"

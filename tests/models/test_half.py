"""Bfloat16: answers near those of float32, float32 themselves, and the same weights."""

from __future__ import annotations

import pytest
import torch

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.errors import ConfigError
from gendesign.loading import load_backbone
from gendesign.models.half import Half
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.models.transformer import TransformerDenoiser

BFLOAT16 = 2.0**-8


def test_tokens_are_predicted_as_in_float32_to_bfloat16s_precision() -> None:
    torch.manual_seed(0)
    network = TransformerDenoiser(4, width=32, depth=2, num_heads=2, length=12).eval()
    x = torch.randint(0, 5, (64, 12))
    with torch.no_grad():
        exact, half = network(x), Half(network)(x)
    assert half.dtype == torch.float32
    difference = (exact - half).abs().max()
    assert 0 < difference < 16 * BFLOAT16 * exact.abs().max()


def test_numbers_keep_their_mean_and_their_missing_variance() -> None:
    torch.manual_seed(0)
    network = Preconditioned(MLPNetwork(3), sigma_data=1.0, aug_dim=float("inf")).eval()
    x, t = torch.randn(32, 3), torch.full((32,), 0.7)
    with torch.no_grad():
        mean, variance = network(x, t)
        half_mean, half_variance = Half(network)(x, t)
    assert half_mean.dtype == mean.dtype and (variance is None) == (half_variance is None)
    torch.testing.assert_close(half_mean, mean, atol=0.05, rtol=0.05)


def test_a_backbone_in_bfloat16_says_so_and_leaves_the_other_as_it_was() -> None:
    torch.manual_seed(0)
    network = TransformerDenoiser(4, width=32, depth=2, num_heads=2, length=12)
    first = Backbone(DNACodec(12), MaskedDiffusion(4), network).eval()
    other = first.in_bfloat16()
    assert first.denoiser is network and "precision" not in first.provenance
    assert other.provenance["precision"] == "bfloat16" and len(other.sample(3, steps=6)) == 3
    exact = first.log_likelihood(["ACGTACGTACGT"], seed=0)
    assert other.log_likelihood(["ACGTACGTACGT"], seed=0).tolist() == pytest.approx(exact.tolist(), rel=0.01)


def test_a_shipped_backbone_is_loaded_in_either_precision() -> None:
    other = load_backbone("dna-yeast-promoter", precision="bfloat16")
    assert isinstance(other.denoiser, Half) and other.provenance["precision"] == "bfloat16"
    with pytest.raises(ConfigError, match="float32 or bfloat16, got 'float16'"):
        load_backbone("dna-yeast-promoter", precision="float16")

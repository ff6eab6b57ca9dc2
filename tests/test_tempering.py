"""Temperature: the tokens' law to the power 1/T, in sampling, in likelihood, and in what a run writes down."""

from __future__ import annotations

import math

import pytest
import torch

from gendesign.backbone import Backbone
from gendesign.building import describe
from gendesign.codecs import DNACodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import FirstHitting
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.models.tabular import TabularDenoiser
from gendesign.tempering import at_temperature

P = torch.tensor([0.6, 0.2, 0.15, 0.05])


def backbone() -> Backbone:
    table = TabularDenoiser(4, 1).set_law(P)
    return Backbone(DNACodec(1), MaskedDiffusion(4, unmasking=FirstHitting()), table).eval()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_law_of_one_token_is_its_power(temperature: float) -> None:
    other = at_temperature(backbone(), temperature)
    power = P.double() ** (1 / temperature)
    expected = power / power.sum()
    designs = other.sample(4000, seed=1)
    for letter, share in zip("ACGT", expected.tolist(), strict=True):
        assert designs.count(letter) / 4000 == pytest.approx(share, abs=0.03)
    found = other.log_likelihood(["A", "C"], num_times=2, seed=0).tolist()
    assert found == pytest.approx([math.log(expected[0]), math.log(expected[1])], abs=1e-5)


def test_the_backbone_itself_stays_as_it_was_and_the_run_says_so() -> None:
    first = backbone()
    other = at_temperature(first, 2.0)
    assert type(first.denoiser) is TabularDenoiser and "temperature" not in first.provenance
    assert describe(other)["init_args"]["denoiser"]["init_args"]["temperature"] == 2.0
    assert other.provenance["temperature"] == 2.0


def test_what_has_no_tokens_or_no_temperature_is_refused() -> None:
    with pytest.raises(ConfigError, match="temperature must be"):
        at_temperature(backbone(), 0.0)
    continuous = backbone()
    continuous.process = object()  # type: ignore[assignment]
    with pytest.raises(UnsupportedError, match="of masked diffusion"):
        at_temperature(continuous, 2.0)

"""Temperature: the tokens' law to the power 1/T, in sampling, in likelihood, and in what a run writes down."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from gendesign.backbone import Backbone
from gendesign.building import describe
from gendesign.codecs import DNACodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.unmasking import FirstHitting
from gendesign.errors import CheckpointError, ConfigError, UnsupportedError
from gendesign.loading import load_backbone
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


def test_a_backbone_can_say_at_which_temperature_it_is_used(tmp_path: Path) -> None:
    made = backbone()
    made.temperature = 0.5
    made.save_pretrained(tmp_path / "cool")
    assert "temperature: 0.5" in (tmp_path / "cool/config.yaml").read_text()

    def first(**said: Any) -> float:
        return math.exp(load_backbone(tmp_path / "cool", **said).log_likelihood(["A"], num_times=2).item())

    assert first() == pytest.approx(0.36 / (0.36 + 0.04 + 0.0225 + 0.0025), abs=1e-5)
    assert first(temperature=1.0) == pytest.approx(0.6, abs=1e-5)
    # what was tempered when loaded is saved as it is, and not tempered twice
    load_backbone(tmp_path / "cool").save_pretrained(tmp_path / "again")
    again = load_backbone(tmp_path / "again").log_likelihood(["A"], num_times=2).item()
    assert math.exp(again) == pytest.approx(first(), abs=1e-6)


@pytest.mark.parametrize("said", ["0", "cold", "-1", ".nan"])
def test_a_folder_with_a_strange_temperature_is_refused(tmp_path: Path, said: str) -> None:
    made = backbone()
    made.temperature = 0.5
    made.save_pretrained(tmp_path / "cool")
    config = tmp_path / "cool/config.yaml"
    config.write_text(config.read_text().replace("temperature: 0.5", f"temperature: {said}"))
    with pytest.raises(CheckpointError, match="temperature must be a number above 0"):
        load_backbone(tmp_path / "cool")


def test_only_masked_diffusion_is_used_at_a_temperature() -> None:
    made = backbone()
    with pytest.raises(ConfigError, match="temperature must be"):
        Backbone(made.codec, made.process, made.denoiser, temperature=0.0)
    with pytest.raises(ConfigError, match="of masked diffusion"):
        Backbone(made.codec, PoissonFlow(), made.denoiser, temperature=0.5)

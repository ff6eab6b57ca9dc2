"""What cannot be scored is refused before anything is spent, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gendesign.array_codecs import VectorCodec
from gendesign.backbone import Backbone
from gendesign.cli import main
from gendesign.codecs import DNACodec, ProteinCodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import UnsupportedError
from gendesign.models.base import TokenDenoiser
from gendesign.refusals import parts_of, refuse_unreadable, rough_designs
from gendesign.rewards import (
    Brightness,
    Difference,
    GCContent,
    JPEGCompressibility,
    MaxGaussian,
    SequenceIdentity,
    TableReward,
    Threshold,
    WeightedSum,
)
from gendesign.rewards.base import FunctionReward, Reward
from gendesign.run import check_request, design
from gendesign.steering.guidance import Guidance
from gendesign.steering.svdd import SVDD


class Nothing(TokenDenoiser):
    """A network that must not be asked."""

    def __init__(self, tokens: int = 4) -> None:
        super().__init__(tokens, 2)

    def forward(self, *given: Any) -> Any:
        raise AssertionError("something was spent")


def dna() -> Backbone:
    return Backbone(DNACodec(8), MaskedDiffusion(4), Nothing())


def protein(length: int = 6) -> Backbone:
    codec = ProteinCodec(length, variable=True)
    return Backbone(codec, MaskedDiffusion(21), Nothing(21))


def function(name: str = "own") -> Reward:
    return FunctionReward(len, name=name, each=True)


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (JPEGCompressibility(), "compressibility cannot score the sequences"),
        (Brightness(), "brightness cannot score"),
        (
            WeightedSum([function(), Brightness()], weights=[1.0, 1.0]),
            "brightness, a part of .*, cannot score",
        ),
        (
            Threshold(GCContent(), constraint=JPEGCompressibility(), at_least=0.0),
            "compressibility, a part of",
        ),
        (WeightedSum([WeightedSum([Brightness()]), GCContent()]), "brightness, a part of"),
    ],
)
@pytest.mark.parametrize("role", ["reward", "heldout"])
def test_rewards_of_other_designs_are_refused_first(reward: Reward, said: str, role: str) -> None:
    given: dict[str, Any] = {"reward": GCContent(), "heldout": None} | {role: reward}
    with pytest.raises(UnsupportedError, match=f"{said}.* choose another with {role}=") as error:
        design(dna(), given["reward"], SVDD(alpha=1.0), heldout=given["heldout"], num_designs=2, steps=2)
    assert "\n" not in str(error.value)


def test_dna_rewards_on_proteins_and_numbers() -> None:
    with pytest.raises(UnsupportedError, match="gc-content.* cannot score the sequences"):
        check_request(protein(30), GCContent(target=[0.4, 0.6]), None)
    vectors = Backbone(VectorCodec(["x"], mean=[0.0], std=[1.0]), PoissonFlow(128.0), Nothing())
    with pytest.raises(UnsupportedError, match="expected a DNA sequence, got an array"):
        check_request(vectors, GCContent(), None)
    assert np.array_equal(rough_designs(vectors), [[0.0]])


def test_what_can_be_read_is_not_refused() -> None:
    """Some of the designs suffice: a reward of one length, where lengths vary, is for designs of that length."""
    refuse_unreadable(dna(), WeightedSum([GCContent(), function()]))
    refuse_unreadable(dna(), None)
    refuse_unreadable(protein(), SequenceIdentity("MKV"))
    assert {len(text) for text in rough_designs(protein())} == {1, 2, 3, 4, 5, 6}
    assert all(len(text) == 8 for text in rough_designs(dna()))
    with pytest.raises(UnsupportedError, match="cannot score"):
        refuse_unreadable(protein(), SequenceIdentity("MKVMKVMKV"))


def test_parts_of_parts() -> None:
    one, two, three = (function(name) for name in "abc")
    found = [
        part.label for part in parts_of(WeightedSum([WeightedSum([one, two], name="in"), three], name="out"))
    ]
    assert found == ["out", "in", "a", "b", "c"]


def test_a_table_is_asked_for_its_own_designs(tmp_path: Path) -> None:
    """Measured sequences among 65,536, the last of them of the right length: random ones say nothing."""
    file = tmp_path / "plate.csv"
    rows = [f"{'ACGT'[i % 4] * 5}{'ACGT'[i // 4 % 4]}{'ACGT'[i // 16]},1.0,{i}" for i in range(64)]
    file.write_text("\n".join(["sequence,value,other", *rows, "ACGTACGA,2.0,0"]) + "\n")
    one, other = TableReward(file), TableReward(file, value="other")
    for reward in (one, Difference(one, other), MaxGaussian(one, 0.0, 1.0), WeightedSum([one, GCContent()])):
        refuse_unreadable(dna(), reward)
    six = Backbone(DNACodec(6), MaskedDiffusion(4), Nothing())
    for reward in (one, Difference(one, other)):
        with pytest.raises(
            UnsupportedError, match="value.* cannot score the sequences of this backbone: .*choose"
        ):
            refuse_unreadable(six, reward)


def test_a_method_that_cannot_work_is_refused_before_its_pilot(capsys: pytest.CaptureFixture[str]) -> None:
    """The pilot would ask the reward thousands of times to find an alpha that nothing uses."""
    with pytest.raises(UnsupportedError, match="differentiable"):
        design(dna(), function(), Guidance(), num_designs=2, steps=2)
    assert main(["check", "steering=guidance", "reward=dna-synthesis"]) == 2
    assert "differentiable" in capsys.readouterr().err

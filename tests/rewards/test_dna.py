"""GC content and its window."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from gendesign.codecs import DNACodec
from gendesign.errors import ConfigError
from gendesign.rewards import GCContent, Status, SynthesisProblems, WeightedSum

DESIGNS = ["AAAA", "ACGT", "GGCC", "GATT"]


def test_gc_content_and_window() -> None:
    np.testing.assert_allclose(GCContent()(DESIGNS).values, [0, 0.5, 1, 0.25])
    np.testing.assert_allclose(
        GCContent(target=[0.3, 0.6])(DESIGNS).values, [-0.3, 0, -0.4, -0.05], atol=1e-12
    )


@pytest.mark.parametrize("target", [None, [0.3, 0.6]])
def test_relaxed_equals_score_on_one_hots_and_padding_counts_for_nothing(target: list[float] | None) -> None:
    designs = ["GA", "GGC", "ACGTA"]
    reward = GCContent(target=target)
    x = torch.nn.functional.one_hot(DNACodec(5, variable=True).encode(designs), 5).double().requires_grad_()
    relaxed = reward.relaxed(x)
    np.testing.assert_allclose(relaxed.detach().numpy(), reward(designs).values, atol=1e-5)
    assert torch.autograd.grad(relaxed.sum(), x)[0].isfinite().all()


def test_other_letters_are_invalid() -> None:
    scores = GCContent()(["ACGN", "", "acgu", "GC"])
    assert list(scores.status) == [Status.INVALID] * 3 + [Status.OK]
    assert "'N'" in scores.message[0]


def test_letters_are_read_in_either_case() -> None:
    """As in tables for training: one sequence, scored once, whichever way it is written."""
    calls: list[str] = []

    class Seen(GCContent):
        def score(self, designs: Sequence[str]) -> torch.Tensor:
            calls.extend(designs)
            return super().score(designs)

    assert Seen()(["acgg", "ACGG", "aCgG"]).values.tolist() == [0.75] * 3 and calls == ["ACGG"]
    assert SynthesisProblems(sites=["BsaI"])(["ttggtctcaa", "TTGGTCTCAA"]).values.tolist() == [-1.0, -1.0]
    total = WeightedSum([GCContent(), SynthesisProblems(max_homopolymer=3)], weights=[1.0, 1.0])
    assert total(["ggggac"]).values[0] == pytest.approx(5 / 6 - 1)
    codec = DNACodec(4)
    assert torch.equal(codec.encode(["acgt"]), codec.encode(["ACGT"])) and codec.is_valid("acgt")
    assert torch.equal(codec.encode_template("ac**")[0], codec.encode_template("AC**")[0])


@pytest.mark.parametrize("target", [[0.5], [0.6, 0.3], [-0.1, 0.5], [0.2, 1.5]])
def test_a_window_must_be_two_rising_fractions(target: list[float]) -> None:
    with pytest.raises(ConfigError, match="target"):
        GCContent(target=target)

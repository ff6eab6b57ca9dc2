"""Codecs: round trips, templates, and what they refuse."""

import pytest
import torch

from gendesign.building import build, describe
from gendesign.codecs import Codec, DNACodec, ProteinCodec, RNACodec, SequenceCodec
from gendesign.errors import ConfigError, DesignError


@pytest.mark.parametrize(
    ("codec", "designs"),
    [
        (DNACodec(4), ["ACGT", "TTTT"]),
        (RNACodec(4, variable=True), ["ACGU", "A", "GU"]),
        (ProteinCodec(3, variable=True), ["NAN", "INF", "W"]),
        (SequenceCodec("xyz", 2), ["xy", "zz"]),
    ],
)
def test_round_trip(codec: SequenceCodec, designs: list[str]) -> None:
    ids = codec.encode(designs)
    assert ids.shape == (len(designs), codec.length) and int(ids.max()) < codec.vocab_size
    assert codec.decode(ids) == designs
    assert build(describe(codec), kinds=(Codec,)).encode(designs).tolist() == ids.tolist()


def test_padding_is_a_token_after_the_end() -> None:
    codec = DNACodec(4, variable=True)
    assert (codec.vocab_size, codec.pad_id, codec.mask_id) == (5, 4, 5)
    assert codec.encode(["AC"]).tolist() == [[0, 1, 4, 4]]
    inside = codec.decode(torch.tensor([[0, 4, 1, 4]]))[0]
    assert inside == "A-C" and not codec.is_valid(inside)
    assert DNACodec(4).pad_id is None


def test_masked_positions_show() -> None:
    assert DNACodec(3).decode(torch.tensor([[0, 4, 3]])) == ["A*T"]


@pytest.mark.parametrize("design", ["ACG", "ACGTA", "ACGN", "acgu", "", "AC T"])
def test_designs_that_do_not_fit(design: str) -> None:
    codec = DNACodec(4)
    assert not codec.is_valid(design)
    with pytest.raises(DesignError, match="expected"):
        codec.encode(["ACGT", design])


def test_template() -> None:
    ids, fixed = DNACodec(4).encode_template("A**T")
    assert ids.tolist() == [0, 4, 4, 3] and fixed.tolist() == [True, False, False, True]
    assert RNACodec(4, variable=True).encode_template("A")[1].tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("template", "says"), [("A*", "4 letters"), ("AX**", "X"), ("ACGT", "every position"), ("", "4 letters")]
)
def test_templates_that_do_not_fit(template: str, says: str) -> None:
    with pytest.raises(DesignError, match=says):
        DNACodec(4).encode_template(template)


@pytest.mark.parametrize(
    "make", [lambda: SequenceCodec("", 3), lambda: SequenceCodec("AA", 3), lambda: DNACodec(0)]
)
def test_bad_codecs(make: object) -> None:
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]


def test_the_gap_of_an_alignment_is_not_padding() -> None:
    """Where designs end before the last position, '-' says so; one of the letters it can be at one length only."""
    with pytest.raises(ConfigError, match="'-' stands for padding"):
        SequenceCodec("ACGT-", 8, variable=True)
    codec = SequenceCodec("ACGT-", 8)
    assert codec.decode(codec.encode(["AC-GT---"])) == ["AC-GT---"]


@pytest.mark.parametrize("strange", ["A\u00dfC", "A\ufb01", "A\u0131"])
def test_letters_whose_upper_case_is_another_word(strange: str) -> None:
    codec = ProteinCodec(4, variable=True)
    assert strange[1] in codec.reason_invalid(strange) and codec.reason_invalid("acd") == ""

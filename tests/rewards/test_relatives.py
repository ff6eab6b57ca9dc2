"""Identity, similarity and mutations against values worked out by hand."""

from math import sqrt

import numpy as np
import pytest
import torch

from gendesign.codecs import ProteinCodec
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards import Mutations, SequenceIdentity, SequenceSimilarity, Status

REFERENCE = "MKVLAW"


def test_identity_position_by_position_and_aligned() -> None:
    plain, aligned = SequenceIdentity(REFERENCE), SequenceIdentity(REFERENCE, align=True)
    np.testing.assert_allclose(plain([REFERENCE, "MKVLAA", "AAAAAA"]).values, [1, 5 / 6, 1 / 6])
    assert list(plain(["MKVLA", "MKXLAW", ""]).status) == [Status.INVALID] * 3
    # a residue more: six matches in seven columns
    np.testing.assert_allclose(aligned([REFERENCE, REFERENCE + "W", "MKVLA"]).values, [1, 6 / 7, 5 / 6])
    # shifted by one: positions hardly agree, the alignment does
    long = "ACDEFGHIKLMNPQRSTVWY"
    assert SequenceIdentity(long)([long[1:] + "A"]).values[0] == 0.0
    np.testing.assert_allclose(SequenceIdentity(long, align=True)([long[1:] + "A"]).values, [19 / 21])


def test_similarity_by_blosum62() -> None:
    """W with W is 11, L with L 4, L with I 2; a gap of one costs 12."""
    values = SequenceSimilarity("WL")(["WL", "WI", "W", "LW"]).values
    np.testing.assert_allclose(values, [1, 13 / 15, (11 - 12) / sqrt(15 * 11), (-2 - 2) / 15])


def test_mutations_and_what_is_free() -> None:
    designs = [REFERENCE, "MKVLAA", "AAAAAA"]
    assert Mutations(REFERENCE)(designs).values.tolist() == [0, -1, -5]
    assert Mutations(REFERENCE, at_most=2)(designs).values.tolist() == [0, 0, -3]
    assert list(Mutations(REFERENCE)(["MKV"]).status) == [Status.INVALID]
    x = torch.nn.functional.one_hot(ProteinCodec(6).encode(designs), 20).double().requires_grad_()
    relaxed = Mutations(REFERENCE).relaxed(x)
    assert relaxed.tolist() == [0, -1, -5]
    assert torch.autograd.grad(relaxed.sum(), x)[0].sum() == 2 * 6  # none where nothing is beyond
    with pytest.raises(UnsupportedError, match="6 residues"):
        Mutations(REFERENCE).relaxed(x[:, :5])


def test_windows_keep_designs_near_or_far() -> None:
    scores = SequenceIdentity(REFERENCE, target=[0.5, 0.9])([REFERENCE, "MKVLAA", "AAAAAA"])
    np.testing.assert_allclose(scores.values, [-0.1, 0, -(0.5 - 1 / 6)])
    np.testing.assert_allclose(SequenceSimilarity(REFERENCE, target=[None, 0.8])([REFERENCE]).values, [-0.2])


@pytest.mark.parametrize("kind", [SequenceIdentity, SequenceSimilarity, Mutations])
@pytest.mark.parametrize("reference", ["", "MKX", "mkx"])
def test_a_reference_must_be_a_protein(kind: type, reference: str) -> None:
    with pytest.raises(ConfigError, match="reference"):
        kind(reference)


def test_the_number_of_free_mutations_is_whole() -> None:
    with pytest.raises(ConfigError, match="at_most"):
        Mutations(REFERENCE, at_most=-1)


def test_reference_and_designs_are_read_in_either_case() -> None:
    for reward in (SequenceIdentity("mkv"), SequenceSimilarity("mkv"), Mutations("mkv")):
        values = reward(["MKV", "mKv"]).values
        assert values[0] == values[1] == type(reward)("MKV")(["MKV"]).values[0]

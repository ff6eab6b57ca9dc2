"""ProtParam's numbers against Biopython's documentation, hand computation and gradients; which designs are refused."""

import re

import numpy as np
import pytest
import torch

from gendesign.codecs import ProteinCodec
from gendesign.errors import ConfigError
from gendesign.rewards import (
    GRAVY,
    Aromaticity,
    InstabilityIndex,
    IsoelectricPoint,
    NetCharge,
    ProteinWeight,
    Status,
)
from gendesign.rewards.protein import AMINO_ACIDS, ProteinProperty

# the protein of Bio.SeqUtils.ProtParam's documentation, and the values printed there
DOCUMENTED = (
    "MAEGEITTFTALTEKFNLPPGNYKKPKLLYCSNGGHFLRILPDGTVDGTRDRSDQHIQLQLSAESVGEVYIKSTETGQYLAMDTSGLLYGSQTPSEEC"
    "LFLERLEENHYNTYTSKKHAEKNWFVGLKKNGSCKRGPRTHYGQKAILFLPLPV"
)
EVERY = [
    GRAVY(), Aromaticity(), ProteinWeight(), InstabilityIndex(), IsoelectricPoint(), NetCharge(), NetCharge(ph=4.0),
    IsoelectricPoint(target=[5.0, 6.0]), ProteinWeight(target=[None, 900.0]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reward", "design", "value", "digits"),
    [
        (ProteinWeight(), DOCUMENTED, 17103.16, 2),
        (Aromaticity(), DOCUMENTED, 0.10, 2),
        (InstabilityIndex(), DOCUMENTED, -41.98, 2),
        (IsoelectricPoint(), DOCUMENTED, 7.72, 2),
        (GRAVY(), DOCUMENTED, -0.5974, 4),
        (IsoelectricPoint(), "INGAR", 9.75, 2),  # Bio.SeqUtils.IsoelectricPoint's documentation
        (NetCharge(ph=7.0), "INGAR", 0.76, 2),
        (IsoelectricPoint(), "PETER", 4.53, 2),
        (GRAVY(), "IR", 0.0, 12),  # 4.5 - 4.5
        (Aromaticity(), "FWYA", 0.75, 12),
        (ProteinWeight(), "G", 75.067, 3),  # glycine itself: no bond, no water lost
        (InstabilityIndex(), "WW", -5.0, 12),  # 10/2 times the weight of WW, 1.0
        (InstabilityIndex(), "A", 0.0, 12),
    ],
)
def test_values_of_the_documentation_and_by_hand(
    reward: ProteinProperty, design: str, value: float, digits: int
) -> None:
    assert round(reward([design]).values[0], digits) == pytest.approx(value)


def test_charge_of_a_peptide_by_hand() -> None:
    """KD: a lysine with an ordinary amino terminus, an aspartate with a carboxyl terminus of its own pK."""
    ph = 6.0
    plus = 1 / (1 + 10 ** (ph - 10.0)) + 1 / (1 + 10 ** (ph - 7.5))
    minus = 1 / (1 + 10 ** (4.05 - ph)) + 1 / (1 + 10 ** (4.55 - ph))
    np.testing.assert_allclose(NetCharge(ph=ph)(["KD"]).values, [plus - minus], rtol=1e-12)


@pytest.mark.parametrize("reward", EVERY, ids=lambda reward: reward.label)
@pytest.mark.parametrize("variable", [False, True])
def test_relaxed_equals_score_on_one_hots(reward: ProteinProperty, variable: bool) -> None:
    noise = np.random.default_rng(0)
    lengths = [1, 2, 9, 12] if variable else [12, 12, 12]
    designs = ["".join(noise.choice(list(AMINO_ACIDS), size)) for size in lengths]
    codec = ProteinCodec(12, variable=variable)
    x = torch.nn.functional.one_hot(codec.encode(designs), codec.vocab_size).double().requires_grad_()
    relaxed = reward.relaxed(x)
    # Biopython's search for the isoelectric point stops at a step of 1e-4
    np.testing.assert_allclose(relaxed.detach().numpy(), reward(designs).values, atol=2e-4, rtol=1e-9)
    assert torch.autograd.grad(relaxed.sum(), x)[0].isfinite().all()


@pytest.mark.parametrize("reward", EVERY[:7], ids=lambda reward: reward.label)
def test_gradients_match_finite_differences(reward: ProteinProperty) -> None:
    x = torch.rand(1, 3, 20, generator=torch.Generator().manual_seed(3), dtype=torch.float64).softmax(-1)
    assert torch.autograd.gradcheck(reward.relaxed, x.requires_grad_(), atol=1e-4, rtol=1e-4, eps=1e-5)


def test_windows() -> None:
    values = GRAVY()(["A", "R", "G"]).values  # 1.8, -4.5, -0.4
    inside = GRAVY(target=[-1.0, 1.0])(["A", "R", "G"]).values
    np.testing.assert_allclose(inside, [-0.8, -3.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(GRAVY(target=[None, 1.0])(["A", "R", "G"]).values, [-0.8, 0, 0], atol=1e-12)
    np.testing.assert_allclose(GRAVY(target=[0.0, None])(["A", "R", "G"]).values, np.minimum(values, 0))
    assert InstabilityIndex(target=[None, 40.0])([DOCUMENTED]).values[0] == pytest.approx(-1.98, abs=0.01)
    assert InstabilityIndex(target=[None, 40]).label == "instability index at most 40"
    assert InstabilityIndex().label == "minus instability index"


@pytest.mark.parametrize(
    ("design", "reason"),
    [
        ("MXK", "'X'"),
        ("MBZK", "'BZ'"),
        ("MK*", r"'\*'"),
        ("MUO", "'OU'"),
        ("M-K", "'-'"),
        ("mkx", "'x'"),
        ("", "empty"),
    ],
)
def test_what_is_no_protein_is_invalid_with_its_reason(design: str, reason: str) -> None:
    for reward in EVERY:
        scores = reward([design, "MKV"])
        assert list(scores.status) == [Status.INVALID, Status.OK] and np.isnan(scores.values[0])
        assert re.search(reason, scores.message[0])


def test_letters_are_read_in_either_case() -> None:
    for reward in EVERY:
        scores = reward(["mkv", "MkV", "MKV"])
        assert set(scores.status) == {Status.OK} and (scores.values == scores.values[2]).all()


def test_arrays_are_invalid() -> None:
    assert list(GRAVY()([np.zeros(3)]).status) == [Status.INVALID]


@pytest.mark.parametrize(
    "target", [[1.0], [2.0, 1.0], [None, None], [float("nan"), 1.0], [0.0, float("inf")]]
)
def test_a_window_must_be_two_rising_numbers(target: list[float | None]) -> None:
    with pytest.raises(ConfigError, match="target"):
        GRAVY(target=target)


@pytest.mark.parametrize("ph", [-1.0, 14.5, 1e6])
def test_a_ph_is_from_0_to_14(ph: float) -> None:
    with pytest.raises(ConfigError, match="ph"):
        NetCharge(ph=ph)

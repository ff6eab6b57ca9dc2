"""Measured scores, looked up."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Generator, Tensor

from gendesign.building import build, describe
from gendesign.errors import ConfigError, DataError, UnsupportedError
from gendesign.rewards.scores import Status
from gendesign.rewards.table import TableReward


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    path = tmp_path / "plate.csv"
    path.write_text("forward,reverse,score\nAAC,GTT,1.5\nACG,CGT,-0.25\nAAT,ATT,\nNA,NAN,7\nTAT,ATA,broken\n")
    return path


def test_values_are_looked_up_and_nothing_is_guessed(plate: Path) -> None:
    reward = TableReward(plate, designs=["forward", "reverse"], value="score", unit="E-score")
    scores = reward(["GTT", "ACG", "CCC", "AAT", "AAC", "NA", "NAN"])
    np.testing.assert_array_equal(scores.values, [1.5, -0.25, np.nan, np.nan, 1.5, 7, 7])
    assert [str(s) for s in scores.status] == ["OK", "OK", "INVALID", "INVALID", "OK", "OK", "OK"]
    assert "not among the 6 designs of plate.csv" in scores.message[2]
    assert reward.label == "score" and reward.unit == "E-score" and not reward.differentiable
    assert reward([np.zeros(3)]).status[0] is Status.INVALID


def test_a_column_is_one_strand_unless_more_are_named(plate: Path) -> None:
    reward = TableReward(plate, designs="forward", value="score", lower_is_better=True)
    scores = reward(["AAC", "GTT"])
    assert scores.values[0] == -1.5 and scores.status[1] is Status.INVALID


def test_designs_that_look_like_numbers_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "landscape.csv"
    path.write_text("sequence,value\n00,1\n01,2\n10,3\n11,4\n")
    reward = TableReward(path, alphabet="01")
    np.testing.assert_array_equal(reward(["01", "10", "00"]).values, [2, 3, 1])


def test_it_is_written_down_and_built_again(plate: Path) -> None:
    config = describe(TableReward(plate, designs=["forward", "reverse"], value="score"))
    assert build(config)(["CGT"]).values[0] == -0.25


def test_errors(plate: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no column 'sequence'; it has forward"):
        TableReward(plate, value="score")
    with pytest.raises(DataError, match="cannot read"):
        TableReward(tmp_path / "absent.csv")
    twice = tmp_path / "twice.csv"
    twice.write_text("sequence,value\nAC,1\nAC,2\n")
    with pytest.raises(DataError, match="two values"):
        TableReward(twice)


# Relaxed -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def landscape(tmp_path: Path) -> TableReward:
    """Every string of five letters over three, in an order of the alphabet that is not the computer's."""
    strings = ["".join(letters) for letters in itertools.product("ABC", repeat=5)]
    path = tmp_path / "landscape.csv"
    values = np.random.default_rng(0).normal(size=len(strings))
    pd.DataFrame({"sequence": strings, "value": values}).sample(frac=1, random_state=0).to_csv(
        path, index=False
    )
    return TableReward(path, alphabet="CAB")


def laws(num: int, *, length: int = 5) -> Tensor:
    return torch.rand(num, length, 3, dtype=torch.float64, generator=Generator().manual_seed(num)).softmax(-1)


def test_at_a_string_the_relaxed_value_is_the_table_s(landscape: TableReward) -> None:
    strings = ["".join(letters) for letters in itertools.product("CAB", repeat=5)]
    corners = torch.eye(3)[torch.cartesian_prod(*[torch.arange(3)] * 5)]
    np.testing.assert_array_equal(landscape.relaxed(corners).numpy(), landscape(strings).values)
    assert landscape.differentiable and landscape.alphabet == "CAB"


def test_the_relaxed_value_is_the_mean_over_independent_letters(landscape: TableReward) -> None:
    p = laws(4)
    expected = torch.zeros(4, dtype=torch.float64)
    for ids in itertools.product(range(3), repeat=5):
        chance = torch.stack([p[:, i, v] for i, v in enumerate(ids)]).prod(0)
        expected += chance * landscape.values["".join("CAB"[v] for v in ids)]
    torch.testing.assert_close(landscape.relaxed(p), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("place", range(5))
def test_it_is_linear_in_each_position(landscape: TableReward, place: int) -> None:
    one, other = laws(6), laws(6)
    other[:, place] = laws(7)[:6, place]
    between = torch.lerp(one, other, 0.3)
    mixed = torch.lerp(landscape.relaxed(one), landscape.relaxed(other), 0.3)
    torch.testing.assert_close(landscape.relaxed(between), mixed, rtol=1e-12, atol=1e-14)


def test_its_gradient(landscape: TableReward) -> None:
    """Against finite differences, and as what is left when a letter is settled: dr/dP(i, v) = r(P with v at i)."""
    p = laws(3).requires_grad_()
    assert torch.autograd.gradcheck(landscape.relaxed, (p,))
    (gradient,) = torch.autograd.grad(landscape.relaxed(p).sum(), p)
    for place, letter in itertools.product(range(5), range(3)):
        settled = p.detach().clone()
        settled[:, place] = torch.eye(3, dtype=torch.float64)[letter]
        torch.testing.assert_close(gradient[:, place, letter], landscape.relaxed(settled))


def test_single_precision_loses_only_its_own_digits(landscape: TableReward) -> None:
    p = laws(5)
    found = landscape.relaxed(p.float())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, landscape.relaxed(p.float().double()), rtol=0, atol=0)


def test_odd_and_single_lengths_have_two_halves_too(tmp_path: Path) -> None:
    for length in (1, 2, 3):
        strings = ["".join(letters) for letters in itertools.product("AB", repeat=length)]
        path = tmp_path / f"{length}.csv"
        pd.DataFrame({"sequence": strings, "value": range(len(strings))}).to_csv(path, index=False)
        reward = TableReward(path, alphabet="AB", lower_is_better=True)
        half = torch.full((1, length, 2), 0.5)
        assert reward.relaxed(half).item() == -(2**length - 1) / 2
        assert build(describe(reward)).relaxed(half).item() == reward.relaxed(half).item()


def test_what_was_not_measured_has_no_relaxed_value(
    plate: Path, landscape: TableReward, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError, match="not differentiable"):
        TableReward(plate, designs="forward", value="score").relaxed(laws(1))
    with pytest.raises(DataError, match="lengths; a relaxed value needs one"):
        TableReward(plate, designs="forward", value="score", alphabet="ACGT")
    holes = tmp_path / "holes.csv"
    holes.write_text("sequence,value\nAA,1\nAB,2\nBA,\nBB,3\n")
    with pytest.raises(DataError, match="each of the 4 strings .* over AB, and holes.csv has 3 of them"):
        TableReward(holes, alphabet="AB")
    with pytest.raises(DataError, match="has the letter 'B'"):
        TableReward(holes, alphabet="AC")
    with pytest.raises(ConfigError, match="each letter once"):
        TableReward(holes, alphabet="AAB")
    assert list(landscape(["CABCA", "CABC", "CABCX"]).status) == [Status.OK, Status.INVALID, Status.INVALID]
    for wrong in (torch.ones(1, 4, 3), torch.ones(1, 5, 4)):
        with pytest.raises(UnsupportedError, match="5 letters over CAB"):
            landscape.relaxed(wrong)

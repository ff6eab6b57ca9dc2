"""Measured scores, looked up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gendesign.building import build, describe
from gendesign.errors import ConfigError, DataError
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

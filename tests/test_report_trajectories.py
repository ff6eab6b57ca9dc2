"""The page of a synthetic set says what is in it, and what it cannot show."""

import dataclasses
import re

import numpy as np
import pytest
import torch

from gendesign.errors import DataError
from gendesign.report.trajectories import render_trajectories, write_trajectory_report
from gendesign.rl.collecting import collect
from gendesign.rl.dynamics import dynamics
from gendesign.rl.policies import Deterministic
from gendesign.rl.quality import coverage, parts_of, trajectory_quality
from gendesign.rl.swing_up import SwingUp
from gendesign.rl.trajectories import Trajectories

pytest.importorskip("gymnasium")


@pytest.fixture(scope="module")
def real() -> Trajectories:
    return collect("Pendulum-v1", num_steps=2000)


@pytest.fixture(scope="module")
def data(real) -> Trajectories:
    parts = parts_of(collect("Pendulum-v1", policies=["swing-up@0.3"], num_steps=400, seed=1).episodes, 20)
    rng = np.random.default_rng(0)
    rough = [
        dataclasses.replace(e, observations=e.observations + rng.normal(0, 0.05, e.observations.shape))
        for e in parts
    ]
    about = dataclasses.replace(
        real.about, observation_low=None, observation_high=None, provenance={"seed": 5}
    )
    return Trajectories.of(rough, about)


def test_the_page_has_every_figure_and_nothing_from_elsewhere(data, real, tmp_path):
    page = write_trajectory_report(
        data, tmp_path / "r.html", policy=SwingUp(0.3), real=real, command="the command"
    )
    text = page.read_text()
    ours = parts_of(real.episodes, 20)
    error = dynamics(data, spread=np.concatenate([e.observations for e in ours]).std(0)).error
    for value in (
        f"{trajectory_quality(data.episodes, ours):.2f}",
        f"{coverage(data.episodes, ours):.2f}",
        f"{error:#.3g}",
        "400",
        "the command",
        "seed: 5",
        "Pendulum-v1",
    ):
        assert value in text, value
    assert text.count("<svg") == 2 + 5 + 5
    assert not re.search(r'(src|href)="(?!data:|#)', text)
    if "cannot be drawn" not in text:
        assert text.count("data:image/png") == 16


@pytest.mark.whole
def test_what_cannot_be_shown_is_said(data):
    text = render_trajectories(dataclasses.replace(data, environment=""))
    for said in ("give real=FILE", "do not say their environment", "there was none"):
        assert said in text
    assert "TQ" not in text and "data:image" not in text


def test_a_network_in_single_precision_is_a_policy(data):
    text = render_trajectories(data, policy=Deterministic(torch.nn.Linear(3, 1), noise=0.2))
    assert "there was none" not in text


def test_some_episodes_stand_for_the_whole(data):
    text = render_trajectories(data, whole=(1_234_567, 76_543))
    assert "1,234,567" in text and "76,543 episodes" in text
    assert f"{len(data.episodes)} episodes, evenly spread" in text


def test_other_data_are_refused(data, real):
    other = dataclasses.replace(
        real,
        episodes=[dataclasses.replace(e, observations=e.observations[:, :2]) for e in real.episodes],
        observation_low=None,
        observation_high=None,
    )
    with pytest.raises(DataError, match="2 observations and 1 actions, the synthetic ones 3"):
        render_trajectories(data, real=other)

"""Real steps have no dynamics error, wrong ones have the error that was put into them."""

import dataclasses

import numpy as np
import pytest

from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rl.collecting import collect
from gendesign.rl.dynamics import Simulator, dynamics

pytest.importorskip("gymnasium")


def test_real_steps_of_a_pendulum_are_exact_and_wrong_ones_are_found():
    data = collect("Pendulum-v1", num_steps=400)
    found = dynamics(data, max_steps=None)
    assert len(found.steps) == 400 and not found.ends.any() and found.skipped == 0
    assert found.error < 1e-6 and np.abs(found.rewards).max() < 1e-5
    off = [0.0, 0.0, 0.5]
    spread = np.array([1.0, 1.0, 2.0])
    wrong = [
        dataclasses.replace(
            e, observations=e.observations + np.arange(2)[(np.arange(201) == 7).astype(int)][:, None] * off
        )
        for e in data.episodes
    ]
    moved = dynamics(wrong, "Pendulum-v1", max_steps=None, spread=spread)
    hit = moved.steps[:, 1] == 6  # of a step, the observation after it
    assert np.allclose(moved.observations[hit], off, atol=1e-5)
    assert np.allclose(moved.each[hit], np.sqrt((0.25**2) / 3), atol=1e-5)
    assert (moved.each[(moved.steps[:, 1] < 6) | (moved.steps[:, 1] > 7)] < 1e-5).all()
    longer = dynamics(data, max_steps=50, seed=1)
    assert len(longer.steps) == 50 and longer.error < 1e-6


@pytest.mark.parametrize("name", ["Hopper-v5", "HalfCheetah-v5"])
def test_real_steps_of_mujoco_are_exact(name):
    pytest.importorskip("mujoco")
    data = collect(name, num_steps=100)
    found = dynamics(data)
    assert found.error < 1e-9 and np.abs(found.rewards).max() < 1e-9 and not found.ends.any()
    assert len(found.steps) + found.skipped == data.num_steps


def test_clipped_velocities_do_not_tell_the_state():
    pytest.importorskip("mujoco")
    hopper = Simulator("Hopper-v5")
    seen = np.zeros(11)
    assert hopper.known(seen)
    seen[-1] = 10.0
    assert not hopper.known(seen)


def test_refusals():
    data = collect("Pendulum-v1", num_steps=10)
    with pytest.raises(ConfigError, match="do not say their environment"):
        dynamics(dataclasses.replace(data, environment=""))
    with pytest.raises(ConfigError, match="no environment"):
        dynamics(data, "Nothing-v0")
    with pytest.raises(UnsupportedError, match=r"state cannot be set.*Pendulum-v1"):
        dynamics(data, "MountainCarContinuous-v0")
    pytest.importorskip("mujoco")
    with pytest.raises(ConfigError, match="Hopper-v5 has observations of 11 numbers, the trajectories 3"):
        dynamics(data, "Hopper-v5")

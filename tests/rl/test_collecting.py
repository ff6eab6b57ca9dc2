"""The same words collect the same data, from poor to good."""

import gymnasium
import numpy as np
import pytest

from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rl.collecting import collect

pytest.importorskip("gymnasium")


def lazy(observation):
    return np.zeros(1)


def wrong(observation):
    return np.zeros(2)


def test_deterministic_and_from_poor_to_good():
    first = collect("Pendulum-v1", num_steps=3000, seed=3)
    again = collect("Pendulum-v1", num_steps=1000, seed=3)
    for a, b in zip(first.episodes, again.episodes, strict=False):
        assert np.array_equal(a.observations, b.observations) and np.array_equal(a.actions, b.actions)
    assert [len(e) for e in first.episodes] == [200] * 15
    assert all(e.truncations[-1] and not e.terminations.any() for e in first.episodes)
    returns = first.returns().reshape(3, 5).mean(0)
    assert returns[0] < -800 and returns[-1] > -400
    assert '"Pendulum-v1"' in first.environment and first.provenance["seed"] == 3
    assert not np.array_equal(
        collect("Pendulum-v1", num_steps=1, seed=4).episodes[0].actions, first.episodes[0].actions
    )


def test_a_users_function_with_and_without_noise():
    data = collect("Pendulum-v1", policies=[f"{__name__}:lazy", f"{__name__}:lazy@0.1"], num_steps=400)
    still, noisy = data.episodes
    assert not still.actions.any() and 0.1 < noisy.actions.std() < 0.3


@pytest.mark.parametrize(
    ("name", "policies", "error", "message"),
    [
        ("Nothing-v0", [], ConfigError, "no environment"),
        ("CartPole-v1", [], UnsupportedError, "one-hot"),
        ("Pendulum-v1", ["good"], ConfigError, "no policy 'good'"),
        ("Pendulum-v1", ["random@loud"], ConfigError, "number after @"),
        ("Pendulum-v1", ["nowhere.at.all:f"], ConfigError, "cannot be imported"),
        ("Pendulum-v1", ["math:pi"], ConfigError, "no function"),
        ("Pendulum-v1", [f"{__name__}:wrong"], ConfigError, "shape"),
    ],
)
def test_refusals(name, policies, error, message):
    with pytest.raises(error, match=message):
        collect(name, policies=policies, num_steps=10)


class InPlace(gymnasium.Env):
    """Counts its steps in one array, which it hands out."""

    observation_space = gymnasium.spaces.Box(0, 9, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        self.count = np.zeros(1, dtype=np.float32)
        return self.count, {}

    def step(self, action):
        self.count += 1
        return self.count, 0.0, False, False, {}


def test_an_environment_of_ones_own_may_write_in_place_and_be_registered_by_its_class():
    gymnasium.register("InPlace-v0", entry_point=InPlace, max_episode_steps=4)
    found = collect("InPlace-v0", num_steps=4)
    assert found.episodes[0].observations.ravel().tolist() == [0, 1, 2, 3, 4]
    assert found.environment == ""  # a class has no name in JSON

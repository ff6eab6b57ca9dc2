"""Filters: which episodes stay, where they are cut, and that the learned one tells true dynamics from false."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from gendesign.errors import ConfigError, DataError
from gendesign.rl.dynamics_filter import DynamicsFilter
from gendesign.rl.filter_words import named_filters
from gendesign.rl.filters import ReturnFilter, TerminalFilter, filtered, shortened
from gendesign.rl.replay import Replay
from gendesign.rl.trajectories import Episode, Trajectories
from gendesign.rl.world_model import WorldModel


def chain(length=20, *, seed=0, wrong_at=None, terminal=5.0):
    """s' = s + .1 a + .05, from 0 up to `terminal`, where it ends."""
    draw = np.random.default_rng(seed)
    s = [draw.uniform(-1, 1, 1)]
    actions = draw.uniform(-1, 1, (length, 1))
    for t, a in enumerate(actions):
        s.append(s[-1] + 0.1 * a + 0.05 + (0.6 if t == wrong_at else 0.0))
        if s[-1][0] >= terminal:
            break
    steps = len(s) - 1
    over = np.zeros(steps, bool)
    over[-1] = s[-1][0] >= terminal
    late = np.zeros(steps, bool)
    late[-1] = not over[-1]
    return Episode(np.array(s), actions[:steps], np.full(steps, float(seed % 4)), over, late)


def of(*episodes):
    return Trajectories(episodes, np.array([-1.0]), np.array([1.0]))


def test_returns_weigh_and_thin():
    real = of(*[chain(10, seed=i) for i in range(400)])  # returns 0, 10, 20, 30 in equal numbers
    found = ReturnFilter(temperature=0.5).fit(real)
    expected = np.exp((np.array([0, 1 / 3, 2 / 3, 1]) - 1) / 0.5)
    assert np.allclose(found.weights(real.episodes[:4]), expected)
    kept = filtered(real, [found], seed=1)
    shares = [np.mean([e.rewards[0] == value for e in kept.episodes]) for value in range(4)]
    assert np.allclose(shares, expected / expected.sum(), atol=0.06)
    assert np.array_equal(kept.returns(), filtered(real, [found], seed=1).returns())
    assert kept.provenance["filters"][0]["episodes"] == len(kept.episodes)
    replay = Replay.of(real, weights=[found.weights(real.episodes)])
    assert replay.probability[:10].sum() / replay.probability[30:40].sum() == pytest.approx(math.exp(-2))
    assert (ReturnFilter().fit(of(chain())).weights([chain()]) == 1).all()  # a single return tells nothing


def test_a_piece_of_a_bad_episode_is_no_good_one():
    """Costs of -8, -4 and -.05 a step: two steps of the worst cost less than 32 of any, and are as bad."""
    costs = [np.full(32, cost) for cost in (-8.0, -4.0, -0.05)]
    whole = [replace(chain(32), rewards=cost) for cost in costs]
    found = ReturnFilter(temperature=0.2).fit(of(*whole))
    worst, mediocre, _ = found.weights(whole)
    stump = shortened(whole[0], 2)
    assert len(stump) == 2 and found.weights([stump])[0] == pytest.approx(worst) and worst < mediocre / 5
    over = np.array([False, True])
    assert (
        found.weights([replace(stump, terminations=over, truncations=~over & False)])[0] > 0.7
    )  # an end is an end


def test_ends_agree_with_real_ones():
    real = of(*[chain(40, seed=i, terminal=1.5) for i in range(200)])
    assert 5 < sum(e.terminations[-1] for e in real.episodes) < 200
    rule = TerminalFilter().fit(real)
    good = [chain(40, seed=i, terminal=1.5) for i in range(100, 130)]
    agreeing = np.mean([np.array_equal(rule.ends(e), e.terminations) for e in good])
    assert agreeing > 0.8
    noise = np.random.default_rng(0)
    on = chain(60, seed=8, terminal=9.0)  # goes on beyond 1.5
    first = int(np.flatnonzero(on.observations[1:, 0] >= 1.5)[0])
    cut = rule.keep(on, generator=noise)
    assert abs(len(cut) - (first + 1)) <= 1 and cut.terminations[-1] and not cut.truncations.any()
    short = shortened(chain(40, seed=3, terminal=1.5), 4)
    false = Episode(short.observations, short.actions, short.rewards, short.truncations, short.terminations)
    assert rule.keep(short, generator=noise) is short and rule.keep(false, generator=noise) is None
    mended = TerminalFilter(repair=True).fit(real).keep(false, generator=noise)
    assert mended.truncations[-1] and not mended.terminations.any()
    of(cut, mended)  # they are episodes
    never = TerminalFilter().fit(of(chain(10)))
    assert never.keep(false, generator=noise) is None


def test_the_learned_filter_cuts_where_dynamics_are_false():
    real = of(*[chain(seed=i) for i in range(100)])
    small = {"steps": 100, "width": 16, "discriminators": 2, "batch_size": 64, "quantile": 0.02, "lr": 5e-3}
    rule = DynamicsFilter(**small).fit(real)
    true = [chain(seed=i) for i in range(500, 540)]
    false = [chain(seed=i, wrong_at=12) for i in range(500, 540)]
    noise = np.random.default_rng(0)
    whole = np.mean([rule.keep(e, generator=noise) is e for e in true])
    cut = [rule.keep(e, generator=noise) for e in false]
    assert whole > 0.5
    assert np.mean([e is None or len(e) <= 12 for e in cut]) > 0.95
    lengths = [len(e) for e in cut if e is not None]
    assert np.mean(np.array(lengths) == 12) > 0.5
    of(*[e for e in cut if e is not None])
    again = DynamicsFilter(**small).fit(real)
    assert np.array_equal(rule.rewards(true[0]), again.rewards(true[0]))


def test_a_world_model_learns_the_chain_and_rolls_out():
    real = of(*[chain(seed=i) for i in range(100)])
    model = WorldModel(steps=150, width=32, batch_size=64, lr=3e-3).fit(real)
    starts = np.linspace(-0.5, 0.5, 50)[:, None]
    made = model.rollout(
        starts,
        lambda s: torch.full_like(s, 3.0),
        horizon=5,
        generator=torch.Generator().manual_seed(0),
        like=real,
    )
    assert len(made.episodes) == 50 and {len(e) for e in made.episodes} == {5}
    assert all((e.actions == 1).all() for e in made.episodes)  # clipped to the bound
    moved = np.concatenate([np.diff(e.observations, axis=0) for e in made.episodes])
    assert moved.mean() == pytest.approx(0.15, abs=0.02) and moved.std() < 0.03


def test_refusals():
    with pytest.raises(ConfigError, match="must be fitted"):
        filtered(of(chain()), [ReturnFilter()])
    with pytest.raises(ConfigError, match="temperature"):
        ReturnFilter(temperature=0.0)
    with pytest.raises(ConfigError, match="quantile"):
        DynamicsFilter(quantile=1.0)
    rule = ReturnFilter(temperature=1e-3).fit(of(chain(seed=0), chain(seed=3)))
    with pytest.raises(DataError, match="left none of 1"):
        filtered(of(chain(seed=0)), [rule])


def test_only_returns_need_real_episodes_of_the_horizon():
    """Where real episodes end early, ends are what is to be compared."""
    short = of(chain(5, terminal=0.5), chain(7, seed=1, terminal=0.5))
    (found,) = named_filters(["terminal"], short, horizon=31)
    assert isinstance(found, TerminalFilter)
    with pytest.raises(DataError, match="31 transitions"):
        named_filters(["terminal", "return"], short, horizon=31)

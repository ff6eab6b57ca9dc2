"""Quality and coverage of data sets whose answers are known."""

import numpy as np
import pytest

from gendesign.errors import ConfigError, DataError
from gendesign.rl.filter_words import named_filters
from gendesign.rl.quality import coverage, parts_of, returns_of, trajectory_quality
from gendesign.rl.trajectories import Episode, Trajectories


def episode(observations, rewards) -> Episode:
    steps = len(rewards)
    last = np.arange(steps) == steps - 1
    seen = np.asarray(observations, float)[:, None]
    return Episode(seen, np.zeros((steps, 1)), np.asarray(rewards, float), np.zeros(steps, bool), last)


def test_quality_runs_from_the_worst_to_the_best_tenth():
    real = [episode([0, 0], [value]) for value in range(100)]
    assert trajectory_quality(real[:10], real) == pytest.approx(0)
    assert trajectory_quality(real[-10:], real) == pytest.approx(1)
    assert trajectory_quality(real, real) == pytest.approx(0.5)
    assert np.isnan(trajectory_quality(real, [real[3]]))


def test_coverage_counts_cells_of_as_many_transitions():
    real = [episode(np.linspace(0, 1, 101), np.zeros(100))]
    assert coverage(real, real) == 1
    half = [episode(np.linspace(0, 0.499, 101), np.zeros(100))]
    assert coverage(half, real) == 0.5
    still = [episode(np.zeros(1001), np.zeros(1000))]
    assert coverage(still, real) == 0.1  # however many they are
    assert coverage(half, real, bins=2) == 0.5


def test_parts_follow_one_another_and_keep_terminations():
    whole = episode(np.arange(8), np.arange(7.0))
    ended = Episode(
        *(getattr(whole, n) for n in ("observations", "actions", "rewards", "truncations", "terminations"))
    )
    parts = parts_of([whole, ended], 3)
    assert [p.observations[:, 0].tolist() for p in parts[:2]] == [[0, 1, 2, 3], [3, 4, 5, 6]]
    assert all(p.truncations[-1] for p in parts) and returns_of(parts).tolist() == [3, 12, 3, 12]
    (last,) = parts_of([ended], 7)
    assert last.terminations[-1] and not last.truncations.any()
    with pytest.raises(DataError, match="has 9 transitions"):
        parts_of([whole], 9)


def test_filters_by_a_word_are_fitted_to_parts_of_the_same_length():
    real = Trajectories([episode(np.arange(9), np.arange(8.0))])
    (good,) = named_filters(["return@0.5"], real, horizon=2)
    assert (good.worst, good.best, good.temperature) == (1, 13, 0.5)
    assert named_filters([], None, horizon=2) == []
    for words, data, message in (
        (["better"], real, "no filter 'better'"),
        (["terminal@3"], real, "no filter"),
        (["return@much"], real, "number after @"),
        (["return"], None, "real=FILE"),
    ):
        with pytest.raises(ConfigError, match=message):
            named_filters(words, data, horizon=2)

"""Modifiers have the shapes that they state, deviations and gradients too."""

import math

import numpy as np
import pytest
import torch

from gendesign.building import build, describe
from gendesign.errors import ConfigError
from gendesign.rewards import (
    Clipped,
    DifferentiableReward,
    Gaussian,
    GCContent,
    GeometricMean,
    MaxGaussian,
    MinGaussian,
    Reward,
    Scores,
    Status,
)


class Number(DifferentiableReward):
    """The number that a design spells, known to 0.5; `relaxed` takes it from x [B, 1]."""

    unit = "units"

    def relaxed(self, x):  # type: ignore[no-untyped-def]
        return x[:, 0]

    def relaxed_moments(self, x):  # type: ignore[no-untyped-def]
        return self.relaxed(x), torch.full((len(x),), 0.5, dtype=x.dtype)

    def score(self, designs):  # type: ignore[no-untyped-def]
        values = np.array([float(design) for design in designs])
        return Scores(values, std=np.full(len(values), 0.5))


POINTS = ["-1", "0.5", "2", "3", "4.5"]
x = np.array([float(point) for point in POINTS])
bell = np.exp(-((x - 2) ** 2) / (2 * 1.5**2))
SHAPES = [
    (Gaussian(Number(), mu=2.0, sigma=1.5), bell),
    (MinGaussian(Number(), mu=2.0, sigma=1.5), np.where(x <= 2, 1, bell)),
    (MaxGaussian(Number(), mu=2.0, sigma=1.5), np.where(x >= 2, 1, bell)),
    (Clipped(Number(), upper=4.0), np.clip(x / 4, 0, 1)),
    (Clipped(Number(), upper=1.0, lower=3.5), np.clip((3.5 - x) / 2.5, 0, 1)),
]


@pytest.mark.parametrize(("reward", "values"), SHAPES, ids=lambda v: getattr(v, "name", ""))
def test_values_deviations_and_gradients_follow_the_curve(reward: Reward, values: np.ndarray) -> None:
    scores = reward(POINTS)
    np.testing.assert_allclose(scores.values, values, rtol=1e-12)
    points = torch.tensor(x)[:, None].requires_grad_()
    mean, std = reward.relaxed_moments(points)
    np.testing.assert_allclose(mean.detach(), values, rtol=1e-12)
    (gradient,) = torch.autograd.grad(mean.sum(), points)
    np.testing.assert_allclose(scores.std, gradient[:, 0].abs() * 0.5, atol=1e-12)
    np.testing.assert_allclose(std.detach(), scores.std, atol=1e-12)
    assert reward.unit == "of 1" and "Number" in reward.name
    assert build(describe(MinGaussian(GCContent(), mu=0.3, sigma=0.1)))(["AACG"]).values[0] < 1


def test_a_geometric_mean_is_the_root_of_the_product() -> None:
    parts = [Clipped(Number(), upper=4.0), MaxGaussian(Number(), mu=2.0, sigma=1.5)]
    reward = GeometricMean(parts)
    a, b = (part(POINTS).values for part in parts)
    scores = reward(POINTS)
    np.testing.assert_allclose(scores.values, np.sqrt(a * b), rtol=1e-12)
    assert scores.values[0] == 0 and scores.std[0] == 0
    stds = [part(POINTS).std for part in parts]
    i = 1
    expected = scores.values[i] / 2 * math.hypot(stds[0][i] / a[i], stds[1][i] / b[i])
    assert scores.std[i] == pytest.approx(expected)
    inner = torch.tensor(x[1:])[:, None].requires_grad_()
    assert torch.autograd.grad(reward.relaxed(inner).sum(), inner)[0].isfinite().all()


def test_a_geometric_mean_of_nothing_has_a_gradient_of_nothing() -> None:
    """The root is infinitely steep at 0, where a part that is flat there would make its gradient NaN."""
    x = torch.full((1, 8, 4), 0.25, requires_grad=True)
    far = MaxGaussian(GCContent(), mu=0.9, sigma=0.01)
    value = GeometricMean([far, GCContent()]).relaxed(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    assert value.item() == 0.0 and (slope == 0).all()


def test_a_geometric_mean_has_no_value_where_a_part_is_negative() -> None:
    scores = GeometricMean([Number(), Number()])(["-1", "4"])
    assert list(scores.status) == [Status.INVALID, Status.OK] and scores.values[1] == 4
    assert "Number is -1" in scores.message[0]


def test_a_missing_part_is_not_guessed() -> None:
    class Broken(Reward):
        def score(self, designs):  # type: ignore[no-untyped-def]
            raise ValueError("broken")

    scores = GeometricMean([Clipped(Number(), upper=1.0), Clipped(Broken(), upper=1.0)])(["-1", "1"])
    assert set(scores.status) == {Status.FAILED} and "broken" in scores.message[0]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="sigma"):
        Gaussian(GCContent(), mu=0.0, sigma=0.0)
    with pytest.raises(ConfigError, match="two different"):
        Clipped(GCContent(), upper=0.0)
    with pytest.raises(ConfigError, match="needs rewards"):
        GeometricMean([])

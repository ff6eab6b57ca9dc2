"""Distances between laws: analytic values on Gaussians, invariances, and what they notice."""

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import energy_distance as energy_1d

from gendesign.errors import DesignError
from gendesign.metrics.fidelity import (
    covariance,
    energy_distance,
    frechet_distance,
    gaussian_frechet,
    matrix_root,
)

rng = np.random.default_rng(0)


def normal(n: int, mean: float = 0.0, std: float = 1.0, d: int = 1) -> np.ndarray:
    return mean + std * np.random.default_rng(n + d).standard_normal((n, d))


def mean_absolute(mean: float, std: float) -> float:
    """E|Z| of Z ~ N(mean, std^2)."""
    return std * math.sqrt(2 / math.pi) * math.exp(-(mean**2) / (2 * std**2)) + mean * math.erf(
        mean / (std * math.sqrt(2))
    )


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.0, 1.0), (0.5, 2.0)])
def test_energy_distance_of_gaussians(mean: float, std: float) -> None:
    exact = 2 * mean_absolute(mean, math.sqrt(1 + std**2)) - (1 + std) * 2 / math.sqrt(math.pi)
    found = energy_distance(normal(4000), normal(3000, mean, std))
    assert found == pytest.approx(exact, abs=0.03)


def test_energy_distance_of_points_is_that_of_scipy_in_one_dimension() -> None:
    x, y = rng.standard_normal((40, 1)), rng.standard_normal((30, 1)) + 0.3
    # scipy gives the root, of the distributions of the points themselves
    assert energy_distance(x, y, unbiased=False) == pytest.approx(energy_1d(x[:, 0], y[:, 0]) ** 2, rel=1e-9)
    # without the distances of points to themselves, written out
    within = sum(abs(a - b) for a in x for b in x) / (40 * 39) + sum(abs(a - b) for a in y for b in y) / (
        30 * 29
    )
    between = sum(abs(a - b) for a in x for b in y) / (40 * 30)
    assert energy_distance(x, y) == pytest.approx(float((2 * between - within)[0]), rel=1e-9)


def test_energy_distance_is_centred_on_zero_for_one_law_and_never_negative_when_biased() -> None:
    draws = [rng.standard_normal((2, 20, 3)) for _ in range(400)]
    unbiased = np.array([energy_distance(*pair) for pair in draws])
    assert abs(unbiased.mean()) < 4 * unbiased.std() / 20 and unbiased.min() < 0
    assert min(energy_distance(*pair, unbiased=False) for pair in draws) > 0
    assert energy_distance(draws[0][0], draws[0][0], unbiased=False) == pytest.approx(0, abs=1e-7)


def rotation(d: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((d, d)))[0]


@pytest.mark.parametrize(("distance", "power"), [(energy_distance, 1), (frechet_distance, 2)])
def test_distances_ignore_order_shift_and_rotation_and_scale_with_the_unit(distance, power) -> None:  # type: ignore[no-untyped-def]
    x, y = rng.standard_normal((50, 4)), rng.standard_normal((60, 4)) * 1.5 + 0.3
    value = distance(x, y)
    assert distance(y, x) == pytest.approx(value, rel=1e-6)
    assert distance(rng.permutation(x), y) == pytest.approx(value, rel=1e-6)
    turn = rotation(4)
    assert distance(x @ turn, y @ turn) == pytest.approx(value, rel=1e-6)
    assert distance(x + 1e7, y + 1e7) == pytest.approx(value, rel=1e-4)
    assert distance(3 * x, 3 * y) == pytest.approx(3**power * value, rel=1e-6)


def test_energy_distance_in_blocks_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rng.standard_normal((50, 4)), rng.standard_normal((60, 4))
    whole = energy_distance(x, y)
    monkeypatch.setattr("gendesign.metrics.fidelity._BLOCK", 7)
    assert energy_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_frechet_distance_of_gaussians() -> None:
    # independent coordinates: sum of (m1 - m2)^2 + (s1 - s2)^2
    mean, scale = np.array([1.0, 0.0, -2.0]), np.array([1.0, 2.0, 0.5])
    value = gaussian_frechet(np.zeros(3), np.eye(3), mean, np.diag(scale**2))
    assert value == pytest.approx((mean**2).sum() + ((1 - scale) ** 2).sum(), rel=1e-12)
    x = rng.standard_normal((20000, 3))
    y = mean + scale * rng.standard_normal((20000, 3))
    assert frechet_distance(x, y) == pytest.approx(value, rel=0.03)


def test_frechet_distance_of_covariances_that_do_not_commute() -> None:
    a, b = (covariance(rng.standard_normal((30, 5)) @ rng.standard_normal((5, 5))) for _ in range(2))
    exact = np.trace(a + b - 2 * np.real(sqrtm(a @ b)))
    assert gaussian_frechet(np.zeros(5), a, np.zeros(5), b) == pytest.approx(exact, rel=1e-9)


def test_frechet_distance_stands_singular_covariances() -> None:
    flat = np.diag([1.0, 0.0, 0.0])
    assert gaussian_frechet(np.zeros(3), flat, np.zeros(3), flat) == pytest.approx(0, abs=1e-12)
    assert gaussian_frechet(np.zeros(3), flat, np.zeros(3), np.diag([0.0, 4.0, 0.0])) == pytest.approx(5)
    few = rng.standard_normal((4, 50))  # fewer vectors than dimensions
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-9)


def test_root_and_covariance() -> None:
    x = rng.standard_normal((30, 4))
    np.testing.assert_allclose(covariance(x), np.cov(x.T), rtol=1e-12)
    root = matrix_root(covariance(x))
    np.testing.assert_allclose(root @ root, covariance(x), rtol=1e-10)
    np.testing.assert_allclose(root, root.T, rtol=1e-12)


@pytest.mark.parametrize("distance", [energy_distance, frechet_distance])
def test_sets_that_cannot_be_compared_are_errors(distance) -> None:  # type: ignore[no-untyped-def]
    good = np.zeros((3, 2))
    for bad in (np.zeros((3, 1)), np.zeros(3), np.zeros((1, 2))):
        with pytest.raises(DesignError, match="two sets"):
            distance(good, bad)
    with pytest.raises(DesignError, match="finite"):
        distance(good, np.full((3, 2), np.nan))

"""How far two sets of vectors are apart as samples of two laws: energy distance and Frechet distance.

Energy distance of laws P and Q, with X, X' ~ P and Y, Y' ~ Q independent:

    E(P, Q) = 2 E|X - Y| - E|X - X'| - E|Y - Y'|   >= 0,   0 only if P = Q.

Frechet distance of the Gaussians with the same means and covariances, which is their squared Wasserstein-2 distance:

    F(P, Q) = |m_P - m_Q|^2 + tr(C_P + C_Q - 2 (C_P^(1/2) C_Q C_P^(1/2))^(1/2)).

The energy distance sees every difference and needs no features; between images it is ruled by the coarse ones. The
Frechet distance sees means and covariances only: in the features of a classifier it measures what a class looks like.
It is biased upwards in small samples, so only values at equal sample sizes can be compared. How sure either is over
repeated samples says `gendesign.metrics.summary.bootstrap_interval` of its values.

References: Szekely and Rizzo 2013, Energy statistics: a class of statistics based on distances, J. Statistical Planning
and Inference 143:1249. Dowson and Landau 1982, The Frechet distance between multivariate normal distributions, J.
Multivariate Analysis 12:450. Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, arXiv 1706.08500
(between features of images).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gendesign.errors import DesignError

Floats = NDArray[np.float64]

_BLOCK = 1024
"""Rows whose distances are in memory at once."""


def energy_distance(first: ArrayLike, second: ArrayLike, *, unbiased: bool = True) -> float:
    """Energy distance between the laws of two samples.

    Args:
        first: n vectors, shape [n, d].
        second: m vectors, shape [m, d].
        unbiased: leave out the distances of vectors to themselves: the mean is then the laws' own distance (so it
            may be below 0). Otherwise the distance between the two samples as they are, at least 0.

    Returns:
        E, in the vectors' unit (not its root).

    Raises:
        DesignError: not two sets of vectors of one length, with at least two each, or numbers that are not finite.
    """
    x, y = _samples(first, second)
    n, m = len(x), len(y)
    within = n * (n - 1), m * (m - 1)
    if not unbiased:
        within = n * n, m * m
    return 2 * _total(x, y) / (n * m) - _total(x, x) / within[0] - _total(y, y) / within[1]


def frechet_distance(first: ArrayLike, second: ArrayLike) -> float:
    """Frechet distance between Gaussian fits to two samples.

    Args:
        first: n vectors, shape [n, d], such as a classifier's features.
        second: m vectors, shape [m, d].

    Returns:
        F, in the square of the vectors' unit, at least 0.

    Raises:
        DesignError: as in `energy_distance`.
    """
    x, y = _samples(first, second)
    return gaussian_frechet(x.mean(0), covariance(x), y.mean(0), covariance(y))


def gaussian_frechet(first_mean: Floats, first_cov: Floats, second_mean: Floats, second_cov: Floats) -> float:
    """Frechet distance between two Gaussians, given means [d] and covariances [d, d].

    The trace of the root of the product is the sum of singular values of C_P^(1/2) C_Q^(1/2). Unlike the root of the
    product itself, it is real and stable where a covariance is singular.
    """
    roots = matrix_root(first_cov) @ matrix_root(second_cov)
    cross = np.linalg.svd(roots, compute_uv=False).sum()
    distance = (
        ((first_mean - second_mean) ** 2).sum() + np.trace(first_cov) + np.trace(second_cov) - 2 * cross
    )
    return max(float(distance), 0.0)


def covariance(x: Floats) -> Floats:
    """Covariance of the columns, unbiased, [d, d]."""
    centred = x - x.mean(0)
    product: Floats = centred.T @ centred / (len(x) - 1)
    return product


def matrix_root(matrix: Floats) -> Floats:
    """Symmetric root of a symmetric matrix without negative eigenvalues (tiny ones of rounding count as 0)."""
    values, vectors = np.linalg.eigh(matrix)
    root: Floats = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


def _samples(first: ArrayLike, second: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise DesignError(
            f"expected two sets of at least two vectors, [n, d] and [m, d], got shapes {x.shape} and {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DesignError("expected finite numbers, got NaN or infinite ones; leave those vectors out")
    centre = y.mean(0)  # both distances are the same after a shift, and precise only near the origin
    return x - centre, y - centre


def _total(x: Floats, y: Floats) -> float:
    """Sum of the distances |x_i - y_j| over all pairs."""
    total = 0.0
    squares = (y**2).sum(1)
    for start in range(0, len(x), _BLOCK):
        block = x[start : start + _BLOCK]
        squared = (block**2).sum(1)[:, None] + squares - 2 * block @ y.T
        total += float(np.sqrt(squared.clip(0)).sum())
    return total

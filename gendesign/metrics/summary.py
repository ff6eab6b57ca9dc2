"""What is measured of a set of designs: likeness, diversity, novelty, and how sure the figures are.

Distances come from `distances`, spectra and copied stretches from `kmers`, comparison with natural sequences from
`reference`, this package's other files; all are offered here under one name.
"""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from gendesign.designs import Design, key
from gendesign.errors import DesignError
from gendesign.metrics.distances import (
    Distance,
    gc_content,
    longest_run,
    mean_pairwise_distance,
    nearest_array,
    nearest_distance,
    num_distinct,
    pairwise_distance,
    unique_fraction,
)
from gendesign.metrics.kmers import (
    Floats,
    copied_fraction,
    hash_kmers,
    kmer_spectrum,
    longest_copied,
    spectrum_correlation,
)
from gendesign.metrics.reference import PERCENTILES, Reference, novelty
from gendesign.metrics.reference_builder import build_reference

__all__ = [
    "PERCENTILES",
    "Reference",
    "bootstrap_interval",
    "build_reference",
    "copied_fraction",
    "diverse_subset",
    "gc_content",
    "hash_kmers",
    "kmer_spectrum",
    "longest_copied",
    "longest_run",
    "mean_pairwise_distance",
    "nearest_array",
    "nearest_distance",
    "novelty",
    "num_distinct",
    "pairwise_distance",
    "percentile_of",
    "spectrum_correlation",
    "unique_fraction",
]


_DRAWN = 2**22  # numbers in memory while resampling
CANDIDATES = 4096
"""Designs among which a shortlist is chosen, at least; of more, the best so many."""


def percentile_of(values: Floats, quantiles: Floats) -> Floats:
    """How much of a population lies below values, from its quantiles, linear between them.

    Args:
        values: any shape; NaN stays NaN.
        quantiles: the population's values at percentiles 0, 1, ..., 100, shape [101].

    Returns:
        percentiles in [0, 100], shape of `values`: the part of the population that is smaller, in per cent. A
        value that much of the population shares is not above those who share it.
    """
    values = np.asarray(values, dtype=np.float64)
    first, after = (np.searchsorted(quantiles, values, side=side) for side in ("left", "right"))
    shared = after - first > 1
    below = np.where(shared, np.minimum(first, 100), np.interp(values, quantiles, PERCENTILES))
    return np.where(np.isnan(values), np.nan, below)


def bootstrap_interval(
    values: Floats,
    statistic: Callable[..., Floats] = np.median,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of independent values.

    Args:
        values: shape [n]; NaN are left out.
        statistic: called with an array of shape [resamples, n] and `axis=1`.
        level: coverage aimed at, in (0, 1).
        resamples: number of resamples.
        seed: of the resampling.

    Returns:
        lower and upper end; NaN where no value is left.

    Reference:
        B. Efron, "Bootstrap methods: another look at the jackknife", 1979.
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    drawn = resampled(values, statistic, resamples=resamples, rng=np.random.default_rng(seed))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resampled(
    values: Floats, statistic: Callable[..., Floats], *, resamples: int, rng: np.random.Generator
) -> Floats:
    """A statistic of random draws of as many values with replacement, shape [resamples]; not all in memory at once."""
    size = max(1, _DRAWN // max(1, len(values)))
    parts = [
        statistic(values[rng.integers(len(values), size=(min(size, resamples - done), len(values)))], axis=1)
        for done in range(0, resamples, size)
    ]
    return np.concatenate(parts)


def diverse_subset(
    values: Floats,
    designs: Sequence[Design],
    n: int,
    *,
    diversity: float = 0.5,
    maximise: bool = True,
    distance: Distance = pairwise_distance,
) -> NDArray[np.int64]:
    """Choose up to n designs that score well and differ from each other: maximal marginal relevance.

    The best design comes first. Then, again and again, the design i with the largest

        (1 - diversity) rank_i + diversity min_{j chosen} d_ij / max d

    where rank_i in [0, 1] is the design's rank by value among the candidates (1 for the best; equal values
    share a rank) and d is `distance`. Ties go to the earlier design. Designs with a NaN value and
    copies of a design already chosen are never chosen, so fewer than n may come back. Of more than 4,096 designs (or
    4 n), the best so many are candidates.

    Args:
        values: one value a design, any unit; NaN excludes.
        designs: B strings, or B arrays of one shape.
        n: how many to choose, at least 1.
        diversity: 0 ranks by value alone, 1 spreads as far as possible.
        maximise: whether larger values are better.
        distance: of all pairs; NaN counts as far apart.

    Returns:
        indices of the chosen designs, in the order of choice, shape [at most n].

    Raises:
        DesignError: n < 1, `diversity` outside [0, 1], or values and designs of different number.

    Reference:
        J. Carbonell and J. Goldstein, "The use of MMR, diversity-based reranking", SIGIR 1998; with
        diversity=1 it is the 2-approximation of max-min dispersion of Ravi, Rosenkrantz and Tayi, 1994.
    """
    values = np.asarray(values, dtype=np.float64)
    if n < 1:
        raise DesignError(f"expected to choose at least 1 design, but came n={n}")
    if not 0 <= diversity <= 1:
        raise DesignError(f"diversity must be in [0, 1], but came {diversity}")
    if values.shape != (len(designs),):
        raise DesignError(
            f"expected one value for each of {len(designs)} designs, but came shape {values.shape}"
        )
    values = values if maximise else -values
    best: dict[Hashable, int] = {}
    for i in np.flatnonzero(~np.isnan(values)).tolist():
        own = key(designs[i])
        if own not in best or values[i] > values[best[own]]:
            best[own] = i
    left = sorted(best.values())
    if not left:
        return np.empty(0, dtype=np.int64)
    if len(left) > (most := max(CANDIDATES, 4 * n)):  # all pairs are compared
        left = sorted(left[i] for i in np.argsort(-values[left], kind="stable")[:most])
    levels, order = np.unique(values[left], return_inverse=True)
    rank = order / max(len(levels) - 1, 1)
    distances = distance([designs[i] for i in left])
    distances /= max(float(np.nanmax(distances, initial=0.0)), 1e-12)
    distances = np.nan_to_num(distances, nan=1.0)
    chosen = [int(rank.argmax())]
    nearest = distances[chosen[0]].copy()
    while len(chosen) < min(n, len(left)):
        gain = (1 - diversity) * rank + diversity * nearest
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        nearest = np.minimum(nearest, distances[chosen[-1]])
    return np.array(left)[chosen]

"""Distances between designs, and what of a sequence shows without a model: base content and runs.

Distances between strings are fractions of a sequence in [0, 1], those between arrays are Euclidean.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gendesign.designs import Design, key

Floats = NDArray[np.float64]

Distance = Callable[[Sequence[Design]], Floats]
"""Distances between all of B designs, shape [B, B]."""

_BLOCK = 8192  # training sequences compared at once, which bounds memory


def pairwise_distance(designs: Sequence[Design]) -> Floats:
    """Distances between all designs.

    Strings of one length: the fraction of positions that differ (Hamming). Otherwise the edit distance
    (Levenshtein: insertions, deletions, substitutions) divided by the longer design's length. Arrays: the
    Euclidean distance.

    Args:
        designs: B strings over any letters, or B arrays of one shape.

    Returns:
        distances, of strings in [0, 1], shape [B, B], symmetric with a zero diagonal.

    Reference:
        V. Levenshtein, "Binary codes capable of correcting deletions, insertions and reversals", 1966.
    """
    num = len(designs)
    strings = [design for design in designs if isinstance(design, str)]
    if len(strings) < num:
        rows = _flat(designs)
        return np.stack([np.linalg.norm(rows - row, axis=1) for row in rows])
    codes, lengths = _letter_codes(strings)
    distances = np.zeros((num, num))
    if num < 2 or not lengths.max():
        return distances
    if (lengths == lengths[0]).all():
        # matches counted letter by letter are matrix products of one-hot positions: no [B, B, L] array
        for letter in np.unique(codes):
            here = (codes == letter).astype(np.float32)
            distances += here @ here.T
        return 1.0 - distances / lengths[0]
    first, second = np.triu_indices(num, 1)
    for start in range(0, len(first), 8192):
        a, b = first[start : start + 8192], second[start : start + 8192]
        edits = _levenshtein(codes[a], lengths[a], codes[b], lengths[b])
        distances[a, b] = distances[b, a] = edits / np.maximum(1, np.maximum(lengths[a], lengths[b]))
    return distances


def _flat(designs: Sequence[Design]) -> Floats:
    """Arrays as rows, shape [B, N]."""
    return np.stack([np.asarray(design, dtype=np.float64).ravel() for design in designs])


def nearest_array(designs: Sequence[Design], training: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The nearest training design of each array, by Euclidean distance.

    Args:
        designs: B arrays of one shape.
        training: N arrays of that shape, shape [N, ...].

    Returns:
        distances and rows of `training`, each of shape [B].
    """
    rows, others = _flat(designs), training.reshape(len(training), -1)
    # |a - b|^2 = |a|^2 + |b|^2 - 2ab finds the nearest without an [B, N, coordinates] array; its distance is then exact
    squared = (others**2).sum(-1) - 2 * rows @ others.T
    nearest = squared.argmin(1)
    return np.linalg.norm(rows - others[nearest], axis=1), nearest


def _letter_codes(designs: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Code points, padded with -1, shape [B, L], and lengths, shape [B]."""
    lengths = np.array([len(design) for design in designs], dtype=np.int64)
    codes = np.full((len(designs), int(lengths.max(initial=0))), -1, dtype=np.int32)
    flat = np.frombuffer("".join(designs).encode("utf-32-le", errors="surrogatepass"), dtype=np.int32)
    codes[np.arange(codes.shape[1]) < lengths[:, None]] = flat
    return codes, lengths


def _levenshtein(
    a: NDArray[np.int32], a_length: NDArray[np.int64], b: NDArray[np.int32], b_length: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Edit distances of P pairs at once; one row of the dynamic programme for all of them a step."""
    place = np.arange(b.shape[1] + 1, dtype=np.int32)
    row = np.tile(place, (len(a), 1))
    result = row[np.arange(len(a)), b_length]
    for i in range(a.shape[1]):
        best = np.empty_like(row)
        best[:, 0] = i + 1
        best[:, 1:] = np.minimum(row[:, 1:] + 1, row[:, :-1] + (b != a[:, i : i + 1]))
        row = np.minimum.accumulate(best - place, axis=1) + place  # insertions: best[j'] + (j - j'), j' <= j
        done = a_length == i + 1
        result[done] = row[done, b_length[done]]
    return result


def nearest_distance(designs: Sequence[str], training: Sequence[str]) -> Floats:
    """Smallest fraction of differing positions (Hamming) between a design and a training sequence.

        d_i = min over t with |t| = |x_i| of  #{p: t_p != x_ip} / |x_i|

    Args:
        designs: B strings over any letters.
        training: N strings; only those as long as a design are compared with it.

    Returns:
        distances in [0, 1], exact, shape [B]; NaN where no training sequence has the design's length.
    """
    nearest = np.full(len(designs), np.nan)
    same_length: dict[int, list[int]] = {}
    for i, design in enumerate(designs):
        same_length.setdefault(len(design), []).append(i)
    compared: dict[int, list[str]] = {length: [] for length in same_length if length}
    for sequence in training:
        if len(sequence) in compared:
            compared[len(sequence)].append(sequence)
    for length, others in compared.items():
        codes, _ = _letter_codes([designs[i] for i in same_length[length]])
        most = np.full(len(codes), -1.0, dtype=np.float32)
        for start in range(0, len(others), _BLOCK):
            block, _ = _letter_codes(others[start : start + _BLOCK])
            matches = np.zeros((len(block), len(codes)), dtype=np.float32)
            for letter in np.unique(codes):
                matches += (block == letter).astype(np.float32) @ (codes == letter).astype(np.float32).T
            most = np.maximum(most, matches.max(0))
        if others:
            nearest[same_length[length]] = (length - most.astype(np.float64)) / length
    return nearest


def mean_pairwise_distance(designs: Sequence[Design], *, distance: Distance = pairwise_distance) -> float:
    """Mean distance over pairs of different designs; NaN for fewer than two.

    Args:
        designs: strings over any letters, or arrays of one shape.
        distance: of all pairs; those that it does not know (NaN) are left out.

    Returns:
        the mean, of strings in [0, 1].
    """
    between = distance(designs)[~np.eye(len(designs), dtype=bool)] if len(designs) > 1 else np.empty(0)
    between = between[~np.isnan(between)]
    return float(between.mean()) if len(between) else float("nan")


def num_distinct(designs: Sequence[Design]) -> int:
    """Number of different designs."""
    return len({key(design) for design in designs})


def unique_fraction(designs: Sequence[Design]) -> float:
    """Distinct designs over all designs; NaN for none."""
    return num_distinct(designs) / len(designs) if designs else float("nan")


def gc_content(designs: Sequence[str]) -> Floats:
    """Fraction of G and C in each design, shape [B]; NaN for an empty one."""
    count = [sum(map(design.upper().count, "GC")) / len(design) if design else np.nan for design in designs]
    return np.array(count, dtype=np.float64)


def longest_run(designs: Sequence[str]) -> NDArray[np.int64]:
    """Length of each design's longest run of one letter, shape [B]."""
    codes, _ = _letter_codes(designs)
    longest = np.zeros(len(designs), dtype=np.int64)
    run = np.zeros(len(designs), dtype=np.int64)
    for i in range(codes.shape[1]):
        same = codes[:, i] == codes[:, i - 1] if i else np.zeros(len(designs), dtype=bool)
        run = np.where(codes[:, i] < 0, 0, np.where(same, run + 1, 1))
        longest = np.maximum(longest, run)
    return longest

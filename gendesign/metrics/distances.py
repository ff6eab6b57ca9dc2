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

_BLOCK = 8192  # training sequences, or pairs, compared at once, which bounds memory
_MOST = 2048  # designs of which all pairs are compared


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
        V. Levenshtein, "Binary codes capable of correcting deletions, insertions and reversals", 1966; G. Myers, "A
        fast bit-vector algorithm for approximate string matching based on dynamic programming", 1999.
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
    letters = np.unique(codes[codes >= 0])
    places, digits = _places(codes, letters), np.searchsorted(letters, codes)
    digits[codes < 0] = len(letters)
    first, second = np.triu_indices(num, 1)
    for start in range(0, len(first), _BLOCK):
        a, b = first[start : start + _BLOCK], second[start : start + _BLOCK]
        edits = _levenshtein(places[a], lengths[a], digits[b], lengths[b])
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


def _places(codes: NDArray[np.int32], letters: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Where each design has each letter, 64 places a word, lowest bit first; shape [B, letters + 1, words].

    The last letter is the padding, which is nowhere.
    """
    num, length = codes.shape
    bits = np.zeros((num, len(letters) + 1, -(-length // 64) * 64), dtype=np.uint8)
    bits[:, :-1, :length] = codes[:, None, :] == letters[:, None]
    return np.packbits(bits, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


def _levenshtein(
    places: NDArray[np.uint64],
    a_length: NDArray[np.int64],
    digits: NDArray[np.int64],
    b_length: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Edit distances of P pairs at once: a column of the dynamic programme for all of them a step.

    A column is kept as which of its differences are +1 and which are -1, in the bits of words.

    Args:
        places: of the letters in a, shape [P, letters + 1, words].
        a_length: of a, shape [P].
        digits: the letters of b as rows of `places`, shape [P, L].
        b_length: of b, shape [P].
    """
    one, pairs, words = np.uint64(1), np.arange(len(places)), places.shape[2]
    rises = np.full((words, len(places)), ~np.uint64(0))
    falls = np.zeros_like(rises)
    end, bit = (a_length - 1) // 64, ((a_length - 1) % 64).astype(np.uint64)
    edits = a_length.copy()
    for column in range(digits.shape[1]):
        same = places[pairs, digits[:, column]]
        going = column < b_length
        up, down = np.full(len(places), one), np.zeros(len(places), dtype=np.uint64)  # from the word before
        for word in range(words):
            match, rise, fall = same[:, word], rises[word], falls[word]
            vertical = match | fall
            match = match | down
            across = (((match & rise) + rise) ^ rise) | match
            plus, minus = fall | ~(across | rise), rise & across
            last = going & (end == word)
            edits += np.where(last, (plus >> bit) & one, 0).astype(np.int64)
            edits -= np.where(last, (minus >> bit) & one, 0).astype(np.int64)
            carried = plus >> np.uint64(63), minus >> np.uint64(63)
            plus, minus = (plus << one) | up, (minus << one) | down
            rises[word], falls[word] = minus | ~(vertical | plus), plus & vertical
            up, down = carried
    return np.where(a_length == 0, b_length, edits)


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
        designs: strings over any letters, or arrays of one shape. Of more than 2,048, so many, evenly spaced, stand
            for all.
        distance: of all pairs; those that it does not know (NaN) are left out.

    Returns:
        the mean, of strings in [0, 1].
    """
    if len(designs) > _MOST:
        designs = [designs[i] for i in np.linspace(0, len(designs) - 1, _MOST).round().astype(int)]
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

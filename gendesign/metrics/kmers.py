"""Words of length k: their spectra, and stretches copied from training sequences.

A spectrum is the frequency of every word of length k over a set of sequences, words in alphabetical order
of the alphabet given. Two sets resemble each other as much as the Pearson correlation of their spectra,

    r = cov(f, g) / (sd(f) sd(g)),

the comparison used for designed regulatory DNA in "Fine-Tuning Discrete Diffusion Models via Reward
Optimization" (Wang et al., 2024, arXiv:2410.13643). A stretch of n letters copied from training data shows
as n - k + 1 consecutive words that all occur there, so looking up words finds copies without alignment.
Words are looked up by 32-bit hashes, so a word is taken for one of N known ones with probability N / 2^32.

Letters outside the alphabet break words: no word spans one, nor the gap between two designs.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import DesignError

Floats = NDArray[np.float64]

MAX_WORDS = 2**22  # a spectrum longer than this (32 MiB) is of no use to anyone
_UNKNOWN = 255
# 2^64 / golden ratio: multiplicative (Fibonacci) hashing, Knuth, The Art of Computer Programming, vol. 3
_ODD = np.uint64(0x9E3779B97F4A7C15)


def encode_letters(designs: Sequence[str], alphabet: str) -> NDArray[np.uint8]:
    """All designs in one row of digits, a separator (255) before each one and after the last.

    Args:
        designs: sequences over `alphabet`, of any lengths; other letters become 255.
        alphabet: its letters in order, each one byte (Latin-1).

    Returns:
        digits, shape [sum of lengths + number of designs + 1].

    Raises:
        DesignError: the alphabet has fewer than two letters, or one twice, or one beyond Latin-1.
    """
    if len(set(alphabet)) < max(len(alphabet), 2) or any(not 0 < ord(letter) < 256 for letter in alphabet):
        raise DesignError(f"an alphabet is at least two different one-byte letters, but came: {alphabet!r}")
    table = np.full(256, _UNKNOWN, dtype=np.uint8)
    table[[ord(letter) for letter in alphabet]] = np.arange(len(alphabet))
    joined = "\0" + "\0".join(designs) + "\0"
    if not joined.isascii():
        joined = "".join(letter if ord(letter) < 256 else "\0" for letter in joined)
    raw = joined.encode("latin-1")
    digits: NDArray[np.uint8] = table[np.frombuffer(raw, dtype=np.uint8)]
    return digits


def _windows(digits: NDArray[np.uint8], k: int) -> NDArray[np.bool_]:
    """Which windows of k digits hold letters only; shape [len(digits) - k + 1]."""
    unknown = np.concatenate([[0], np.cumsum(digits == _UNKNOWN)])
    return unknown[k:] == unknown[:-k]


def kmer_spectrum(
    designs: Sequence[str], k: int, alphabet: str = "ACGT", *, weights: Sequence[float] | Floats | None = None
) -> Floats:
    """Frequency of each word of length k over all designs, overlaps counted.

    Args:
        designs: sequences; designs shorter than k add nothing.
        k: word length, at least 1.
        alphabet: letters in the order of the spectrum.
        weights: one weight a design (default: 1), e.g. to let every gene count once.

    Returns:
        frequencies that sum to 1, shape [len(alphabet)**k]; word w has index sum_i digit_i K^(k-1-i).

    Raises:
        DesignError: no design holds a word of length k, a spectrum too long to use, or weights that do not fit.
    """
    size = len(alphabet) ** max(k, 0)
    if k < 1 or size > MAX_WORDS:
        raise DesignError(
            f"word length must be at least 1, with at most {MAX_WORDS} words, but came k={k}: {size}"
        )
    digits = encode_letters(designs, alphabet)
    if len(digits) < k:
        raise DesignError(f"no design holds a word of k={k} letters over {alphabet!r}: choose a smaller k")
    valid = _windows(digits, k)
    codes = np.zeros(len(valid), dtype=np.int64)
    for offset in range(k):
        codes = codes * len(alphabet) + digits[offset : offset + len(valid)]
    spread = None
    if weights is not None:
        each = np.asarray(weights, dtype=np.float64)
        if each.shape != (len(designs),) or not np.all(each >= 0):
            raise DesignError(f"expected {len(designs)} weights of 0 or more, but came shape {each.shape}")
        spread = np.repeat(each, [len(design) + 1 for design in designs])
        spread = np.concatenate([[0.0], spread])[: len(valid)][valid]  # the first digit is a separator
    counts = np.bincount(codes[valid], weights=spread, minlength=size).astype(np.float64)
    total = counts.sum()
    if not total > 0:
        raise DesignError(f"no design holds a word of k={k} letters over {alphabet!r}: choose a smaller k")
    return counts / total


def spectrum_correlation(a: Floats, b: Floats) -> float:
    """Pearson correlation of two spectra, in [-1, 1]; NaN where one of them is constant.

    Args:
        a: frequencies or counts, shape [W].
        b: the same words, shape [W].

    Returns:
        the correlation.

    Raises:
        DesignError: the spectra are of different words.
    """
    if a.shape != b.shape or a.ndim != 1:
        raise DesignError(f"spectra of the same words are compared, but came shapes {a.shape} and {b.shape}")
    x, y = a - a.mean(), b - b.mean()
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(np.clip((x @ y) / norm, -1.0, 1.0)) if norm > 0 else float("nan")


def word_likeness(designs: Sequence[str], spectrum: Floats, k: int, alphabet: str = "ACGT") -> Floats:
    """How familiar the words of each design are: the mean over its words w of log(f_w K^k), in nats.

    It is 0 where words are as frequent as if letters were drawn evenly, below 0 where a spectrum hardly knows them.
    Unlike a correlation of spectra it is a figure of a single design.

    Args:
        designs: sequences of any lengths.
        spectrum: f, frequencies of natural words, shape [len(alphabet)**k]. An unseen word counts as if a tenth of
            what even letters would give had been seen.
        k: word length.
        alphabet: letters in the order of the spectrum.

    Returns:
        nats a word, shape [len(designs)]; NaN for a design without a word of length k.

    Raises:
        DesignError: the spectrum is of other words.
    """
    size = len(alphabet) ** max(k, 0)
    if k < 1 or spectrum.shape != (size,):
        raise DesignError(f"expected a spectrum of {size} words of k={k}, but came shape {spectrum.shape}")
    known = np.log(np.maximum(spectrum * size, 0.1))
    found = np.full(len(designs), np.nan)
    for i, design in enumerate(designs):
        digits = encode_letters([design], alphabet)[1:-1]
        if len(digits) < k:
            continue
        valid = _windows(digits, k)
        codes = np.zeros(len(valid), dtype=np.int64)
        for offset in range(k):
            codes = codes * len(alphabet) + digits[offset : offset + len(valid)]
        if valid.any():
            found[i] = known[codes[valid]].mean()
    return found


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The upper half of MurmurHash3's 64-bit finaliser, in which every bit of `value` flips half the bits."""
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    value = (value ^ (value >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return (value >> np.uint64(32)).astype(np.uint32)  # its last step, value ^ value >> 33, leaves these bits


def _hash_windows(
    digits: NDArray[np.uint8], k: int, letters: int
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """A uint32 for every window of k digits, and which windows hold letters only."""
    valid = _windows(digits, k)
    value = np.zeros(len(valid), dtype=np.uint64)
    exact = letters**k <= 2**64  # then a word's number is its own
    for offset in range(k):
        digit = digits[offset : offset + len(valid)].astype(np.uint64)
        value = value * np.uint64(letters) + digit if exact else (value ^ (digit + np.uint64(1))) * _ODD
        if not exact:
            value ^= value >> np.uint64(29)  # lets high bits reach low ones, which multiplication never does
    return _mix(value), valid


def hash_kmers(designs: Sequence[str], k: int = 16, alphabet: str = "ACGT") -> NDArray[np.uint32]:
    """Sorted distinct uint32 hashes of all words of length k.

    The hash is the upper half of MurmurHash3's 64-bit finaliser of the word's number, sum_i digit_i K^(k-1-i).
    Words of few letters are few: whoever tries all of them can tell which ones a set of hashes may hold, so
    hashes keep a data table out of a file but no secret.

    Args:
        designs: sequences of any lengths.
        k: word length in letters.
        alphabet: letters in order; a word with any other letter is left out.

    Returns:
        hashes, sorted, shape [N]. A word that is not among the designs' has the hash of one that is with
        probability N / 2^32: 0.00024 for a million words.

    Raises:
        DesignError: the alphabet or k cannot be used.
    """
    if k < 1:
        raise DesignError(f"word length must be at least 1, but came k={k}")
    digits = encode_letters(designs, alphabet)
    if len(digits) < k:
        return np.empty(0, dtype=np.uint32)
    hashes, valid = _hash_windows(digits, k, len(alphabet))
    ordered = np.sort(hashes[valid])  # np.unique is ten times slower on millions of words
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])] if len(ordered) else ordered


def _known_windows(
    designs: Sequence[str], hashes: NDArray[np.uint32], k: int, alphabet: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]:
    """For every window: does it hold letters only, does training hold it, and where each design starts."""
    digits = encode_letters(designs, alphabet)
    starts = np.cumsum([1] + [len(design) + 1 for design in designs])
    digits = np.concatenate([digits, np.full(k, _UNKNOWN, dtype=np.uint8)])  # a window starts at every digit
    codes, valid = _hash_windows(digits, k, len(alphabet))
    place = np.minimum(np.searchsorted(hashes, codes), max(len(hashes) - 1, 0))
    known = valid & (hashes[place] == codes) if len(hashes) else np.zeros_like(valid)
    return valid, known, starts


def copied_fraction(
    designs: Sequence[str], hashes: NDArray[np.uint32], *, k: int = 16, alphabet: str = "ACGT"
) -> Floats:
    """Fraction of each design's words of length k that occur in the training data.

    Args:
        designs: sequences of any lengths.
        hashes: sorted hashes of the training data's words, from `hash_kmers` with the same k and alphabet.
        k: word length in letters.
        alphabet: letters in order.

    Returns:
        fractions in [0, 1], shape [len(designs)]; NaN for a design without a word of length k.
    """
    valid, known, starts = _known_windows(designs, hashes, k, alphabet)
    if not len(designs):
        return np.empty(0, dtype=np.float64)
    words, copied = (np.add.reduceat(flags, starts[:-1], dtype=np.float64) for flags in (valid, known))
    return np.divide(copied, words, out=np.full(len(designs), np.nan), where=words > 0)


def longest_copied(
    designs: Sequence[str], hashes: NDArray[np.uint32], *, k: int = 16, alphabet: str = "ACGT"
) -> NDArray[np.int64]:
    """Longest stretch of each design that the training data may hold, in letters.

    It is the longest run of consecutive known words, plus k - 1. The words of one run may come from
    different training sequences, so the figure is an upper bound on the longest copied stretch.

    Args:
        designs: sequences of any lengths.
        hashes: sorted hashes of the training data's words, from `hash_kmers` with the same k and alphabet.
        k: word length; stretches shorter than this are not seen.
        alphabet: letters in order.

    Returns:
        lengths in letters, shape [len(designs)]; 0 where no stretch of k letters or more is known.
    """
    _, known, starts = _known_windows(designs, hashes, k, alphabet)
    if not len(designs):
        return np.empty(0, dtype=np.int64)
    place = np.arange(len(known))
    run = place - np.maximum.accumulate(np.where(known, -1, place))  # a separator ends every run
    longest = np.maximum.reduceat(run, starts[:-1])
    return np.where(longest > 0, longest + k - 1, 0).astype(np.int64)

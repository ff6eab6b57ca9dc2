"""What a report compares designs with, so that no data set is needed at run time.

One file beside the backbone's weights, `reference.safetensors`, holds: hashes of the training sequences' words,
by which copied stretches are found; word spectra of the natural sequences and of those with the highest reward,
and how much small natural sets correlate with them; quantiles of the rewards and of the naturalness of natural
sequences; a few facts of the natural set. It holds no sequence.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import CheckpointError, DesignError
from gendesign.metrics.distances import nearest_distance
from gendesign.metrics.kmers import Floats, copied_fraction, encode_letters, longest_copied
from gendesign.metrics.molecule_reference import KIND as MOLECULES
from gendesign.metrics.molecule_reference import MoleculeReference
from gendesign.metrics.reference_file import (
    AGAIN,
    check_kind,
    read_reference,
    rising_quantiles,
    write_reference,
)
from gendesign.metrics.reference_file import (
    PERCENTILES as PERCENTILES,
)

_FORMAT, _VERSION = "gendesign-reference", "2"


@dataclass(frozen=True, eq=False)
class Reference:
    """Figures of natural sequences, as reports need them.

    Args:
        alphabet: letters, in the order of the spectra.
        hashes: sorted distinct hashes (`hash_kmers`) of the training sequences' words, shape [N]. A word that
            training does not hold is taken for one that it holds with probability N / 2^32, 0.00024 for a
            million words; a design's stretch grows by a letter as rarely.
        spectra: word length -> frequencies over the natural set.
        top_spectra: word length -> frequencies over natural sequences with the highest reward.
        half_correlation: word length -> correlation of the spectra of two random halves of the natural set.
        expected_sizes: rising numbers of sequences n, shape [G].
        expected: (kind, word length) -> mean correlation of n random natural sequences with the spectrum, shape
            [G]; kind is "natural" for `spectra`, "top" for `top_spectra`.
        natural_facts: of the natural set: num, distinct (sequences), mean_distance (pairs, a fraction), gc (a
            fraction), median_run and longest_run (letters); those unknown are absent.
        reward_quantiles: reward name -> values at percentiles 0..100 of natural sequences, in the reward's unit.
        naturalness: the same of the log-likelihood bound of unseen natural sequences, in nats a token, or None.
        notes: what was measured over what, in sentences; `top` says what the top sequences are.
        word: length of the words by which copied stretches are found, in letters.
    """

    alphabet: str
    hashes: NDArray[np.uint32]
    spectra: Mapping[int, Floats] = field(default_factory=dict)
    top_spectra: Mapping[int, Floats] = field(default_factory=dict)
    half_correlation: Mapping[int, float] = field(default_factory=dict)
    expected_sizes: Floats = field(default_factory=lambda: np.empty(0))
    expected: Mapping[tuple[str, int], Floats] = field(default_factory=dict)
    natural_facts: Mapping[str, float] = field(default_factory=dict)
    reward_quantiles: Mapping[str, Floats] = field(default_factory=dict)
    naturalness: Floats | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    word: int = 16

    def expected_correlation(self, kind: str, k: int, n: int) -> float:
        """Mean correlation of n random natural sequences with a spectrum: what natural ones of that number reach.

        Measured at `expected_sizes` and linear in log n between them; beyond their ends, the value at the end.

        Args:
            kind: "natural" or "top".
            k: word length.
            n: number of sequences, at least 1.

        Returns:
            the correlation, NaN where it was not measured.

        Raises:
            DesignError: n is below 1.
        """
        if n < 1:
            raise DesignError(f"a correlation is expected of at least 1 sequence, but came n={n}")
        values = self.expected.get((kind, k), np.empty(0))
        known = np.isfinite(values)
        if not known.any():
            return float("nan")
        return float(np.interp(np.log(n), np.log(self.expected_sizes[known]), values[known]))

    def save(self, path: str | Path) -> None:
        """Write the file whole or not at all.

        Raises:
            OutputError: the file cannot be written.
        """
        tensors: dict[str, NDArray] = {
            "hashes": np.ascontiguousarray(self.hashes, dtype=np.uint32),
            "expected_sizes": self.expected_sizes.astype(np.float64),
        }
        tensors |= {f"spectrum/{k}": values.astype(np.float32) for k, values in self.spectra.items()}
        tensors |= {f"top_spectrum/{k}": values.astype(np.float32) for k, values in self.top_spectra.items()}
        tensors |= {
            f"expected/{kind}/{k}": values.astype(np.float64) for (kind, k), values in self.expected.items()
        }
        tensors |= {
            f"reward/{name}": values.astype(np.float64) for name, values in self.reward_quantiles.items()
        }
        if self.naturalness is not None:
            tensors["naturalness"] = self.naturalness.astype(np.float64)
        head = {
            "format": _FORMAT,
            "version": _VERSION,
            "alphabet": self.alphabet,
            "half_correlation": json.dumps({str(k): r for k, r in self.half_correlation.items()}),
            "natural_facts": json.dumps(dict(self.natural_facts)),
            "notes": json.dumps(dict(self.notes)),
            "word": str(self.word),
        }
        write_reference(path, tensors, head)

    @classmethod
    def load(cls, path: str | Path) -> "Reference":
        """Read a file that `save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged or of another kind; the message says which.
        """
        head, tensors = read_reference(path)
        check_kind(path, head, kind=_FORMAT, version=_VERSION)
        try:
            return cls(**_fields(head, tensors))
        except (KeyError, ValueError, TypeError, AttributeError, DesignError) as error:
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}): {AGAIN}") from error


def load_reference(path: str | Path) -> "Reference | MoleculeReference":
    """The reference in a file, of sequences or of molecules.

    Raises:
        CheckpointError: the file is missing, damaged or of another kind; the message says which.
    """
    head, _ = read_reference(path)
    return MoleculeReference.load(path) if head.get("format") == MOLECULES else Reference.load(path)


def _fields(head: dict[str, str], tensors: dict[str, NDArray]) -> dict:
    """Constructor arguments from a file's parts; KeyError or ValueError if they do not fit each other."""
    alphabet, hashes, sizes = head["alphabet"], tensors["hashes"], tensors["expected_sizes"]
    encode_letters([], alphabet)
    if hashes.dtype != np.uint32 or hashes.ndim != 1 or not np.all(hashes[1:] > hashes[:-1]):
        raise ValueError("hashes that do not rise")
    if sizes.ndim != 1 or not np.all(np.diff(sizes) > 0) or not np.all(sizes >= 1):
        raise ValueError("numbers of sequences that do not rise")

    def part(prefix: str) -> dict[str, Floats]:
        return {
            name[len(prefix) :]: t.astype(np.float64)
            for name, t in tensors.items()
            if name.startswith(prefix)
        }

    spectra = {int(k): values for k, values in part("spectrum/").items()}
    top = {int(k): values for k, values in part("top_spectrum/").items()}
    expected = {}
    for name, values in part("expected/").items():
        kind, _, k = name.partition("/")
        if values.shape != sizes.shape:
            raise ValueError(f"{values.size} expected correlations for {sizes.size} numbers of sequences")
        expected[kind, int(k)] = values
    rewards = part("reward/")
    naturalness = tensors.get("naturalness")
    for length, values in [*spectra.items(), *top.items()]:
        if values.shape != (len(alphabet) ** length,):
            raise ValueError(f"a spectrum of {length}-letter words with {values.size} values")
    rising_quantiles(rewards | ({} if naturalness is None else {"naturalness": naturalness}))
    return {
        "alphabet": alphabet,
        "hashes": hashes,
        "spectra": spectra,
        "top_spectra": top,
        "half_correlation": {int(k): float(r) for k, r in json.loads(head["half_correlation"]).items()},
        "expected_sizes": sizes,
        "expected": expected,
        "natural_facts": {name: float(value) for name, value in json.loads(head["natural_facts"]).items()},
        "reward_quantiles": rewards,
        "naturalness": naturalness,
        "notes": json.loads(head["notes"]),
        "word": int(head["word"]),
    }


def novelty(
    designs: Sequence[str], reference: Reference, *, training: Sequence[str] | None = None
) -> dict[str, Floats]:
    """How far designs are from the training sequences.

    Args:
        designs: sequences.
        reference: of the backbone.
        training: the training sequences, where they are at hand.

    Returns:
        `longest_copied`: longest stretch that training may hold, in letters (an upper bound, 0 if shorter than
        `reference.word`); `copied_fraction`: fraction of words of that length that occur in training (NaN for
        shorter designs); and, only with training sequences, `nearest_distance`: smallest fraction of positions
        that differ from a training sequence of equal length (NaN where there is none). Each of shape
        [len(designs)].
    """
    k, alphabet, hashes = reference.word, reference.alphabet, reference.hashes
    found = {
        "longest_copied": longest_copied(designs, hashes, k=k, alphabet=alphabet).astype(np.float64),
        "copied_fraction": copied_fraction(designs, hashes, k=k, alphabet=alphabet),
    }
    return found if training is None else found | {"nearest_distance": nearest_distance(designs, training)}

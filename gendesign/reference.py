"""What a report compares designs with, so that no data set is needed at run time.

One file beside the backbone's weights, `reference.safetensors`, holds: the training sequences (bits packed,
2 bits a base), from which copied stretches and distances are found; word spectra of the natural sequences
and of those with the highest reward; quantiles of the rewards and of the naturalness of natural sequences.
Whoever publishes the file publishes the training sequences in it.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gendesign.errors import CheckpointError, DesignError, OutputError
from gendesign.kmers import (
    Floats,
    copied_fraction,
    encode_letters,
    hash_kmers,
    longest_copied,
)

_FORMAT, _VERSION = "gendesign-reference", "1"
PERCENTILES = np.arange(101.0)
"""The percentiles at which quantiles are kept."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Natural sequences and their figures, as reports need them.

    Args:
        alphabet: letters, in the order of the spectra.
        training: digits of the training sequences, shape [N, L], len(alphabet) after a sequence's end.
        natural: rows of `training` that count as the natural set, one a gene (group), shape [G].
        spectra: word length -> frequencies over the natural set.
        top_spectra: word length -> frequencies over natural sequences with the highest reward.
        half_correlation: word length -> correlation of the spectra of two random halves of the natural set.
        reward_quantiles: reward name -> values at percentiles 0..100 of natural sequences, in the reward's unit.
        naturalness: the same of the log-likelihood bound of unseen natural sequences, in nats a token, or None.
        notes: what was measured over what, in sentences; `top` says what the top sequences are.
        word: length of the words by which copied stretches are found, in letters.
    """

    alphabet: str
    training: NDArray[np.uint8]
    natural: NDArray[np.int32]
    spectra: Mapping[int, Floats] = field(default_factory=dict)
    top_spectra: Mapping[int, Floats] = field(default_factory=dict)
    half_correlation: Mapping[int, float] = field(default_factory=dict)
    reward_quantiles: Mapping[str, Floats] = field(default_factory=dict)
    naturalness: Floats | None = None
    notes: Mapping[str, str] = field(default_factory=dict)
    word: int = 16

    @cached_property
    def hashes(self) -> NDArray[np.uint32]:
        """Sorted hashes of the training sequences' words."""
        return hash_kmers(self.sequences(np.arange(len(self.training))), self.word, self.alphabet)

    def sequences(self, rows: NDArray[np.integer]) -> list[str]:
        """The training sequences of these rows."""
        letters = np.frombuffer((self.alphabet + "\0").encode("latin-1"), dtype=np.uint8)
        length = self.training.shape[1]
        joined = letters[self.training[rows]].tobytes().decode("latin-1")
        return [joined[start : start + length].rstrip("\0") for start in range(0, len(rows) * length, length)]

    def sample(self, num: int, *, seed: int = 0) -> list[str]:
        """Natural sequences drawn without replacement, at most as many as there are."""
        rows = np.random.default_rng(seed).permutation(self.natural)[:num]
        return self.sequences(rows)

    def save(self, path: str | Path) -> None:
        """Write the file whole or not at all.

        Raises:
            OutputError: the file cannot be written.
        """
        from safetensors.numpy import save

        bits = max(1, int(self.training.max(initial=1)).bit_length())  # one more where sequences are padded
        planes = (self.training[..., None] >> np.arange(bits, dtype=np.uint8)) & 1
        tensors: dict[str, NDArray] = {
            "training": np.packbits(planes.astype(bool).reshape(-1)),
            "natural": np.ascontiguousarray(self.natural, dtype=np.int32),
        }
        tensors |= {f"spectrum/{k}": values.astype(np.float32) for k, values in self.spectra.items()}
        tensors |= {f"top_spectrum/{k}": values.astype(np.float32) for k, values in self.top_spectra.items()}
        tensors |= {
            f"reward/{name}": values.astype(np.float64) for name, values in self.reward_quantiles.items()
        }
        if self.naturalness is not None:
            tensors["naturalness"] = self.naturalness.astype(np.float64)
        metadata = {
            "format": _FORMAT,
            "version": _VERSION,
            "alphabet": self.alphabet,
            "shape": json.dumps([*self.training.shape, bits]),
            "half_correlation": json.dumps({str(k): r for k, r in self.half_correlation.items()}),
            "notes": json.dumps(dict(self.notes)),
            "word": str(self.word),
        }
        path, temporary = Path(path), None
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
                temporary = Path(file.name)
                file.write(save(tensors, metadata=metadata))
            temporary.chmod(0o644)
            os.replace(temporary, path)
        except OSError as error:
            if temporary is not None:
                temporary.unlink(missing_ok=True)
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: str | Path) -> "Reference":
        """Read a file that `save` wrote.

        Raises:
            CheckpointError: the file is missing, damaged or of another kind; the message says which.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        again = "fetch the backbone again, or rebuild the file with benchmarks/build_reference.py"
        if not path.is_file():
            raise CheckpointError(f"expected a reference file at {path}, but there is none: {again}")
        try:
            with safe_open(path, framework="numpy") as file:
                head = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({error}): {again}") from error
        if head.get("format") != _FORMAT or head.get("version") != _VERSION:
            came = f"{head.get('format')!r} version {head.get('version')!r}"
            raise CheckpointError(
                f"expected {_FORMAT!r} version {_VERSION} in {path}, but came {came}: {again}"
            )
        try:
            return cls(**_fields(head, tensors))
        except (KeyError, ValueError, TypeError, DesignError) as error:
            raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}): {again}") from error


def _fields(head: dict[str, str], tensors: dict[str, NDArray]) -> dict:
    """Constructor arguments from a file's parts; KeyError or ValueError if they do not fit each other."""
    alphabet = head["alphabet"]
    encode_letters([], alphabet)
    rows, length, bits = json.loads(head["shape"])
    flat = np.unpackbits(tensors["training"], count=rows * length * bits).reshape(rows, length, bits)
    training = (flat << np.arange(bits, dtype=np.uint8)).sum(-1, dtype=np.uint8)
    natural = tensors["natural"]
    if training.size and training.max() > len(alphabet):
        raise ValueError("a letter beyond the alphabet")
    if natural.size and not (0 <= natural.min() and natural.max() < rows):
        raise ValueError("a natural sequence that is not there")

    def part(prefix: str) -> dict[str, Floats]:
        return {
            name[len(prefix) :]: t.astype(np.float64)
            for name, t in tensors.items()
            if name.startswith(prefix)
        }

    spectra = {int(k): values for k, values in part("spectrum/").items()}
    top = {int(k): values for k, values in part("top_spectrum/").items()}
    rewards = part("reward/")
    naturalness = tensors.get("naturalness")
    for k, values in [*spectra.items(), *top.items()]:
        if values.shape != (len(alphabet) ** k,):
            raise ValueError(f"a spectrum of {k}-letter words with {values.size} values")
    for values in [*rewards.values(), *([] if naturalness is None else [naturalness])]:
        if values.shape != PERCENTILES.shape or not np.all(np.diff(values) >= 0):
            raise ValueError("quantiles that do not rise")
    return {
        "alphabet": alphabet,
        "training": training,
        "natural": natural,
        "spectra": spectra,
        "top_spectra": top,
        "half_correlation": {int(k): float(r) for k, r in json.loads(head["half_correlation"]).items()},
        "reward_quantiles": rewards,
        "naturalness": naturalness,
        "notes": json.loads(head["notes"]),
        "word": int(head["word"]),
    }


def novelty(designs: Sequence[str], reference: Reference) -> dict[str, Floats]:
    """How far designs are from the training sequences.

    Args:
        designs: sequences.
        reference: what the backbone was trained on.

    Returns:
        `longest_copied`: longest stretch that training may hold, in letters (an upper bound, 0 if shorter than
        `reference.word`); `copied_fraction`: fraction of words of that length that occur in training (NaN for
        shorter designs); `nearest_distance`: smallest fraction of positions that differ from a training
        sequence of equal length (NaN where there is none). Each of shape [len(designs)].
    """
    k, alphabet = reference.word, reference.alphabet
    return {
        "longest_copied": longest_copied(designs, reference.hashes, k=k, alphabet=alphabet).astype(
            np.float64
        ),
        "copied_fraction": copied_fraction(designs, reference.hashes, k=k, alphabet=alphabet),
        "nearest_distance": _nearest_distance(designs, reference),
    }


def _nearest_distance(designs: Sequence[str], reference: Reference) -> Floats:
    """Smallest normalised Hamming distance to a training sequence; one matrix product a block of rows."""
    letters, length = len(reference.alphabet), reference.training.shape[1]
    nearest = np.full(len(designs), np.nan)
    mine = [i for i, design in enumerate(designs) if len(design) == length]
    if not mine or not length:
        return nearest
    digits = encode_letters([designs[i] for i in mine], reference.alphabet)[1:].reshape(len(mine), length + 1)
    eye = np.vstack([np.eye(letters, dtype=np.float32), np.zeros((256 - letters, letters), np.float32)])
    mine_hot = eye[digits[:, :length]].reshape(len(mine), -1)
    same = np.full(len(mine), -1.0)
    for start in range(0, len(reference.training), 4096):
        block = reference.training[start : start + 4096]
        whole = block[(block < letters).all(1)]  # shorter sequences have no Hamming distance to these
        if len(whole):
            same = np.maximum(same, (mine_hot @ eye[whole].reshape(len(whole), -1).T).max(1))
    nearest[mine] = np.where(same >= 0, 1.0 - same / length, np.nan)
    return nearest

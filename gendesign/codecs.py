"""Designs to tensors and back.

A codec knows an alphabet and a length, and nothing of noise, networks or rewards. Token ids are 0..K-1 for the
K tokens of the vocabulary; id K is MASK, which is not a token of any design. Designs of variable length are
padded at the end with PAD, an ordinary token that the backbone learns to generate. Codecs of vectors and images are in
`gendesign.array_codecs`.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gendesign.building import Configurable, describe, whole
from gendesign.errors import ConfigError, DesignError, UnsupportedError

FREE = "*"
"""The letter of a template that stands for a position to be designed."""


class Codec(Configurable, ABC):
    """Designs <-> tensors."""

    length: int
    """Positions L (coordinates N) of an encoded design."""

    statistics: tuple[str, ...] = ()
    """Arguments that are fitted to data."""

    log_volume: float = 0.0
    """log |det dx/d design|: what turns a log-density of x into one of designs in the user's units."""

    @abstractmethod
    def encode(self, designs: Sequence[Any]) -> Tensor:
        """Encode designs, one a row.

        Raises:
            DesignError: a design that the codec cannot represent; the message names it.
        """

    @abstractmethod
    def decode(self, x: Tensor) -> list[Any]:
        """Decode rows to designs."""

    @abstractmethod
    def reason_invalid(self, design: Any) -> str:
        """Why a design cannot be encoded, as one line; empty if it can."""

    def is_valid(self, design: Any) -> bool:
        """Whether `encode` accepts the design."""
        return not self.reason_invalid(design)

    def unfitted(self) -> str:
        """The codec in words, without statistics of data; equal for codecs that encode the same designs."""
        given = describe(self)["init_args"]
        defaults = inspect.signature(type(self)).parameters
        arguments = {name: given.get(name, part.default) for name, part in defaults.items()}
        shown = [f"{name}={value}" for name, value in arguments.items() if name not in self.statistics]
        return f"{type(self).__name__}({', '.join(shown)})"

    def relax(self, x: Tensor) -> Tensor:
        """What a differentiable reward reads, with a gradient to x; token probabilities are read as they are."""
        return x

    def encode_template(self, template: Any) -> tuple[Tensor, Bool[Tensor, " N"]]:
        """Read a template, which fixes some coordinates of the designs.

        Returns:
            An encoded design, and which of its coordinates are fixed; the others hold MASK, or NaN.

        Raises:
            DesignError: it does not fit.
            UnsupportedError: this codec has none.
        """
        raise UnsupportedError(f"{type(self).__name__} takes no template")


class SequenceCodec(Codec):
    """Strings over an alphabet of single letters.

    Args:
        alphabet: the letters, in the order of their token ids; upper case is not required.
        length: number of positions L.
        variable: allow designs shorter than L, padded at the end by PAD (token id K-1).
    """

    def __init__(self, alphabet: str, length: int, *, variable: bool = False) -> None:
        if not alphabet or len(set(alphabet)) != len(alphabet) or FREE in alphabet:
            raise ConfigError(f"alphabet must hold distinct letters other than '{FREE}', got {alphabet!r}")
        self.alphabet = alphabet
        self.length = whole("length", length)
        self.variable = variable
        self._index = {letter: i for i, letter in enumerate(alphabet)}

    @property
    def vocab_size(self) -> int:
        """Number of tokens K: the letters, and PAD where the length is variable."""
        return len(self.alphabet) + self.variable

    @property
    def mask_id(self) -> int:
        """The id of MASK, K."""
        return self.vocab_size

    @property
    def pad_id(self) -> int | None:
        """The id of PAD, or None where every design has the full length."""
        return len(self.alphabet) if self.variable else None

    def encode(self, designs: Sequence[str]) -> Int[Tensor, "B L"]:
        """Token ids of the designs, PAD after the end.

        Raises:
            DesignError: an unknown letter or a wrong length.
        """
        rows = [self._encode(design) for design in designs]
        return torch.tensor(rows, dtype=torch.long).reshape(len(rows), self.length)

    def _encode(self, design: str) -> list[int]:
        reason = self.reason_invalid(design)
        if reason:
            raise DesignError(reason)
        ids = [self._index[letter] for letter in design]
        return ids + [len(self.alphabet)] * (self.length - len(ids))

    def decode(self, x: Int[Tensor, "B L"]) -> list[str]:
        """The designs of token ids; MASK, which is no part of a design, shows as '*'.

        A PAD before a letter cannot be a design: it decodes to '-' there, which `is_valid` refuses.
        """
        letters = self.alphabet + ("-" if self.variable else "") + FREE
        texts = ["".join([letters[i] for i in row]) for row in x.tolist()]
        return [text.rstrip("-") for text in texts] if self.variable else texts

    def relax(self, x: Float[Tensor, "B L V"]) -> Float[Tensor, "B L K"]:
        """Probabilities of the K tokens; MASK's, where they come with one, is left out."""
        return x[..., : self.vocab_size]

    def reason_invalid(self, design: Any) -> str:
        if not isinstance(design, str):
            return f"expected a sequence of letters, got {type(design).__name__}"
        wrong = sorted(set(design) - self._index.keys())
        if wrong:
            shown = "".join(wrong[:5])
            return f"expected letters {self.alphabet}, got {shown!r} in {_short(design)}"
        if len(design) > self.length or (len(design) < self.length and not self.variable):
            wanted = f"at most {self.length}" if self.variable else f"{self.length}"
            return f"expected a sequence of {wanted} letters, got {len(design)}: {_short(design)}"
        return "" if design else "expected a sequence, got an empty one"

    def encode_template(self, template: Any) -> tuple[Int[Tensor, " L"], Bool[Tensor, " L"]]:
        """Read a template: letters are fixed, '*' is free.

        Args:
            template: one letter a position, such as `ACGT****`. A codec of variable length takes a shorter one,
                whose end stays free.

        Returns:
            Token ids with MASK at the free positions, and which positions are fixed.

        Raises:
            DesignError: wrong length, unknown letters, or nothing left to design.
        """
        if not isinstance(template, str):
            raise DesignError(f"expected a template of letters, got {type(template).__name__}")
        text = template.ljust(self.length, FREE) if self.variable else template
        if len(text) != self.length:
            raise DesignError(
                f"expected a template of {self.length} letters, got {len(template)}: {_short(template)}"
            )
        wrong = sorted(set(text) - self._index.keys() - {FREE})
        if wrong:
            shown = "".join(wrong[:5])
            raise DesignError(
                f"expected letters {self.alphabet} and '{FREE}' for free positions, got {shown!r}"
            )
        ids = torch.tensor([self._index.get(letter, self.mask_id) for letter in text])
        fixed = ids != self.mask_id
        if bool(fixed.all()):
            raise DesignError(
                f"the template fixes every position; mark the positions to design with '{FREE}'"
            )
        return ids, fixed


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


class DNACodec(SequenceCodec):
    """DNA over A, C, G, T."""

    def __init__(self, length: int, *, variable: bool = False) -> None:
        super().__init__("ACGT", length, variable=variable)


class RNACodec(SequenceCodec):
    """RNA over A, C, G, U."""

    def __init__(self, length: int, *, variable: bool = False) -> None:
        super().__init__("ACGU", length, variable=variable)


class ProteinCodec(SequenceCodec):
    """Proteins over the twenty standard amino acids, in the alphabetical order of their one-letter codes."""

    def __init__(self, length: int, *, variable: bool = False) -> None:
        super().__init__("ACDEFGHIKLMNPQRSTVWY", length, variable=variable)

"""Designs to tensors and back.

A codec knows a vocabulary and a length, and nothing of noise, networks or rewards. Token ids are 0..K-1 for the
K tokens of the vocabulary; id K is MASK, which is not a token of any design. Designs of variable length are
padded at the end with PAD, an ordinary token that the backbone learns to generate. Codecs of vectors and images are in
`gendesign.array_codecs`, of molecules in `gendesign.molecules.codec`.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gendesign.building import Configurable, describe, whole
from gendesign.errors import ConfigError, DesignError, UnsupportedError

FREE = "*"
"""The letter of a template that stands for a position to be designed."""
GAP = "-"
"""The letter of a design that stands for PAD before its end: of what is no design."""


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

    def harden(self, x: Tensor) -> list[Any]:
        """The designs that relaxed ones stand for, in the layout of `relax`.

        Raises:
            UnsupportedError: this codec cannot tell.
        """
        raise UnsupportedError(f"{type(self).__name__} does not read relaxed designs back")

    def of(self, backbone: Any) -> Codec:
        """The codec of this backbone, where it says what only the backbone knows."""
        return self

    def under(self, template: Any) -> Codec:
        """The codec of rows that keep to a template, where reading them takes more than their tokens."""
        return self

    def departs(self, template: Any, design: Any) -> str:
        """Why a design is not what a template asks for; "" where it is, as it always is where designs are their x."""
        return ""

    def encode_template(self, template: Any) -> tuple[Tensor, Bool[Tensor, " N"]]:
        """Read a template, which fixes some coordinates of the designs.

        Returns:
            An encoded design, and which of its coordinates are fixed; the others hold MASK, or NaN.

        Raises:
            DesignError: it does not fit.
            UnsupportedError: this codec has none.
        """
        raise UnsupportedError(f"{type(self).__name__} takes no template")


class TokenCodec(Codec):
    """Designs as rows of L tokens of a vocabulary: ids, padding, MASK and templates, once for all kinds of tokens.

    A subclass says which tokens a design is made of, and which design some tokens make.

    Args:
        vocabulary: the tokens, in the order of their ids.
        length: number of positions L.
        variable: allow designs shorter than L, padded at the end by PAD (token id K-1).
    """

    def __init__(self, vocabulary: Sequence[str], length: int, *, variable: bool) -> None:
        self.vocabulary = tuple(vocabulary)
        self.length = whole("length", length)
        self.variable = variable
        self._index = {token: i for i, token in enumerate(self.vocabulary)}

    @property
    def vocab_size(self) -> int:
        """Number of tokens K: those of the vocabulary, and PAD where the length is variable."""
        return len(self.vocabulary) + self.variable

    @property
    def mask_id(self) -> int:
        """The id of MASK, K."""
        return self.vocab_size

    @property
    def pad_id(self) -> int | None:
        """The id of PAD, or None where every design has the full length."""
        return len(self.vocabulary) if self.variable else None

    @abstractmethod
    def split(self, design: Any) -> list[str]:
        """The tokens of a design, at most L of them, all in the vocabulary.

        Raises:
            DesignError: a design that the codec cannot represent.
        """

    def split_template(self, template: Any) -> list[str | None]:
        """The tokens that a template fixes, `FREE` where it is free, None where there is PAD; L of them.

        Raises:
            DesignError: it does not fit.
            UnsupportedError: this codec has none.
        """
        raise UnsupportedError(f"{type(self).__name__} takes no template")

    def normal(self, text: str) -> str:
        """A design read from a file, in the one spelling that the codec knows it by; unreadable ones as they are."""
        return text

    def ids(self, design: Any) -> list[int]:
        """Token ids of one design, PAD after the end.

        Raises:
            DesignError: a design that the codec cannot represent.
        """
        row = [self._index[token] for token in self.split(design)]
        return row + [len(self.vocabulary)] * (self.length - len(row))

    def encode(self, designs: Sequence[Any]) -> Int[Tensor, "B L"]:
        """Token ids of the designs, PAD after the end.

        Raises:
            DesignError: a design that the codec cannot represent.
        """
        rows = [self.ids(design) for design in designs]
        return torch.tensor(rows, dtype=torch.long).reshape(len(rows), self.length)

    def relax(self, x: Float[Tensor, "B L V"]) -> Float[Tensor, "B L K"]:
        """Probabilities of the K tokens; MASK's, where they come with one, is left out."""
        return x[..., : self.vocab_size]

    def harden(self, x: Float[Tensor, "B L K"]) -> list[str]:
        """Of the most probable tokens."""
        return self.decode(x.argmax(-1))

    def reason_invalid(self, design: Any) -> str:
        try:
            self.split(design)
        except DesignError as error:
            return str(error)
        return ""

    def encode_template(self, template: Any) -> tuple[Int[Tensor, " L"], Bool[Tensor, " L"]]:
        """Read a template, which fixes some positions.

        Returns:
            Token ids with MASK at the free positions, and which positions are fixed.

        Raises:
            DesignError: it does not fit, or leaves nothing to design.
            UnsupportedError: this codec has none.
        """
        tokens = self.split_template(template)
        special = {None: self.pad_id, FREE: self.mask_id}
        ids = torch.tensor(
            [self._index[token] if token in self._index else special[token] for token in tokens]
        )
        fixed = ids != self.mask_id
        if bool(fixed.all()):
            raise DesignError(
                f"the template fixes every position; mark the positions to design with '{FREE}'"
            )
        return ids, fixed


class SequenceCodec(TokenCodec):
    """Strings over an alphabet of single letters.

    Args:
        alphabet: the letters, in the order of their token ids; upper case is not required.
        length: number of positions L.
        variable: allow designs shorter than L, padded at the end by PAD (token id K-1).
    """

    def __init__(self, alphabet: str, length: int, *, variable: bool = False) -> None:
        if not alphabet or len(set(alphabet)) != len(alphabet) or FREE in alphabet:
            raise ConfigError(f"alphabet must hold distinct letters other than '{FREE}', got {alphabet!r}")
        if variable and GAP in alphabet:
            raise ConfigError(
                f"'{GAP}' stands for padding where the length is variable: use another letter for gaps, or one length"
            )
        super().__init__(alphabet, length, variable=variable)
        self.alphabet = alphabet

    def split(self, design: Any) -> list[str]:
        if not isinstance(design, str):
            raise DesignError(f"expected a sequence of letters, got {type(design).__name__}")
        design = self.normal(design)
        wrong = sorted(set(design) - self._index.keys())
        if wrong:
            shown = "".join(wrong[:5])
            raise DesignError(f"expected letters {self.alphabet}, got {shown!r} in {_short(design)}")
        if len(design) > self.length or (len(design) < self.length and not self.variable):
            wanted = f"at most {self.length}" if self.variable else f"{self.length}"
            raise DesignError(f"expected a sequence of {wanted} letters, got {len(design)}: {_short(design)}")
        if not design:
            raise DesignError("expected a sequence, got an empty one")
        return list(design)

    def decode(self, x: Int[Tensor, "B L"]) -> list[str]:
        """The strings of the letters; MASK, which is no part of a design, shows as '*'.

        A PAD before a letter cannot be a design: it shows as '-' there, which `is_valid` refuses.
        """
        letters = np.array([*self.alphabet, *(GAP if self.variable else ""), FREE])
        rows = np.ascontiguousarray(letters[x.cpu().numpy()])  # letters side by side are the string
        text: list[str] = rows.view(f"<U{self.length}").reshape(len(rows)).tolist()
        return [one.rstrip(GAP) for one in text] if self.variable else text

    def normal(self, text: str) -> str:
        """In upper case where the alphabet is; letters whose upper case is another word are no letters of it."""
        upper = text.isascii() and self.alphabet == self.alphabet.upper()
        return text.upper() if upper else text

    def split_template(self, template: Any) -> list[str | None]:
        """Read a template: letters are fixed, '*' is free.

        Args:
            template: one letter a position, such as `ACGT****`. A codec of variable length takes a shorter one,
                whose end stays free.

        Raises:
            DesignError: wrong length, or unknown letters.
        """
        if not isinstance(template, str):
            raise DesignError(f"expected a template of letters, got {type(template).__name__}")
        template = self.normal(template)
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
        return list(text)


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

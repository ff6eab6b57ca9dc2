"""Networks for variants of one reference sequence: they read how a sequence differs from it, nothing else.

    predictor   f(x) = g(W d),  g a perceptron over a few latent effects        d = onehot(x) - onehot(reference)
    denoiser    logits(x) = b + U h(W d),  b a profile over the positions       (MASK is a letter of its own in d)

A variant with few mutations is a sparse d, so that each latent effect is a sum over mutations, and g bends the sum:
"global" (nonspecific) epistasis. The reference is d = 0, of which everything is learned at once.

References: Otwinowski, McCandlish and Plotkin, "Inferring the shape of global epistasis" (2018, PNAS 115:E7550,
doi 10.1073/pnas.1804015115); Tareen et al., "MAVE-NN" (2022, Genome Biology 23:98, doi 10.1186/s13059-022-02661-7).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from gendesign.building import finite, whole
from gendesign.errors import ConfigError
from gendesign.models.base import TokenDenoiser
from gendesign.models.predictor import SequencePredictor

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
SURE = 4.0
"""Logit of the reference's letter before training."""


class VariantPredictor(SequencePredictor):
    """Numbers of a variant from latent effects that add over its mutations.

    Args:
        num_letters: A, letters of the alphabet.
        length: L, letters of the reference.
        num_targets: n, numbers predicted at once.
        reference: the sequence that variants are variants of.
        alphabet: letters in the codec's order.
        effects: latent effects, each additive over mutations.
        hidden: width of the two layers that bend them.
        dropout: probability of zeroing a hidden unit in training.

    Raises:
        ConfigError: the reference does not fit length and alphabet, or an argument is out of range.
    """

    reference: Tensor

    def __init__(
        self,
        num_letters: int,
        length: int,
        num_targets: int,
        *,
        reference: str,
        alphabet: str = AMINO_ACIDS,
        effects: int = 8,
        hidden: int = 32,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_letters, self.length = whole("num_letters", num_letters), whole("length", length)
        self.num_targets = whole("num_targets", num_targets)
        self.register_buffer("reference", _one_hot(reference, alphabet, num_letters, length), False)
        self.effects = nn.Linear(length * num_letters, whole("effects", effects), bias=False)
        nn.init.normal_(self.effects.weight, std=0.02)
        drop = nn.Dropout(finite("dropout", dropout, at_least=0.0))
        hidden = whole("hidden", hidden)
        self.bend = nn.Sequential(
            nn.Linear(effects, hidden), nn.GELU(), drop,
            nn.Linear(hidden, hidden), nn.GELU(), drop,
            nn.Linear(hidden, num_targets),
        )  # fmt: skip

    def forward(self, x: Float[Tensor, "B L A"]) -> Float[Tensor, "B n"]:
        self.check(x)
        out: Tensor = self.bend(self.effects((x - self.reference.to(x.dtype)).flatten(1)))
        return out


class VariantDenoiser(TokenDenoiser):
    """A profile over the positions, shifted by what is known of the variant.

    Args:
        vocab_size: K.
        reference: the sequence that variants are variants of, of L letters.
        alphabet: letters in the codec's order.
        width: channels of the two hidden layers.
        dropout: probability of zeroing a channel in training.

    Raises:
        ConfigError: the reference does not fit the alphabet, or an argument is out of range.
    """

    reference: Tensor

    def __init__(
        self,
        vocab_size: int,
        reference: str,
        *,
        alphabet: str = AMINO_ACIDS,
        width: int = 64,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(vocab_size, width)
        del self.embedding  # a position has its own letters here
        self.length = len(reference)
        letters = _one_hot(reference, alphabet, vocab_size, self.length)
        self.register_buffer("reference", functional.pad(letters, (0, 1)), False)
        drop = nn.Dropout(finite("dropout", dropout, at_least=0.0))
        out = nn.Linear(width, self.length * vocab_size)
        self.shift = nn.Sequential(
            nn.Linear(self.length * (vocab_size + 1), width), nn.GELU(), drop,
            nn.Linear(width, width), nn.GELU(), drop, out,
        )  # fmt: skip
        nn.init.zeros_(out.weight)
        with torch.no_grad():
            out.bias.copy_(SURE * letters.flatten())

    def forward(
        self,
        x: Int[Tensor, "B L"] | Float[Tensor, "B L K1"],
        t: Float[Tensor, " B"] | None = None,
        cond: Any = None,
        mask: Any = None,
    ) -> Float[Tensor, "B L K"]:
        """Logits over the clean tokens; see `TokenDenoiser.forward`.

        Raises:
            ConfigError: sequences of another length than the reference's, or a `cond`.
        """
        if cond is not None:
            raise ConfigError("this network takes no cond")
        soft = x if x.is_floating_point() else functional.one_hot(x, self.vocab_size + 1)
        if soft.shape[1:] != self.reference.shape:
            raise ConfigError(
                f"expected ids or one-hots of {self.length} positions over {self.vocab_size + 1} tokens, "
                f"got {list(x.shape)}"
            )
        logits: Tensor = self.shift((soft.to(self.reference.dtype) - self.reference).flatten(1))
        return logits.view(len(x), self.length, self.vocab_size)


def _one_hot(reference: str, alphabet: str, letters: int, length: int) -> Float[Tensor, "L A"]:
    """The reference as one-hots."""
    wrong = sorted(set(reference) - set(alphabet))
    if len(alphabet) != letters or len(reference) != length or wrong or not reference:
        raise ConfigError(
            f"the reference must be {length} letters of an alphabet of {letters}, got {len(reference)} letters "
            f"over {alphabet!r}" + (f" with {', '.join(map(repr, wrong))}" if wrong else "")
        )
    ids = torch.tensor([alphabet.index(letter) for letter in reference])
    return functional.one_hot(ids, letters).to(torch.get_default_dtype())

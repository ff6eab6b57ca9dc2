"""Networks that predict measurements from a sequence; ensembles of them are learned rewards.

    stem convolution (motif detectors) -> residual convolutions with pooling between them -> dense layers that
    keep the position

The first kernels are long enough to be motif detectors; in DNA each can look at both strands, h = max(W * x,
reverse-complement(W) * x), which halves what there is to learn. What is pooled is position within a few
letters only, since where a motif lies in a promoter matters. Beside the kernels that are learned, the stem can
hold motifs that are known (`gendesign.models.known_motifs`). Input are (relaxed) one-hots, with zeros at
padding, so that the network has a gradient and padding has no weight.

Reference: Kelley, Snoek and Rinn, "Basset: learning the regulatory code of the accessible genome with deep
convolutional neural networks" (2016, Genome Research 26:990); Rafi et al., "A community effort to optimize
sequence-based deep learning models of gene regulation" (2024, Nature Biotechnology).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gendesign.building import Configurable, finite, whole
from gendesign.errors import ConfigError
from gendesign.models.known_motifs import KnownMotifs


class SequencePredictor(Configurable, nn.Module):
    """Base class: (relaxed) one-hots to numbers.

    Attributes:
        num_letters: A, letters of the alphabet (padding is not one).
        length: L, positions of the longest sequence.
        num_targets: n, numbers predicted at once.
    """

    num_letters: int
    length: int
    num_targets: int

    @abstractmethod
    def forward(self, x: Float[Tensor, "B L A"]) -> Float[Tensor, "B n"]:
        """Predict from one-hots; a padded position is a row of zeros.

        Raises:
            ConfigError: `x` is not [batch, length, num_letters].
        """

    def features(self, x: Float[Tensor, "B L A"]) -> Float[Tensor, "B C P"]:
        """What is known of each position, or of each few that were pooled, before the dense layers.

        Position p of P stands for letters p k to p k + k - 1, with k = L / P rounded up.

        Raises:
            ConfigError: the network has no features by position, or `x` has another shape.
        """
        raise ConfigError(f"{type(self).__name__} has no features by position")

    def motif_scores(self, x: Float[Tensor, "B L A"]) -> Float[Tensor, "B M L"] | None:
        """What its known motifs score; networks with the same ones take it instead of computing it. None: it has none.

        Raises:
            ConfigError: `x` has another shape.
        """
        self.check(x)
        known = self._known_motifs()
        return known[0].scores(x.transpose(1, 2)) if known else None

    def take_motifs(self, log_odds: Sequence[Float[Tensor, "_ A"]]) -> None:
        """Take known motifs into the weights, before the first step of training.

        Args:
            log_odds: of each motif, in bits; letters as in the input.

        Raises:
            ConfigError: the network has no place for motifs, or for another number of them.
        """
        if not (known := self._known_motifs()):
            raise ConfigError(
                f"the network has no place for known motifs; give it known_motifs: {len(log_odds)}"
            )
        for module in known:
            module.take(log_odds)

    @property
    def has_motifs(self) -> bool:
        """Whether it holds known motifs."""
        return any(bool(module.kernels.any()) for module in self._known_motifs())

    def _known_motifs(self) -> list[KnownMotifs]:
        return [module for module in self.modules() if isinstance(module, KnownMotifs)]

    def check(self, x: Tensor) -> None:
        """Raise ConfigError unless `x` is [batch, length, num_letters]."""
        if x.ndim != 3 or x.shape[1:] != (self.length, self.num_letters):
            raise ConfigError(
                f"expected one-hots [batch, {self.length}, {self.num_letters}], got {list(x.shape)}"
            )


class ConvPredictor(SequencePredictor):
    """Convolutional network with dense layers on top.

    Args:
        num_letters: A, letters of the alphabet.
        length: L, positions of the longest sequence.
        num_targets: n, numbers predicted at once.
        width: channels.
        stem_kernel: odd width of the first convolution, in positions.
        both_strands: the first convolution's kernels match either strand; for letters whose complement is
            their order reversed (ACGT, ACGU).
        known_motifs: motifs that the stem holds beside its own kernels, named in training
            (`gendesign.rewards.Predictor`, `motifs`); for the same letters.
        motif_width: odd width of the longest of them; wider ones are cut.
        kernel_size: odd width of the others, in (pooled) positions.
        depth: residual blocks.
        poolings: how many times positions are halved: once after the stem, then after each block.
        hidden: width of the dense layer.
        dropout: probability of zeroing a dense input in training (channels of blocks: half of it).

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        num_letters: int,
        length: int,
        num_targets: int,
        *,
        width: int = 64,
        stem_kernel: int = 13,
        both_strands: bool = False,
        known_motifs: int = 0,
        motif_width: int = 15,
        kernel_size: int = 7,
        depth: int = 3,
        poolings: int = 3,
        hidden: int = 64,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        width, hidden = whole("width", width), whole("hidden", hidden)
        self.num_letters = whole("num_letters", num_letters)
        self.length = whole("length", length)
        self.num_targets = whole("num_targets", num_targets)
        _check_odd(stem_kernel=stem_kernel, kernel_size=kernel_size)
        if not 1 <= whole("poolings", poolings) <= whole("depth", depth) + 1:
            raise ConfigError(f"poolings must be 1 to depth + 1; got {poolings} with depth {depth}")
        _check_dropout(dropout)
        self.poolings = poolings
        self.stem = _Stem(num_letters, width, stem_kernel, both_strands, known_motifs, motif_width)
        self.blocks = nn.ModuleList(_Block(width, kernel_size, dropout / 2) for _ in range(depth))
        positions = -(-length // 2**poolings)
        self.dense = _dense(width * positions, hidden, num_targets, dropout)

    def forward(
        self, x: Float[Tensor, "B L A"], motif_scores: Float[Tensor, "B M L"] | None = None
    ) -> Float[Tensor, "B n"]:
        out: Tensor = self.dense(functional.gelu(self._convolve(x, self.poolings, motif_scores)).flatten(1))
        return out

    def features(self, x: Float[Tensor, "B L A"]) -> Float[Tensor, "B C P"]:
        """After all blocks, but without the poolings between them: pairs of positions."""
        return self._convolve(x, 1)

    def _convolve(
        self, x: Float[Tensor, "B L A"], poolings: int, motif_scores: Tensor | None = None
    ) -> Float[Tensor, "B C P"]:
        self.check(x)
        h = _halve(functional.gelu(self.stem(x.transpose(1, 2), motif_scores)))
        for i, block in enumerate(self.blocks):
            h = block(h)
            if i + 1 < poolings:
                h = _halve(h)
        return h


class RecurrentPredictor(SequencePredictor):
    """Motif detectors, then a recurrent network in both directions, then its mean and maximum over positions.

    It reads motifs in their order, with little regard to where they lie: other strengths and other errors than
    `ConvPredictor`, which is what an auditing reward is for.

    Args:
        num_letters: A, letters of the alphabet.
        length: L, positions of the longest sequence.
        num_targets: n, numbers predicted at once.
        width: motif detectors.
        stem_kernel: odd width of the first convolution, in positions.
        both_strands: as in `ConvPredictor`.
        known_motifs: as in `ConvPredictor`.
        motif_width: as in `ConvPredictor`.
        pooling: positions that are pooled into one before the recurrent network.
        hidden: state of the recurrent network in each direction, and width of the dense layer.
        dropout: probability of zeroing a dense input in training (inputs of the recurrent network: half of it).

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        num_letters: int,
        length: int,
        num_targets: int,
        *,
        width: int = 128,
        stem_kernel: int = 13,
        both_strands: bool = False,
        known_motifs: int = 0,
        motif_width: int = 15,
        pooling: int = 4,
        hidden: int = 48,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.num_letters = whole("num_letters", num_letters)
        self.length = whole("length", length)
        self.num_targets = whole("num_targets", num_targets)
        width, hidden = whole("width", width), whole("hidden", hidden)
        _check_odd(stem_kernel=stem_kernel)
        _check_dropout(dropout)
        self.pooling = whole("pooling", pooling)
        self.stem = _Stem(num_letters, width, stem_kernel, both_strands, known_motifs, motif_width)
        self.dropout = nn.Dropout(dropout / 2)
        self.recurrent = nn.GRU(width, hidden, bidirectional=True, batch_first=True)
        self.dense = _dense(4 * hidden, hidden, num_targets, dropout)

    def forward(
        self, x: Float[Tensor, "B L A"], motif_scores: Float[Tensor, "B M L"] | None = None
    ) -> Float[Tensor, "B n"]:
        states = self.features(x, motif_scores)
        out: Tensor = self.dense(torch.cat([states.mean(2), states.amax(2)], dim=1))
        return out

    def features(
        self, x: Float[Tensor, "B L A"], motif_scores: Float[Tensor, "B M L"] | None = None
    ) -> Float[Tensor, "B C P"]:
        """States of both directions."""
        self.check(x)
        h = functional.gelu(self.stem(x.transpose(1, 2), motif_scores))
        h = functional.max_pool1d(h, self.pooling, ceil_mode=True)
        states, _ = self.recurrent(self.dropout(h).transpose(1, 2))
        return states.transpose(1, 2)


class _Stem(nn.Module):
    """How well each kernel matches at each position, on the better strand if it may look at both; plus known motifs."""

    def __init__(
        self,
        num_letters: int,
        width: int,
        kernel_size: int,
        both_strands: bool,
        known_motifs: int,
        motif_width: int,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(num_letters, width, kernel_size, padding=kernel_size // 2)
        self.both_strands = both_strands
        self.known = None
        if whole("known_motifs", known_motifs, at_least=0):
            self.known = KnownMotifs(num_letters, known_motifs, motif_width, width)

    def forward(
        self, x: Float[Tensor, "B A L"], motif_scores: Tensor | None = None
    ) -> Float[Tensor, "B C L"]:
        out: Tensor = self.conv(x)
        if self.both_strands:
            kernels, padding = self.conv.weight.flip(1, 2), self.conv.kernel_size[0] // 2
            out = torch.maximum(out, functional.conv1d(x, kernels, self.conv.bias, padding=padding))
        return out if self.known is None else out + self.known(x, motif_scores)


class _Block(nn.Module):
    """h + pointwise(gelu(conv(gelu(h)))).

    Without normalisation, whose statistics would be those of the raw weights and not of their average.
    """

    def __init__(self, width: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2)
        self.pointwise = nn.Conv1d(width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Float[Tensor, "B C P"]) -> Float[Tensor, "B C P"]:
        return h + self.dropout(self.pointwise(functional.gelu(self.conv(functional.gelu(h)))))


def _halve(h: Float[Tensor, "B C P"]) -> Float[Tensor, "B C Q"]:
    return functional.max_pool1d(h, 2, ceil_mode=True)


def _dense(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    drop = nn.Dropout(dropout)
    return nn.Sequential(drop, nn.Linear(inputs, hidden), nn.GELU(), drop, nn.Linear(hidden, outputs))


def _check_odd(**sizes: int) -> None:
    for name, size in sizes.items():
        if whole(name, size) % 2 == 0:
            raise ConfigError(f"{name} must be odd; got {size}")


def _check_dropout(dropout: float) -> None:
    if not 0 <= finite("dropout", dropout) < 1:
        raise ConfigError(f"dropout must be in [0, 1); got {dropout}")

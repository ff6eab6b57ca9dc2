"""A first layer that knows binding motifs: how far each is occupied at every position, mixed into the channels.

    occupancy_m[l] = sigmoid( g_m (s_m[l] - c_m) ),    s_m[l] = max over strands of sum_w k_m[w] x[l + w]

k_m is a motif's log-odds in bits (`gendesign.rewards.motifs`), which training leaves alone; the gain g_m and the cut
c_m are learned, from 1 and from three quarters of the highest score that k_m can give. This is the equilibrium of a
factor at a site with binding energy s_m and chemical potential c_m; motifs that a few thousand sequences hardly show
need not be learned from them.

The kernels are part of the weights, so that a saved network needs no file of motifs.

Reference: Djordjevic, Sengupta and Shraiman, "A biophysical approach to transcription factor binding site discovery"
(2003, Genome Research 13:2381).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gendesign.building import whole
from gendesign.errors import ConfigError

START = 0.75
"""Where the cut starts, as a fraction of a motif's highest score."""


class KnownMotifs(nn.Module):
    """Occupancies of M fixed motifs on the better strand, and their weights in C channels.

    Letters are in an order whose reverse is their complement (ACGT, ACGU). Until `take` is called every kernel is zero.

    Args:
        num_letters: A, letters of the alphabet.
        num_motifs: M.
        motif_width: W, odd; positions of the longest motif.
        width: C, channels of what is returned.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(self, num_letters: int, num_motifs: int, motif_width: int, width: int) -> None:
        super().__init__()
        num_motifs = whole("known_motifs", num_motifs)
        if whole("motif_width", motif_width) % 2 == 0:
            raise ConfigError(f"motif_width must be odd; got {motif_width}")
        self.register_buffer("kernels", torch.zeros(num_motifs, num_letters, motif_width))
        self.kernels: Float[Tensor, "M A W"]
        self.cut = nn.Parameter(torch.zeros(num_motifs, 1))
        self.gain = nn.Parameter(torch.ones(num_motifs, 1))
        self.mix = nn.Conv1d(num_motifs, width, 1)
        nn.init.normal_(self.mix.weight, std=num_motifs**-0.5)

    @torch.no_grad()
    def take(self, log_odds: Sequence[Float[Tensor, "_ A"]]) -> None:
        """Take the motifs, and start their cuts; of one that is wider than W the W positions that tell most.

        What a position tells is its mean log-odds under the motif with a uniform background, in bits.

        Args:
            log_odds: M motifs of their own widths, in bits.

        Raises:
            ConfigError: they are not M, or are over other letters.
        """
        num, letters, width = self.kernels.shape
        if len(log_odds) != num or any(motif.shape[1] != letters for motif in log_odds):
            found = sorted({motif.shape[1] for motif in log_odds})
            raise ConfigError(
                f"the network has a place for known_motifs: {num} over {letters} letters; got {len(log_odds)} "
                f"over {', '.join(map(str, found))}"
            )
        self.kernels.zero_()
        for kernel, motif in zip(self.kernels, log_odds, strict=True):
            told = (motif.exp2() / letters * motif).sum(1)
            begin = int(told.unfold(0, min(width, len(told)), 1).sum(1).argmax())
            motif = motif[begin : begin + width]
            before = (width - len(motif)) // 2
            kernel[:, before : before + len(motif)] = motif.T
        self.cut.copy_(START * self.kernels.amax(1).sum(1, keepdim=True))

    def scores(self, x: Float[Tensor, "B A L"]) -> Float[Tensor, "B M L"]:
        """Bits of each motif at the site around each position, on the better strand; what lies outside adds none."""
        strands = self.kernels, self.kernels.flip(1, 2)
        return torch.maximum(*(functional.conv1d(x, kernels, padding="same") for kernels in strands))

    def occupancies(self, scores: Float[Tensor, "B M L"]) -> Float[Tensor, "B M L"]:
        """How far each motif is occupied at sites of these scores, 0 to 1."""
        return torch.sigmoid((scores - self.cut) * self.gain)

    def forward(
        self, x: Float[Tensor, "B A L"], scores: Float[Tensor, "B M L"] | None = None
    ) -> Float[Tensor, "B C L"]:
        """The channels; `scores` of x spare computing them, where another network has the same motifs."""
        mixed: Tensor = self.mix(self.occupancies(self.scores(x) if scores is None else scores))
        return mixed

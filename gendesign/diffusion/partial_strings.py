"""The law of the designs, and soft values, exactly, for masked diffusion that reveals one token a step.

With p_i(v | x) the clean token probabilities and n masked positions, one of which is revealed, chosen uniformly,

    P(x') = sum over x -> x' of P(x) p_i(v | x) / n,         P(all masked) = 1,
    v(x)  = alpha log sum over x -> x' of p_i(v | x) / n exp(v(x')/alpha),     v = r at complete strings,

by dynamic programming over the (K + 1)^L partial strings: whatever a network believes, this is what first-hitting
sampling draws (Zheng et al. 2024, arXiv 2409.02908), without a sampling error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gendesign.errors import ConfigError


def partial_strings(vocab_size: int, length: int) -> Int[Tensor, "S L"]:
    """Every string of length L over the K tokens and MASK (id K), in lexicographic order."""
    index = torch.arange((vocab_size + 1) ** length)
    place = (vocab_size + 1) ** torch.arange(length - 1, -1, -1)
    return index[:, None] // place % (vocab_size + 1)


@dataclass(frozen=True)
class Reveals:
    """All reveals of one position, from the strings with n masked ones.

    Attributes:
        source: strings in which the position is masked, by index.
        target: the K strings that each becomes.
        log_chance: of each, in nats: the token's, and 1/n for the position.
    """

    source: Int[Tensor, " R"]
    target: Int[Tensor, "R K"]
    log_chance: Float[Tensor, "R K"]


class Enumerated:
    """First-hitting sampling of every string.

    Args:
        log_probs: clean token log-probabilities of each partial string, in lexicographic order; what they say at
            unmasked positions is not read.

    Raises:
        ConfigError: the number of rows is not (K + 1)^L.
    """

    def __init__(self, log_probs: Float[Tensor, "S L K"]) -> None:
        num, self.length, self.vocab_size = log_probs.shape
        if num != (self.vocab_size + 1) ** self.length:
            raise ConfigError(
                f"expected a row for each of {(self.vocab_size + 1) ** self.length} partial strings, got {num}"
            )
        self.log_probs = log_probs.double()
        self.states = partial_strings(self.vocab_size, self.length).to(log_probs.device)
        self.masked: Int[Tensor, " S"] = (self.states == self.vocab_size).sum(-1)

    @property
    def complete(self) -> Bool[Tensor, " S"]:
        """Which strings have nothing masked; the complete ones are in lexicographic order."""
        return self.masked == 0

    def reveals(self, num_masked: int) -> Iterator[Reveals]:
        """The steps from strings with so many masked positions, one position at a time."""
        rows = (self.masked == num_masked).nonzero().squeeze(-1)
        token = torch.arange(self.vocab_size, device=rows.device)
        for i in range(self.length):
            source = rows[self.states[rows, i] == self.vocab_size]
            stride = (self.vocab_size + 1) ** (self.length - 1 - i)
            # MASK is the last token: replacing it by v moves K - v strides back
            target = source[:, None] - stride * (self.vocab_size - token)
            chance = self.log_probs[source, i].log_softmax(-1) - math.log(num_masked)
            yield Reveals(source, target, chance)

    def law(self) -> Float[Tensor, " D"]:
        """The probability of every complete string, in lexicographic order."""
        reached = torch.zeros(len(self.states), dtype=torch.float64, device=self.states.device)
        reached[-1] = 1.0
        for n in range(self.length, 0, -1):
            for step in self.reveals(n):
                flow = reached[step.source, None] * step.log_chance.exp()
                reached.index_add_(0, step.target.flatten(), flow.flatten())
        return reached[self.complete]

    def soft_values(self, reward: Float[Tensor, " D"], *, alpha: float) -> Float[Tensor, " S"]:
        """Soft value of every partial string, in the reward's unit; that of the last, all masked, is alpha log Z.

        Args:
            reward: of every complete string, in lexicographic order.
            alpha: temperature, in the reward's unit.
        """
        value = torch.full((len(self.states),), -torch.inf, dtype=torch.float64, device=self.states.device)
        value[self.complete] = reward.double() / alpha
        for n in range(1, self.length + 1):
            for step in self.reveals(n):
                ahead = (step.log_chance + value[step.target]).logsumexp(-1)
                value[step.source] = torch.logaddexp(value[step.source], ahead)
        return value * alpha

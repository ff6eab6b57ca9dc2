"""Unmasking from the first position on, one token a step: how a text is written.

A network that was trained on random masks can be asked in any order, and orders differ in how hard its questions are.
In a language with brackets and references backward, such as SELFIES, the next token is easier to tell than one in the
middle of nothing: a ring can be closed where the atoms before it are known. Where designs are padded at their end, the
first PAD settles all that follows, so that a run asks the network as often as a design has tokens, not places.

That orders matter for networks that serve them all: Shih, Sadigh, Ermon, "Training and Inference on Any-Order
Autoregressive Models the Right Way" (2022, arXiv 2205.13554).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from gendesign.building import whole
from gendesign.diffusion.schedules import Schedule
from gendesign.diffusion.unmasking import TokenTransition, Unmasking, categorical


class InOrder(Unmasking):
    """One token a step, at the first masked position.

    Args:
        pad: id of the token that ends a design: where it is revealed, so are the masked positions that follow, up to
            the next known one. None: no token does.
    """

    ordered = True

    def __init__(self, pad: int | None = None) -> None:
        self.pad = None if pad is None else whole("pad", pad, at_least=0)

    def next_places(self, masked: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        return _first(masked)

    def reveal(
        self, x: Int[Tensor, "B L"], place: Int[Tensor, " B"], token: Int[Tensor, " B"], *, mask: int
    ) -> Int[Tensor, "B L"]:
        x_s = super().reveal(x, place, token, mask=mask)
        return _ended(x_s, token[:, None], _following(x == mask), self.pad)

    def num_steps(self, steps: int, num_free: int) -> int:
        return num_free

    def transition(
        self,
        log_probs: Float[Tensor, "B L K"],
        x_t: Int[Tensor, "B L"] | Float[Tensor, "B L V"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
        schedule: Schedule,
    ) -> OrderedTransition:
        return OrderedTransition(log_probs, x_t, self.pad)


@dataclass(frozen=True)
class OrderedTransition(TokenTransition):
    """The first masked position is revealed with its token law; PAD settles what follows.

    Attributes:
        pad: id of the token after which nothing comes; None: there is none.
    """

    pad: int | None

    @property
    def first(self) -> Bool[Tensor, "B L"]:
        """The position that is revealed; none in a design without masked ones."""
        return _first(self.masked)

    @property
    def following(self) -> Bool[Tensor, "B L"]:
        """The masked positions after it, up to the next known one."""
        return _following(self.masked)

    def sample(self, num: int, *, generator: Generator) -> Int[Tensor, "M B L"]:
        return self._after(categorical(self._law(), num, generator=generator))

    def rsample(
        self, *, temperature: float, generator: Generator | None = None, noise: Tensor | None = None
    ) -> Float[Tensor, "B L V"]:
        noise = self._noise(generator) if noise is None else noise
        q = torch.cat([self.log_probs, torch.full_like(self.log_probs[..., :1], -torch.inf)], -1)
        first = self.first[..., None]
        relaxed = torch.where(first, self._relax(q, temperature=temperature, noise=noise), self._state())
        if self.pad is None:
            return relaxed
        # what follows becomes PAD in proportion to how much the revealed token is
        share = (relaxed[..., self.pad, None] * first).sum(1, keepdim=True)
        padded = torch.zeros_like(relaxed)
        padded[..., self.pad] = 1.0
        ended = (1 - share) * relaxed + share * padded
        return torch.where(self.following[..., None], ended, relaxed)

    def settled(self, x_s: Float[Tensor, "B L V"]) -> Int[Tensor, "B L"]:
        """The most probable token, and what it settles: of what follows PAD, MASK may still be the larger part."""
        return self._after(x_s.argmax(-1).gather(-1, self._place)[None])[0]

    def log_prob(self, x_s: Int[Tensor, "B L"]) -> Float[Tensor, " B"]:
        token = x_s.gather(-1, self._place)
        log_p = self._law().squeeze(1).gather(-1, token.clamp(max=self.log_probs.shape[-1] - 1)).squeeze(-1)
        log_p = torch.where(self.masked.any(-1), log_p, 0.0)
        revealed = token.squeeze(-1) != self.log_probs.shape[-1]
        possible = revealed & (x_s == self._after(token[None])[0]).all(-1)
        return torch.where(possible, log_p, -torch.inf)

    @property
    def reveal(self) -> Float[Tensor, "B L"]:
        return self.first.double()

    @property
    def _place(self) -> Int[Tensor, "B 1"]:
        """The first masked position's number; 0 where there is none."""
        return self.masked.long().argmax(-1, keepdim=True)

    def _law(self) -> Float[Tensor, "B 1 K"]:
        """The token law at that position."""
        place = self._place[..., None].expand(-1, 1, self.log_probs.shape[-1])
        return self.log_probs.gather(1, place)

    def _after(self, token: Int[Tensor, "M B 1"]) -> Int[Tensor, "M B L"]:
        """The states after these tokens were revealed."""
        return _ended(torch.where(self.first, token, self._ids()), token, self.following, self.pad)


def _ended(
    x_s: Int[Tensor, "*M B L"], token: Int[Tensor, "*M B 1"], following: Bool[Tensor, "B L"], pad: int | None
) -> Int[Tensor, "*M B L"]:
    """PAD, where it was revealed, settles what follows."""
    return x_s if pad is None else torch.where(following & (token == pad), pad, x_s)


def _first(masked: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
    return masked & (masked.cumsum(-1) == 1)


def _following(masked: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
    known = ((masked.cumsum(-1) > 0) & ~masked).cumsum(-1) > 0
    return masked & ~known & ~_first(masked)

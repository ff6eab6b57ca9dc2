"""Which masked tokens a reverse step reveals, and at what time the network is asked.

Each rule offers the same two things, so that every steering method runs with every rule: the time at which a step
acts (per design), and the law of the step.

- `Ancestral`: each masked token is revealed with probability 1 - m_s/m_t, independently; the exact reverse of the
  factorised model on a time grid (Sahoo et al. 2024, arXiv 2406.07524).
- `FirstHitting`: one token a step, at the exact time of the next event; L steps, no grid error
  (Zheng et al. 2024, Masked Diffusion Models are Secretly Time-Agnostic Masked Models, arXiv 2409.02908).
- `KTokens`: k tokens a step at uniformly chosen masked positions; first-hitting's law at k = 1.
- `gendesign.diffusion.in_order.InOrder`: one token a step, from the first position on.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor
from torch.nn import functional as F

from gendesign.building import Configurable, finite, whole
from gendesign.diffusion.process import Transition
from gendesign.diffusion.schedules import Schedule
from gendesign.divergences import ReverseKL


class Unmasking(Configurable, ABC):
    """A rule of unmasking.

    Attributes:
        ordered: whether a state says which position is next.
    """

    ordered: ClassVar[bool] = False

    def next_places(self, masked: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        """Where the next token may be revealed."""
        return masked

    def reveal(
        self, x: Int[Tensor, "B L"], place: Int[Tensor, " B"], token: Int[Tensor, " B"], *, mask: int
    ) -> Int[Tensor, "B L"]:
        """The states that follow when one of these places is revealed as a token."""
        return x.scatter(1, place[:, None], token[:, None])

    @abstractmethod
    def num_steps(self, steps: int, num_free: int) -> int:
        """Steps that a run takes which asks for `steps` and has `num_free` masked positions."""

    def event_time(
        self,
        masked: Bool[Tensor, "B L"],
        t: Float[Tensor, " B"] | None,
        step: int,
        times: Float[Tensor, " E"],
        schedule: Schedule,
        *,
        generator: Generator,
    ) -> Float[Tensor, " B"]:
        """The time at which step number `step` acts on designs with these masked positions.

        By default the one at which a design of L positions has as many masked tokens on average.
        """
        return schedule.time(masked.double().mean(-1))

    @abstractmethod
    def transition(
        self,
        log_probs: Float[Tensor, "B L K"],
        x_t: Int[Tensor, "B L"] | Float[Tensor, "B L V"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
        schedule: Schedule,
    ) -> Transition:
        """The law of the step."""


class Ancestral(Unmasking):
    """Independent reveals on a time grid."""

    def num_steps(self, steps: int, num_free: int) -> int:
        return whole("steps", steps)

    def event_time(
        self,
        masked: Bool[Tensor, "B L"],
        t: Float[Tensor, " B"] | None,
        step: int,
        times: Float[Tensor, " E"],
        schedule: Schedule,
        *,
        generator: Generator,
    ) -> Float[Tensor, " B"]:
        return times[step].to(masked.device).expand(len(masked))

    def transition(
        self,
        log_probs: Float[Tensor, "B L K"],
        x_t: Int[Tensor, "B L"] | Float[Tensor, "B L V"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
        schedule: Schedule,
    ) -> FactorisedTransition:
        stay = schedule.mask_probability(s.double()) / schedule.mask_probability(t.double())
        return FactorisedTransition(log_probs, x_t, stay)


class KTokens(Unmasking):
    """A fixed number of tokens a step, at uniformly chosen masked positions.

    Args:
        k: tokens a step.
    """

    def __init__(self, k: int = 1) -> None:
        self.k = whole("k", k)

    def num_steps(self, steps: int, num_free: int) -> int:
        return math.ceil(num_free / self.k)

    def transition(
        self,
        log_probs: Float[Tensor, "B L K"],
        x_t: Int[Tensor, "B L"] | Float[Tensor, "B L V"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
        schedule: Schedule,
    ) -> UniformOrderTransition:
        return UniformOrderTransition(log_probs, x_t, self.k)


class FirstHitting(KTokens):
    """One token a step, at exact event times: from m_t with n masked tokens, the next m_s is m_t u^(1/n)."""

    def __init__(self) -> None:
        super().__init__(1)

    def event_time(
        self,
        masked: Bool[Tensor, "B L"],
        t: Float[Tensor, " B"] | None,
        step: int,
        times: Float[Tensor, " E"],
        schedule: Schedule,
        *,
        generator: Generator,
    ) -> Float[Tensor, " B"]:
        start = (
            torch.ones(len(masked), dtype=torch.float64, device=masked.device) if t is None else t.double()
        )
        u = torch.rand(len(masked), dtype=torch.float64, device=masked.device, generator=generator)
        count = masked.sum(-1)
        event = schedule.time(schedule.mask_probability(start) * u ** (1 / count.clamp(min=1)))
        return torch.where(count > 0, event, torch.zeros_like(event))


@dataclass(frozen=True)
class TokenTransition(Transition):
    """What both transitions share: token laws, and the state they start from.

    Attributes:
        log_probs: clean token log-probabilities.
        x_t: token ids (MASK = K), or relaxed one-hots whose last channel is MASK.
    """

    log_probs: Float[Tensor, "B L K"]
    x_t: Int[Tensor, "B L"] | Float[Tensor, "B L V"]

    @property
    def masked(self) -> Bool[Tensor, "B L"]:
        if self.x_t.is_floating_point():
            return self.x_t.argmax(-1) == self.log_probs.shape[-1]
        return self.x_t == self.log_probs.shape[-1]

    @property
    def mask_weight(self) -> Float[Tensor, "B L"]:
        """How much of each position is MASK: 0 or 1, or between on relaxed states."""
        return self.x_t[..., -1] if self.x_t.is_floating_point() else self.masked.to(self.log_probs)

    @property
    @abstractmethod
    def reveal(self) -> Float[Tensor, "B _"]:
        """The chance of each masked token to be revealed in this step: [B, L], or [B, 1] where a row shares it."""

    def settled(self, x_s: Float[Tensor, "B L V"]) -> Int[Tensor, "B L"]:
        """The most probable tokens; with Gumbel noise they are an exact draw, at any temperature."""
        return x_s.argmax(-1)

    def kl(self, other: Transition) -> Float[Tensor, " B"]:
        """KL(self || other) in nats; on relaxed states positions count in proportion to their MASK."""
        assert isinstance(other, TokenTransition)
        each = ReverseKL().between(self.log_probs, other.log_probs)
        return (self.reveal * self.mask_weight * each).sum(-1)

    def _state(self) -> Float[Tensor, "B L V"]:
        if self.x_t.is_floating_point():
            return self.x_t
        return F.one_hot(self.x_t, self.log_probs.shape[-1] + 1).to(self.log_probs)

    def _ids(self) -> Int[Tensor, "B L"]:
        return self.x_t.argmax(-1) if self.x_t.is_floating_point() else self.x_t

    def _token_log_prob(self, x_s: Int[Tensor, "B L"]) -> Float[Tensor, "B L"]:
        clean = x_s.clamp(max=self.log_probs.shape[-1] - 1)
        return self.log_probs.gather(-1, clean[..., None]).squeeze(-1)

    def _relax(
        self, log_q: Float[Tensor, "B L V"], *, temperature: float, noise: Float[Tensor, "B L V"]
    ) -> Float[Tensor, "B L V"]:
        """Gumbel-softmax of masked positions; what is already unmasked is copied in proportion."""
        finite("temperature", temperature, above=0.0)
        drawn = ((log_q - torch.log(-torch.log(noise))) / temperature).softmax(-1)
        state = self._state()
        copied = 1 - state[..., -1:]
        return copied * state + (1 - copied) * drawn

    def _noise(self, generator: Generator | None) -> Float[Tensor, "B L V"]:
        shape = (*self.log_probs.shape[:-1], self.log_probs.shape[-1] + 1)
        u = torch.rand(shape, dtype=self.log_probs.dtype, device=self.log_probs.device, generator=generator)
        return u.clamp(min=torch.finfo(u.dtype).tiny)  # rand may return 0, whose double log is infinite


@dataclass(frozen=True)
class FactorisedTransition(TokenTransition):
    """A masked token stays masked with probability `stay`, else becomes v with probability p_v.

    Attributes:
        stay: m_s/m_t of each design.
    """

    stay: Float[Tensor, " B"]

    def sample(self, num: int, *, generator: Generator) -> Int[Tensor, "M B L"]:
        masked = self.masked
        device = masked.device
        u = torch.rand((num, *masked.shape), dtype=torch.float64, device=device, generator=generator)
        reveal = masked & (u >= self.stay[:, None])
        return torch.where(reveal, categorical(self.log_probs, num, generator=generator), self._ids())

    def rsample(
        self, *, temperature: float, generator: Generator | None = None, noise: Tensor | None = None
    ) -> Float[Tensor, "B L V"]:
        stay = self.stay[:, None, None].to(self.log_probs)
        q = torch.cat(
            [self.log_probs + torch.log1p(-stay), stay.log().expand_as(self.log_probs[..., :1])], -1
        )
        return self._relax(
            q, temperature=temperature, noise=self._noise(generator) if noise is None else noise
        )

    def log_prob(self, x_s: Int[Tensor, "B L"]) -> Float[Tensor, " B"]:
        stay = self.stay[:, None]
        is_mask = x_s == self.log_probs.shape[-1]
        jump = torch.where(is_mask, stay.log(), torch.log1p(-stay) + self._token_log_prob(x_s))
        copied = torch.where(x_s == self._ids(), 0.0, -torch.inf)
        return torch.where(self.masked, jump, copied).sum(-1)

    @property
    def reveal(self) -> Float[Tensor, "B 1"]:
        return 1 - self.stay[:, None]


@dataclass(frozen=True)
class UniformOrderTransition(TokenTransition):
    """k masked positions, chosen uniformly, are revealed with their token laws.

    Attributes:
        k: tokens a step; the last step may have fewer left.
    """

    k: int

    def _count(self) -> tuple[Int[Tensor, " B"], Int[Tensor, " B"]]:
        left = self.masked.sum(-1)
        return left, left.clamp(max=self.k)

    def _positions(self, num: int, generator: Generator | None) -> Bool[Tensor, "M B L"]:
        masked = self.masked
        shape = (num, *masked.shape)
        key = torch.rand(shape, dtype=torch.float64, device=masked.device, generator=generator)
        rank = key.masked_fill(~masked, 2.0).argsort(-1).argsort(-1)
        return masked & (rank < self.k)

    def sample(self, num: int, *, generator: Generator) -> Int[Tensor, "M B L"]:
        reveal = self._positions(num, generator)
        return torch.where(reveal, categorical(self.log_probs, num, generator=generator), self._ids())

    def rsample(
        self, *, temperature: float, generator: Generator | None = None, noise: Tensor | None = None
    ) -> Float[Tensor, "B L V"]:
        noise = self._noise(generator) if noise is None else noise
        # the MASK channel of the noise orders the positions, the others draw the tokens
        rank = noise[..., -1].masked_fill(~self.masked, 2.0).argsort(-1).argsort(-1)
        reveal = (self.masked & (rank < self.k))[..., None]
        q = torch.cat([self.log_probs, torch.full_like(self.log_probs[..., :1], -torch.inf)], -1)
        drawn = self._relax(q, temperature=temperature, noise=noise)
        return torch.where(reveal, drawn, self._state())

    def log_prob(self, x_s: Int[Tensor, "B L"]) -> Float[Tensor, " B"]:
        left, count = (number.double() for number in self._count())
        revealed = self.masked & (x_s != self.log_probs.shape[-1])
        tokens = torch.where(revealed, self._token_log_prob(x_s), 0.0).sum(-1)
        order = -(torch.lgamma(left + 1.0) - torch.lgamma(count + 1.0) - torch.lgamma(left - count + 1.0))
        copied = (self.masked | (x_s == self._ids())).all(-1)
        possible = copied & (revealed.sum(-1) == count)
        return torch.where(possible, tokens + order.to(tokens), -torch.inf)

    @property
    def reveal(self) -> Float[Tensor, "B 1"]:
        left, count = self._count()
        return (count / left.clamp(min=1).double())[:, None]


def categorical(log_probs: Float[Tensor, "B L K"], num: int, *, generator: Generator) -> Int[Tensor, "M B L"]:
    """`num` draws from each categorical, by inverting its distribution function in float64.

    Args:
        log_probs: normalised log-probabilities.
        num: draws a categorical, M.
        generator: source of the uniforms.
    """
    cumulative = log_probs.double().exp().cumsum(-1)
    shape = (num, *log_probs.shape[:-1])
    u = torch.rand(shape, dtype=torch.float64, device=log_probs.device, generator=generator)
    # counting the thresholds passed, one token at a time, keeps memory at M x B x L
    index = torch.zeros(shape, dtype=torch.long, device=log_probs.device)
    scaled = u * cumulative[..., -1]
    for k in range(log_probs.shape[-1] - 1):
        index += scaled >= cumulative[..., k]
    return index

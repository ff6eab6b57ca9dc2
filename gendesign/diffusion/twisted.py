"""Masked steps whose tokens are tilted: the proposals of guidance and of twisted particle filters.

With g(l, v) the log of how much better a design becomes when position l is revealed as v (0 where it stays masked), a
step of independent reveals becomes, at each masked position,

    q(v) = p(v) exp(g(v)) / S,   S = sum_v p(v) exp(g(v)),   v over the tokens and MASK,

so that where and when tokens are revealed is tilted too. With one token a step the law is tilted jointly over
(position, token); with k tokens the positions stay uniform, and in order the first is.

Nisonoff et al. 2024, Unlocking Guidance for Discrete State-Space Diffusion and Flow Models, arXiv 2406.01572.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from gendesign.diffusion.in_order import OrderedTransition
from gendesign.diffusion.process import Transition
from gendesign.diffusion.unmasking import FactorisedTransition, UniformOrderTransition, categorical
from gendesign.errors import UnsupportedError


def twist(base: Transition, tilt: Float[Tensor, "B L K"]) -> Transition:
    """Tilt a masked step.

    Args:
        base: p(x_s | x_t).
        tilt: g, in nats; read at masked positions.

    Raises:
        UnsupportedError: not a step of masked diffusion.
    """
    if isinstance(base, FactorisedTransition):
        stay = base.stay[:, None, None].expand(*tilt.shape[:2], 1)
        log_p = torch.cat([torch.log1p(-stay) + base.log_probs, stay.log()], -1)
        log_q = (log_p + torch.nn.functional.pad(tilt, (0, 1))).log_softmax(-1)
        return TwistedReveals(base.x_t, log_q)
    if isinstance(base, OrderedTransition):
        return replace(base, log_probs=(base.log_probs + tilt).log_softmax(-1))
    if not isinstance(base, UniformOrderTransition):
        raise UnsupportedError(
            f"{type(base).__name__} is no step of masked diffusion; guide its mean instead"
        )
    if base.k > 1:
        return replace(base, log_probs=(base.log_probs + tilt).log_softmax(-1))
    # p(l, v) is p_l(v) over the number of masked positions, which the normalisation takes care of
    log_p = base.log_probs.masked_fill(~base.masked[..., None], -torch.inf)
    return TwistedEvent(base.x_t, (log_p + tilt).flatten(1).log_softmax(-1))


@dataclass(frozen=True)
class _Twisted(Transition):
    """What both laws share.

    Attributes:
        x_t: token ids, MASK = K.
        log_q: of the step.
    """

    x_t: Int[Tensor, "B L"]
    log_q: Tensor

    def rsample(
        self, *, temperature: float, generator: Generator | None = None, noise: Tensor | None = None
    ) -> Tensor:
        raise UnsupportedError("tilted steps are proposals, not to be differentiated; use the base step")

    def kl(self, other: Transition) -> Float[Tensor, " B"]:
        raise UnsupportedError("tilted steps differ in kind from base ones; average log_prob differences")


@dataclass(frozen=True)
class TwistedReveals(_Twisted):
    """Each masked position becomes v, or stays MASK, with probability q(v): log_q is Float[B L V]."""

    def sample(self, num: int, *, generator: Generator) -> Int[Tensor, "M B L"]:
        drawn = categorical(self.log_q, num, generator=generator)
        return torch.where(self._masked, drawn, self.x_t)

    def log_prob(self, x_s: Int[Tensor, "B L"]) -> Float[Tensor, " B"]:
        jump = self.log_q.gather(-1, x_s[..., None]).squeeze(-1)
        copied = torch.where(x_s == self.x_t, 0.0, -torch.inf).to(jump)
        return torch.where(self._masked, jump, copied).sum(-1)

    @property
    def _masked(self) -> Tensor:
        return self.x_t == self.log_q.shape[-1] - 1


@dataclass(frozen=True)
class TwistedEvent(_Twisted):
    """One position is revealed, drawn together with its token: log_q is Float[B L*K]; NaN where none is masked."""

    def sample(self, num: int, *, generator: Generator) -> Int[Tensor, "M B L"]:
        tokens = self._tokens
        log_q = self.log_q.nan_to_num(nan=0.0, neginf=-torch.inf)
        drawn = categorical(log_q[:, None], num, generator=generator).squeeze(-1)[..., None]
        place = torch.arange(self.x_t.shape[1], device=drawn.device)
        revealed = (place == drawn // tokens) & (self.x_t == tokens)
        return torch.where(revealed, drawn % tokens, self.x_t)

    def log_prob(self, x_s: Int[Tensor, "B L"]) -> Float[Tensor, " B"]:
        tokens, place = self._tokens, torch.arange(self.x_t.shape[1], device=x_s.device)
        changed = x_s != self.x_t
        event = torch.where(changed, place * tokens + x_s, 0).sum(-1)
        one = (changed.sum(-1) == 1) & ((self.x_t == tokens) | ~changed).all(-1)
        event = torch.where(one, event, 0)
        found = self.log_q.gather(-1, event[:, None]).squeeze(-1)
        none_left = (self.x_t != tokens).all(-1) & ~changed.any(-1)
        return torch.where(none_left, 0.0, torch.where(one, found, -torch.inf))

    @property
    def _tokens(self) -> int:
        return self.log_q.shape[-1] // self.x_t.shape[-1]

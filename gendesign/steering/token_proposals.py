"""Guided steps of masked diffusion: token laws tilted with exp(Delta/alpha).

Delta(l, v) is by how much the value changes when position l is revealed as v; a token that stays masked has 0.

- `MaskedExact` values every state with one more token revealed, L·K of them a particle. It is for values that read x_t
  themselves (learned ones): a look-ahead would cost a network call each.
- `FirstOrder` linearises the relaxed reward in the probabilities of the clean tokens, P = p(x_0 | x_t):

      Delta(l, v) = sum_u (e_v - P_l)_u dr/dP(l, u),

  one gradient of the reward and no product through the network: what revealing l changes in the predictions elsewhere
  is left out. (A product with the network's Jacobian would bring that in together with what the network says of l when
  it sees l, for which it was never trained.)

Nisonoff et al. 2024, Unlocking Guidance for Discrete State-Space Diffusion and Flow Models, arXiv 2406.01572.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gendesign.diffusion.masked import MaskedDiffusion, TokenPrediction
from gendesign.diffusion.process import Prediction, Transition
from gendesign.diffusion.twisted import twist
from gendesign.errors import UnsupportedError
from gendesign.steering.needs import Needs
from gendesign.steering.particles import Cost, Plan
from gendesign.steering.proposals import Guided, Proposal, Target, relaxed_value
from gendesign.steering.value import StateValue

ROWS = 4096
"""States that are valued in one call."""


@dataclass(frozen=True)
class GuidedTokens(TokenPrediction, Guided):
    """Clean token log-probabilities, and the change of value that each reveal brings.

    Attributes:
        change: Delta, in the reward's unit; 0 at known positions.
        reward_calls: see `Guided`.
        failures: see `Guided`.
        value_rows: see `Guided`.
    """

    change: Float[Tensor, "B L K"] = None  # type: ignore[assignment]
    reward_calls: int = 0
    failures: int = 0
    value_rows: int = 0

    def __getitem__(self, index: Tensor) -> GuidedTokens:
        return GuidedTokens(self.log_probs[index], change=self.change[index])

    def append(self, other: Prediction) -> GuidedTokens:
        assert isinstance(other, GuidedTokens)
        return GuidedTokens(
            torch.cat([self.log_probs, other.log_probs]),
            self.rows + other.rows,
            torch.cat([self.change, other.change]),
            self.reward_calls + other.reward_calls,
            self.failures + other.failures,
            self.value_rows + other.value_rows,
        )


class TokenGuidance(Proposal):
    """Base of masked proposals: a step's token laws are tilted."""

    def __call__(
        self, target: Target, prediction: Any, x: Tensor, t: Float[Tensor, " B"], s: Float[Tensor, " B"]
    ) -> tuple[Transition, Transition]:
        p = target.backbone.process.transition(prediction, x, t, s)
        return twist(p, prediction.change / target.alpha), p


class MaskedExact(TokenGuidance):
    """Every single reveal is valued: with the exact soft value and one token a step this is p*(x_s | x_t) itself."""

    # the neighbours are valued at the state's own time
    needs = Needs(time_independent=True, density=True, process="masked")
    alternative = "FirstOrder"

    def predict(
        self, target: Target, x: Int[Tensor, "B L"], t: Float[Tensor, " B"], *, template: Tensor | None = None
    ) -> GuidedTokens:
        value, codec = target.value, target.backbone.codec
        if not isinstance(value, StateValue) or target.reward is None:
            raise UnsupportedError(
                "MaskedExact values all L·K neighbours of a state, which needs a value that reads states, such as "
                f"LearnedValue; got {type(value).__name__}: fit one (gendesign fit-value), or use FirstOrder"
            )
        prediction = target.backbone.predict(x, t, template=template)
        assert isinstance(prediction, TokenPrediction)
        tokens = prediction.log_probs.shape[-1]
        process = target.backbone.process
        assert isinstance(process, MaskedDiffusion)
        unmasking = process.unmasking
        row, place = unmasking.next_places(x == tokens).nonzero(as_tuple=True)
        change = torch.zeros_like(prediction.log_probs)
        calls = failures = 0
        noisy = (x == tokens).any(-1)
        values = torch.full_like(t, torch.nan, dtype=torch.float64)
        own = value.value(target.reward, codec, x[noisy], t[noisy], alpha=target.alpha)
        values[noisy], rows = own.values, own.rows
        for part in torch.arange(len(row), device=x.device).split(max(1, ROWS // tokens)):
            near = x[row[part]].repeat_interleave(tokens, 0)
            revealed = torch.arange(tokens, device=x.device).repeat(len(part))
            near = unmasking.reveal(near, place[part].repeat_interleave(tokens), revealed, mask=tokens)
            time = t[row[part]].repeat_interleave(tokens)
            found = value.value(target.reward, codec, near, time, alpha=target.alpha)
            # a neighbour that cannot be valued inherits, which is no tilt
            parent = values[row[part]].repeat_interleave(tokens)
            delta = torch.where(found.ok, found.values - parent, 0.0)
            change[row[part], place[part]] = delta.view(-1, tokens)
            calls, failures = calls + found.reward_calls, failures + int((~found.ok).sum())
            rows += found.rows
        return GuidedTokens(prediction.log_probs, prediction.rows, change, calls, failures, rows)

    def bound(self, plan: Plan, states: Sequence[int], *, revisits: bool) -> Cost:
        """A state's own value and those of all its neighbours, which are designs where one position is masked."""
        free = plan.length if plan.num_free is None else plan.num_free
        ahead = range(plan.steps, -1, -1)  # steps still to come at each look
        ends = 0
        if plan.ordered:  # one place a state: the token that ends a design makes one, any at its last place
            masked, last, ends = [min(free, 1)] * plan.steps + [0], states[-2], sum(states[:-2])
        elif plan.reveals:
            masked = [min(free, plan.reveals * left) for left in ahead]
            last = states[-2]  # before the last step one position may be masked, and before no other
        elif revisits:
            masked, last = [free] * plan.steps + [0], sum(states[:-1])
        else:  # a state is looked at again only with fewer positions masked
            masked, last = [max(0, free - look) for look in range(plan.steps)] + [0], max(states[:-1])
        near = [num * count * plan.tokens for num, count in zip(states, masked, strict=True)]
        return Cost(reward_calls=last * plan.tokens + ends, value_rows=sum(states[:-1]) + sum(near))


class FirstOrder(TokenGuidance):
    """The change of the relaxed reward, to first order."""

    needs = Needs(gradient=True, density=True, process="masked")
    rewards_per_step = 1

    def predict(
        self, target: Target, x: Int[Tensor, "B L"], t: Float[Tensor, " B"], *, template: Tensor | None = None
    ) -> GuidedTokens:
        prediction = target.backbone.predict(x, t, template=template)
        assert isinstance(prediction, TokenPrediction)
        masked = x == prediction.log_probs.shape[-1]
        change, left = torch.zeros_like(prediction.log_probs), masked.any(-1)
        if not bool(left.any()):  # nothing is left to guide
            return GuidedTokens(prediction.log_probs, prediction.rows, change)
        with torch.enable_grad():
            p = prediction.log_probs[left].exp().requires_grad_()
            (gradient,) = torch.autograd.grad(relaxed_value(target, p).sum(), p)
        found = gradient - (p.detach() * gradient).sum(-1, keepdim=True)
        fine = found.isfinite().flatten(1).all(-1)
        change[left] = torch.where(masked[left][..., None] & fine[:, None, None], found, 0.0)
        return GuidedTokens(prediction.log_probs, prediction.rows, change, len(p), int((~fine).sum()))

"""How far a law q may be from the base p: the divergences that a reward is traded against.

    maximise  E_q[r] - alpha D_f(q || p),    D_f(q || p) = E_p[f(w)],   w = q/p,

whose maximiser has the weights  f'(w) = (r - lambda)/alpha, clipped at 0, with lambda such that E_p[w] = 1. Fine-tuning
uses D_f of each decision along the path, reweighting uses w.

- `ReverseKL`: f = w log w - w + 1, w ∝ exp(r/alpha).
- `ChiSquared`: f = (w - 1)^2, w = [1 + (r - lambda)/(2 alpha)]_+: it forbids most what the base holds improbable, and
  cannot be bought off by a small chance of a large ratio (Laidlaw et al. 2024, Correlated Proxies: A New Definition and
  Improved Mitigation for Reward Hacking, arXiv 2403.03185).
- `AlphaDivergence` of order a: f = (w^a - a w + a - 1)/(a (a - 1)), w = [1 + (a - 1)(r - lambda)/alpha]_+^(1/(a - 1));
  reverse KL at a = 1, half of chi-squared at a = 2, forward KL at a = 0 (Cressie and Read 1984, Multinomial
  Goodness-of-Fit Tests).

Everything is computed from logarithms of ratios, so that no temperature overflows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import Configurable, finite


class Divergence(Configurable, ABC):
    """An f-divergence of a law q from the base p."""

    @abstractmethod
    def per_draw(self, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """f(w)/w at log w = log q/p, whose mean over draws of q is D_f(q || p)."""

    @abstractmethod
    def log_weights(
        self, reward: Float[Tensor, "*B M"], alpha: float, log_p: Float[Tensor, "*B M"] | None = None
    ) -> Float[Tensor, "*B M"]:
        """Log q*/p of the best law over M outcomes, up to a constant a row; -inf where it has none.

        Args:
            reward: of each outcome; -inf excludes one.
            alpha: temperature in the reward's unit.
            log_p: log of the base law, unnormalised; None: all outcomes alike.
        """

    def between(self, log_q: Float[Tensor, "*B K"], log_p: Float[Tensor, "*B K"]) -> Float[Tensor, "*B"]:
        """D_f(q || p) of two normalised categorical laws, differentiable; -inf in both is a certain token."""
        possible = log_q > -torch.inf
        ratio = torch.where(possible, log_q, 0.0) - torch.where(possible, log_p, 0.0)
        return torch.where(possible, log_q.exp() * self.per_draw(ratio), 0.0).sum(-1) + self._missed(
            possible, log_p
        )

    def _missed(self, possible: Tensor, log_p: Tensor) -> Tensor | float:
        """f(0) times the base's chance of what q never does."""
        return 0.0


class ReverseKL(Divergence):
    """KL(q || p), the default."""

    def per_draw(self, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """Log w; the rest of f(w)/w, 1/w - 1, has mean 0 and is left out."""
        return log_ratio

    def log_weights(
        self, reward: Float[Tensor, "*B M"], alpha: float, log_p: Float[Tensor, "*B M"] | None = None
    ) -> Float[Tensor, "*B M"]:
        return reward / finite("alpha", alpha, above=0.0)


class AlphaDivergence(Divergence):
    """The alpha family.

    Args:
        order: a; larger forbids large ratios more, smaller forbids giving up what the base does.
    """

    scale = 1.0
    """What f is multiplied with."""

    def __init__(self, order: float = 2.0) -> None:
        self.order = finite("order", order)

    def per_draw(self, log_ratio: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        a = self.order
        if a == 1:
            value = log_ratio + torch.expm1(-log_ratio)
        elif a == 0:
            value = 1 - (1 + log_ratio) * (-log_ratio).exp()
        else:
            value = (torch.expm1((a - 1) * log_ratio) + (a - 1) * torch.expm1(-log_ratio)) / (a * (a - 1))
        return self.scale * value

    def log_weights(
        self, reward: Float[Tensor, "*B M"], alpha: float, log_p: Float[Tensor, "*B M"] | None = None
    ) -> Float[Tensor, "*B M"]:
        a, alpha = self.order, finite("alpha", alpha, above=0.0) * self.scale
        if a == 1:
            return reward / alpha
        reward = reward.double()
        best = reward.amax(-1, keepdim=True)
        below = (reward - best) / alpha  # at most 0, -inf where excluded
        base = torch.zeros_like(reward) if log_p is None else log_p.double()
        base = torch.where(below > -torch.inf, base, -torch.inf).log_softmax(-1)
        # u = (best - lambda)/alpha: the sum of p w rises with it, from at most 1 at u = 0 to at least 1 at u = high
        low = torch.zeros_like(best)
        high = -torch.where(below > -torch.inf, below, 0.0).amin(-1, keepdim=True)
        if a < 1:
            high = high.clamp(max=1 / (1 - a))
        for _ in range(200):
            middle = (low + high) / 2
            enough = (base + self._log_ratio(below + middle)).logsumexp(-1, keepdim=True) >= 0
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        return self._log_ratio(below + (low + high) / 2)

    def _log_ratio(self, z: Tensor) -> Tensor:
        """Log [1 + (a - 1) z]_+^(1/(a - 1))."""
        inside = ((self.order - 1) * z).clamp(min=-1.0)
        return torch.where(z == -torch.inf, -torch.inf, torch.log1p(inside) / (self.order - 1))

    def _missed(self, possible: Tensor, log_p: Tensor) -> Tensor | float:
        if self.order <= 0:  # f(0) is infinite: never giving up anything is the point of these orders
            return torch.where(~possible & (log_p > -torch.inf), math.inf, 0.0).sum(-1)
        return self.scale / self.order * torch.where(possible, 0.0, log_p.exp()).sum(-1)


class ChiSquared(AlphaDivergence):
    """chi^2(q || p) = E_q[q/p] - 1."""

    scale = 2.0

    def __init__(self) -> None:
        super().__init__(2.0)

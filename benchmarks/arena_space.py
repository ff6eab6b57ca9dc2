"""The space of an exact arena: p, r and p* of all strings, and the laws of the methods that need no sampling.

p is the backbone's own law under first-hitting sampling, by dynamic programming over the partly masked strings;
p*(x) ∝ p(x) exp(r(x)/alpha) with r the measured score, 0 where nothing was measured.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from exact_laws import best_of_n_law, guided_law, svdd_law, weighted_law
from safetensors.torch import save_file
from torch import Tensor

from gendesign.diffusion.partial_strings import Enumerated
from gendesign.loading import load_backbone
from gendesign.rewards.base import Reward
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.finetuned import FineTuned
from gendesign.steering.guidance import Guidance
from gendesign.steering.proposals import Base, Target
from gendesign.steering.sampler import Steering
from gendesign.steering.svdd import SVDD
from gendesign.steering.token_proposals import FirstOrder, MaskedExact
from gendesign.steering.unsteered import Unsteered
from gendesign.steering.value import PosteriorMode, StateValue, Value


class Arena:
    """p, r and p* of all strings.

    Args:
        folder: of the backbone that `landscape.py` wrote.
        reward: the measured score.
        alpha: temperature.
    """

    def __init__(self, folder: Path, reward: Reward, alpha: float) -> None:
        self.backbone = load_backbone(folder / "backbone")
        self.reward = reward
        self.alpha = alpha
        self.length, k = self.backbone.codec.length, self.backbone.codec.vocab_size
        self.place = k ** torch.arange(self.length - 1, -1, -1)
        every = torch.cartesian_prod(*[torch.arange(k)] * self.length)
        scores = torch.from_numpy(reward(self.backbone.codec.decode(every)).values)
        self.ok = ~scores.isnan()
        self.r = torch.where(self.ok, scores, 0.0)
        self.space = Enumerated(self.backbone.denoiser.table)
        self.p = self.space.law()
        self.target = (self.p.log() + scores.masked_fill(~self.ok, -torch.inf) / alpha).softmax(0)
        # what an unmeasured design is worth in dynamic programming: e^-20 of the worst measured one
        self.low = torch.where(self.ok, scores, float(scores[self.ok].min()) - 20 * alpha)
        self.soft = self.space.soft_values(self.low, alpha=alpha)
        huge = 1e5  # the limit of this temperature is the mean, of the measured designs
        counted = [torch.where(self.ok, part, -torch.inf) for part in (self.r, torch.zeros_like(self.r))]
        total, share = (self.space.soft_values(part, alpha=huge) for part in counted)
        self.mean = (total - share).nan_to_num(0.0)
        for name in ("soft", "mean"):
            save_file({"values": getattr(self, name)}, folder / f"{name}.safetensors")
        mode = self.space.log_probs.argmax(-1)
        mode = torch.where(self.space.states == k, mode, self.space.states)
        self.mode = self.r[(mode * self.place).sum(-1)]
        order = self.r.argsort()
        reached = self.target[order].cumsum(0)
        self.bin = torch.empty_like(order)
        self.bin[order] = (reached * 10).long().clamp(max=9)

    def _complete(self, values: Tensor) -> Tensor:
        """Values of complete strings, at their places among all."""
        everywhere = torch.zeros(len(self.space.states), dtype=torch.float64)
        everywhere[self.space.complete] = values
        return everywhere

    def deciles(self, q: Tensor) -> Tensor:
        """Mass of a law in each decile of the reward under p*."""
        return torch.zeros(10, dtype=torch.float64).index_add_(0, self.bin, q)

    def measures(self, q: Tensor) -> dict[str, Any]:
        """How far the measured part of a law is from p*."""
        feasible = float(q[self.ok].sum())
        q = torch.where(self.ok, q, 0.0) / feasible
        mine, right = self.deciles(q), self.deciles(self.target)
        return {
            "feasible": feasible,
            "mean_reward": float(q @ self.r),
            "log_p": float(q @ self.p.log()),
            "deciles": mine.tolist(),
            "tv": 0.5 * float((mine - right).abs().sum()),
            "kl_deciles": float(torch.where(mine > 0, mine * (mine / right).log(), 0.0).sum()),
        }

    def exact(self, method: Steering) -> Tensor | None:
        """The law of a method where it is known without sampling."""
        if isinstance(method, Unsteered):
            return self.p
        if isinstance(method, BestOfN):
            if method.selection == "best":
                return best_of_n_law(self.p, self.low, method.candidates)
            return weighted_law(self.p, self.low, alpha=self.alpha, num=method.candidates)
        if isinstance(method, FineTuned) and method.tuned is not None:
            return Enumerated(load_backbone(method.tuned).denoiser.table).law()
        if isinstance(method, Guidance) and isinstance(method.proposal, FirstOrder):
            return guided_law(self.space, self.change(method.proposal), alpha=self.alpha)
        table = self.table(getattr(method, "value", None))
        if table is None or not isinstance(method, SVDD | Guidance):
            return None
        if isinstance(method, Guidance):
            exact = isinstance(method.proposal, MaskedExact)
            return svdd_law(self.space, table, alpha=self.alpha, candidates=math.inf) if exact else None
        if method.selection != "categorical" or type(method.proposal) is not Base or method.paths > 1:
            return None
        return svdd_law(self.space, table, alpha=self.alpha, candidates=method.candidates)

    def change(self, rule: FirstOrder) -> Tensor:
        """What the rule takes each reveal of every partly masked string to be worth."""
        target = Target(self.backbone, self.reward, self.alpha)
        seen = [rule.predict(target, x, torch.ones(len(x))) for x in self.space.states.split(4096)]
        return torch.cat([one.change for one in seen]).double()

    def table(self, value: Value | None) -> Tensor | None:
        """A value of every partly masked string, and the reward of the others; None where the state does not tell."""
        if type(value) is PosteriorMode:  # one of an unmeasured design is the parent's
            return self.mode if bool(self.ok.all()) else None
        if not isinstance(value, StateValue) or value.time_conditioned:
            return None
        codec, clock = self.backbone.codec, torch.zeros(len(self.space.states))
        found = value.read(codec, self.space.states, clock, alpha=self.alpha).double()
        return torch.where(self.space.complete, self._complete(self.low), found)

    def law_measures(self, method: Steering) -> dict[str, Any] | None:
        """Measures of a method's exact law, with its full divergences in nats."""
        start, q = time.process_time(), self.exact(method)
        if q is None:
            return None
        log_q = q.clamp(min=1e-300).log()
        given = torch.where(self.ok, q, 0.0) / q[self.ok].sum()
        log_given = given.clamp(min=1e-300).log()
        to_target = torch.where(given > 0, given * (log_given - self.target.log()), 0.0)
        return self.measures(q) | {
            "kl_to_target": float(to_target.sum()),
            "kl_to_base": float((q * (log_q - self.p.log())).sum()),
            "tv_designs": 0.5 * float((given - self.target).abs().sum()),
            "seconds": time.process_time() - start,
        }

"""DRAKES: fine-tuning by backpropagation through the sampled trajectory.

    maximise  E[r(x_0)] - alpha KL(path || base path)

Masked: each step's sample is the Gumbel-softmax relaxation y of temperature tau, with x_s = c x_t + (1 - c) y and
c = 1 - x_t[MASK], so that what is unmasked is copied; only the last output is made hard (argmax forward, soft backward)
for the reward. Gradients through the relaxation are biased, the more the larger tau; `PolicyGradient` is not.
Continuous: the reparametrised step, whose gradient is exact.

Wang et al. 2024, Fine-Tuning Discrete Diffusion Models via Reward Optimization with Applications to DNA and Protein
Design, arXiv 2410.13643. Clark et al. 2023, Directly Fine-Tuning Diffusion Models on Differentiable Rewards (DRaFT),
arXiv 2309.17400.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.building import finite
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.process import Process, Transition
from gendesign.diffusion.unmasking import TokenTransition
from gendesign.divergences import ReverseKL
from gendesign.errors import ConfigError
from gendesign.rewards.base import Reward
from gendesign.steering.finetuned import FineTuned
from gendesign.steering.needs import Needs
from gendesign.steering.trajectory import Forwards, Outcome, step_divergence

WEIGHTINGS = ("exact", "rate", "published")


@dataclass(frozen=True)
class DRAKES(FineTuned):
    """Fine-tune through the trajectory.

    Args:
        tau: temperature of the relaxation of tokens.
        straight_through: make every step's sample hard (argmax forward, soft backward), not only the last. The least
            biased on small tables; through a deep network its gradient grows quickly with K (benchmarks/README.md), and
            then drowns that of the KL.
        weighting: what each masked token's KL of a step counts. "exact": its chance to be revealed in the step,
            1 - m_s/m_t, which adds up to the path's KL. "rate": 1/m_t without the step's size, T times as much on a
            uniform grid. "published": as the published code has it, tokens v already revealed count x_v/m_t, with
            p log(p/p_base) - p + p_base each; its alpha of .001 belongs to T = 128.
        base_gradient: let the gradient pass through the base network's dependence on x_t too. Left out by default, an
            approximation that drops -p_theta d log p_base/dx_t.
    """

    tau: float = 1.0
    straight_through: bool = False
    weighting: Literal["exact", "rate", "published"] = "exact"
    base_gradient: bool = False

    alternative = "PolicyGradient"

    @property
    def needs(self) -> Needs:
        """A differentiable reward, and reparametrised steps."""
        return Needs(gradient=True, density=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        finite("tau", self.tau, above=0.0)
        if self.weighting not in WEIGHTINGS:
            raise ConfigError(f"weighting must be one of {', '.join(WEIGHTINGS)}, got {self.weighting!r}")
        if self.weighting == "published" and not isinstance(self.measure, ReverseKL):
            raise ConfigError("weighting='published' is one of the KL; choose 'exact' for another divergence")

    def objective(
        self,
        policy: Backbone,
        base: Backbone,
        reward: Reward,
        times: Float[Tensor, " E"],
        num: int,
        *,
        alpha: float,
        generator: Generator,
    ) -> Outcome:
        """-J, differentiable."""
        self.require(reward, policy)
        process, steps = policy.process, len(times) - 1
        # 1. the first T - K steps, without a graph
        x, t, done = self.free_steps(policy, times, num, generator=generator)
        forwards = Forwards(policy=done)
        # 2. the last K, each relaxed, with the cost of leaving the base
        x = process.soft(x)
        cost = free = torch.zeros(num, dtype=torch.float64, device=x.device)
        for step in range(done, steps):
            now = self.moment(policy, times, step, x, t, generator=generator)
            t, noise = now.t, process.step_noise(x, generator=generator)
            old: Any = None
            if now.priced and not self.base_gradient:
                with torch.no_grad():
                    old = process.predict(base.denoiser, x, t)

            def relaxed(x: Tensor, noise: Tensor, now: Any = now, old: Any = old) -> tuple[Tensor, Tensor]:
                law = process.transition(process.predict(policy.denoiser, x, now.t), x, now.t, now.s)
                y = law.rsample(temperature=self.tau, noise=noise)
                y = made_hard(process, law.settled(y), y) if self.straight_through else y
                if not now.priced:
                    return y, free
                known = process.predict(base.denoiser, x, now.t) if old is None else old
                return y, self.price(process, law, process.transition(known, x, now.t, now.s), now.t, y)

            x, spent = self.run(relaxed, x, noise)
            cost = cost + spent
            again = (1 + (now.priced and self.base_gradient)) if self.recompute else 0
            forwards = forwards + Forwards(1, again, int(now.priced))
        # 3. the reward of the designs, hard in value and soft in gradient
        value = reward.relaxed(policy.codec.relax(made_hard(process, process.hard(x), x)))
        loss = -(value.double() - alpha * cost).mean()
        return Outcome(loss, float(value.detach().mean()), float(cost.detach().mean()), forwards, calls=num)

    def price(
        self, process: Process, new: Transition, old: Transition, t: Float[Tensor, " B"], x_s: Tensor
    ) -> Float[Tensor, " B"]:
        """What a step costs, in nats."""
        if self.weighting == "exact" or not isinstance(new, TokenTransition):
            return step_divergence(new, old, x_s, self.measure)[0]
        assert isinstance(process, MaskedDiffusion) and isinstance(old, TokenTransition)
        masked = process.schedule.mask_probability(t.double())
        if self.weighting == "rate":
            each = self.measure.between(new.log_probs, old.log_probs)
            return (new.mask_weight * each).sum(-1) / masked
        p, p_base = new.log_probs.exp(), old.log_probs.exp()
        terms = p * (new.log_probs - old.log_probs) - p + p_base
        tokens = process.soft(new.x_t) if not new.x_t.is_floating_point() else new.x_t
        return ((1 - new.mask_weight) * (terms * tokens[..., :-1]).sum(-1)).sum(-1) / masked


def made_hard(process: Process, state: Tensor, x: Tensor) -> Tensor:
    """The value of the state that a relaxed one stands for, with the gradient of the relaxed one."""
    return process.soft(state).detach() + (x - x.detach())

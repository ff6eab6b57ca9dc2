"""Fine-tuning by policy gradient, for rewards without a gradient: the unbiased sibling of `DRAKES`.

With J = E[r(x_0)] - alpha E[sum_i D_i], D_i what step i costs at the state it starts from,

    grad J = E[ sum_i grad log p_theta(x_{i+1} | x_i) (G_i - b_i) - alpha grad D_i ],   G_i = r - alpha sum_{j > i} D_j,

where b_i is the mean of G_i over the other trajectories of the batch. It is unbiased where every step is differentiated
(K = T).

Williams 1992, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning; Kool et al.
2019, Buy 4 REINFORCE Samples, Get a Baseline for Free!; Fan et al. 2023, DPOK, arXiv 2305.16381.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.errors import ConfigError
from gendesign.rewards.base import Reward
from gendesign.steering.finetuned import FineTuned
from gendesign.steering.trajectory import Forwards, Outcome, step_divergence
from gendesign.steering.value import score_distinct


@dataclass(frozen=True)
class PolicyGradient(FineTuned):
    """Fine-tune by the score function; the reward may be anything that scores designs."""

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
        """A loss whose gradient is an unbiased estimate of that of -J.

        Raises:
            ConfigError: fewer than two trajectories, which have no baseline.
        """
        self.require(reward, policy)
        if num < 2:
            raise ConfigError(f"PolicyGradient needs a batch of at least 2 trajectories, got {num}")
        process, steps = policy.process, len(times) - 1
        # 1. the first T - K steps, without a graph
        x, t, done = self.free_steps(policy, times, num, generator=generator)
        forwards = Forwards(policy=done)
        # 2. the last K: what was drawn, its log-probability, and the cost of leaving the base
        scores, costs = [], []
        estimated = False
        for step in range(done, steps):
            now = self.moment(policy, times, step, x, t, generator=generator)
            t, noise = now.t, process.step_noise(x, generator=generator)
            if not now.priced:  # the base's own step: nothing to learn
                with torch.no_grad():
                    law = process.transition(process.predict(policy.denoiser, x, t), x, t, now.s)
                    x = law.settled(law.rsample(temperature=1.0, noise=noise))
                forwards = forwards + Forwards(policy=1)
                continue
            with torch.no_grad():
                old = process.transition(process.predict(base.denoiser, x, t), x, t, now.s)

            def drawn(x: Tensor, noise: Tensor, now: Any = now, old: Any = old) -> tuple[Tensor, ...]:
                law = process.transition(process.predict(policy.denoiser, x, now.t), x, now.t, now.s)
                y = law.settled(law.rsample(temperature=1.0, noise=noise)).detach()
                cost, guessed = step_divergence(law, old, y, self.measure)
                return y, law.log_prob(y), cost, torch.tensor(guessed)

            x, log_prob, cost, guessed = self.run(drawn, x, noise)
            scores.append(log_prob)
            costs.append(cost)
            estimated = bool(guessed)
            forwards = forwards + Forwards(1, int(self.recompute), 1)
        # 3. returns, less their mean over the other trajectories
        values, ok, calls = score_distinct(reward, policy.codec.decode(x))
        r, fine = torch.from_numpy(values).to(x.device), torch.from_numpy(ok).to(x.device)
        cost, log_prob = torch.stack(costs, 1), torch.stack(scores, 1)
        spent = cost.detach()
        to_go = spent.flip(1).cumsum(1).flip(1)
        # a cost that was estimated from the draw of its own step depends on it
        later = to_go if estimated else to_go - spent
        advantage = leave_one_out(r.nan_to_num()[:, None] - alpha * later, fine)
        loss = -((advantage * log_prob).sum(1) - alpha * cost.sum(1)).mean()
        mean = float(r[fine].mean()) if bool(fine.any()) else float("nan")
        failures = int((~fine).sum())
        return Outcome(loss, mean, float(spent.sum(1).mean()), forwards, failures=failures, calls=calls)


def leave_one_out(returns: Float[Tensor, "B K"], ok: Bool[Tensor, " B"]) -> Float[Tensor, "B K"]:
    """Each return less the mean of the others'; 0 for trajectories whose reward failed, which count for nothing."""
    count = int(ok.sum())
    if count < 2:
        return torch.zeros_like(returns)
    kept = torch.where(ok[:, None], returns, 0.0)
    others = (kept.sum(0) - kept) / (count - 1)
    return torch.where(ok[:, None], returns - others, 0.0)

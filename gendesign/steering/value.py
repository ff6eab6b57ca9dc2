"""Values of noisy states: how good the designs will be that x_t leads to.

The soft value is v_t(x_t) = alpha log E[exp(r(x_0)/alpha) | x_t]. Posterior look-ahead approximates it from one
prediction of the network, without a gradient of r (Li et al. 2024, Derivative-Free Guidance in Continuous and Discrete
Diffusion Models with Soft Value-Based Decoding, arXiv 2408.08252). Where nothing is masked any more, every look-ahead
is the reward itself.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from gendesign.building import Configurable, whole
from gendesign.codecs import Codec
from gendesign.designs import Design, distinct
from gendesign.diffusion.process import Prediction
from gendesign.rewards.base import Reward


@dataclass(frozen=True)
class Valued:
    """Values of states.

    Attributes:
        values: in the reward's unit; NaN where not ok.
        ok: whether the reward could score what the state leads to.
        reward_calls: designs scored.
        rows: noisy states that were read, where the value is one that reads states.
    """

    values: Float[Tensor, " B"]
    ok: Bool[Tensor, " B"]
    reward_calls: int
    rows: int = 0


class Value(Configurable, ABC):
    """A rule that gives states their values."""

    time_conditioned: bool = False
    """Whether equal states at different times may have different values."""

    alpha: float | None = None
    """The only temperature at which the values hold; None: any."""

    rewards_per_state: int = 1
    """The most designs that are scored to value a state."""

    reads_per_state: int = 0
    """How often a noisy state is read to value it."""

    training_calls: int = 0
    """Designs that were scored to learn it."""

    @abstractmethod
    def __call__(
        self,
        reward: Reward,
        codec: Codec,
        x: Tensor,
        t: Float[Tensor, " B"],
        prediction: Prediction,
        *,
        alpha: float,
        generator: Generator,
    ) -> Valued:
        """Value the states.

        Args:
            reward: scores designs.
            codec: decodes them.
            x: states.
            t: their times.
            prediction: the network's prediction at (x, t).
            alpha: temperature, in the reward's unit.
            generator: for look-aheads that draw.
        """


class PosteriorMode(Value):
    """v(x_t) = r(x_hat_0): the most probable token everywhere (the mean, where continuous). Biased, cheap, useful."""

    def __call__(
        self,
        reward: Reward,
        codec: Codec,
        x: Tensor,
        t: Float[Tensor, " B"],
        prediction: Prediction,
        *,
        alpha: float,
        generator: Generator,
    ) -> Valued:
        values, ok, calls = score_distinct(reward, codec.decode(prediction.mode()))
        return Valued(torch.from_numpy(values).to(x.device), torch.from_numpy(ok).to(x.device), calls)


class PosteriorSamples(Value):
    """v(x_t) from k designs drawn from the prediction: their mean reward, or their soft value.

    Args:
        num: k, designs drawn a state.
        soft: alpha log mean exp(r/alpha) instead of the mean.
    """

    def __init__(self, num: int = 4, *, soft: bool = False) -> None:
        self.num = self.rewards_per_state = whole("num", num)
        self.soft = soft

    def __call__(
        self,
        reward: Reward,
        codec: Codec,
        x: Tensor,
        t: Float[Tensor, " B"],
        prediction: Prediction,
        *,
        alpha: float,
        generator: Generator,
    ) -> Valued:
        drawn = prediction.sample(self.num, generator=generator)
        values, ok, calls = score_distinct(reward, codec.decode(drawn.flatten(0, 1)))
        v = torch.from_numpy(values).to(x.device).view(self.num, len(x))
        fine = torch.from_numpy(ok).to(x.device).view(self.num, len(x))
        count = fine.sum(0)  # draws that failed are left out; a state fails when all of its draws do
        if self.soft:
            value = alpha * (
                (v / alpha).masked_fill(~fine, -math.inf).logsumexp(0) - count.clamp(min=1).log()
            )
        else:
            value = v.masked_fill(~fine, 0.0).sum(0) / count.clamp(min=1)
        return Valued(value.masked_fill(count == 0, math.nan), count > 0, calls)


class StateValue(Value):
    """A value that reads x_t itself, so that no prediction of it is needed: learned values, tables.

    Where nothing is left to denoise it is the reward, like every value.
    """

    rewards_per_state = 0
    reads_per_state = 1

    @abstractmethod
    def read(self, codec: Codec, x: Tensor, t: Float[Tensor, " B"], *, alpha: float) -> Float[Tensor, " B"]:
        """Values of noisy states, in the reward's unit.

        Args:
            codec: what the states encode.
            x: states.
            t: their times.
            alpha: temperature, in the reward's unit.
        """

    def value(
        self, reward: Reward, codec: Codec, x: Tensor, t: Float[Tensor, " B"], *, alpha: float
    ) -> Valued:
        """Value states: clean ones by the reward, noisy ones by `read`."""
        clean = t == 0 if x.is_floating_point() else (x != getattr(codec, "mask_id", -1)).all(-1)
        values = torch.full((len(x),), torch.nan, dtype=torch.float64, device=x.device)
        ok, calls = torch.ones_like(clean), 0
        if not bool(clean.all()):
            values[~clean] = self.read(codec, x[~clean], t[~clean], alpha=alpha).double()
        if bool(clean.any()):
            scored, fine, calls = score_distinct(reward, codec.decode(x[clean]))
            values[clean] = torch.from_numpy(scored).to(values)
            ok[clean] = torch.from_numpy(fine).to(ok.device)
        return Valued(values, ok, calls, int((~clean).sum()))

    def __call__(
        self,
        reward: Reward,
        codec: Codec,
        x: Tensor,
        t: Float[Tensor, " B"],
        prediction: Prediction,
        *,
        alpha: float,
        generator: Generator,
    ) -> Valued:
        return self.value(reward, codec, x, t, alpha=alpha)


def score_distinct(reward: Reward, designs: list[Design]) -> tuple[np.ndarray, np.ndarray, int]:
    """Score each different design once.

    Returns:
        Values (NaN where not ok) and ok flags in the order of `designs`, and the number of designs scored.
    """
    different, index = distinct(designs)
    scores = reward(different)
    return scores.values[index], scores.ok[index], len(different)

"""What steering methods and proposals need of a backbone and a reward, declared, and refused where it is missing.

Each method states its needs as data, so that an unsupported pair is refused before anything is spent, and so that the
table of what works with what is generated rather than written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gendesign.backbone import Backbone
from gendesign.codecs import SequenceCodec, TokenCodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.rewards.base import Reward
from gendesign.rl.policies import Trajectories

Kind = Literal["masked", "continuous"]


@dataclass(frozen=True)
class Needs:
    """What must be there.

    Attributes:
        reward: any reward at all.
        gradient: a differentiable reward.
        density: transitions that are random and have a log-density: no solver's steps.
        time_independent: a network whose answer does not depend on the time.
        process: the only kind of process; None: either.
        trajectories: designs that are rows of observations and actions.
    """

    reward: bool = True
    gradient: bool = False
    density: bool = False
    time_independent: bool = False
    process: Kind | None = None
    trajectories: bool = False

    def __or__(self, other: Needs) -> Needs:
        """Both together."""
        return Needs(
            reward=self.reward or other.reward,
            gradient=self.gradient or other.gradient,
            density=self.density or other.density,
            time_independent=self.time_independent or other.time_independent,
            process=self.process or other.process,
            trajectories=self.trajectories or other.trajectories,
        )

    def unmet(self, backbone: Backbone | None, reward: Reward | None) -> str:
        """The first need that is not met, as a phrase that follows the method's name; "" where all are.

        Args:
            backbone: what is to be sampled; None: not looked at.
            reward: what is to be used.
        """
        if backbone is not None:
            kind, name = kind_of(backbone), type(backbone.process).__name__
            if self.process is not None and kind != self.process:
                return f"needs a {self.process} process, this backbone's is {name}"
            if self.trajectories and not isinstance(backbone.codec, Trajectories):
                return f"needs trajectories with observations and actions, {type(backbone.codec).__name__} has none"
            if self.density and kind is None:
                return f"needs transitions with a density, which {name} has not"
            if self.time_independent and backbone.denoiser.time_conditioned:
                return "needs a network that does not depend on the time, this backbone's does"
        if self.reward and reward is None:
            return "needs a reward"
        if self.gradient and reward is not None and not reward.differentiable:
            return f"needs a differentiable reward, {reward.label} is not"
        if (
            self.gradient
            and backbone is not None
            and reward is not None
            and not _same_tokens(backbone, reward)
        ):
            return f"needs a differentiable reward of this backbone's own tokens, {reward.label} reads others"
        return ""


def _same_tokens(backbone: Backbone, reward: Reward) -> bool:
    """Whether a relaxed design's last axis means to the reward what it means to the backbone."""
    codec = backbone.codec
    if not reward.alphabet or not isinstance(codec, TokenCodec):
        return True
    letters = isinstance(codec, SequenceCodec)
    return reward.alphabet == ("" if letters else " ").join(codec.vocabulary)


def kind_of(backbone: Backbone) -> Kind | None:
    """Which kind of process a backbone has."""
    if isinstance(backbone.process, MaskedDiffusion):
        return "masked"
    return "continuous" if isinstance(backbone.process, PoissonFlow) else None

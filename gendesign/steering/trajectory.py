"""One batch of sampled trajectories: what its steps cost, and what is known of it when it is done."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.diffusion.process import Transition
from gendesign.diffusion.student_transition import StudentTransition
from gendesign.diffusion.unmasking import TokenTransition
from gendesign.divergences import Divergence, ReverseKL


@dataclass(frozen=True)
class Forwards:
    """Calls of a network with one batch, by kind.

    Attributes:
        policy: of the network that is trained, while sampling.
        recomputed: of the same, again, in the backward pass.
        base: of the base network.
    """

    policy: int = 0
    recomputed: int = 0
    base: int = 0

    def __add__(self, other: Forwards) -> Forwards:
        return Forwards(
            self.policy + other.policy, self.recomputed + other.recomputed, self.base + other.base
        )


@dataclass(frozen=True)
class Outcome:
    """What one batch of trajectories says.

    Attributes:
        loss: to be minimised; its gradient is that of -J, its value need not be -J.
        reward: mean over the batch, in the reward's unit.
        divergence: mean over the batch of what the differentiated steps cost, in nats.
        forwards: calls of the networks.
        failures: designs that the reward could not score.
        calls: designs that it was asked to score.
    """

    loss: Tensor
    reward: float
    divergence: float
    forwards: Forwards
    failures: int = 0
    calls: int = 0


@dataclass(frozen=True)
class Moment:
    """One step of the time grid.

    Attributes:
        t: time of each design.
        s: the next one.
        priced: whether the policy may differ from the base here; the last, deterministic steps of a continuous
            backbone are the base's.
    """

    t: Float[Tensor, " B"]
    s: Float[Tensor, " B"]
    priced: bool


def step_divergence(
    new: Transition, old: Transition, x_s: Tensor, divergence: Divergence
) -> tuple[Float[Tensor, " B"], bool]:
    """What one step costs, in nats: the divergence of each of its independent decisions, added up.

    For reverse KL the sum over steps is the KL of the paths. For other divergences it is a penalty of its own: theirs
    of a whole path is no sum.

    Args:
        new: the policy's step.
        old: the base's.
        x_s: the state that was drawn from `new`, for laws whose divergence has no closed form.
        divergence: D.

    Returns:
        The cost, and whether it is an estimate from `x_s` (its mean over draws is the divergence) rather than exact.
    """
    if isinstance(new, TokenTransition) and isinstance(old, TokenTransition):
        each = divergence.between(new.log_probs, old.log_probs)
        return (new.reveal * new.mask_weight * each).sum(-1), False
    if isinstance(new, StudentTransition) and new.aug_dim == torch.inf and isinstance(divergence, ReverseKL):
        return new.kl(old), False
    return divergence.per_draw(new.log_prob(x_s) - old.log_prob(x_s)), True

"""Designs are judged anew, independently of what steering saw of them: scores, likelihood, novelty."""

from __future__ import annotations

import numpy as np

from gendesign.backbone import Backbone
from gendesign.design_set import DesignSet
from gendesign.reference import novelty
from gendesign.rewards.base import Reward
from gendesign.steering.particles import Cost, Plan
from gendesign.steering.sampler import Steering
from gendesign.storage import Stored
from gendesign.training_table import training_sequences

LIKELIHOOD_TIMES = 32
"""Mask counts a design in the likelihood of a report."""


def judge_designs(
    backbone: Backbone,
    rewards: dict[str, Reward],
    blocks: list[Stored],
    method: Steering,
    plan: Plan,
    *,
    base: DesignSet | None,
    seed: int,
) -> DesignSet:
    """Score the designs once more and measure them.

    Args:
        backbone: what they were sampled from.
        rewards: by name, the guiding one first.
        blocks: the designs.
        method: how they were steered.
        plan: of the run.
        base: the unsteered designs to keep beside them.
        seed: of the noise of the likelihood bound.
    """
    designs = [text for block in blocks for text in block.designs]
    scores = {name: reward(designs) for name, reward in rewards.items()}
    valid = [i for i, text in enumerate(designs) if backbone.codec.is_valid(text)]
    naturalness = np.full(len(designs), np.nan)
    if valid:
        bound = backbone.log_likelihood([designs[i] for i in valid], num_times=LIKELIHOOD_TIMES, seed=seed)
        naturalness[valid] = bound.cpu().numpy() / [max(1, len(designs[i])) for i in valid]
    reference, training = backbone.reference, training_sequences(backbone)
    alpha = getattr(method, "alpha", None)  # a number, unless the method needs none
    return DesignSet(
        designs=designs,
        scores=scores,
        naturalness=naturalness,
        novelty={} if reference is None else novelty(designs, reference, training=training),
        kl=np.array([kl for block in blocks for kl in block.kl], dtype=np.float64),
        alpha=alpha if isinstance(alpha, (int, float)) else None,
        cost=sum((block.cost for block in blocks), Cost()),
        estimate=method.bound(len(designs), plan),
        provenance={"steering": type(method).__name__},
        base=base,
        reference=reference,
    )

"""Designs are judged anew, independently of what steering saw of them: scores, likelihood, novelty."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gendesign.backbone import Backbone
from gendesign.data.training_arrays import training_arrays
from gendesign.data.training_molecules import training_molecules
from gendesign.data.training_table import training_sequences
from gendesign.design_set import DesignSet
from gendesign.designs import Design
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.errors import UnsupportedError
from gendesign.forms import Form, Molecule, Text, form_of, guess_form, stack
from gendesign.metrics.distances import nearest_array
from gendesign.metrics.molecule_reference import MoleculeReference
from gendesign.metrics.reference import Reference, novelty
from gendesign.metrics.similarity import nearest_molecule
from gendesign.rewards.base import Reward, Scores
from gendesign.steering.particles import Cost, Plan
from gendesign.steering.sampler import Steering
from gendesign.storage import Stored

MASK_COUNTS = 32
"""Mask counts a design in the likelihood bound of a report."""
FLOW_STEPS = 8
"""Steps of the flow, of four evaluations each, in the likelihood of a report: on digits they are off by .2 nats a
design, and the probes of the trace by 4, where designs differ by 19."""


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
        seed: of the noise of the likelihood.
    """
    designs = [design for block in blocks for design in block.designs]
    form = form_of(backbone.codec) or guess_form(designs)
    alpha = getattr(method, "alpha", None)  # a number, unless the method needs none
    compared = _compare(backbone, designs, form)
    guide = next(iter(rewards.values()), None)
    parts = {name: part(designs) for name, part in named_parts(guide, taken=rewards).items()}
    return DesignSet(
        designs=designs,
        scores={name: reward(designs) for name, reward in rewards.items()},
        parts=parts,
        wishes=named_wishes(guide, parts),
        naturalness=_naturalness(backbone, designs, form, seed=seed, max_rows=plan.max_rows),
        novelty=compared.novelty,
        kl=np.array([kl for block in blocks for kl in block.kl], dtype=np.float64),
        alpha=alpha if isinstance(alpha, (int, float)) else None,
        cost=sum((block.cost for block in blocks), Cost()),
        estimate=in_network_rows(method.bound(len(designs), plan), backbone),
        provenance={"steering": type(method).__name__},
        base=base,
        reference=backbone.reference,
        form=form,
        nearest=compared.nearest,
    )


def named_parts(reward: Reward | None, *, taken: Collection[str] = ()) -> dict[str, Reward]:
    """What a reward is made of, by name; parts of one name, such as similarities to two references, are numbered."""
    named: dict[str, Reward] = {}
    for part in getattr(reward, "parts", ()):
        name, number = part.label, 1
        while name in named or name in taken:
            number += 1
            name = f"{part.label} ({number})"
        named[name] = part
    return named


def named_wishes(reward: Reward | None, parts: dict[str, Scores]) -> dict[str, NDArray[np.float64]]:
    """What a reward wants of its parts, by name: what it lowers is negated, and what it bounds is how far beyond."""
    asked = getattr(reward, "wishes", None)
    if asked is None or not parts:
        return {}
    found = zip(parts, asked([scores.values for scores in parts.values()]), strict=True)
    return {wish[0].format(name): np.asarray(wish[1]) for name, wish in found if wish is not None}


def _naturalness(
    backbone: Backbone, designs: list[Design], form: Form, *, seed: int, max_rows: int
) -> NDArray[np.float64]:
    """Log-likelihood of each design over its letters or coordinates, in nats; NaN where the backbone cannot tell."""
    naturalness = np.full(len(designs), np.nan)
    valid = [i for i, design in enumerate(designs) if backbone.codec.is_valid(design)]
    times = MASK_COUNTS if isinstance(backbone.process, MaskedDiffusion) else FLOW_STEPS
    for first in range(0, len(valid), max_rows):
        rows = valid[first : first + max_rows]
        try:
            found = backbone.log_likelihood([designs[i] for i in rows], num_times=times, seed=seed)
        except UnsupportedError:
            break
        # of an image made from latents, the latents have the likelihood
        sizes = [
            form.size(d) if isinstance(d, str) else backbone.codec.length for d in (designs[i] for i in rows)
        ]
        naturalness[rows] = found.cpu().numpy() / np.maximum(1, sizes)
    return naturalness


@dataclass(frozen=True)
class _Compared:
    """Designs beside the training data."""

    novelty: dict[str, NDArray[np.float64]]
    nearest: list[Design] | None = None


def _compare(backbone: Backbone, designs: list[Design], form: Form) -> _Compared:
    """Novelty of the designs, as far as the training data, or what is known of them, are at hand."""
    if isinstance(form, Molecule):
        return _compare_molecules(backbone, [str(design) for design in designs])
    if isinstance(form, Text):
        reference = backbone.reference
        text = [design for design in designs if isinstance(design, str)]
        return _Compared(
            novelty(text, reference, training=training_sequences(backbone))
            if isinstance(reference, Reference)
            else {}
        )
    training = training_arrays(backbone)
    if training is None or not designs:
        return _Compared({})
    distance, rows = nearest_array(form.comparable(designs), stack(form.comparable(list(training))))
    return _Compared({"nearest_distance": distance}, [training[i] for i in rows])


def _compare_molecules(backbone: Backbone, molecules: list[str]) -> _Compared:
    reference = backbone.reference
    found = reference.novelty(molecules) if isinstance(reference, MoleculeReference) else {}
    training = training_molecules(backbone)
    if training is None or not molecules:
        return _Compared(found)
    similarity, rows = nearest_molecule(molecules, training.fingerprints)
    nearest: list[Design] = [training.molecules[i] for i in rows]
    return _Compared(found | {"nearest_distance": 1.0 - similarity}, nearest)


def in_network_rows(bound: Cost, backbone: Backbone) -> Cost:
    """A bound that counts states, in rows of the network: classifier-free guidance takes two a state."""
    rows = getattr(backbone.denoiser, "rows_per_design", 1)
    return replace(bound, network_rows=bound.network_rows * rows)

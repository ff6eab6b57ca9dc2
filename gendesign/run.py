"""`design`: backbone, reward and steering in; scored designs out. Each line of `design` is one arrow of the flow.

Randomness belongs to the design: block number b of a run draws everything from a stream derived from (seed, b), so the
same seed gives the same designs however the work is split, and a run that was stopped continues to the same designs.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gendesign.backbone import Backbone
from gendesign.blocks import BLOCK, Progress, same_reward, sample_blocks
from gendesign.building import describe, finite, whole
from gendesign.codecs import Codec
from gendesign.design_set import DesignSet
from gendesign.designs import Array, Design
from gendesign.determinism import generator
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import Unmasking
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.judging import in_network_rows, judge_designs
from gendesign.leads import read_leads
from gendesign.provenance import described, fingerprint, label, versions
from gendesign.refusals import refuse_unreadable
from gendesign.rewards.base import Reward
from gendesign.rewards.fitting import Fitting
from gendesign.steering.particles import Cost, Plan, make_plan
from gendesign.steering.resampling import temperature_for
from gendesign.steering.sampler import Sampler, Steering
from gendesign.steering.unsteered import Unsteered
from gendesign.storage import Store, Stored
from gendesign.templates import read_template, template_text


def design(
    backbone: Backbone,
    reward: Reward | None,
    steering: Steering,
    *,
    num_designs: int = 64,
    steps: int = 80,
    seed: int = 0,
    heldout: Reward | None = None,
    template: str | Array | None = None,
    start: Design | Sequence[Design] | None = None,
    remask: int | float = 0.3,
    unmasking: Unmasking | None = None,
    base_designs: int = 64,
    ess_fraction: float = 0.33,
    max_rows: int = 1024,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    config: dict[str, Any] | None = None,
) -> DesignSet:
    """Sample designs from p*(x) ∝ p(x) exp(r(x)/alpha).

    Args:
        backbone: p, what natural designs look like.
        reward: r, what is wanted; larger is better. None only for methods that need none.
        steering: how the two are combined.
        num_designs: designs wanted.
        steps: reverse steps; a rule of unmasking may fix another number.
        seed: of all randomness.
        heldout: a reward that steering never sees, to judge the designs.
        template: one letter a position, '*' where free; for vectors numbers and stars (`0.3,*,2`), or an array with
            NaN where free.
        start: designs to improve, which designs start from in turn instead of from noise (masked diffusion only).
        remask: what is masked again of each of them: so many positions (a whole number, which then bounds the
            mutations), or this share of them.
        unmasking: another rule of unmasking than the backbone's own (masked diffusion only).
        base_designs: unsteered designs to compare with; 0 for none.
        ess_fraction: where alpha is "auto": the share of competing candidates that the weights exp(v/alpha) leave
            effective, on average in a pilot of base particles.
        max_rows: network rows a call, which bounds memory.
        out: folder in which finished blocks are kept, so that a stopped run can be resumed.
        resume: continue what `out` holds.
        progress: told after every step.
        config: the resolved configuration to store, where it is not to be derived from the arguments.

    Returns:
        The designs; save them with `.save(folder)`.

    Raises:
        ConfigError: a number out of range, or alpha="auto" where candidates do not differ.
        DesignError: a template or a design to start from that does not fit.
        UnsupportedError: a method that cannot work with this reward, or `start` with a continuous backbone.
        OutputError: `out` holds something else, or cannot be written.
    """
    whole("num_designs", num_designs), whole("base_designs", base_designs, at_least=0)
    whole("seed", seed, at_least=0)
    check_request(backbone, reward, heldout, steering, ess_fraction=ess_fraction)
    if steering.leaves_particles:
        raise UnsupportedError(
            "keep='weighted' leaves weighted particles instead of designs; use run_sampler, or keep='resample'"
        )
    backbone = with_unmasking(backbone, unmasking)
    fixed = read_template(template, backbone.codec)
    backbone = with_template(backbone, fixed)
    leads = None if start is None else read_leads(backbone, start, remask, template=fixed)
    num_free = None if leads is None else leads.num_masked
    plan = make_plan(backbone, steps=steps, template=fixed, num_free=num_free, max_rows=max_rows)
    settings = {
        "backbone": described(backbone),
        "reward": described(reward),
        "heldout": described(heldout),
        "steering": describe(steering),
        "num_designs": num_designs,
        "steps": steps,
        "seed": seed,
        "template": template_text(template),
        **({} if leads is None else {"start": list(leads.designs), "remask": remask}),
        "unmasking": describe(unmasking),
        "base_designs": base_designs,
        "ess_fraction": ess_fraction,
    }
    store = Store.open(out, settings, weights=fingerprint(backbone), resume=resume)
    begun = time.perf_counter()
    guide = None if reward is None else reward.guide
    guide, reward, heldout = (_fitting(one, backbone.codec, fixed) for one in (guide, reward, heldout))
    rewards = _named(reward, heldout)

    def sample(sampler: Sampler, num: int, stage: str) -> list[Stored]:
        return sample_blocks(sampler, num, plan_of, seed=seed, stage=stage, store=store, progress=progress)

    def plan_of(block: int, size: int) -> Plan:
        if leads is None:
            return plan
        noise = generator(seed, "leads", block)  # unsteered and steered designs are masked alike
        rows = leads.templates(block * BLOCK, size, generator=noise)
        return replace(plan, template=rows.to(backbone.device))

    def judge(blocks: list[Stored], base: DesignSet | None, method: Steering) -> DesignSet:
        return judge_designs(backbone, rewards, blocks, method, plan, base=base, seed=seed)

    # the pilot comes first: what it finds wrong with the reward, it finds before anything is written
    pilot_bound = steering.pilot_bound(plan) if _has_pilot(steering) else Cost()
    steering, pilot = _resolve_alpha(
        steering, backbone, guide, plan_of(0, BLOCK), seed=seed, ess_fraction=ess_fraction
    )
    sampler, unsteered = steering(backbone, guide), Unsteered()
    base = None
    if base_designs:
        base = judge(sample(unsteered(backbone), base_designs, "base designs"), None, unsteered)
    blocks = sample(sampler, num_designs, "steered designs")
    run = judge(blocks, base, steering)
    if leads is not None:
        run = replace(run, leads=[leads.designs[i % len(leads.designs)] for i in range(len(run))])
    if resume:
        same_reward(blocks, run)
    provenance = {
        # with every default and the temperature, so that it repeats this run whatever later versions choose
        "config": (config or settings) | {"steering": describe(steering)},
        "resolved": settings | {"steering": describe(steering)},
        "backbone": backbone.provenance.get("name", ""),
        "rewards": {name: label(r) for name, r in rewards.items()},
        "steering": type(steering).__name__,
        "seed": seed,
        "steps": plan.steps,
        "unmasking": describe(getattr(backbone.process, "unmasking", None)),
        "versions": versions(),
        "seconds_in_all": time.perf_counter() - begun,
    }
    estimate = run.estimate + in_network_rows(pilot_bound, backbone)
    return replace(run, cost=run.cost + pilot, estimate=estimate, provenance=provenance)


def estimate_cost(
    backbone: Backbone,
    steering: Steering,
    *,
    num_designs: int,
    steps: int,
    base_designs: int = 64,
    template: str | Array | None = None,
    start: Design | Sequence[Design] | None = None,
    remask: int | float = 0.3,
    unmasking: Unmasking | None = None,
) -> Cost:
    """The most that a run can spend in network rows and reward calls, the unsteered designs included."""
    whole("num_designs", num_designs), whole("base_designs", base_designs, at_least=0)
    fixed = read_template(template, backbone.codec)
    backbone = with_unmasking(backbone, unmasking)
    num_free = None if start is None else read_leads(backbone, start, remask, template=fixed).num_masked
    plan = make_plan(backbone, steps=steps, template=fixed, num_free=num_free)
    scored = Cost(reward_calls=num_designs + base_designs)
    pilot = steering.pilot_bound(plan) if _has_pilot(steering) else Cost()
    sampled = steering.bound(num_designs, plan) + Unsteered().bound(base_designs, plan)
    return in_network_rows(sampled + pilot, backbone) + scored


def check_request(
    backbone: Backbone,
    reward: Reward | None,
    heldout: Reward | None,
    steering: Steering | None = None,
    *,
    ess_fraction: float = 0.5,
) -> None:
    """Refuse what cannot work, before anything is spent.

    Raises:
        ConfigError: `ess_fraction` is outside (0, 1).
        UnsupportedError: a reward that can read no design of the backbone, or has a part that cannot; a method that
            cannot work with both.
    """
    if not 0 < finite("ess_fraction", ess_fraction) < 1:
        raise ConfigError(f"ess_fraction must be between 0 and 1, got {ess_fraction:g}")
    refuse_unreadable(backbone, reward)
    refuse_unreadable(backbone, heldout, role="heldout")
    if steering is not None and _has_pilot(steering):  # the others are bound before they spend anything
        bound = dataclasses.replace(steering, alpha=1.0)  # type: ignore[type-var]
        bound(backbone, None if reward is None else reward.guide)


def with_unmasking(backbone: Backbone, unmasking: Unmasking | None) -> Backbone:
    """The same backbone, network and all, with another rule of unmasking; None leaves it as it is.

    Raises:
        UnsupportedError: the backbone is no masked diffusion.
    """
    if unmasking is None:
        return backbone
    if not isinstance(backbone.process, MaskedDiffusion):
        name = type(backbone.process).__name__
        raise UnsupportedError(
            f"unmasking={type(unmasking).__name__} needs a masked diffusion backbone, this is {name}"
        )
    other = copy.copy(backbone)
    other.process = backbone.process.with_unmasking(unmasking)
    return other


def with_template(backbone: Backbone, template: Any) -> Backbone:
    """The same backbone, network and all, whose designs are read under a template; None leaves it as it is."""
    codec = backbone.codec if template is None else backbone.codec.under(template)
    if codec is backbone.codec:
        return backbone
    other = copy.copy(backbone)
    other.codec = codec
    return other


def _has_pilot(steering: Steering) -> bool:
    """Whether alpha is to be chosen; a choice of the best has none."""
    greedy = getattr(steering, "selection", "") in ("argmax", "best")
    return getattr(steering, "alpha", None) == "auto" and not greedy


def _resolve_alpha(
    steering: Steering,
    backbone: Backbone,
    reward: Reward | None,
    plan: Plan,
    *,
    seed: int,
    ess_fraction: float,
) -> tuple[Steering, Cost]:
    """Replace alpha="auto" by the temperature with the wanted effective sample size in a pilot, and its cost."""
    if reward is None or not _has_pilot(steering):
        return steering, Cost()  # without its reward the method itself complains
    noise = generator(seed, "pilot", 0, device=backbone.device)
    values, cost = steering.pilot(backbone, reward, plan, generator=noise)
    alpha = temperature_for(values, ess_fraction)
    return dataclasses.replace(steering, alpha=alpha), cost  # type: ignore[type-var]


def _fitting(reward: Reward | None, codec: Codec, template: Any) -> Reward | None:
    """The reward, of designs that fit the template only, where decoding can lose it."""
    if reward is None or template is None or type(codec).departs is Codec.departs:
        return reward
    return Fitting(reward, partial(codec.departs, template))


def _named(reward: Reward | None, heldout: Reward | None) -> dict[str, Reward]:
    """The rewards by name, the guiding one first."""
    named = {} if reward is None else {reward.label: reward}
    if heldout is not None:
        named[heldout.label if heldout.label not in named else f"{heldout.label} (held out)"] = heldout
    return named

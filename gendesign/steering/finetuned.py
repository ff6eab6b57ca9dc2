"""Methods that steer by training, and the sampler of what they trained.

    J(theta) = E[r(x_0)] - alpha E[sum over steps of D(p_theta(. | x_t) || p_base(. | x_t))]

The first T - K steps of a trajectory are sampled without a graph. Each of the last K is recomputed in the backward pass
where `recompute` is set, so that memory does not grow with K; its noise is drawn before it and passed in, because a
generator that is passed is not put back between the two computations.
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.utils.checkpoint import checkpoint

from gendesign.backbone import Backbone
from gendesign.building import finite, whole
from gendesign.divergences import Divergence, ReverseKL
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.loading import SHIPPED, load_backbone
from gendesign.models.base import Denoiser
from gendesign.models.conditioned import Conditioned
from gendesign.models.on_structure import OnStructure
from gendesign.models.tempered import Tempered
from gendesign.pretrained import find_pretrained, read_config
from gendesign.rewards.base import Reward
from gendesign.steering.needs import Needs
from gendesign.steering.particles import Cost, Particles, Plan
from gendesign.steering.sampler import Sampler, Steering
from gendesign.steering.trajectory import Moment, Outcome, step_divergence


@dataclass(frozen=True)
class FineTuned(Steering):
    """Base class of methods that steer by training: their sampler is that of a fine-tuned backbone.

    Train with `gendesign finetune` (`gendesign.training.finetuning`), then name the folder that came of it.

    Args:
        tuned: the fine-tuned backbone: a shipped name, a folder or a hub id; only training can do without.
        truncation: K, the last steps that are differentiated; None: all of them. With fewer than all, what is
            optimised is a truncated objective. Steps below a continuous backbone's `sigma_floor` are among them, and
            learn nothing.
        divergence: D, from the base, of every step; None: reverse KL.
        recompute: compute activations of the differentiated steps again in the backward pass: memory does not grow
            with K, for half as much time again.
        measure_kl: ask the base network at every step of sampling, so that each design comes with the KL of its path;
            it doubles the evaluations.
    """

    tuned: str | None = None
    truncation: int | None = 50
    divergence: Divergence | None = None
    recompute: bool = True
    measure_kl: bool = True

    def __post_init__(self) -> None:
        if self.truncation is not None:
            whole("truncation", self.truncation)

    @abstractmethod
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
        """Sample `num` trajectories and say in which direction J rises.

        Args:
            policy: the backbone that is trained.
            base: what it was before.
            reward: r.
            times: the grid, E = T + 1 edges.
            num: trajectories B.
            alpha: price of a nat, in the reward's unit.
            generator: all randomness of the batch.
        """

    def __call__(self, backbone: Backbone, reward: Reward | None = None) -> TunedSampler:
        """Sample the fine-tuned backbone; the reward is not looked at.

        Raises:
            UnsupportedError: nothing was trained yet, or it was trained from another base, structure or label.
        """
        name = type(self).__name__
        if self.tuned is None:
            raise UnsupportedError(
                f"{name} steers by training: run `gendesign finetune` first and give its folder as tuned="
            )
        found = load_backbone(self.tuned, device=backbone.device, trust=getattr(backbone, "trusted", ()))
        base = (found.provenance.get("training") or {}).get("base") or {}
        own = backbone.provenance.get("weights_sha256")
        if own is not None and base.get("weights_sha256") not in (None, own):
            raise UnsupportedError(
                f"{self.tuned} was fine-tuned from {base.get('name')}, not from this backbone "
                f"({backbone.provenance.get('name')}); sample that one"
            )
        theirs, ours = bound_to(found.denoiser), bound_to(backbone.denoiser)
        for key in sorted(theirs.keys() | ours.keys()):
            both = key in theirs and key in ours
            if not both or not torch.equal(theirs[key], ours[key]):
                which = "another" if both else "a" if key in theirs else "no"
                raise UnsupportedError(
                    f"{self.tuned} was fine-tuned on {which} {key} (structure, label), this backbone is bound to "
                    f"{'this one' if key in ours else 'none'}; fine-tune on what you sample"
                )
        at, own_at = settings_of(found.denoiser), settings_of(backbone.denoiser)
        for key, value in own_at.items():
            if at[key] != value:
                raise UnsupportedError(
                    f"{self.tuned} was fine-tuned at {key} {at[key]:g}, this backbone is at {value:g}; "
                    "fine-tune on what you sample"
                )
        policy = Backbone(backbone.codec, backbone.process, found.denoiser).to(backbone.device).eval()
        return TunedSampler(policy, backbone if self.measure_kl else None)

    @property
    def training_calls(self) -> int:
        """As the folder of the fine-tuned backbone says."""
        if self.tuned is None:
            return 0
        said = read_config(find_pretrained(self.tuned, SHIPPED, noun="backbone"))
        return int((said.get("training") or {}).get("reward_calls", 0))

    @property
    def needs(self) -> Needs:
        """A reward, and steps with a density."""
        return Needs(density=True)

    def bound(self, num: int, plan: Plan) -> Cost:
        """One evaluation a step, and one of the base where the KL is measured."""
        return Cost(network_rows=num * plan.steps * (2 if self.measure_kl else 1))

    @property
    def measure(self) -> Divergence:
        """The divergence that is paid for."""
        return ReverseKL() if self.divergence is None else self.divergence

    # what methods share -----------------------------------------------------------------------------------------

    def free_steps(
        self, policy: Backbone, times: Float[Tensor, " E"], num: int, *, generator: Generator
    ) -> tuple[Tensor, Tensor | None, int]:
        """Pure noise, taken through the T - K steps that no gradient passes.

        Returns:
            The states, the time of the last step (None before the first), and the number of steps done.
        """
        process, steps = policy.process, len(times) - 1
        done = 0 if self.truncation is None else max(0, steps - self.truncation)
        x, t = process.prior(num, policy.codec.length, generator=generator), None
        with torch.no_grad():
            for step in range(done):
                t = process.event_time(x, t, step, times, generator=generator)
                seen = process.predict(policy.denoiser, x, t)
                s = times[step + 1].to(t).expand(num)
                x = process.transition(seen, x, t, s).sample(1, generator=generator)[0]
        return x, t, done

    def moment(
        self,
        policy: Backbone,
        times: Float[Tensor, " E"],
        step: int,
        x: Tensor,
        t: Tensor | None,
        *,
        generator: Generator,
    ) -> Moment:
        """When step number `step` acts on these states."""
        now = policy.process.event_time(x, t, step, times, generator=generator)
        floor = getattr(policy.denoiser, "sigma_floor", None)
        return Moment(
            now, times[step + 1].to(now).expand(len(now)), floor is None or bool((now > floor).any())
        )

    def run(self, step: Callable[..., Any], *inputs: Any) -> Any:
        """Run a step, whose activations are kept or computed again in the backward pass."""
        if not self.recompute:
            return step(*inputs)
        # nothing inside draws random numbers: all noise is among the inputs
        return checkpoint(step, *inputs, use_reentrant=False, preserve_rng_state=False)


def bound_to(denoiser: Denoiser) -> dict[str, Tensor]:
    """The structure or the label that a denoiser, or one that it wraps, is bound to; what is missing (NaN) is inf."""
    named = ((key.rpartition(".")[2], value) for key, value in denoiser.named_buffers())
    return {key: value.nan_to_num(nan=torch.inf) for key, value in named if key in ("condition", "label")}


def settings_of(denoiser: Denoiser) -> dict[str, float]:
    """The temperature and the scale of guidance at which a denoiser, or one that it wraps, is used."""
    parts = list(denoiser.modules())
    heat = {part.temperature for part in parts if isinstance(part, Tempered)}
    scales = {part.scale for part in parts if isinstance(part, Conditioned | OnStructure)}
    return {"temperature": math.prod(heat), "guidance_scale": math.prod(scales)}


def blend(base: Backbone, tuned: Backbone, share: float) -> Backbone:
    """A backbone between a base and what was fine-tuned from it: weights base + share (tuned - base).

    How strong fine-tuning is can so be chosen after it: 0 is the base, 1 the fine-tuned backbone. Wortsman et al. 2022,
    Robust Fine-Tuning of Zero-Shot Models, arXiv 2109.01903.

    Args:
        base: what was fine-tuned.
        tuned: what came of it.
        share: how far to go, from 0 to 1.

    Raises:
        ConfigError: a share outside.
        UnsupportedError: networks of different shapes.
    """
    if not 0 <= finite("share", share) <= 1:
        raise ConfigError(f"share must be from 0 (the base) to 1 (the fine-tuned backbone), got {share:g}")
    ours, theirs = base.denoiser.state_dict(), tuned.denoiser.state_dict()
    if {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        raise UnsupportedError(
            "blend needs two networks of one shape, a base and what was fine-tuned from it; these differ"
        )
    denoiser = copy.deepcopy(tuned.denoiser)
    denoiser.load_state_dict(
        {k: torch.lerp(v, theirs[k], share) if v.is_floating_point() else theirs[k] for k, v in ours.items()}
    )
    between = Backbone(tuned.codec, tuned.process, denoiser).to(tuned.device).eval().requires_grad_(False)
    said = tuned.provenance
    between.provenance = {**said, "name": f"{said.get('name', 'tuned')} at {share:g}", "weights_sha256": None}
    between.folder = tuned.folder
    return between


class TunedSampler(Sampler):
    """Samples a fine-tuned backbone, and measures what each path costs.

    Args:
        policy: the fine-tuned backbone.
        base: what it was; None: the KL is not measured (NaN).
    """

    def __init__(self, policy: Backbone, base: Backbone | None) -> None:
        super().__init__(policy, None)
        self.base = base

    def step(self, particles: Particles, step: int, plan: Plan, *, generator: Generator) -> Particles:
        """x_s ~ p_theta(x_s | x_t)."""
        after = super().step(particles, step, plan, generator=generator)
        return self._priced(particles, after, self.next_time(particles, step, plan), plan)

    @torch.no_grad()
    def _priced(self, before: Particles, after: Particles, s: Float[Tensor, " B"], plan: Plan) -> Particles:
        if self.base is None:
            return replace(after, kl=torch.full_like(after.kl, torch.nan))
        process, floor = self.backbone.process, getattr(self.backbone.denoiser, "sigma_floor", 0.0)
        continuous = before.x.is_floating_point()
        if continuous and (bool((s == 0).all()) or bool((before.t <= floor).all())):
            return after
        old = process.predict(self.base.denoiser, before.x, before.t, template=plan.template)
        laws = [process.transition(seen, before.x, before.t, s) for seen in (before.prediction, old)]
        kl, _ = step_divergence(laws[0], laws[1], after.x, ReverseKL())
        return replace(after, kl=after.kl + kl, cost=after.cost + Cost(old.rows))

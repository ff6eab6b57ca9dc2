"""Fine-tuning of a backbone toward a reward, as a Lightning run.

    gendesign finetune --config configs/finetune/NAME.yaml

    maximise  E[r(x_0)] - alpha E[sum over steps of D(policy step || base step)]

by one of the methods that steer by training (`gendesign.steering.drakes`, `gendesign.steering.policy_gradient`). The
noise of a batch is a function of (seed, number of the batch, process), so that a run that was killed continues to the
same losses. What comes of it is a backbone like any other, which says what it was made from.
"""

from __future__ import annotations

import copy
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from gendesign.backbone import BLOCK, Backbone
from gendesign.building import Configurable, describe, finite, whole
from gendesign.designs import Design
from gendesign.determinism import generator
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import ConfigError, GendesignError, TrainingError
from gendesign.loading import load_described
from gendesign.models.switched import SwitchedDenoiser
from gendesign.optimisation import adamw_with_cosine
from gendesign.rewards.base import Reward, Scores
from gendesign.rewards.catalog import load_reward
from gendesign.steering.finetuned import FineTuned, TunedSampler
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import run_sampler
from gendesign.steering.trajectory import Outcome
from gendesign.training.finetuning_data import EndlessData
from gendesign.training.guard import Figures, figures


class FineTuning(Configurable, LightningModule):
    """A backbone that is being fine-tuned, and the base that it came from.

    Args:
        backbone: the base: a shipped name, a folder, a hub id, or a backbone; or arguments of `load_backbone`, `path`
            the first, such as the structure that inverse folding is for.
        reward: r: a shipped name, a folder or file, or a reward.
        method: `DRAKES`, which backpropagates through the trajectory and needs a differentiable reward, or
            `PolicyGradient`, which needs none.
        heldout: a reward that only judges.
        alpha: price of a nat, in the reward's unit; 0 for none, which is how rewards are hacked.
        alpha_warmup: updates over which it rises linearly from 0.
        steps: T, reverse steps of a trajectory.
        batch_size: trajectories an update, a process and an accumulated batch.
        lr: learning rate.
        warmup_steps: updates over which that rises; then it stays.
        sigma_floor: noise level at and below which a continuous backbone keeps the base's network.
        val_designs: designs of a validation.
        val_times: noise levels a design in their likelihood under the base.
        max_skipped: updates in a row that may be skipped because a gradient was not finite.
        seed: of all noise.
        trust: packages besides gendesign whose classes named configurations may use.

    Raises:
        ConfigError: a number out of range.
        UnsupportedError: the method cannot use this reward; the message names one that can.
    """

    def __init__(
        self,
        backbone: str | dict[str, Any] | Backbone,
        reward: str | Reward,
        method: FineTuned,
        *,
        heldout: str | Reward | None = None,
        alpha: float = 0.1,
        alpha_warmup: int = 0,
        steps: int = 128,
        batch_size: int = 32,
        lr: float = 1e-4,
        warmup_steps: int = 0,
        sigma_floor: float = 0.1,
        val_designs: int = 128,
        val_times: int = 8,
        max_skipped: int = 10,
        seed: int = 0,
        trust: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.method = method
        self.reward = load_reward(reward, trust=trust) if isinstance(reward, str) else reward
        self.heldout = load_reward(heldout, trust=trust) if isinstance(heldout, str) else heldout
        base = backbone if isinstance(backbone, Backbone) else load_described(backbone, trust=trust)
        method.require(self.reward, base)
        self.alpha = finite("alpha", alpha, at_least=0.0)
        self.alpha_warmup = whole("alpha_warmup", alpha_warmup, at_least=0)
        self.steps = whole("steps", steps)
        self.batch_size = whole("batch_size", batch_size)
        self.lr = finite("lr", lr, above=0.0)
        self.warmup_steps = whole("warmup_steps", warmup_steps, at_least=0)
        self.val_designs = whole("val_designs", val_designs)
        self.val_times = whole("val_times", val_times)
        self.max_skipped = whole("max_skipped", max_skipped, at_least=0)
        self.seed = seed
        self.policy = copy.deepcopy(base).eval().requires_grad_(True)
        if isinstance(base.process, PoissonFlow):
            self._keep_small_noise(base, finite("sigma_floor", sigma_floor, above=0.0))
        # not part of the module: neither trained, nor saved with every checkpoint
        self._base = (copy.deepcopy(base).eval().requires_grad_(False),)
        self._natural: Figures | None = None
        self.found: Figures | None = None
        self.skipped = self.skipped_in_a_row = self.reward_calls = 0

    def _keep_small_noise(self, base: Backbone, floor: float) -> None:
        process = base.process
        assert isinstance(process, PoissonFlow)
        if not process.sigma_min <= floor < process.sigma_max:
            raise ConfigError(
                f"sigma_floor must be from sigma_min {process.sigma_min:g} to below sigma_max {process.sigma_max:g}: "
                f"below it the base's network runs; got {floor:g}"
            )
        times = process.times(process.num_steps(self.steps, base.codec.length))
        still, last = int((times[:-1] <= floor).sum()), self.method.truncation
        if last is not None and last <= still:
            raise ConfigError(
                f"the last {still} of {len(times) - 1} steps lie below sigma_floor {floor:g} and learn nothing: "
                f"truncation must be above {still}, got {last}"
            )
        low = copy.deepcopy(base.denoiser).requires_grad_(False)
        self.policy.denoiser = SwitchedDenoiser(self.policy.denoiser, low, sigma_floor=floor)

    @property
    def base(self) -> Backbone:
        """What the policy was before."""
        return self._base[0]

    # Training ----------------------------------------------------------------------------------------------------

    def alpha_at(self, update: int) -> float:
        """The price of a nat at an update."""
        if update >= self.alpha_warmup:
            return self.alpha
        return self.alpha * (update + 1) / self.alpha_warmup

    def setup(self, stage: str) -> None:
        """Put what is not trained where the policy is."""
        self.base.to(self.device)
        for reward in (self.reward, self.heldout):
            if reward is not None:
                reward.to(self.device)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """One batch of trajectories."""
        self.policy.eval()  # a policy with dropout has no density
        place = (self.seed, "finetune", int(batch["position"]), self.global_rank)
        process = self.policy.process
        times = process.times(process.num_steps(self.steps, self.policy.codec.length))
        alpha = self.alpha_at(self.trainer.global_step)
        found = self.method.objective(
            self.policy,
            self.base,
            self.reward,
            times,
            self.batch_size,
            alpha=alpha,
            generator=generator(*place, device=self.device),
        )
        self.reward_calls += found.calls
        self._log_outcome(found, alpha)
        return found.loss

    def _log_outcome(self, found: Outcome, alpha: float) -> None:
        self.log("guide", found.reward, prog_bar=True)
        self.log("divergence", found.divergence, prog_bar=True)
        self.log("alpha", alpha)
        self.log("reward_failures", float(found.failures))
        for kind in ("policy", "recomputed", "base"):
            self.log(f"forwards_{kind}", float(getattr(found.forwards, kind)))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Skip an update whose gradient is not finite.

        Raises:
            TrainingError: too many in a row.
        """
        gradients = [p.grad for p in self.policy.parameters() if p.grad is not None]
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
        if math.isfinite(norm):
            self.skipped_in_a_row = 0
            self.log("grad_norm", norm)
        else:
            optimizer.zero_grad(set_to_none=True)  # weights without a gradient are not moved
            self.skipped += 1
            self.skipped_in_a_row += 1
            if self.skipped_in_a_row > self.max_skipped:
                raise TrainingError(
                    f"{self.skipped_in_a_row} gradients in a row were not finite; lower lr, raise tau or alpha, or "
                    "look at what the reward gives for such designs"
                )
        self.log("skipped_updates", float(self.skipped))

    def configure_optimizers(self) -> Any:
        """Adam at a rate that stays, after the warm-up."""
        return adamw_with_cosine(
            self.policy.denoiser,
            lr=self.lr,
            weight_decay=0.0,
            warmup_steps=self.warmup_steps,
            total_steps=0,
            betas=(0.9, 0.999),
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Counts go on after a resume."""
        checkpoint["skipped_updates"] = [self.skipped, self.skipped_in_a_row]
        checkpoint["reward_calls"] = self.reward_calls

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped, self.skipped_in_a_row = checkpoint["skipped_updates"]
        self.reward_calls = checkpoint["reward_calls"]

    # Judging -----------------------------------------------------------------------------------------------------

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Sample designs, the same noise at every validation, and log what both rewards and the base say of them."""
        designs, kl = self.sample_with_kl(self.policy)
        guide = self._scored(designs)
        self.found = self._figures(designs, guide)
        shown = {"guide": _median(guide.values), "kl": float(np.mean(kl))} | self.found.medians()
        for name, value in shown.items():
            self.log(f"val_{name}", value, prog_bar=name in ("guide", "heldout"), sync_dist=False)
        self.log("val_unscored", float((~guide.ok).mean()))

    def natural(self) -> Figures:
        """The figures of the base's own designs, from the same noise."""
        if self._natural is None:
            designs, _ = self.sample_with_kl(self.base)
            self._natural = self._figures(designs, self._scored(designs))
        return self._natural

    def _scored(self, designs: list[Design]) -> Scores:
        self.reward_calls += len(designs)
        return self.reward(designs)

    @torch.no_grad()
    def sample_with_kl(self, backbone: Backbone) -> tuple[list[Design], list[float]]:
        """Designs of a backbone, and the KL of their paths from the base's in nats."""
        backbone.eval()
        sampler = TunedSampler(backbone, self.base)
        plan = make_plan(backbone, steps=self.steps)
        designs: list[Design] = []
        kl: list[float] = []
        for block, start in enumerate(range(0, self.val_designs, BLOCK)):
            noise = generator(self.seed, "validate", block, device=backbone.device)
            done = run_sampler(sampler, min(BLOCK, self.val_designs - start), plan, generator=noise)
            designs += backbone.codec.decode(done.x)
            kl += done.kl.tolist()
        return designs, kl

    def _figures(self, designs: list[Design], guide: Any) -> Figures:
        return figures(
            designs,
            guide=guide,
            heldout=self.heldout,
            base=self.base,
            num_times=self.val_times,
            seed=self.seed,
        )

    # Saving ------------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Save the policy as a backbone, with what it was made from.

        Args:
            folder: where; an earlier export there is replaced.
            training: more facts to write down, plain data.
        """
        said = self.base.provenance
        facts = {
            "base": {key: said.get(key) for key in ("name", "weights_sha256")},
            "reward": _described(self.reward),
            "heldout": _described(self.heldout),
            "method": describe(self.method),
            **{
                name: getattr(self, name)
                for name in ("alpha", "alpha_warmup", "steps", "batch_size", "lr", "seed")
            },
            "skipped_updates": self.skipped,
            "reward_calls": self.reward_calls,
        }
        if said.get("training", {}).get("data"):
            facts["data"] = said["training"]["data"]
        self.policy.save_pretrained(folder, training=facts | dict(training or {}))
        reference = None if self.base.folder is None else self.base.folder / "reference.safetensors"
        if reference is not None and reference.is_file():  # reports compare with the same natural designs
            shutil.copyfile(reference, Path(folder) / reference.name)


def finetune(
    backbone: Backbone,
    reward: Reward,
    method: FineTuned,
    *,
    updates: int,
    **settings: Any,
) -> Backbone:
    """Fine-tune a backbone in memory, on the CPU, without files: for small spaces and first trials.

    Args:
        backbone: the base; it is left as it is.
        reward: r.
        method: how.
        updates: optimiser steps.
        settings: of `FineTuning`.

    Returns:
        The fine-tuned backbone.
    """
    module = FineTuning(backbone, reward, method, **settings)
    Trainer(
        max_steps=whole("updates", updates),
        accelerator="cpu",
        logger=False,
        gradient_clip_val=1.0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    ).fit(module, EndlessData())
    return module.policy.eval().requires_grad_(False)


def _described(reward: Reward | None) -> Any:
    if reward is None:
        return None
    try:
        return {"name": reward.label} | describe(reward)
    except GendesignError:
        return {"name": reward.label}


def _median(values: Any) -> float:
    fine = values[np.isfinite(values)]
    return float(np.median(fine)) if len(fine) else float("nan")

"""A backbone: codec + process + denoiser. It is trained, sampled, evaluated, saved and loaded as one thing.

As a LightningModule it minimises the process's loss (nats a design, divided by its length) and validates
with the bound on the log-likelihood, in bits a letter:  sum_i w_i bound_i / (ln 2 · sum_i w_i length_i)
over designs i of weight w_i.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor

from gendesign.building import Configurable, build, describe, whole
from gendesign.codecs import Codec, SequenceCodec
from gendesign.determinism import dropout_seeded, generator
from gendesign.diffusion.process import Prediction, Process
from gendesign.diffusion.schedules import Schedule
from gendesign.diffusion.unmasking import Unmasking
from gendesign.errors import CheckpointError, ConfigError, GendesignError, UnsupportedError
from gendesign.models.base import Denoiser
from gendesign.optimisation import adamw_with_cosine
from gendesign.pretrained import CONFIG, find_pretrained, list_pretrained, read_pretrained, write_pretrained
from gendesign.reference import Reference

SHIPPED = Path(__file__).parent / "models" / "pretrained"
KINDS = (Codec, Process, Schedule, Unmasking, Denoiser)
"""What the config of a backbone may name."""
BLOCK = 64
"""Designs that share a stream of random numbers."""


class Backbone(Configurable, LightningModule):
    """A generative model of designs.

    Args:
        codec: designs <-> tensors.
        process: the noise.
        denoiser: the network.
        lr: highest learning rate.
        weight_decay: of AdamW.
        warmup_steps: steps of linear warm-up; then cosine decay to the trainer's max_steps.
        val_times: noise levels a design in validation; in training there is one.
        test_times: noise levels a design in testing.
        seed: of the noise of training, validation and testing.

    Raises:
        ConfigError: the three parts do not fit each other.
    """

    def __init__(
        self,
        codec: Codec,
        process: Process,
        denoiser: Denoiser,
        *,
        lr: float = 2e-3,
        weight_decay: float = 0.01,
        warmup_steps: int = 100,
        val_times: int = 4,
        test_times: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        tokens = {
            type(part).__name__: getattr(part, "vocab_size", None) for part in (codec, process, denoiser)
        }
        tokens = {name: size for name, size in tokens.items() if size is not None}
        if len(set(tokens.values())) > 1:
            listing = ", ".join(f"{name} has {size}" for name, size in tokens.items())
            raise ConfigError(f"codec, process and denoiser need the same number of tokens: {listing}")
        self.codec = codec
        self.process = process
        self.denoiser = denoiser
        self.lr = lr
        self.weight_decay = weight_decay
        self.warmup_steps = warmup_steps
        self.val_times = whole("val_times", val_times)
        self.test_times = whole("test_times", test_times)
        self.seed = seed
        self.folder: Path | None = None
        self.provenance: dict[str, Any] = {}
        self._sums: Tensor | None = None
        self._reference: Reference | None = None

    # Use ---------------------------------------------------------------------------------------------------------

    def predict(self, x_t: Tensor, t: Float[Tensor, " B"], cond: Any = None) -> Prediction:
        """Ask the network about noisy states, each at its own time."""
        return self.process.predict(self.denoiser, x_t, t, cond)

    @torch.no_grad()
    def sample(self, num: int, *, steps: int = 80, seed: int = 0, template: str | None = None) -> list[str]:
        """Draw unsteered designs.

        Args:
            num: how many.
            steps: reverse steps of the grid.
            seed: block i of 64 designs depends on (seed, i) alone.
            template: one letter a position, '*' where free.

        Returns:
            The designs.
        """
        whole("num", num), whole("steps", steps)
        ids, free = None, self.codec.length
        if template is not None:
            if not isinstance(self.codec, SequenceCodec):
                raise UnsupportedError(
                    f"templates need a sequence codec; this backbone has {type(self.codec).__name__}"
                )
            ids, fixed = self.codec.encode_template(template)
            ids, free = ids.to(self.device), int((~fixed).sum())
        times = self.process.times(self.process.num_steps(steps, free))
        designs: list[str] = []
        for block, start in enumerate(range(0, num, BLOCK)):
            noise = generator(seed, "sample", block, device=self.device)
            x = self.process.prior(min(BLOCK, num - start), self.codec.length, generator=noise, template=ids)
            t: Tensor | None = None
            for step in range(len(times) - 1):
                t = self.process.event_time(x, t, step, times, generator=noise)
                s = times[step + 1].to(t).expand(len(x))
                x = self.process.transition(self.predict(x, t), x, t, s).sample(1, generator=noise)[0]
            designs += self.codec.decode(x)
        return designs

    def log_likelihood(
        self, designs: Sequence[str], *, num_times: int = 64, seed: int = 0
    ) -> Float[Tensor, " B"]:
        """An estimate of a lower bound on log p(design).

        Args:
            designs: to be judged.
            num_times: noise levels a design; the standard error falls with it.
            seed: of the noise.

        Returns:
            nats a design, float64.

        Raises:
            DesignError: the codec cannot encode a design.
        """
        x = self.codec.encode(designs).to(self.device)
        noise = generator(seed, "log_likelihood", device=self.device)
        return self.process.log_likelihood_bound(self.denoiser, x, num_times=num_times, generator=noise)

    @property
    def reference(self) -> Reference | None:
        """What reports compare designs with, where the backbone's folder has it."""
        path = None if self.folder is None else self.folder / "reference.safetensors"
        if self._reference is None and path is not None and path.is_file():
            self._reference = Reference.load(path)
        return self._reference

    # Training ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean loss in nats a position, with noise and dropout that depend on (seed, batch of the run, rank) alone."""
        place = (self.seed, "train", int(batch["position"]), self.global_rank)
        noise = generator(*place, "noise", device=self.device)
        with dropout_seeded(*place, "dropout", device=self.device):
            # PAD is a token of the codec that the backbone learns to generate: no position is left out.
            nats = self.process.loss(self.denoiser, batch["x"], generator=noise)
        loss = (batch["weight"] * nats).mean() / batch["x"].shape[1]
        self.log("train_bits", loss.detach() / math.log(2), on_step=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add up the bound."""
        self._add_bound(batch, self.val_times)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Add up the bound."""
        self._add_bound(batch, self.test_times)

    def on_validation_epoch_end(self) -> None:
        """Log `val_bits`, bits a letter."""
        self._log_bound("val_bits")

    def on_test_epoch_end(self) -> None:
        """Log `test_bits`, bits a letter."""
        self._log_bound("test_bits")

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine over the trainer's max_steps."""
        return adamw_with_cosine(
            self.denoiser,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            total_steps=self.trainer.max_steps,
        )

    def _add_bound(self, batch: Mapping[str, Tensor], num_times: int) -> None:
        # The same noise at every validation, so that two of them differ by the weights alone.
        noise = generator(self.seed, "validate", int(batch["position"]), self.global_rank, device=self.device)
        with torch.autocast(self.device.type, enabled=False):
            bound = self.process.log_likelihood_bound(
                self.denoiser, batch["x"], num_times=num_times, generator=noise
            )
        weight = batch["weight"].double()
        sums = torch.stack([-(weight * bound).sum(), (weight * batch["mask"].sum(1)).sum()])
        self._sums = sums if self._sums is None else self._sums + sums

    def _log_bound(self, name: str) -> None:
        if self._sums is None:
            return
        nats, letters = self.trainer.strategy.reduce(self._sums, reduce_op="sum")
        self.log(name, nats / letters / math.log(2), prog_bar=True, rank_zero_only=False)
        self._sums = None

    # Saving ------------------------------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Save config.yaml and model.safetensors; never half-written.

        Args:
            folder: where; an earlier export there is replaced.
            training: facts of the training to write down, plain data.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        config = {
            "kind": "backbone",
            "codec": describe(self.codec),
            "process": describe(self.process),
            "denoiser": describe(self.denoiser),
            "training": dict(training) if training is not None else self.provenance.get("training", {}),
        }
        if "init" in self.provenance:  # what the weights were continued from
            config["init"] = self.provenance["init"]
        write_pretrained(folder, config, self.denoiser.state_dict())

    def load_weights(self, source: Backbone) -> None:
        """Take the weights of another backbone, to continue from them.

        Raises:
            CheckpointError: the networks differ.
        """
        _load_weights(self.denoiser, source.denoiser.state_dict(), str(source.folder or "the given backbone"))
        self.provenance["init"] = {key: source.provenance.get(key) for key in ("name", "weights_sha256")}


def load_backbone(
    name_or_path: str | Path, *, device: torch.device | str = "cpu", trust: Sequence[str] = ()
) -> Backbone:
    """Load a backbone for use: in evaluation mode, without gradients.

    Args:
        name_or_path: a shipped name (see `list_backbones`), a local folder, or the id of a repository on
            the Hugging Face hub.
        device: where to put it.
        trust: top-level packages, besides gendesign, whose classes its config may name.

    Raises:
        CheckpointError: there is none, it is damaged, or its parts do not fit each other.
        TrustError: its config names code that is not trusted.
    """
    folder = find_pretrained(str(name_or_path), SHIPPED, noun="backbone")
    config, weights = read_pretrained(folder)
    if config.get("kind") != "backbone":
        raise CheckpointError(f"{folder}: holds a {config.get('kind')!r}, expected a backbone")
    parts = {}
    for key, kind in {"codec": Codec, "process": Process, "denoiser": Denoiser}.items():
        if not isinstance(config.get(key), dict):
            raise CheckpointError(f"{folder / CONFIG}: has no {key!r} with class_path and init_args")
        try:
            parts[key] = build(config[key], kinds=KINDS, trust=trust)
        except ConfigError as error:
            raise CheckpointError(f"{folder / CONFIG}: {key}: {error}") from error
        if not isinstance(parts[key], kind):
            raise CheckpointError(
                f"{folder / CONFIG}: {key} is a {type(parts[key]).__name__}, expected a {kind.__name__}"
            )
    try:
        backbone = Backbone(parts["codec"], parts["process"], parts["denoiser"])
    except GendesignError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error
    _load_weights(backbone.denoiser, weights, str(folder))
    backbone.folder = folder
    backbone.provenance = {
        "name": str(name_or_path),
        "weights_sha256": config["weights_sha256"],
        "training": config.get("training", {}),
    }
    return backbone.to(device).eval().requires_grad_(False)


def list_backbones() -> dict[str, str]:
    """Names of the shipped backbones, with one line about each."""
    return list_pretrained(SHIPPED)


def _load_weights(denoiser: Denoiser, weights: Mapping[str, Tensor], source: str) -> None:
    own = denoiser.state_dict()
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    wrong = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if missing or unknown or wrong:
        found = {"lacks": missing, "has the unknown": unknown, "has another shape of": wrong}
        trouble = [
            f"{word} {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            for word, names in found.items()
            if names
        ]
        raise CheckpointError(f"{source}: the weights do not fit the network: {'; '.join(trouble)}")
    denoiser.load_state_dict(dict(weights))

"""Learned predictors of sequences and of molecules: an ensemble of networks, trained by the same command as backbones.

    prediction = mean over members of f_m(x)          std = standard deviation over members

Members differ in their initial weights and their dropout; where they disagree, the data said little. Targets
are standardised by the mean and the scale of the training rows, and rows where a target was not measured
(NaN) carry no loss for it: one network learns several media at once.

Reference: Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation
using deep ensembles" (2017, arXiv 1612.01474).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from gendesign.building import Configurable, build, describe, finite, whole
from gendesign.codecs import TokenCodec
from gendesign.determinism import dropout_seeded
from gendesign.errors import CheckpointError, ConfigError
from gendesign.models.predictor import SequencePredictor
from gendesign.optimisation import adamw_with_cosine
from gendesign.pretrained import CONFIG, load_weights, read_config, read_pretrained, write_pretrained
from gendesign.rewards.motifs import read_log_odds

PRETRAINED = Path(__file__).parent / "pretrained"
"""Where shipped predictors and classifiers lie."""

_Module = TypeVar("_Module", bound=LightningModule)


class Predictor(Configurable, LightningModule):
    """An ensemble of predictors with named heads, which read a codec's tokens.

    Args:
        codec: encodes whole sequences (context included), or molecules.
        network: the first member; the others are built from its arguments with their own initial weights.
        heads: names of the targets, in the order of the data module's `target_columns`.
        members: networks in the ensemble.
        unit: unit of the targets.
        prefix: constant sequence before every design in the training data.
        suffix: constant sequence after it.
        source: where the measurements come from; one line.
        motifs: file of known binding motifs, or the name of a shipped one (`gendesign.rewards.motifs`), which the
            networks take before the first step; not read afterwards. Of DNA, with networks that have `known_motifs`.
        lr: peak learning rate.
        weight_decay: of weight matrices.
        warmup_steps: steps of linear warm-up; then cosine decay to the trainer's max_steps.
        seed: of initial weights and dropout.

    Raises:
        ConfigError: the network's shape does not fit codec and heads, or an argument is out of range.
    """

    def __init__(
        self,
        codec: TokenCodec,
        network: SequencePredictor,
        *,
        heads: Sequence[str],
        members: int = 3,
        unit: str = "",
        prefix: str = "",
        suffix: str = "",
        source: str = "",
        motifs: str = "",
        lr: float = 2e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 100,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if (network.num_letters, network.length, network.num_targets) != (
            len(codec.vocabulary),
            codec.length,
            len(heads),
        ):
            raise ConfigError(
                f"the network reads {network.length} x {network.num_letters} and predicts {network.num_targets}, "
                f"but codec and heads need {codec.length} x {len(codec.vocabulary)} and {len(heads)}"
            )
        self.codec = codec
        self.heads = tuple(heads)
        self.unit, self.prefix, self.suffix, self.source = unit, prefix, suffix, source
        needs = bool(network.init_args.get("known_motifs"))
        if bool(motifs) != needs or (motifs and codec.vocabulary != tuple("ACGT")):
            raise ConfigError(
                "motifs names a file of DNA motifs for networks with known_motifs above 0, and both come together; "
                f"got motifs {motifs!r} and known_motifs {network.init_args.get('known_motifs', 0)}"
            )
        self.motifs = motifs
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = nn.ModuleList(
                type(network)(**network.init_args) for _ in range(whole("members", members))
            )
        # Mean and scale of the targets: taken from the training rows, then part of the weights.
        self.register_buffer("center", torch.full((len(heads),), math.nan))
        self.register_buffer("scale", torch.full((len(heads),), math.nan))
        self.center: Float[Tensor, " n"]
        self.scale: Float[Tensor, " n"]
        self.seed = seed
        self.lr, self.weight_decay = (
            finite("lr", lr, above=0.0),
            finite("weight_decay", weight_decay, at_least=0.0),
        )
        self.warmup_steps = whole("warmup_steps", warmup_steps, at_least=0)
        self._predicted: list[tuple[Tensor, Tensor]] = []

    # Predicting ----------------------------------------------------------------------------------------------------

    def forward(
        self, x: Int[Tensor, "B L"] | Float[Tensor, "B L K"], mask: Bool[Tensor, "B L"] | None = None
    ) -> Float[Tensor, "M B n"]:
        """Each member's prediction, in the targets' unit, of token ids or relaxed one-hots over K tokens."""
        return self._members(self.letters(x, mask)) * self.scale + self.center

    def _members(self, letters: Float[Tensor, "B L A"]) -> Float[Tensor, "M B n"]:
        """What each network says, standardised."""
        networks: Any = self.networks
        scores = networks[0].motif_scores(letters)  # the motifs of all are the same
        return torch.stack(
            [network(letters) if scores is None else network(letters, scores) for network in networks]
        )

    def letters(self, x: Tensor, mask: Tensor | None = None) -> Float[Tensor, "B L A"]:
        """One-hots over the letters (tokens other than PAD), zero at padding."""
        size = len(self.codec.vocabulary)
        if not x.is_floating_point():
            x = nn.functional.one_hot(x, self.codec.vocab_size)
        letters = x[..., :size].to(self.center.dtype)
        return letters if mask is None else letters * mask[..., None]

    def load_weights(self, source: Predictor) -> None:
        """Take the weights of another predictor, to continue from them.

        Raises:
            CheckpointError: the networks differ.
        """
        load_weights(self, source.state_dict(), "the given predictor")

    def take_motifs(self) -> None:
        """Read `motifs` into the networks, unless `--init` brought some.

        Raises:
            DataError: the file cannot be read.
            ConfigError: it holds another number of motifs than the networks have a place for.
        """
        networks: Any = self.networks
        if self.motifs and not any(network.has_motifs for network in networks):
            log_odds = read_log_odds(self.motifs)
            for network in networks:
                network.take_motifs(log_odds)

    def save_pretrained(self, folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Write config.yaml and model.safetensors, which `load_predictor` reads; never half-written.

        Args:
            folder: where; an earlier export there is replaced.
            training: facts of the training to write down, plain data.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        config = {"kind": "predictor", "predictor": describe(self), "training": dict(training or {})}
        write_pretrained(folder, config, self.state_dict())

    # Training ------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Take known motifs, and mean and scale of the targets from the training rows."""
        if stage != "fit":
            return
        self.take_motifs()
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        targets = torch.from_numpy(data.targets[data.indices("train")])
        self.center.copy_(targets.nanmean(0))
        self.scale.copy_((targets - self.center).square().nanmean(0).sqrt())

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean squared error over the measured targets, standardised; members share only the batch."""
        place = (self.seed, "train", int(batch["position"]), self.global_rank)
        letters = self.letters(batch["x"], batch["mask"])
        target = (batch["targets"].to(letters) - self.center) / self.scale
        measured = ~target.isnan() * batch["weight"].to(letters)[:, None]
        with dropout_seeded(*place, "dropout", device=self.device):
            predicted = self._members(letters)
        error = (predicted.float() - target.nan_to_num()).square().mean(0)
        loss = (error * measured).sum() / measured.sum().clamp(min=1e-9)
        self.log("train_loss", loss.detach(), on_step=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect predictions; correlations are of the whole set, not means over batches."""
        filler = batch["weight"] == 0  # rows that only make the processes' batches equally many
        targets = batch["targets"].masked_fill(filler[:, None], math.nan)
        self._predicted.append((self(batch["x"], batch["mask"]).mean(0).float(), targets))

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._log_quality("val")

    def on_test_epoch_end(self) -> None:
        self._log_quality("test")

    def _log_quality(self, split: str) -> None:
        """Pearson r and mean squared error of each head over the measured rows of all processes."""
        predicted = self._gathered(torch.cat([p for p, _ in self._predicted]))
        target = self._gathered(torch.cat([t for _, t in self._predicted])).to(predicted)
        self._predicted.clear()
        for head, p, t in zip(self.heads, predicted.T, target.T, strict=True):
            p, t = p[~t.isnan()], t[~t.isnan()]
            if len(t) > 1:
                self.log(f"{split}_pearson_{head}", torch.corrcoef(torch.stack([p, t]))[0, 1], prog_bar=True)
                self.log(f"{split}_mse_{head}", (p - t).square().mean())

    def _gathered(self, rows: Float[Tensor, "B n"]) -> Float[Tensor, "C n"]:
        return rows if self.trainer.world_size == 1 else self.all_gather(rows).flatten(0, 1)  # type: ignore[union-attr]

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine over the trainer's max_steps."""
        return adamw_with_cosine(
            self.networks,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            total_steps=self.trainer.max_steps,
        )


def load_predictor(name_or_folder: str, *, trust: Sequence[str] = ()) -> Predictor:
    """Load a predictor for prediction.

    Args:
        name_or_folder: name of a shipped one (a folder of rewards/pretrained), or a folder that
            `save_pretrained` wrote.
        trust: packages besides gendesign whose classes its config may name.

    Raises:
        CheckpointError: there is no such predictor, or its files are damaged or do not fit together.
        TrustError: its config names code outside gendesign.
    """
    return load_trained(name_or_folder, Predictor, (SequencePredictor, TokenCodec), trust=trust)


def load_trained(
    name_or_folder: str, wanted: type[_Module], parts: tuple[type, ...], *, trust: Sequence[str] = ()
) -> _Module:
    """Load a module of a kind, such as a `Predictor`, for prediction; its config's `kind` is that class's name.

    Args:
        name_or_folder: name of a shipped one (a folder of rewards/pretrained), or a folder that its
            `save_pretrained` wrote.
        wanted: the module's class.
        parts: kinds of classes that its arguments may be.
        trust: packages besides gendesign whose classes its config may name.

    Raises:
        CheckpointError: there is none, it is of another kind, or its files are damaged or do not fit together.
        TrustError: its config names code outside gendesign.
    """
    noun = wanted.__name__.lower()
    shipped = PRETRAINED / name_or_folder
    folder = shipped if (shipped / CONFIG).is_file() else Path(name_or_folder).expanduser()
    if not folder.exists():
        known = {
            path.parent.name: read_config(path.parent) for path in sorted(PRETRAINED.glob(f"*/{CONFIG}"))
        }
        names = [name for name, config in known.items() if config.get("kind") == noun]
        raise CheckpointError(
            f"no {noun} {name_or_folder!r}: expected a folder, or one of {', '.join(names) or '(none)'}"
        )
    config, weights = read_pretrained(folder)
    if config.get("kind") != noun or not isinstance(config.get(noun), dict):
        raise CheckpointError(f"{folder}: holds a {config.get('kind')!r}, expected a {noun}")
    module = build(config[noun], kinds=(wanted, *parts), trust=trust)
    if not isinstance(module, wanted):
        raise CheckpointError(f"{folder / CONFIG}: expected a {wanted.__name__}, got {type(module).__name__}")
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"{folder}: weights and config do not fit: {' '.join(str(error).split())}"
        ) from error
    return module.eval().requires_grad_(False)

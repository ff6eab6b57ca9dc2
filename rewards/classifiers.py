"""Learned classifiers of images: an ensemble of networks, trained by the same command as backbones.

    p(k | x) = mean over members of softmax(f_m(x))_k

The mean of probabilities is calibrated better than a member's own, and where members disagree, the data said little.
Training images are shifted and made noisy at random, so that a class does not hang on single pixels.

Reference: Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty estimation using deep
ensembles" (2017, arXiv 1612.01474).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule
from torch import Generator, Tensor, nn

from gendesign.array_codecs import ImageCodec
from gendesign.building import Configurable, describe, finite, whole
from gendesign.determinism import dropout_seeded, generator
from gendesign.errors import ConfigError
from gendesign.models.classifier import ImageClassifier
from gendesign.optimisation import adamw_with_cosine
from gendesign.pretrained import write_pretrained
from gendesign.rewards.predictors import load_trained


class Classifier(Configurable, LightningModule):
    """An ensemble of image classifiers with named classes.

    Args:
        codec: gives the images of a batch.
        network: the first member; the others are built from its arguments with their own initial weights.
        classes: names of the classes, in the order of their numbers in the data module's targets.
        members: networks in the ensemble.
        source: where the labels come from; one line.
        shift: training images are moved by up to so many pixels in each direction; black moves in.
        noise: standard deviation of the noise on training images, in the scale of black 0 to white 1.
        lr: peak learning rate.
        weight_decay: of weight matrices.
        warmup_steps: steps of linear warm-up; then cosine decay to the trainer's max_steps.
        seed: of initial weights, dropout, shifts and noise.

    Raises:
        ConfigError: the network's shape does not fit codec and classes, or an argument is out of range.
    """

    def __init__(
        self,
        codec: ImageCodec,
        network: ImageClassifier,
        *,
        classes: Sequence[str],
        members: int = 3,
        source: str = "",
        shift: int = 1,
        noise: float = 0.05,
        lr: float = 2e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__()
        reads = (codec.channels, codec.height, codec.width)
        if (network.shape, network.num_classes) != (reads, len(classes)):
            raise ConfigError(
                f"the network reads {network.shape} and tells {network.num_classes} classes, but codec and classes "
                f"need {reads} and {len(classes)}"
            )
        self.codec = codec
        self.classes = tuple(str(name) for name in classes)
        self.source = source
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = nn.ModuleList(
                type(network)(**network.init_args) for _ in range(whole("members", members))
            )
        self.shift, self.noise = whole("shift", shift, at_least=0), finite("noise", noise, at_least=0.0)
        self.lr = finite("lr", lr, above=0.0)
        self.weight_decay = finite("weight_decay", weight_decay, at_least=0.0)
        self.warmup_steps = whole("warmup_steps", warmup_steps, at_least=0)
        self.seed = seed
        self._predicted: list[tuple[Tensor, Tensor]] = []

    # Predicting ---------------------------------------------------------------------------------------------------

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "M B K"]:
        """Each member's log-probabilities of the classes, in nats, of images, 0 black to 1 white."""
        x = x.to(next(self.parameters()))
        return torch.stack([network(x).log_softmax(-1) for network in self.networks])

    def features(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """What the members' last layers read, side by side: a space in which images of a class lie close."""
        x = x.to(next(self.parameters()))
        return torch.cat([network.features(x) for network in self.networks], dim=1)  # type: ignore[operator]

    def save_pretrained(self, folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Write config.yaml and model.safetensors, which `load_classifier` reads; never half-written.

        Args:
            folder: where; an earlier export there is replaced.
            training: facts of the training to write down, plain data.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        config = {"kind": "classifier", "classifier": describe(self), "training": dict(training or {})}
        write_pretrained(folder, config, self.state_dict())

    # Training -----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean cross-entropy; members share only the batch."""
        place = (self.seed, "train", int(batch["position"]), self.global_rank)
        drawn = generator(*place, "images", device=self.device)
        images, labels = moved(self.codec.relax(batch["x"]), self.shift, drawn), self._labels(batch)
        noise = torch.randn(images.shape, device=images.device, dtype=images.dtype, generator=drawn)
        with dropout_seeded(*place, "dropout", device=self.device):
            log_p = self((images + self.noise * noise).clamp(0, 1))
        loss = nn.functional.nll_loss(log_p.float().flatten(0, 1), labels.repeat(len(log_p)))
        self.log("train_loss", loss.detach(), on_step=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect probabilities; figures are of the whole set."""
        real = batch["weight"] > 0  # rows of weight 0 only make the processes' batches equally many
        log_p = ensemble(self(self.codec.relax(batch["x"])))
        self._predicted.append((log_p[real].float(), self._labels(batch)[real]))

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._log_quality("val")

    def on_test_epoch_end(self) -> None:
        self._log_quality("test")

    def _log_quality(self, split: str) -> None:
        """Accuracy, and mean negative log-probability of the true class in nats."""
        log_p, labels = (torch.cat(parts) for parts in zip(*self._predicted, strict=True))
        self._predicted.clear()
        self.log(
            f"{split}_accuracy", (log_p.argmax(1) == labels).float().mean(), prog_bar=True, sync_dist=True
        )
        self.log(f"{split}_nll", nn.functional.nll_loss(log_p, labels), prog_bar=True, sync_dist=True)

    def _labels(self, batch: Mapping[str, Tensor]) -> Int[Tensor, " B"]:
        return batch["targets"][:, 0].long()

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine over the trainer's max_steps."""
        return adamw_with_cosine(
            self.networks,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            total_steps=self.trainer.max_steps,
        )


def ensemble(log_p: Float[Tensor, "M B K"]) -> Float[Tensor, "B K"]:
    """Log of the members' mean probability."""
    return log_p.logsumexp(0) - math.log(len(log_p))


def moved(x: Float[Tensor, "B C H W"], shift: int, drawn: Generator) -> Float[Tensor, "B C H W"]:
    """Each image moved by up to `shift` pixels down and to the right or back; black moves in."""
    size = (len(x), 2)
    by = torch.randint(2 * shift + 1, size, generator=drawn, device=drawn.device).to(x.device)
    padded = nn.functional.pad(x, (shift,) * 4)
    rows = by[:, :1] + torch.arange(x.shape[2], device=x.device)
    columns = by[:, 1:] + torch.arange(x.shape[3], device=x.device)
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def load_classifier(name_or_folder: str, *, trust: Sequence[str] = ()) -> Classifier:
    """Load a classifier for prediction.

    Args:
        name_or_folder: name of a shipped one (a folder of rewards/pretrained), or a folder that
            `Classifier.save_pretrained` wrote.
        trust: packages besides gendesign whose classes its config may name.

    Raises:
        CheckpointError: there is no such classifier, or its files are damaged or do not fit together.
        TrustError: its config names code outside gendesign.
    """
    return load_trained(name_or_folder, Classifier, (ImageClassifier, ImageCodec), trust=trust)

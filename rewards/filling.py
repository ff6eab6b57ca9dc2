"""Pretraining of predictors on sequences that nobody measured: name masked letters from what is around them.

    L = - mean over masked positions l of log softmax(W h)_l[x_l],     h = features of x with its masked letters blank

Each row has its own share of masked positions, uniform between two bounds. Only what a network has before its dense
layers is trained; W is thrown away. What is exported is a predictor whose features have seen natural sequences, from
which `gendesign fit --init` trains with measurements. Read as a bound, L is no likelihood: it says how much better than
by the letters' frequencies (1.386 nats for four equally frequent ones) the features fill gaps.

Reference: Devlin et al., "BERT: pre-training of deep bidirectional transformers for language understanding" (2019,
arXiv 1810.04805).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional

from gendesign.building import finite, whole
from gendesign.determinism import dropout_seeded, generator
from gendesign.errors import ConfigError
from gendesign.models.predictor import SequencePredictor
from gendesign.optimisation import adamw_with_cosine
from gendesign.rewards.predictors import Predictor


class Filling(LightningModule):
    """Trains the features of every network of a predictor; the members share rows and masks.

    Args:
        predictor: whose networks to train; its prefix and suffix are put around every sequence, and stay unmasked.
        least: smallest share of a row's positions that is masked.
        most: largest.
        lr: peak learning rate.
        weight_decay: of weight matrices.
        warmup_steps: steps of linear warm-up; then cosine decay to the trainer's max_steps.
        seed: of masks and dropout.

    Raises:
        ConfigError: an argument is out of range, or a network has no features by position.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        least: float = 0.05,
        most: float = 0.35,
        lr: float = 2e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 < finite("least", least) <= finite("most", most) < 1:
            raise ConfigError(f"shares to mask must be 0 < least <= most < 1; got {least} and {most}")
        self.predictor = predictor
        self.least, self.most = least, most
        self.lr = finite("lr", lr, above=0.0)
        self.weight_decay = finite("weight_decay", weight_decay, at_least=0.0)
        self.warmup_steps = whole("warmup_steps", warmup_steps, at_least=0)
        self.seed = seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.readouts = nn.ModuleList(_readout(network) for network in _networks(predictor))

    def save_pretrained(self, folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Write the predictor, of which only the features are trained; as `Predictor.save_pretrained`."""
        self.predictor.save_pretrained(folder, training=training)

    def setup(self, stage: str) -> None:
        """Known motifs are there before the first step."""
        if stage == "fit":
            self.predictor.take_motifs()

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Mean over members of the mean loss over masked positions, in nats a letter."""
        place = ("train", int(batch["position"]), self.global_rank)
        with dropout_seeded(self.seed, *place, "dropout", device=self.device):
            loss = self._losses(batch, *place)[0]
        self.log("train_loss", loss.detach(), on_step=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """The loss of unseen sequences, the same masks each time."""
        loss, masked = self._losses(batch, "val", int(batch["position"]), self.global_rank)
        self.log("val_loss", loss, batch_size=masked, sync_dist=True, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine over the trainer's max_steps."""
        return adamw_with_cosine(
            self,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            total_steps=self.trainer.max_steps,
        )

    def _losses(self, batch: Mapping[str, Tensor], *place: int | str) -> tuple[Tensor, int]:
        """The loss, and the number of positions that it is of."""
        x, inside = self._read(batch)
        draws = generator(self.seed, *place)
        share = self.least + (self.most - self.least) * torch.rand(len(x), 1, generator=draws)
        masked = inside & (torch.rand(inside.shape, generator=draws) < share).to(inside.device)
        blank = x * ~masked[..., None]
        truth = x[masked].argmax(-1)
        losses = []
        for network, readout in zip(_networks(self.predictor), self.readouts, strict=True):
            logits = readout(network.features(blank)).transpose(1, 2)
            logits = logits.reshape(len(x), -1, x.shape[-1])[:, : x.shape[1]]
            # the sum, since a batch may have nothing masked
            losses.append(functional.cross_entropy(logits[masked].float(), truth, reduction="sum"))
        num = int(masked.sum())
        return torch.stack(losses).mean() / max(num, 1), num

    def _read(self, batch: Mapping[str, Tensor]) -> tuple[Float[Tensor, "B L A"], Bool[Tensor, "B L"]]:
        """One-hots of the batch's sequences in their context, and which positions are the sequences' own."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        before, after = self.predictor.prefix, self.predictor.suffix
        designs = [data.sequences[row] for row in batch["row"].tolist()]
        x = self.predictor.codec.encode([f"{before}{design}{after}" for design in designs]).to(self.device)
        length = torch.tensor([len(design) for design in designs], device=self.device)[:, None]
        length = length * (batch["weight"] > 0)[:, None]  # filler rows have no position
        position = torch.arange(x.shape[1], device=self.device)
        inside = (position >= len(before)) & (position < len(before) + length)
        return self.predictor.letters(x), inside


def _networks(predictor: Predictor) -> list[SequencePredictor]:
    networks: Any = predictor.networks
    return list(networks)


def _readout(network: SequencePredictor) -> nn.Module:
    """From the features of one (pooled) position to the letters of all that were pooled into it.

    What the features do not need, such as dense layers, is frozen.
    """
    weights = list(network.parameters())
    features = network.features(torch.zeros(1, network.length, network.num_letters))
    used = torch.autograd.grad(features.sum(), weights, allow_unused=True)
    for weight, gradient in zip(weights, used, strict=True):
        weight.requires_grad_(gradient is not None)
    pooled = -(-network.length // features.shape[2])
    return nn.Conv1d(features.shape[1], pooled * network.num_letters, 1)

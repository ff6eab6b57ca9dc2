"""Stability of a sequence on a backbone, learned from measured substitutions.

    stability(x) = s(x, backbone) - s(wild type, backbone) = -ddG, kcal/mol

with s a sum over residues and near pairs (`gendesign.models.pairwise_energy`), so that a difference of two scores is
the effect of any number of substitutions; forward and backward substitution cancel, and the wild type has exactly 0. It
learned from single substitutions only: of designs far from the wild type it says what it extrapolates, without bound.
The value is the mean of several networks, and their standard deviation says where they disagree.

Measurements: Tsuboyama et al. 2023, Mega-scale experimental analysis of protein folding stability in biology and
design, doi 10.1038/s41586-023-06328-6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import huber_loss

from gendesign.building import Configurable, describe, finite
from gendesign.codecs import ProteinCodec
from gendesign.designs import Design
from gendesign.determinism import dropout_seeded
from gendesign.errors import ConfigError
from gendesign.files.structures import read_structure
from gendesign.models.pairwise_energy import Energies, PairwiseEnergy
from gendesign.optimisation import adamw_with_cosine
from gendesign.pretrained import write_pretrained
from gendesign.rewards.base import DifferentiableReward, Scores
from gendesign.rewards.predictors import load_trained


class StabilityPredictor(Configurable, LightningModule):
    """Trainable energies of sequences on backbones.

    Args:
        network: writes energies from a backbone.
        source: where the measurements come from; one line.
        lr: peak learning rate.
        weight_decay: of weight matrices.
        warmup_steps: steps of linear warm-up; then cosine decay to the trainer's max_steps.
        seed: of dropout.
    """

    def __init__(
        self,
        network: PairwiseEnergy,
        *,
        source: str = "",
        lr: float = 3e-3,
        weight_decay: float = 0.1,
        warmup_steps: int = 20,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.source = network, source
        self.lr, self.weight_decay, self.warmup_steps, self.seed = lr, weight_decay, warmup_steps, seed
        self._found: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "M B L K"]:
        """The ddG of all substitutions of wild types, kcal/mol, by each network.

        Args:
            batch: of `gendesign.data.stability.StabilityDataModule`.
        """
        return -self.network(batch["cond"], batch["mask"]).substitutions(batch["x"])

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Huber loss of each network on the measured substitutions."""
        with dropout_seeded(self.seed, int(batch["position"]), self.global_rank, device=self.device):
            found = self(batch).float()
        measured = batch["targets"].isfinite()
        loss = huber_loss(found[:, measured], batch["targets"][measured].expand(len(found), -1))
        self.log("train_loss", loss.detach(), on_step=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect predictions of each protein."""
        for found, truth in zip(self(batch).float().mean(0), batch["targets"], strict=True):
            measured = truth.isfinite()
            self._found.append((found[measured], truth[measured]))

    def on_validation_epoch_end(self) -> None:
        """Log `val_rmse`, kcal/mol, and `val_spearman`, the median over proteins."""
        if self._found:
            found, truth = (torch.cat(parts) for parts in zip(*self._found, strict=True))
            self.log("val_rmse", (found - truth).square().mean().sqrt(), prog_bar=True)
            ranked = torch.stack([_spearman(*pair) for pair in self._found])
            self.log("val_spearman", ranked.median(), prog_bar=True)
        self._found.clear()

    def configure_optimizers(self) -> Any:
        """AdamW, warm-up and cosine."""
        return adamw_with_cosine(
            self.network,
            lr=self.lr,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup_steps,
            total_steps=self.trainer.max_steps,
        )

    def save_pretrained(self, folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Write config.yaml and model.safetensors; never half-written.

        Args:
            folder: where; an earlier export there is replaced.
            training: facts of the training to write down, plain data.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        config = {"kind": KIND, KIND: describe(self), "training": dict(training or {})}
        write_pretrained(folder, config, self.state_dict())


KIND = "stabilitypredictor"


class Stability(DifferentiableReward):
    """Predicted -ddG of folding against the structure's own sequence, kcal/mol: above 0 is more stable.

    Args:
        structure: PDB or mmCIF file, the one that the designs are for; without one no design has a value.
        chain: its letter; may be left out where one chain is a protein.
        predictor: name of a shipped predictor, or a folder.
        lower_confidence_bound: standard deviations of the networks to subtract from their mean; at least 0.

    Raises:
        ConfigError: a structure with unknown amino acids or residues without coordinates.
        CheckpointError: there is no such predictor.
        DataError: the structure cannot be read.
    """

    name, unit = "stability", "kcal/mol"
    differentiable = True

    def __init__(
        self,
        structure: str = "",
        *,
        chain: str | None = None,
        predictor: str = "stability",
        lower_confidence_bound: float = 0.0,
    ) -> None:
        self.predictor = load_trained(predictor, StabilityPredictor, (PairwiseEnergy,))
        self.kappa = finite("lower_confidence_bound", lower_confidence_bound, at_least=0.0)
        self.name, self.source = Path(predictor).name, self.predictor.source
        self.trained_on = "measured ddG of single substitutions in small domains"
        self.codec: ProteinCodec | None = None
        if not structure:
            return
        found = read_structure(structure, chain=chain)
        if "X" in found.sequence or not found.resolved.all():
            raise ConfigError(
                f"{found.name}: stability needs a chain of standard amino acids with complete backbones"
            )
        self.codec = ProteinCodec(len(found))
        self.alphabet = self.codec.alphabet
        with torch.no_grad():
            self.energies: Energies = self.predictor.network(
                torch.from_numpy(found.condition())[None].float()
            )
            self.offset = self.energies.of(self.codec.encode([found.sequence]))

    def unreadable(self, design: Design) -> str:
        if self.codec is None:
            return "stability needs the structure that designs are for: reward.structure=FILE.pdb"
        return self.codec.reason_invalid(design)

    @torch.no_grad()
    def score(self, designs: Sequence[str]) -> Scores:
        assert self.codec is not None  # or no design was readable
        mean, std = self._moments(self.energies.of(self.codec.encode(designs)))
        return Scores(
            (mean - self.kappa * std).double().numpy(),
            std=std.double().numpy() if len(self.offset) > 1 else None,
        )

    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, " B"]:
        return self.relaxed_moments(x)[0]

    def relaxed_moments(
        self, x: Float[Tensor, "B L K"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"] | None]:
        if self.codec is None:
            raise ConfigError(self.unreadable(""))
        mean, std = self._moments(self.energies.of_relaxed(x.to(self.offset)))
        return (mean - self.kappa * std).to(x), std.to(x) if len(self.offset) > 1 else None

    def _moments(self, scores: Float[Tensor, "M B"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        change = scores - self.offset
        return change.mean(0), change.std(0, correction=0)


def _spearman(a: Float[Tensor, " N"], b: Float[Tensor, " N"]) -> Tensor:
    """Rank correlation; ties, which measurements hardly have, in any order."""
    ranks = torch.stack([one.argsort().argsort().double() for one in (a, b)])
    found: Tensor = torch.corrcoef(ranks)[0, 1]
    return found

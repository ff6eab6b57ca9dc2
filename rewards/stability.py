"""Stability of a sequence on a backbone, learned from measured substitutions.

    s(x) = sum_i logit_i(x, backbone)[x_i]        stability(x) = s(x) - s(wild type) = -ddG, kcal/mol

One network scores a whole sequence on a whole backbone, so that a difference of two scores is the effect of any number
of substitutions; forward and backward substitution cancel, and the wild type has exactly 0. It learned from single
substitutions only: of designs far from the wild type it says what it extrapolates.

Measurements: Tsuboyama et al. 2023, Mega-scale experimental analysis of protein folding stability in biology and
design, doi 10.1038/s41586-023-06328-6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.functional import huber_loss

from gendesign.building import Configurable, describe
from gendesign.codecs import ProteinCodec
from gendesign.designs import Design
from gendesign.determinism import dropout_seeded
from gendesign.errors import ConfigError
from gendesign.files.structures import read_structure
from gendesign.models.structure_denoiser import Encoding, StructureDenoiser
from gendesign.optimisation import adamw_with_cosine
from gendesign.pretrained import write_pretrained
from gendesign.rewards.base import DifferentiableReward
from gendesign.rewards.predictors import load_trained

ROWS = 256  # of the network a call


class StabilityPredictor(Configurable, LightningModule):
    """A trainable score of sequences on backbones.

    Args:
        network: of message passing over backbone and amino acids.
        source: where the measurements come from; one line.
        lr: peak learning rate.
        weight_decay: of weight matrices.
        warmup_steps: steps of linear warm-up; then cosine decay to the trainer's max_steps.
        seed: of dropout.
    """

    def __init__(
        self,
        network: StructureDenoiser,
        *,
        source: str = "",
        lr: float = 2e-3,
        weight_decay: float = 0.05,
        warmup_steps: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.source = network, source
        self.lr, self.weight_decay, self.warmup_steps, self.seed = lr, weight_decay, warmup_steps, seed
        self._errors: list[Tensor] = []

    def forward(
        self, x: Int[Tensor, "B L"] | Float[Tensor, "B L K1"], encoding: Encoding
    ) -> Float[Tensor, " B"]:
        """s(x), kcal/mol up to a constant of the backbone, of ids or of one-hots over amino acids and MASK."""
        logits = self.network.decode(x, encoding)
        if x.is_floating_point():
            return (logits * x[..., : logits.shape[-1]]).sum((1, 2))
        return (logits.gather(-1, x[..., None])[..., 0] * encoding.mask).sum(1)

    def change(
        self, x: Int[Tensor, "B L"], wild_type: Int[Tensor, "1 L"], encoding: Encoding
    ) -> Float[Tensor, " B"]:
        """-ddG of sequences, kcal/mol."""
        scores = self(torch.cat([wild_type, x]), encoding)
        return scores[1:] - scores[0]

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Huber loss of ddG on substitutions of one protein."""
        with dropout_seeded(self.seed, int(batch["position"]), self.global_rank, device=self.device):
            encoding = self.network.encode(batch["cond"])
            found = -self.change(batch["x"][1:], batch["x"][:1], encoding)
        loss = huber_loss(found.float(), batch["targets"][:, 0])
        self.log("train_loss", loss.detach(), on_step=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect squared errors."""
        encoding = self.network.encode(batch["cond"])
        found = -self.change(batch["x"][1:], batch["x"][:1], encoding)
        self._errors.append((found.float() - batch["targets"][:, 0]).square())

    def on_validation_epoch_end(self) -> None:
        """Log `val_rmse`, kcal/mol."""
        if self._errors:
            self.log("val_rmse", torch.cat(self._errors).mean().sqrt(), prog_bar=True)
        self._errors.clear()

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

    Raises:
        ConfigError: a structure with unknown amino acids or residues without coordinates.
        CheckpointError: there is no such predictor.
        DataError: the structure cannot be read.
    """

    name, unit = "stability", "kcal/mol"
    differentiable = True

    def __init__(
        self, structure: str = "", *, chain: str | None = None, predictor: str = "stability"
    ) -> None:
        self.predictor = load_trained(predictor, StabilityPredictor, (StructureDenoiser,))
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
        self.wild_type = self.codec.encode([found.sequence])
        with torch.no_grad():
            cond = torch.from_numpy(found.condition())[None].float()
            self.encoding = self.predictor.network.encode(cond)
            self.offset = self.predictor(self.wild_type, self.encoding)[0]

    def unreadable(self, design: Design) -> str:
        if self.codec is None:
            return "stability needs the structure that designs are for: reward.structure=FILE.pdb"
        return self.codec.reason_invalid(design)

    @torch.no_grad()
    def score(self, designs: Sequence[str]) -> Tensor:
        assert self.codec is not None  # or no design was readable
        x = self.codec.encode(designs)
        return torch.cat([self.predictor(part, self.encoding) for part in x.split(ROWS)]) - self.offset

    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, " B"]:
        if self.codec is None:
            raise ConfigError(self.unreadable(""))
        letters = x.to(self.offset.dtype)
        silent = torch.zeros_like(letters[..., :1])
        found: Tensor = self.predictor(torch.cat([letters, silent], dim=-1), self.encoding) - self.offset
        return found.to(x)

"""Learned activities of molecules as rewards, with the domain in which they are to be trusted.

    r(x) = mean(x) - kappa * std(x)

of a Gaussian process (`gendesign.rewards.regressor`). Far from all measurements the mean is that of a molecule of which
nothing is known, and the standard deviation is largest; so steering finds nothing by leaving the data, and kappa > 0, a
lower confidence bound, pays it to stay. The domain is told by T, the Tanimoto similarity to the nearest measured
molecule: below one limit a value comes with a message that says so, below another there is none (INVALID).

Sheridan et al., "Similarity to molecules in the training set is a good discriminator for prediction accuracy in QSAR"
(2004, doi 10.1021/ci049782w).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from gendesign.building import finite, whole
from gendesign.errors import ConfigError
from gendesign.molecules import chemistry
from gendesign.rewards.base import Scores, Status
from gendesign.rewards.molecules import MoleculeReward
from gendesign.rewards.regressor import Predicted, load_regressor

if TYPE_CHECKING:
    from rdkit.Chem import Mol


class PredictedActivity(MoleculeReward):
    """The activity that a regressor expects of a molecule.

    Args:
        predictor: name of a shipped one, or a folder that `Regressor.save_pretrained` wrote.
        lower_confidence_bound: kappa, standard deviations to subtract from the mean; at least 0.
        flag_below: similarity, 0 to 1, below which a value's message says that it is outside the domain. 0 = never.
        min_similarity: similarity, 0 to 1, below which a design is INVALID. 0 = no limit.
        batch_size: molecules at once.
        name: name in tables.

    Raises:
        CheckpointError: the regressor cannot be loaded.
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        predictor: str,
        *,
        lower_confidence_bound: float = 0.0,
        flag_below: float = 0.0,
        min_similarity: float = 0.0,
        batch_size: int = 256,
        name: str = "",
    ) -> None:
        self.regressor = load_regressor(predictor)
        self.kappa = finite("lower_confidence_bound", lower_confidence_bound, at_least=0.0)
        self.flag_below = finite("flag_below", flag_below, at_least=0.0)
        self.min_similarity = finite("min_similarity", min_similarity, at_least=0.0)
        if max(self.flag_below, self.min_similarity) > 1:
            raise ConfigError(
                f"flag_below and min_similarity must be at most 1, got {flag_below} and {min_similarity}"
            )
        self.batch_size = whole("batch_size", batch_size)
        self.name = name or predictor.rstrip("/").rsplit("/", 1)[-1]
        self.unit = self.regressor.unit
        self.source = self.trained_on = self.regressor.source

    @property
    def version(self) -> str:
        """Of RDKit and of the weights."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.regressor.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        return f"{chemistry.version()}; weights {digest.hexdigest()[:16]}"

    def score(self, designs: Sequence[str]) -> Scores:
        found = self.predict(designs)
        near = found.similarity.numpy()
        status = [Status.INVALID if one < self.min_similarity else Status.OK for one in near]
        limit = max(self.flag_below, self.min_similarity)
        message = [
            f"outside the domain: the nearest measured molecule has Tanimoto similarity {one:.2f}, below {limit:g}"
            if one < limit
            else ""
            for one in near
        ]
        values = (found.mean - self.kappa * found.std).numpy()
        return Scores(values, tuple(status), found.std.numpy(), tuple(message))

    @torch.no_grad()
    def predict(self, designs: Sequence[str]) -> Predicted:
        """Mean, standard deviation and similarity to the nearest measured molecule, whether in the domain or not.

        Raises:
            DesignError: something that is no molecule.
        """
        device = self.regressor.mean.device
        parts = [
            self.regressor(self.regressor.fingerprint(designs[start : start + self.batch_size]).to(device))
            for start in range(0, len(designs), self.batch_size)
        ]
        return Predicted(*(torch.cat(column).cpu() for column in zip(*parts, strict=True)))

    def value(self, mol: Mol) -> float:
        return float(self.predict([chemistry.write(mol)]).mean[0])

    def to(self, device: str | torch.device) -> PredictedActivity:
        self.regressor.to(device)
        return self


class TrainingSimilarity(PredictedActivity):
    """Tanimoto similarity to the nearest molecule that a regressor was trained on and that was measured, 0 to 1.

    Listed beside the activity, or as a constraint on it, it shows what the prediction rests on.

    Args:
        predictor: name of a shipped one, or a folder that `Regressor.save_pretrained` wrote.
        batch_size: molecules at once.
        name: name in tables.
    """

    def __init__(self, predictor: str, *, batch_size: int = 256, name: str = "") -> None:
        super().__init__(predictor, batch_size=batch_size, name=name)
        self.name = name or f"{self.name} similarity"
        self.unit = "Tanimoto"

    def score(self, designs: Sequence[str]) -> Scores:
        return Scores(self.predict(designs).similarity.numpy().astype(np.float64))

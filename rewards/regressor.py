"""Activities of molecules from few measurements: a Gaussian process over fingerprints.

    y_i = m + f(x_i) + e_i,    f ~ GP(0, s^2 T),    T(a, b) = sum_d min(a_d, b_d) / sum_d max(a_d, b_d)

with Gaussian errors e_i, of one size where y_i was measured and of another where it is only presumed (decoys). Near
the measurements the prediction follows them; far away it returns to the mean m, and its standard deviation grows to
that of the prior: no score is made up where nothing is known. m, s and the error of measurements are fitted by the
marginal likelihood

    log p(y) = -1/2 (y - m)^T C^-1 (y - m) - 1/2 log |C| - n/2 log 2 pi,     C = s^2 T + diag(error^2)

References: Rasmussen and Williams, "Gaussian processes for machine learning" (2006, MIT Press), algorithm 2.1;
Ralaivola et al., "Graph kernels for chemical informatics" (2005, doi 10.1016/j.neunet.2005.07.009), for the
kernel; Tripp et al., "A fresh look at de novo molecular design benchmarks" (2021, NeurIPS AI4Science), for its
strength on few data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Integer
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from gendesign.building import Configurable, describe, finite
from gendesign.errors import CheckpointError
from gendesign.models.tanimoto import TanimotoKernel
from gendesign.molecules.fingerprints import CountFingerprint
from gendesign.pretrained import write_pretrained
from gendesign.rewards.predictors import load_trained

_DATA = ("row", "place", "count", "target", "presumed")
"""The buffers whose length is that of the training data."""


class Predicted(NamedTuple):
    """What is predicted of B molecules, float64.

    Attributes:
        mean: expected measurement, in the target's unit.
        std: standard deviation of a measurement around it.
        similarity: T of the nearest molecule that was measured for training, 0 to 1.
    """

    mean: Float[Tensor, " B"]
    std: Float[Tensor, " B"]
    similarity: Float[Tensor, " B"]


class Regressor(Configurable, LightningModule):
    """A Gaussian process on molecules; nothing in its training is drawn at random.

    Each step of training sees all rows. What is saved are the counts of the training molecules, their targets and three
    numbers.

    Args:
        fingerprint: what the process compares molecules by.
        unit: unit of the target.
        source: where the measurements come from; one line.
        mean: m to start from, in the target's unit.
        signal: s to start from, in the target's unit.
        error: of measurements, to start from, in the target's unit.
        presumed_error: of presumed values, in the target's unit. It is not fitted: values that nobody measured do not
            say how wrong they are.
        lr: step size of Adam on m and the logarithms of s and the error.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        fingerprint: CountFingerprint,
        *,
        unit: str = "",
        source: str = "",
        mean: float = 5.0,
        signal: float = 1.5,
        error: float = 0.5,
        presumed_error: float = 1.0,
        lr: float = 0.05,
    ) -> None:
        super().__init__()
        self.fingerprint = fingerprint
        self.unit, self.source = unit, source
        self.lr = finite("lr", lr, above=0.0)
        self.mean = nn.Parameter(torch.tensor(finite("mean", mean)))
        self.log_signal = _logarithm("signal", signal)
        self.log_error = _logarithm("error", error)
        self.presumed_error = finite("presumed_error", presumed_error, above=0.0)
        for name, kind in zip(
            _DATA, (torch.int32, torch.int32, torch.uint8, torch.float32, torch.bool), strict=True
        ):
            self.register_buffer(name, torch.zeros(0, dtype=kind))
        self.row: Integer[
            Tensor, " E"
        ]  # the counts that are not zero: molecule, place in the fingerprint, count
        self.place: Integer[Tensor, " E"]
        self.count: Integer[Tensor, " E"]
        self.target: Float[Tensor, " n"]
        self.presumed: Bool[Tensor, " n"]
        self._solved: _Solved | None = None
        self._predicted: list[tuple[Predicted, Tensor]] = []

    # Predicting ----------------------------------------------------------------------------------------------------

    def forward(self, x: Integer[Tensor, "B D"]) -> Predicted:
        """Predict from counts.

        Raises:
            CheckpointError: it was neither trained nor loaded.
        """
        solved = self._solution()
        likeness = solved.kernel(x)
        variance = (2 * self.log_signal).double().exp()
        k = variance * likeness
        mean = self.mean.double() + k @ solved.weights
        explained = torch.linalg.solve_triangular(solved.cholesky, k.T, upper=False).square().sum(0)
        std = (variance - explained + (2 * self.log_error).double().exp()).clamp(min=0.0).sqrt()
        return Predicted(mean, std, likeness[:, ~self.presumed].amax(1))

    def remember(
        self, x: Integer[Tensor, "n D"], target: Float[Tensor, " n"], presumed: Bool[Tensor, " n"]
    ) -> None:
        """Take the training data; at least one target is measured."""
        row, place = x.nonzero(as_tuple=True)
        self.row, self.place, self.count = row.int(), place.int(), x[row, place].byte()
        self.target, self.presumed = target.float(), presumed.bool()
        self._solved = None

    def _solution(self) -> _Solved:
        if self._solved is None:
            if len(self.target) == 0:
                raise CheckpointError("this regressor holds no measurements; fit it, or load one that was")
            kernel = TanimotoKernel(self._counts())
            chol = torch.linalg.cholesky(self._covariance(kernel.among()))
            rest = (self.target.double() - self.mean.double())[:, None]
            self._solved = _Solved(kernel, chol.detach(), torch.cholesky_solve(rest, chol)[:, 0].detach())
        return self._solved

    def _counts(self) -> Integer[Tensor, "n D"]:
        dense = torch.zeros(
            len(self.target), self.fingerprint.size, dtype=torch.uint8, device=self.count.device
        )
        dense[self.row.long(), self.place.long()] = self.count
        return dense

    def _covariance(self, likeness: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
        variance = (2 * self.log_error).double().exp()
        noise = torch.where(self.presumed, self.presumed_error**2, variance)
        return (2 * self.log_signal).double().exp() * likeness + torch.diag(noise)

    def save_pretrained(self, folder: str | Path, *, training: Mapping[str, Any] | None = None) -> None:
        """Write config.yaml and model.safetensors, which `load_regressor` reads; never half-written.

        Args:
            folder: where; an earlier export there is replaced.
            training: facts of the training to write down, plain data.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        config = {"kind": "regressor", "regressor": describe(self), "training": dict(training or {})}
        write_pretrained(folder, config, self.state_dict())

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load weights of any number of training rows."""
        for name in _DATA:
            if name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[name], device=self.mean.device))
        self._solved = None
        return super().load_state_dict(state_dict, *args, **kwargs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        self._solved = None  # it lies on the old device
        return super()._apply(fn, recurse)

    # Training ------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Take the training rows."""
        if stage == "fit":
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            batch = data.collate(data.indices("train"))
            self.remember(batch["x"], batch["targets"][:, 0], batch["presumed"])

    def on_fit_start(self) -> None:
        """Compare all training molecules, once."""
        self._likeness = TanimotoKernel(self._counts()).among()

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Minus the log marginal likelihood of all training rows, in nats a row, whatever the batch holds."""
        self._solved = None
        chol = torch.linalg.cholesky(self._covariance(self._likeness))
        rest = (self.target.double() - self.mean.double())[:, None]
        fit = torch.linalg.solve_triangular(chol, rest, upper=False).square().sum() / 2
        loss = (fit + chol.diagonal().log().sum()) / len(rest) + math.log(2 * math.pi) / 2
        self.log("train_loss", loss.detach(), on_step=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Collect predictions of measured molecules."""
        real = (batch["weight"] > 0) & ~batch["presumed"]
        found = self(batch["x"][real])
        self._predicted.append((found, batch["targets"][real, 0].double()))

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        self._log_quality("val")

    def on_test_epoch_end(self) -> None:
        self._log_quality("test")

    def _log_quality(self, split: str) -> None:
        """Root mean squared error, Pearson r, and mean negative log-density in nats."""
        mean, std, _ = (
            torch.cat(parts) for parts in zip(*(found for found, _ in self._predicted), strict=True)
        )
        truth = torch.cat([target for _, target in self._predicted])
        self._predicted.clear()
        if len(truth) > 1:
            self.log(f"{split}_rmse", (mean - truth).square().mean().sqrt(), prog_bar=True)
            self.log(f"{split}_pearson", torch.corrcoef(torch.stack([mean, truth]))[0, 1], prog_bar=True)
            self.log(f"{split}_nll", -torch.distributions.Normal(mean, std).log_prob(truth).mean())

    def configure_optimizers(self) -> Any:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class _Solved(NamedTuple):
    """What all predictions share."""

    kernel: TanimotoKernel
    cholesky: Float[Tensor, "n n"]
    weights: Float[Tensor, " n"]


def load_regressor(name_or_folder: str, *, trust: Sequence[str] = ()) -> Regressor:
    """Load a regressor for prediction.

    Args:
        name_or_folder: name of a shipped one (a folder of rewards/pretrained), or a folder that
            `Regressor.save_pretrained` wrote.
        trust: packages besides gendesign whose classes its config may name.

    Raises:
        CheckpointError: there is no such regressor, or its files are damaged or do not fit together.
        TrustError: its config names code outside gendesign.
    """
    return load_trained(name_or_folder, Regressor, (CountFingerprint,), trust=trust)


def _logarithm(name: str, value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(math.log(finite(name, value, above=0.0))))

"""The Gaussian process against its formulas, and its training, saving and loading."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from gendesign.data.molecules import MoleculeDataModule
from gendesign.errors import CheckpointError, ConfigError, TrustError
from gendesign.models.tanimoto import TanimotoKernel
from gendesign.molecules.fingerprints import CountFingerprint
from gendesign.rewards import Regressor, load_regressor
from gendesign.training.callbacks import ExportPretrained

pytest.importorskip("rdkit")
FINGERPRINT = CountFingerprint(size=256)
MOLECULES = ["CCO", "CCCO", "CCN", "c1ccccc1", "Cc1ccccc1", "CC(=O)O", "CCCCCC"]
TARGETS = torch.tensor([5.0, 5.5, 6.0, 8.0, 8.5, 4.0, 4.0])
PRESUMED = torch.tensor([False] * 5 + [True] * 2)


def regressor(**changes: float) -> Regressor:
    made = Regressor(
        FINGERPRINT, **({"mean": 5.5, "signal": 1.2, "error": 0.4, "presumed_error": 0.9} | changes)
    )
    made.remember(FINGERPRINT(MOLECULES), TARGETS, PRESUMED)
    return made.eval()


def dense(made: Regressor, others: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance by the textbook formula, with an inverse."""
    x, y = FINGERPRINT(MOLECULES), FINGERPRINT(others)
    kernel = TanimotoKernel(x)
    noise = np.where(PRESUMED, 0.9, 0.4) ** 2
    inverse = np.linalg.inv(1.2**2 * kernel.among().numpy() + np.diag(noise))
    k = 1.2**2 * kernel(y).numpy()
    mean = 5.5 + k @ inverse @ (TARGETS.double().numpy() - 5.5)
    return mean, 1.2**2 - np.einsum("bi,ij,bj->b", k, inverse, k) + 0.4**2


def test_mean_and_deviation_are_those_of_the_formula() -> None:
    made, others = regressor(), ["CCCN", "Oc1ccccc1", "CCO"]
    mean, variance = dense(made, others)
    found = made(FINGERPRINT(others))
    np.testing.assert_allclose(found.mean.detach(), mean, rtol=1e-5)
    np.testing.assert_allclose(found.std.detach(), np.sqrt(variance), rtol=1e-5)
    assert found.similarity[2] == 1.0 and (found.similarity[:2] < 1).all()


def test_far_from_all_data_the_prior_comes_back() -> None:
    found = regressor()(torch.zeros(1, 256, dtype=torch.uint8))
    assert float(found.mean.detach()) == pytest.approx(5.5)
    assert float(found.std.detach()) == pytest.approx(math.hypot(1.2, 0.4), rel=1e-6)
    assert float(found.similarity) == 0.0


def test_similarity_is_to_measured_molecules_only() -> None:
    found = regressor()(FINGERPRINT(["CC(=O)O", "CCO"]))
    assert found.similarity[0] < 1 == found.similarity[1]


def test_the_loss_is_the_marginal_likelihood_and_presumed_values_do_not_fit_their_error() -> None:
    made = regressor()
    made.log = lambda *args, **kwargs: None  # type: ignore[method-assign,assignment]
    made.on_fit_start()
    loss = made.training_step({}, 0)
    covariance = 1.2**2 * made._likeness + torch.diag(torch.where(PRESUMED, 0.9, 0.4).double() ** 2)
    law = torch.distributions.MultivariateNormal(torch.full((7,), 5.5, dtype=torch.float64), covariance)
    torch.testing.assert_close(loss, -law.log_prob(TARGETS.double()) / 7, rtol=1e-6, atol=1e-6)
    loss.backward()
    assert {name for name, _ in made.named_parameters()} == {"mean", "log_signal", "log_error"}
    assert all(p.grad is not None and p.grad != 0 for p in made.parameters())


def test_training_lowers_the_loss_and_exports_what_predicts_alike(tmp_path: Path) -> None:
    rows = "".join(f"{'C' * n}O,{4 + n / 4}\n{'C' * n}c1ccccc1,{5 + n / 4}\n" for n in range(1, 16))
    (tmp_path / "table.csv").write_text("smiles,y\n" + rows)
    data = MoleculeDataModule(str(tmp_path / "table.csv"), FINGERPRINT, target_column="y", val_fraction=0.3)
    data.indices("train")
    data._splits["val"] = data.indices("train")[::3]  # two scaffolds only: validate on some of the rows
    made = Regressor(FINGERPRINT, unit="pIC50", lr=0.1)
    trainer = Trainer(
        max_steps=15, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, val_check_interval=15, check_val_every_n_epoch=None, num_sanity_val_steps=0,
        callbacks=[ExportPretrained(str(tmp_path / "out"))],
    )  # fmt: skip
    trainer.fit(made, data)
    assert float(trainer.callback_metrics["val_pearson"]) > 0.95
    assert float(made.log_error.detach().exp()) < 0.5
    again = load_regressor(str(tmp_path / "out"))
    x = FINGERPRINT(["CCCCO", "Cc1ccccc1C"])
    for one, other in zip(made(x), again(x), strict=True):
        torch.testing.assert_close(one.detach(), other)
    assert again.unit == "pIC50" and not any(p.requires_grad for p in again.parameters())
    said = (tmp_path / "out" / "config.yaml").read_text()
    assert "num_train_decoys: 0" in said and "target_column: y" in said


def test_counts_survive_saving_whatever_their_number(tmp_path: Path) -> None:
    made = regressor()
    made.save_pretrained(tmp_path / "mine")
    again = load_regressor(str(tmp_path / "mine"))
    assert torch.equal(again._counts(), FINGERPRINT(MOLECULES)) and torch.equal(again.presumed, PRESUMED)
    torch.testing.assert_close(again(FINGERPRINT(["CCCC"])).mean, made(FINGERPRINT(["CCCC"])).mean.detach())


def test_places_of_large_fingerprints_are_kept() -> None:
    large = Regressor(CountFingerprint(size=100_000))
    counts = large.fingerprint(MOLECULES)
    large.remember(counts, TARGETS, PRESUMED)
    assert torch.equal(large._counts(), counts)


def test_damaged_foreign_and_empty_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no regressor 'nowhere'"):
        load_regressor("nowhere")
    with pytest.raises(CheckpointError, match="'predictor', expected a regressor"):
        load_regressor("dna-expression")
    with pytest.raises(CheckpointError, match="holds no measurements"):
        Regressor(FINGERPRINT)(FINGERPRINT(["CCO"]))
    with pytest.raises(ConfigError, match="error must be above 0"):
        Regressor(FINGERPRINT, error=0.0)
    folder = tmp_path / "mine"
    regressor().save_pretrained(folder)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(
        config.replace("gendesign.molecules.fingerprints.CountFingerprint", "os.system")
    )
    with pytest.raises(TrustError):
        load_regressor(str(folder))

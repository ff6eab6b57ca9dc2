"""Filling in masked letters: the loss by hand, what is trained and what not, and training that goes on from it."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from gendesign.codecs import DNACodec
from gendesign.data.sequences import SequenceDataModule
from gendesign.errors import CheckpointError, ConfigError, DataError
from gendesign.models.predictor import ConvPredictor, RecurrentPredictor, SequencePredictor
from gendesign.models.variants import VariantPredictor
from gendesign.rewards import PredictedReward, Predictor, load_predictor
from gendesign.rewards.filling import Filling
from gendesign.training.callbacks import ExportPretrained

MOTIFS = (
    ">M1 first\nA [6 0 0]\nC [0 8 0]\nG [2 0 0]\nT [0 0 8]\n>M2 second\nA [9 9]\nC [0 0]\nG [0 0]\nT [0 0]\n"
)
CONV = {"width": 8, "stem_kernel": 5, "kernel_size": 3, "depth": 1, "poolings": 2, "hidden": 8}
RECURRENT = {"width": 8, "stem_kernel": 5, "pooling": 2, "hidden": 8}


@pytest.fixture()
def motifs(tmp_path: Path) -> str:
    path = tmp_path / "motifs.jaspar"
    path.write_text(MOTIFS)
    return str(path)


def predictor(motifs: str = "", *, network: SequencePredictor | None = None, **changes: Any) -> Predictor:
    extra = {"known_motifs": 2, "motif_width": 3} if motifs else {}
    return Predictor(
        DNACodec(19, variable=True),
        network or ConvPredictor(4, 19, 1, **CONV, **extra),
        **({"heads": ["up"], "members": 2, "prefix": "AC", "suffix": "GTT", "motifs": motifs} | changes),
    )


def periodic(folder: Path, num: int = 400) -> SequenceDataModule:
    """Letters that follow from their neighbours: ACGTACGT... from a random start, of 10 to 14 letters."""
    rng = np.random.default_rng(0)
    lines = ["sequence,up"]
    for start, length in zip(rng.integers(4, size=num), rng.integers(10, 15, size=num), strict=True):
        lines.append(f"{('ACGT' * 6)[start : start + length]},{start}")
    (folder / "periodic.csv").write_text("\n".join(lines) + "\n")
    return SequenceDataModule(
        str(folder / "periodic.csv"), DNACodec(19, variable=True), target_columns=["up"], val_fraction=0.2,
        test_fraction=0.0, batch_size=64,
    )  # fmt: skip


def fit(model: Any, data: SequenceDataModule, steps: int, folder: Path) -> Trainer:
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, val_check_interval=steps, check_val_every_n_epoch=None,
        num_sanity_val_steps=0, callbacks=[ExportPretrained(str(folder))],
    )  # fmt: skip
    trainer.fit(model, data)
    return trainer


@pytest.mark.parametrize(
    "network",
    [ConvPredictor(4, 19, 1, **CONV), RecurrentPredictor(4, 19, 1, **RECURRENT)],
    ids=["conv", "gru"],
)
def test_letters_that_follow_from_their_neighbours_are_learned(
    network: SequencePredictor, tmp_path: Path
) -> None:
    model = Filling(predictor(network=network), lr=2e-2, warmup_steps=5)
    trainer = fit(model, periodic(tmp_path), 60, tmp_path / "out")
    assert float(trainer.callback_metrics["val_loss"]) < 0.7 < math.log(4)


def test_the_loss_is_over_masked_letters_of_the_sequence_alone(tmp_path: Path) -> None:
    model = Filling(predictor(), least=0.4, most=0.4)
    model.predictor.eval()
    data = periodic(tmp_path)
    model._trainer = SimpleNamespace(datamodule=data)  # type: ignore[assignment]
    rows = np.arange(200)
    batch = data.collate(rows) | {"position": torch.tensor(0)}
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for network in model.predictor.networks:
        network.register_forward_pre_hook(lambda *_: None)
        inner = network.features
        network.features = lambda x, inner=inner: seen.append((x, inner(x))) or seen[-1][1]  # type: ignore
    loss, masked = model._losses(batch, "place")
    x = model.predictor.letters(model.predictor.codec.encode([f"AC{data.sequences[row]}GTT" for row in rows]))
    hidden = (seen[0][0].sum(-1) == 0) & (x.sum(-1) > 0)
    lengths = torch.tensor([len(data.sequences[row]) for row in rows])
    assert not hidden[:, :2].any()  # the prefix stays, and so does the suffix
    assert all(not row[2 + length :].any() for row, length in zip(hidden, lengths, strict=True))
    assert masked == int(hidden.sum()) and abs(masked / int(lengths.sum()) - 0.4) < 0.03
    expected = []
    for (_, features), readout in zip(seen, model.readouts, strict=True):
        logits = readout(features)  # [B, 2 letters of a pair x 4, pairs]
        total = 0.0
        for row, place in hidden.nonzero().tolist():
            chances = logits[row, :, place // 2].view(2, 4)[place % 2].log_softmax(0)
            total -= float(chances[x[row, place].argmax()])
        expected.append(total / masked)
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-4)


def test_only_features_are_trained_and_fit_goes_on_from_them(tmp_path: Path, motifs: str) -> None:
    start = predictor(motifs)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    fit(Filling(start), periodic(tmp_path), 3, tmp_path / "filled")
    filled = load_predictor(str(tmp_path / "filled"))
    same = {name for name, value in filled.state_dict().items() if torch.equal(value, before[name])}
    assert all((".dense." in name) == (name in same) for name in before if name.startswith("networks"))
    with pytest.raises(CheckpointError, match="has features but no measurements yet; train it by fit --init"):
        PredictedReward(str(tmp_path / "filled"))
    # without the file of motifs, which travel in the weights with their cuts
    Path(motifs).unlink()
    again = predictor(motifs, seed=5)
    again.load_weights(filled)
    fit(again, periodic(tmp_path), 1, tmp_path / "fitted")
    fitted = load_predictor(str(tmp_path / "fitted"))
    name = "networks.1.stem.known.kernels"
    torch.testing.assert_close(fitted.state_dict()[name], filled.state_dict()[name], rtol=0, atol=0)
    assert PredictedReward(str(tmp_path / "fitted"))(["ACGTACGTAC"]).ok.all()
    with pytest.raises(CheckpointError, match="the weights do not fit the network"):
        predictor().load_weights(filled)
    with pytest.raises(DataError, match="cannot read the motif file .*shipped: jaspar2024-yeast"):
        predictor(motifs).take_motifs()


def test_what_cannot_be_filled_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 < least <= most < 1; got 0.5 and 0.2"):
        Filling(predictor(), least=0.5, most=0.2)
    variants = VariantPredictor(4, 19, 1, reference="ACGTACGTACGTACGTACG", alphabet="ACGT")
    with pytest.raises(ConfigError, match="VariantPredictor has no features by position"):
        Filling(predictor(network=variants))
    with pytest.raises(ConfigError, match="both come together; got motifs '' and known_motifs 2"):
        predictor(network=ConvPredictor(4, 19, 1, **CONV, known_motifs=2))
    with pytest.raises(ConfigError, match="both come together; got motifs 'mine' and known_motifs 0"):
        predictor(network=ConvPredictor(4, 19, 1, **CONV), motifs="mine")

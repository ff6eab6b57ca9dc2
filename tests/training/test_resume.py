"""Training: an interrupted run reaches the losses of an uninterrupted one to the bit, on one process and on two."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.data.sequences import SequenceDataModule
from gendesign.data.training_table import training_sequences
from gendesign.determinism import dropout_seeded, generator, stream_seed
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.errors import ConfigError
from gendesign.loading import load_backbone
from gendesign.models.dilated_conv import DilatedConvDenoiser
from gendesign.models.predictor import ConvPredictor
from gendesign.models.values import TokenValue
from gendesign.optimisation import adamw_with_cosine
from gendesign.rewards.dna import GCContent
from gendesign.training.callbacks import EMA, ExportPretrained
from gendesign.training.value_data import RollOuts
from gendesign.training.value_training import ValueModel

STEPS = 7


class Record(Callback):
    """Note the loss of each batch of the run; die by exception, or by SIGKILL, after one of them."""

    def __init__(self, die_after: int | None = None, *, kill: bool = False) -> None:
        self.losses: dict[int, float] = {}
        self.die_after = die_after
        self.kill = kill

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        self.losses[int(batch["position"])] = float(outputs["loss"])

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, index: int) -> None:
        if trainer.global_step == self.die_after:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise InterruptedError("killed")


def table(folder: Path) -> Path:
    noise = torch.Generator().manual_seed(0)
    rows = ["".join("ACGT"[i] for i in torch.randint(0, 4, (12,), generator=noise)) for _ in range(30)]
    path = folder / "table.csv"
    path.write_text("sequence,gene\n" + "".join(f"{row},{i % 17}\n" for i, row in enumerate(rows)))
    return path


def run(
    folder: Path, record: Record, *, accumulate: int = 1, save_every: int = 2, **trainer: Any
) -> Backbone:
    torch.manual_seed(0)
    denoiser = DilatedConvDenoiser(4, 8, depth=2, dropout=0.3)
    backbone = Backbone(DNACodec(12), MaskedDiffusion(4), denoiser, warmup_steps=3, val_times=2)
    module = SequenceDataModule(
        str(table(folder)), DNACodec(12), sample_by="gene", val_fraction=0.2, batch_size=6
    )
    export = ExportPretrained(str(folder / "pretrained"), monitor="val_bits")
    fit(
        backbone,
        module,
        [EMA(decay=0.7), record, export, saving(folder, save_every)],
        val_check_interval=3 * accumulate,
        accumulate_grad_batches=accumulate,
        precision="bf16-mixed",
        **trainer,
    )
    return backbone


def run_value(folder: Path, record: Record) -> ValueModel:
    """The same of a value, on roll-outs that are drawn anew when training starts."""
    torch.manual_seed(0)
    base = Backbone(DNACodec(12), MaskedDiffusion(4), DilatedConvDenoiser(4, 8, depth=1))
    network = TokenValue(ConvPredictor(5, 12, 1, width=8, depth=1, poolings=1, hidden=8, dropout=0.3))
    model = ValueModel(network, target="soft", alpha=0.1, warmup_steps=3)
    data = RollOuts(base, GCContent(), num=10, steps=3, batch_size=6)
    fit(model, data, [EMA(decay=0.7), record, saving(folder, 2)], val_check_interval=3)
    return model


def saving(folder: Path, every: int) -> ModelCheckpoint:
    return ModelCheckpoint(
        folder, every_n_train_steps=every, save_top_k=0, save_last=True, enable_version_counter=False
    )


def fit(module: LightningModule, data: Any, callbacks: list[Callback], **trainer: Any) -> None:
    Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=1.0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        **trainer,
    ).fit(module, data, ckpt_path="last", weights_only=True)


def assert_same(first: LightningModule, second: LightningModule) -> None:
    for name, weight in first.named_parameters():
        assert torch.equal(weight, second.get_parameter(name)), name


def averages(backbone: Backbone) -> dict[str, torch.Tensor]:
    return next(c for c in backbone.trainer.callbacks if isinstance(c, EMA)).average  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("die_after", "accumulate", "save_every"), [(5, 1, 2), (3, 1, 3), (6, 1, 1), (5, 2, 2)]
)
def test_a_run_that_died_reaches_the_same_losses(
    tmp_path: Path, die_after: int, accumulate: int, save_every: int
) -> None:
    (tmp_path / "straight").mkdir(), (tmp_path / "broken").mkdir()
    settings = {"accumulate": accumulate, "save_every": save_every}
    straight, before, after = Record(), Record(die_after), Record()
    whole = run(tmp_path / "straight", straight, **settings)
    with pytest.raises(InterruptedError):
        run(tmp_path / "broken", before, **settings)
    resumed = run(tmp_path / "broken", after, **settings)
    assert (
        before.losses and min(after.losses) > 1 and max(after.losses) == STEPS * accumulate - 1
    )  # it did resume
    assert before.losses | after.losses == straight.losses
    assert_same(whole, resumed)
    assert all(torch.equal(value, averages(resumed)[name]) for name, value in averages(whole).items())
    exported = [load_backbone(tmp_path / kind / "pretrained") for kind in ("straight", "broken")]
    assert_same(*exported)


@pytest.mark.whole
@pytest.mark.parametrize("trained", [run, run_value])
def test_a_killed_process_leaves_a_checkpoint_to_resume_from(tmp_path: Path, trained: Any) -> None:
    (tmp_path / "straight").mkdir(), (tmp_path / "broken").mkdir()
    broken = f"{trained.__name__}(Path({str(tmp_path / 'broken')!r}), Record(5, kill=True))"
    died = subprocess.run(
        [sys.executable, "-c", f"from test_resume import *; {broken}"],
        cwd=Path(__file__).parent,
        capture_output=True,
        check=False,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()[-2000:]
    straight, after = Record(), Record()
    whole, resumed = trained(tmp_path / "straight", straight), trained(tmp_path / "broken", after)
    assert sorted(after.losses) == [4, 5, 6]
    assert all(straight.losses[step] == losses for step, losses in after.losses.items())
    assert_same(whole, resumed)


def two_processes(rank: int, folder: Path, port: int) -> None:
    """One of two processes: a straight run, then a broken and a resumed one."""
    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "LOCAL_RANK": str(rank),
        "NODE_RANK": "0",
    }
    os.environ |= {"WORLD_SIZE": "2"}
    straight, before, after = Record(), Record(5), Record()
    settings: dict[str, Any] = {"strategy": "ddp", "devices": 2}
    whole = run(folder / "straight", straight, **settings)
    try:
        run(folder / "broken", before, **settings)
    except InterruptedError:
        pass
    resumed = run(folder / "broken", after, **settings)
    weights = {name: weight.detach() for name, weight in whole.named_parameters()}
    torch.save(
        {"straight": straight.losses, "broken": before.losses | after.losses, "weights": weights},
        folder / f"{rank}.pt",
    )
    assert_same(whole, resumed)


@pytest.mark.whole
def test_two_processes_train_one_model_and_resume(tmp_path: Path) -> None:
    (tmp_path / "straight").mkdir(), (tmp_path / "broken").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"from test_resume import *; two_processes(int(sys.argv[1]), Path({str(tmp_path)!r}), {port})"
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank)], cwd=Path(__file__).parent, stderr=subprocess.PIPE
        )
        for rank in (0, 1)
    ]
    for worker in workers:
        _, errors = worker.communicate(timeout=200)
        assert worker.returncode == 0, errors.decode()[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for found in (first, second):
        assert found["straight"] == found["broken"] and len(found["straight"]) == STEPS
    assert first["straight"] != second["straight"]  # each process has its own rows and noise
    assert all(torch.equal(weight, second["weights"][name]) for name, weight in first["weights"].items())


# Parts -----------------------------------------------------------------------------------------------------------


def test_the_average_follows_its_formula(tmp_path: Path) -> None:
    weights: list[torch.Tensor] = []

    class Watch(Record):
        def on_train_batch_start(
            self, trainer: Trainer, module: LightningModule, batch: Any, index: int
        ) -> None:
            weights.append(module.denoiser.head.weight.detach().clone())  # type: ignore[union-attr, operator]

    backbone = run(tmp_path, Watch())
    expected = weights[0]
    for step, weight in enumerate([*weights[1:], backbone.denoiser.head.weight.detach()]):  # type: ignore[union-attr]
        expected = torch.lerp(expected, weight, 1 - min(0.7, (1 + step) / (10 + step)))
    torch.testing.assert_close(averages(backbone)["denoiser.head.weight"], expected, atol=1e-7, rtol=0)
    assert (expected - weights[-1]).abs().max() > 1e-5


def test_validation_uses_the_average_and_gives_the_weights_back(tmp_path: Path) -> None:
    backbone = run(tmp_path, Record())
    trainer = backbone.trainer
    raw = {name: weight.detach().clone() for name, weight in backbone.named_parameters()}
    averaged = trainer.validate(backbone, trainer.datamodule, verbose=False)[0]["val_bits"]  # type: ignore[attr-defined]
    assert all(torch.equal(weight, raw[name]) for name, weight in backbone.named_parameters())
    ema = next(c for c in trainer.callbacks if isinstance(c, EMA))  # type: ignore[attr-defined]
    with ema.applied(backbone):
        assert all(torch.equal(weight, ema.average[name]) for name, weight in backbone.named_parameters())
    ema.average = raw
    assert trainer.validate(backbone, trainer.datamodule, verbose=False)[0]["val_bits"] != averaged  # type: ignore[attr-defined]


def test_the_export_is_the_best_validated_average(tmp_path: Path) -> None:
    backbone = run(tmp_path, Record())
    config = yaml.safe_load((tmp_path / "pretrained" / "config.yaml").read_text())
    export = next(c for c in backbone.trainer.callbacks if isinstance(c, ExportPretrained))  # type: ignore[attr-defined]
    assert config["training"]["val_bits"] == export.best and config["training"]["step"] in (3, 6)
    data = backbone.trainer.datamodule  # type: ignore[attr-defined]
    assert config["training"]["data"]["path"] == data.path
    assert training_sequences(load_backbone(tmp_path / "pretrained")) == [
        data.sequences[row] for row in data.indices("train")
    ]
    assert load_backbone(tmp_path / "pretrained").sample(2)


def test_learning_rate_rises_then_falls_and_only_matrices_decay() -> None:
    network = DilatedConvDenoiser(4, 8, depth=1)
    settings = adamw_with_cosine(
        network, lr=1.0, weight_decay=0.5, warmup_steps=4, total_steps=100, floor=0.1
    )
    optimizer, scheduler = settings["optimizer"], settings["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(101):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step(), scheduler.step()
    assert rates[0] == pytest.approx(0.25) and max(rates) == pytest.approx(1.0, abs=0.01)
    assert rates[50] == pytest.approx(0.55) and rates[100] == pytest.approx(0.1)
    decayed = {id(p) for p in optimizer.param_groups[0]["params"]}
    assert id(network.head.weight) in decayed
    assert not decayed & {id(network.embedding), id(network.head.bias), id(network.norm.weight)}


def test_streams_belong_to_their_place() -> None:
    assert stream_seed(0, "train", 1) == stream_seed(0, "train", 1) != stream_seed(0, "train", 2)
    assert stream_seed(1, 11) != stream_seed(11, 1)
    state = torch.get_rng_state()
    with dropout_seeded(0, 1):
        first = torch.rand(3)
    with dropout_seeded(0, 1):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(torch.rand(3, generator=generator(0, 1)), torch.rand(3, generator=generator(0, 2)))


def test_a_run_without_end_is_refused(tmp_path: Path) -> None:
    backbone = Backbone(DNACodec(12), MaskedDiffusion(4), DilatedConvDenoiser(4, 8, depth=1))
    module = SequenceDataModule(str(table(tmp_path)), DNACodec(12), batch_size=6)
    with pytest.raises(ConfigError, match="max_steps"):
        Trainer(max_epochs=1, accelerator="cpu", logger=False, default_root_dir=tmp_path).fit(
            backbone, module
        )


@pytest.mark.parametrize("decay", [0.0, 1.0, float("nan")])
def test_bad_decay(decay: float) -> None:
    with pytest.raises(ConfigError, match="decay"):
        EMA(decay)

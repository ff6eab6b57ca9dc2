"""Fine-tuning as a run: checkpoints and exact resume, refusals, skipped gradients, the guard, and what is saved."""

import csv
import math
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from gendesign.array_codecs import VectorCodec
from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.unmasking import FirstHitting
from gendesign.divergences import ChiSquared
from gendesign.errors import ConfigError, TrainingError, UnsupportedError
from gendesign.loading import load_backbone
from gendesign.models.dilated_conv import DilatedConvDenoiser
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.models.tabular import TabularDenoiser
from gendesign.rewards.base import DifferentiableReward, FunctionReward
from gendesign.rewards.dna import GCContent
from gendesign.run import design
from gendesign.steering.drakes import DRAKES
from gendesign.steering.finetuned import blend
from gendesign.steering.particles import make_plan
from gendesign.steering.policy_gradient import PolicyGradient
from gendesign.steering.sampler import run_sampler
from gendesign.steering.svdd import SVDD
from gendesign.training.command import main
from gendesign.training.finetuning import FineTuning, finetune
from gendesign.training.finetuning_callbacks import GuardedExport
from gendesign.training.finetuning_data import EndlessData
from gendesign.training.guard import Guard

UPDATES = 6


def small_backbone(folder: Path | None = None) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        denoiser = DilatedConvDenoiser(4, 8, depth=2, kernel_size=3, dropout=0.2)
    backbone = Backbone(DNACodec(8), MaskedDiffusion(4), denoiser)
    if folder is None:
        return backbone
    backbone.save_pretrained(folder)
    return load_backbone(folder)


class Record(Callback):
    """Note the loss of each update; die by SIGKILL before one of them."""

    def __init__(self, die_at: int | None = None) -> None:
        self.losses: dict[int, float] = {}
        self.die_at = die_at

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        if trainer.global_step == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.losses[int(batch["position"])] = float(outputs["loss"])


def run(folder: Path, record: Record, **trainer: Any) -> FineTuning:
    settings: dict[str, Any] = {"steps": 4, "batch_size": 4, "lr": 1e-2, "val_designs": 4, "val_times": 1}
    module = FineTuning(small_backbone(), GCContent(), DRAKES(truncation=3), alpha_warmup=3, **settings)
    saving = ModelCheckpoint(
        folder, every_n_train_steps=2, save_top_k=0, save_last=True, enable_version_counter=False
    )
    Trainer(
        max_steps=UPDATES,
        accelerator="cpu",
        gradient_clip_val=1.0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[record, saving],
        **trainer,
    ).fit(module, EndlessData(), ckpt_path="last", weights_only=True)
    return module


@pytest.mark.whole
def test_a_killed_run_continues_to_the_same_losses(tmp_path: Path) -> None:
    code = f"from test_finetuning import *; run(Path({str(tmp_path / 'broken')!r}), Record(5))"
    died = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, check=False
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()[-2000:]
    straight, after = Record(), Record()
    whole, resumed = run(tmp_path / "straight", straight), run(tmp_path / "broken", after)
    assert sorted(after.losses) == [4, 5]
    assert all(straight.losses[step] == loss for step, loss in after.losses.items())
    for name, weight in whole.policy.named_parameters():
        assert torch.equal(weight, resumed.policy.get_parameter(name)), name


def test_rewards_that_training_asks_for_are_counted_saved_and_told(tmp_path: Path) -> None:
    asked: list[int] = []

    def counted(designs: list[str]) -> list[float]:
        asked.append(len(designs))
        return [float(design.count("G")) for design in designs]

    settings: dict[str, Any] = {"steps": 4, "batch_size": 5, "val_designs": 4, "val_times": 1}
    base = small_backbone(tmp_path / "base")
    module = FineTuning(base, FunctionReward(counted, name="G"), PolicyGradient(), **settings)
    limits: dict[str, Any] = {"max_steps": 3, "val_check_interval": 3, "limit_train_batches": 3}
    Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, num_sanity_val_steps=0, **limits).fit(module, EndlessData())  # fmt: skip
    module.natural()
    assert module.reward_calls == sum(asked) > 3 * 2 + 8
    checkpoint: dict[str, Any] = {}
    module.on_save_checkpoint(checkpoint)
    again = FineTuning(base, GCContent(), PolicyGradient(), **settings)
    again.on_load_checkpoint(checkpoint)
    assert again.reward_calls == sum(asked)
    again.save_pretrained(tmp_path / "tuned")
    assert PolicyGradient(tuned=str(tmp_path / "tuned")).training_calls == sum(asked)
    assert PolicyGradient().training_calls == 0
    relaxed = FineTuning(base, GCContent(), DRAKES(), **settings)
    place = relaxed.method.objective(
        relaxed.policy, relaxed.base, relaxed.reward, torch.linspace(1.0, 0.0, 5, dtype=torch.float64), 5,
        alpha=0.1, generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert place.calls == 5


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped configuration, small: another base, another reward."""
    monkeypatch.chdir(tmp_path)
    small_backbone(tmp_path / "base")
    shipped = Path(__file__).parents[2] / "configs" / "finetune" / "dna_yeast_promoter.yaml"
    settings = yaml.safe_load(shipped.read_text())
    model, trainer = settings["model"]["init_args"], settings["trainer"]
    model |= {"backbone": str(tmp_path / "base"), "reward": "gc-content", "heldout": "gc-content"}
    model |= {"steps": 4, "batch_size": 4, "val_designs": 6, "val_times": 1, "alpha": 0.4}
    trainer |= {"max_steps": 4, "val_check_interval": 2, "enable_progress_bar": False, "log_every_n_steps": 1}
    trainer["callbacks"][-1]["init_args"]["every_n_train_steps"] = 2
    trainer["callbacks"][0]["init_args"]["guard"]["init_args"] = {
        "heldout": [None, None],
        "naturalness": [None, None],
        "disagreement": [None, None],
        "fall": None,
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


RUN = Path("runs/dna-yeast-promoter-drakes")


@pytest.mark.whole
def test_the_command_writes_everything_resumes_and_gives_a_backbone(config: Path) -> None:
    assert main(["finetune", "--config", str(config), "--trainer.max_steps", "2"]) == 0
    assert main(["finetune", "--config", str(config)]) == 0
    checkpoint = torch.load(RUN / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    rows = [row for path in RUN.glob("csv/*/metrics.csv") for row in csv.DictReader(path.open())]
    logged = {key for row in rows for key, value in row.items() if value}
    assert {"guide", "divergence", "alpha", "grad_norm", "skipped_updates", "forwards_base"} <= logged
    assert {"val_guide", "val_heldout", "val_kl", "val_naturalness"} <= logged
    assert list(RUN.glob("tensorboard/*/events*"))
    tuned, base = load_backbone(RUN / "pretrained"), load_backbone("base")
    said = tuned.provenance["training"]
    assert said["base"] == {"name": str(Path("base").resolve()), **_digest(base)}
    assert said["alpha"] == 0.4 and said["reward"]["name"] == "gc-content" and said["step"] in (2, 4)
    assert said["method"]["class_path"] == "gendesign.steering.drakes.DRAKES"
    steered = design(
        tuned, GCContent(), SVDD(candidates=2, alpha=0.1), num_designs=3, steps=4, base_designs=0
    )
    assert len(steered.designs) == 3
    method = DRAKES(tuned=str(RUN / "pretrained"))
    made = design(base, GCContent(), method, num_designs=3, steps=4, base_designs=2)
    assert (made.kl > 0).all() and made.cost.network_rows <= 2 * 3 * 4
    cheap = design(base, GCContent(), DRAKES(tuned=str(RUN / "pretrained"), measure_kl=False), num_designs=3,
                   steps=4, base_designs=0)  # fmt: skip
    assert cheap.designs == made.designs and all(math.isnan(kl) for kl in cheap.kl)
    other = small_backbone(Path("other"))
    other.provenance["weights_sha256"] = "another"
    with pytest.raises(UnsupportedError, match="was fine-tuned from .*base, not from this backbone"):
        method(other, None)
    with pytest.raises(ConfigError, match="another model"):
        main(["finetune", "--config", str(config), "--model.init_args.alpha", "0.5"])


def _digest(backbone: Backbone) -> dict[str, Any]:
    return {"weights_sha256": backbone.provenance["weights_sha256"]}


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ("--model.init_args.alpha -1", ConfigError, "alpha must be at least 0"),
        ("--model.init_args.backbone nowhere", Exception, "no backbone 'nowhere'"),
        ("--model.init_args.reward dna-synthesis", UnsupportedError, "use PolicyGradient"),
        ("--model.init_args.stepz 3", ConfigError, "did you mean 'steps'"),
    ],
)
def test_mistakes_end_in_one_line(config: Path, words: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        main(["finetune", "--config", str(config), *words.split()])
    assert "\n" not in str(caught.value)


class Sometimes(DifferentiableReward):
    """GC content, NaN at some calls."""

    name = "sometimes"

    def __init__(self, bad: set[int]) -> None:
        self.bad, self.calls = bad, 0

    def score(self, designs: Any) -> Any:
        return [float(d.count("G")) for d in designs]

    def relaxed(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x[..., 2].sum(-1) * (math.nan if self.calls - 1 in self.bad else 1.0)


def fit(module: FineTuning, updates: int, *callbacks: Callback, **trainer: Any) -> Trainer:
    runner = Trainer(
        max_steps=updates,
        accelerator="cpu",
        logger=False,
        gradient_clip_val=1.0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None,
        callbacks=list(callbacks),
        **trainer,
    )
    runner.fit(module, EndlessData())
    return runner


def test_gradients_that_are_not_finite_are_skipped_counted_and_bounded() -> None:
    class Weights(Callback):
        def __init__(self) -> None:
            self.seen: list[Tensor] = []

        def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
            self.seen.append(next(module.policy.parameters()).detach().clone())

    settings: dict[str, Any] = {"steps": 3, "batch_size": 4, "lr": 1e-2}
    weights = Weights()
    module = FineTuning(small_backbone(), Sometimes({1, 2}), DRAKES(), max_skipped=2, **settings)
    fit(module, 5, weights, limit_val_batches=0)
    assert module.skipped == 2 and module.skipped_in_a_row == 0
    moved = [not torch.equal(a, b) for a, b in zip(weights.seen, weights.seen[1:], strict=False)]
    assert moved == [False, False, True, True]
    module = FineTuning(small_backbone(), Sometimes(set(range(9))), DRAKES(), max_skipped=2, **settings)
    with pytest.raises(TrainingError, match="3 gradients in a row were not finite"):
        fit(module, 9, limit_val_batches=0)


def test_the_price_rises_and_stays() -> None:
    module = FineTuning(small_backbone(), GCContent(), DRAKES(), alpha=0.4, alpha_warmup=4)
    assert [module.alpha_at(step) for step in (0, 1, 3, 4, 9)] == pytest.approx([0.1, 0.2, 0.4, 0.4, 0.4])


def hackable() -> tuple[Backbone, FunctionReward, FunctionReward]:
    """A's are good; the guide is taken in by T's, of which the base has few."""
    p, law = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for _ in range(4):
        law = (law[:, None] * p).flatten()
    process = MaskedDiffusion(4, unmasking=FirstHitting())
    backbone = Backbone(DNACodec(4), process, TabularDenoiser(4, 4).set_law(law))
    guide = FunctionReward(lambda d: d.count("A") + 4.0 * d.count("T"), name="guide", each=True)
    return backbone, guide, FunctionReward(lambda d: float(d.count("A")), name="quality", each=True)


@pytest.mark.whole
@pytest.mark.parametrize(("alpha", "caught"), [(0.0, True), (3.0, False)])
def test_the_guard_catches_the_run_without_a_price(tmp_path: Path, alpha: float, caught: bool) -> None:
    """The cautionary run: guide up, held-out and likelihood down. It stops, and nothing hacked is kept."""
    backbone, guide, heldout = hackable()
    module = FineTuning(
        backbone,
        guide,
        PolicyGradient(truncation=None, recompute=False),
        heldout=heldout,
        alpha=alpha,
        steps=4,
        batch_size=64,
        lr=0.3,
        val_designs=128,
        val_times=4,
    )
    guarded = GuardedExport(
        str(tmp_path / "kept"), guard=Guard(heldout=(-1.0, None), naturalness=(-2.0, None)), patience=2
    )
    trainer = fit(module, 30, guarded, val_check_interval=3)
    assert (trainer.global_step < 30) == caught and bool(guarded.reason) == caught
    if caught:
        assert "below" in guarded.reason
        designs, _ = module.sample_with_kl(module.policy)
        assert "".join(designs).count("T") > 0.5 * 4 * len(designs)
    else:
        kept = load_backbone(tmp_path / "kept")
        assert kept.provenance["training"]["val_heldout"] >= 0 and guarded.outside == 0


def test_a_guard_that_keeps_nothing_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = FineTuning(
        small_backbone(), GCContent(), PolicyGradient(), steps=3, batch_size=4, val_designs=8, val_times=1
    )
    guarded = GuardedExport(str(tmp_path / "kept"), monitor="val_guide", guard=Guard(naturalness=(1e6, None)))
    fit(module, 1, guarded, val_check_interval=1)
    assert not (tmp_path / "kept").exists() and "nothing was kept" in caplog.text


class Bump(DifferentiableReward):
    """-|x - c|^2 in the user's units."""

    name = "bump"

    def score(self, designs: Any) -> Any:
        return [-float(((d - 1.5) ** 2).sum()) for d in designs]

    def relaxed(self, x: Tensor) -> Tensor:
        return -((x - 1.5) ** 2).sum(-1)


@pytest.mark.whole
@pytest.mark.parametrize("method", [DRAKES(truncation=None), PolicyGradient(truncation=None)])
@pytest.mark.parametrize("aug_dim", [math.inf, 8.0])
def test_continuous_backbones_move_above_the_floor_only(tmp_path: Path, aug_dim: float, method: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MLPNetwork(2, width=16, depth=1)
    denoiser = Preconditioned(network, sigma_data=1.0, aug_dim=aug_dim)
    process = PoissonFlow(aug_dim, sigma_data=1.0, sigma_max=10.0, sigma_min=0.02)
    backbone = Backbone(VectorCodec(["x", "y"], mean=[0.0, 0.0], std=[1.0, 1.0]), process, denoiser).eval()
    settings: dict[str, Any] = {"steps": 6, "batch_size": 32, "lr": 1e-2, "alpha": 0.01, "sigma_floor": 0.3}
    tuned = finetune(backbone, Bump(), method, updates=15, **settings)
    x = torch.zeros(1, 2).double()
    for sigma, same in ((0.2, True), (2.0, False)):
        t = torch.tensor([sigma]).double()
        answers = [b.denoiser(x, t)[0] for b in (backbone, tuned)]
        assert torch.equal(*answers) == same
    designs = [b.sample(128, steps=6) for b in (backbone, tuned)]
    before, after = (sum(Bump().score(d)) / 128 for d in designs)
    assert after > before
    tuned.save_pretrained(tmp_path / "tuned")
    again = load_backbone(tmp_path / "tuned")
    assert (again.sample(2, steps=6)[0] == tuned.sample(2, steps=6)[0]).all()
    plan, noise = make_plan(backbone, steps=6), torch.Generator().manual_seed(0)
    drawn = run_sampler(DRAKES(tuned=str(tmp_path / "tuned"))(backbone), 64, plan, generator=noise)
    assert bool(drawn.kl.isfinite().all()) and drawn.kl.mean() > 0
    with pytest.raises(ConfigError, match="sigma_floor must be from"):
        FineTuning(backbone, Bump(), method, sigma_floor=0.001)
    still = int((backbone.process.times(6)[:-1] <= 0.3).sum())
    assert still > 0
    short = replace(method, truncation=still)  # nothing that it would differentiate is the policy's
    with pytest.raises(ConfigError, match=f"truncation must be above {still}, got {still}"):
        FineTuning(backbone, Bump(), short, steps=6, sigma_floor=0.3)
    FineTuning(backbone, Bump(), replace(method, truncation=still + 1), steps=6, sigma_floor=0.3)


def test_another_divergence_and_a_refusal() -> None:
    tuned = finetune(
        small_backbone(), GCContent(), DRAKES(divergence=ChiSquared()), updates=2, steps=3, batch_size=4
    )
    assert len(tuned.sample(2, steps=3)) == 2 and not any(p.requires_grad for p in tuned.parameters())
    opaque = FunctionReward(lambda designs: [0.0] * len(designs), name="opaque")
    with pytest.raises(UnsupportedError, match="opaque is not; use PolicyGradient"):
        FineTuning(small_backbone(), opaque, DRAKES())
    with pytest.raises(ConfigError, match="watches a FineTuning"):
        trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        trainer.state.fn = TrainerFn.FITTING
        GuardedExport("nowhere").on_validation_end(trainer, small_backbone())


def two_processes(rank: int, folder: Path, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}
    os.environ |= {"NODE_RANK": "0", "WORLD_SIZE": "2"}
    record = Record()
    module = run(folder / "run", record, strategy="ddp", devices=2)
    weights = {name: weight.detach() for name, weight in module.policy.named_parameters()}
    torch.save({"losses": record.losses, "weights": weights}, folder / f"{rank}.pt")


@pytest.mark.slow
def test_two_processes_train_one_policy(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(two_processes, args=(tmp_path, port), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert len(first["losses"]) == UPDATES and first["losses"] != second["losses"]
    assert all(torch.equal(weight, second["weights"][name]) for name, weight in first["weights"].items())


def test_a_blend_lies_between_base_and_policy() -> None:
    """Its weights are on the line between the two; its ends are the two themselves."""
    base, tuned, other = (
        Backbone(DNACodec(length), MaskedDiffusion(4), TabularDenoiser(4, length)) for length in (2, 2, 3)
    )
    with torch.no_grad():
        tuned.denoiser.table.normal_(generator=torch.Generator().manual_seed(0))
    tables = [blend(base, tuned, share).denoiser.table for share in (0.0, 0.25, 1.0)]
    torch.testing.assert_close(tables[0], base.denoiser.table, atol=0, rtol=0)
    torch.testing.assert_close(tables[1], 0.25 * tuned.denoiser.table)
    torch.testing.assert_close(tables[2], tuned.denoiser.table, atol=0, rtol=0)
    assert not any(table.requires_grad for table in tables) and base.denoiser.table.abs().max() == 0
    with pytest.raises(ConfigError, match="share must be from 0"):
        blend(base, tuned, 1.5)
    with pytest.raises(UnsupportedError, match="networks of one shape"):
        blend(base, other, 0.5)

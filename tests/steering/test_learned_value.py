"""Learned values against dynamic programming, their training, and the folder they live in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from torch import Tensor, nn

from gendesign.errors import CheckpointError, ConfigError, DataError, TrustError
from gendesign.models.predictor import ConvPredictor, SequencePredictor
from gendesign.models.values import TokenValue, VectorValue
from gendesign.rewards.base import FunctionReward
from gendesign.steering.learned_value import LearnedValue, load_value
from gendesign.steering.smc import SMC
from gendesign.steering.svdd import SVDD
from gendesign.steering.value import PosteriorMode
from gendesign.training.command import main
from gendesign.training.value_data import RollOuts
from gendesign.training.value_training import ValueModel
from gendesign.value_scale import ValueScale

LETTERS = (0.4, 0.3, 0.2, 0.1)
STATES = torch.tensor([[4, 4, 4], [0, 4, 4], [0, 1, 4]])


def is_acg(design: str) -> float:
    return 3.0 * (design == "ACG")


class Table(SequencePredictor):
    """One number a state of three letters out of five: what regression reaches when nothing is approximated."""

    def __init__(self) -> None:
        super().__init__()
        self.num_letters, self.length, self.num_targets = 5, 3, 1
        self.table = nn.Parameter(torch.zeros(125))

    def forward(self, x: Tensor) -> Tensor:
        place = x.argmax(-1) @ torch.tensor([25, 5, 1])
        return self.table[place][:, None]


def train(model: ValueModel, data: RollOuts, steps: int, folder: Path) -> None:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", enable_checkpointing=False, default_root_dir=folder, **quiet
    )
    trainer.fit(model, data)


@pytest.mark.whole
@pytest.mark.parametrize(
    ("target", "alpha", "expected", "errors"),
    [
        ("soft", 0.5, [1.183169, 1.612344, 2.200214], [0.12, 0.12, 0.12]),
        ("mean", None, [0.072, 0.18, 0.60], [0.03, 0.1, 0.3]),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_regression_reaches_the_exact_values(
    make_arena: Any, tmp_path: Path, target: Any, alpha: Any, expected: list[float], errors: list[float]
) -> None:
    """Values of MMM, AMM, ACM from roll-outs alone, within their Monte-Carlo error."""
    arena = make_arena(LETTERS, is_acg, length=3, alpha=0.5)
    data = RollOuts(arena.backbone, arena.reward, num=8_000, steps=3, batch_size=2_048)
    model = ValueModel(
        TokenValue(Table()), target=target, alpha=alpha, lr=0.05, weight_decay=0.0, warmup_steps=1
    )
    train(model, data, 100, tmp_path)
    found = model.scale.value(model.network(STATES, torch.ones(3)).detach())
    # four standard errors: few of 8,000 designs are ACG, and fewer of those that begin so are seen on the way
    for value, exact, error in zip(found.tolist(), expected, errors, strict=True):
        assert value == pytest.approx(exact, abs=error), (found.tolist(), expected)


@pytest.mark.whole
@pytest.mark.filterwarnings("ignore")
def test_saved_values_steer_to_the_target(make_arena: Any, tv: Any, tmp_path: Path) -> None:
    """Where look-ahead at the mode is blind, a learned soft value sees; it is saved, loaded and stated."""
    arena = make_arena(LETTERS, is_acg, length=3, alpha=0.5)
    data = RollOuts(arena.backbone, arena.reward, num=6_000, steps=3, batch_size=1_024)
    sizes: dict[str, Any] = {"width": 16, "stem_kernel": 3, "kernel_size": 3, "depth": 1, "poolings": 1}
    network = ConvPredictor(5, 3, 1, hidden=32, dropout=0.0, **sizes)
    model = ValueModel(TokenValue(network), target="soft", alpha=0.5, lr=0.01, warmup_steps=10)
    with pytest.raises(ConfigError, match="train it before"):
        model.save_pretrained(tmp_path / "early")
    train(model, data, 300, tmp_path)
    model.save_pretrained(tmp_path / "value", training={"step": 300})
    value = load_value(tmp_path / "value")
    assert value.alpha == 0.5 and "soft value at alpha=0.5" in (tmp_path / "value" / "CARD.md").read_text()
    assert value.provenance["training"]["roll_outs"]["num"] == 6_000
    assert value.training_calls == SVDD(value=value).training_calls == 6_000
    hit, num = arena.designs.index("ACG"), 1_500
    for method in (SVDD(candidates=16, value=value), SMC(particles=24, value=value)):
        assert method.alpha == 0.5  # the only one at which the value holds
        assert tv(arena.frequencies(method, num), arena.target) <= arena.floor(num) + 0.05
        blind = type(method)(16, 0.5, value=PosteriorMode())  # type: ignore[call-arg]
        assert arena.frequencies(blind, num)[hit] < 0.8 < arena.target[hit]
    final = arena.sample(SMC(particles=8, value=value), 10)
    assert set(final.value.tolist()) <= {0.0, 3.0}  # the last potential is on the reward itself
    with pytest.raises(ConfigError, match="learned at alpha=0.5"):
        SVDD(alpha=0.1, value=value)
    other = make_arena(LETTERS, lambda design: 0.0, length=2, alpha=0.5)
    with pytest.raises(ConfigError, match="3 coordinates"):
        other.sample(SVDD(value=value), 2)
    damage(tmp_path / "value")


def damage(folder: Path) -> None:
    """Nothing in a folder is trusted."""
    config = yaml.safe_load((folder / "config.yaml").read_text())

    def write(**changes: Any) -> None:
        (folder / "config.yaml").write_text(yaml.safe_dump(config | changes))

    write(kind="backbone")
    with pytest.raises(CheckpointError, match="expected a value"):
        LearnedValue(folder)
    write(network={"class_path": "os.system", "init_args": {}})
    with pytest.raises(TrustError):
        LearnedValue(folder)
    sizes = {"num_letters": 5, "length": 9, "num_targets": 1}
    write(network={"class_path": "gendesign.models.predictor.ConvPredictor", "init_args": sizes})
    with pytest.raises(CheckpointError, match="expected a value's"):
        LearnedValue(folder)
    write(scale={"target": "soft"})
    with pytest.raises(CheckpointError):
        LearnedValue(folder)
    write(weights_sha256="0")
    with pytest.raises(CheckpointError, match="sha256"):
        LearnedValue(folder)
    with pytest.raises(CheckpointError, match="no value"):
        LearnedValue("nowhere")


@pytest.mark.whole
@pytest.mark.filterwarnings("ignore")
def test_values_of_numbers(make_points_arena: Any, tmp_path: Path) -> None:
    """A perceptron learns E[r | x_t] of two points at every noise level, against the exact posterior."""
    arena = make_points_arena(
        torch.tensor([[1.0, 0.0], [-1.0, 0.5]]), lambda y: y[0], aug_dim=math.inf, alpha=1.0
    )
    data = RollOuts(arena.exact, arena.reward, num=1_500, steps=12, batch_size=512)
    model = ValueModel(VectorValue(2, 32, depth=1, sigma_data=1.0), target="mean", lr=5e-3)
    train(model, data, 250, tmp_path)
    x, t = torch.tensor([[0.8, 0.1], [-0.9, 0.5], [3.0, -2.0]]), torch.tensor([0.5, 0.5, 10.0]).double()
    exact = arena.moments.denoiser.log_posterior(x, t).exp() @ torch.tensor([1.0, -1.0]).double()
    found = model.scale.value(model.network(x, t).detach())
    torch.testing.assert_close(found, exact, atol=0.25, rtol=0)


@pytest.mark.filterwarnings("ignore")
def test_a_stopped_training_repeats_its_roll_outs(make_arena: Any, tmp_path: Path) -> None:
    """Roll-outs and order are functions of the seed: what a resumed run reads is what the first one would have."""
    arena = make_arena(LETTERS, is_acg, length=3, alpha=0.5)
    first, again, other = (
        RollOuts(arena.backbone, arena.reward, num=100, steps=3, seed=seed, batch_size=8)
        for seed in (0, 0, 1)
    )
    for data in (first, again, other):
        data.setup("validate")
    batches = [next(iter(data.train_dataloader())) for data in (first, again, other)]
    assert torch.equal(batches[0]["x"], batches[1]["x"]) and not torch.equal(batches[0]["x"], batches[2]["x"])
    held, rest = set(first.indices("val") // 3), set(first.indices("train") // 3)
    assert not held & rest and len(held | rest) == 100
    assert all(len(group) == 3 for group in first._groups(first.indices("train")))


@pytest.mark.filterwarnings("ignore")
def test_the_command_and_its_resumption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gendesign fit-value`, stopped after 3 of 6 steps and given again, goes on from there."""
    shipped = Path(__file__).parents[2] / "configs" / "train" / "value_dna.yaml"
    settings = yaml.safe_load(shipped.read_text())
    settings["data"]["init_args"] |= {"num": 8, "steps": 3, "batch_size": 4, "reward": "gc-content"}
    settings["model"]["init_args"]["network"]["init_args"]["network"]["init_args"] |= {
        "width": 8,
        "hidden": 8,
    }
    settings["trainer"] |= {"val_check_interval": 3, "enable_progress_bar": False, "log_every_n_steps": 1}
    settings["trainer"]["callbacks"][-1]["init_args"]["every_n_train_steps"] = 3
    settings["threads"] = 1
    monkeypatch.chdir(tmp_path)
    Path("value.yaml").write_text(yaml.safe_dump(settings))
    for stop in (3, 6):
        assert main(["fit-value", "--config", "value.yaml", "--trainer.max_steps", str(stop)]) == 0
        checkpoint = torch.load("runs/value-dna/checkpoints/last.ckpt", weights_only=True)
        assert checkpoint["global_step"] == stop
    value = load_value("runs/value-dna/pretrained")
    assert value.alpha == 1.0 and value.provenance["training"]["roll_outs"]["label"] == "gc-content"


def test_failed_rewards_are_left_out(make_arena: Any) -> None:
    arena = make_arena(LETTERS, is_acg, length=3, alpha=0.5)
    some = FunctionReward(lambda d: math.nan if "T" in d else 1.0, name="some", each=True)
    data = RollOuts(arena.backbone, some, num=64, steps=3)
    data.setup("validate")
    assert 10 < len(data.rewards) < 64 and data.rewards.isfinite().all()
    never = FunctionReward(lambda d: math.nan, name="never", each=True)
    with pytest.raises(DataError, match="never scored 0 of 64"):
        RollOuts(arena.backbone, never, num=64, steps=3).setup("validate")


def test_scales() -> None:
    """Far-away rewards neither overflow nor vanish, and losses are 0 at the truth."""
    r = torch.tensor([1e6, 1e6 + 1.0, 1e6 - 2.0]).double()
    for scale in (ValueScale.of("soft", 0.01, r), ValueScale.of("mean", None, r)):
        s = (r - scale.center) / scale.spread
        assert scale.loss(s, r).abs().max().item() < 1e-6
        assert scale.loss(torch.zeros(3), r).isfinite().all()
        torch.testing.assert_close(scale.value(s), r)
    y = (r - ValueScale.of("soft", 1.0, r).center).exp()
    assert y.mean().item() == pytest.approx(1.0)
    s = torch.tensor(0.3, requires_grad=True)
    ValueScale.of("soft", 1.0, r).loss(s.expand(3), r).mean().backward()
    assert s.grad is not None and s.grad.item() == pytest.approx(math.exp(0.3) - 1.0, rel=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValueScale.of("soft", None, torch.ones(2)),
        lambda: ValueScale.of("mean", 1.0, torch.ones(2)),
        lambda: ValueScale.of("soft", -1.0, torch.ones(2)),
        lambda: TokenValue(ConvPredictor(5, 4, 2)),
        lambda: VectorValue(2, dropout=1.0),
        lambda: VectorValue(2)(torch.zeros(1, 3), torch.ones(1)),
    ],
)
def test_bad_settings_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_bad_roll_outs_are_refused(make_arena: Any) -> None:
    arena = make_arena(LETTERS, is_acg, length=3, alpha=0.5)
    for wrong in ({"num": 1}, {"steps": 0}, {"val_fraction": 1.0}):
        with pytest.raises(ConfigError):
            RollOuts(arena.backbone, arena.reward, **wrong)
    with pytest.raises(ConfigError, match="RollOuts"):
        model = ValueModel(TokenValue(Table()), target="mean")
        model._trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        model.setup("fit")

"""Learned predictors: masked loss, padding, saving, and the reward made of one."""

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from gendesign.codecs import DNACodec
from gendesign.data.sequences import SequenceDataModule
from gendesign.errors import CheckpointError, ConfigError, TrustError, UnsupportedError
from gendesign.models.predictor import ConvPredictor, RecurrentPredictor
from gendesign.rewards import Difference, PredictedReward, Predictor, Status, load_predictor, load_reward
from gendesign.rewards.motifs import read_log_odds

SMALL = {
    "width": 8,
    "stem_kernel": 5,
    "kernel_size": 3,
    "depth": 1,
    "poolings": 2,
    "hidden": 8,
    "dropout": 0.1,
}


def predictor(**changes: Any) -> Predictor:
    network = ConvPredictor(4, 12, 2, **SMALL)
    made = Predictor(
        DNACodec(12, variable=True),
        network,
        **({"heads": ["up", "down"], "prefix": "AC", "suffix": "GT"} | changes),
    )
    made.center.copy_(torch.tensor([1.0, -1.0]))
    made.scale.copy_(torch.tensor([2.0, 0.5]))
    return made.eval()


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    predictor().save_pretrained(tmp_path / "mine", training={"step": 3})
    return tmp_path / "mine"


DESIGNS = ["ACGTACGT", "GGGGCCCC", "TTTTTTTT"]


def test_members_start_differently_and_a_seed_repeats_them() -> None:
    x = DNACodec(12, variable=True).encode(["ACGTACGTACGT"])
    first, again, other = (predictor(seed=seed)(x) for seed in (0, 0, 1))
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other)
    assert first.shape == (3, 1, 2) and len({round(float(v), 6) for v in first[:, 0, 0].detach()}) == 3


def test_building_does_not_touch_the_global_stream() -> None:
    network = ConvPredictor(4, 12, 2, **SMALL)
    state = torch.get_rng_state()
    Predictor(DNACodec(12), network, heads=["a", "b"])
    assert torch.equal(state, torch.get_rng_state())


def test_padding_ids_equal_rows_of_zeros() -> None:
    model, codec = predictor(), DNACodec(12, variable=True)
    x = codec.encode(["ACGTA"])
    relaxed = torch.zeros(1, 12, 4)
    relaxed[0, range(5), [0, 1, 2, 3, 0]] = 1.0
    torch.testing.assert_close(model(x), model(relaxed))
    torch.testing.assert_close(model(torch.zeros_like(x), x != 4), model(torch.where(x == 4, x, 0)))


def test_the_loss_is_the_mean_squared_error_of_what_was_measured() -> None:
    model = predictor()
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign,assignment]
    x = DNACodec(12, variable=True).encode(["ACGTACGTACGT", "CCCCCCCCCCCC", "GATTACA"])
    batch = {
        "x": x,
        "mask": x != 4,
        "targets": torch.tensor([[1.0, math.nan], [math.nan, 2.0], [math.nan, math.nan]]),
        "weight": torch.tensor([1.0, 3.0, 1.0]),
        "position": torch.tensor(0),
    }
    predicted = model(x)
    errors = [
        ((predicted[:, 0, 0] - 1.0) / 2.0).square().mean(),
        ((predicted[:, 1, 1] - 2.0) / 0.5).square().mean(),
    ]
    torch.testing.assert_close(model.training_step(batch, 0), (errors[0] + 3 * errors[1]) / 4)


def table(path: Path, num: int = 240) -> Path:
    """Long table: "up" counts G, "down" counts T, each sequence measured in one or both."""
    rng = np.random.default_rng(0)
    lines = ["sequence,medium,value"]
    for i in range(num):
        design = "".join(rng.choice(list("ACGT"), 8))
        lines += [f"{design},up,{design.count('G')}"] if i % 3 else []
        lines += [f"{design},down,{-2 * design.count('T')}"] if i % 3 != 1 else []
    path.write_text("\n".join(lines) + "\n")
    return path


def test_training_learns_both_heads_and_exports_a_reward(tmp_path: Path) -> None:
    from gendesign.training.callbacks import EMA, ExportPretrained

    codec = DNACodec(8)
    data = SequenceDataModule(
        str(table(tmp_path / "t.csv")), codec, target_columns=["up", "down"], pivot_column="medium",
        value_column="value", val_fraction=0.2, batch_size=48,
    )  # fmt: skip
    model = Predictor(
        codec,
        ConvPredictor(4, 8, 2, **SMALL),
        heads=["up", "down"],
        members=2,
        lr=2e-2,
        warmup_steps=5,
        seed=0,
    )
    trainer = Trainer(
        max_steps=60, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, val_check_interval=60, check_val_every_n_epoch=None, num_sanity_val_steps=0,
        callbacks=[EMA(decay=0.9), ExportPretrained(str(tmp_path / "out"))],
    )  # fmt: skip
    trainer.fit(model, data)
    assert float(trainer.callback_metrics["val_pearson_up"]) > 0.8
    assert float(trainer.callback_metrics["val_pearson_down"]) > 0.8
    assert (
        abs(float(model.center[0]) - 2) < 0.5 and abs(float(model.center[1]) + 4) < 1
    )  # 8 letters, a quarter of each
    reward = PredictedReward(str(tmp_path / "out"), head="up")
    high, low = reward(["GGGGGGAC", "TTACTTAC"]).values
    assert high > 3 > low


def test_saving_and_loading_give_the_same_predictions(folder: Path) -> None:
    model, again = predictor(), load_predictor(str(folder))
    x = model.codec.encode(["ACGTACGTACGT", "GATTACA"])
    torch.testing.assert_close(again(x), model(x))
    assert (again.heads, again.prefix, again.unit) == (model.heads, model.prefix, model.unit)
    assert not again.training and not any(p.requires_grad for p in again.parameters())


def test_damaged_or_foreign_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no predictor 'nowhere'"):
        load_predictor("nowhere")
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("kind: predictor", "kind: backbone"))
    with pytest.raises(CheckpointError, match="'backbone', expected a predictor"):
        load_predictor(str(folder))
    (folder / "config.yaml").write_text(config.replace("gendesign.codecs.DNACodec", "os.system"))
    with pytest.raises(TrustError):
        load_predictor(str(folder))
    (folder / "config.yaml").write_text(config.replace("hidden: 8", "hidden: 9"))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_predictor(str(folder))
    (folder / "config.yaml").write_text(config)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(weights))
    with pytest.raises(CheckpointError, match="sha256"):
        load_predictor(str(folder))


def test_the_reward_puts_the_context_back_and_gives_mean_and_deviation(folder: Path) -> None:
    model, reward = predictor(), PredictedReward(str(folder), head="down", batch_size=2)
    members = model(model.codec.encode([f"AC{design}GT" for design in DESIGNS]))[..., 1].detach().double()
    scores = reward(DESIGNS)
    np.testing.assert_allclose(scores.values, members.mean(0), rtol=1e-5)
    np.testing.assert_allclose(scores.std, members.std(0), rtol=1e-4, atol=1e-5)
    cautious = PredictedReward(str(folder), head="down", lower_confidence_bound=1.5)(DESIGNS)
    np.testing.assert_allclose(cautious.values, scores.values - 1.5 * scores.std, rtol=1e-5)
    other = PredictedReward(str(folder), head="down", prefix="TT", suffix="TT")(DESIGNS)
    assert not np.allclose(other.values, scores.values)
    permuted = reward(DESIGNS[::-1])
    np.testing.assert_allclose(permuted.values, scores.values[::-1], rtol=1e-6)


@pytest.mark.parametrize("kappa", [0.0, 2.0])
def test_relaxed_equals_score_on_one_hots(folder: Path, kappa: float) -> None:
    up = PredictedReward(str(folder), head="up", lower_confidence_bound=kappa)
    x = torch.nn.functional.one_hot(DNACodec(8).encode(DESIGNS), 4).float().requires_grad_()
    for reward in (up, Difference(up, PredictedReward(str(folder), head="down"))):
        relaxed = reward.relaxed(x)
        np.testing.assert_allclose(relaxed.detach().numpy(), reward(DESIGNS).values, atol=1e-5)
        gradient = torch.autograd.grad(relaxed.sum(), x)[0]
        assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_shorter_relaxed_designs_are_padded_like_scored_ones(folder: Path) -> None:
    reward = PredictedReward(str(folder), head="up")
    x = torch.nn.functional.one_hot(DNACodec(5).encode(["ACGTA"]), 4).float()
    np.testing.assert_allclose(reward.relaxed(x).numpy(), reward(["ACGTA"]).values, atol=1e-5)


def test_the_gradient_is_finite_where_all_members_agree(folder: Path) -> None:
    reward = PredictedReward(str(folder), head="up", lower_confidence_bound=1.0)
    for network in list(reward.predictor.networks)[1:]:
        network.load_state_dict(reward.predictor.networks[0].state_dict())
    x = torch.full((1, 8, 4), 0.25, requires_grad=True)
    assert torch.autograd.grad(reward.relaxed(x).sum(), x)[0].isfinite().all()


def test_designs_that_do_not_fit_are_invalid(folder: Path) -> None:
    scores = PredictedReward(str(folder), head="up", min_length=3)(["AC", "ACN", "A" * 9, "ACG"])
    assert list(scores.status) == [Status.INVALID] * 3 + [Status.OK]
    assert "at least 3" in scores.message[0] and "'N'" in scores.message[1] and "2 + 2" in scores.message[2]


def test_relaxed_designs_that_do_not_fit_are_refused(folder: Path) -> None:
    reward = PredictedReward(str(folder), head="up")
    with pytest.raises(UnsupportedError, match="5 tokens"):
        reward.relaxed(torch.zeros(1, 8, 5))
    with pytest.raises(ConfigError, match="12 letters with context, got 13"):
        reward.relaxed(torch.zeros(1, 9, 4))


def test_wrong_heads_and_contexts_are_refused(folder: Path) -> None:
    for head in ("", "sideways"):
        with pytest.raises(ConfigError, match="heads up, down"):
            PredictedReward(str(folder), head=head)
    with pytest.raises(ConfigError, match="letters ACGT"):
        PredictedReward(str(folder), head="up", prefix="NN")
    with pytest.raises(ConfigError, match="heads up, down"):
        load_reward(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem_kernel": 4}, "odd"),
        ({"poolings": 3}, "poolings"),
        ({"dropout": 1.0}, "dropout"),
        ({"width": 0}, "width"),
    ],
)
def test_networks_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ConvPredictor(4, 12, 2, **(SMALL | change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem_kernel": 4}, "odd"),
        ({"pooling": 0}, "pooling"),
        ({"dropout": -0.1}, "dropout"),
        ({"hidden": 0}, "hidden"),
    ],
)
def test_recurrent_networks_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RecurrentPredictor(4, 12, 2, **change)


def test_kernels_of_both_strands_detect_the_same_in_a_sequence_and_its_reverse_complement() -> None:
    x = torch.nn.functional.one_hot(torch.randint(4, (3, 12), generator=torch.Generator().manual_seed(0)), 4)
    x = x.float().transpose(1, 2)
    rc = x.flip(1, 2)
    both, one = (ConvPredictor(4, 12, 2, **SMALL, both_strands=strands).stem for strands in (True, False))
    torch.testing.assert_close(both(x), both(rc).flip(2))
    assert not torch.allclose(one(x), one(rc).flip(2))


@pytest.mark.parametrize(
    "network", [ConvPredictor(4, 12, 2, **SMALL), RecurrentPredictor(4, 12, 2, width=8, hidden=6)]
)
def test_networks_have_gradients_everywhere(network: torch.nn.Module) -> None:
    x = torch.rand(3, 12, 4, requires_grad=True)
    out = network(x)
    assert out.shape == (3, 2)
    out.square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
    with pytest.raises(ConfigError, match=r"\[batch, 12, 4\], got \[3, 11, 4\]"):
        network(x[:, 1:])


def test_a_network_that_does_not_fit_codec_and_heads_is_refused() -> None:
    with pytest.raises(ConfigError, match="12 x 4 and predicts 2"):
        Predictor(DNACodec(11), ConvPredictor(4, 12, 2, **SMALL), heads=["a", "b"])


def test_trust_reaches_the_weights_that_a_reward_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network of one's own: by its folder, and by a file that names the folder."""
    module = type(math)("outside")
    module.Network = type("Network", (ConvPredictor,), {"__module__": "outside"})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "outside", module)
    config = (folder / "config.yaml").read_text()
    assert "gendesign.models.predictor.ConvPredictor" in config
    (folder / "config.yaml").write_text(
        config.replace("gendesign.models.predictor.ConvPredictor", "outside.Network")
    )
    file = folder.parent / "reward.yaml"
    file.write_text(
        f"class_path: gendesign.rewards.PredictedReward\ninit_args: {{predictor: {folder}, head: up}}\n"
    )
    for given in (folder, file):
        with pytest.raises(TrustError, match="outside.Network"):
            load_reward(given)
    assert load_reward(file, trust=["outside"])(DESIGNS).ok.all()
    with pytest.raises(TrustError, match="outside.Network"):  # no longer than that
        load_reward(file)
    with pytest.raises(ConfigError, match="has heads up, down"):
        load_reward(folder, trust=["outside"])


def test_members_share_what_their_motifs_score_and_say_what_each_says_alone() -> None:
    network = ConvPredictor(4, 12, 2, **SMALL, known_motifs=169, motif_width=15)
    model = Predictor(DNACodec(12), network, heads=["up", "down"], motifs="jaspar2024-yeast").eval()
    for member in model.networks:
        member.take_motifs(read_log_odds("jaspar2024-yeast"))  # type: ignore[operator]
        member.stem.known.cut.data.zero_()  # type: ignore[union-attr]  # so short designs hold no whole site
    x = model.codec.encode(["ACGTACGTACGT", "TTTTACGTTTTT", "GGGGGGGGGGGG"])
    alone = torch.stack([member(model.letters(x)) for member in model.networks])
    model.center.zero_(), model.scale.fill_(1.0)
    torch.testing.assert_close(model(x), alone)
    calls = []
    first = model.networks[0].motif_scores
    for member in model.networks:
        member.motif_scores = lambda letters: calls.append(1) or first(letters)  # type: ignore[assignment]
    model(x)
    assert len(calls) == 1

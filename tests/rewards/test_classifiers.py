"""Learned classifiers of images: the ensemble, training, saving, and the reward made of one."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from gendesign.array_codecs import ImageCodec
from gendesign.data.images import ImageDataModule
from gendesign.errors import CheckpointError, ConfigError, TrustError, UnsupportedError
from gendesign.models.classifier import ConvClassifier
from gendesign.rewards import (
    Brightness,
    Classifier,
    DigitClass,
    ImageClass,
    LowerConfidenceBound,
    Status,
    WeightedSum,
    load_classifier,
    load_predictor,
    load_reward,
)
from gendesign.rewards.classifiers import ensemble, moved
from gendesign.rewards.images import to_pixels
from gendesign.training.callbacks import ExportPretrained

CLASSES = ["circle", "cross", "line"]


def classifier(**changes: Any) -> Classifier:
    network = ConvClassifier(6, 5, 3, num_classes=3, filters=4, hidden=7)
    return Classifier(ImageCodec(6, 5, 3), network, **({"classes": CLASSES} | changes)).eval()


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    classifier().save_pretrained(tmp_path / "shapes", training={"step": 3})
    return tmp_path / "shapes"


IMAGES = torch.rand((4, 3, 6, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DESIGNS = list(IMAGES.permute(0, 2, 3, 1).numpy())

# The ensemble ---------------------------------------------------------------------------------------------------


def test_members_start_differently_and_a_seed_repeats_them() -> None:
    first, again, other = (classifier(seed=seed)(IMAGES) for seed in (0, 0, 1))
    network = ConvClassifier(6, 5, 3, num_classes=3)
    state = torch.get_rng_state()
    Classifier(ImageCodec(6, 5, 3), network, classes=CLASSES)
    assert torch.equal(state, torch.get_rng_state()), "building must not touch the global stream"
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other)
    assert first.shape == (3, 4, 3) and not torch.allclose(first[0], first[1])


def test_the_ensemble_is_the_mean_of_probabilities() -> None:
    log_p = classifier()(IMAGES)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(3, 4))
    torch.testing.assert_close(ensemble(log_p).exp(), log_p.exp().mean(0))


def test_features_are_what_the_last_layers_read() -> None:
    made = classifier()
    features = made.features(IMAGES)
    assert features.shape == (4, 3 * 7)
    logits = torch.stack([n.head(f) for n, f in zip(made.networks, features.split(7, dim=1), strict=True)])
    torch.testing.assert_close(logits.log_softmax(-1), made(IMAGES))


@pytest.mark.parametrize("shape", [(4, 1, 6, 5), (4, 3, 5, 6), (4, 90)])
def test_images_of_another_shape_are_errors(shape: tuple[int, ...]) -> None:
    network = ConvClassifier(6, 5, 3)
    with pytest.raises(ConfigError, match=r"expected images \[batch, 3, 6, 5\]"):
        network.check(torch.zeros(shape))


def test_shapes_that_do_not_fit_and_arguments_out_of_range_are_errors() -> None:
    network = ConvClassifier(6, 5, 3, num_classes=3)
    for codec, classes in ((ImageCodec(6, 5), CLASSES), (ImageCodec(6, 5, 3), CLASSES[:2])):
        with pytest.raises(ConfigError, match="need"):
            Classifier(codec, network, classes=classes)
    for wrong in ({"members": 0}, {"shift": -1}, {"noise": -0.1}, {"lr": 0.0}, {"weight_decay": -1.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            classifier(**wrong)
    for wrong in ({"num_classes": 1}, {"filters": 0}, {"dropout": 1.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            ConvClassifier(6, 5, **wrong)


# Training -------------------------------------------------------------------------------------------------------


def test_images_are_moved_whole_and_nothing_comes_back_at_the_other_side() -> None:
    x = torch.zeros(200, 1, 4, 5)
    x[:, 0, 1, 2] = 1.0
    where = moved(x, 1, torch.Generator().manual_seed(0))[:, 0].nonzero()[:, 1:]
    assert {tuple(place.tolist()) for place in where} == {(i, j) for i in (0, 1, 2) for j in (1, 2, 3)}
    corner = torch.zeros(200, 1, 2, 2)
    corner[:, 0, 0, 0] = 1.0
    left = moved(corner, 1, torch.Generator().manual_seed(0)).sum((1, 2, 3))
    assert 0.3 < float(left.mean()) < 0.6 and bool((left <= 1).all())  # 4 of 9 places are inside
    assert torch.equal(moved(x, 0, torch.Generator()), x)


@pytest.mark.whole
def test_training_learns_exports_and_repeats(tmp_path: Path) -> None:
    def fit(name: str) -> Classifier:
        codec = ImageCodec(8, 8)
        module = Classifier(
            codec,
            ConvClassifier(8, 8, filters=8, hidden=16),
            classes=[str(i) for i in range(10)],
            members=2,
            shift=0,
            lr=1e-2,
            warmup_steps=5,
        )
        trainer = Trainer(
            max_steps=70,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            val_check_interval=70,
            callbacks=[ExportPretrained(str(tmp_path / name))],
        )
        data = ImageDataModule("digits", codec, batch_size=64, eval_batch_size=100)
        trainer.fit(module, data)
        assert float(trainer.callback_metrics["val_accuracy"]) > 0.6
        (test,) = trainer.test(module, data, verbose=False)
        assert 0 < test["test_nll"] < math.log(10)
        rows = data.indices("test")
        p = ensemble(module.eval()(to_pixels(list(data.designs[rows]))))
        labels = torch.from_numpy(data.targets[rows, 0]).long()
        assert test["test_accuracy"] == pytest.approx(float((p.argmax(1) == labels).float().mean()))
        assert test["test_nll"] == pytest.approx(
            -float(p.detach()[range(len(rows)), labels].mean()), rel=1e-5
        )
        return load_classifier(str(tmp_path / name))

    first, second = fit("first"), fit("second")
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_rows_that_fill_up_batches_count_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made, logged = classifier(), {}
    monkeypatch.setattr(made, "log", lambda name, value, **_: logged.update({name: float(value)}))
    x = 2 * IMAGES.flatten(1).float() - 1
    labels = ensemble(made(IMAGES)).argmax(1)
    wrong = torch.where(torch.arange(4) < 3, labels, (labels + 1) % 3)
    batch = {"x": x, "targets": wrong[:, None].float(), "weight": torch.tensor([1.0, 1.0, 1.0, 0.0])}
    with torch.no_grad():
        made.validation_step(batch, 0)
        made.on_validation_epoch_end()
        assert logged["val_accuracy"] == 1
        made.validation_step(batch | {"weight": torch.ones(4)}, 0)
        made.on_validation_epoch_end()
    assert logged["val_accuracy"] == 0.75


# Loading --------------------------------------------------------------------------------------------------------


def test_what_was_saved_is_loaded(folder: Path) -> None:
    loaded = load_classifier(str(folder))
    torch.testing.assert_close(loaded(IMAGES), classifier()(IMAGES))
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())


def test_a_classifier_is_no_predictor_and_the_other_way_round(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="'classifier', expected a predictor"):
        load_predictor(str(folder))
    with pytest.raises(CheckpointError, match="'predictor', expected a classifier"):
        load_classifier("dna-expression")


def test_an_unknown_name_lists_the_classifiers_only() -> None:
    with pytest.raises(CheckpointError, match="no classifier 'nothing'.*digit-classifier") as error:
        load_classifier("nothing")
    assert "dna" not in str(error.value)


def test_damaged_and_untrusted_folders_are_refused(folder: Path) -> None:
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("hidden: 7", "hidden: 8"))
    with pytest.raises(CheckpointError, match="do not fit"):
        load_classifier(str(folder))
    (folder / "config.yaml").write_text(
        config.replace("gendesign.models.classifier.ConvClassifier", "os.system")
    )
    with pytest.raises(TrustError, match="os.system"):
        load_classifier(str(folder))


# The reward -----------------------------------------------------------------------------------------------------


def test_the_reward_is_the_log_probability_of_its_class(folder: Path) -> None:
    log_p = classifier()(IMAGES).double()
    for target, name in enumerate(CLASSES):
        scores = ImageClass(str(folder), target=name, batch_size=3)(DESIGNS)
        np.testing.assert_allclose(scores.values, log_p.exp().mean(0).log()[:, target].detach(), rtol=1e-5)
        np.testing.assert_allclose(scores.std, log_p[..., target].std(0).detach(), rtol=1e-3, atol=1e-6)


def test_relaxed_is_the_score_of_decoded_designs_and_its_gradient_that_of_finite_differences(
    folder: Path,
) -> None:
    reward = ImageClass(str(folder), target="cross")
    codec = ImageCodec(6, 5, 3)
    x = 2 * torch.rand((3, codec.length), generator=torch.Generator().manual_seed(2), dtype=torch.float64) - 1
    np.testing.assert_allclose(reward.relaxed(codec.relax(x)), reward(codec.decode(x)).values, rtol=1e-5)
    reward.classifier.double()
    assert torch.autograd.gradcheck(reward.relaxed, (IMAGES[:1].clone().requires_grad_(),))
    assert torch.autograd.gradcheck(
        lambda y: reward.relaxed_moments(y)[1], (IMAGES[:1].clone().requires_grad_(),)
    )


def test_members_that_agree_have_a_finite_gradient(tmp_path: Path) -> None:
    classifier(members=1).save_pretrained(tmp_path / "one")
    reward = ImageClass(str(tmp_path / "one"), target="cross")
    x = IMAGES.clone().requires_grad_()
    value, std = reward.relaxed_moments(x)
    (value + std).sum().backward()
    assert x.grad is not None and bool(x.grad.isfinite().all()) and float(std.detach().max()) < 1e-5


def test_it_composes(folder: Path) -> None:
    cross = ImageClass(str(folder), target="cross")
    bound = LowerConfidenceBound(cross, kappa=2.0)
    scores = cross(DESIGNS)
    np.testing.assert_allclose(bound(DESIGNS).values, scores.values - 2 * scores.std)
    both = WeightedSum([bound, Brightness()], weights=[1.0, 10.0])
    assert both.differentiable
    expected = bound(DESIGNS).values + 10 * Brightness()(DESIGNS).values
    np.testing.assert_allclose(both.relaxed(IMAGES).numpy(), expected, rtol=1e-5)


def test_images_of_another_size_are_invalid_and_relaxed_ones_refused(folder: Path) -> None:
    reward = ImageClass(str(folder), target="line")
    scores = reward([np.zeros((6, 5)), DESIGNS[0], np.zeros((8, 8, 3)), "ACGT"])
    assert [str(s) for s in scores.status] == ["INVALID", "OK", "INVALID", "INVALID"]
    assert "(6, 5, 3)" in scores.message[2] and "string" in scores.message[3]
    with pytest.raises(UnsupportedError, match=r"\[batch, 3, 6, 5\], got \[1, 1, 6, 5\]"):
        reward.relaxed(torch.zeros(1, 1, 6, 5))


def test_an_unknown_class_is_an_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match="circle, cross, line.*'star'"):
        ImageClass(str(folder), target="star")
    with pytest.raises(ConfigError, match="'10'"):
        DigitClass(10)


def test_the_digit_reward_prefers_its_digit_and_so_does_its_auditor() -> None:
    data = ImageDataModule("digits", ImageCodec(8, 8))
    rows = data.indices("test")
    designs, labels = list(data.designs[rows]), data.targets[rows, 0]
    for name in ("digit", "digit-heldout"):
        values = load_reward(name)(designs).values
        assert values[labels == 3].mean() > -0.5 and values[labels != 3].mean() < -5
    assert DigitClass(7)(designs).values[labels == 7].mean() > -0.5
    assert load_reward("digit")(["3"]).status == (Status.INVALID,)

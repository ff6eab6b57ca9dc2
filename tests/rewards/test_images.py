"""Rewards of images: what they say of simple images, gradients, and designs that they cannot read."""

import io
import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gendesign.array_codecs import ImageCodec
from gendesign.building import build, describe
from gendesign.errors import ConfigError, MissingExtraError, RewardError, UnsupportedError
from gendesign.rewards import (
    AestheticScore,
    Brightness,
    Contrast,
    FunctionReward,
    GCContent,
    JPEGCompressibility,
    PredictedReward,
    Reward,
    Status,
    SynthesisProblems,
    Threshold,
    WeightedSum,
)
from gendesign.rewards.images import luminance, pixel_bytes

rng = np.random.default_rng(0)
COLOUR = rng.random((5, 6, 3))
GREY = rng.random((5, 6))


class Mean(nn.Module):
    """A scorer that can be checked by hand: the mean of what it is given, per image."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x.mean((1, 2, 3))[:, None]


def plain(scorer: Any = None, **given: Any) -> AestheticScore:
    return AestheticScore(scorer or Mean(), size=8, mean=(0, 0, 0), std=(1, 1, 1), **given)


# Values ---------------------------------------------------------------------------------------------------------


def test_brightness_and_contrast_of_simple_images() -> None:
    halves = np.zeros((4, 4))
    halves[:, 2:] = 1.0
    red = np.zeros((2, 2, 3))
    red[..., 0] = 1.0
    assert Brightness()([np.ones((3, 3)), np.zeros((2, 2)), halves, red]).values.tolist() == [
        1,
        0,
        0.5,
        0.299,
    ]
    values = Contrast()([np.full((3, 3), 0.7), halves, 0.5 * halves, red]).values
    np.testing.assert_allclose(values, [0, 0.5, 0.25, 0], atol=1e-12)


def test_luminance_is_pillow_s() -> None:
    pixels = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
    ours = luminance(torch.from_numpy(pixels / 255.0).permute(2, 0, 1)[None])[0].numpy()
    theirs = np.asarray(Image.fromarray(pixels).convert("L")) / 255
    np.testing.assert_allclose(ours, theirs, atol=1.1 / 255)  # Pillow rounds


def test_simple_images_compress_better() -> None:
    flat, ramp = np.full((16, 16), 0.5), np.tile(np.linspace(0, 1, 16), (16, 1))
    noise = rng.random((16, 16))
    values = JPEGCompressibility()([flat, ramp, noise]).values
    assert 0 > values[0] > values[1] > values[2]
    colour = JPEGCompressibility()([np.stack([image] * 3, -1) for image in (flat, ramp, noise)]).values
    assert 0 > colour[0] > colour[1] > colour[2]
    coarse = JPEGCompressibility(quality=20)([noise]).values
    assert coarse[0] > values[2]


@pytest.mark.parametrize("image", [GREY, COLOUR, rng.random((8, 8)), rng.random((40, 30))])
def test_compressibility_is_the_file_s_size_without_its_head(image: np.ndarray) -> None:
    file = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(file, "JPEG", quality=95)
    jpeg = file.getvalue()
    # FF DA names the last segment of the head; among the pixels every FF is followed by 00
    scan = jpeg.rfind(b"\xff\xda") + 2
    start = scan + int.from_bytes(jpeg[scan : scan + 2], "big")
    assert jpeg[-2:] == b"\xff\xd9"
    assert pixel_bytes(jpeg) == len(jpeg[start:-2])
    assert JPEGCompressibility()([image]).values[0] == -len(jpeg[start:-2]) / 1000
    # the head is the same for another image of this kind
    other = io.BytesIO()
    Image.fromarray((0 * image).astype(np.uint8)).save(other, "JPEG", quality=95)
    assert other.getvalue()[:start] == jpeg[:start]


def test_images_of_several_sizes_come_back_in_order() -> None:
    images = [np.full((2, 2), 0.1), np.full((3, 3, 3), 0.2), np.full((2, 2), 0.3), np.full((3, 3), 0.4)]
    np.testing.assert_allclose(Brightness()(images).values, [0.1, 0.2, 0.3, 0.4])


def test_quality_is_checked_and_pillow_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for quality in (0, 101):
        with pytest.raises(ConfigError, match="quality"):
            JPEGCompressibility(quality=quality)
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"gendesign\[images\]"):
        JPEGCompressibility()([GREY])


# Gradients and the codec's relaxed images -------------------------------------------------------------------------

DIFFERENTIABLE = [
    Brightness(),
    Contrast(),
    plain(),
    WeightedSum([Brightness(), Contrast()], weights=[-1.0, 2.0]),
    Threshold(Brightness(), Contrast(), at_least=0.4, penalty=3.0),
]


@pytest.mark.parametrize("reward", DIFFERENTIABLE, ids=lambda reward: reward.label)
@pytest.mark.parametrize("channels", [1, 3])
def test_relaxed_is_the_score_of_decoded_designs(reward: Reward, channels: int) -> None:
    codec = ImageCodec(5, 6, channels)
    x = torch.rand((4, codec.length), generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    relaxed = reward.relaxed(codec.relax(x))
    np.testing.assert_allclose(relaxed, reward(codec.decode(x)).values, rtol=1e-6)


@pytest.mark.parametrize(
    "reward", [*DIFFERENTIABLE[:2], *DIFFERENTIABLE[3:]], ids=lambda reward: reward.label
)
@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_those_of_finite_differences(reward: Reward, channels: int) -> None:
    x = torch.rand((2, channels, 3, 4), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.autograd.gradcheck(reward.relaxed, (x.requires_grad_(),))


def test_a_flat_image_has_a_finite_gradient_of_contrast() -> None:
    x = torch.full((1, 1, 3, 3), 0.5, dtype=torch.float64, requires_grad=True)
    Contrast().relaxed(x).sum().backward()
    assert x.grad is not None and not x.grad.any()


def test_compressibility_has_no_gradient_and_says_so() -> None:
    reward = WeightedSum([JPEGCompressibility(), Brightness()])
    assert not reward.differentiable
    with pytest.raises(UnsupportedError, match="compressibility"):
        reward.relaxed(torch.zeros(1, 1, 8, 8))
    images = [np.zeros((8, 8)), rng.random((8, 8))]
    parts = [part(images).values for part in reward.parts]
    np.testing.assert_allclose(reward(images).values, parts[0] + parts[1])


# Scorers ----------------------------------------------------------------------------------------------------------


def test_a_scorer_sees_three_resized_and_normalised_channels() -> None:
    seen: list[Tensor] = []

    def scorer(x: Tensor) -> Tensor:
        seen.append(x)
        return x.mean((1, 2, 3))

    reward = AestheticScore(scorer, size=16, mean=(0.5,) * 3, std=(0.25,) * 3, batch_size=2)
    scores = reward([np.full((8, 8), level) for level in (0.0, 0.5, 1.0)])
    np.testing.assert_allclose(scores.values, [-2, 0, 2], atol=1e-5)
    assert [tuple(x.shape) for x in seen] == [(2, 3, 16, 16), (1, 3, 16, 16)]
    x = torch.full((1, 3, 8, 8), 0.5, requires_grad=True)
    reward.relaxed(x).sum().backward()
    assert x.grad is not None and float(x.grad.sum()) == pytest.approx(4, rel=1e-4)


def test_a_module_is_frozen_and_named_by_yaml() -> None:
    scorer = Mean()
    plain(scorer)
    assert not scorer.training and not any(p.requires_grad for p in scorer.parameters())
    path = f"{Mean.__module__}.Mean"
    config = {
        "class_path": "gendesign.rewards.AestheticScore",
        "init_args": {"scorer": {"class_path": path, "init_args": {"weight": 2.0}}, "size": 8},
    }
    reward = build(config, kinds=(Reward,), trust=[Mean.__module__.partition(".")[0]])
    assert isinstance(reward.scorer, Mean) and float(reward.scorer.weight) == 2.0


@pytest.mark.parametrize("result", [lambda x: 1.0, lambda x: x.mean(), lambda x: x])
def test_a_scorer_that_gives_something_else_is_an_error(result: Any) -> None:
    with pytest.raises(RewardError, match="must give 2 numbers"):
        plain(result)([np.zeros((8, 8)), np.ones((8, 8))])


@pytest.mark.parametrize("given", [{"size": 0}, {"std": (1, 0, 1)}, {"mean": (0, 0)}, {"batch_size": 0}])
def test_wrong_arguments_of_a_scorer_are_errors(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        AestheticScore(Mean(), **given)
    with pytest.raises(ConfigError, match="scorer must be"):
        AestheticScore("my_module.scorer")


# Designs of another kind ------------------------------------------------------------------------------------------

BAD = {
    "a string": ("ACGT", "string"),
    "a vector": (np.zeros(4), r"shape \(4,\)"),
    "four channels": (np.zeros((4, 4, 4)), r"shape \(4, 4, 4\)"),
    "no pixels": (np.zeros((0, 4)), "shape"),
    "NaN": (np.full((4, 4), np.nan), "NaN"),
    "too bright": (np.full((4, 4), 1.5), "1.5"),
    "below black": (np.full((4, 4), -0.1), "-0.1"),
}


@pytest.mark.parametrize(
    "reward", [Brightness(), JPEGCompressibility(), plain()], ids=lambda reward: reward.label
)
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_image_is_invalid_and_costs_nobody_else(reward: Reward, kind: str) -> None:
    bad, reason = BAD[kind]
    scores = reward([GREY, bad, COLOUR])
    assert scores.status == (Status.OK, Status.INVALID, Status.OK)
    assert re.search(reason, scores.message[1]) and np.isnan(scores.values[1])


SEQUENCE_REWARDS = [
    GCContent(),
    SynthesisProblems(max_homopolymer=3),
    PredictedReward("dna-expression", head="complex"),
]


@pytest.mark.parametrize("reward", SEQUENCE_REWARDS, ids=lambda reward: reward.label)
def test_an_array_is_invalid_for_rewards_of_sequences(reward: Reward) -> None:
    scores = reward(["ACGT" * 20, GREY])
    assert scores.status == (Status.OK, Status.INVALID)
    assert "sequence" in scores.message[1] and "(5, 6)" in scores.message[1]


def test_compositions_carry_the_reason_of_a_part() -> None:
    dark = FunctionReward(lambda image: -float(np.mean(image)), name="dark", each=True)
    reward = Threshold(JPEGCompressibility(), dark, at_least=-0.6)
    scores = reward([np.full((8, 8), 0.5), np.full((8, 8), 0.9), "ACGT"])
    assert [str(s) for s in scores.status] == ["OK", "INVALID", "FAILED"]
    assert "dark is -0.9" in scores.message[1] and "expected an image" in scores.message[2]


@pytest.mark.parametrize(
    "reward", [Brightness(), Contrast(), JPEGCompressibility(quality=50)], ids=lambda r: r.label
)
def test_rewards_are_rebuilt_from_their_description(reward: Reward) -> None:
    again = build(describe(reward), kinds=(Reward,))
    np.testing.assert_array_equal(again([GREY]).values, reward([GREY]).values)
    assert reward.unit and reward.direction == "maximise"

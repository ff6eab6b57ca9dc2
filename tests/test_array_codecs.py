"""Array codecs: affine maps that are undone exactly, statistics that travel, and refusals with a reason."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from gendesign.array_codecs import ArrayCodec, ImageCodec, VectorCodec, VectorSequenceCodec
from gendesign.building import build, describe
from gendesign.errors import ConfigError, DataError, DesignError

RANDOM = np.random.default_rng(0)
CODECS: list[ArrayCodec] = [
    ImageCodec(3, 5),
    ImageCodec(4, 2, channels=3),
    VectorCodec(["a", "b", "c"], mean=[1.0, -200.0, 0.3], std=[0.1, 50.0, 2.0]),
    VectorSequenceCodec(["a", "b"], 4, mean=[1.0, -200.0], std=[0.1, 50.0]),
]


def designs(codec: ArrayCodec, num: int = 6) -> list[np.ndarray]:
    unit = RANDOM.random((num, *codec.shape))
    return list(unit if isinstance(codec, ImageCodec) else 10 * unit - 3)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{type(c).__name__}{list(c.shape)}")
def test_designs_come_back(codec: ArrayCodec) -> None:
    given = designs(codec)
    x = codec.encode(given)
    assert x.dtype == torch.float32 and x.shape == (6, codec.length) == (6, math.prod(codec.shape))
    for first, second in zip(given, codec.decode(x), strict=True):
        assert second.dtype == np.float64 and second.shape == codec.shape
        np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-5)
    assert codec.encode([]).shape == (0, codec.length) and codec.decode(x[:0]) == []


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{type(c).__name__}{list(c.shape)}")
def test_the_volume_is_that_of_the_map(codec: ArrayCodec) -> None:
    """log |det dx/d design|, by decoding the corners of a cube of x."""
    low, high = (np.asarray(codec.decode(torch.full((1, codec.length), v).double())[0]) for v in (-0.5, 0.5))
    assert codec.log_volume == pytest.approx(-np.log(high - low).sum(), rel=1e-9)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{type(c).__name__}{list(c.shape)}")
def test_relaxed_designs_are_the_decoded_ones_with_a_gradient(codec: ArrayCodec) -> None:
    x = codec.encode(designs(codec)).double().requires_grad_()
    relaxed = codec.relax(x)
    decoded = torch.from_numpy(np.stack(codec.decode(x)))
    if isinstance(codec, ImageCodec):  # channels first, always there
        decoded = decoded[:, None] if codec.channels == 1 else decoded.permute(0, 3, 1, 2)
    torch.testing.assert_close(relaxed, decoded)
    relaxed.sum().backward()
    assert x.grad is not None
    assert float(x.grad[0].log().sum()) == pytest.approx(-codec.log_volume)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{type(c).__name__}{list(c.shape)}")
def test_a_codec_is_rebuilt_from_its_description(codec: ArrayCodec) -> None:
    again = build(describe(codec))
    x = torch.randn(2, codec.length)
    for first, second in zip(codec.decode(x), again.decode(x), strict=True):
        np.testing.assert_array_equal(first, second)


def test_pixels_are_in_the_order_channels_rows_columns() -> None:
    image = np.zeros((2, 3, 3))
    image[1, 2, 0] = 1.0  # red, last row, last column
    x = ImageCodec(2, 3, channels=3).encode([image])[0]
    assert x.tolist() == [-1.0] * 5 + [1.0] + [-1.0] * 12


def test_images_are_clamped_when_decoded_and_not_when_relaxed() -> None:
    codec, x = ImageCodec(1, 2), torch.tensor([[-3.0, 2.0]])
    assert codec.decode(x)[0].tolist() == [[0.0, 1.0]]
    assert codec.relax(x).tolist() == [[[[-1.0, 1.5]]]]


def test_fitting_standardises_each_column() -> None:
    rows = RANDOM.normal([5.0, -2.0], [10.0, 0.01], (500, 2))
    codec = VectorCodec(["a", "b"]).fit(rows)
    x = codec.encode(list(rows)).double()
    torch.testing.assert_close(x.mean(0), torch.zeros(2).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(2).double(), atol=1e-5, rtol=0)
    assert codec.init_args["mean"] == pytest.approx(rows.mean(0))  # what config.yaml will hold


def test_the_steps_of_a_sequence_share_their_statistics() -> None:
    rows = RANDOM.normal([5.0, -2.0], [10.0, 0.01], (100, 4, 2))
    codec = VectorSequenceCodec(["a", "b"], 4).fit(rows)
    assert isinstance(codec, VectorSequenceCodec)
    assert codec.init_args["std"] == pytest.approx(rows.reshape(-1, 2).std(0))
    assert codec.encode(list(rows)).shape == (100, 8)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.array([[1.0, 2.0], [1.0, 3.0]]), "column 'a' is constant"),
        (np.full((7, 2), 0.1), "column 'a' is constant"),  # whose computed deviation is not exactly 0
        (np.array([[1.0, 2.0], [2.0, math.nan]]), "column 'b' has nan in row 2"),
        (np.array([[1.0, 2.0]]), "at least two rows"),
        (np.zeros((5, 3)), r"shape \[2\]"),
    ],
)
def test_rows_that_cannot_be_fitted(rows: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        VectorCodec(["a", "b"]).fit(rows)


@pytest.mark.parametrize(
    ("codec", "design", "message"),
    [
        (ImageCodec(2, 2), np.zeros((2, 3)), r"expected an array of shape \[2, 2\], got \[2, 3\]"),
        (ImageCodec(2, 2), np.full((2, 2), 1.5), r"pixels in \[0, 1\], got 1.5 to 1.5"),
        (ImageCodec(1, 2), np.array([[0.0, math.nan]]), r"finite numbers, got nan at \[0, 1\]"),
        (ImageCodec(2, 2), "ACGT", "expected an array of numbers"),
        (CODECS[2], np.array([1.0, math.inf, 0.0]), "got inf"),
    ],
)
def test_designs_that_do_not_fit(codec: ArrayCodec, design: Any, message: str) -> None:
    assert not codec.is_valid(design)
    with pytest.raises(DesignError, match=message):
        codec.encode([design])


def test_a_template_fixes_numbers_and_leaves_nan_free() -> None:
    codec = CODECS[2]
    x, fixed = codec.encode_template([1.2, math.nan, 0.3])
    assert fixed.tolist() == [True, False, True]
    torch.testing.assert_close(x, torch.tensor([2.0, math.nan, 0.0]), equal_nan=True)
    image = np.full((2, 2, 3), math.nan)
    image[0, 1] = [0.0, 0.5, 1.0]
    x, fixed = ImageCodec(2, 2, channels=3).encode_template(image)
    assert fixed.nonzero().squeeze(1).tolist() == [1, 5, 9] and x[fixed].tolist() == [-1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ([1.0, 2.0, 3.0], "fixes every number"),
        ([1.0, math.nan], r"shape \[3\], got \[2\]"),
        ([math.inf, math.nan, 0.0], "finite"),
        ("1,*,2", "shape"),
    ],
)
def test_templates_that_do_not_fit(template: Any, message: str) -> None:
    with pytest.raises(DesignError, match=message):
        CODECS[2].encode_template(template)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageCodec(8, 8, channels=2), "channels must be 1"),
        (lambda: ImageCodec(0, 8), "height must be a whole number"),
        (lambda: VectorCodec([]), "at least one"),
        (lambda: VectorCodec(["a", "a"]), "distinct"),
        (lambda: VectorCodec(["a"], mean=[0.0]), "both mean and std"),
        (lambda: VectorCodec(["a"], mean=[0.0], std=[1.0, 2.0]), "one number for each of the 1 columns"),
        (lambda: VectorCodec(["a"], mean=[0.0], std=[0.0]), "std must be above 0"),
        (lambda: VectorSequenceCodec(["a"], 0), "steps must be a whole number"),
        (lambda: VectorCodec(["a"]).encode([[1.0]]), "no statistics yet"),
        (lambda: VectorCodec(["a"]).decode(torch.zeros(1, 1)), "no statistics yet"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()

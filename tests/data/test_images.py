"""Images, tables and toys as training data: what is read, refused, split, standardised and resumed."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from gendesign.array_codecs import ImageCodec, VectorCodec, VectorSequenceCodec
from gendesign.data.images import ArrayDataModule, ImageDataModule
from gendesign.data.splitting import SIDES
from gendesign.data.toys import TOYS
from gendesign.data.vectors import ToyDataModule, VectorDataModule
from gendesign.errors import ConfigError, DataError, MissingExtraError

RANDOM = np.random.default_rng(0)


def save(path: Path, size: tuple[int, int] = (4, 3), *, mode: str = "RGB", value: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = RANDOM.integers(0, 256, shape) if value is None else np.full(shape, value)
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def pictures(folder: Path, **arguments: Any) -> ImageDataModule:
    return ImageDataModule(str(folder), ImageCodec(3, 4, arguments.pop("channels", 1)), **arguments)


def table(path: Path, rows: int = 60) -> Path:
    a = RANDOM.normal(100, 20, rows)
    frame = pd.DataFrame(
        {"a": a, "b": -a / 10 + RANDOM.normal(0, 1, rows), "g": np.arange(rows) // 3, "y": a}
    )
    frame.to_csv(path, index=False)
    return path


def vectors(path: Path, columns: tuple[str, ...] = ("a", "b"), **arguments: Any) -> VectorDataModule:
    return VectorDataModule(str(path), VectorCodec(columns), **arguments)


# Digits and images ---------------------------------------------------------------------------------------------------


def test_the_digits() -> None:
    data = ImageDataModule("digits", ImageCodec(8, 8))
    assert data.designs.shape == (1797, 8, 8) and data.designs.min() == 0 and data.designs.max() == 1
    assert [len(data.indices(side)) for side in SIDES] == [1437, 180, 180]
    batch = next(iter(data.train_dataloader()))
    row = int(batch["row"][0])
    assert batch["targets"][0, 0] == data.targets[row, 0] and 0 <= data.targets[row, 0] <= 9
    torch.testing.assert_close(batch["x"][0], torch.from_numpy(2 * data.designs[row] - 1).flatten().float())


def test_digits_of_another_size_are_refused() -> None:
    with pytest.raises(DataError, match="8 x 8"):
        _ = ImageDataModule("digits", ImageCodec(28, 28)).designs


def test_subfolders_are_labels_and_colour_becomes_what_the_codec_says(tmp_path: Path) -> None:
    save(tmp_path / "cats/1.png", value=255)
    save(tmp_path / "cats/deep/2.jpg", mode="L")
    save(tmp_path / "dogs/3.PNG", value=0)
    save(tmp_path / "4.jpeg")
    (tmp_path / "notes.txt").write_text("no image")
    grey, colour = pictures(tmp_path), pictures(tmp_path, channels=3)
    assert grey.designs.shape == (4, 3, 4) and colour.designs.shape == (4, 3, 4, 3)
    by_name = dict(zip(grey.arrays.columns["file"], grey.targets[:, 0], strict=True))
    assert math.isnan(by_name.pop("4.jpeg"))
    assert by_name == {"cats/1.png": 0.0, "cats/deep/2.jpg": 0.0, "dogs/3.PNG": 1.0}
    at = grey.arrays.columns["file"].index("cats/1.png")
    assert (grey.designs[at] == 1).all()


def test_other_sizes_and_unreadable_files_are_listed_then_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "a.png"), save(tmp_path / "b.png", (3, 4))
    (tmp_path / "c.png").write_bytes(b"not an image")
    (tmp_path / "d.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with caplog.at_level(logging.WARNING):
        assert len(pictures(tmp_path).designs) == 1
    assert "dropped 3 bad images of 4" in caplog.text
    assert "b.png: 3 x 4 pixels, expected 4 x 3 (width x height)" in caplog.text
    assert "c.png: cannot be read" in caplog.text and "d.png: cannot be read" in caplog.text
    with pytest.raises(DataError, match=r"3 bad images .*b\.png.*mend them or set bad_rows: drop"):
        _ = pictures(tmp_path, bad_rows="error").designs


def test_folders_without_a_usable_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image; expected files ending in .png"):
        _ = pictures(tmp_path).designs
    with pytest.raises(DataError, match="no such folder"):
        _ = pictures(tmp_path / "absent").designs
    with pytest.raises(DataError, match="is a file, expected a folder"):
        _ = pictures(save(tmp_path / "a.png", (9, 9))).designs
    with pytest.raises(DataError, match=r"nothing usable among 1 images: image 1: a\.png: 9 x 9"):
        _ = pictures(tmp_path).designs


@pytest.mark.parametrize("package", ["PIL", "sklearn.datasets"])
def test_missing_packages_are_named(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    data = pictures(tmp_path) if package == "PIL" else ImageDataModule("digits", ImageCodec(8, 8))
    with pytest.raises(MissingExtraError, match=r"gendesign\[images\]"):
        _ = data.designs


# Tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv", ".parquet", ".npz", "one.npz"])
def test_formats_hold_the_same_numbers(tmp_path: Path, ending: str) -> None:
    frame = pd.read_csv(table(tmp_path / "source.csv"))
    path = tmp_path / f"mine{ending}"
    if ending == ".parquet":
        frame.to_parquet(path)
    elif ending == ".npz":
        np.savez(path, **{name: frame[name].to_numpy() for name in ("a", "b")})
    elif ending == "one.npz":
        np.savez(path, values=frame[["a", "b"]].to_numpy())
    else:
        frame.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    np.testing.assert_array_equal(vectors(path).designs, frame[["a", "b"]].to_numpy())


def test_statistics_are_those_of_the_training_rows_alone(tmp_path: Path) -> None:
    data = vectors(table(tmp_path / "t.csv"), val_fraction=0.3)
    data.setup("fit")
    train = data.designs[data.indices("train")]
    assert isinstance(data.codec, VectorCodec)
    assert data.codec.init_args["mean"] == pytest.approx(train.mean(0))
    assert data.codec.init_args["mean"] != pytest.approx(data.designs.mean(0))
    x = torch.cat([batch["x"] for batch in data.val_dataloader()]).double()
    np.testing.assert_allclose(
        x.numpy(), (data.designs[data.indices("val")] - train.mean(0)) / train.std(0), rtol=1e-4, atol=1e-6
    )


def test_given_statistics_are_kept(tmp_path: Path) -> None:
    codec = VectorCodec(["a", "b"], mean=[0.0, 0.0], std=[1.0, 2.0])
    assert VectorDataModule(str(table(tmp_path / "t.csv")), codec).codec is codec


def test_targets_may_be_missing_and_coordinates_may_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n1,2,3\n2,4,\nnan,1,1\n4,,1\n5,x,1\n6,1,inf\n7\n8,9,1\n")
    data = vectors(path, target_columns=["y"], val_fraction=0.0, test_fraction=0.0)
    with caplog.at_level(logging.WARNING):
        assert data.designs.tolist() == [[1, 2], [2, 4], [8, 9]]
    assert data.targets[:, 0].tolist() == pytest.approx([3, math.nan, 1], nan_ok=True)
    for line in ("line 4: a is 'nan'", "line 5: b is ''", "line 6: b is 'x'", "line 7: y is 'inf'", "line 8"):
        assert line in caplog.text
    with pytest.raises(DataError, match=r"5 bad lines .*line 4: a is 'nan', expected a number"):
        _ = vectors(path, target_columns=["y"], bad_rows="error").designs


def test_constant_columns_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "".join(f"{i},7.1\n" for i in range(20)))
    with pytest.raises(DataError, match=r"t\.csv: column 'b' is constant \(7\.1\) over the training rows"):
        vectors(path).setup("fit")


def test_sequences_are_rows_of_one_value_in_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.csv"
    path.write_text("run,a\nu,1\nv,10\nu,2\nv,20\nw,5\nz,1\nz,oops\n")
    codec = VectorSequenceCodec(["a"], 2)
    data = VectorDataModule(str(path), codec, sequence_column="run", val_fraction=0.0, test_fraction=0.0)
    with caplog.at_level(logging.WARNING):
        assert data.designs.tolist() == [[[1], [2]], [[10], [20]]]
    assert (
        "line 6: sequence 'w' has 1 steps, expected 2" in caplog.text and "line 8: a is 'oops'" in caplog.text
    )
    np.savez(tmp_path / "t.npz", paths=data.designs)
    again = VectorDataModule(str(tmp_path / "t.npz"), codec)
    np.testing.assert_array_equal(again.designs, data.designs)
    with pytest.raises(ConfigError, match="needs sequence_column"):
        VectorDataModule(str(path), codec)


def test_bad_rows_of_an_npz_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.savez(tmp_path / "t.npz", v=[[1.0, 2.0], [math.nan, 1.0], [2.0, 5.0]], y=[1.0, 2.0, 3.0])
    data = vectors(tmp_path / "t.npz", target_columns=["y"], val_fraction=0.0, test_fraction=0.0)
    with caplog.at_level(logging.WARNING):
        assert data.designs.tolist() == [[1, 2], [2, 5]] and data.targets[:, 0].tolist() == [1, 3]
    assert "row 2: a is nan" in caplog.text


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"v": np.zeros((4, 3))}, r"expected numbers of shape \[rows, 2\], got float64 \[4, 3\]"),
        ({"v": np.array([["x", "y"]])}, "expected numbers"),
        ({"v": np.zeros((4, 2)), "w": np.zeros(4)}, "expected one array, or one for each of a, b"),
        ({"v": np.zeros((4, 2)), "y": np.zeros(3)}, "a target needs one number for each of the 4 rows"),
        ({"v": np.array([object()])}, "is not an .npz file of plain arrays"),
    ],
)
def test_npz_files_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(DataError, match=message):
        _ = vectors(tmp_path / "t.npz", target_columns=["y"] if "y" in arrays else []).designs


def test_files_and_columns_that_are_not_there(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv")
    np.savez(tmp_path / "t.npz", v=np.zeros((4, 2)))
    (tmp_path / "bad.npz").write_bytes(b"zip?")
    for data, message in (
        (vectors(path, ("a", "z")), "no column 'z'"),
        (vectors(path, group_column="z"), "no column 'z'; the columns are a, b"),
        (vectors(tmp_path / "t.npz", target_columns=["z"]), "no array 'z'; there are v"),
        (vectors(tmp_path / "absent.npz"), "no such file"),
        (vectors(tmp_path / "absent.csv"), "no such file"),
        (vectors(tmp_path / "bad.npz"), "is not an .npz file"),
        (VectorDataModule("data:absent", VectorCodec(["a"])), "no public table 'absent'"),
    ):
        with pytest.raises((DataError, ConfigError), match=message):
            data.setup("fit")


# Splits and streams --------------------------------------------------------------------------------------------------


def test_groups_stay_together_and_so_do_equal_rows(tmp_path: Path) -> None:
    data = vectors(table(tmp_path / "t.csv"), group_column="g", val_fraction=0.2, test_fraction=0.2)
    column = np.array(data.arrays.columns["g"])
    sides = [set(column[data.indices(side)]) for side in SIDES]
    assert [len(side) for side in sides] == [12, 4, 4] and len(set.union(*sides)) == 20
    path = tmp_path / "twins.csv"
    path.write_text("a,b\n" + "".join(f"{i},{i}\n-0.0,{i}\n0.0,{i}\n" for i in range(1, 30)))
    twins = vectors(path, val_fraction=0.3)
    rows = [{tuple(row) for row in twins.designs[twins.indices(side)].tolist()} for side in SIDES]
    assert not rows[0] & rows[1] and not rows[0] & rows[2] and not rows[1] & rows[2]


def test_a_column_may_say_the_split(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,s\n1,2,train\n2,3,val\n3,1,train\n4,9,test\n")
    data = vectors(path, split_column="s")
    assert [data.indices(side).tolist() for side in SIDES] == [[0, 2], [1], [3]]
    path.write_text("a,b,s\n1,2,no\n")
    with pytest.raises(DataError, match="column 's' must say train, val or test; got no"):
        vectors(path, split_column="s").setup("fit")
    path.write_text("a,b,s\n1,2,test\n")
    with pytest.raises(DataError, match="no training rows are left"):
        vectors(path, split_column="s").setup("fit")


@pytest.mark.parametrize(
    "make", [lambda: ToyDataModule(num=50, batch_size=8), lambda: None], ids=["toy", "table"]
)
def test_a_stream_that_starts_later_gives_the_same_batches(make: Any, tmp_path: Path) -> None:
    def fresh() -> ArrayDataModule:
        return make() or vectors(table_path, batch_size=8)

    table_path = table(tmp_path / "t.csv")
    first, second = fresh(), fresh()
    second._position = lambda: 7  # type: ignore[method-assign]
    stream, later = iter(first.train_dataloader()), iter(second.train_dataloader())
    batches = [next(stream) for _ in range(10)]
    for expected in batches[7:]:
        batch = next(later)
        assert set(batch) == set(expected) == {"x", "mask", "targets", "row", "weight", "position"}
        assert all(torch.equal(batch[name], expected[name]) for name in batch)


def test_every_coordinate_is_real_and_every_row_counts_once(tmp_path: Path) -> None:
    data = vectors(table(tmp_path / "t.csv"), eval_batch_size=5, val_fraction=0.2)
    batches = list(data.val_dataloader())
    assert all(batch["mask"].all() and batch["mask"].shape == batch["x"].shape for batch in batches)
    assert sum(float(batch["weight"].sum()) for batch in batches) == len(data.indices("val")) == 12
    rows = torch.cat([batch["row"] for batch in batches])
    assert rows.tolist() == data.indices("val").tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_fraction": 0.6, "test_fraction": 0.4}, "leave some training rows"),
        ({"bad_rows": "keep"}, "bad_rows must be"),
        ({"batch_size": 0}, "batch_size must be"),
        ({"target_columns": ["b"]}, "'b' cannot be both"),
    ],
)
def test_contradicting_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        vectors(Path("t.csv"), **arguments)


# Toys ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TOYS)
def test_toys_are_points_of_their_seed(name: str) -> None:
    points = ToyDataModule(name, num=400, seed=3).designs
    assert points.shape == (400, 2) and np.isfinite(points).all() and np.abs(points).max() < 3
    np.testing.assert_array_equal(points, ToyDataModule(name, num=400, seed=3).designs)
    assert not np.array_equal(points, ToyDataModule(name, num=400, seed=4).designs)


def test_clusters_and_squares_are_where_they_should_be() -> None:
    radius = np.linalg.norm(ToyDataModule("eight_gaussians", num=2000).designs, axis=1)
    assert radius.mean() == pytest.approx(2, abs=0.03)
    squares = np.floor(ToyDataModule("checkerboard", num=2000).designs).sum(1)
    assert set(squares % 2) == {0.0}


def test_unknown_toys_are_refused() -> None:
    with pytest.raises(ConfigError, match="no toy 'moons'; there are two_moons"):
        ToyDataModule("moons")
    with pytest.raises(ConfigError, match="num must be"):
        ToyDataModule(num=3)


def test_sixteen_bits_are_read_as_such(tmp_path: Path) -> None:
    """Pillow cuts 16-bit grey images off at 255; training and scoring read the same values."""

    from gendesign.files.arrays import read_images
    from gendesign.files.designs import read_picture

    pixels = np.full((4, 4), 30_000, dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    assert read_picture(tmp_path / "deep.png") == pytest.approx(np.full((4, 4), 30_000 / 65_535))
    assert read_images(tmp_path, ImageCodec(4, 4)).designs[0] == pytest.approx(30_000 / 65_535)
    assert read_images(tmp_path, ImageCodec(4, 4, 3)).designs[0] == pytest.approx(30_000 / 65_535)


@pytest.mark.parametrize("damage", ["truncated", "npy", "lengths", "text"])
def test_npz_files_that_are_refused(tmp_path: Path, damage: str) -> None:
    from gendesign.files.arrays import read_vectors

    path = tmp_path / "table.npz"
    columns: dict[str, object] = {"a": np.arange(5.0), "b": np.arange(5.0), "y": np.arange(5.0)}
    if damage == "lengths":
        columns["b"] = np.arange(4.0)
    if damage == "text":
        columns["y"] = np.array(["x"] * 5)
    np.savez(path, **columns)  # type: ignore[arg-type]
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    if damage == "npy":
        np.save(tmp_path / "one.npy", np.zeros(3))
        (tmp_path / "one.npy").rename(path)
    with pytest.raises(DataError, match="npz|shape|numbers"):
        read_vectors(path, VectorCodec(["a", "b"]), target_columns=["y"])

"""Designs that are arrays, from the backbone to files: as exact, resumable and honest as strings."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from gendesign.array_codecs import ImageCodec, VectorCodec, VectorSequenceCodec
from gendesign.backbone import Backbone
from gendesign.codecs import Codec, DNACodec
from gendesign.design_set import DesignSet
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.solvers import Heun
from gendesign.errors import ConfigError, DesignError, OutputError, UnsupportedError
from gendesign.forms import Image, Text, Vector, VectorSequence, form_of, guess_form
from gendesign.judging import FLOW_STEPS
from gendesign.models.base import VectorNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.rewards.base import FunctionReward, Reward
from gendesign.run import BLOCK, design, estimate_cost
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered
from gendesign.storage import Stored, write_file


class Linear(VectorNetwork):
    """A linear network with a variance head; each row is summed alike, whatever stands beside it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(dim, dim)

    def forward(self, x: Any, noise: Any, cond: Any = None, mask: Any = None) -> tuple[Any, Any]:
        return 0.3 * (self.layer.weight * x[:, None]).sum(-1), torch.zeros_like(x)


Linear.__module__ = "own_networks"  # the same in every process, as that of an importable module is


def tiny_backbone(codec: Codec) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Linear(codec.length)
    backbone = Backbone(codec, PoissonFlow(sigma_max=10.0), Preconditioned(network)).double()
    return backbone.eval().requires_grad_(False)


CODECS = {
    "grey": ImageCodec(4, 5),
    "colour": ImageCodec(3, 4, channels=3),
    "vector": VectorCodec(["mass (kg)", "rank"], mean=[100.0, -1.0], std=[20.0, 0.1]),
    "steps": VectorSequenceCodec(["x", "v"], 6, mean=[0.0, 5.0], std=[1.0, 2.0]),
}
FORMS = {"grey": Image(1), "colour": Image(3), "vector": Vector, "steps": VectorSequence}


def first_number(designs: list[Any]) -> list[float]:
    return [float(np.ravel(d)[0]) for d in designs]


def run(codec: str, reward: Reward | None = None, **changes: Any) -> DesignSet:
    settings: dict[str, Any] = {"num_designs": 9, "steps": 5, "base_designs": 4, "seed": 3}
    method = changes.pop("steering", SVDD(candidates=4))
    reward = FunctionReward(first_number, name="first") if reward is None else reward
    return design(tiny_backbone(CODECS[codec]), reward, method, **(settings | changes))


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", CODECS)
def test_arrays_are_steered_scored_and_judged(name: str) -> None:
    result = run(
        name, num_designs=BLOCK, base_designs=BLOCK, heldout=FunctionReward(first_number, name="same")
    )
    assert result.base is not None and type(result.form) is type(form_of(CODECS[name]))
    assert all(np.shape(d) == CODECS[name].shape for d in result.designs)  # type: ignore[attr-defined]
    assert result.values.mean() > result.base.values.mean() + 0.3 * result.base.values.std()
    np.testing.assert_array_equal(result.values, first_number(result.designs))
    assert np.isfinite(result.naturalness).all() and result.kl.min() >= 0 and result.alpha
    backbone = tiny_backbone(CODECS[name])
    nats = backbone.log_likelihood(result.designs, num_times=FLOW_STEPS, seed=3)
    np.testing.assert_allclose(result.naturalness * CODECS[name].length, nats.numpy())
    assert 0 < result.cost.network_rows <= result.estimate.network_rows


def test_same_seed_same_designs_whatever_the_batching() -> None:
    first = run("grey")
    assert same(run("grey", max_rows=3).designs, first.designs)
    assert not same(run("grey", seed=4).designs, first.designs)
    long = run("grey", num_designs=BLOCK + 3, base_designs=0)
    assert same(long.designs[:BLOCK], run("grey", num_designs=BLOCK, base_designs=0).designs)


@pytest.mark.parametrize("method", [BestOfN(candidates=3), Unsteered(), Unsteered(solver=Heun())])
def test_other_methods(method: Any) -> None:
    result = run("vector", steering=method)
    bound = estimate_cost(tiny_backbone(CODECS["vector"]), method, num_designs=9, steps=5, base_designs=4)
    assert result.base is not None and len(result) == 9
    assert result.cost.network_rows + result.base.cost.network_rows <= bound.network_rows
    assert not np.isnan(result.values).any()


@pytest.mark.whole
@pytest.mark.parametrize("name", CODECS)
def test_finished_run_resumes_to_itself(name: str, tmp_path: Path) -> None:
    first = run(name, out=tmp_path / "out")
    again = run(name, out=tmp_path / "out", resume=True)
    assert same(again.designs, first.designs) and again.kl.tolist() == first.kl.tolist()
    assert again.naturalness.tolist() == first.naturalness.tolist()
    with pytest.raises(OutputError, match="other settings"):
        run(name, out=tmp_path / "out", resume=True, seed=99)
    block = tmp_path / "out/blocks/steered-00000.npz"
    for damaged in (block.read_bytes()[:-30], b""):
        block.write_bytes(damaged)
        with pytest.raises(OutputError, match=r"damaged; delete it"):
            run(name, out=tmp_path / "out", resume=True)


KILLED = """
import importlib.util, sys, time
import torch
torch.set_num_threads(1)
spec = importlib.util.spec_from_file_location("helpers", {file!r})
helpers = importlib.util.module_from_spec(spec); sys.modules["helpers"] = helpers; spec.loader.exec_module(helpers)
def slow(designs):
    time.sleep(0.05)
    return helpers.first_number(designs)
helpers.run("grey", helpers.FunctionReward(slow, name="slow"), num_designs=380, out={out!r})
"""


@pytest.mark.whole
def test_killed_run_resumes_to_the_same_arrays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = KILLED.format(file=__file__, out=str(out))
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while len(list(out.glob("blocks/steered-*.json"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = sorted(out.glob("blocks/steered-*.json"))
    assert 2 <= len(finished) < 6
    before = [path.with_suffix(ending).read_bytes() for path in finished for ending in (".json", ".npz")]

    def slow(designs: list[Any]) -> list[float]:
        return first_number(designs)

    slow.__module__, slow.__qualname__ = "__main__", "slow"  # a function is described by its name
    straight = run("grey", FunctionReward(slow, name="slow"), num_designs=380)
    resumed = run("grey", FunctionReward(slow, name="slow"), num_designs=380, out=out, resume=True)
    assert same(resumed.designs, straight.designs)
    assert [p.with_suffix(e).read_bytes() for p in finished for e in (".json", ".npz")] == before


def test_a_block_of_arrays_counts_only_when_it_is_whole(tmp_path: Path) -> None:
    """The arrays are written before the file that makes them count."""
    block = Stored([np.array([0.1, 1 / 3]), np.array([np.pi, 1e-300])], [0.0, 1.0], values=[1.0, None])
    block.save(tmp_path / "b.json")
    read = Stored.load(tmp_path / "b.json")
    assert same(read.designs, block.designs) and read.values == [1.0, None]
    (tmp_path / "b.npz").unlink()
    with pytest.raises(OutputError, match="damaged"):
        Stored.load(tmp_path / "b.json")


# ---------------------------------------------------------------- files


def test_files_of_images(tmp_path: Path) -> None:
    result = run("grey")
    folder = result.save(tmp_path / "out")
    rows = list(csv.DictReader((folder / "designs.csv").open()))
    stored = np.load(folder / "designs.npz")["designs"]
    ranked = result.ranked().designs
    assert len(rows) == 9 and same(list(stored), ranked)
    for row, image in zip(rows, ranked, strict=True):
        pixels = np.asarray(Picture.open(folder / row["file"]))
        assert pixels.shape == (4, 5) and np.abs(pixels / 255 - image).max() <= 1 / 510 + 1e-12
        assert row["first_status"] == "OK" and float(row["naturalness_nats_per_pixel"])
    assert not (folder / "designs.fasta").exists()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["unique_designs"] == 9 and summary["naturalness_nats_per_pixel"]


def test_files_of_colour_images(tmp_path: Path) -> None:
    result = run("colour")
    folder = result.save(tmp_path / "out")
    pixels = np.asarray(Picture.open(folder / "images/design_0001.png"))
    assert np.abs(pixels / 255 - result.ranked().designs[0]).max() <= 1 / 510 + 1e-12
    assert "naturalness_nats_per_coordinate" in (folder / "designs.csv").read_text()


def test_files_of_vectors_name_the_columns_and_lose_no_name(tmp_path: Path) -> None:
    result = run("vector", FunctionReward(first_number, name="mass (kg)"))
    folder = result.save(tmp_path / "out")
    rows = list(csv.DictReader((folder / "designs.csv").open()))
    values = [[float(row["mass (kg)"]), float(row["rank (column)"])] for row in rows]
    np.testing.assert_array_equal(values, np.stack(result.ranked().designs))
    assert [row["rank"] for row in rows] == [str(i) for i in range(1, 10)]
    assert float(rows[0]["mass (kg) (score)"]) == pytest.approx(values[0][0], abs=1e-6)
    assert np.load(folder / "designs.npz")["columns"].tolist() == ["mass (kg)", "rank"]


def test_files_of_sequences_of_vectors(tmp_path: Path) -> None:
    result = run("steps")
    folder = result.save(tmp_path / "out")
    rows = list(csv.DictReader((folder / "steps.csv").open()))
    assert len(rows) == 9 * 6
    values = [[float(row["x"]), float(row["v"])] for row in rows]
    np.testing.assert_array_equal(np.reshape(values, (9, 6, 2)), np.stack(result.ranked().designs))
    assert (rows[7]["rank"], rows[7]["step"]) == ("2", "1")


@pytest.mark.parametrize("name", CODECS)
def test_files_are_never_overwritten_but_by_their_own_run(name: str, tmp_path: Path) -> None:
    result = run(name)
    folder = result.save(tmp_path / "out")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match="nothing was overwritten"):
        result.save(folder)
    result.save(folder, overwrite=True)
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "images"
    write_file(target, {"a.png": b"old"})
    calls = []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device; free space"):
        write_file(target, {"a.png": b"new", "b.png": b"new"})
    assert [path.read_bytes() for path in target.iterdir()] == [b"old"]
    assert list(tmp_path.iterdir()) == [target]
    write_file(target, {"b.png": b"new"})
    assert [path.name for path in target.iterdir()] == ["b.png"]


def test_only_a_full_disk_asks_for_space(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as error:
        write_file(tmp_path / "file" / "below", b"")
    assert "free space" not in str(error.value)


def test_an_empty_set_of_images_is_saved(tmp_path: Path) -> None:
    none = run("grey")[np.array([], dtype=np.int64)]
    none.save(tmp_path / "out")
    assert np.load(tmp_path / "out/designs.npz")["designs"].shape == (0,)


# ---------------------------------------------------------------- statuses, shortlists, templates


def test_a_reward_that_fails_now_and_then_never_stops_a_run(tmp_path: Path) -> None:
    def moody(designs: list[Any]) -> list[float]:
        if any(d[0, 0] > 0.8 for d in designs):
            raise RuntimeError("too bright")
        return first_number(designs)

    result = run("grey", FunctionReward(moody, name="moody"), num_designs=32)
    assert all(np.isnan(v) == (d[0, 0] > 0.8) for v, d in zip(result.values, result.designs, strict=True))
    assert np.isnan(result.values).any(), "the test needs a failure"
    result.save(tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out/designs.csv").open()))
    failed = [row for row in rows if row["moody_status"] == "FAILED"]
    assert failed and all("too bright" in row["moody_message"] and row["moody"] == "" for row in failed)
    assert rows[-1] in failed and (tmp_path / "out" / rows[-1]["file"]).exists()
    assert not np.isnan(result.select(5).values).any()


def test_a_shortlist_of_arrays_is_spread_on_the_scale_of_the_data() -> None:
    """Columns weigh alike: in kilograms alone, mass would decide."""
    result = run("vector")
    far = [np.array([100.0, -1.0]), np.array([101.0, -1.0]), np.array([100.0, -0.5]), np.array([100.0, -1.0])]
    small = DesignSet(
        designs=far,
        scores={"flat": type(result.scores["first"])(np.zeros(4))},
        naturalness=np.zeros(4),
        novelty={},
        kl=np.zeros(4),
        alpha=None,
        cost=result.cost,
        estimate=result.estimate,
        provenance={},
        form=result.form,
        nearest=far[::-1],
    )
    chosen = small.select(2, diversity=1.0)
    assert same(chosen.designs, [far[0], far[2]]) and same(chosen.nearest or [], [far[3], far[1]])
    assert len(small.select(4, diversity=1.0)) == 3  # a copy is never chosen


@pytest.mark.parametrize("template", ["90.5, *", np.array([90.5, np.nan])])
def test_numbers_of_a_template_are_kept(template: Any, tmp_path: Path) -> None:
    result = run("vector", FunctionReward(lambda d: [float(x[1]) for x in d], name="r"), template=template)
    assert result.base is not None
    np.testing.assert_allclose([d[0] for d in result.designs + result.base.designs], 90.5, rtol=1e-6)
    text = result.provenance["resolved"]["template"]
    assert text == (template if isinstance(template, str) else "90.5,*")


def test_rows_of_a_template() -> None:
    result = run("steps", template="1,*;*,*;*,*;*,*;*,*;*,7")
    np.testing.assert_allclose([(d[0, 0], d[5, 1]) for d in result.designs], [(1.0, 7.0)] * 9, atol=1e-5)


@pytest.mark.parametrize("name", ["grey", "colour"])
def test_part_of_an_image_is_kept_and_its_text_repeats_it(name: str) -> None:
    given = np.full(CODECS[name].shape, np.nan)  # type: ignore[attr-defined]
    given[:2] = 0.25
    result = run(name, template=given)
    assert all(np.allclose(d[:2], 0.25, atol=1e-6) for d in result.designs)
    assert np.std([d[2:] for d in result.designs]) > 0.01
    again = run(name, template=result.provenance["resolved"]["template"])
    assert same(again.designs, result.designs)


@pytest.mark.parametrize(
    ("codec", "template", "says"),
    [
        ("vector", "90.5,many", "got 'many'"),
        ("vector", "90.5", "shape"),
        ("vector", "1,2", "fixes every number"),
        ("steps", "1,*;2", "one length"),
        ("grey", "1,*", "expected an array"),
    ],
)
def test_templates_that_do_not_fit(codec: str, template: str, says: str) -> None:
    with pytest.raises(DesignError, match=says):
        run(codec, template=template)


# ---------------------------------------------------------------- what is refused, and forms


class OfText(FunctionReward):
    """Reads sequences only."""

    def unreadable(self, design: Any) -> str:
        return "" if isinstance(design, str) else "expected a sequence"


def test_a_reward_of_sequences_is_refused_before_anything_is_spent(tmp_path: Path) -> None:
    reward = OfText(first_number, name="of text")
    with pytest.raises(
        UnsupportedError, match=r"of text cannot score the images .* expected a sequence.*reward="
    ):
        run("grey", reward, out=tmp_path / "out")
    with pytest.raises(UnsupportedError, match="heldout=null"):
        run("vector", heldout=reward)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fraction", [0.0, 1.0, float("nan")])
def test_a_share_outside_its_range_is_refused_with_a_given_temperature_too(fraction: float) -> None:
    with pytest.raises(ConfigError, match="ess_fraction"):
        run("vector", steering=SVDD(candidates=2, alpha=1.0), ess_fraction=fraction)


def test_forms() -> None:
    assert isinstance(form_of(DNACodec(4)), Text)
    assert {name: form_of(codec) for name, codec in CODECS.items()} == {
        "grey": Image(1),
        "colour": Image(3),
        "vector": Vector(("mass (kg)", "rank"), (20.0, 0.1)),
        "steps": VectorSequence(("x", "v"), (1.0, 2.0)),
    }
    picture = np.full((4, 4), 0.5)
    assert guess_form([picture]) == Image(1) and guess_form([np.ones((4, 4, 3))]) == Image(3)
    assert isinstance(guess_form([picture, picture * 4]), VectorSequence)
    assert guess_form([np.ones(3)]) == Vector() and isinstance(guess_form([]), Text)
    assert Vector().cells(np.array([1.0, 2.0]), 1) == {"x1": 1.0, "x2": 2.0}

"""`design`: determinism, resuming, files, and what it refuses."""

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

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.determinism import generator
from gendesign.diffusion.in_order import InOrder
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import Ancestral, FirstHitting, KTokens, Unmasking
from gendesign.errors import ConfigError, DesignError, OutputError, UnsupportedError
from gendesign.models.dilated_conv import DilatedConvDenoiser
from gendesign.rewards.base import FunctionReward, Reward
from gendesign.rewards.composition import Threshold, WeightedSum
from gendesign.run import BLOCK, Progress, design, estimate_cost
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered
from gendesign.storage import Store, Stored, write_text

LENGTH = 12


def gc(designs: list[str]) -> list[float]:
    return [(d.count("G") + d.count("C")) / len(d) for d in designs]


def small_backbone() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DilatedConvDenoiser(4, width=8)
        for parameter in network.parameters():  # a new network may begin at zero, and be uniform
            torch.nn.init.normal_(parameter, std=0.2)
    return Backbone(DNACodec(LENGTH), MaskedDiffusion(4), network).double().eval()


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return small_backbone()


@pytest.fixture
def reward() -> Reward:
    return FunctionReward(gc, name="gc")


def run(backbone: Backbone, reward: Reward | None, **changes: Any) -> Any:
    settings: dict[str, Any] = {"num_designs": 8, "steps": 6, "base_designs": 8, "seed": 3}
    return design(
        backbone, reward, changes.pop("steering", SVDD(candidates=4, alpha=0.05)), **(settings | changes)
    )


def test_steering_raises_the_reward_and_counts_what_it_spends(backbone: Backbone, reward: Reward) -> None:
    seen: list[Progress] = []
    result = run(
        backbone,
        reward,
        num_designs=70,
        base_designs=70,
        heldout=FunctionReward(gc, name="same"),
        progress=seen.append,
    )
    assert len(result) == 70 and all(len(d) == LENGTH for d in result.designs)
    assert result.scores["gc"].values.mean() > result.base.scores["gc"].values.mean() + 0.1
    assert list(result.scores) == ["gc", "same"]
    np.testing.assert_array_equal(result.scores["gc"].values, result.scores["same"].values)
    assert 0 < result.cost.network_rows <= result.estimate.network_rows
    assert 0 < result.cost.reward_calls <= result.estimate.reward_calls
    assert result.kl.min() >= 0 and (result.naturalness < 0).all()
    assert [p.done for p in seen if p.stage == "steered designs"][-1] == 70 * 6
    assert seen[-1].cost.network_rows == result.cost.network_rows


def test_same_seed_same_designs_whatever_the_batching(backbone: Backbone, reward: Reward) -> None:
    first = run(backbone, reward)
    assert run(backbone, reward, max_rows=3).designs == first.designs
    assert run(backbone, reward, seed=4).designs != first.designs


def test_blocks_have_streams_of_their_own(backbone: Backbone, reward: Reward) -> None:
    """The first block of a longer run is the whole of a run of one block."""
    short = run(backbone, reward, num_designs=BLOCK)
    long = run(backbone, reward, num_designs=BLOCK + 5)
    assert long.designs[:BLOCK] == short.designs
    draws = {
        tuple(torch.rand(3, generator=generator(0, stage, b)).tolist())
        for stage in ("a", "b")
        for b in (0, 1)
    }
    assert len(draws) == 4


def test_alpha_auto_is_a_number_in_the_result(backbone: Backbone, reward: Reward) -> None:
    method = SVDD(candidates=4)
    result = run(backbone, reward, steering=method, base_designs=0, ess_fraction=0.5)
    bound = estimate_cost(backbone, method, num_designs=8, steps=6, base_designs=0)
    assert result.cost.network_rows <= result.estimate.network_rows <= bound.network_rows
    assert result.cost.reward_calls <= result.estimate.reward_calls <= bound.reward_calls
    assert isinstance(result.alpha, float) and result.alpha > 0
    assert result.provenance["resolved"]["steering"]["init_args"]["alpha"] == result.alpha


def test_a_reward_that_fails_now_and_then_never_stops_a_run(backbone: Backbone) -> None:
    def moody(designs: list[str]) -> list[float]:
        if any(d.startswith("A") for d in designs):
            raise RuntimeError("no")
        return gc(designs)

    result = run(backbone, FunctionReward(moody, name="moody"), num_designs=32)
    scores = result.scores["moody"]
    assert all(np.isnan(v) == (d[0] == "A") for v, d in zip(scores.values, result.designs, strict=True))
    chosen = result.select(5)
    assert all(d[0] != "A" for d in chosen.designs)


def test_some_of_the_designs_by_number_or_by_truth(backbone: Backbone, reward: Reward) -> None:
    result = run(backbone, reward)
    good = result.values > np.median(result.values)
    assert 0 < good.sum() < len(result)
    assert result[good].designs == [d for d, g in zip(result.designs, good, strict=True) if g]
    np.testing.assert_array_equal(result[good].values, result.values[good])
    assert result[[2, 0, 2]].designs == [result.designs[i] for i in (2, 0, 2)] and len(result[[]]) == 0
    for wrong in (np.array(3), good[:3], [99]):
        with pytest.raises(IndexError):
            result[wrong]


def test_a_strict_constraint_steers_by_its_penalty_and_excludes_in_the_end(backbone: Backbone) -> None:
    """Excluding alone says nothing of the way into the range: most designs then end outside it."""
    a, c = (FunctionReward(lambda d, x=x: float(d.count(x)), each=True, name=x) for x in "AC")
    wanted = {"reward": a, "constraint": c, "at_least": 5.0}
    share = {}
    for strict in (False, True):
        reward = Threshold(**wanted, **({"penalty": 5.0, "strict": True} if strict else {}))  # type: ignore[arg-type]
        run = design(backbone, reward, SVDD(candidates=6, alpha=0.1), num_designs=40, steps=8, base_designs=0)
        ok = run.scores[reward.label].ok
        assert ok.tolist() == [one.count("C") >= 5 for one in run.designs]
        assert np.isnan(run.values[~ok]).all()
        share[strict] = ok.mean()
    assert share[True] > 0.9 and share[True] > share[False] + 0.2


def test_a_reward_that_always_fails_keeps_what_there_is(backbone: Backbone, tmp_path: Path) -> None:
    result = run(backbone, FunctionReward(lambda d: [float("nan")] * len(d), name="never"))
    assert np.isnan(result.values).all() and len(result.designs) == 8
    result.save(tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "designs.csv").open()))
    assert {row["never_status"] for row in rows} == {"FAILED"} and all(row["never"] == "" for row in rows)
    assert (tmp_path / "out" / "designs.fasta").read_text() == ""


def test_files(backbone: Backbone, reward: Reward, tmp_path: Path) -> None:
    result = run(backbone, reward)
    folder = result.save(tmp_path / "new" / "out")
    rows = list(csv.DictReader((folder / "designs.csv").open()))
    values = [float(row["gc"]) for row in rows]
    assert values == sorted(values, reverse=True)
    for row in rows:
        assert float(row["gc"]) == pytest.approx(gc([row["design"]])[0], abs=1e-6)
        assert result.designs[int(row["index"])] == row["design"]
    fasta = (folder / "designs.fasta").read_text().split()
    assert [line for line in fasta if set(line) <= set("ACGT")] == [row["design"] for row in rows]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["scores"]["gc"]["median"] == pytest.approx(float(np.median(values)), abs=1e-6)
    with pytest.raises(OutputError, match="nothing was overwritten"):
        result.save(folder)
    result.save(folder, overwrite=True)


def test_parts_of_one_name_are_all_listed(backbone: Backbone, tmp_path: Path) -> None:
    parts = [
        FunctionReward(gc, name="gc"),
        FunctionReward(lambda designs: [-v for v in gc(designs)], name="gc"),
    ]
    result = run(
        backbone, WeightedSum(parts, weights=[2.0, 1.0], name="both"), steering=BestOfN(candidates=2)
    )
    np.testing.assert_array_equal(result.parts["gc"].values, -result.parts["gc (2)"].values)
    head = (result.save(tmp_path / "out") / "designs.csv").read_text().splitlines()[0].split(",")
    assert {"both", "gc", "gc (2)"} <= set(head)


def test_small_numbers_are_not_rounded_to_nothing(backbone: Backbone, tmp_path: Path) -> None:
    tiny = FunctionReward(lambda designs: [1.2345678e-9 * value for value in gc(designs)], name="tiny")
    result = run(backbone, tiny, steering=BestOfN(candidates=2), base_designs=0)
    rows = list(csv.DictReader((result.save(tmp_path / "out") / "designs.csv").open()))
    assert [float(row["tiny"]) for row in rows] == pytest.approx(sorted(result.values)[::-1], rel=1e-5)


def test_template_is_honoured_by_every_method(backbone: Backbone, reward: Reward) -> None:
    template = "ACGT" + "*" * (LENGTH - 5) + "A"
    for method in (SVDD(candidates=3, alpha=0.1), BestOfN(candidates=3), Unsteered()):
        result = run(backbone, reward, steering=method, template=template)
        assert all(d.startswith("ACGT") and d.endswith("A") for d in result.designs + result.base.designs)


@pytest.mark.whole
@pytest.mark.parametrize(
    ("unmasking", "steps"),
    [(FirstHitting(), LENGTH - 2), (KTokens(4), 3), (Ancestral(), 6), (InOrder(), LENGTH - 2)],
)
def test_every_rule_of_unmasking_with_every_method(
    backbone: Backbone, reward: Reward, unmasking: Unmasking, steps: int
) -> None:
    template = "AC" + "*" * (LENGTH - 2)
    for method in (SVDD(candidates=3, alpha=0.1), BestOfN(candidates=2), Unsteered()):
        result = run(backbone, reward, steering=method, template=template, unmasking=unmasking, num_designs=4)
        assert result.provenance["steps"] == steps
        assert all(backbone.codec.is_valid(d) and d.startswith("AC") for d in result.designs)
    assert type(backbone.process.unmasking) is Ancestral  # the backbone itself is left as it was


def test_finished_run_resumes_to_itself_and_refuses_other_settings(
    backbone: Backbone, reward: Reward, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = run(backbone, reward, out=out)
    again = run(backbone, reward, out=out, resume=True)
    assert again.designs == first.designs and again.kl.tolist() == first.kl.tolist()
    with pytest.raises(OutputError, match="resume"):
        run(backbone, reward, out=out)
    with pytest.raises(OutputError, match="other settings"):
        run(backbone, reward, out=out, resume=True, seed=99)
    (out / "blocks" / "run.json").write_text("{")
    with pytest.raises(OutputError, match="damaged"):
        run(backbone, reward, out=out, resume=True)


def test_two_runs_in_one_folder_never_mix(tmp_path: Path) -> None:
    """The second finds the folder free, and the first has written blocks before the second asks for one."""
    one, two = (Store.open(tmp_path / "out", {"seed": seed}, weights="", resume=False) for seed in (1, 2))
    block = Stored(["ACGT"], [0.0], values=[1.0])
    one.save("steered designs", 0, block)
    again = one.load("steered designs", 0)
    assert again is not None and again.designs == ["ACGT"]
    with pytest.raises(OutputError, match="another run began"):
        two.load("steered designs", 0)
    with pytest.raises(OutputError, match="another run began"):
        two.save("steered designs", 0, block)


def test_resume_refuses_a_reward_that_changed(backbone: Backbone, tmp_path: Path) -> None:
    """Functions are described by their name: that the code behind it changed shows in the values."""
    run(backbone, FunctionReward(lambda designs: gc(designs), name="same"), out=tmp_path / "out")
    other = FunctionReward(lambda designs: [-v for v in gc(designs)], name="same")
    with pytest.raises(OutputError, match="other values"):
        run(backbone, other, out=tmp_path / "out", resume=True)


def test_a_run_that_fails_at_its_start_leaves_nothing(
    backbone: Backbone, reward: Reward, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="ess_fraction"):
        run(backbone, reward, steering=SVDD(candidates=2), ess_fraction=2.0, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_reward_with_plateaus_finds_a_temperature(backbone: Backbone) -> None:
    """Most candidates of a count tie; alpha="auto" must not ask the user for a setting that was never given."""
    boxes = FunctionReward(lambda d: float(d.count("TATA")), name="boxes", each=True)
    assert run(backbone, boxes, steering=SVDD(candidates=4)).alpha > 0
    assert run(backbone, FunctionReward(lambda d: 0.0, name="flat", each=True), steering=SVDD()).alpha == 1.0


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from gendesign.rewards.base import FunctionReward
from gendesign.run import design
from gendesign.steering.svdd import SVDD
import importlib.util
spec = importlib.util.spec_from_file_location("helpers", {file!r})
helpers = importlib.util.module_from_spec(spec); spec.loader.exec_module(helpers)
def slow(designs):
    time.sleep(0.02)
    return helpers.gc(designs)
design(helpers.small_backbone(), FunctionReward(slow, name="slow"), SVDD(candidates=4, alpha=0.05),
       num_designs=1000, steps=6, base_designs=8, seed=3, out={out!r})
"""


@pytest.mark.whole
def test_killed_run_resumes_to_the_same_designs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = KILLED.format(tests=str(Path(__file__).parent), file=__file__, out=str(out))
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while len(list(out.glob("blocks/steered-*.json"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = sorted(out.glob("blocks/steered-*.json"))
    assert 2 <= len(finished) < 16
    before = [path.read_bytes() for path in finished]

    # to resume, the reward of the killed run is described by its name: build the same one
    def slow(designs: list[str]) -> list[float]:
        return gc(designs)

    slow.__module__, slow.__qualname__ = "__main__", "slow"
    settings: dict[str, Any] = {"num_designs": 1000, "steps": 6, "base_designs": 8, "seed": 3}
    method = SVDD(candidates=4, alpha=0.05)
    resumed = design(
        small_backbone(), FunctionReward(slow, name="slow"), method, out=out, resume=True, **settings
    )
    assert [path.read_bytes() for path in finished] == before
    straight = design(small_backbone(), FunctionReward(gc, name="slow"), method, **settings)
    assert resumed.designs == straight.designs


def test_output_that_cannot_be_written(backbone: Backbone, reward: Reward, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="expected a folder"):
        run(backbone, reward, out=tmp_path / "file")
    with pytest.raises(OutputError, match="cannot write"):
        run(backbone, reward, out="/proc/nowhere/out")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        run(backbone, reward, out=tmp_path / "used")
    with pytest.raises(OutputError, match="no run to resume"):
        run(backbone, reward, out=tmp_path / "used", resume=True)
    with pytest.raises(OutputError, match="folder"):
        run(backbone, reward, resume=True)


def test_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    target = tmp_path / "designs.csv"
    target.write_text("before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        write_text(target, "after")
    assert target.read_text() == "before" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("file", [0, 1, 2, 5])  # the manifest, two blocks, and one of the results
def test_a_run_that_a_full_disk_ended_resumes_to_the_same_designs(
    backbone: Backbone, reward: Reward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: int
) -> None:
    def made(folder: str, *, resume: bool = False) -> Path:
        result = run(
            backbone, reward, num_designs=70, base_designs=0, out=tmp_path / folder, resume=resume,
            steering=Unsteered(),
        )  # fmt: skip
        return result.save(tmp_path / folder, overwrite=resume)

    whole, left, sync = made("whole"), iter([True] * file + [False]), os.fsync

    def full(handle: int) -> None:
        if not next(left, True):
            raise OSError(28, "No space left on device")
        sync(handle)

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="free space"):
            made("stopped")
    resumed = made("stopped", resume=True)
    assert (resumed / "designs.csv").read_text() == (whole / "designs.csv").read_text()
    files = [sorted(str(path.relative_to(root)) for path in root.rglob("*")) for root in (whole, resumed)]
    assert files[0] == files[1]


def test_a_folder_in_which_a_run_could_write_nothing_is_free_again(
    backbone: Backbone, reward: Reward, tmp_path: Path
) -> None:
    (tmp_path / "blocks" / ".run.json.x1").mkdir(
        parents=True
    )  # a run was killed while it wrote its first file
    run(backbone, reward, out=tmp_path, base_designs=0)
    (tmp_path / "mine" / "blocks").mkdir(parents=True)
    (tmp_path / "mine" / "blocks" / "wood.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        run(backbone, reward, out=tmp_path / "mine")


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"num_designs": 0}, ConfigError, "num_designs"),
        ({"steps": 0}, ConfigError, "steps"),
        ({"seed": -1}, ConfigError, "seed"),
        ({"max_rows": 0}, ConfigError, "max_rows"),
        ({"template": "ACGT"}, DesignError, "12 letters"),
        ({"template": "ACGTX*******"}, DesignError, "X"),
        ({"template": "ACGTACGTACGT"}, DesignError, "every position"),
        ({"steering": SVDD(), "ess_fraction": 1.0}, ConfigError, "ess_fraction"),
    ],
)
def test_bad_requests(
    backbone: Backbone, reward: Reward, changes: dict[str, Any], error: type, says: str
) -> None:
    with pytest.raises(error, match=says):
        run(backbone, reward, **changes)


def test_method_without_its_reward(backbone: Backbone) -> None:
    with pytest.raises(UnsupportedError, match="needs a reward"):
        run(backbone, None)
    assert len(run(backbone, None, steering=Unsteered()).designs) == 8


def test_estimate_covers_the_run(backbone: Backbone, reward: Reward) -> None:
    method = SVDD(candidates=4, alpha=0.05)
    bound = estimate_cost(backbone, method, num_designs=8, steps=6, base_designs=8)
    result = run(backbone, reward, steering=method)
    assert result.cost.network_rows + result.base.cost.network_rows <= bound.network_rows
    assert bound.network_rows == 8 * (4 * 5 + 1) + 8 * 6

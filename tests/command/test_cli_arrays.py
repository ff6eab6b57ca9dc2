"""The command line with backbones of images and of vectors."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as Picture

from gendesign import cli
from gendesign.array_codecs import ImageCodec, VectorCodec
from gendesign.backbone import Backbone
from gendesign.codecs import Codec
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import DataError
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained backbones: images of 4 x 4 pixels, and rows of a table."""
    folder = tmp_path_factory.mktemp("backbones")
    codecs: dict[str, Codec] = {
        "images": ImageCodec(4, 4),
        "rows": VectorCodec(["mass", "length"], mean=[70.0, 1.7], std=[10.0, 0.1]),
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, codec in codecs.items():
            network = MLPNetwork(codec.length, width=8, depth=1)
            Backbone(codec, PoissonFlow(), Preconditioned(network)).save_pretrained(folder / name)
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_arrays.py").write_text("def first(design):\n    return float(design.ravel()[0])\n")
    arguments = {"function": "own_arrays.first", "each": True, "name": "first"}
    config = {"class_path": "gendesign.rewards.base.FunctionReward", "init_args": arguments}
    (tmp_path / "first.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(list(words))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code, _, err = run(capsys, *words)
    assert code == 2 and "Traceback" not in err, err
    return err.splitlines()[-1]


SMALL = ("num_designs=5", "base_designs=5", "steps=4", "device=cpu", "--quiet")
OWN = ("reward=first.yaml", "--trust", "own_arrays")


@pytest.mark.whole
def test_images_from_words_to_files(work: Path, backbones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"backbone={backbones / 'images'}", "reward=compressibility", "out=a", *SMALL]
    code, out, err = run(capsys, "design", *words)
    assert code == 0, err
    assert "a/designs.npz" in out and "compressibility: median" in out
    assert len(list((work / "a/images").glob("*.png"))) == 5
    page = (work / "a/report.html").read_text()
    assert page.count("data:image/png;base64,") == 15 and "nats a pixel" in page
    config = yaml.safe_load((work / "a/config.yaml").read_text())
    assert config["heldout"] is None  # no auditor of something else was put beside it
    before = {path: path.read_bytes() for path in (work / "a").rglob("*") if path.name != "summary.json"
              and path.is_file() and path.name != "report.html"}  # fmt: skip
    assert run(capsys, "design", *words, "--resume")[0] == 0
    assert all(path.read_bytes() == content for path, content in before.items())
    code, _, err = run(capsys, "design", "a/config.yaml", "out=b", "--quiet")
    assert code == 0, err
    assert (work / "a/designs.csv").read_bytes() == (work / "b/designs.csv").read_bytes()


@pytest.mark.whole
def test_a_solver_is_chosen_by_name(work: Path, backbones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = ["design", f"backbone={backbones / 'rows'}", "reward=null", "steering=unsteered", *SMALL]
    code, _, err = run(capsys, *plain, "steering.solver=Heun", "out=heun")
    assert code == 0, err
    spent = json.loads((work / "heun/summary.json").read_text())["cost"]["network_rows"]
    assert spent == 5 * (2 * 4 - 1)
    assert run(capsys, *plain, "steering.solver=Churn", "steering.solver.rate=0.2", "out=churn")[0] == 0
    said = yaml.safe_load((work / "churn/config.yaml").read_text())["steering"]["init_args"]["solver"]
    assert said == {"class_path": "gendesign.diffusion.solvers.Churn", "init_args": {"rate": 0.2}}
    assert run(capsys, *plain, "steering.solver=null", "out=none")[0] == 0
    assert "did you mean 'Heun'" in fails(capsys, *plain, "steering.solver=Huen")
    assert "no reward guided" in (work / "none/report.html").read_text().lower()


def test_a_template_of_numbers(work: Path, backbones: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["design", f"backbone={backbones / 'rows'}", *OWN, *SMALL]
    code, _, err = run(capsys, *words, "template=*,1.8", "out=a")
    assert code == 0, err
    rows = list(csv.DictReader((work / "a/designs.csv").open()))
    assert [float(row["length"]) for row in rows] == pytest.approx([1.8] * 5)
    assert "1.8,tall" in fails(capsys, *words, "template=1.8,tall", "out=b")
    code, _, err = run(capsys, "check", *words[1:-1], "template=*,1.8", "out=c")
    assert code == 0, err


def test_rewards_of_other_designs_are_refused_at_once(
    work: Path, backbones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in ("design", "check"):
        line = fails(capsys, verb, f"backbone={backbones / 'images'}", "device=cpu")
        assert "dna-expression cannot score the images of this backbone" in line and "reward=" in line
    words = [f"backbone={backbones / 'images'}", *OWN, "heldout=dna-expression-heldout", "device=cpu"]
    assert "heldout=null" in fails(capsys, "design", *words)
    assert "SVDD needs a reward" in fails(capsys, "design", words[0], "reward=null", "device=cpu")
    assert not (work / "outputs").exists()


def test_check_refuses_what_design_would(
    work: Path, backbones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", f"backbone={backbones / 'rows'}", *OWN, "num_designs=5", "steps=3", "device=cpu"]
    code, out, err = run(capsys, *words, "out=new/folder")
    assert code == 0 and "reward calls" in out and not (work / "new").exists(), err
    assert "ess_fraction" in fails(capsys, *words, "ess_fraction=2")
    assert "cannot write" in fails(capsys, *words, "out=/proc/no/such")
    (work / "used").mkdir()
    (work / "used/notes.txt").write_text("mine")
    assert "not empty" in fails(capsys, *words, "out=used")
    (work / "file").write_text("")
    assert "got a file" in fails(capsys, *words, "out=file")


def test_score_a_folder_of_pictures(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "pictures").mkdir()
    for name, level in (("dark", 51), ("light", 204)):
        Picture.fromarray(np.full((4, 6), level, dtype=np.uint8)).save(work / f"pictures/{name}.png")
    Picture.fromarray(np.full((3, 3, 3), 255, dtype=np.uint8)).save(work / "pictures/white.png")
    code, out, err = run(capsys, "score", "pictures", "reward=brightness")
    rows = list(csv.DictReader(out.splitlines()))
    assert code == 0 and "3 images: 3 OK" in err
    assert [(row["id"], float(row["brightness"])) for row in rows] == [
        ("dark.png", pytest.approx(0.2)),
        ("light.png", pytest.approx(0.8)),
        ("white.png", pytest.approx(1.0)),
    ]
    assert run(capsys, "score", "pictures/dark.png", "reward=brightness")[0] == 0


def test_score_arrays_and_tables_of_numbers(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(work / "designs.npz", designs=np.array([[3.0, 1.0], [5.0, 1.0]]), columns=np.array(["a", "b"]))
    (work / "vectors.csv").write_text("id,a,b\nx,3,1\ny,5,1\n")
    (work / "mixed.csv").write_text("who,a,b\nx,3,1\ny,none,1\n")
    (work / "designs.csv").write_text("rank,index,a,b,first,first_status\n1,0,5,1,5,OK\n")
    for words, expected in (
        (["designs.npz"], [("1", "3"), ("2", "5")]),
        (["vectors.csv"], [("x", "3"), ("y", "5")]),
        (["mixed.csv", "--column", "b,a"], [("2", "1")]),
        (["mixed.csv", "--column", "b"], [("2", "1"), ("3", "1")]),
        (["designs.csv"], [("1", "3"), ("2", "5")]),  # the table of a run: its arrays lie beside it
    ):
        code, out, err = run(capsys, "score", *words, *OWN)
        assert code == 0, err
        assert [(row["id"], row["first"]) for row in csv.DictReader(out.splitlines())] == expected


def test_score_what_a_run_of_sequences_wrote(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "designs.csv").write_text("rank,index,design,gc,gc_status\n1,0,GGCC,1,OK\n2,1,ACGT,0.5,OK\n")
    code, out, err = run(capsys, "score", "designs.csv", "reward=gc-content")
    assert code == 0, err
    assert [row["gc-content"] for row in csv.DictReader(out.splitlines())] == ["1", "0.5"]


def objects() -> Any:
    return np.array([{"a": 1}], dtype=object)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.npz", b"no zip", "not an .npz file"),
        ("b.npz", {"x": np.zeros((2, 2)), "y": np.zeros(2)}, "there are x, y"),
        ("c.npz", {"x": objects()}, "not an .npz file of plain arrays"),
        ("d.npz", {"x": np.zeros(3)}, "expected numbers"),
        ("e.png", b"no picture", "cannot be read as an image"),
        ("f.csv", b"a,b\n1,x\n", "no column 'sequence'"),
        ("g", {}, "holds no image"),
    ],
)
def test_score_bad_files(
    work: Path, capsys: pytest.CaptureFixture[str], name: str, content: Any, says: str
) -> None:
    if isinstance(content, bytes):
        (work / name).write_bytes(content)
    elif content:
        np.savez(work / name, **content)
    else:
        (work / name).mkdir()
    assert says in fails(capsys, "score", name, *OWN)


def test_a_column_without_a_number(work: Path) -> None:
    from gendesign.files.designs import read_designs

    (work / "x.csv").write_text("a,b\n1,x\n")
    with pytest.raises(DataError, match="no row has a number"):
        read_designs(work / "x.csv", columns=["a", "b"])


def test_unknown_verbs_get_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'design'" in fails(capsys, "desing")
    assert "did you mean 'validate'" in fails(capsys, "validat")
    assert "there are design, " in fails(capsys, "xyz")


def test_nobody_is_told_to_trust_the_standard_library(
    work: Path, backbones: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("os.system", "builtins.eval", "subprocess.run"):
        (work / "evil.yaml").write_text(f"class_path: {path}\n")
        line = fails(capsys, "design", f"backbone={backbones / 'rows'}", "reward=evil.yaml", "device=cpu")
        assert path in line and "trust" not in line and "do not use this file" in line

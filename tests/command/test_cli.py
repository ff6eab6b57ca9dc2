"""The command line as a user meets it: a small backbone, files in and out, and every wrong word in one line."""

import csv
import gzip
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gendesign import cli
from gendesign.command.compose import SETTINGS

LENGTH = 12
GEN = str(Path(sys.executable).with_name("gendesign"))


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained backbone of twelve bases."""
    from gendesign.backbone import Backbone
    from gendesign.codecs import DNACodec
    from gendesign.diffusion.masked import MaskedDiffusion
    from gendesign.models.dilated_conv import DilatedConvDenoiser

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("backbones") / "tiny"
    denoiser = DilatedConvDenoiser(4, 8, depth=1, kernel_size=3)
    Backbone(DNACodec(LENGTH), MaskedDiffusion(4), denoiser).save_pretrained(folder)
    return folder


@pytest.fixture
def work(tmp_path: Path, backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a reward of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_reward.py").write_text(
        "import time\n"
        "def adenines(design):\n    return float(design.count('A'))\n"
        "def slow(design):\n    time.sleep(0.002)\n    return float(design.count('A'))\n"
        "def broken(design):\n    raise RuntimeError('the oracle is\\ndown')\n"
    )
    for name in ("adenines", "slow", "broken"):
        arguments = {"function": f"own_reward.{name}", "each": True, "name": name}
        config = {"class_path": "gendesign.rewards.base.FunctionReward", "init_args": arguments}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.delitem(sys.modules, "own_reward", raising=False)
    return tmp_path


def words(backbone: Path, *more: str, reward: str = "adenines.yaml") -> list[str]:
    small = [
        "num_designs=6",
        "base_designs=6",
        "steps=6",
        "steering.candidates=3",
        "steering.alpha=0.5",
        "device=cpu",
    ]
    return [f"backbone={backbone}", f"reward={reward}", *small, *more, "--trust", "own_reward"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error; exit code 2, nothing else on standard error but progress."""
    code, _, err = run(capsys, *arguments)
    assert code == 2, err
    lines = [line for line in err.splitlines() if line]
    assert lines[-1].startswith("error: ") and "Traceback" not in err
    return lines[-1]


def test_design_writes_everything(work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "design", *words(backbone, "out=my run=1", "template=ACG*********"))
    assert code == 0, err
    folder = work / "my run=1"
    rows = list(csv.DictReader((folder / "designs.csv").open()))
    assert len(rows) == 6 and all(
        row["design"].startswith("ACG") and len(row["design"]) == LENGTH for row in rows
    )
    assert all(
        float(row["adenines"]) == row["design"].count("A") and row["adenines_status"] == "OK" for row in rows
    )
    assert (folder / "designs.fasta").read_text().count(">") == 6
    page = (folder / "report.html").read_text()
    assert "<html" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert json.loads((folder / "summary.json").read_text())["num_designs"] == 6
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (
        config["steering"]["init_args"]["candidates"] == 3
        and config["template"] == "ACG*********"
        and config["seed"] == 0
    )
    assert "adenines: median" in out and "report.html" in out
    assert "steered designs: 100%" in err and "network evaluations" in err and "reward calls" in err


def test_the_written_configuration_repeats_the_run(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "design", *words(backbone, "out=a", "seed=5"), "--quiet")[0] == 0
    code, _, err = run(capsys, "design", "a/config.yaml", "out=b", "--quiet", "--trust", "own_reward")
    assert code == 0, err
    assert (work / "a/designs.csv").read_text() == (work / "b/designs.csv").read_text()
    code, _, err = run(
        capsys, "design", "a/config.yaml", "out=c", "steering=unsteered", "--quiet", "--trust", "own_reward"
    )
    assert code == 0, err
    assert (work / "a/designs.csv").read_text() != (work / "c/designs.csv").read_text()


@pytest.mark.whole
def test_an_existing_folder_is_never_overwritten(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["design", *words(backbone, "out=a"), "--quiet"]
    assert run(capsys, *command)[0] == 0
    before = {path: path.read_bytes() for path in (work / "a").rglob("*") if path.is_file()}
    assert "--resume" in fails(capsys, *command)
    assert before == {path: path.read_bytes() for path in (work / "a").rglob("*") if path.is_file()}
    assert "other settings" in fails(capsys, *command, "seed=1", "--resume")
    assert run(capsys, *command, "--resume")[0] == 0
    assert before[work / "a/designs.csv"] == (work / "a/designs.csv").read_bytes()
    (work / "notes").mkdir()
    (work / "notes/todo.txt").write_text("mine")
    assert "not empty" in fails(capsys, "design", *words(backbone, "out=notes"))
    assert "not empty" in fails(capsys, "design", *words(backbone, "out=notes"), "--resume")
    (work / "file").write_text("")
    assert "file" in fails(capsys, "design", *words(backbone, "out=file"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_without_write_permission(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "locked").mkdir(mode=0o500)
    assert "cannot write" in fails(capsys, "design", *words(backbone, "out=locked/run"))


def test_output_that_cannot_be_written(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "file").write_text("")
    assert "cannot" in fails(capsys, "design", *words(backbone, "out=file/below"))
    assert "cannot write" in fails(capsys, "design", *words(backbone, "out=/proc/no/such"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([GEN, "--version"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "No space left" in done.stderr


@pytest.mark.whole
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["steering.alpha=0"], "alpha"),
        (["steering.alpha=-1"], "alpha"),
        (["steering.candidates=0"], "candidates"),
        (["num_designs=0"], "num_designs"),
        (["steps=0"], "steps"),
        (["template=ACGT"], "template of 12"),
        (["template=ACGU********"], "got 'U'"),
        (["steering=svd"], "did you mean 'svdd'"),
        (["num_design=3"], "did you mean 'num_designs'"),
        (["reward.kappa=3"], "no argument 'kappa'"),
        (["backbone=no/such"], "no/such"),
        (["device=gpu"], "device must be"),
        (["device=meta"], "cannot be used here"),
        (["device=cuda:99"], "device=cuda:99, but PyTorch sees"),
        (["--colour"], "--colour"),
        (["seed=-1"], "seed"),
    ],
)
def test_wrong_words(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert message in fails(capsys, "design", *words(backbone), "--quiet", *more)
    assert not (work / "outputs").exists()


def test_verbs_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert "desing" in fails(capsys, "desing")
    assert "name of a table" in fails(capsys, "data", "get")
    assert "did you mean 'yeast_native_promoters_1011'" in fails(
        capsys, "data", "get", "yeast_native_promoter_1011"
    )


def test_untrusted_code_is_refused(work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(
        capsys, "design", *[word for word in words(backbone) if word not in ("--trust", "own_reward")]
    )
    assert "--trust own_reward" in line
    (work / "evil.yaml").write_text("class_path: os.system\ninit_args: {command: touch hacked}\n")
    assert "os.system" in fails(capsys, "design", *words(backbone, reward="evil.yaml"))
    assert not (work / "hacked").exists()


@pytest.mark.parametrize("damage", ["cut", "changed", "pickle", "command", "process", "missing"])
def test_a_damaged_or_hostile_backbone(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    folder = work / "other"
    shutil.copytree(backbone, folder)
    weights, config = folder / "model.safetensors", folder / "config.yaml"
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "changed":
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    elif damage == "pickle":
        torch.save({"weight": torch.zeros(2)}, weights)
    elif damage == "command":
        evil = {"class_path": "os.system", "init_args": {"command": f"touch {work / 'hacked'}"}}
        config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"denoiser": evil}))
    elif damage == "process":
        other = {"class_path": "gendesign.codecs.ProteinCodec", "init_args": {"length": LENGTH}}
        config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"codec": other}))
    else:
        weights.unlink()
    line = fails(capsys, "design", *words(folder))
    expected = {"command": "os.system", "process": "tokens", "missing": "has no model.safetensors"}
    assert expected.get(damage, "model.safetensors") in line
    assert not (work / "hacked").exists() and not (work / "outputs").exists()


def test_a_reward_that_always_fails_is_said(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "design", *words(backbone, "out=a", reward="broken.yaml"), "--quiet")
    assert code == 2 and "no design could be scored" in err and "the oracle is" in err  # and yet all is kept
    assert (work / "a/report.html").exists()
    assert "6 without a score" in out
    rows = list(csv.DictReader((work / "a/designs.csv").open()))
    assert {row["broken_status"] for row in rows} == {"FAILED"} and {row["broken"] for row in rows} == {""}


def test_check_runs_nothing_and_writes_nothing(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "check", *words(backbone, "num_designs=1000"))
    assert code == 0, err
    # 1000 designs, 3 candidates, 6 steps, and 6 base designs: at most this many
    assert "network evaluations" in out and "reward calls" in out and "2 OK" in out
    assert not list(work.glob("outputs*"))
    code, out, _ = run(capsys, "check", *words(backbone, reward="broken.yaml"))
    assert code == 0 and "2 FAILED: RuntimeError: the oracle is" in out
    assert "template" in fails(capsys, "check", *words(backbone, "template=AC"))


def test_score_a_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "s.fasta").write_bytes(b">one first\r\nAAC\r\nGT\r\n>two\r\nNAN\r\n")
    code, out, err = run(capsys, "score", "s.fasta", "reward=adenines.yaml", "--trust", "own_reward")
    rows = list(csv.DictReader(out.splitlines()))
    assert code == 0 and "2 sequences: 2 OK" in err
    assert [(r["id"], r["design"], r["adenines"], r["status"]) for r in rows] == [
        ("one", "AACGT", "2", "OK"),
        ("two", "NAN", "1", "OK"),
    ]
    with gzip.open(work / "s.csv.gz", "wt") as file:
        file.write("name,dna\nx,AAAA\ny,CC\n")
    table = [
        "score",
        "s.csv.gz",
        "reward=adenines.yaml",
        "--trust",
        "own_reward",
        "--column",
        "dna",
        "out=o.csv",
    ]
    assert run(capsys, *table)[0] == 0
    assert [row["adenines"] for row in csv.DictReader((work / "o.csv").open())] == ["4", "0"]
    assert "exists" in fails(capsys, *table)


def test_score_with_a_saved_reward(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parents[2] / "rewards/pretrained/dna-expression"
    (work / "s.csv").write_text("sequence\n" + "ACGT" * 20 + "\n")
    assert "heads complex, defined" in fails(capsys, "score", "s.csv", f"reward={folder}", "device=cpu")


def test_score_molecules_over_processes_and_from_a_cache(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "m.csv").write_text("name,smiles\na,OCC\nb,C.C\nc,CCO\n")
    plain = run(capsys, "score", "m.csv", "reward=qed")
    words = ["score", "m.csv", "reward=qed", "--processes", "1", "--cache", str(work / "kept")]
    assert plain[0] == 0 and plain[1].count("0.406808") == 2
    assert run(capsys, *words)[:2] == plain[:2] == run(capsys, *words)[:2]
    assert len(list((work / "kept").glob("qed-*.sqlite"))) == 1
    assert "processes must be" in fails(capsys, "score", "m.csv", "reward=qed", "--processes", "0")
    assert "does not say its version" in fails(
        capsys, "score", "m.csv", "reward=adenines.yaml", "--trust", "own_reward", "--cache", "kept"
    )


def test_score_keeps_statuses_in_their_rows(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "s.csv").write_text("sequence\nACGT\nACGN\nGGGG\n")
    (work / "gc.yaml").write_text("class_path: gendesign.rewards.dna.GCContent\n")
    code, out, err = run(capsys, "score", "s.csv", "reward=gc.yaml")
    assert code == 0 and "2 OK, 1 INVALID" in err
    rows = list(csv.reader(out.splitlines()))[1:]
    assert [row[2] for row in rows] == ["0.5", "", "1"] and [row[4] for row in rows] == [
        "OK",
        "INVALID",
        "OK",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.fasta", b"", "no rows"),
        ("not.csv.gz", b"sequence\nACGT\n", "not gzip"),
        ("cut.csv.gz", gzip.compress(b"sequence\n" + b"ACGT\n" * 999, mtime=0)[:-20], "cut short"),
        ("missing.csv", None, "no such file"),
        ("other.csv", b"dna\nACGT\n", "no column 'sequence'"),
        ("what.docx", b"x", "format"),
    ],
)
def test_score_bad_files(
    work: Path, capsys: pytest.CaptureFixture[str], name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (work / name).write_bytes(content)
    assert message in fails(capsys, "score", name, "reward=adenines.yaml", "--trust", "own_reward")


def test_score_takes_only_what_it_uses(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "give reward=NAME" in fails(capsys, "score", "x.fasta")  # no reward goes without saying
    assert "num_designs=3" in fails(capsys, "score", "x.fasta", "reward=adenines.yaml", "num_designs=3")


def test_data_from_a_mirror(
    work: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gendesign.data.table_sources import TABLES

    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    monkeypatch.delenv("GENDESIGN_DATA", raising=False)
    name = "yeast_random_promoters_dream2022_demo"
    source = TABLES[name].sources[0]
    file = work / "mirror" / source.repo / source.commit / source.path
    file.parent.mkdir(parents=True)
    file.write_text("TGCATTTTTTTCACATCACGT\t3\nACNG\t1\n")
    assert "gendesign data get" in fails(capsys, "data", "path", name)
    code, out, err = run(capsys, "data", "get", name, "--mirror", (work / "mirror").as_uri())
    assert code == 0 and "demo_train.txt" in err
    assert (
        gzip.decompress(Path(out.strip()).read_bytes()) == b"sequence,expression\nTGCATTTTTTTCACATCACGT,3.0\n"
    )
    assert run(capsys, "data", "path", name)[1] == out
    assert out.strip() in run(capsys, "data", "list")[1]


@pytest.mark.whole
def test_progress_on_a_terminal(work: Path, backbone: Path) -> None:
    pty = pytest.importorskip("pty")
    leader, follower = pty.openpty()
    command = [GEN, "design", *words(backbone, "out=a")]
    environment = {**os.environ, "COLUMNS": "120", "TERM": "xterm"}
    process = subprocess.Popen(command, cwd=work, stdout=subprocess.DEVNULL, stderr=follower, env=environment)
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:  # the other side has closed
        pass
    assert process.wait(timeout=120) == 0, shown
    assert b"steered designs" in shown and b"100%" in shown and b"network evaluations" in shown


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "list")
    assert code == 0
    for name in (
        "medium-specific",
        "backbones:",
        "rewards:",
        "svdd",
        "best_of_n",
        "yeast_native_promoters_1011",
    ):
        assert name in out


def test_debug_shows_the_traceback(work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "design", *words(backbone, "steps=0"), "--debug")
    assert code == 2 and "Traceback" in err and err.splitlines()[-1].startswith("error: ")


def test_an_unexpected_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gendesign.command import verbs

    def fail(arguments: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(verbs, "list_verb", fail)
    code, _, err = run(capsys, "list")
    assert code == 1 and err == "error: unexpected ZeroDivisionError: by zero (--debug shows where)\n"


def test_the_settings_are_those_of_design() -> None:
    from gendesign.run import design

    parameters = inspect.signature(design).parameters
    assert set(SETTINGS) - {"device"} <= set(parameters)
    known = {"backbone", "reward", "heldout", "steering", "resume", "progress", "config"}
    assert set(parameters) - known <= set(SETTINGS)


def start(work: Path, backbone: Path) -> subprocess.Popen[str]:
    """A slow run of several blocks, caught when the first block is on disk."""
    command = [GEN, "design", *words(backbone, "num_designs=160", "out=run", reward="slow.yaml"), "--quiet"]
    process = subprocess.Popen(
        command, cwd=work, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    for _ in range(600):
        if list((work / "run").glob("blocks/steered-*.json")) or process.poll() is not None:
            break
        time.sleep(0.1)
    assert process.poll() is None, process.stderr.read() if process.stderr else ""
    return process


@pytest.mark.whole
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_run_resumes_to_the_same_designs(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str], number: signal.Signals, code: int
) -> None:
    process = start(work, backbone)
    process.send_signal(number)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == code
    if number == signal.SIGINT:
        assert err.startswith("error: interrupted") and err.count("\n") == 1
        return  # what is on disk is the same, however it was stopped
    again = words(backbone, "num_designs=160", reward="slow.yaml")
    for folder, more in (("run", ["--resume"]), ("whole", [])):
        code, _, err = run(capsys, "design", *again, f"out={folder}", "--quiet", *more)
        assert code == 0, err
    assert (work / "run/designs.csv").read_text() == (work / "whole/designs.csv").read_text()


@pytest.mark.parametrize(
    ("verb", "left"),
    [
        ("design", "on disk, and --resume continues"),
        ("fit", "on disk, and the same command continues"),
        ("score", "no result was written"),
        ("check", "no result was written"),
    ],
)
def test_ctrl_c_says_what_is_left(
    verb: str, left: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(words: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gendesign.cli._run", stopped)
    code, out, err = run(capsys, verb)
    assert code == 130 and out == "" and err.startswith("error: interrupted") and left in err


@pytest.mark.whole
def test_python_m_gendesign_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gendesign", "design", "num_designs=many"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "error: num_designs must be a whole number, got 'many'"

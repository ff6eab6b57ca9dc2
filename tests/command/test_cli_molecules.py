"""The command line with molecules: from words to drawings, and files of SMILES and records as users have them."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from rdkit import Chem

from gendesign import cli
from gendesign.backbone import Backbone
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.files.designs import names_file
from gendesign.files.molecules import encode_sdf
from gendesign.models.transformer import TransformerDenoiser
from gendesign.molecules.chemistry import canonical
from gendesign.molecules.codec import MoleculeCodec

KNOWN = ["CC(=O)Nc1ccc(O)cc1", "CN(C)CCOC(c1ccccc1)c1ccccc1", "C[C@H](N)C(=O)O", "O=C([O-])c1ccncc1"]
SMALL = (
    "num_designs=5",
    "base_designs=4",
    "steps=5",
    "steering.candidates=3",
    "steering.alpha=0.05",
    "device=cpu",
)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained backbone of molecules."""
    folder = tmp_path_factory.mktemp("backbone") / "molecules"
    codec = MoleculeCodec.learn(KNOWN)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TransformerDenoiser(codec.vocab_size, width=16, depth=1, num_heads=2)
        Backbone(codec, MaskedDiffusion(codec.vocab_size), network).save_pretrained(folder)
    return folder


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(list(words))
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.mark.whole
def test_molecules_from_words_to_drawings(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "design", f"backbone={backbone}", "reward=qed", *SMALL, "out=a")
    assert code == 0, err
    assert (
        "qed: median" in out
        and "a/designs.sdf" in out
        and re.search(r"naturalness: median -\S+ .*nats a token", out)
    )
    assert "steered designs: 100%" in err
    rows = list(csv.DictReader((work / "a/designs.csv").open()))
    assert len(rows) == 5 and all(row["design"] == row["smiles"] for row in rows)
    good = [row for row in rows if row["qed_status"] == "OK"]
    assert good and all(canonical(row["smiles"]) == row["smiles"] for row in good)
    records = list(Chem.SDMolSupplier("a/designs.sdf"))
    assert [Chem.MolToSmiles(mol) for mol in records] == [row["smiles"] for row in good]
    assert [float(mol.GetProp("qed")) for mol in records] == [float(row["qed"]) for row in good]
    page = (work / "a/report.html").read_text()
    assert page.count('<svg class="mol"') >= 2 * len(good) and "nats a token" in page
    assert json.loads((work / "a/summary.json").read_text())["num_designs"] == 5
    assert yaml.safe_load((work / "a/config.yaml").read_text())["heldout"] is None
    words = ["design", f"backbone={backbone}", "reward=qed", *SMALL, "out=a", "--quiet"]
    assert run(capsys, *words)[0] == 2  # nothing is overwritten


def test_leads_are_read_from_files_of_molecules(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (work / "leads.smi").write_bytes(b"c1cc(O)ccc1NC(C)=O lead one\r\nOC(=O)[C@H](C)N lead two\r\n")
    words = ["design", f"backbone={backbone}", "reward=qed", *SMALL, "remask=1", "--quiet"]
    code, _, err = run(capsys, *words, "start=leads.smi", "out=a")
    assert code == 0, err
    rows = list(csv.DictReader((work / "a/designs.csv").open()))
    assert {row["start"] for row in rows} == {canonical(KNOWN[0]), canonical(KNOWN[2])}
    assert all(0 <= float(row["similarity_to_start"]) <= 1 for row in rows if row["smiles"])
    (work / "bad.smi").write_text("CC(=O)Nc1ccc(O)cc1\nCC(=O)[O-].[Na+] a salt\n")
    code, _, err = run(capsys, *words, "start=bad.smi", "out=b")
    assert code == 2 and "design 2 of 2" in err and "2 fragments" in err and not (work / "b").exists()
    code, _, err = run(capsys, *words, "start=CC(=O)[O-].[Na+]", "out=b")
    assert code == 2 and "2 fragments" in err


def test_what_names_a_file(work: Path) -> None:
    assert (
        not names_file("")
        and not names_file("C" * 5000)
        and not names_file("F/C=C/F")
        and not names_file("CC(=O)[O-].[Na+]")
    )
    assert names_file("leads.smi") and names_file("a/leads.SDF") and names_file("leads.csv.gz")
    (work / "CCO").mkdir()
    assert names_file("CCO")


def test_files_of_molecules_are_scored_row_by_row(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["OCC", "CCO", "CC(=O)[O-].[Na+]", "C1CC", "C" * 1500, "c1ccccc1C"]
    (work / "a.smi").write_bytes("".join(f"{smiles} m{i}\r\n" for i, smiles in enumerate(given)).encode())
    code, out, err = run(capsys, "score", "a.smi", "reward=qed")
    assert code == 0 and "6 molecules: 3 OK, 3 INVALID" in err, err
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["id"] for row in rows] == [f"m{i}" for i in range(6)]
    assert [row["design"] for row in rows[:4]] == ["CCO", "CCO", given[2], given[3]] and rows[5][
        "design"
    ] == "Cc1ccccc1"
    assert rows[0]["qed"] == rows[1]["qed"] != "" and [row["qed"] for row in rows[2:5]] == ["", "", ""]
    assert "2 fragments" in rows[2]["message"] and "at most" in rows[4]["message"]
    (work / "a.sdf").write_bytes(encode_sdf(["CCO", "Cc1ccccc1"], ["a", "b"], [{}, {}]))
    code, out, _ = run(capsys, "score", "a.sdf", "reward=qed", "out=scores.csv")
    read = list(csv.DictReader((work / "scores.csv").open()))
    assert code == 0 and [row["qed"] for row in read] == [rows[0]["qed"], rows[5]["qed"]]
    (work / "a.csv").write_text("name,Smiles\nx,OCC\n")
    assert "CCO" in run(capsys, "score", "a.csv", "reward=qed")[1]
    (work / "none.smi").write_text("C1CC\n")
    code, _, err = run(capsys, "score", "none.smi", "reward=qed")
    assert code == 2 and "none of the molecules could be scored" in err


def test_check_and_list_know_molecules(
    work: Path, backbone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "check", f"backbone={backbone}", "reward=qed", *SMALL, "out=a")
    assert code == 0 and "reward: qed [QED]; two rough designs" in out, err
    code, out, _ = run(capsys, "list")
    assert code == 0 and re.search(r"\n  qed +\S", out) and re.search(r"\n  zinc250k_properties +\S", out)

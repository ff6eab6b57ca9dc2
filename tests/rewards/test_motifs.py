"""Motif scores against values worked out by hand, both strands, and files of each format."""

import gzip
from math import log2
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gendesign.codecs import DNACodec
from gendesign.errors import ConfigError, DataError
from gendesign.rewards import MaxMotifScore, MotifCount, Status, motifs
from gendesign.rewards.catalog import build_reward

MEME = """MEME version 4

ALPHABET= ACGT

Background letter frequencies
A 0.25 C 0.25 G 0.25 T 0.25

MOTIF M1 first
letter-probability matrix: alength= 4 w= 2 nsites= 8 E= 0
0.75 0.00 0.25 0.00
0.00 1.00 0.00 0.00

MOTIF M2 second
letter-probability matrix: alength= 4 w= 3 nsites= 4 E= 0
1.0 0.0 0.0 0.0
1.0 0.0 0.0 0.0
1.0 0.0 0.0 0.0
"""
TRANSFAC = """\
AC M1.1
XX
ID first
XX
PO\tA\tC\tG\tT
01\t6.0\t0.0\t2.0\t0.0
02\t0.0\t8.0\t0.0\t0.0
XX
CC tax_group:none
XX
//
AC  M2.1
ID  second
P0      A      C      G      T
01      4      0      0      0      A
//
"""
JASPAR = ">M1.1 first\nA [6 0]\nC [0 8]\nG [2 0]\nT [0 0]\n"

# counts (A 6, G 2), (C 8) of 8 sites, pseudocount 1, uniform background: (n + 1/4) / 9 against 1/4
A1, G1, C2, NONE = (log2((n + 0.25) / 9 / 0.25) for n in (6, 2, 8, 0))


@pytest.fixture()
def meme(tmp_path: Path) -> str:
    path = tmp_path / "motifs.meme"
    path.write_text(MEME)
    return str(path)


def test_scores_worked_out_by_hand(meme: str) -> None:
    forward = MaxMotifScore(meme, motif="M1", both_strands=False)
    np.testing.assert_allclose(
        forward(["AC", "GC", "TT", "TTACT"]).values, [A1 + C2, G1 + C2, 2 * NONE, A1 + C2]
    )
    # GT is AC on the other strand
    assert forward(["GT"]).values[0] < 0
    np.testing.assert_allclose(MaxMotifScore(meme, motif="M1")(["GT", "TTGTT"]).values, A1 + C2)


def test_background_and_pseudocount_enter(meme: str) -> None:
    background = {"A": 0.4, "C": 0.1, "G": 0.1, "T": 0.4}
    reward = MaxMotifScore(meme, motif="first", background=background, pseudocount=2.0, both_strands=False)
    np.testing.assert_allclose(reward(["AC"]).values, log2(6.8 / 10 / 0.4) + log2(8.2 / 10 / 0.1))


def test_counting_sites_on_both_strands(meme: str) -> None:
    threshold = A1 + C2
    assert MotifCount(meme, motif="M1", threshold=threshold)(["ACAC", "ACGT", "TTTT"]).values.tolist() == [
        2,
        2,
        0,
    ]
    forward = MotifCount(meme, motif="M1", threshold=threshold, both_strands=False)
    assert forward(["ACAC", "ACGT"]).values.tolist() == [2, 1]
    assert MotifCount(meme, motif="M1", relative=0.5, both_strands=False)(["GCAC"]).values.tolist() == [2]


def test_designs_of_different_lengths_do_not_disturb_each_other(meme: str) -> None:
    designs = ["AC", "TTTTTTAC", "TTT"]
    together = MaxMotifScore(meme, motif="M1")(designs).values
    alone = [MaxMotifScore(meme, motif="M1")([design]).values[0] for design in designs]
    np.testing.assert_allclose(together, alone)


def test_a_design_shorter_than_the_motif_is_invalid(meme: str) -> None:
    scores = MaxMotifScore(meme, motif="M2")(["AA", "AAA"])
    assert list(scores.status) == [Status.INVALID, Status.OK]


def test_relaxed_equals_score_on_one_hots(meme: str) -> None:
    reward = MaxMotifScore(meme, motif="M1")
    designs = ["ACGT", "TTGC", "GGGG"]
    x = torch.nn.functional.one_hot(DNACodec(4).encode(designs), 4).double().requires_grad_()
    relaxed = reward.relaxed(x)
    np.testing.assert_allclose(relaxed.detach().numpy(), reward(designs).values, atol=1e-5)
    gradient = torch.autograd.grad(relaxed.sum(), x)[0]
    assert gradient.isfinite().all() and gradient.abs().sum() > 0
    assert reward.differentiable and not MotifCount(meme, motif="M1").differentiable


def test_formats_agree(meme: str, tmp_path: Path) -> None:
    (tmp_path / "m.jaspar").write_text(JASPAR)
    (tmp_path / "m.transfac").write_text(TRANSFAC)
    with gzip.open(tmp_path / "m.meme.gz", "wt") as handle:
        handle.write(MEME.replace("\n", "\r\n"))
    wanted = MaxMotifScore(meme, motif="M1").log_odds
    files = (("m.jaspar", ""), ("m.jaspar", "first"), ("m.meme.gz", "M1 first"), ("m.transfac", "first"))
    for path, motif in (*files, ("m.transfac", "M1.1"), ("m.transfac", "M1.1 first")):
        torch.testing.assert_close(MaxMotifScore(str(tmp_path / path), motif=motif).log_odds, wanted)
    assert MaxMotifScore(str(tmp_path / "m.transfac"), motif="second").label == "motif M2.1 second"


def test_a_motif_in_yaml_names_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of the module's documentation, with a table of `gendesign data` in its place."""
    (tmp_path / "motifs").mkdir()
    with gzip.open(tmp_path / "motifs/jaspar2024_core_vertebrates_transfac.transfac.gz", "wt") as handle:
        handle.write(TRANSFAC.replace("first", "TBP"))
    monkeypatch.setattr(
        "gendesign.data.tables.locate", lambda name: next((tmp_path / "motifs").glob(f"{name}.*"))
    )
    text = (
        "class_path: gendesign.rewards.MotifCount\n"
        "init_args: {path: data:jaspar2024_core_vertebrates_transfac, motif: TBP, relative: 0.85}"
    )
    assert text.splitlines()[1] in str(motifs.__doc__)
    reward = build_reward(yaml.safe_load(text))
    assert reward(["acacTTTT", "GGGGGGGG"]).values.tolist() == [2.0, 0.0]


def test_shipped_motifs_of_yeast_are_named_as_a_file_is() -> None:
    reward = MaxMotifScore("jaspar2024-yeast", motif="REB1")
    site, other = reward(["TTTTACCCGTTTT", "TTTTAACCGTTTT"]).values  # Reb1 binds TTACCCG
    assert site > 9 > 5 > other and reward.name == "motif MA0363.3 REB1"
    folder = motifs.SHIPPED
    notes = (folder / "README.md").read_text()
    for file in folder.glob("*.jaspar"):
        assert f"`{file.stem}`" in notes and "CC BY 4.0" in notes


def test_log_odds_of_all_motifs_of_a_file(meme: str, tmp_path: Path) -> None:
    (tmp_path / "m.jaspar").write_text(
        ">M1 first\nA [6 0]\nC [0 4]\nG [2 0]\nT [0 0]\n>M2 second\nA [1]\nC [0]\nG [0]\nT [1]\n"
    )
    first, second = motifs.read_log_odds(str(tmp_path / "m.jaspar"), share=0.1)
    # columns of 8 and of 4 counts have the same share of the background
    expected = [log2((0.9 * p + 0.1 / 4) * 4) for p in (0.75, 0.0, 0.25, 0.0)]
    torch.testing.assert_close(first[0], torch.tensor(expected, dtype=torch.float64))
    assert float(first[1, 1]) == pytest.approx(log2((0.9 + 0.1 / 4) * 4))
    assert second.shape == (1, 4) and float(second[0, 3]) == pytest.approx(log2((0.45 + 0.1 / 4) * 4))
    shipped = motifs.read_log_odds("jaspar2024-yeast")
    assert len(shipped) == 169 and all(bool(motif.isfinite().all()) for motif in shipped)


def test_files_that_cannot_be_used(meme: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no motif 'M3'.*M1"):
        MaxMotifScore(meme, motif="M3")
    with pytest.raises(DataError, match="2 motifs; name one"):
        MaxMotifScore(meme)
    with pytest.raises(DataError, match="cannot read"):
        MaxMotifScore(str(tmp_path / "missing.meme"))
    (tmp_path / "fake.meme.gz").write_text(MEME)
    with pytest.raises(DataError, match="cannot read"):
        MaxMotifScore(str(tmp_path / "fake.meme.gz"))
    (tmp_path / "other.txt").write_text("hello")
    with pytest.raises(DataError, match="other.txt is neither a MEME"):
        MaxMotifScore(str(tmp_path / "other.txt"))
    with pytest.raises(DataError, match="cannot read .*jaspar2024-yeats.*; shipped: jaspar2024-yeast"):
        motifs.read_log_odds("jaspar2024-yeats")


@pytest.mark.parametrize("background", [{"A": 1.0}, {"A": 0.5, "C": 0.5, "G": 0.5, "T": 0.5}])
def test_a_background_must_be_a_distribution(meme: str, background: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="background"):
        MaxMotifScore(meme, motif="M1", background=background)


def test_a_pseudocount_must_be_positive(meme: str) -> None:
    with pytest.raises(ConfigError, match="pseudocount"):
        MaxMotifScore(meme, motif="M1", pseudocount=0.0)


def test_a_name_of_several_motifs_is_not_guessed(tmp_path: Path) -> None:
    """Matrix files hold versions of one factor's motif."""
    first = ">MA1.1 FOO\nA [9 0]\nC [0 9]\nG [0 0]\nT [0 0]\n"
    (tmp_path / "m.jaspar").write_text(first + first.replace("MA1.1", "MA2.1").replace("9", "5"))
    path = str(tmp_path / "m.jaspar")
    with pytest.raises(DataError, match="2 motifs 'FOO': MA1.1 FOO, MA2.1 FOO; name one in full"):
        motifs.read_motif(path, "FOO")
    assert motifs.read_motif(path, "MA1.1")[0] == "MA1.1 FOO" and motifs.read_motif(path, "MA2.1 FOO")

"""Public tables: the rebuild from a mirror of synthetic sources, checksums, and the definition of `group`."""

import dataclasses
import gzip
import hashlib
import http.server
import itertools
import os
import re
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gendesign.data import table_sources, tables
from gendesign.data.table_sources import FLANKS, TABLES, components
from gendesign.errors import ConfigError, DataError, OutputError

LETTERS = np.array(list("ACGT"))


def random_dna(length: int, seed: int) -> str:
    return "".join(LETTERS[np.random.default_rng(seed).integers(0, 4, length)])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GENDESIGN_DATA", raising=False)
    return tmp_path / "cache" / "gendesign"


def put(mirror: Path, source: table_sources.Source, content: bytes) -> None:
    path = mirror / source.repo / source.commit / source.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Sources laid out as on GitHub, with synthetic rows."""
    root = tmp_path / "mirror"
    a, b = random_dna(80, 1), random_dna(80, 2)
    near = a[:40] + random_dna(40, 3)  # shares 20-mers with a
    native = [("YBL001C.2", b, 4), ("YAL001C.2", a, 1), ("YAL001C.2", near, 7), ("YAL002W.2", "N" + a[1:], 1)]
    text = "".join(f"{gene}\t{sequence}\t{count}\n" for gene, sequence, count in native)
    put(root, TABLES["yeast_native_promoters_1011"].sources[0], gzip.compress(text.encode()))
    for i, source in enumerate(TABLES["yeast_promoters_vaishnav2022"].sources):
        left, right = FLANKS
        rows = [
            left + a + right,
            "NN" + left + near[:78] + right,
            left + a + right,
            left + random_dna(80, 50 + i) + right,
        ]
        lines = [f"{j},{row},{2.0 * j + 1},0.0" for j, row in enumerate(rows)]
        put(
            root,
            source,
            "\r\n".join([",sequence,Measured Expression,Predicted Expression", *lines, ""]).encode(),
        )
    return root


def brute_force(sequences: list[str], k: int) -> list[int]:
    """Components by repeated merging of sets: slow and obvious."""
    words = [{s[i : i + k] for i in range(len(s) - k + 1)} or {"short " + s} for s in sequences]
    group = list(range(len(sequences)))
    changed = True
    while changed:
        changed = False
        for i, j in itertools.combinations(range(len(sequences)), 2):
            if words[i] & words[j] and group[i] != group[j]:
                old, new = max(group[i], group[j]), min(group[i], group[j])
                group = [new if g == old else g for g in group]
                changed = True
    return group


@pytest.mark.parametrize("seed", range(5))
def test_components_agree_with_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sequences = ["".join(LETTERS[rng.integers(0, 4, rng.integers(3, 12))]) for _ in range(60)]
    ours, slow = components(sequences, k=6).tolist(), brute_force(sequences, 6)
    assert len(set(ours)) == len(set(slow)) == len(set(zip(ours, slow, strict=True)))
    assert set(ours) == set(range(len(set(ours))))


def test_components_follow_a_chain_backwards() -> None:
    text = random_dna(400, 9)
    windows = [text[i : i + 25] for i in range(370, -1, -5)]  # each shares exactly one 20-mer with the next
    assert set(components(windows).tolist()) == {0}
    assert components([]).shape == (0,)


@pytest.mark.skipif("GENDESIGN_DATA" not in os.environ, reason="needs the tables on disk")
def test_group_of_the_native_table_on_disk() -> None:
    frame = pd.read_csv(tables.locate("yeast_native_promoters_1011"))
    pairs = sorted(set(zip(components(frame["sequence"].tolist()).tolist(), frame["group"], strict=True)))
    assert len(pairs) == frame["group"].nunique() == len({ours for ours, _ in pairs})
    # whole groups are missing in that file, so the numbers differ, but never their order: `always_train` stays valid
    assert [theirs for _, theirs in pairs] == sorted(theirs for _, theirs in pairs)


def test_native_promoters_from_a_mirror(cache: Path, mirror: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    path = tables.get(
        "yeast_native_promoters_1011", mirror=mirror.as_uri(), progress=lambda *a: seen.append(a)
    )
    assert (
        path
        == cache / "dna/yeast_native_promoters_1011.csv.gz"
        == tables.locate("yeast_native_promoters_1011")
    )
    frame = pd.read_csv(path)
    assert list(frame.columns) == ["gene_promoter", "sequence", "num_isolates", "group"]
    assert frame["gene_promoter"].tolist() == [
        "YAL001C.2",
        "YAL001C.2",
        "YBL001C.2",
    ]  # sorted; the N row is dropped
    assert sorted(frame["num_isolates"]) == [1, 4, 7]
    assert frame["group"].tolist() == [0, 0, 1]  # in the order of rows
    assert seen and seen[-1][1] == seen[-1][2]
    assert not list(path.parent.glob(".get-*")), "temporary files are left behind"
    assert tables.state("yeast_native_promoters_1011") == str(path)


def test_promoter_assays_from_a_mirror_over_http(cache: Path, mirror: Path) -> None:
    handler = partial(QuietHandler, directory=str(mirror))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        path = tables.get("yeast_promoters_vaishnav2022", mirror=f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()
    frame = pd.read_csv(path)
    assert list(frame.columns) == ["sequence", "library", "medium", "expression", "n_measurements", "group"]
    assert len(frame) == 18 and set(frame["library"]) == {"random", "native", "sswm"}
    twice = frame[frame["n_measurements"] == 2]
    assert len(twice) == 6 and (twice["expression"] == 3.0).all()  # the mean of 1 and 5
    assert not frame["sequence"].str.contains("N").any()
    # a and its near-copy are one group in every library; the six others are alone: flanks do not join them
    assert frame["group"].nunique() == 7 and (frame["group"].value_counts().iloc[0] == 12)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_source_that_changes_is_refused_and_the_table_stays(cache: Path, mirror: Path) -> None:
    name = "yeast_native_promoters_1011"
    path = tables.get(name, mirror=mirror.as_uri())
    before = path.read_bytes()
    assert tables.get(name, mirror=mirror.as_uri()).read_bytes() == before  # the same source passes
    put(mirror, TABLES[name].sources[0], gzip.compress(b"YAL001C.2\t" + b"A" * 80 + b"\t1\n"))
    with pytest.raises(DataError, match="has changed.*delete.*sources.json"):
        tables.get(name, mirror=mirror.as_uri())
    assert path.read_bytes() == before


def test_a_known_checksum_is_verified_at_the_first_download(cache: Path, mirror: Path) -> None:
    name = "jaspar2024_core_vertebrates_transfac"
    put(mirror, TABLES[name].sources[0], b"AC MA0004.1\n//\n")
    with pytest.raises(DataError, match="SHA-256"):
        tables.get(name, mirror=mirror.as_uri())
    with pytest.raises(DataError, match=f"gendesign data get {name}"):
        tables.locate(name)


def test_motifs_become_meme(cache: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, text = (
        "jaspar2024_core_vertebrates",
        "AC MA1.1\nXX\nID Arnt\nXX\nPO\tA\tC\tG\tT\n01\t4.0\t16.0\t0\t0\nXX\n//\n",
    )
    table = TABLES[name]
    source = dataclasses.replace(table.sources[0], sha256=hashlib.sha256(text.encode()).hexdigest())
    monkeypatch.setitem(TABLES, name, dataclasses.replace(table, sources=(source,)))
    put(mirror, source, text.encode())
    meme = gzip.decompress(tables.get(name, mirror=mirror.as_uri()).read_bytes()).decode()
    assert meme.startswith("MEME version 4\n") and "MOTIF MA1.1 Arnt\n" in meme
    assert "w= 1 nsites= 20 E= 0\n0.200000 0.800000 0.000000 0.000000\n" in meme


def test_the_motif_table_on_disk_is_rebuilt_to_the_letter(tmp_path: Path) -> None:
    try:
        counts, meme = (
            tables.locate(n) for n in ("jaspar2024_core_vertebrates_transfac", "jaspar2024_core_vertebrates")
        )
    except DataError:
        pytest.skip("needs the tables on disk")
    (tmp_path / "counts.txt").write_bytes(gzip.decompress(counts.read_bytes()))
    assert TABLES["jaspar2024_core_vertebrates"].rebuild(
        [tmp_path / "counts.txt"]
    ).encode() == gzip.decompress(meme.read_bytes())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a gzip file", "cannot be read"),
        (gzip.compress(b"a b c\n" * 9, mtime=0), "expected columns of gene"),
    ],
)
def test_a_source_that_is_something_else(cache: Path, mirror: Path, content: bytes, message: str) -> None:
    put(mirror, TABLES["yeast_native_promoters_1011"].sources[0], content)
    with pytest.raises(DataError, match=message):
        tables.get("yeast_native_promoters_1011", mirror=mirror.as_uri())
    with pytest.raises(DataError):
        tables.locate("yeast_native_promoters_1011")


def test_errors_name_the_cause(cache: Path, tmp_path: Path, mirror: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'yeast_native_promoters_1011'"):
        tables.locate("yeast_native_promoter_1011")
    with pytest.raises(DataError, match="gendesign data get yeast_native"):
        tables.locate("yeast_native_promoters_1011")
    with pytest.raises(DataError, match="cannot fetch"):
        tables.get("yeast_native_promoters_1011", mirror="http://no such host")
    with pytest.raises(DataError, match="cannot fetch"):
        tables.get("yeast_native_promoters_1011", mirror=(tmp_path / "nowhere").as_uri())
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        tables.get("yeast_native_promoters_1011", mirror=mirror.as_uri(), folder=tmp_path / "file")


def test_the_environment_variable_comes_first(
    cache: Path, tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tables.get("yeast_native_promoters_1011", mirror=mirror.as_uri())
    monkeypatch.setenv("GENDESIGN_DATA", str(tmp_path / "own"))
    assert tables.locate("yeast_native_promoters_1011") == cached
    own = tmp_path / "own/dna/yeast_native_promoters_1011.csv.gz"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"x")
    assert tables.locate("yeast_native_promoters_1011") == own
    table = dataclasses.replace(
        TABLES["yeast_native_promoters_1011"], trained_on=hashlib.sha256(b"x").hexdigest()
    )
    monkeypatch.setitem(TABLES, table.name, table)
    assert "trained on" in tables.state(table.name)


def test_every_source_is_at_a_commit() -> None:
    for name, table in TABLES.items():
        assert name == table.name and table.about and table.licence
        assert all(
            re.fullmatch("[0-9a-f]{12,40}", source.commit) and source.url().startswith("https://")
            for source in table.sources
        )


def test_the_four_sites_of_gb1_from_a_zip(tmp_path: Path) -> None:
    source = pd.DataFrame(
        {
            "Variants": ["VDGV", "ADGV", "A*GV"],
            "HD": [0, 1, 2],
            "Count input": [92735, 34, 5],
            "Count selected": [338346, 43, 0],
            "Fitness": [1.0, 0.06190966, 0.0],
            "sequence": ["", "", ""],
        }
    )
    path = tmp_path / "four_mutations_full_data.csv.zip"
    source.to_csv(path, compression={"method": "zip", "archive_name": "full.csv"})
    text = TABLES["gb1_wu2016_four_site"].rebuild([path])
    assert text == (
        "variant_39_40_41_54,n_mutations,count_input,count_selected,fitness\n"
        "VDGV,0,92735,338346,1.0\nADGV,1,34,43,0.06190966\n"
    )


def test_gfp_variants_are_written_out_counted_from_one_and_without_stop_codons(tmp_path: Path) -> None:
    path = tmp_path / "gfp.tsv"
    head = "aaMutations\tuniqueBarcodes\tmedianBrightness\tstd\n"
    path.write_text(
        head
        + "\t3645\t3.7192121319\t0.10\nSA108D\t1\t1.30103\t\nSS0K:SK237R\t2\t3.5\t0.02\nSC46*\t1\t1.6\t\n"
    )
    with pytest.raises(IndexError):  # the last of 237 positions is number 236, counted from 0
        TABLES["gfp_sarkisyan2016"].rebuild([path])
    path.write_text(
        head
        + "\t3645\t3.7192121319\t0.10\nSA108D\t1\t1.30103\t\nSS0K:SK236R\t2\t3.5\t0.02\nSC46*\t1\t1.6\t\n"
    )
    lines = TABLES["gfp_sarkisyan2016"].rebuild([path]).splitlines()
    assert len(lines) == 4 and lines[1].startswith("WT,0,SKGEELFTG")
    assert lines[2].split(",")[:2] == ["A109D", "1"] and lines[2].endswith(",1.301030,1,")
    mutant = lines[3].split(",")
    assert mutant[0] == "S1K:K237R" and mutant[2][0] == "K" and mutant[2][-1] == "R" and len(mutant[2]) == 237
    path.write_text(head + "SK108D\t1\t1.3\t\n")
    with pytest.raises(ValueError, match="position 109 of avGFP is A"):
        TABLES["gfp_sarkisyan2016"].rebuild([path])

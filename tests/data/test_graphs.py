"""Tables of SMILES as graphs: what is read, refused, split and kept in a cache."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gendesign.errors import ConfigError, DataError

pytest.importorskip("rdkit")

from gendesign.data.graphs import Graphs, MolecularGraphDataModule
from gendesign.molecules.graph_codec import MolecularGraphCodec

CODEC = MolecularGraphCodec(["C", "N", "O"], 8)
GOOD = ["C" * n + end for n in range(1, 7) for end in ("O", "N", "C#N", "C=C")]


def table(path: Path, rows: list[str]) -> Path:
    path.write_text("smiles,other\n" + "".join(f"{row},1\n" for row in rows))
    return path


def module(path: Path, **arguments: Any) -> MolecularGraphDataModule:
    settings = {"val_fraction": 0.2, "test_fraction": 0.2, "batch_size": 4, "eval_batch_size": 4} | arguments
    return MolecularGraphDataModule(
        str(path),
        arguments.pop("codec", CODEC),
        **{key: value for key, value in settings.items() if key != "codec"},
    )


def test_molecules_become_batches(tmp_path: Path) -> None:
    data = module(table(tmp_path / "a.csv", GOOD))
    batch = next(iter(data.train_dataloader()))
    assert batch["x"].shape == (4, CODEC.length) and batch["mask"].all() and batch["targets"].shape == (4, 0)
    assert CODEC.decode(batch["x"]) == [data.smiles[row] for row in batch["row"]]
    sides = {name: set(data.indices(name).tolist()) for name in ("train", "val", "test")}
    assert sum(map(len, sides.values())) == len(GOOD) == len(set().union(*sides.values()))
    assert len(module(tmp_path / "a.csv", eval_rows=2).indices("val")) == 2


def test_stereoisomers_stay_on_one_side(tmp_path: Path) -> None:
    pairs = [f"C[C@H]({'C' * n}O)N" for n in range(2, 5)] + [f"C[C@@H]({'C' * n}O)N" for n in range(2, 5)]
    data = module(table(tmp_path / "a.csv", [*GOOD, *pairs]))
    side = {row: name for name in ("train", "val", "test") for row in data.indices(name).tolist()}
    for row in range(len(GOOD), len(GOOD) + 3):
        assert data.smiles[row] == data.smiles[row + 3] and side[row] == side[row + 3]


def test_bad_rows_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = table(tmp_path / "a.csv", [*GOOD, "CF", "nonsense", "C.C", "C" * 9])
    with caplog.at_level(logging.WARNING):
        assert len(module(path).smiles) == len(GOOD)
    assert "dropped 4 bad rows of 28" in caplog.text and "got F in 'CF'" in caplog.text
    with pytest.raises(DataError, match="4 bad rows"):
        _ = module(path, bad_rows="error").smiles
    with pytest.raises(DataError, match="no usable molecule among 1"):
        _ = module(table(tmp_path / "b.csv", ["F"])).smiles
    with pytest.raises(DataError, match="no column 'nix'"):
        _ = module(path, smiles_column="nix").smiles


def test_a_cache_is_used_until_table_or_codec_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = table(tmp_path / "a.csv", [*GOOD, "CF"]), tmp_path / "deep" / "graphs.npz"
    first = module(path, cache=str(cache))
    wanted = first.collate(np.arange(5))["x"]
    reads: list[Path] = []
    read = Graphs.read.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Graphs], path: Path, codec: MolecularGraphCodec, *, column: str) -> Graphs:
        reads.append(path)
        graphs: Graphs = read(cls, path, codec, column=column)
        return graphs

    monkeypatch.setattr(Graphs, "read", classmethod(counted))
    again = module(path, cache=str(cache))
    assert torch.equal(again.collate(np.arange(5))["x"], wanted) and again.smiles == first.smiles
    assert again.graphs.problems == first.graphs.problems and not reads
    content = cache.read_bytes()
    cache.write_bytes(content[: len(content) // 2])  # as a full disk leaves it
    assert module(path, cache=str(cache)).smiles == first.smiles and len(reads) == 1
    for place in range(60, len(content), 90):  # as a disk that forgets leaves it
        cache.write_bytes(content[:place] + bytes(8) + content[place + 8 :])
        assert module(path, cache=str(cache)).smiles == first.smiles
    reads.clear()
    _ = module(path, cache=str(cache), codec=MolecularGraphCodec(["C", "N", "O", "F"], 8)).smiles
    assert len(reads) == 1
    table(path, GOOD[:10])
    assert len(module(path, cache=str(cache)).smiles) == 10 and len(reads) == 2


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="val_fraction"):
        module(Path("a.csv"), val_fraction=0.9)
    with pytest.raises(ConfigError, match="bad_rows"):
        module(Path("a.csv"), bad_rows="keep")


def test_a_table_whose_every_row_evaluates_trains_nothing(tmp_path: Path) -> None:
    data = module(table(tmp_path / "a.csv", ["CO"]), val_fraction=0.0, test_fraction=0.9)
    with pytest.raises(DataError, match="no training rows"):
        data.indices("train")

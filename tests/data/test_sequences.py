"""Tables of sequences: formats, bad rows, splits without leaks, and batches that are a function of (seed, number)."""

import gzip
import itertools
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gendesign.codecs import DNACodec
from gendesign.data.batching import EvaluationBatches, RowSampler, TrainingStream
from gendesign.data.sequences import SequenceDataModule
from gendesign.errors import ConfigError, DataError
from gendesign.files.sequences import read_rows

CODEC = DNACodec(4)
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(name: str, text: str) -> Path:
        raw = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return tmp_path / name

    return write_file


def data(path: Path, codec: DNACodec = CODEC, **arguments: Any) -> SequenceDataModule:
    return SequenceDataModule(str(path), codec, **{"val_fraction": 0.0, "test_fraction": 0.0, **arguments})


# Formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "id,sequence\n1,ACGT\n2,TTTT\n"),
        ("a.csv", "\ufeffid,sequence\r\n1,ACGT\r\n\r\n2,TTTT\r\n"),
        ("a.csv.gz", "id,sequence\n1,acgt\n2,TTTT\n"),
        ("a.tsv", "id\tsequence\n1\tACGT\n2\tTTTT\n"),
        ("a.fasta", ">1 first\nAC\nGT\n\n>2\nTTTT\n"),
        ("a.fa.gz", ">1 first\r\nAC\r\nGT\r\n>2\r\nTTTT\r\n"),
    ],
)
def test_formats_hold_the_same_sequences(write: Write, name: str, text: str) -> None:
    module = data(write(name, text))
    assert module.sequences == ["ACGT", "TTTT"]
    assert module.column("id") == ["1", "2"]


def test_parquet(tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "a.parquet"
    pd.DataFrame({"sequence": ["ACGT", "TTTT", "ACGN"], "y": [1.5, None, 2.0]}).to_parquet(path)
    module = data(path, target_columns=["y"])
    assert module.sequences == ["ACGT", "TTTT"]
    np.testing.assert_array_equal(module.targets, [[1.5], [math.nan]])
    assert module.table.problems[0][0] == 3 and module.table.unit == "row"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.gz", b"id,sequence\n", "not gzip"),
        ("a.csv.gz", gzip.compress(b"sequence\nACGT\n" * 99, mtime=0)[:-9], "cut short"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"sequence\n", "holds no rows"),
        ("a.csv", b"sequence,sequence\nA,C\n", "same name"),
        ("a.csv", b"sequence\n\xff\xfe\n", "UTF-8"),
        ("a.fasta", b"", "holds no rows"),
        ("a.fasta", b"ACGT\n>1\nACGT\n", "line 1: expected a FASTA header"),
        ("a.parquet", b"PAR1nonsense", "Parquet"),
        ("a.xlsx", b"PK", "cannot tell the format"),
    ],
)
def test_files_that_are_not_what_they_say(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / name)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_rows(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_rows(tmp_path)


def test_a_missing_column_is_named_with_those_that_exist(write: Write) -> None:
    path = write("a.csv", "name,seq\n1,ACGT\n")
    with pytest.raises(DataError, match="no column 'sequence'.*name, seq"):
        _ = data(path).sequences
    with pytest.raises(DataError, match="no column 'family'.*name, seq"):
        data(path, sequence_column="seq", group_column="family").indices("train")


# Bad rows --------------------------------------------------------------------------------------------------------

BAD = "sequence,y,w\nACGT,1,1\nACGX,1,1\n,1,1\nACG,1,1\nAAAA,one,1\nCCCC,inf,1\nGGGG,,0\nTTTT,,2\nACGT\n"


def test_bad_rows_are_counted_and_listed_by_line_then_dropped(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    module = data(write("a.csv", BAD), target_columns=["y"], weight_column="w")
    with caplog.at_level(logging.WARNING):
        assert module.sequences == ["ACGT", "TTTT"]
    assert [line for line, _ in module.table.problems] == [3, 4, 5, 6, 7, 8, 10]
    assert (
        "dropped 7 bad rows of 9" in caplog.text and "line 3: expected letters ACGT, got 'X'" in caplog.text
    )
    np.testing.assert_array_equal(module.targets, [[1.0], [math.nan]])
    np.testing.assert_array_equal(module.table.weights, [1.0, 2.0])


def test_bad_rows_are_fatal_when_asked(write: Write) -> None:
    with pytest.raises(DataError, match="7 bad rows.*line 3.*and 2 more"):
        _ = data(write("a.csv", BAD), target_columns=["y"], weight_column="w", bad_rows="error").sequences


def test_a_file_of_bad_rows_only(write: Write) -> None:
    with pytest.raises(DataError, match="no usable sequence among 2 rows.*line 2"):
        _ = data(write("a.csv", "sequence\nXXXX\nACGTA\n")).sequences


def test_constant_flanks_are_cut_off(write: Write) -> None:
    module = data(write("a.csv", "sequence\nGGACGTCC\nGGTTTTCC\nACGT\n"), trim=("GG", "CC"))
    assert module.sequences == ["ACGT", "TTTT"] and module.table.problems[0][0] == 4


def test_a_part_of_a_table_is_the_same_whatever_its_order(write: Write) -> None:
    rows = [f"{a}{b}{c}A,{i}" for i, (a, b, c) in enumerate(itertools.product("ACGT", repeat=3))]
    parts = [
        data(write(name, "sequence,y\n" + "\n".join(order) + "\n"), target_columns=["y"], max_rows=20)
        for name, order in (("a.csv", rows), ("b.csv", rows[::-1]))
    ]
    assert len(parts[0].sequences) == 20 and parts[0].sequences == parts[1].sequences[::-1]
    np.testing.assert_array_equal(parts[0].targets, parts[1].targets[::-1])
    assert all(
        f"{s},{int(y)}" in rows for s, y in zip(parts[0].sequences, parts[0].targets[:, 0], strict=True)
    )
    all_of_it = data(write("c.csv", "sequence\nACGT\n"), max_rows=5)
    assert all_of_it.sequences == ["ACGT"]
    with pytest.raises(ConfigError, match="max_rows"):
        data(write("d.csv", "sequence\nACGT\n"), max_rows=0)


def test_short_sequences_are_padded_and_masked(write: Write) -> None:
    module = data(write("a.csv", "sequence\nACGT\nAC\n"), DNACodec(4, variable=True))
    batch = module.collate(np.array([0, 1]))
    assert batch["x"].tolist() == [[0, 1, 2, 3], [0, 1, 4, 4]]
    assert batch["mask"].tolist() == [[True] * 4, [True, True, False, False]]


def test_a_long_table_becomes_wide(write: Write) -> None:
    path = write(
        "a.csv", "sequence,medium,y,lib\nACGT,b,2,p\nTTTT,a,1,q\nACGT,a,5,r\nACGT,b,4,p\nAAAA,c,9,p\n"
    )
    module = data(path, target_columns=["a", "b"], pivot_column="medium", value_column="y")
    assert module.sequences == ["ACGT", "TTTT"] and module.column("lib") == ["p", "q"]
    np.testing.assert_array_equal(module.targets, [[5.0, 3.0], [1.0, math.nan]])


# Splits ----------------------------------------------------------------------------------------------------------


def grouped(write: Write, name: str = "g.csv", reverse: bool = False) -> Path:
    """200 sequences in 50 groups of 4."""
    letters = ["".join(letters) for letters in itertools.product("ACGT", repeat=4)][:200]
    rows = [f"{sequence},{i // 4},{i}" for i, sequence in enumerate(letters)]
    return write(name, "\n".join(["sequence,group,i", *(rows[::-1] if reverse else rows)]) + "\n")


def sides(module: SequenceDataModule, column: str) -> list[set[str]]:
    values = module.column(column)
    return [{values[row] for row in module.indices(split)} for split in ("train", "val", "test")]


def test_groups_stay_together_and_fractions_hold(write: Write) -> None:
    train, val, test = sides(
        data(grouped(write), group_column="group", val_fraction=0.2, test_fraction=0.1), "group"
    )
    assert (len(train), len(val), len(test)) == (35, 10, 5)
    assert not train & val and not train & test and not val & test


def test_a_split_depends_on_its_seed_and_not_on_the_order_of_the_file(write: Write) -> None:
    arguments = {"group_column": "group", "val_fraction": 0.2, "test_fraction": 0.1}
    first = sides(data(grouped(write), **arguments), "i")
    assert sides(data(grouped(write, "r.csv", reverse=True), **arguments), "i") == first
    assert sides(data(grouped(write), split_seed=1, **arguments), "i") != first


def test_equal_sequences_stay_together_without_groups(write: Write) -> None:
    path = write(
        "a.csv",
        "sequence\n" + "".join(f"{a}{b}{c}T\n" * 2 for a, b, c in itertools.product("ACGT", repeat=3)),
    )
    module = data(path, val_fraction=0.3, test_fraction=0.3)
    parts = [{module.sequences[row] for row in module.indices(split)} for split in ("train", "val", "test")]
    assert sum(map(len, parts)) == 64 and not parts[0] & (parts[1] | parts[2])


def test_some_groups_always_train(write: Write) -> None:
    for seed in range(5):
        module = data(
            grouped(write), group_column="group", test_fraction=0.9, always_train=[3, "7"], split_seed=seed
        )
        assert {"3", "7"} <= sides(module, "group")[0]


def test_folds_share_the_test_groups_and_nothing_else(write: Write) -> None:
    arguments = {"group_column": "group", "val_fraction": 0.2, "test_fraction": 0.2}
    whole = sides(data(grouped(write), **arguments), "group")
    halves = [sides(data(grouped(write), folds=2, fold=fold, **arguments), "group") for fold in (0, 1)]
    assert halves[0][2] == halves[1][2] == whole[2]
    for split in (0, 1):
        assert not halves[0][split] & halves[1][split]
        assert halves[0][split] | halves[1][split] == whole[split]


def test_a_column_may_say_the_split(write: Write) -> None:
    path = write("a.csv", "sequence,set\nAAAA,train\nCCCC,Valid\nGGGG,test\n")
    assert sides(data(path, split_column="set"), "sequence") == [{"AAAA"}, {"CCCC"}, {"GGGG"}]
    with pytest.raises(DataError, match="must say train, val or test; got other"):
        data(write("b.csv", "sequence,set\nAAAA,other\n"), split_column="set").indices("train")


def test_no_training_rows_left(write: Write) -> None:
    with pytest.raises(DataError, match="no training rows"):
        data(write("a.csv", "sequence,set\nAAAA,test\n"), split_column="set").indices("train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_fraction": 0.6, "test_fraction": 0.5}, "leave some training rows"),
        ({"folds": 2}, "give fold"),
        ({"folds": 2, "fold": 2}, "give fold"),
        ({"fold": 0}, "give fold"),
        ({"pivot_column": "medium"}, "all three"),
        ({"bad_rows": "keep"}, "'drop' or 'error'"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_contradicting_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        data(Path("any.csv"), **arguments)


# Batches ---------------------------------------------------------------------------------------------------------


def test_an_epoch_visits_each_unit_once_and_draws_its_rows_evenly() -> None:
    groups = [np.array([0, 1, 2]), np.array([3]), np.array([4, 5])]
    sampler = RowSampler(groups, 3, seed=0)
    counts = np.zeros(6)
    for number in range(3000):
        rows = sampler.batch(number)
        assert [sum(row in group for row in rows) for group in groups] == [1, 1, 1]
        counts[rows] += 1
    np.testing.assert_allclose(counts / 3000, [1 / 3, 1 / 3, 1 / 3, 1, 1 / 2, 1 / 2], atol=0.04)


def test_batches_are_a_function_of_seed_and_number() -> None:
    groups = [np.array([i]) for i in range(10)]
    forward, backward = RowSampler(groups, 4, seed=0), RowSampler(groups, 4, seed=0)
    first = [forward.batch(number).tolist() for number in range(12)]
    assert [backward.batch(number).tolist() for number in reversed(range(12))][::-1] == first
    assert [RowSampler(groups, 4, seed=1).batch(number).tolist() for number in range(12)] != first
    epochs = np.array(sum(first, [])[:40]).reshape(4, 10)
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 4


def test_a_batch_larger_than_the_table_spans_epochs() -> None:
    rows = RowSampler([np.array([i]) for i in range(3)], 7, seed=0).batch(0)
    assert np.bincount(rows).min() >= 2 and len(rows) == 7


def take(rows: np.ndarray) -> dict[str, torch.Tensor]:
    return {"row": torch.tensor(rows), "weight": torch.ones(len(rows))}


def test_a_stream_starts_anywhere_and_processes_share_a_batch() -> None:
    sampler = RowSampler([np.array([i]) for i in range(10)], 4, seed=0)
    whole = list(itertools.islice(TrainingStream(sampler, take, start=lambda: 0), 5))
    late = list(itertools.islice(TrainingStream(sampler, take, start=lambda: 3), 2))
    assert [batch["row"].tolist() for batch in late] == [batch["row"].tolist() for batch in whole[3:]]
    assert [int(batch["position"]) for batch in late] == [3, 4]
    ranks = [next(iter(TrainingStream(sampler, take, start=lambda: 0, rank=r, world=2))) for r in (0, 1)]
    assert sorted(ranks[0]["row"].tolist() + ranks[1]["row"].tolist()) == sorted(whole[0]["row"].tolist())


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_counts_every_row_once_whatever_the_number_of_processes(world: int) -> None:
    counts = np.zeros(7)
    lengths = set()
    for rank in range(world):
        batches = EvaluationBatches(np.arange(7), 4, take, rank=rank, world=world)
        lengths.add(len(list(batches)))
        for batch in batches:
            np.add.at(counts, batch["row"].numpy(), batch["weight"].numpy())
    assert lengths == {2}
    np.testing.assert_array_equal(counts, np.ones(7))


def test_evaluation_weighs_every_value_once(write: Write) -> None:
    path = write("a.csv", "sequence,gene,set\nAAAA,x,train\nCCCC,x,val\nGGGG,x,val\nTTTT,y,val\nACGT,x,val\n")
    batch = next(iter(data(path, sample_by="gene", split_column="set").val_dataloader()))
    torch.testing.assert_close(batch["weight"], torch.tensor([1 / 3, 1 / 3, 1.0, 1 / 3]))
    thinned = data(path, sample_by="gene", split_column="set", eval_rows_per_value=1)
    assert len(thinned.indices("val")) == 2
    torch.testing.assert_close(next(iter(thinned.val_dataloader()))["weight"], torch.ones(2))


# Rows within a range --------------------------------------------------------------------------------------------


def test_rows_outside_a_range_are_left_out_and_are_not_bad(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = write("t.csv", "sequence,y\nACGT,1.0\nCCCC,2.0\nGGGG,\nTTTT,3.5\n")
    with caplog.at_level(logging.WARNING):
        assert data(path, within={"y": (1.5, math.inf)}).sequences == ["CCCC", "TTTT"]
    assert not caplog.records
    with pytest.raises(DataError, match="within"):
        _ = data(path, within={"z": (0.0, 1.0)}).sequences


def test_rows_alike_to_test_rows_of_other_data_are_left_out(write: Any) -> None:
    eight = DNACodec(8, variable=True)
    judged = write("judged.csv", "sequence,split\nAACCGGTT,test\nTTTTCCCC,train\n")
    other = data(judged, eight, split_column="split")
    mine = write(
        "mine.csv", "sequence,split\nGACCGGA,train\nACCGTTCC,train\nTTTTCCCC,val\nCGGTTA,val\nAC,train\n"
    )
    module = data(mine, eight, split_column="split", away_from=other, shared=5)
    # GACCGGA shares ACCGG with the test row, CGGTTA shares CGGTT; TTTTCCCC is a training row there
    assert [module.sequences[i] for i in module.indices("train")] == ["ACCGTTCC", "AC"]
    assert [module.sequences[i] for i in module.indices("val")] == ["TTTTCCCC"]
    loose = data(mine, eight, split_column="split", away_from=other, shared=6)
    assert len(loose.indices("train")) == 3 and len(loose.indices("val")) == 2
    with pytest.raises(ConfigError, match="shared must be a whole number"):
        data(mine, eight, away_from=other, shared=0)

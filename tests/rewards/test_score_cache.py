"""Scores on disk: never another design's, another reward's or another version's, and never in the way."""

import logging
import math
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from gendesign.errors import OutputError
from gendesign.rewards import LogP, Pooled, Reward, Similarity
from gendesign.rewards.score_cache import Record, ScoreCache

DESIGNS = ["CCO", "c1ccccc1", "CC(=O)O", "C.C"]
RECORDS: dict[str, Record] = {f"{'C' * n}O": (n / 7, None, "OK", "") for n in range(1, 400)}


class Counted(LogP):
    """Counts in the file how often it is asked, since it works in another process."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file = file

    def score(self, designs):  # type: ignore[no-untyped-def]
        with open(self.file, "a") as log:
            log.write("x" * len(designs))
        return super().score(designs)


@pytest.fixture()
def cache(tmp_path: Path) -> ScoreCache:
    cache = ScoreCache(tmp_path, LogP())
    cache.keep(RECORDS)
    cache.close()
    return cache


def test_what_was_kept_is_found_to_the_bit(cache: ScoreCache, tmp_path: Path) -> None:
    assert ScoreCache(tmp_path, LogP()).find([*RECORDS, "N"]) == RECORDS
    odd: dict[str, Record] = {
        "N": (1 / 3, 0.1, "OK", "fine"),
        "Q": (math.nan, None, "INVALID", "no"),
        "P": (math.nan, None, "TIMED_OUT", "slow"),
        "S": (math.nan, None, "FAILED", "died"),
    }
    cache.keep(odd)
    found = cache.find(list(odd))
    assert found["N"] == odd["N"] and found["Q"][2:] == ("INVALID", "no") and math.isnan(found["Q"][0])
    assert set(found) == {"N", "Q"}  # what failed is tried again


def test_negative_zeros_and_deviations_without_a_value_are_no_damage(
    cache: ScoreCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.keep(
        {"N": (-0.0, -0.0, "OK", ""), "Q": (math.nan, math.nan, "INVALID", "no")}
    )  # SQLite knows neither
    found = cache.find(["N", "Q"])
    assert found["N"] == (0.0, 0.0, "OK", "") and found["Q"][1:] == (None, "INVALID", "no")
    assert cache.find(list(RECORDS)) == RECORDS and not caplog.records


def test_a_second_call_asks_nothing_and_says_the_same(tmp_path: Path) -> None:
    from tests_of_the_cache import Counted as Importable  # the same class, importable by workers

    log = tmp_path / "log"
    spellings = ["OCC", *DESIGNS]
    with Pooled(Importable(str(log)), cache=tmp_path) as reward:
        first = reward(spellings)
    assert len(log.read_text()) == 3  # OCC is CCO, C.C is no molecule
    with Pooled(Importable(str(log)), cache=tmp_path) as reward:
        second = reward(spellings[::-1])
        assert not reward._pool.workers
        assert reward(["C(O)C"]).values[0] == first.values[0]
    assert len(log.read_text()) == 3
    np.testing.assert_array_equal(second.values[::-1], first.values)
    assert second.status[::-1] == first.status and second.message[::-1] == first.message


@pytest.fixture(autouse=True)
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(__file__).read_text()
    body = source[source.index("class Counted") : source.index("@pytest.fixture()\ndef cache")]
    (tmp_path / "tests_of_the_cache.py").write_text(f"from gendesign.rewards import LogP\n\n{body}")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_rewards_arguments_and_versions_have_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = {
        ScoreCache(tmp_path, reward).path
        for reward in (LogP(), LogP(target=[1, 2]), Similarity("CCO"), Similarity("CCN"))
    }
    assert len(paths) == 4
    monkeypatch.setattr(LogP, "version", "rdkit 1900.1")
    assert ScoreCache(tmp_path, LogP()).path not in paths


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_begun_anew(
    cache: ScoreCache, part: float, caplog: pytest.LogCaptureFixture
) -> None:
    whole = cache.path.read_bytes()
    cache.path.write_bytes(whole[: int(len(whole) * part)])
    with caplog.at_level(logging.WARNING):
        found = cache.find(list(RECORDS))
    assert all(RECORDS[design] == record for design, record in found.items())
    cache.keep(RECORDS)
    assert cache.find(list(RECORDS)) == RECORDS
    assert len(caplog.records) <= 1 and (part == 0 or "a new one is begun" in caplog.text)


def test_no_flipped_byte_makes_a_wrong_score(cache: ScoreCache) -> None:
    whole = cache.path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 12):
        broken = bytearray(whole)
        broken[place] ^= 0x40
        cache.path.write_bytes(bytes(broken))
        found = ScoreCache(cache.path.parent, LogP()).find(list(RECORDS))
        assert all(RECORDS[design] == record for design, record in found.items())


def test_a_file_of_another_layout_or_reward_is_replaced(
    cache: ScoreCache, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(cache.path) as file:
        file.execute("PRAGMA user_version = 99")
    assert cache.find(["CO"]) == {} and "layout 99" in caplog.text
    cache.keep({"CO": (1.0, None, "OK", "")})
    cache.close()
    other = ScoreCache(cache.path.parent, Similarity("CCO"))
    os.replace(cache.path, other.path)
    assert other.find(["CO"]) == {} and "another reward" in caplog.text
    cache.close()
    cache.path.write_text("design,value\nCO,1.0\n" * 100)
    assert cache.find(["CO"]) == {} and "not a database" in caplog.text


def test_what_cannot_be_used_is_left_alone(
    cache: ScoreCache, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    cache.path.unlink()
    cache.path.mkdir()
    assert cache.find(["CO"]) == {}
    cache.keep(RECORDS)
    assert caplog.text.count("cannot be used") == 1
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        ScoreCache(tmp_path / "file", LogP())


def test_two_programs_may_share_a_folder(tmp_path: Path) -> None:
    one, two = ScoreCache(tmp_path, LogP()), ScoreCache(tmp_path, LogP())
    one.keep({"CO": (1.0, None, "OK", "")})
    two.keep({"CN": (2.0, None, "OK", "")})
    assert set(one.find(["CO", "CN"])) == set(two.find(["CN", "CO"])) == {"CO", "CN"}


def test_versions_of_compositions_are_those_of_all_parts() -> None:
    from gendesign.rewards import FunctionReward, GeometricMean

    known: Reward = GeometricMean([LogP(), LogP(target=[1, 2])])
    assert known.version == LogP().version and known.version.startswith("rdkit")
    assert (
        GeometricMean([LogP(), Similarity("CCO")]).version == f"{LogP().version}; {Similarity('CCO').version}"
    )
    assert GeometricMean([LogP(), FunctionReward(len, each=True)]).version == ""

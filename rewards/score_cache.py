"""Scores on disk: what was scored once by the same reward, in the same versions, is read instead.

One SQLite file for each reward, named after it and a digest of its identity: its class and arguments, what it says of
its version (packages, weights), and the code of the rewards. Another version therefore has another file. Within it, a
score stands under the whole text of its design and carries a checksum of both. A damaged file is replaced by a new one;
a file that cannot be used (no space, locked, read-only) is left alone. Either is said in one line of the log, and
neither changes a score. Only OK and INVALID are kept: what failed or timed out is tried again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from gendesign import codecs, models
from gendesign.building import describe
from gendesign.errors import ConfigError, OutputError
from gendesign.molecules import chemistry, descriptors, fingerprints
from gendesign.molecules import codec as molecule_codec
from gendesign.rewards.base import Reward, Status

log = logging.getLogger(__name__)

Record = tuple[float, float | None, str, str]
"""Value (NaN without one), standard deviation, status, message."""
Result = TypeVar("Result")

FORMAT = 1
"""Version of the layout of the file."""
KEPT = (Status.OK, Status.INVALID)
AT_A_TIME = 500


class ScoreCache:
    """Scores of one reward on disk.

    Args:
        folder: where files are kept; it is made if missing.
        reward: whose scores they are.

    Raises:
        ConfigError: the reward does not say on which version of what its values depend.
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: str | Path, reward: Reward) -> None:
        if not reward.version:
            raise ConfigError(
                f"scores of {reward.label!r} cannot be kept on disk, because it does not say its version; leave "
                "cache away, or give the reward an attribute `version` that changes whenever its values may"
            )
        self.identity = identity(reward)
        digest = hashlib.sha256(self.identity.encode()).hexdigest()[:12]
        slug = re.sub(r"[^A-Za-z0-9]+", "-", reward.label).strip("-").lower()[:40] or "reward"
        folder = Path(folder).expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cache folder {folder} cannot be made: {error.strerror or error}") from error
        self.path = folder / f"{slug}-{digest}.sqlite"
        self._usable = True
        self._file: sqlite3.Connection | None = None

    def find(self, designs: Sequence[str]) -> dict[str, Record]:
        """What is known of designs; nothing of those that are not."""

        def read(file: sqlite3.Connection) -> dict[str, Record]:
            found: dict[str, Record] = {}
            for start in range(0, len(designs), AT_A_TIME):
                some = designs[start : start + AT_A_TIME]
                marks = ",".join("?" * len(some))
                query = f"SELECT design, value, std, status, message, checksum FROM scores WHERE design IN ({marks})"
                for design, value, std, status, message, checksum in file.execute(query, some):
                    if checksum != _checksum(design, value, std, status, message):
                        raise sqlite3.DatabaseError("a score and its checksum disagree")
                    found[design] = (math.nan if value is None else value, std, status, message)
            return found

        return (self._with_file(read) if designs else None) or {}

    def keep(self, records: Mapping[str, Record]) -> None:
        """Add scores; those that failed or timed out are left out."""
        rows = [
            (
                design,
                _known(value),
                _known(std),
                status,
                message,
                _checksum(design, value, std, status, message),
            )
            for design, (value, std, status, message) in records.items()
            if status in KEPT
        ]

        def write(file: sqlite3.Connection) -> bool:
            file.execute("BEGIN IMMEDIATE")
            file.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?, ?, ?)", rows)
            file.execute("COMMIT")
            return True

        if rows:
            self._with_file(write)

    def close(self) -> None:
        """Let go of the file; it is opened again when it is needed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _with_file(self, action: Callable[[sqlite3.Connection], Result]) -> Result | None:
        """Do something with the file, once more with a new one if it is damaged; None if there is no use."""
        for attempt in range(2):
            if not self._usable:
                break
            try:
                self._file = self._file or self._open()
                return action(self._file)
            except (sqlite3.OperationalError, OSError) as error:
                self.close()
                self._usable = False
                log.warning("%s: cannot be used (%s); scores are calculated and not kept", self.path, error)
            except sqlite3.DatabaseError as error:
                self.close()
                log.warning("%s: is damaged or not ours (%s); a new one is begun", self.path, error)
                if attempt or not self._remove():
                    self._usable = False
        return None

    def _open(self) -> sqlite3.Connection:
        file = sqlite3.connect(self.path, timeout=30.0, isolation_level=None, check_same_thread=False)
        try:
            if not _tables(file):
                file.execute("BEGIN IMMEDIATE")
                if not _tables(file):  # nobody was faster
                    file.execute("CREATE TABLE reward (identity TEXT)")
                    file.execute("INSERT INTO reward VALUES (?)", (self.identity,))
                    file.execute(
                        "CREATE TABLE scores (design TEXT PRIMARY KEY, value REAL, std REAL, status TEXT, "
                        "message TEXT, checksum INTEGER) WITHOUT ROWID"
                    )
                    file.execute(f"PRAGMA user_version = {FORMAT}")
                file.execute("COMMIT")
            layout = file.execute("PRAGMA user_version").fetchone()[0]
            if layout != FORMAT or not {"reward", "scores"} <= _tables(file):
                raise sqlite3.DatabaseError(f"layout {layout}, expected {FORMAT}")
            if file.execute("SELECT identity FROM reward").fetchall() != [(self.identity,)]:
                raise sqlite3.DatabaseError("it holds the scores of another reward")
        except BaseException:
            file.close()
            raise
        return file

    def _remove(self) -> bool:
        try:
            for path in (self.path, Path(f"{self.path}-journal"), Path(f"{self.path}-wal")):
                path.unlink(missing_ok=True)
        except OSError:
            return False
        return True


def identity(reward: Reward) -> str:
    """Everything that decides a reward's values, as text."""
    try:
        gendesign = version("gendesign")
    except PackageNotFoundError:
        gendesign = ""
    facts = {"reward": describe(reward), "version": reward.version, "gendesign": gendesign, "code": _code()}
    return json.dumps(facts, sort_keys=True)


@lru_cache(maxsize=1)
def _code() -> str:
    """Digest of the code that scores, so that a formula that was changed begins a new file."""
    folders = (Path(__file__).parent, *map(Path, models.__path__))
    files = [file for folder in folders for file in sorted(folder.glob("*.py"))]
    read = (chemistry, codecs, descriptors, fingerprints, molecule_codec)
    files += [Path(module.__file__) for module in read if module.__file__]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _tables(file: sqlite3.Connection) -> set[str]:
    return {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _known(number: float | None) -> float | None:
    """A number as SQLite keeps it: none for NaN, and 0.0 for -0.0."""
    return None if number is None or math.isnan(number) else number + 0.0


def _checksum(design: str, value: float | None, std: float | None, status: str, message: str) -> int:
    return zlib.crc32(repr((design, _known(value), _known(std), status, message)).encode())

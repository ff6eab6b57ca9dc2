"""Public tables on this machine: find one, or fetch its sources and rebuild it.

A table is looked for in the folder named by the environment variable GENDESIGN_DATA, then in the user's cache.
`get` downloads its source files at a fixed commit, verifies their SHA-256, rebuilds the table and puts it in
the cache. Where the digest of a source is not known in advance, the one of the first download is written to a
lock file beside the table, and every later download must match it.
"""

import difflib
import gzip
import hashlib
import json
import os
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from gendesign.data.table_sources import TABLES, Table
from gendesign.errors import ConfigError, DataError, OutputError

CHUNK = 1 << 16
# what a parser raises on a file that is not what it should be
UNREADABLE = (LookupError, ValueError, AttributeError, StopIteration, EOFError, OSError, zlib.error)


def list_tables() -> dict[str, str]:
    """Names of the public tables, with one line each."""
    return {name: table.about for name, table in TABLES.items()}


def cache_folder() -> Path:
    """Where `get` keeps tables: $XDG_CACHE_HOME/gendesign, by default ~/.cache/gendesign."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gendesign"


def locate(name: str) -> Path:
    """The local file of a table.

    Args:
        name: a name of `list_tables`.

    Returns:
        Its path under $GENDESIGN_DATA or in the cache; of a table of several files, the folder that has them all.

    Raises:
        ConfigError: no such table.
        DataError: it is not on this machine.
    """
    files, table = locate_all(name), _table(name)
    return files[0].parent if table.members else files[0]


def locate_all(name: str) -> list[Path]:
    """The local files of a table, one or several, as in `locate`."""
    table = _table(name)
    folders = [Path(os.environ["GENDESIGN_DATA"])] if os.environ.get("GENDESIGN_DATA") else []
    for folder in [*folders, cache_folder()]:
        files = table.files(folder)
        if all(file.is_file() for file in files):
            return files
    looked = " or ".join(str(folder) for folder in [*folders, cache_folder()])
    raise DataError(f"table {name!r} is not in {looked}; fetch it with: gendesign data get {name}")


def get(
    name: str,
    *,
    mirror: str | None = None,
    folder: str | Path | None = None,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> Path:
    """Download the sources of a table, verify them, and rebuild it.

    Args:
        name: a name of `list_tables`.
        mirror: base address instead of GitHub's raw files (http, https or file), laid out
            owner/name/commit/path.
        folder: where to put the table; the cache if left out.
        progress: called with (file, bytes so far, total or None) while downloading.

    Returns:
        Path of the table, complete: it is moved into place only at the end; of several files, their folder.

    Raises:
        ConfigError: no such table.
        DataError: a source cannot be fetched, has another digest than expected, or cannot be read.
        OutputError: the folder cannot be written.
    """
    table = _table(name)
    root = Path(folder or cache_folder())
    target, files = root / table.file, table.files(root)
    lock_file = target.with_name(target.name + ".sources.json")
    try:
        files[0].parent.mkdir(parents=True, exist_ok=True)
        locked = _read_lock(lock_file)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".get-") as temporary:
            paths = []
            for i, source in enumerate(table.sources):
                path = Path(temporary) / f"{i}-{Path(source.path).name}"
                digest = _download(source.url(mirror), path, progress)
                key = f"{source.repo}/{source.commit}/{source.path}"
                expected = source.sha256 or locked.get(key)
                if expected and digest != expected:
                    hint = "try again" if source.sha256 else f"if the change is known, delete {lock_file}"
                    raise DataError(
                        f"{source.url(mirror)} was damaged or has changed; {hint} "
                        f"(SHA-256 {digest}, expected {expected})"
                    )
                locked[key] = digest
                paths.append(path)
            try:
                text = table.rebuild(paths)
            except UNREADABLE as error:
                raise DataError(f"the sources of {name!r} cannot be read as expected: {error}") from error
            parts = [Path(temporary) / f"table-{i}" for i in range(len(files))]
            for part, content in zip(parts, [text] if isinstance(text, str) else text, strict=True):
                part.write_bytes(gzip.compress(content.encode(), mtime=0))
            for part, file in zip(parts, files, strict=True):
                os.replace(part, file)
            lock_file.write_text(json.dumps(locked, indent=1) + "\n")
    except OSError as error:
        raise OutputError(f"cannot write table {name!r} to {target.parent}: {error}") from error
    return target


def state(name: str) -> str:
    """One line on the table here: absent, the file that the shipped weights were trained on, or another one."""
    table = _table(name)
    try:
        path = locate(name)
    except DataError:
        return "not on this machine"
    if (
        table.trained_on
        and path.is_file()
        and hashlib.sha256(path.read_bytes()).hexdigest() == table.trained_on
    ):
        return f"{path} (the file that the shipped weights were trained on)"
    return str(path)


def _read_lock(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text())) if path.exists() else {}
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and fetch the table again") from error


def _table(name: str) -> Table:
    if name not in TABLES:
        near = difflib.get_close_matches(name, list(TABLES), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(TABLES)}"
        raise ConfigError(f"no public table {name!r}; {hint}")
    return TABLES[name]


def _download(url: str, path: Path, progress: Callable[[str, int, int | None], None] | None) -> str:
    """Fetch a file; returns its SHA-256."""
    digest, done = hashlib.sha256(), 0
    try:
        # the address comes from the table's source or the user's own mirror
        with urllib.request.urlopen(url, timeout=60) as response, path.open("wb") as out:
            length = response.headers.get("Content-Length")
            total = int(length) if length else None
            while chunk := response.read(CHUNK):
                out.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(url.rsplit("/", 1)[-1], done, total)
    except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException, ValueError) as error:
        raise DataError(f"cannot fetch {url}: {error}") from error
    if total is not None and done != total:
        raise DataError(f"{url} ended after {done:,} of {total:,} bytes; try again")
    return digest.hexdigest()

"""Reading tables with the line that each row came from: csv, tsv, FASTA, SMILES, SDF and Parquet, plain or gzipped.

Line numbers are kept so that a bad row can be named to the user who has to mend it. Cells stay text; what a
column means is for the caller to say.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gendesign.errors import DataError
from gendesign.files.molecules import SDF_ENDINGS, SMILES_ENDINGS, read_sdf, read_smi

FASTA_ENDINGS = (".fa", ".fasta", ".fna", ".faa")
TEXT_TABLES = {".csv": ",", ".tsv": "\t"}


@dataclass
class Rows:
    """Rows of a file.

    Attributes:
        columns: the cells of each column, as text; all of one length.
        lines: where each row stands in the file, counted from 1.
        unit: what `lines` counts: "line", "record" in an SDF file, or "row" in a Parquet file, which has no lines.
        problems: rows that could not be read, as (line, reason).
    """

    columns: dict[str, list[str]]
    lines: list[int]
    unit: str = "line"
    problems: list[tuple[int, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str, *, meant_for: str, path: Path) -> list[str]:
        """The cells of a column.

        Raises:
            DataError: there is no such column; the message names those that exist.
        """
        if name not in self.columns:
            there = ", ".join(self.columns)
            raise DataError(f"{path}: no column {name!r} (asked for as {meant_for}); the columns are {there}")
        return self.columns[name]


def read_rows(path: str | Path) -> Rows:
    """Read a file by its ending: .csv, .tsv, .fa/.fasta/.fna/.faa, .smi, .sdf (each also with .gz), or .parquet.

    A FASTA file has the columns `id` (first word of the header), `description` (the rest) and `sequence`; a file of
    molecules `smiles`, `id`, and what its records say.

    Args:
        path: the file.

    Returns:
        Its rows.

    Raises:
        DataError: the file is missing, is not what its ending says, is not text, or holds no row.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: {'is a folder, expected a file' if path.is_dir() else 'no such file'}")
    endings = [ending.lower() for ending in path.suffixes]
    packed = bool(endings) and endings[-1] == ".gz"
    kind = (endings[-2] if len(endings) > 1 else "") if packed else (endings[-1] if endings else "")
    if kind == ".parquet" and not packed:
        rows = _read_parquet(path)
    elif kind in TEXT_TABLES:
        rows = _read_table(_read_text(path, packed), TEXT_TABLES[kind], path)
    elif kind in FASTA_ENDINGS:
        rows = _read_fasta(_read_text(path, packed), path)
    elif kind in SMILES_ENDINGS:
        rows = Rows(*read_smi(_read_text(path, packed)))
    elif kind in SDF_ENDINGS:
        columns, records, problems = read_sdf(_read_text(path, packed))
        rows = Rows(columns, records, "record", problems)
    else:
        known = ", ".join([*TEXT_TABLES, *FASTA_ENDINGS, SMILES_ENDINGS[0], SDF_ENDINGS[0]])
        raise DataError(
            f"{path}: cannot tell the format; expected a name ending in {known} (or these with .gz), or .parquet"
        )
    if not rows.lines and not rows.problems:
        raise DataError(f"{path}: holds no rows")
    return rows


def _read_text(path: Path, packed: bool) -> str:
    try:
        raw = path.read_bytes()
        if packed:
            raw = gzip.decompress(raw)
        return raw.decode("utf-8-sig")
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the name ends in .gz but the content is not gzip ({error})") from error
    except EOFError as error:
        raise DataError(f"{path}: the gzip file is cut short; fetch or copy it again") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_table(text: str, delimiter: str, path: Path) -> Rows:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader, [])]
        if not any(header):
            raise DataError(f"{path}: is empty; expected a first line with the names of the columns")
        if len(set(header)) != len(header):
            raise DataError(f"{path}: two columns have the same name in {', '.join(header)}")
        kept: list[list[str]] = []
        rows = Rows({}, [])
        for cells in reader:
            if not cells:
                continue  # a blank line is no row
            if len(cells) != len(header):
                rows.problems.append((reader.line_num, f"{len(cells)} cells, expected {len(header)}"))
                continue
            kept.append(cells)
            rows.lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {error}") from error
    columns = [[cell.strip() for cell in column] for column in zip(*kept, strict=True)] or [
        [] for _ in header
    ]
    rows.columns = dict(zip(header, columns, strict=True))
    return rows


def _read_fasta(text: str, path: Path) -> Rows:
    records: list[tuple[int, str, list[str]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if line.startswith(">"):
            records.append((number, line[1:].strip(), []))
        elif line and not line.startswith(";"):
            if not records:
                raise DataError(
                    f"{path}, line {number}: expected a FASTA header that starts with '>', got {line[:30]!r}"
                )
            records[-1][2].append(line)
    headers = [[*header.split(None, 1), "", ""][:2] for _, header, _ in records]
    return Rows(
        {
            "id": [name for name, _ in headers],
            "description": [rest for _, rest in headers],
            "sequence": ["".join(parts) for _, _, parts in records],
        },
        [number for number, _, _ in records],
    )


def _read_parquet(path: Path) -> Rows:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{path}: is not a Parquet file that can be read ({str(error).splitlines()[0]})"
        ) from error
    columns = {
        name: ["" if cell is None else str(cell) for cell in table[name].to_pylist()]
        for name in table.column_names
    }
    return Rows(columns, list(range(1, table.num_rows + 1)), unit="row")


def name_rows(problems: Sequence[tuple[int, str]], unit: str, *, limit: int = 5) -> str:
    """The first few of a list of bad rows, in one line of text."""
    shown = "; ".join(f"{unit} {line}: {reason}" for line, reason in _first(problems, limit))
    return shown + (f"; and {len(problems) - limit} more" if len(problems) > limit else "")


def _first(problems: Iterable[tuple[int, str]], limit: int) -> list[tuple[int, str]]:
    return sorted(problems)[:limit]

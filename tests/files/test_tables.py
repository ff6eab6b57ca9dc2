"""Files of designs as users bring them: what is text stays text, and what cannot be read is said."""

from pathlib import Path

import pytest

from gendesign.errors import DataError
from gendesign.files.designs import read_designs
from gendesign.files.sequences import read_rows


@pytest.mark.parametrize("column", ["sequence", "design"])
def test_sequences_of_digits_are_no_numbers(column: str, tmp_path: Path) -> None:
    path = tmp_path / "bits.csv"
    path.write_text(f"{column}\r\n0011\r\n1000\r\n")
    assert read_designs(path).designs == ["0011", "1000"]
    (tmp_path / "bits.fasta").write_text(">a\n0011\n")
    assert read_designs(tmp_path / "bits.fasta").designs == ["0011"]


@pytest.mark.parametrize("head", ["sequence,x", "smiles,x", "x,y"])
def test_a_table_of_nothing_but_bad_rows_is_refused(head: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(f"{head}\nACGT\nTTTT\n")
    with pytest.raises(DataError, match="line 2 is left out: 1 cells, expected 2"):
        read_designs(path)


def test_an_id_ends_at_any_white_space(tmp_path: Path) -> None:
    """A tab, too, or what belongs together falls into two groups."""
    (tmp_path / "x.fasta").write_text(">g1\tpromoter  of x\nACGT\n>g2  y\nAC\n>\nA\n>g3\nC\n")
    rows = read_rows(tmp_path / "x.fasta")
    assert rows.columns["id"] == ["g1", "g2", "", "g3"]
    assert rows.columns["description"] == ["promoter  of x", "y", "", ""]

"""Public tables of molecules, rebuilt from small sources that are laid out as the real ones."""

import csv
import gzip
import io
import tarfile
from pathlib import Path

import pytest

from gendesign.data import tables
from gendesign.data.table_sources import TABLES
from gendesign.errors import DataError

pytest.importorskip("rdkit")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GENDESIGN_DATA", raising=False)
    return tmp_path / "mirror"


def rebuilt(mirror: Path, name: str, content: bytes) -> list[dict[str, str]]:
    source = TABLES[name].sources[0]
    path = mirror / source.repo / source.commit / source.path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    made = tables.get(name, mirror=mirror.as_uri())
    return list(csv.DictReader(io.StringIO(gzip.decompress(made.read_bytes()).decode())))


def archive(text: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        member = tarfile.TarInfo("zinc.txt")
        member.size = len(text.encode())
        tar.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.mark.parametrize("packed", [archive, lambda text: gzip.compress(text.encode())])
def test_zinc_gets_its_properties_from_rdkit_and_loses_what_is_no_molecule(mirror: Path, packed) -> None:
    rows = rebuilt(
        mirror, "zinc250k_properties", packed("CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1\nC1CC\nCCO\n")
    )
    assert [row["smiles"] for row in rows] == ["CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1", "CCO"]
    first = rows[0]  # as in the file that the shipped weights were trained on
    assert float(first["logP"]) == pytest.approx(5.0506, abs=1e-4)
    assert float(first["qed"]) == pytest.approx(0.7319, abs=1e-4)
    assert float(first["sas"]) == pytest.approx(2.0841, abs=2e-3)
    assert (first["mol_weight"], first["n_heavy_atoms"]) == ("325.383", "24")


def test_a_source_without_molecules_is_refused(mirror: Path) -> None:
    with pytest.raises(DataError, match="no SMILES"):
        rebuilt(mirror, "zinc250k_properties", gzip.compress(b"smiles\n"))


def test_activities_are_those_with_a_pchembl_value_of_type_ic50(mirror: Path) -> None:
    lines = [
        '"Molecule ChEMBL ID";"Smiles";"Standard Type";"pChEMBL Value";"Target Organism"',
        '"CHEMBL1";"CCO";"IC50";"6.5";"Homo sapiens"',
        '"CHEMBL2";"CCN";"Ki";"7.0";"Homo sapiens"',
        '"CHEMBL3";"CCC";"IC50";"";"Homo sapiens"',
        '"CHEMBL1";"CCO";"IC50";"6.9";"Homo sapiens"',
    ]
    rows = rebuilt(mirror, "seh_chembl_ic50", "\n".join(lines).encode())
    assert [(row["chembl_id"], row["pchembl_ic50"]) for row in rows] == [
        ("CHEMBL1", "6.5"),
        ("CHEMBL1", "6.9"),
    ]


def test_solubility_keeps_names_with_commas(mirror: Path) -> None:
    rows = rebuilt(mirror, "aqsoldb_solubility", b"Drug_ID\tDrug\tY\n1,2-thing\tCCO\t-0.5\n")
    assert rows == [{"name": "1,2-thing", "smiles": "CCO", "log_s_mol_per_l": "-0.5"}]

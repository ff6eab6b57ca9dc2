"""Files of molecules: what is written is read again as the same molecules, and what users bring is read by one rule."""

import gzip
from pathlib import Path

import pytest
from rdkit import Chem

from gendesign.errors import DataError
from gendesign.files.designs import read_designs
from gendesign.files.molecules import encode_sdf, encode_smi, flat
from gendesign.files.sequences import read_rows
from gendesign.molecules.chemistry import canonical

HARD = [
    "C[C@H](N)C(=O)[O-]",
    "C[C@@H](N)C(=O)O",
    "F/C=C/F",
    "F/C=C\\F",
    "FC=CF",
    "CC[N+](C)(C)CC",
    "CC(=O)[N-]S(C)(=O)=O",
    "C[S@@](=O)c1ccccc1",
    "C[C@H]1CC[C@@H](O)CC1",
    "C/C=C/C=C\\C(=O)/N=C(/N)c1ccccc1",
    "CC=C=CC",
    "C1CC2CCC1CC2",
    "O=C1CCCCCCCCCCCCCCO1",
    "[2H]C([2H])([2H])O",
    "c1ccc2[nH]ccc2c1",
    "C[C@@H]1C[C@H]2CC[C@]1(C)C2(C)C",
    "CC(=N)C=NO",
    "[H]/N=C(\\N)c1ccccc1",
    "[O-][n+]1ccccc1",
    "C",
]
HARD = [canonical(smiles) for smiles in HARD]


def test_sdf_gives_back_the_same_molecules_by_rdkit_itself() -> None:
    content = encode_sdf(
        HARD, [f"m{i}" for i in range(len(HARD))], [{"score of mine": i / 4} for i in range(len(HARD))]
    )
    supplier = Chem.SDMolSupplier()
    supplier.SetData(content.decode())
    read = list(supplier)
    assert [Chem.MolToSmiles(mol) for mol in read] == HARD
    assert [mol.GetProp("_Name") for mol in read] == [f"m{i}" for i in range(len(HARD))]
    assert [float(mol.GetProp("score of mine")) for mol in read] == [i / 4 for i in range(len(HARD))]
    assert [mol.GetProp("SMILES") for mol in read] == HARD
    assert all(not mol.GetConformer().Is3D() for mol in read)
    spread = [float(abs(mol.GetConformer().GetPositions()[:, :2]).max()) for mol in read[:-1]]
    assert min(spread) > 0.5


def test_what_is_no_molecule_has_no_record_and_properties_stay_on_their_line() -> None:
    content = encode_sdf(
        ["CCO", "", "C1CC"], ["a", "b", "c"], [{"<x>": "two\nlines", "none": ""}] * 3
    ).decode()
    assert content.count("$$$$") == 1
    assert ">  <(x)>" in content and "two lines" in content and "none" not in content


def test_drawings_do_not_depend_on_the_spelling() -> None:
    a, b = (flat(Chem.MolFromSmiles(text)) for text in ("OC(=O)c1ccccc1", "c1ccc(cc1)C(=O)O"))
    box = [sorted(abs(x) for x in mol.GetConformer().GetPositions().max(0)) for mol in (a, b)]
    assert box[0] == pytest.approx(box[1], abs=0.6)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_both_files_are_read_again(tmp_path: Path, ends: str, packed: bool) -> None:
    names = [f"design {i}" for i in range(len(HARD))]
    for name, content in (
        ("a.smi", encode_smi(HARD, names)),
        ("a.sdf", encode_sdf(HARD, names, [{"logP": 1}] * 20)),
    ):
        content = content.decode().replace("\n", ends).encode()
        path = tmp_path / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(content) if packed else content)
        read = read_designs(path)
        assert read.designs == HARD and read.names == names and read.molecules and not read.problems


def test_one_rule_for_what_users_bring(tmp_path: Path) -> None:
    """Canonical where RDKit reads it, as it was where not; repeats stay; salts are not taken apart."""
    given = ["OCC", "C(O)C", "CCO", "CC(=O)[O-].[Na+]", "C1CC", "c1ccccc1C"]
    wanted = ["CCO", "CCO", "CCO", "CC(=O)[O-].[Na+]", "C1CC", "Cc1ccccc1"]
    smi = tmp_path / "a.smi"
    smi.write_bytes(
        ("\ufeffsmiles name\r\n" + "".join(f"{s}\tname {i}\r\n" for i, s in enumerate(given))).encode()
    )
    read = read_designs(smi)
    assert read.designs == wanted and read.names == [f"name {i}" for i in range(6)]
    csv = tmp_path / "a.csv"
    csv.write_text("SMILES,logP\r\n" + "".join(f"{s},1.0\r\n" for s in given))
    read = read_designs(csv)
    assert read.designs == wanted and read.names == [str(line) for line in range(2, 8)]
    assert read_designs(csv, columns=["SMILES"]).designs == wanted
    table = tmp_path / "designs.csv"  # as a run writes it
    table.write_text("rank,index,design,smiles,qed\n1,0,CCO,CCO,0.4\n2,1,,,\n")
    assert read_designs(table).designs == ["CCO", ""]


def test_lines_of_comment_and_blank_ones_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.smi"
    path.write_text("# made by hand\n\nCCO\n  CC(C)O   isopropanol  \n")
    rows = read_rows(path)
    assert rows.columns == {"smiles": ["CCO", "CC(C)O"], "id": ["3", "isopropanol"]} and rows.lines == [3, 4]


def test_records_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.sdf"
    good = encode_sdf(["CCO", "CCN"], ["a", "b"], [{}, {}]).decode().split("$$$$\n")
    path.write_text("$$$$\n".join([good[0], good[1].replace(" C  ", " Qq ", 1), good[1], ""]))
    rows = read_rows(path)
    assert rows.columns["smiles"] == ["CCO", "CCN"] and rows.unit == "record"
    assert [number for number, _ in rows.problems] == [2]
    assert read_designs(path).problems == ["record 2 is left out: RDKit cannot read the record"]
    path.write_text("nothing of the kind\n")
    with pytest.raises(DataError, match="no record that can be read; record 1 is left out"):
        read_designs(path)
    (tmp_path / "empty.smi").write_text("\n")
    with pytest.raises(DataError, match="holds no rows"):
        read_rows(tmp_path / "empty.smi")
    (tmp_path / "a.mol2").write_text("CCO")
    with pytest.raises(DataError, match=r"\.smi, \.sdf"):
        read_rows(tmp_path / "a.mol2")

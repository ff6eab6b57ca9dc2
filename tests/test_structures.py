"""Structures: every irregularity of a PDB file has a rule, numbers never shift, and what is written can be read."""

import gzip
import inspect
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from Bio.PDB import MMCIFIO, PDBParser

from gendesign.codecs import ProteinCodec
from gendesign.errors import ConfigError, DataError, DesignError
from gendesign.files.structures import read_structure, threaded_pdb
from gendesign.models.backbone_features import ideal_cb
from gendesign.structures import Structure

THREE = {"A": "ALA", "G": "GLY", "M": "MET", "K": "LYS", "V": "VAL", "S": "SER", "W": "TRP"}
# a residue of an extended strand; the next is 3.8 angstrom further along x, its N 1.3 from this C
ATOMS = {
    "N": (0.0, 0.0, 0.0),
    "CA": (1.2, 0.8, 0.0),
    "C": (2.5, 0.0, 0.0),
    "O": (2.6, -1.2, 0.0),
    "CB": (1.2, 1.6, 1.2),
}


def atom(
    name: str, residue: str, number: str, place: int, *, chain: str = "A", alt: str = " ", occupancy: float = 1.0,
    record: str = "ATOM", shift: float = 0.0, serial: int = 1,
) -> str:  # fmt: skip
    """A line of a PDB file; `number` may carry an insertion code."""
    digits, code = (number[:-1], number[-1]) if number[-1].isalpha() else (number, " ")
    x, y, z = np.add(ATOMS.get(name, (0, 0, 0)), (3.8 * place, shift, 0))
    return (
        f"{record:<6}{serial:>5}  {name:<3}{alt}{residue:>3} {chain}{digits:>4}{code}   "
        f"{x:8.3f}{y:8.3f}{z:8.3f}{occupancy:6.2f}{10.0:6.2f}          {name[0]:>2}\n"
    )


def residue(letter: str, number: str, place: int, *, without: tuple[str, ...] = (), **rest: object) -> str:
    names = [n for n in ATOMS if n not in without and not (n == "CB" and letter == "G")]
    return "".join(atom(n, THREE.get(letter, letter), number, place, **rest) for n in names)  # type: ignore[arg-type]


def chain(sequence: str, *, first: int = 1, **rest: object) -> str:
    return "".join(residue(a, str(first + i), i, **rest) for i, a in enumerate(sequence))


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def do(text: str, name: str = "x.pdb") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return do


def test_a_plain_chain(write) -> None:  # type: ignore[no-untyped-def]
    found = read_structure(write(chain("MKGV", first=10) + "TER\nEND\n"))
    assert (found.sequence, found.chain, found.numbers) == ("MKGV", "A", ("10", "11", "12", "13"))
    assert found.notes == () and found.breaks == () and found.resolved.all()
    np.testing.assert_allclose(found.coordinates[1, 1], [5.0, 0.8, 0.0], atol=1e-6)
    np.testing.assert_allclose(found.cb[0], ATOMS["CB"], atol=1e-6)
    assert np.isnan(found.cb[2]).all()  # glycine
    assert found.index.tolist() == [0, 1, 2, 3]
    assert found.condition().shape == (4, 14) and found.condition()[:, 12].tolist() == [0, 1, 2, 3]


def test_gzip_and_mmcif_hold_the_same(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    text = chain("MKG", first=5) + residue("V", "7A", 3)
    plain = read_structure(write(text))
    (tmp_path / "x.pdb.gz").write_bytes(gzip.compress(text.encode()))
    writer, out = MMCIFIO(), io.StringIO()
    writer.set_structure(PDBParser(QUIET=True).get_structure("x", io.StringIO(text)))
    writer.save(out)
    for path in (
        tmp_path / "x.pdb.gz",
        write("# a comment\n" + out.getvalue(), "x.cif"),
        write(out.getvalue(), "y.txt"),
    ):
        other = read_structure(path)
        assert (other.sequence, other.numbers, other.chain) == (plain.sequence, plain.numbers, plain.chain)
        np.testing.assert_allclose(other.coordinates, plain.coordinates, atol=1e-3)


def test_missing_atoms_keep_the_residue(write) -> None:  # type: ignore[no-untyped-def]
    text = (
        residue("M", "1", 0)
        + residue("K", "2", 1, without=("O", "CB"))
        + residue("V", "3", 2, without=("C",))
    )
    found = read_structure(write(text + residue("A", "4", 3)))
    assert found.sequence == "MKVA" and found.resolved.tolist() == [True, False, False, True]
    assert any("2 (O)" in note and "3 (C)" in note for note in found.notes)
    assert found.breaks == ()  # successive numbers, nothing known against a bond
    assert np.isnan(found.condition()[1, 9:12]).all() and np.isfinite(found.condition()[1, :9]).all()


def test_several_models_the_first_unless_named(write) -> None:  # type: ignore[no-untyped-def]
    text = "".join(f"MODEL     {i}\n{chain(s)}ENDMDL\n" for i, s in ((1, "MKV"), (2, "MKW")))
    assert read_structure(write(text)).sequence == "MKV"
    second = read_structure(write(text), model=2)
    assert second.sequence == "MKW" and second.notes == ("model 2 of 2",)
    with pytest.raises(ConfigError, match="no model 3; the file has 2"):
        read_structure(write(text), model=3)
    with pytest.raises(ConfigError, match="model"):
        read_structure(write(text), model=0)


def test_alternate_locations_are_taken_whole(write) -> None:  # type: ignore[no-untyped-def]
    """B is more occupied, though one of A's atoms is the most occupied of all."""
    lines = [
        atom(name, "LYS", "2", 1, alt=alt, occupancy=o, shift=shift)
        for alt, shift, occupied in (("A", 0.0, 0.3), ("B", 0.5, 0.6))
        for name in ATOMS
        for o in [0.9 if (alt, name) == ("A", "N") else occupied]
    ]
    found = read_structure(write(residue("M", "1", 0) + "".join(lines) + residue("V", "3", 2)))
    assert found.sequence == "MKV"
    np.testing.assert_allclose(found.coordinates[1, :, 1], np.array([0, 0.8, 0, -1.2]) + 0.5, atol=1e-6)
    assert any("alternate locations" in note and note.endswith("2") for note in found.notes)
    equal = "".join(
        atom(n, "LYS", "2", 1, alt=a, occupancy=0.5, shift=s)
        for a, s in (("B", 0.5), ("A", 0.0))
        for n in ATOMS
    )
    np.testing.assert_allclose(
        read_structure(write(equal)).coordinates[0, 0, 1], 0.0
    )  # of equals the first letter


def test_alternate_amino_acids_at_one_place(write) -> None:  # type: ignore[no-untyped-def]
    both = residue("S", "2", 1, alt="A", occupancy=0.35) + residue("V", "2", 1, alt="B", occupancy=0.65)
    found = read_structure(write(residue("M", "1", 0) + both + residue("K", "3", 2)))
    assert found.sequence == "MVK" and found.numbers == ("1", "2", "3")


def test_breaks_keep_numbers_and_places(write) -> None:  # type: ignore[no-untyped-def]
    text = chain("MK", first=1) + residue("V", "8", 9) + residue("A", "9", 10)
    found = read_structure(write(text))
    assert found.sequence == "MKVA" and found.numbers == ("1", "2", "8", "9")
    assert found.breaks == (1,) and found.index.tolist() == [0, 1, 7, 8]
    assert any("break between 2 and 8" in note for note in found.notes)
    # the numbers jump but the chain does not: no break, as in numbering by homology
    jumping = read_structure(write(residue("M", "1", 0) + residue("K", "30", 1)))
    assert jumping.breaks == () and jumping.index.tolist() == [0, 1] and jumping.numbers == ("1", "30")


def test_renumbering_changes_no_place(write) -> None:  # type: ignore[no-untyped-def]
    text = [chain("MK", first=f) + residue("V", str(f + 6), 9) for f in (1, -3, 500)]
    places = [read_structure(write(t)).index.tolist() for t in text]
    assert places == [[0, 1, 6]] * 3
    assert read_structure(write(text[1])).numbers == ("-3", "-2", "3")


def test_insertion_codes(write) -> None:  # type: ignore[no-untyped-def]
    numbers = ["52", "52A", "52B", "53"]
    found = read_structure(
        write("".join(residue(a, n, i) for i, (a, n) in enumerate(zip("MKVA", numbers, strict=True))))
    )
    assert list(found.numbers) == numbers and found.index.tolist() == [0, 1, 2, 3]
    assert found.position("52A") == 1 and found.position(53) == 3
    assert found.template(["52A-53"]) == "*KVA" and found.template([52]) == "M***"
    with pytest.raises(DesignError, match="no residue 54; it has 52 to 53"):
        found.position("54")


def test_modified_residues_and_what_is_no_residue(write) -> None:  # type: ignore[no-untyped-def]
    text = (
        residue("MSE", "1", 0, record="HETATM") + residue("K", "2", 1) + residue("SEP", "3", 2, record="HETATM")
        + residue("UNK", "4", 3) + atom("O", "HOH", "201", 4, record="HETATM")
        + residue("G", "301", 40, record="HETATM")  # free glycine, a ligand
    )  # fmt: skip
    found = read_structure(write(text))
    assert found.sequence == "MKSX" and found.numbers == ("1", "2", "3", "4")
    assert any("MSE 1 is read as M, SEP 3 is read as S, UNK 4 is read as X" in note for note in found.notes)
    with pytest.raises(DesignError, match="residue 4 is no standard amino acid"):
        found.template(["4"])


def test_chains(write) -> None:  # type: ignore[no-untyped-def]
    dna = "".join(atom(n, "DA", "1", 0, chain="C") for n in ("P", "C5'"))
    path = write(chain("MKV") + chain("GG", chain="B") + dna)
    assert read_structure(path, chain="B").sequence == "GG"
    with pytest.raises(ConfigError, match=r"several chains.*'A' \(3 residues\), 'B' \(2 residues\)"):
        read_structure(path)
    with pytest.raises(ConfigError, match=r"no chain 'Z'.*'A' \(3 residues\), 'B'"):
        read_structure(path, chain="Z")
    with pytest.raises(ConfigError, match="'C' is no protein"):
        read_structure(path, chain="C")
    with pytest.raises(DataError, match="no protein in chains 'C'"):
        read_structure(write(dna))


NUCLEIC = """\
HEADER    DNA                                     26-JAN-81   1BNA
SEQRES   1 A   12   DC  DG  DC  DG  DA  DA  DT  DT  DC  DG  DC  DG
ATOM      1  O5'  DC A   1      18.935  34.195  25.617  1.00 64.35           O
ATOM      2  C5'  DC A   1      19.130  33.921  24.219  1.00 44.69           C
ATOM      3  C4'  DC A   1      19.961  32.668  24.100  1.00 31.28           C
ATOM     17  P    DG A   2      22.409  31.286  21.483  1.00 58.85           P
ATOM     18  OP1  DG A   2      23.536  32.157  21.851  1.00 57.82           O
TER      19       DG A   2
ATOM     20  O5'   U B  13      12.512  36.112  20.130  1.00 51.20           O
ATOM     21  C1'   U B  13      11.214  35.420  19.876  1.00 40.03           C
ATOM     22  N1    U B  13      10.020  35.890  20.411  1.00 39.10           N
TER      23        U B  13
HETATM   24 MG    MG A 101      15.100  30.003  22.871  1.00 30.00          MG
HETATM   25  O   HOH A 102      19.736  31.313  27.066  1.00 50.00           O
END
"""
"""DNA, RNA, an ion and water, as the wwPDB writes them."""


def test_nucleic_acids_only(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        DataError, match="no protein in chains 'A', 'B'; nucleic acids and ligands are not read"
    ):
        read_structure(write(NUCLEIC))
    writer = MMCIFIO()
    writer.set_structure(PDBParser(QUIET=True).get_structure("x", io.StringIO(NUCLEIC)))
    writer.save(str(tmp_path / "x.cif"))
    with pytest.raises(DataError, match="no protein in chains 'A', 'B'"):
        read_structure(tmp_path / "x.cif")
    with pytest.raises(ConfigError, match=r"chain 'A' is no protein; those that are: 'C' \(3 residues\)"):
        read_structure(write(NUCLEIC.replace("END\n", chain("MKV", chain="C") + "END\n")), chain="A")
    assert (
        read_structure(write(NUCLEIC.replace("END\n", chain("MKV", chain="C") + "END\n"))).sequence == "MKV"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no atoms"),
        (b"HEADER    nothing\nEND\n", "no atoms"),
        (b">sequence\nMKV\n", "no atoms"),
        (b"data_x\nloop_\n_atom_site.id\n1\n", "not a structure"),
        (b"\x1f\x8bbroken", "cannot read"),
        (b"\xff\xfe\x00", "cannot read"),
        (chain("MK").replace("   0.000   0.000", "   x.xxx   0.000").encode(), "not a structure"),
    ],
)
def test_files_that_are_no_structure(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_structure(tmp_path / "bad")
    with pytest.raises(DataError, match="cannot read"):
        read_structure(tmp_path / "absent.pdb")


@pytest.mark.parametrize("second", ["K", "W"])
def test_a_number_twice_is_an_error_and_no_residue_is_lost(write, second: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="contradict each other.*renumber"):
        read_structure(write(chain("MKV") + residue(second, "2", 6)))


def test_coordinates_that_are_no_numbers_are_missing(write) -> None:  # type: ignore[no-untyped-def]
    found = read_structure(write(chain("MKV").replace("   3.800", "     nan", 1)))
    assert found.resolved.tolist() == [True, False, True] and found.notes == (
        "missing atoms in residues 2 (N)",
    )


def test_long_chains_and_traces_are_refused(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="has 6 residues, more than 5"):
        read_structure(write(chain("MKVMKV")), max_residues=5)
    with pytest.raises(DataError, match="traces of CA"):
        read_structure(write("".join(atom("CA", "ALA", str(i), i) for i in range(3))))


def test_five_thousand_residues_are_read_and_more_are_not() -> None:
    assert inspect.signature(read_structure).parameters["max_residues"].default == 5000


def test_templates_are_those_of_the_codec(write) -> None:  # type: ignore[no-untyped-def]
    found = read_structure(write(chain("MKGV", first=10)))
    ids, fixed = ProteinCodec(4).encode_template(found.template(["11-12"]))
    assert fixed.tolist() == [False, True, True, False] and ids.tolist()[1:3] == [8, 5]
    assert found.template() == "****"
    for wrong, message in (
        ("14", "no residue 14"),
        ("9-11", "no residue 9"),
        ("12-11", "backwards"),
        ("x", "no residue x"),
    ):
        with pytest.raises(DesignError, match=message):
            found.template([wrong])
    negative = read_structure(write(chain("MKG", first=-2)))
    assert negative.template(["-2--1"]) == "MK*"


def test_threading_keeps_numbers_and_writes_confidence(write, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    numbers = ["52", "52A", "60", "61"]
    text = "".join(residue(a, n, 3 * i) for i, (a, n) in enumerate(zip("MGVA", numbers, strict=True)))
    wild = read_structure(write(text))
    out = threaded_pdb(wild, "WKGA", confidence=[0.5, 0.25, 1.0, 0.0])
    design = read_structure(write(out, "design.pdb"))
    assert design.sequence == "WKGA" and design.numbers == wild.numbers
    np.testing.assert_allclose(design.coordinates, wild.coordinates, atol=1e-3)
    np.testing.assert_allclose(design.cb[0], wild.cb[0], atol=1e-3)  # the file's own
    np.testing.assert_allclose(
        design.cb[1], ideal_cb(torch.from_numpy(wild.coordinates[1])), atol=1e-3
    )  # glycine had none
    assert np.isnan(design.cb[2]).all()
    lines = [line for line in out.splitlines() if line.startswith("ATOM") and line[12:16] == " CA "]
    assert [float(line[60:66]) for line in lines] == [50.0, 25.0, 100.0, 0.0]
    assert "confidence" in out and "confidence" not in threaded_pdb(wild, "WKGA")
    assert lines[1][22:27] == "  52A" and out.startswith("REMARK   6 design on x.pdb, chain A")
    for sequence, confidence in (("WKG", None), ("WKGX", None), ("WKGA", [2.0] * 4), ("WKGA", [0.5])):
        with pytest.raises(DesignError, match="expected"):
            threaded_pdb(wild, sequence, confidence=confidence)


def test_threading_on_missing_atoms_and_long_chain_names(write) -> None:  # type: ignore[no-untyped-def]
    text = residue("M", "1", 0) + residue("K", "2", 1, without=("CA",))
    wild = read_structure(write(text))
    renamed = Structure("y.cif", "AAA", wild.sequence, wild.coordinates, wild.cb, wild.numbers)
    out = threaded_pdb(renamed, "VV")
    assert "missing in residues 2" in out and "chain AAA" in out
    assert read_structure(write(out)).resolved.tolist() == [True, False]


def test_an_ideal_cb_is_where_chemistry_has_it() -> None:
    n, ca, c = np.array(
        [[1.458, 0, 0], [0, 0, 0], [-0.547, 1.424, 0]]
    )  # 1.458 and 1.525 angstrom, 111 degrees
    cb = ideal_cb(torch.from_numpy(np.stack([n, ca, c, c]))).numpy()
    assert np.linalg.norm(cb) == pytest.approx(1.53, abs=0.02)
    for other in (n, c):
        angle = np.degrees(np.arccos(cb @ other / np.linalg.norm(cb) / np.linalg.norm(other)))
        assert angle == pytest.approx(110, abs=2)
    assert np.cross(n, c) @ cb > 0  # an L-amino acid


def test_a_structure_is_checked() -> None:
    good = {"name": "x", "chain": "A", "sequence": "MK", "numbers": ("1", "2")}
    good |= {"coordinates": np.zeros((2, 4, 3)), "cb": np.zeros((2, 3))}  # type: ignore[dict-item]
    assert len(Structure(**good)) == 2
    for change, message in (
        ({"numbers": ("1",)}, "as many"),
        ({"numbers": ("1", "1")}, "two residues 1"),
        ({"sequence": "MB"}, "'B'"),
        (
            {"sequence": "", "coordinates": np.zeros((0, 4, 3)), "cb": np.zeros((0, 3)), "numbers": ()},
            "as many",
        ),
    ):
        with pytest.raises(DataError, match=message):
            Structure(**(good | change))

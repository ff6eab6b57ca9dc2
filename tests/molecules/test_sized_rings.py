"""SELFIES without counting: the same molecule back, rings of the size they say, and a molecule for every row."""

import random

import pytest

pytest.importorskip("rdkit")
pytest.importorskip("selfies")

from rdkit import Chem

from gendesign.errors import DesignError
from gendesign.molecules.chemistry import canonical
from gendesign.molecules.sized_rings import is_symbol, selfies, to_selfies, write

MOLECULES = [
    "CCO", "c1ccccc1", "c1ccc2ccccc2c1", "F/C=C\\F", "CN1CCC[C@H]1c1cccnc1", "C1C2CC3CC1CC(C2)C3", "O=C1CCCCCCCCCCC1",
    "C[N+](C)(C)CC(=O)[O-]", "O=S(=O)(N)c1ccc2[nH]ccc2c1", "C1CCC2(CC1)OCCO2", "C/C1=C/CCCCCC1",
    "OC(C(F)(F)F)(C#N)c1cs1",
]  # fmt: skip


def molecule(*symbols: str | tuple[str, ...]) -> str:
    with selfies() as library:
        return canonical(library.decoder(to_selfies(symbols)))


@pytest.mark.parametrize("smiles", [s for s in MOLECULES if Chem.MolFromSmiles(s)])
def test_round_trip(smiles: str) -> None:
    symbols = write(canonical(smiles))
    assert molecule(*symbols) == canonical(smiles) and all(map(is_symbol, symbols))


def test_a_substituent_changes_no_other_symbol() -> None:
    ring = ["[C]", "[C]", "[=C]", "[C]", "[=C]", "[C]", "[=C]", "[Ring:6]"]
    assert write("CC1=CC=CC=C1") == ring
    longer = write("CC1=C(CCCC)C=CC=C1")
    assert longer == [*ring[:3], "[(]", *["[C]"] * 4, "[)]", *ring[3:]]


def test_a_ring_has_the_size_that_it_says() -> None:
    choose = random.Random(0)
    for _ in range(200):
        size = choose.randint(3, 12)
        row = ["[C]"] * choose.randint(0, 3)
        for _ in range(size):
            row += ["[C]", *choose.choice([[], ["[(]", "[F]", "[)]"], ["[(]", "[C]", "[F]", "[N]", "[)]"]])]
        mol = Chem.MolFromSmiles(molecule(*row, f"[Ring:{size}]", "[O]"))
        assert [len(ring) for ring in mol.GetRingInfo().AtomRings()] == [size]


@pytest.mark.parametrize(
    ("symbols", "smiles"),
    [
        (["[C]", "[(]", "[O]", "[)]", "[N]"], "NCO"),
        (["[C]", "[(]", "[O]"], "CO"),  # never closed
        (["[C]", "[)]", "[O]", "[)]"], "CO"),  # closes nothing
        (["[(]", "[C]", "[)]", "[O]"], "CO"),  # before the first atom
        (["[C]", "[(]", "[)]", "[=O]"], "C=O"),  # empty: no bond is lost
        (["[F]", "[(]", "[C]", "[)]", "[O]"], "OCF"),  # one bond is left: the chain goes on
        (["[C]", "[(]", "[F]", "[C]", "[(]", "[C]", "[)]", "[)]", "[N]"], "NCF"),  # after F nothing is read
        (["[C]", "[(]", "[F]", "[C]", "[)]", "[C]", "[C]", "[C]", "[Ring:4]"], "FC1CCC1"),  # nor counted
        (["[C]", "[C]", "[Ring:6]", "[O]"], "CCO"),  # larger than the path
        (["[C]", "[C]", "[C]", "[=Ring:3]"], "C1=CC1"),
        (
            ["[C]", ("[=O]", "[)]", "[C]", "[Ring:3]"), "[=O]"],
            "COC=O",
        ),  # a part: a single bond, and no ring outside
        (["[N]", "[(]", "[C]", "[)]", "[C]", ("[#C]", "[(]", "[C]")], "CCCNC"),
    ],
)
def test_reading(symbols: list[str | tuple[str, ...]], smiles: str) -> None:
    assert molecule(*symbols) == canonical(smiles)


def test_symbols() -> None:
    assert all(
        map(
            is_symbol,
            ["[C]", "[(]", "[=(]", "[#(]", "[)]", "[Ring:3]", "[=Ring:17]", "[-/Ring:6]", "[C@@H1]"],
        )
    )
    assert not any(
        map(is_symbol, ["C", "[Ring1]", "[Branch1]", "[Ring:2]", "[Ring:0]", "[$(]", "[nop]", "[Foo]", "."])
    )


def test_what_cannot_be_written() -> None:
    with pytest.raises(DesignError, match="cannot express"):
        write("O=I(=O)c1ccccc1")
    with pytest.raises(DesignError, match="beside the path back"):
        write("C(C1)CC1")

"""Graphs of molecules: what is read, what is refused, and how broken ones are mended."""

import numpy as np
import pytest

from gendesign.errors import ConfigError

pytest.importorskip("rdkit")

from gendesign.molecules.chemistry import parse, write
from gendesign.molecules.graphs import assemble, atom_types, correct, read_graph, same_molecule

CARBONS = atom_types(("C",)) * 6


def symmetric(num: int, bonds: dict[tuple[int, int], float]) -> np.ndarray:
    matrix = np.zeros((num, num))
    for (i, j), value in bonds.items():
        matrix[i, j] = matrix[j, i] = value
    return matrix


def test_an_ion_takes_as_many_bonds_as_the_element_with_as_many_electrons() -> None:
    names = ("C", "N", "O", "F", "S", "P", "N+", "O-", "N-", "S+", "C-")
    assert [atom.valence for atom in atom_types(names)] == [4, 3, 2, 1, 6, 5, 4, 1, 2, 5, 3]


@pytest.mark.parametrize("name", ["", "Q", "N++", "+N", "*", "c", "H", "C+-", "Ne"])
def test_what_is_no_atom_type_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="expected an atom type"):
        atom_types((name,))


@pytest.mark.parametrize(
    "smiles", ["c1ccccc1", "C[NH+](C)C", "O=[N+]([O-])c1cc[nH]c1", "CS(=O)(=O)N=C=S", "C#N", "Cn1cnc2c1ncn2C"]
)
def test_a_molecule_is_its_graph(smiles: str) -> None:
    mol = parse(smiles)
    atoms, orders = read_graph(mol)
    assert (orders == orders.T).all()
    names = [symbol + {-1: "-", 0: "", 1: "+"}[charge] for symbol, charge in atoms]
    again = assemble(list(atom_types(tuple(names))), orders)
    assert again is not None and write(again) == write(mol) and same_molecule(mol, again)


def test_what_a_graph_cannot_tell_shows() -> None:
    for smiles in ("[CH2]C", "[13CH3]C"):
        assert not same_molecule(parse(smiles), parse("CC"))


def test_too_many_bonds_are_no_molecule() -> None:
    star = symmetric(6, {(0, j): 1 for j in range(1, 6)}).astype(int)
    assert assemble(list(CARBONS), star) is None


def test_the_least_certain_bond_goes_first_and_the_largest_fragment_stays() -> None:
    star = {(0, j): 1.1 for j in range(1, 5)} | {(0, 5): 0.6}
    values = symmetric(6, star)
    atoms, orders = correct(list(CARBONS), values.round().astype(int), values)
    assert len(atoms) == 5 and orders.sum() == 8  # the sixth carbon is cut off
    mol = assemble(atoms, orders)
    assert mol is not None and write(mol) == "CC(C)(C)C"


def test_a_double_bond_is_lowered_before_it_is_cut() -> None:
    values = symmetric(4, {(0, 1): 2.0, (0, 2): 2.0, (0, 3): 1.0})
    atoms, orders = correct(list(CARBONS[:4]), values.astype(int), values)
    assert sorted(orders[0].tolist()) == [0, 1, 1, 2] and len(atoms) == 4


def test_a_bond_that_is_too_much_for_both_its_atoms_is_lowered_rather_than_two() -> None:
    # O=O, each with a neighbour more: lowering the middle once mends both
    oxygens = list(atom_types(("O",)) * 4)
    values = symmetric(4, {(0, 1): 2.0, (0, 2): 1.0, (1, 3): 1.0})
    _, orders = correct(oxygens, values.astype(int), values)
    assert orders.sum() == 6


def test_random_graphs_become_molecules() -> None:
    rng = np.random.default_rng(0)
    kinds = atom_types(("C", "N", "O", "F", "S", "Cl", "N+", "O-"))
    for _ in range(100):
        num = int(rng.integers(1, 12))
        values = symmetric(num, {(i, j): rng.normal(0.5, 1) for i in range(num) for j in range(i)})
        atoms = [kinds[k] for k in rng.integers(len(kinds), size=num)]
        mol = assemble(*correct(atoms, values.round().clip(0, 3).astype(int), values))
        assert mol is not None and "." not in write(mol)

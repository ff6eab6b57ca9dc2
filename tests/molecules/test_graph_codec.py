"""The graph codec: molecules come back as they went in, but for stereochemistry."""

import pytest
import torch

from gendesign.errors import ConfigError, DesignError

pytest.importorskip("rdkit")

from gendesign.molecules.chemistry import canonical
from gendesign.molecules.graph_codec import MolecularGraphCodec

ATOMS = ["C", "N", "O", "F", "S", "Cl", "Br", "N+", "O-", "N-"]
CODEC = MolecularGraphCodec(ATOMS, 24)
MOLECULES = [
    "CC(C)(C)c1ccc2occ(CC(=O)Nc3ccccc3F)c2c1",
    "C[NH+](C)Cc1ccc([N+](=O)[O-])cc1",
    "O=C([O-])c1cnc[nH]1",
    "CS(=O)(=O)[N-]C#N",
    "C",
    "Brc1ccc(Cl)s1",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
]


def test_molecules_round_trip() -> None:
    wanted = [canonical(smiles) for smiles in MOLECULES]
    x = CODEC.encode(MOLECULES)
    assert x.shape == (len(MOLECULES), CODEC.length) and x.dtype == torch.float32
    assert CODEC.decode(x) == wanted
    assert CODEC.decode_uncorrected(x) == wanted


def test_stereochemistry_is_dropped() -> None:
    assert CODEC.decode(CODEC.encode(["C[C@H](N)C(=O)O", "C/C=C/F"])) == ["CC(N)C(=O)O", "CC=CF"]


def test_small_noise_changes_nothing() -> None:
    x = CODEC.encode(MOLECULES)
    noise = 0.08 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert CODEC.decode(x + noise) == CODEC.decode(x)


def test_the_order_of_atoms_does_not_matter() -> None:
    graph = CODEC.graph("O=C([O-])c1cnc[nH]1")
    place = torch.randperm(24, generator=torch.Generator().manual_seed(0)).numpy()
    full = torch.zeros(24, 24, dtype=torch.uint8).numpy()
    full[CODEC.pairs] = graph.orders
    shuffled = (full + full.T)[place][:, place][CODEC.pairs]
    x = CODEC.numbers(graph.types[place][None], shuffled[None])
    assert CODEC.decode(x) == [graph.smiles] == [canonical("O=C([O-])c1cnc[nH]1")]


def test_noise_decodes_to_molecules_and_is_none_as_it_is() -> None:
    x = torch.randn(50, CODEC.length, generator=torch.Generator().manual_seed(0))
    designs = CODEC.decode(x)
    assert all(design == canonical(design) for design in designs)
    assert sum(map(bool, CODEC.decode_uncorrected(x))) < 5


def test_fragments_are_no_molecule_until_corrected() -> None:
    graph = CODEC.graph("CCO")
    graph.types[10] = 0  # a carbon of its own
    x = CODEC.numbers(graph.types[None], graph.orders[None])
    assert CODEC.decode_uncorrected(x) == [""] and CODEC.decode(x) == ["CCO"]


def test_a_graph_without_atoms_is_no_design() -> None:
    x = torch.zeros(1, CODEC.length)
    x[:, 10 : 24 * 11 : 11] = 1
    assert CODEC.decode(x) == [""] and CODEC.decode_uncorrected(x) == [""]


@pytest.mark.parametrize(
    ("design", "reason"),
    [
        ("C" * 25, "at most 24 heavy atoms, got 25"),
        ("CI", "got I in 'CI'"),
        ("C[N+2]", "got N\\+2"),
        ("[CH2]C", "more than its graph"),
        ("[13CH4]", "more than its graph"),
        ("C$C", "neither single, double nor triple"),
        ("C~C", "neither single, double nor triple"),
        ("CC.CC", "2 fragments"),
        ("", "empty"),
        (3, "expected a SMILES"),
    ],
)
def test_what_does_not_fit_is_refused(design: object, reason: str) -> None:
    with pytest.raises(DesignError, match=reason):
        CODEC.graph(design)
    assert CODEC.reason_invalid(design) and not CODEC.is_valid(design)


def test_a_sample_that_diverged_is_decoded_like_any_other() -> None:
    x = torch.full((2, CODEC.length), float("nan"))
    x[1] = float("inf")
    assert all(CODEC.is_valid(design) or design == "" for design in CODEC.decode(x))


def test_no_designs_are_no_rows() -> None:
    assert CODEC.encode([]).shape == (0, CODEC.length) and CODEC.decode(CODEC.encode([])) == []


def test_arguments_are_checked() -> None:
    for atoms in ([], ["C", "C"]):
        with pytest.raises(ConfigError, match="distinct types"):
            MolecularGraphCodec(atoms, 24)
    with pytest.raises(ConfigError, match="max_atoms"):
        MolecularGraphCodec(ATOMS, 1)
    with pytest.raises(ConfigError, match="'Qq'"):
        MolecularGraphCodec(["C", "Qq"], 24).encode(["C"])

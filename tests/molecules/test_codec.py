"""Molecules to tokens and back: exact, or refused with a reason; every row of tokens is a molecule."""

import sys

import pytest
import torch

from gendesign.building import build, describe
from gendesign.codecs import Codec
from gendesign.errors import ConfigError, DesignError, MissingExtraError
from gendesign.molecules.chemistry import canonical, parse, reason_invalid
from gendesign.molecules.codec import MoleculeCodec

selfies = pytest.importorskip("selfies")
pytest.importorskip("rdkit")

MOLECULES = [
    "CCO", "c1ccccc1", "N[C@@H](C)C(=O)O", "F/C=C/F", "F/C=C\\F", "C[NH+](C)CC(=O)[O-]", "O=C1CCCCCCCCCCC1",
    "CC(=O)Oc1ccccc1C(=O)O", "CN1CCC[C@H]1c1cccnc1", "O=S(=O)(N)c1ccc(Cl)cc1", "C#N", "Brc1csc(I)c1", "CP(=O)(O)O",
    "C[N+](C)(C)CCO", "O=[N+]([O-])c1ccccc1", "C1C2CC3CC1CC(C2)C3",
]  # fmt: skip


@pytest.fixture(scope="module")
def codec() -> MoleculeCodec:
    return MoleculeCodec.learn(MOLECULES, length=40)


def test_round_trip(codec: MoleculeCodec) -> None:
    ids = codec.encode(MOLECULES)
    assert ids.shape == (len(MOLECULES), 40) and int(ids.max()) == codec.pad_id == codec.vocab_size - 1
    assert codec.decode(ids) == [canonical(smiles) for smiles in MOLECULES]
    assert all(codec.is_valid(smiles) for smiles in MOLECULES)
    again = build(describe(codec), kinds=(Codec,))
    assert again.encode(MOLECULES).tolist() == ids.tolist()


def test_spellings_of_a_molecule_have_the_same_tokens(codec: MoleculeCodec) -> None:
    assert codec.encode(["OCC"]).tolist() == codec.encode(["CCO"]).tolist()
    assert codec.normal("OCC") == "CCO" and codec.normal("nonsense") == "nonsense"


@pytest.mark.parametrize(
    ("smiles", "says"),
    [
        ("", "empty"),
        (None, "NoneType"),
        ("CCO.Cl", "2 fragments"),
        ("[Si](C)(C)C", "Si"),
        ("C" * 41, "at most 40 tokens, got 41"),
        ("C" * 10_000, "at most 1000 characters"),
        ("C1CC", "RDKit cannot read"),
        ("*CC", "open ends"),
        ("FS(F)(F)(F)(F)(F)(F)F", "RDKit cannot read|cannot express"),
        ("O=I(=O)c1ccccc1", "cannot express"),
        ("C[CH]C", "change the molecule"),
    ],
)
def test_what_is_refused(codec: MoleculeCodec, smiles: object, says: str) -> None:
    with pytest.raises(DesignError, match=says) as caught:
        codec.encode(["CCO", smiles])
    assert "\n" not in str(caught.value) and codec.reason_invalid(smiles) == str(caught.value)


def test_padding_is_skipped_and_a_mask_leaves_no_molecule(codec: MoleculeCodec) -> None:
    pad, mask, row = codec.pad_id, codec.mask_id, codec.ids("CCO")
    assert codec.decode(torch.tensor([[row[0], pad, *row[1:39]]])) == ["CCO"]
    assert codec.decode(torch.tensor([[mask, *row[1:]], [*row[:39], mask]])) == ["", ""]
    empty = codec.decode(torch.full((1, 40), pad))
    assert empty == [""] and "empty" in codec.reason_invalid(empty[0])


def test_random_tokens_are_molecules(codec: MoleculeCodec) -> None:
    noise = torch.Generator().manual_seed(0)
    rows = torch.randint(0, codec.vocab_size, (2000, codec.length), generator=noise)
    rows[:500, 5:] = codec.pad_id
    decoded = codec.decode(rows)
    some = [smiles for smiles in decoded if smiles]
    assert len(some) > 1900 and not [smiles for smiles in some if reason_invalid(smiles)]
    assert [canonical(smiles) for smiles in some] == some
    assert not [s for s in some if any(atom.GetNumRadicalElectrons() for atom in parse(s).GetAtoms())]


def test_the_programs_own_valence_rules_neither_matter_nor_change(codec: MoleculeCodec) -> None:
    before = selfies.get_semantic_constraints()
    mine = selfies.get_preset_constraints("octet_rule") | {"C": 2}
    try:
        selfies.set_semantic_constraints(mine)
        smiles = "CC(=O)NS(=O)(=O)c1ccccc1"
        learned = MoleculeCodec.learn([smiles])
        assert learned.decode(learned.encode([smiles])) == [canonical(smiles)]
        assert selfies.get_semantic_constraints() == mine
    finally:
        selfies.set_semantic_constraints(before)


def test_learned_vocabulary() -> None:
    learned = MoleculeCodec.learn(["CCO", "OCC", "not one", "CC[SiH3]", "CCCO"], at_least=2)
    assert learned.vocabulary == ("[C]", "[O]") and learned.length == 4
    assert MoleculeCodec.learn(["CC"], length=9).length == 9
    both = MoleculeCodec.learn(["F/C=C/F", "C[C@H](F)Cl"])
    assert both.is_valid("F/C=C\\F") and both.is_valid("C[C@@H](F)Cl")
    with pytest.raises(DesignError, match="none of 0"):
        MoleculeCodec.learn(["nonsense"])


@pytest.mark.parametrize(
    "vocabulary",
    [[], ["[C]", "[C]"], ["C"], ["[C]", "[Foo]"], ["[C]", "[Ring1]"], ["[C][C]"], ["[nop]"], ["."]],
)
def test_bad_vocabularies(vocabulary: list[str]) -> None:
    with pytest.raises(ConfigError, match="SELFIES symbols"):
        MoleculeCodec(vocabulary, 8)


def test_molecules_have_no_letters_to_fix(codec: MoleculeCodec) -> None:
    assert codec.relax(torch.zeros(1, 40, codec.vocab_size + 1)).shape[-1] == codec.vocab_size


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "selfies", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gendesign\[molecules\]'"):
        MoleculeCodec(["[C]"], 8)

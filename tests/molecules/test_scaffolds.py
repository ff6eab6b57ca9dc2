"""Templates of molecules: whatever the free parts are, the scaffold is there; and where it is not, that is said."""

from __future__ import annotations

import random

import pytest
import torch

pytest.importorskip("rdkit")
pytest.importorskip("selfies")

from rdkit import Chem

from gendesign.backbone import Backbone
from gendesign.codecs import FREE
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.errors import DesignError
from gendesign.models.transformer import TransformerDenoiser
from gendesign.molecules.codec import MoleculeCodec
from gendesign.molecules.open_ends import departs, read_scaffold
from gendesign.molecules.scaffolds import ROOM, lay_out
from gendesign.rewards.base import FunctionReward
from gendesign.run import design
from gendesign.steering.genetic import Genetic
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered

MOLECULES = [
    "CC(=O)Nc1ccc(O)cc1", "C[C@H](N)C(=O)O", "C/C=C/c1ccccc1", "O=S(=O)(N)c1ccc2[nH]ccc2c1", "FC(F)(F)CCl", "C#CCN",
    "C1CC2CCC1CC2", "[NH3+]CC(=O)[O-]", "C[C@@H]1CNC[C@H]1N", "N#Cc1cc(Br)cs1", "COP(=O)(OC)OC", "C1CC1C(C)(C)C=O",
    "O=C1C=CNC=C1", "c1nc2ncnc-2n[nH]1", "CC(C)CCCCCCCCCCCCCCCCCCCCCC(=O)N1CCN(CC1)c1ccccc1", "C=C1CCC(=N)CC1",
]  # fmt: skip

SYMBOLS = "[C] [Ring:5] [Ring:6] [(] [=(] [)] [O] [N] [=N] [=C] [#C] [S] [P]".split()


@pytest.fixture(scope="module")
def codec() -> MoleculeCodec:
    learned = MoleculeCodec.learn(MOLECULES)
    more = [*SYMBOLS, "[F]", "[=O]", "[=Ring:6]", "[C@H1]", "[C@@H1]", "[/C]", "[NH1]"]
    return MoleculeCodec(list(dict.fromkeys([*learned.vocabulary, *more])), 72)


def filled(codec: MoleculeCodec, template: str, fillings: list[str]) -> list[str]:
    """Designs whose free parts begin with each of the fillings, and go on with carbon."""
    under, row = codec.under(template), codec.split_template(template)
    places = lay_out(template, symbols=codec.symbols, length=codec.length, grouped=codec.grouped).places
    starts = {positions[0] for positions in places.values()}
    return [
        under.join(
            [first if i in starts else "[C]" if token == FREE else token for i, token in enumerate(row)]
        )
        for first in fillings
    ]


SCAFFOLDS = [
    "c1ccccc1*", "*c1ccccc1", "*{3}c1ccc(*)cc1", "*{4}c1cc(*{4})cc(*)c1", "*N1CCN(*)CC1", "O=C(N*)c1ccc(*)cc1",
    "*{5}c1ccc2c(c1)nc(*)n2*{3}", "C[C@H](*{5})C(=O)N(C)*", "*c1nc(*)c2ncn(*)c2n1", "C/C(*)=C/c1ccccc1",
    "O=S(=O)(N(C)*)c1ccc2[nH]ccc2c1", "*{2}c1c(*{2})c(*{2})c(*{2})c(*{2})c1*", "C[C@@H]1CN(*{3})C[C@H]1N(C)*",
    "*{16}C1=CC(=O)C(*)=CN1", "c1ccn(*)c1", "CC(=O)N1CCC(*{4})(*{2})CC1", "*C12CCC(*{3})(CC1)CC2", "[1*]OC(=O)c1ccco1",
    "c1ccc([*:2])nc1", "[NH3+]CC(*{17})C(=O)[O-]",
]  # fmt: skip


@pytest.mark.whole
@pytest.mark.parametrize("template", SCAFFOLDS)
def test_the_scaffold_survives_whatever_is_attached(codec: MoleculeCodec, template: str) -> None:
    row = codec.split_template(template)
    assert len(row) == codec.length and FREE in row
    for smiles in filled(codec, template, ["[C]", "[F]", "[N]", "[O]", "[S]"]):
        assert codec.is_valid(smiles) and departs(template, smiles) == ""


@pytest.mark.whole
@pytest.mark.parametrize("template", SCAFFOLDS)
def test_rings_do_not_count_the_atoms_of_free_parts(codec: MoleculeCodec, template: str) -> None:
    """With chains of carbon in every free part, all rings of the scaffold and no others are there."""
    bare = Chem.MolFromSmiles(read_scaffold(template).smiles)
    (smiles,) = filled(codec, template, ["[C]"])
    mol = Chem.MolFromSmiles(smiles)
    sizes = [sorted(len(ring) for ring in one.GetRingInfo().AtomRings()) for one in (bare, mol)]
    assert sizes[0] == sizes[1]


def test_stated_rooms_are_kept_and_the_last_free_part_takes_the_rest(codec: MoleculeCodec) -> None:
    row = codec.split_template("*{3}c1ccc(*)cc1")
    assert row.count(FREE) == codec.length - sum(token not in (FREE, None) for token in row)
    (smiles,) = filled(codec, "*{3}c1ccc(*{5})cc1", ["[C]"])
    assert smiles.count("C") == 8, "three and five, beside the ring"
    assert row[-1] == FREE
    two = codec.split_template("*N(C)C(=O)c1ccccc1*")
    assert two.count(FREE) > ROOM + 30, "one end has ROOM tokens, the other takes what is left"


def test_free_parts_may_be_shorter_than_their_room_and_tokens_hold_several_symbols() -> None:
    ring = "[C][=C][C][=C][C][=C][Ring:6]"
    codec = MoleculeCodec([*SYMBOLS, "[=O]", "[F]", "[=Ring:6]", ring, "[C][=(]"], 24)
    template = "*{3}c1cc(*{3})cc(*{3})c1"
    under = codec.under(template)
    places = lay_out(template, symbols=codec.symbols, length=24, grouped=codec.grouped).places
    row = codec.split_template(template)
    ends = sorted(places)
    for parts in (
        [["[O]", None, None], [None, "[N]", None], [ring, ring, "[O]"]],
        [[None] * 3, [None] * 3, ["[C]", "[C]", "[O]"]],
        [
            ["[(]", None, None],
            ["[C]", "[)]", "[Ring:6]"],
            ["[C]", "[C]", "[Ring:5]"],
        ],  # brackets and rings alone
    ):
        tokens = list(row)
        for end, part in zip(ends, parts, strict=True):
            for i, token in zip(places[end], part, strict=True):
                tokens[i] = token
        assert departs(template, under.join(tokens)) == "", under.join(tokens)
    assert under.join(["*", *row[1:]]) == "", "MASK is left"


def test_length_is_bounded_by_an_open_end_alone(codec: MoleculeCodec) -> None:
    row = codec.split_template("*{20}")
    assert row == [FREE] * 20 + [None] * (codec.length - 20)
    ids, fixed = codec.encode_template("*{20}")
    assert (ids[20:] == codec.pad_id).all() and fixed.tolist() == [False] * 20 + [True] * (codec.length - 20)
    assert codec.split_template("*") == [FREE] * codec.length
    assert departs("*{20}", "CCO") == ""


def test_a_free_part_may_be_short_or_missing_at_the_end(codec: MoleculeCodec) -> None:
    row, under = codec.split_template("c1ccccc1*"), codec.under("c1ccccc1*")
    assert under.join([None if token == FREE else token for token in row]) == "c1ccccc1"
    assert departs("c1ccccc1*", "c1ccccc1") == ""
    assert departs("c1ccccc1*", "Cc1ccccc1") == ""


@pytest.mark.parametrize(
    ("template", "smiles"),
    [
        ("c1ccccc1*", "CCO"),
        ("c1ccccc1*", "Cc1ccccc1C"),  # bound to more than the open end allows
        ("c1ccccc1*", "c1ccc2ccccc2c1"),  # a ring closed into it
        ("CC*", "CC=C"),  # a double bond where the template holds a single one
        ("*N1CCN(*)CC1", "CC1CNCCN1"),
        ("C[C@H](*)C(=O)O", "C[C@@H](N)C(=O)O"),  # the other hand
        ("c1ccccc1N*", "c1ccccc1[NH2+]C"),  # another charge
        ("C/C(*)=C/c1ccccc1", "C/C(Cl)=C\\c1ccccc1"),
        ("c1ccccc1*", ""),
        ("*{20}", ""),
    ],
)
def test_a_lost_scaffold_is_seen(template: str, smiles: str) -> None:
    assert departs(template, smiles)


def test_random_fillings_keep_the_scaffold(codec: MoleculeCodec) -> None:
    choose = random.Random(0)
    for template in ("*{4}c1ccc(*)cc1", "O=C(N*)c1ccc(*)cc1", "C[C@@H]1CN(*{3})C[C@H]1N(C)*"):
        row, under = codec.split_template(template), codec.under(template)
        for _ in range(60):
            tokens = [choose.choice(codec.vocabulary) if token == FREE else token for token in row]
            assert departs(template, under.join(tokens)) == "", under.join(tokens)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("CCO", "mark with '\\*'"),
        ("C*{0}", "number of tokens"),
        ("C*{x}", "number of tokens"),
        ("C=*", "single bond"),
        ("C1*CC1", "single bond"),
        ("**", "single bond"),
        ("*C.C*", "2 fragments"),
        ("c1ccc*", "cannot read"),
        ("*" + "C" * 80, "no room"),
        ("*{90}", "no room"),
        ("*{999999999999}", "no room"),
        ("*{999999999999}c1ccccc1", "no room"),
        ("[Se]*", "does not know"),
        (7, "got int"),
    ],
)
def test_bad_templates_are_refused_with_the_reason(codec: MoleculeCodec, template: str, said: str) -> None:
    with pytest.raises(DesignError, match=said):
        codec.encode_template(template)


def test_a_run_keeps_the_scaffold_or_says_that_it_was_lost(codec: MoleculeCodec) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TransformerDenoiser(codec.vocab_size, width=8, depth=1, num_heads=2)
    backbone = Backbone(codec, MaskedDiffusion(codec.vocab_size), network).eval()
    size = FunctionReward(lambda smiles: -abs(len(smiles) - 30.0), name="size", each=True)
    template = "*{4}c1ccc(*{9})cc1"
    for steering in (SVDD(candidates=3, alpha=0.5), Genetic(generations=4)):
        run = design(backbone, size, steering, num_designs=8, steps=6, base_designs=20, template=template)
        for one in (run, run.base):
            scores = one.scores["size"]
            lost = [departs(template, smiles) for smiles in one.designs]
            assert scores.ok.tolist() == [not reason for reason in lost]
            assert [m for m, reason in zip(scores.message, lost, strict=True) if reason] == [
                r for r in lost if r
            ]
        assert run.scores["size"].ok.any()
    run = design(backbone, size, Unsteered(), num_designs=12, steps=8, base_designs=0, template="*{10}")
    assert max(Chem.MolFromSmiles(smiles).GetNumHeavyAtoms() for smiles in run.designs if smiles) <= 10

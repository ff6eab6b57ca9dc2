"""The page of molecules and their files: drawn, measured beside natural ones, true, and one file."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from gendesign.design_set import DesignSet
from gendesign.files.designs import read_designs
from gendesign.forms import Molecule, form_of
from gendesign.judging import named_wishes
from gendesign.metrics.molecule_reference import MoleculeReference, hash_molecules, properties
from gendesign.metrics.similarity import molecule_distance
from gendesign.molecules.chemistry import canonical
from gendesign.molecules.codec import MoleculeCodec
from gendesign.molecules.graph_codec import MolecularGraphCodec
from gendesign.report import molecule_figures, render_report
from gendesign.report.drawings import drawing
from gendesign.report.molecule_figures import not_dominated
from gendesign.report.molecules import scaffold_of
from gendesign.rewards import Threshold, WeightedSum
from gendesign.rewards.base import Reward, Scores
from gendesign.rewards.fitting import Fitting
from gendesign.rewards.molecules import QED, HeavyAtoms, LogP, SyntheticAccessibility
from gendesign.steering.particles import Cost

NATURAL = [
    "CC(=O)Nc1ccc(O)cc1",
    "CN(C)CCOC(c1ccccc1)c1ccccc1",
    "O=C(Nc1ccccn1)c1ccc(F)cc1",
    "CCOC(=O)c1ccc(N)cc1",
    "CC(C)Cc1ccc([C@@H](C)C(N)=O)cc1",
    "COc1ccc2[nH]cc(CCNC(C)=O)c2c1",
]
STEERED = [
    "Cc1ccc(C(=O)N2CCC[C@H]2c2cccn2C)cc1",
    "CC(=O)N1CCCc2ccc(NC(=O)COc3ccccc3)cc21",
    "CCCCCCCC=CC=CC(=O)O",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "Cn1cnc2c1c(=O)n(C)c(=O)n2C",
    "",
]
NATURAL, STEERED = [canonical(s) for s in NATURAL], [canonical(s) if s else s for s in STEERED]


def reference() -> MoleculeReference:
    found = properties(NATURAL)
    grid = np.linspace(0, 1, 101)
    return MoleculeReference(
        np.sort(hash_molecules(NATURAL)),
        quantiles={name: np.quantile(values, grid) for name, values in found.items()},
        natural_facts={"num": 6.0, "distinct": 6.0, "mean_distance": 0.81, "long tail": 0.01, "PAINS": 0.02},
        reward_quantiles={"qed": np.quantile(found["QED"], grid)},
        naturalness=np.linspace(-2, -1, 101),
        notes={"natural": "Natural: six molecules made up for a test."},
    )


MANY = WeightedSum([QED(), SyntheticAccessibility(), LogP(target=[1, 4])], weights=[1.0, -0.1, 1.0])


def make(
    designs: list[str] = STEERED, *, several: bool = False, base: bool = True, guide: Reward | None = None
) -> DesignSet:
    guide = guide or (MANY if several else QED())
    num = len(designs)
    rewards = {guide.label: guide} | ({} if several else {"logp": LogP()})
    parts = {part.label: part(designs) for part in getattr(guide, "parts", ())}
    return DesignSet(
        designs=list(designs),
        scores={name: reward(designs) for name, reward in rewards.items()},
        naturalness=np.linspace(-1.6, -1.4, num),
        novelty=reference().novelty(designs) | {"nearest_distance": np.full(num, 0.375)},
        kl=np.full(num, 8.0),
        alpha=0.02,
        cost=Cost(20_000, 10_000, 3, 12.5),
        estimate=Cost(40_000, 40_000, 0, 0.0),
        provenance={
            "backbone": "toy-molecules",
            "steering": "SVDD",
            "rewards": {name: {"unit": "", "source": "RDKit", "trained_on": ""} for name in rewards},
        },
        base=make(NATURAL, several=several, base=False, guide=guide) if base else None,
        form=Molecule(tokens=lambda smiles: 2 * len(smiles)),
        reference=reference(),
        nearest=[NATURAL[i % 6] for i in range(num)],
        parts=parts,
        wishes=named_wishes(guide, parts),
    )


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("figures.reward_panel", "figures.scatter_panel"):
        monkeypatch.setattr(f"gendesign.report.{name}", lambda *args, **options: "<svg></svg>")
    for name in ("property_panel", "front_panel"):
        monkeypatch.setattr(molecule_figures, name, lambda *args, **options: '<svg class="panel"></svg>')


def test_the_page_is_one_file_in_the_words_of_molecules() -> None:
    html = render_report(make())
    assert not re.search(r"https?:|@import|file:|src=|<script", html)
    text = re.sub(r"<style.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    assert not re.search(
        r"sequence|letter|\bbases?\b|motif|k-mer|GC content|copied|logo", text, re.IGNORECASE
    )
    for said in (
        "% of training molecules",
        "5 of 6",
        "nats a token",
        "six molecules made up for a test",
        "internal diversity",
        "Tanimoto",
        "0.38",
        "expected a SMILES, got an empty one",
        "no molecule",
        "(empty)",
    ):
        assert said in text, said
    for tag in ("section", "div", "figure", "table", "svg", "span"):
        assert len(re.findall(rf"<{tag}\b", html)) == html.count(f"</{tag}>"), tag
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids)) > 20


def test_every_design_and_the_training_molecule_beside_it_are_drawn(no_figures: None) -> None:
    html = render_report(make())
    assert html == render_report(make())  # the same every time
    drawn = re.findall(r'<svg class="mol".*?<title>(.*?)</title>', html)
    # two sheets without the empty design and without the repeat, then the five molecules and the six beside
    assert len(drawn) == 4 + 6 + 5 + 6
    assert [title for title in drawn[:4]] == sorted(set(STEERED) - {""}, key=lambda s: -QED()([s]).values[0])
    assert html.count('class="smiles"') == 6 and html.count('<div class="nothing"') == 1
    assert "training design nearest to design 1" in html


def test_drawings_share_a_scale_and_hold_nothing_but_shapes() -> None:
    small, large = drawing("CCO"), drawing("Cc1ccc(C(=O)N2CCC[C@H]2c2cccn2C)cc1")
    assert "class='" not in small and "xmlns" not in small and "rect" not in small

    def longest(svg: str) -> float:
        lines = re.findall(r"M ([\d.]+),([\d.]+) L ([\d.]+),([\d.]+)'", svg)
        return max(np.hypot(float(a) - float(c), float(b) - float(d)) for a, b, c, d in lines)

    # a bond to a carbon is drawn whole or in two halves
    assert longest(drawing("CCC")) == pytest.approx(longest(drawing("CCCCCC")), rel=0.02)
    assert 'aria-label="no molecule"' in drawing("C1CC") and "&lt;b&gt;" in drawing("CCO", label="<b>")
    assert large == drawing("Cc1ccc(C(=O)N2CCC[C@H]2c2cccn2C)cc1")


def test_a_core_lies_alike_in_all_drawings_and_is_shaded() -> None:
    core = "*c1ccc(*)cc1"
    plain, cored = drawing(NATURAL[0]), drawing(NATURAL[0], core=core)
    assert "#D6E8FC" in cored and "#D6E8FC" not in plain
    assert "#D6E8FC" in drawing("c1ccccc1", core=core)  # hydrogens at its open ends
    assert drawing("CCO", core=core) == drawing("CCO")  # it holds none
    assert "<svg" in drawing("CCO", core="no molecule at all")


def test_properties_and_oddities_are_beside_natural_ones(no_figures: None) -> None:
    html = render_report(make())
    assert html.count('class="panel"') == 6 + 1
    rows = dict(re.findall(r'<td class="said">([\w ]+)</td>((?:<td>.*?</td>)+)', html))
    cells = re.findall(r"<td>(.*?)</td>", rows["QED"])
    values = properties([s for s in STEERED if s])["QED"]
    assert len(cells) == 3 and cells[2].startswith(f"{np.median(values):.3f} ")
    odd = re.search(r"Long tail<span.*?</span></td><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>", html)
    assert odd is not None and odd.groups() == ("1.0 %", "0 %", "20.0 %")
    assert "More frequent than among training molecules: long tail (20.0 % against 1.0 %)" in html
    assert '<span class="tag odd">long tail</span>' in html
    assert re.search(r"New<span.*?</span></td><td>–</td><td>0 %</td><td>100 %</td>", html)


def test_the_front_is_of_the_parts_of_the_guide(no_figures: None) -> None:
    run = make(several=True)
    html = render_report(run)
    assert html.count('class="panel"') == 6 + 3
    table = np.stack([part.values for part in run.parts.values()], axis=1) * [1, -1, 1]
    on = {run.designs[i] for i in np.flatnonzero(not_dominated(table))}
    assert f"{len(on)} of them {'is' if len(on) == 1 else 'are'} on the front" in html
    assert "qed, minus sa and logp 1 to 4" in html


def test_what_is_bounded_is_not_to_be_raised() -> None:
    """The front of QED within a number of atoms is of QED and of how far a molecule is beyond it."""
    few = Threshold(QED(), constraint=HeavyAtoms(), at_most=8, penalty=0.1)
    run = make(guide=few)
    (name, bounded), beyond = list(run.wishes.items())[1], run.parts["heavy-atoms"].values - 8
    assert name == "minus heavy-atoms beyond its limits"
    np.testing.assert_array_equal(bounded, -np.maximum(beyond, 0))
    half = WeightedSum([QED(), LogP(), SyntheticAccessibility()], weights=[1.0, 0.0, -2.0])
    assert list(make(guide=half).wishes) == ["qed", "minus sa"]
    assert list(make(guide=Fitting(half, lambda design: "")).wishes) == ["qed", "minus sa"]


def test_not_dominated_is_the_pareto_front() -> None:
    rng = np.random.default_rng(0)
    table = rng.integers(0, 6, (60, 3)).astype(float)
    table[7, 1] = np.nan
    front = not_dominated(table)
    for i, row in enumerate(table):
        beaten = any(
            (other >= row).all() and (other > row).any() for other in table if np.isfinite(other).all()
        )
        assert front[i] == (bool(np.isfinite(row).all()) and not beaten)
    assert not_dominated(np.array([[1.0, 1.0], [1.0, 1.0]])).all()


def test_pages_survive_what_is_missing(no_figures: None) -> None:
    alone = replace(make(base=False), base=None, reference=None, nearest=None, novelty={})
    html = render_report(alone)
    assert "no reference file" in html and "are not on this machine" in html and "Natural</th>" not in html
    assert "The run made no designs" in render_report(alone[np.array([], dtype=np.int64)])
    assert "The one design" in render_report(alone[np.array([0])])
    assert "6 designs were drawn" in render_report(replace(alone, scores={}))
    nothing = make([""] * 3, base=False)
    html = render_report(nothing)
    assert "3 without a score" in html and "Is anything strange" not in html


def test_panels_are_drawn_of_values_at_their_edges() -> None:
    from gendesign.report.figures import Series

    one = Series("Steered", "steered", np.array([2.0, 2.0]))
    assert "<svg" in molecule_figures.property_panel("a", [one], title="rings", axis="rings", whole=True)
    assert "<svg" in molecule_figures.property_panel(
        "a", [one], title="logP", axis="logP", natural=np.full(101, 2.0)
    )
    empty = Series("Steered", "steered", np.empty(0))
    assert "<svg" in molecule_figures.property_panel("a", [empty], title="logP", axis="logP")


def test_a_run_is_saved_as_table_smiles_and_records(tmp_path: Path) -> None:
    run = make(several=True)
    folder = run.save(tmp_path / "out")
    ranked = run.ranked().designs
    assert read_designs(folder / "designs.csv").designs == ranked and ranked[-1] == ""
    assert read_designs(folder / "designs.smi").designs == ranked[:-1]
    assert read_designs(folder / "designs.sdf").designs == ranked[:-1]
    records = list(Chem.SDMolSupplier(str(folder / "designs.sdf")))
    name = next(iter(run.scores))
    np.testing.assert_allclose(
        [float(mol.GetProp(name)) for mol in records], run.ranked().values[:-1], atol=1e-5
    )
    assert float(records[0].GetProp("sa")) == pytest.approx(run.ranked().parts["sa"].values[0], abs=1e-5)
    assert [mol.GetProp("_Name") for mol in records] == [f"design_{i:04d}" for i in range(1, 6)]
    assert "INVALID" in (folder / "designs.csv").read_text().splitlines()[-1]


def test_a_template_is_shaded_and_what_designs_started_from_is_drawn(no_figures: None) -> None:
    assert scaffold_of("*{4}c1ccc(*)cc1") == "*c1ccc(*)cc1"
    assert scaffold_of(None) == scaffold_of("*{20}") == scaffold_of("no template") == ""
    run = make()
    html = render_report(
        replace(run, provenance=run.provenance | {"resolved": {"template": "*{4}c1ccc(*)cc1"}})
    )
    assert "#D6E8FC" in html and "what the template fixed is shaded" in html
    assert "#D6E8FC" not in render_report(run)
    html = render_report(replace(run, leads=[NATURAL[0]] * 6))
    assert "Started from" in html
    own = sorted(1 - molecule_distance([smiles, NATURAL[0]])[0, 1] for smiles in STEERED[:5])
    assert f"{own[2]:.2f} (least {own[0]:.2f})" in html


def test_molecules_are_compared_by_fingerprint(tmp_path: Path) -> None:
    run = make()
    assert run.form.distances(STEERED)[0, 1] == molecule_distance(STEERED)[0, 1]
    picked = run.select(3, diversity=1.0)
    assert len(set(picked.designs)) == 3 and "" not in picked.designs
    changed = run.form.changes("CCO", "OCC")
    assert changed == {"start": "OCC", "similarity_to_start": 1.0}
    led = replace(run, leads=[NATURAL[0]] * 6)
    assert "similarity_to_start" in led.csv().splitlines()[0]


def test_both_codecs_of_molecules_have_this_form() -> None:
    codec = MoleculeCodec.learn(NATURAL)
    form = form_of(codec)
    assert isinstance(form, Molecule) and form.part == "token"
    assert form.size(NATURAL[0]) == len(codec.split(NATURAL[0])) and form.size("") == 0
    graph = form_of(MolecularGraphCodec(["C", "N", "O", "F"], 20))
    assert isinstance(graph, Molecule) and graph.part == "coordinate"
    assert graph.size("CCO") == MolecularGraphCodec(["C", "N", "O", "F"], 20).length


def test_scores_that_are_missing_leave_no_record() -> None:
    run = make()
    failed = replace(run, scores={"qed": Scores(np.full(6, np.nan))})
    files = failed.form.files(failed.designs, [None] * 6, failed._rows())
    assert files == {"designs.smi": b"", "designs.sdf": b""}

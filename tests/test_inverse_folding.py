"""Inverse folding: data, what a batch gives to the network, binding to a structure, files."""

import dataclasses
import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from gendesign.backbone import Backbone
from gendesign.cli import main
from gendesign.codecs import ProteinCodec
from gendesign.command.compose import compose
from gendesign.conditioning import Brought, Labels, given_in
from gendesign.data import tables
from gendesign.data.stability import StabilityDataModule
from gendesign.data.structures import StructureDataModule, batch_structures, read_structures
from gendesign.data.table_sources import TABLES
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.errors import ConfigError, DataError, DesignError, UnsupportedError
from gendesign.files.structures import threaded_pdb
from gendesign.forms import Fold, form_of
from gendesign.inverse_folding import on_structure
from gendesign.loading import load_backbone
from gendesign.models.pairwise_energy import PairwiseEnergy
from gendesign.models.structure_denoiser import StructureDenoiser
from gendesign.models.transformer import TransformerDenoiser
from gendesign.rewards.stability import Stability, StabilityPredictor
from gendesign.structures import Structure
from gendesign.tempering import at_temperature


def helix(name: str, sequence: str) -> Structure:
    places = np.arange(len(sequence))[:, None] + np.array([0.0, 0.3, 0.6, 0.7])
    angle = places * np.deg2rad(100.0)
    atoms = np.stack([2.3 * np.cos(angle), 2.3 * np.sin(angle), 1.5 * places], axis=-1)
    numbers = tuple(str(i + 5) for i in range(len(sequence)))
    return Structure(name, "A", sequence, atoms, np.full((len(sequence), 3), np.nan), numbers)


SEQUENCES = {"one": "MKTAYIAKQR", "two": "GSHMLEDPWV", "three": "ACDEFGH", "four": "WYVTSRQP"}


@pytest.fixture
def file(tmp_path: Path) -> str:
    rows = []
    for name, sequence in SEQUENCES.items():
        atoms = helix(name, sequence).coordinates
        coords = {atom: atoms[:, i].tolist() for i, atom in enumerate(("N", "CA", "C", "O"))}
        rows.append(json.dumps({"name": name, "seq": sequence, "coords": coords}))
    path = tmp_path / "some.jsonl"
    path.write_text("\n".join(rows) + "\n")
    return str(path)


@pytest.fixture
def pdb(tmp_path: Path) -> str:
    path = tmp_path / "x.pdb"
    path.write_text(threaded_pdb(helix("x", "MKTAYIAKQR"), "MKTAYIAKQR"))
    return str(path)


def network() -> StructureDenoiser:
    torch.manual_seed(0)
    net = StructureDenoiser(20, 16, encoder_depth=1, decoder_depth=1, neighbours=6)
    return net.eval().requires_grad_(False)


def energy() -> PairwiseEnergy:
    """Away from its start, where everything is zero."""
    torch.manual_seed(0)
    made = PairwiseEnergy(3, width=8, pair_width=8, rank=2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval().requires_grad_(False)


def backbone() -> Backbone:
    return Backbone(ProteinCodec(12), MaskedDiffusion(20), network()).eval()


def test_padding_changes_neither_loss_nor_bound(file: str) -> None:
    structures = read_structures(file)
    alone, both = batch_structures([structures[2]]), batch_structures([structures[2], structures[0]])
    process, net = MaskedDiffusion(20), network()
    ids = both["x"].clone()
    ids[0, :7] = 20
    logits = net(ids, None, both["cond"], both["mask"])[0, :7]
    assert torch.allclose(logits, net(ids[:1, :7], None, alone["cond"], alone["mask"])[0], atol=1e-5)
    given = given_in(both)
    noise = torch.Generator().manual_seed(0)
    bound = process.log_likelihood(net, both["x"], num_times=200, generator=noise, **given)
    short = process.log_likelihood(net, alone["x"], num_times=200, generator=noise, **given_in(alone))
    assert float(bound[0]) == pytest.approx(float(short[0]), rel=0.03)


@pytest.mark.whole
def test_training_minimises_on_structures(file: str) -> None:
    module = backbone().requires_grad_(True).train()
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign,assignment]
    batch = StructureDataModule([file], batch_size=4).collate(np.arange(4))
    optimiser = torch.optim.Adam(module.denoiser.parameters(), 1e-2)
    losses = []
    for step in range(150):
        loss = module.training_step(batch | {"position": torch.tensor(step)}, 0)
        optimiser.zero_grad(), loss.backward(), optimiser.step()
        losses.append(float(loss))
    assert np.mean(losses[-40:]) < np.mean(losses[:40]) - 0.5


def test_a_batch_brings_one_condition_only(file: str) -> None:
    batch = batch_structures(read_structures(file))
    with pytest.raises(ConfigError, match="condition on that"):
        given_in(batch, Labels(3))


def test_sides_by_name(file: str) -> None:
    data = StructureDataModule([file], val=["two"], test=["four"], leave_out=["three"])
    assert [data.indices(side).tolist() for side in ("train", "val", "test")] == [[0], [1], [3]]
    with pytest.raises(ConfigError, match="two on two"):
        StructureDataModule([file], val=["two"], test=["two"])
    with pytest.raises(DataError, match="no protein nobody"):
        StructureDataModule([file], val=["nobody"]).indices("val")
    with pytest.raises(DataError, match="names"):
        StructureDataModule([file, file]).indices("val")
    with pytest.raises(DataError, match="left to train"):
        StructureDataModule([file], val=list(SEQUENCES)).indices("train")


def chain(name: str, letter: str, sequence: str) -> str:
    one = dataclasses.replace(helix(name, sequence), chain=letter)
    return "".join(
        line + "\n"
        for line in threaded_pdb(one, sequence).splitlines()
        if line.startswith("ATOM")
    )  # fmt: skip


def test_a_folder_of_files(file: str, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(DataError, match="no file of structures in this folder"):
        read_structures(str(folder))
    (folder / "README.md").write_text("not a structure")
    (folder / "b.jsonl").write_text(Path(file).read_text())
    (folder / "c.pdb").write_text(chain("c", "A", "MKTAYIA"))
    several = chain("a", "A", "GSHMLED") + chain("a", "B", "WYVTSRQ") + chain("a", "C", "GSHMLED")
    (folder / "a.ent.gz").write_bytes(gzip.compress((several + "END\n").encode()))
    found = read_structures(str(folder))
    assert [(one.name, one.sequence) for one in found] == [
        ("a.ent.gz:A", "GSHMLED"),
        ("a.ent.gz:B", "WYVTSRQ"),  # C is A once more
        *SEQUENCES.items(),
        ("c.pdb", "MKTAYIA"),
    ]
    data = StructureDataModule([str(folder)], val=["two"], test=["c.pdb"], leave_out=["a.ent.gz:B"])
    assert [data.indices(side).tolist() for side in ("train", "val", "test")] == [[0, 2, 4, 5], [3], [6]]
    (folder / "d.pdb").write_text("not a structure")
    with pytest.raises(DataError, match=r"d\.pdb: no atoms"):
        read_structures(str(folder))


def test_the_table_of_structures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rebuilt from a mirror, file by file; found where all of its files are, beside others."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GENDESIGN_DATA", raising=False)
    table = TABLES["protein_structures"]
    letters = np.array(list("ACDEFGHIKLMNPQRSTVWY"))
    rng = np.random.default_rng(0)
    sequences = ["".join(letters[rng.integers(0, 20, 12)]) for _ in table.sources]
    for source, sequence in zip(table.sources, sequences, strict=True):
        path = tmp_path / "mirror" / source.repo / source.commit / source.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(chain(source.path, "A", sequence) + "END\n")
    folder = tables.get("protein_structures", mirror=(tmp_path / "mirror").as_uri())
    assert folder == tables.locate("protein_structures") == tmp_path / "cache" / "gendesign" / "structures"
    assert sorted(one.name for one in folder.iterdir()) == sorted(table.members)
    (folder / "another.pdb").write_text("not one of them")
    found = read_structures("data:protein_structures")
    assert [one.name for one in found] == list(table.members) and [one.sequence for one in found] == sequences
    assert tables.state("protein_structures") == str(folder)
    (folder / table.members[0]).unlink()
    with pytest.raises(DataError, match="gendesign data get protein_structures"):
        read_structures("data:protein_structures")


@pytest.mark.skipif("GENDESIGN_DATA" not in os.environ, reason="needs the tables on disk")
def test_the_structures_on_disk_are_what_is_rebuilt() -> None:
    table, files = TABLES["protein_structures"], tables.locate_all("protein_structures")
    for file, text in zip(files, table.rebuild(files), strict=True):
        (one,) = read_structures(str(file))
        kept = [line for line in text.splitlines() if line.startswith("ATOM") and line[12:16].strip() == "CA"]
        assert [line[22:27].strip() for line in kept] == list(one.numbers)
        places = np.array([[float(line[i : i + 8]) for i in (30, 38, 46)] for line in kept])
        np.testing.assert_allclose(places, one.coordinates[:, 1], atol=1e-6)


def test_a_backbone_that_may_do_without_is_guided_toward_its_structure(pdb: str, tmp_path: Path) -> None:
    """p_w ∝ p(x) (p(x | structure) / p(x))^w, at two rows; where the structure was never left out, it is refused."""
    made = Backbone(
        ProteinCodec(12), MaskedDiffusion(20), network(), conditioning=Brought(dropout=0.1)
    ).eval()
    made.save_pretrained(tmp_path / "made")
    x = torch.full((2, 10), 20)
    x[0, :4] = torch.arange(4)
    process, t = made.process, torch.full((2,), 0.5).double()
    laws = {}
    for scale in (0.0, 1.0, 2.5):
        bound = load_backbone(tmp_path / "made", structure=pdb, guidance_scale=scale)
        found = process.predict(bound.denoiser, x, t)
        assert found.rows == 2 * (1 if scale == 1 else 2)
        laws[scale] = found.log_probs[1]
        bound.save_pretrained(tmp_path / f"bound{scale}")
        again = load_backbone(tmp_path / f"bound{scale}")
        assert again.sample(2, steps=4, seed=0) == bound.sample(2, steps=4, seed=0)
    assert torch.allclose(laws[0.0], laws[0.0][:1].expand(10, 20))  # without a structure residues are alike
    expected = (laws[0.0] + 2.5 * (laws[1.0] - laws[0.0])).log_softmax(-1)
    assert (laws[1.0] - laws[0.0]).abs().max() > 1e-3
    torch.testing.assert_close(laws[2.5], expected)
    with pytest.raises(UnsupportedError, match="never learned to do without"):
        on_structure(backbone(), pdb, guidance_scale=2.0)
    with pytest.raises(UnsupportedError, match="knows no labels"):
        made.conditioned_on(1.0)


def test_structures_left_out_in_training_teach_the_prior(file: str) -> None:
    module = Backbone(ProteinCodec(12), MaskedDiffusion(20), network(), conditioning=Brought(dropout=1.0))
    module.requires_grad_(True).train()
    module.log = lambda *args, **kwargs: None  # type: ignore[method-assign,assignment]
    batch = StructureDataModule([file], batch_size=4).collate(np.arange(4))
    module.training_step(batch | {"position": torch.tensor(0)}, 0).backward()
    grads = {name: one.grad for name, one in module.denoiser.named_parameters() if one.grad is not None}
    assert all(grad.isfinite().all() for grad in grads.values()) and grads["W_out.bias"].abs().sum() > 0


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"name": "x"}\n')
    with pytest.raises(DataError, match="cannot read the structures"):
        read_structures(str(tmp_path / "x.jsonl"))


def test_designs_keep_fixed_residues_and_are_threaded(pdb: str) -> None:
    bound = on_structure(backbone(), pdb)
    structure = bound.codec.structure  # type: ignore[attr-defined]
    designs = bound.sample(3, steps=4, template=structure.template(["5-7"]))
    assert all(len(d) == 10 and d.startswith("MKT") for d in designs)
    form = form_of(bound.codec)
    assert isinstance(form, Fold)
    files = form.files(designs, ["a", "b", None])
    text = files["structures"]["design_0001.pdb"].decode()  # type: ignore[index,union-attr]
    sure = bound.codec.confidence(designs[0])  # type: ignore[attr-defined]
    assert ((sure > 0) & (sure < 1)).all()
    assert (
        f"{100 * sure[0]:6.2f}" in next(line for line in text.splitlines() if line.startswith("ATOM"))[60:66]
    )
    assert form.cells("MKTAYIAKQA", 1)["recovery"] == 0.9


def test_confidence_is_the_probability_given_all_others(pdb: str) -> None:
    bound = on_structure(backbone(), pdb)
    x = bound.codec.encode(["MKTAYIAKQR"])
    x[0, 4] = 20
    expected = bound.denoiser(x, torch.zeros(1))[0, 4].softmax(-1)[ProteinCodec(1).encode(["Y"])[0, 0]]
    assert bound.codec.confidence("MKTAYIAKQR")[4] == pytest.approx(float(expected), rel=1e-5)  # type: ignore[attr-defined]


def test_what_takes_no_structure(pdb: str) -> None:
    other = Backbone(ProteinCodec(12), MaskedDiffusion(20), TransformerDenoiser(20, 8, depth=1, num_heads=1))
    with pytest.raises(UnsupportedError, match="takes no structure"):
        on_structure(other, pdb)
    with pytest.raises(ConfigError, match="chain needs a structure"):
        load_backbone("dna-yeast-promoter", chain="A")


@pytest.fixture
def predictor(tmp_path: Path) -> str:
    StabilityPredictor(energy()).save_pretrained(tmp_path / "predictor")
    return str(tmp_path / "predictor")


def test_stability_is_zero_at_the_wild_type_and_the_same_relaxed(pdb: str, predictor: str) -> None:
    reward = Stability(pdb, predictor=predictor)
    designs = ["MKTAYIAKQR", "MKTAYIAKQA", "MKTAYI"]
    scores = reward(designs)
    assert scores.values[0] == pytest.approx(0, abs=1e-5) and abs(scores.values[1]) > 1e-6
    assert np.isnan(scores.values[2])
    ids = reward.codec.encode(designs[:2])
    letters = torch.nn.functional.one_hot(ids, 20).float().requires_grad_(True)
    found = reward.relaxed(letters)
    assert torch.allclose(found.double(), torch.from_numpy(scores.values[:2]), atol=1e-4)
    found.sum().backward()
    assert letters.grad is not None and letters.grad.abs().sum() > 0
    assert scores.std is not None and scores.std[0] == pytest.approx(0, abs=1e-5) and scores.std[1] > 1e-4
    cautious = Stability(pdb, predictor=predictor, lower_confidence_bound=2.0)
    assert cautious(designs).values[1] == pytest.approx(scores.values[1] - 2 * scores.std[1], abs=1e-5)
    unbound = Stability(predictor=predictor)(designs)
    assert not unbound.ok.any() and "needs the structure" in unbound.message[0]


def test_the_structure_of_the_backbone_is_that_of_the_reward() -> None:
    words = [
        "backbone=protein-inverse-folding",
        "backbone.structure=x.pdb",
        "backbone.chain=B",
        "steering=svdd",
    ]
    found = compose([*words, "reward=stability"])
    for role in ("reward", "heldout"):
        assert found[role]["init_args"]["structure"] == "x.pdb" and found[role]["init_args"]["chain"] == "B"
    assert compose([*words, "reward=stability", "reward.structure=y.pdb"])["reward"]["init_args"] == {
        "structure": "y.pdb",
        "chain": "B",
        "predictor": "stability",
    }


def test_measured_substitutions_by_place_and_letter(file: str, tmp_path: Path) -> None:
    table = tmp_path / "ddg.csv"
    table.write_text(
        "protein_id,mutation,ddg_kcal_mol\none,M1A,1.5\none,K2C,-0.5\ntwo,G1A,0.25\nthree,A1Y,2\n"
    )
    data = StabilityDataModule(str(table), structures=[file], val=["two"])
    assert [data.indices(side).tolist() for side in ("train", "val", "test")] == [[0, 2], [1], []]
    batch = data.collate(data.indices("train"))
    assert batch["cond"].shape == (2, 10, 14) and batch["mask"].sum(1).tolist() == [10, 7]
    found = {
        tuple(at): batch["targets"][tuple(at)].item() for at in batch["targets"].isfinite().nonzero().tolist()
    }
    assert found == {(0, 0, 0): 1.5, (0, 1, 1): -0.5, (1, 0, 19): 2.0}
    table.write_text("protein_id,mutation,ddg_kcal_mol\none,W1A,1.5\n")
    with pytest.raises(DataError, match="does not fit"):
        StabilityDataModule(str(table), structures=[file]).indices("train")


def test_a_predictor_learns_what_was_measured(file: str, tmp_path: Path) -> None:
    """What is buried is at one end of a helix; exchanges there cost, by the volume of the new letter."""
    rows = [
        f"{name},{old}{i + 1}{new},{1.0 if i < 4 else 0.0}"
        for name, sequence in SEQUENCES.items()
        for i, old in enumerate(sequence)
        for new in "AVLSTNDE"
        if new != old
    ]
    table = tmp_path / "ddg.csv"
    table.write_text("protein_id,mutation,ddg_kcal_mol\n" + "\n".join(rows) + "\n")
    data = StabilityDataModule(str(table), structures=[file])
    batch = data.collate(np.arange(4)) | {"position": torch.tensor(0)}
    module = StabilityPredictor(PairwiseEnergy(2, width=16, pair_width=8, rank=2, dropout=0.0))
    logged: dict[str, float] = {}
    module.log = lambda name, value, **_: logged.__setitem__(name, float(value))  # type: ignore[method-assign,assignment]
    assert float(module(batch).abs().max()) == 0  # every substitution has effect 0 before training
    optimiser = torch.optim.Adam(module.network.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad(), module.training_step(batch, 0).backward(), optimiser.step()
    module.validation_step(batch, 0)
    module.on_validation_epoch_end()
    assert logged["val_rmse"] < 0.25 and logged["val_spearman"] > 0.5


def test_a_template_names_residues_by_the_numbers_of_the_file(pdb: str) -> None:
    codec = on_structure(backbone(), pdb).codec  # residues 5 to 14, MKTAYIAKQR
    ids, fixed = codec.encode_template("6-8, 14")
    assert fixed.nonzero().flatten().tolist() == [1, 2, 3, 9]
    assert codec.decode(torch.where(fixed, ids, 0)[None]) == ["AKTAAAAAAR"]
    assert codec.encode_template("*KTA*****R")[1].equal(fixed)
    for template, message in (
        ("1-8", "no residue 1; it has 5 to 14"),
        ("8-6", "backwards"),
        ("5-14", "every"),
    ):
        with pytest.raises(DesignError, match=message):
            codec.encode_template(template)


def test_the_command_line_reads_the_structure_and_its_own_sequence(
    pdb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["backbone=protein-inverse-folding", f"backbone.structure={pdb}", "reward=protein-gravy"]
    assert main(["check", *words, f"start={pdb}", "remask=2", "template=5,14", "steering.alpha=1"]) == 0
    assert "structure: x.pdb, chain A, 10 residues 5 to 14" in capsys.readouterr().out
    assert main(["check", *words, "template=200"]) == 2
    assert "no residue 200; it has 5 to 14" in capsys.readouterr().err


@pytest.mark.whole
def test_the_shipped_fine_tuning_runs_on_a_structure(
    pdb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = str(Path(__file__).parents[1] / "configs" / "finetune" / "protein_stability.yaml")
    small = {"steps": "4", "batch_size": "2", "val_designs": "4", "val_times": "1"}
    words = [word for key, value in small.items() for word in (f"--model.{key}", value)]
    for key in ("backbone.structure", "reward.init_args.structure", "heldout.init_args.structure"):
        words += [f"--model.{key}", pdb]
    limits = [
        "--trainer.max_steps",
        "2",
        "--trainer.val_check_interval",
        "1",
        "--trainer.enable_progress_bar",
        "false",
    ]
    assert main(["finetune", "--config", file, *words, *limits]) == 0
    assert "val_guide" in (tmp_path / "runs/protein-stability-drakes/csv/version_0/metrics.csv").read_text()


def test_a_bound_backbone_is_saved_and_read_with_its_structure(pdb: str, tmp_path: Path) -> None:
    bound = on_structure(backbone(), pdb)
    bound.save_pretrained(tmp_path / "bound")
    again = load_backbone(tmp_path / "bound")
    assert again.sample(2, steps=4, seed=0) == bound.sample(2, steps=4, seed=0)
    assert again.codec.structure.numbers[0] == "5"  # type: ignore[attr-defined]
    np.testing.assert_array_equal(sure(again), sure(bound))


def sure(backbone: Backbone) -> np.ndarray:
    return backbone.codec.confidence("MKTAYIAKQR")  # type: ignore[attr-defined,no-any-return]


def test_confidence_is_that_of_the_very_backbone(pdb: str) -> None:
    """Colder, it is surer of what it is sure of; and each of several that share a network speaks for itself."""
    bound = on_structure(backbone(), pdb)
    warm, cold = sure(bound), at_temperature(bound, 0.2)
    chances = bound.codec.chances("MKTAYIAKQR") ** 5  # type: ignore[attr-defined]
    expected = chances / chances.sum(-1, keepdims=True)
    np.testing.assert_allclose(cold.codec.chances("MKTAYIAKQR"), expected, rtol=1e-4)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(sure(bound), warm)


def test_half_precision_leaves_the_network_as_it_was(pdb: str) -> None:
    """What is kept of the structure is kept for each precision; products in bfloat16 differ by little."""
    expected = sure(on_structure(backbone(), pdb))
    bound = on_structure(backbone(), pdb)
    half = bound.in_bfloat16()  # is asked first
    first = sure(half)
    np.testing.assert_allclose(first, expected, rtol=0.1)
    assert half.sample(2, steps=4, seed=0) and (first != expected).any()
    np.testing.assert_array_equal(sure(bound), expected)
    np.testing.assert_array_equal(sure(half), first)

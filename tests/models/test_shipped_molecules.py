"""The shipped backbone of molecules: built as its configuration says, small, and its molecules look like ZINC's."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gendesign.backbone import Backbone
from gendesign.building import build, describe
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.loading import list_backbones, load_backbone
from gendesign.metrics.molecule_reference import MoleculeReference, properties
from gendesign.molecules.codec import MoleculeCodec

pytest.importorskip("rdkit")
CONFIG = Path(__file__).parents[2] / "configs/train/molecule_zinc.yaml"


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("molecule-zinc")


@pytest.fixture(scope="module")
def molecules(backbone: Backbone) -> list[str]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return backbone.sample(128, steps=24, seed=0)


def test_it_is_what_its_configuration_trains(backbone: Backbone) -> None:
    model = yaml.safe_load(CONFIG.read_text())["model"]["init_args"]
    codec = build(model["codec"])
    assert isinstance(backbone.codec, MoleculeCodec) and codec.unfitted() == backbone.codec.unfitted()
    assert repr(build(model["denoiser"])) == repr(load_backbone("molecule-zinc", temperature=1.0).denoiser)
    assert isinstance(backbone.process, MaskedDiffusion)
    assert describe(build(model["process"]).unmasking) == describe(backbone.process.unmasking)
    assert describe(backbone.process.unmasking)["init_args"] == {"pad": backbone.codec.pad_id}
    assert backbone.provenance["temperature"] == model["temperature"]
    assert "olecules" in list_backbones()["molecule-zinc"]
    assert backbone.folder is not None
    assert (backbone.folder / "model.safetensors").stat().st_size < 30e6


@pytest.mark.parametrize(
    "smiles",
    [
        "CC(=O)Oc1ccccc1C(=O)O",
        "CN1CCC[C@H]1c1cccnc1",
        "C/C=C/C(=O)N1CCC(CC1)c1nc(C)cs1",
        "C[NH+]1CCN(CC1)Cc1ccc(cc1)C(=O)[O-]",
        "Cc1ccc(cc1)-c1cc(nn1-c1ccc(cc1)S(N)(=O)=O)C(F)(F)F",
    ],
)
def test_drugs_are_inside_its_vocabulary(backbone: Backbone, smiles: str) -> None:
    (again,) = backbone.codec.decode(backbone.codec.encode([smiles]))
    assert again == backbone.codec.normal(smiles)


@pytest.mark.whole
def test_its_molecules_are_many_new_and_like_zincs(backbone: Backbone, molecules: list[str]) -> None:
    reference = backbone.reference
    assert isinstance(reference, MoleculeReference)
    assert len(set(molecules)) >= 126
    assert np.nanmean(reference.novelty(molecules)["novel"]) > 0.9
    measured = properties(molecules)
    for name in ("logP", "QED", "SA", "molecular weight", "TPSA", "heavy atoms", "rings", "aromatic rings"):
        natural = reference.quantiles[name]
        assert reference.distance(name, measured[name]) < 0.6 * float(np.std(natural)), name


def test_likelihood_tells_molecules_from_shuffled_tokens(backbone: Backbone) -> None:
    real = "CC(C)NC(=O)c1ccc(OCC2CC2)cc1"
    ids = backbone.codec.encode([real])
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    used = int((ids != backbone.codec.pad_id).sum())
    mixed = ids.clone()
    mixed[0, :used] = ids[0, :used][order[order < used]]
    (other,) = backbone.codec.decode(mixed)
    assert other != backbone.codec.normal(real)
    good, bad = backbone.log_likelihood([real, other], num_times=16).tolist()
    assert good > bad

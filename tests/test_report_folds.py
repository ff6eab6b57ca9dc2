"""The report of sequences for a backbone: alignment to the structure's own, and chances of amino acids by residue."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import gendesign as gd
from gendesign.backbone import Backbone
from gendesign.files.structures import threaded_pdb
from gendesign.inverse_folding import on_structure
from gendesign.models.structure_denoiser import StructureDenoiser
from gendesign.report import render_report
from gendesign.report.folds import alignment, residue_panels
from gendesign.rewards import GRAVY
from gendesign.structures import Structure

OWN, NUMBERS = "MKTAYIAKQR", tuple(str(i + 5) for i in range(10))


def text_of(html: str) -> str:
    return re.sub(r"<[^>]*>", "", html)


def test_an_alignment_shows_what_differs_and_counts_what_is_kept() -> None:
    lines = text_of(alignment(OWN, NUMBERS, ["MKTAYIAKQA", "MKTGYIAKQR", "MKTGYIAKQR", "MKTGYIAKQR"])).split(
        "\n"
    )
    assert [line.split() for line in lines[:3]] == [
        ["5", OWN, "14"],
        ["1", "·········A"],
        ["2", "···G······"],
    ]
    assert lines[-1].split() == ["kept", "+++2+++++7"]  # a quarter, and three


def test_long_chains_are_broken_into_lines_and_panels() -> None:
    own = OWN * 12
    numbers = tuple(str(i) for i in range(1, 121))
    text = text_of(alignment(own, numbers, [own]))
    assert text.count("·") == 120 and len([line for line in text.split("\n") if "kept" in line]) == 3
    chances = np.full((120, 20), 0.05)
    panels = residue_panels(chances, "ACDEFGHIKLMNPQRSTVWY", own, own, numbers)
    assert len(panels) == 3 and all(panel.count("<text") == 20 + 8 for panel in panels)


def test_squares_are_darker_where_chances_are_larger() -> None:
    chances = np.zeros((10, 20))
    chances[0, 0], chances[1, 1] = 0.9, 0.03
    (panel,) = residue_panels(chances, "ACDEFGHIKLMNPQRSTVWY", OWN, OWN, NUMBERS)
    found = re.findall(r'd="M([\d.]+) [^"]*" fill="var\(--steered\)" fill-opacity="([\d.]+)"', panel)
    light, dark = sorted(found, key=lambda one: float(one[1]))
    assert float(dark[1]) > float(light[1]) and float(dark[0]) < float(light[0])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    places = np.arange(10)[:, None] + np.array([0.0, 0.3, 0.6, 0.7])
    angle = places * np.deg2rad(100.0)
    atoms = np.stack([2.3 * np.cos(angle), 2.3 * np.sin(angle), 1.5 * places], axis=-1)
    structure = Structure("x", "A", OWN, atoms, np.full((10, 3), np.nan), NUMBERS)
    path = tmp_path_factory.mktemp("fold") / "x.pdb"
    Path(path).write_text(threaded_pdb(structure, OWN))
    torch.manual_seed(0)
    net = StructureDenoiser(20, 16, encoder_depth=1, decoder_depth=1, neighbours=6)
    backbone = Backbone(gd.ProteinCodec(10), gd.MaskedDiffusion(20), net.eval().requires_grad_(False)).eval()
    bound = on_structure(backbone, str(path))
    run = gd.design(bound, GRAVY(), gd.BestOfN(candidates=2), num_designs=3, steps=4, base_designs=2)
    return render_report(run)


def test_the_page_has_both(page: str) -> None:
    text = " ".join(text_of(page).split())
    assert "What is kept of the structure's own sequence?" in text and OWN in text
    assert (
        "How sure is the backbone of each residue?" in text and "all other residues of it being known" in text
    )
    assert "Chances of amino acids at residues 5 to 14" in page

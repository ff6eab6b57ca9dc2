"""Docking: one score a molecule, limits that hold, and errors before anything runs."""

from pathlib import Path

import numpy as np
import pytest

from gendesign.errors import ConfigError, MissingExtraError
from gendesign.rewards import Docking, Status
from gendesign.rewards.docking import NEEDED, RECEPTORS, VinaEnergy, find_receptor, receptor_atoms

BOX = {"center": [27.6, 35.8, 22.4], "size": [10, 10, 10]}


@pytest.fixture()
def packages() -> None:
    """Skip where the extra is not installed."""
    for package in NEEDED:
        pytest.importorskip(package)


@pytest.mark.usefixtures("packages")
def test_molecules_are_docked_alike_in_any_spelling_and_bad_ones_have_a_status(tmp_path: Path) -> None:
    designs = ["c1ccccc1", "OCC", "CCO", "C.C", "CB(O)O"]
    with Docking("ubiquitin-patch", **BOX, exhaustiveness=1, processes=1, cache=tmp_path) as reward:
        scores = reward(designs)
        assert reward(designs[::-1]).values[-1] == scores.values[0]  # from the cache
    assert list(scores.status) == [Status.OK] * 3 + [Status.INVALID] * 2
    assert "Vina cannot read the molecule" in scores.message[4]  # boron has no AutoDock type
    assert scores.values[1] == scores.values[2]
    assert 1 < scores.values[1] < scores.values[0] < 6  # kcal/mol; benzene binds better than ethanol
    assert "vina" in reward.version and "receptor" in reward.version
    again = VinaEnergy("ubiquitin-patch", **BOX, exhaustiveness=1)(["CCO"])
    assert again.values[0] == scores.values[1]


@pytest.mark.usefixtures("packages")
def test_a_molecule_that_takes_too_long_is_timed_out() -> None:
    with Docking("ubiquitin-patch", **BOX, exhaustiveness=5000, processes=1, timeout_s=0.5) as reward:
        scores = reward(["CCCCCCCCO"])
    assert scores.status == (Status.TIMED_OUT,) and "within 0.5 s" in scores.message[0]


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"center": [0, 0, 0]}, r"holds no atom of .*whose middle is \[2"),
        ({"center": [1, 2]}, "center must be three numbers"),
        ({"center": [1, 2, float("nan")]}, "center must be a finite number"),
        ({"size": [10, 0, 10]}, "size must be above 0"),
        ({"size": [10, 10, 100]}, "at most 60"),
        ({"exhaustiveness": 0}, "exhaustiveness"),
        ({"seed": 0}, "seed"),
        ({"timeout_s": 0.0}, "timeout_s"),
    ],
)
def test_a_bad_box_is_refused_before_anything_runs(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Docking("ubiquitin-patch", **(BOX | change))


GOOD = (RECEPTORS / "ubiquitin-patch.pdbqt").read_text().splitlines()[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no atom"),
        ("just text\n", "holds no atom"),
        ("ROOT\n", "belongs to a ligand"),
        (GOOD[:50] + "\n", "line 1: no atom of a PDBQT file"),
        (GOOD[:77] + "\n", "line 1: an atom without its AutoDock type"),
        (GOOD.replace(GOOD[30:38], "  x.yyy "), "line 1: no atom"),
    ],
)
def test_a_bad_receptor_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.pdbqt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        receptor_atoms(find_receptor(path))


@pytest.mark.usefixtures("packages")
def test_what_vina_refuses_in_a_receptor_is_said_when_the_reward_is_made(tmp_path: Path) -> None:
    path = tmp_path / "typo.pdbqt"
    path.write_text((RECEPTORS / "ubiquitin-patch.pdbqt").read_text().replace(" OA", " Xx", 1))
    with pytest.raises(ConfigError, match="typo.pdbqt: PDBQT parsing error: Atom type Xx"):
        Docking(path, **BOX)


def test_a_receptor_that_is_not_there_or_is_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        find_receptor(tmp_path / "none.pdbqt")
    (tmp_path / "protein.pdb").write_text("")
    with pytest.raises(ConfigError, match="mk_prepare_receptor"):
        find_receptor(tmp_path / "protein.pdb")


def test_the_shipped_receptor_is_read() -> None:
    atoms = receptor_atoms(find_receptor("ubiquitin-patch"))
    assert atoms.shape == (259, 3) and np.abs(atoms.mean(0) - [28, 35, 17]).max() < 8


def test_without_its_packages_docking_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"vina is not installed; .*gendesign\[docking\]"):
        Docking("ubiquitin-patch", **BOX)

"""Similarity to a reference molecule."""

from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from gendesign.errors import ConfigError
from gendesign.rewards import Similarity, Status
from gendesign.rewards.score_cache import identity
from gendesign.rewards.similarity import FINGERPRINTS

ASPIRIN, SALICYLIC, HEXANE = "CC(=O)Oc1ccccc1C(=O)O", "Oc1ccccc1C(=O)O", "CCCCCC"


@pytest.mark.parametrize("fingerprint", FINGERPRINTS)
def test_the_reference_is_most_alike_in_any_spelling(fingerprint: str) -> None:
    scores = Similarity(ASPIRIN, fingerprint=fingerprint)(
        [ASPIRIN, "O=C(O)c1ccccc1OC(C)=O", SALICYLIC, HEXANE]
    )
    assert scores.values[0] == scores.values[1] == 1
    assert 1 > scores.values[2] > scores.values[3] >= 0


def test_of_several_references_the_nearest_counts(tmp_path: Path) -> None:
    (tmp_path / "leads.smi").write_text(f"{HEXANE}\n{ASPIRIN}\n")
    several, designs = Similarity(str(tmp_path / "leads.smi")), [ASPIRIN, SALICYLIC, "CCCCCCC"]
    alone = np.stack([Similarity(one)(designs).values for one in (HEXANE, ASPIRIN)])
    np.testing.assert_array_equal(several(designs).values, alone.max(0))
    (tmp_path / "leads.smi").write_text(f"{HEXANE}\nnot one\n")
    with pytest.raises(ConfigError, match="cannot read the SMILES"):
        Similarity(str(tmp_path / "leads.smi"))


def test_it_is_symmetric() -> None:
    there, back = Similarity(ASPIRIN)([SALICYLIC]), Similarity(SALICYLIC)([ASPIRIN])
    assert there.values[0] == back.values[0]


def test_counts_tell_chains_apart_that_presence_does_not() -> None:
    decane, undecane = "C" * 10, "C" * 11
    assert Similarity(decane, counts=False)([undecane]).values[0] == 1
    # ECFP4 of a long chain: each further CH2 adds one feature of each radius
    assert Similarity(decane)([undecane]).values[0] == pytest.approx(26 / 29, abs=0.03)


def test_features_are_shared_by_role_in_fcfp() -> None:
    chloro, bromo = "Clc1ccccc1", "Brc1ccccc1"
    assert Similarity(chloro, fingerprint="FCFP4")([bromo]).values[0] == 1
    assert Similarity(chloro, fingerprint="ECFP4")([bromo]).values[0] < 1


def test_what_is_no_molecule_is_refused_or_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as in use
    with pytest.raises(ConfigError, match="reference: .*2 fragments"):
        Similarity("CC.CC")
    with pytest.raises(ConfigError, match="got None"):
        Similarity(None)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="expected a SMILES, got an empty one"):
        Similarity("")
    with pytest.raises(ConfigError, match="fingerprint must be one of ECFP4"):
        Similarity(ASPIRIN, fingerprint="ECFP5")  # type: ignore[arg-type]
    scores = Similarity(ASPIRIN)(["", SALICYLIC])
    assert scores.status[0] is Status.INVALID and np.isfinite(scores.values[1])


def test_scores_that_are_kept_are_of_the_molecules_that_the_file_held(tmp_path: Path) -> None:
    file = tmp_path / "leads.smi"
    file.write_text(ASPIRIN + "\n")
    before = identity(Similarity(str(file)))
    assert identity(Similarity(str(file))) == before
    file.write_text(SALICYLIC + "\n")
    assert identity(Similarity(str(file))) != before

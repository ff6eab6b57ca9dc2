"""Counted neighbourhoods of atoms."""

import pytest
import torch

from gendesign.errors import ConfigError, DesignError
from gendesign.molecules.fingerprints import CountFingerprint

pytest.importorskip("rdkit")


def test_atoms_of_ethane_are_counted_twice_and_spelling_does_not_matter() -> None:
    # radius 0: two CH3; radius 1: the same bond seen from either end is one neighbourhood, and counts once
    x = CountFingerprint(size=512)(["CC"])
    assert sorted(x[x > 0].tolist()) == [1, 2]
    a, b = CountFingerprint()(["OCC", "CCO"])
    assert torch.equal(a, b)
    assert not torch.equal(*CountFingerprint()(["CCO", "CCN"]))


def test_roles_make_halogens_alike_and_elements_do_not() -> None:
    pair = ["Fc1ccccc1", "Clc1ccccc1"]
    assert torch.equal(*CountFingerprint("FCFP4")(pair))
    assert not torch.equal(*CountFingerprint("ECFP4")(pair))


def test_counts_stop_at_255() -> None:
    x = CountFingerprint(size=64)(["C" * 300])
    assert x.dtype == torch.uint8 and x.max() == 255


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="ECFP4, FCFP4"):
        CountFingerprint("MACCS")
    with pytest.raises(ConfigError, match="size"):
        CountFingerprint(size=0)
    with pytest.raises(DesignError, match="cannot read"):
        CountFingerprint()(["C1CC"])
    assert CountFingerprint(size=16)([]).shape == (0, 16)

"""Which rows train, validate and test: decided group by group, by a hash of (seed, group).

A hash does not depend on the order of the file, and the same group falls on the same side in every table that
names it alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]

SIDES = {"train": 0, "val": 1, "test": 2}
"""Number of each side; -1 is no side."""
_NAMES = SIDES | {"training": 0, "valid": 1, "validation": 1, "dev": 1}


def hashed_split(
    groups: Sequence[str],
    *,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    always_train: Collection[str] = (),
) -> Index:
    """The side of each row, so that fractions of the groups, rounded, are exact.

    Args:
        groups: the group of each row.
        val_fraction: fraction of the groups that validate.
        test_fraction: fraction of the groups that test.
        seed: of the hash.
        always_train: groups that are in the training part whatever the seed.
    """
    eligible = sorted(set(groups) - set(always_train), key=lambda group: _hash("split", seed, group))
    num_test, num_val = round(test_fraction * len(eligible)), round(val_fraction * len(eligible))
    sides = {group: SIDES["test"] for group in eligible[:num_test]}
    sides |= {group: SIDES["val"] for group in eligible[num_test : num_test + num_val]}
    return np.array([sides.get(group, SIDES["train"]) for group in groups])


def named_split(names: Sequence[str]) -> Index:
    """The side of each row by its name.

    Raises:
        ValueError: a name that is none of train, val and test.
    """
    unknown = sorted({name for name in names if name.lower() not in _NAMES})
    if unknown:
        raise ValueError(f"must say train, val or test; got {', '.join(unknown[:5])}")
    return np.array([_NAMES[name.lower()] for name in names])


def keep_fold(side: Index, groups: Sequence[str], *, folds: int, fold: int, seed: int) -> Index:
    """Leave a training or validation row its side only if its group belongs to the fold; test rows are shared."""
    part = {group: int(_hash("fold", seed, group), 16) % folds for group in set(groups)}
    own = np.array([part[group] == fold for group in groups])
    return np.where(own | (side == SIDES["test"]), side, -1)


def thin(rows: Index, values: Sequence[str], keys: Sequence[str], *, limit: int, seed: int) -> Index:
    """At most `limit` rows of each value, those whose keys hash lowest; in order.

    Args:
        rows: rows to choose from.
        values: the value of every row of the table.
        keys: what is hashed, of every row of the table.
        limit: rows a value.
        seed: of the hash.
    """
    taken: dict[str, int] = {}
    kept = []
    for row in sorted(rows.tolist(), key=lambda row: _hash("thin", seed, keys[row])):
        taken[values[row]] = taken.get(values[row], 0) + 1
        if taken[values[row]] <= limit:
            kept.append(row)
    return np.array(sorted(kept), dtype=np.int64)


def _hash(purpose: str, seed: int, text: str) -> str:
    return hashlib.sha256(f"{purpose}:{seed}:{text}".encode()).hexdigest()

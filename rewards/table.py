"""Scores that were measured, looked up: complete landscapes, plates, libraries.

A design that the table does not hold has no value: it is INVALID, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gendesign.designs import Design
from gendesign.errors import ConfigError, DataError
from gendesign.rewards.base import Reward


class TableReward(Reward):
    """The value that a table holds of a design.

    Args:
        path: a CSV, TSV or Parquet file, or `data:NAME` for a table of `gendesign data`.
        designs: column of the designs; several where a row's value holds for several designs, such as both strands.
        value: column of the values; rows without a finite one are left out.
        name: name in tables; the value's column when left out.
        unit: unit of the values.
        lower_is_better: negate the values, since steering raises them.

    Raises:
        ConfigError: the file has no such column.
        DataError: the file cannot be read, or gives one design two values.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        designs: str | Sequence[str] = "sequence",
        value: str = "value",
        name: str = "",
        unit: str = "",
        lower_is_better: bool = False,
    ) -> None:
        columns = [designs] if isinstance(designs, str) else list(designs)
        table = _read(str(path))
        for column in (*columns, value):
            if column not in table:
                raise ConfigError(f"{path} has no column {column!r}; it has {', '.join(map(str, table))}")
        self.name, self.unit, self.source = name or value, unit, Path(path).name
        numbers = pd.to_numeric(table[value], errors="coerce").to_numpy(dtype=np.float64)
        rows = table[np.isfinite(numbers)]
        numbers = (-1.0 if lower_is_better else 1.0) * numbers[np.isfinite(numbers)]
        self.values: dict[str, float] = {}
        for column in columns:
            for design, number in zip(rows[column].astype(str), numbers.tolist(), strict=True):
                if self.values.setdefault(design, number) != number:
                    raise DataError(f"{path} gives {design!r} two values in {value!r}; average them first")

    def unreadable(self, design: Design) -> str:
        if isinstance(design, str) and design in self.values:
            return ""
        return f"not among the {len(self.values):,} designs of {self.source}"

    def score(self, designs: Sequence[Any]) -> npt.NDArray[np.float64]:
        return np.array([self.values[design] for design in designs])


def _read(path: str) -> pd.DataFrame:
    if path.startswith("data:"):
        from gendesign.data import tables

        path = str(tables.locate(path.removeprefix("data:")))
    file = Path(path).expanduser()
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        # the peptide NA is a sequence, not a missing value
        return pd.read_csv(file, sep="\t" if ".tsv" in file.suffixes else ",", keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the table {file}: {' '.join(str(error).split())[:200]}") from error

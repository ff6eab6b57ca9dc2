"""Scores that were measured, looked up: complete landscapes, plates, libraries.

A design that the table does not hold has no value: it is INVALID, never a guess.

Where every string of one length over an alphabet was measured, the table has a gradient: its expectation under
independent letters,

    r(P) = sum over strings x of  prod_i P(i, x_i)  r(x),

the one function that is linear in each position's probabilities and equals the table at the strings themselves.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.designs import Design
from gendesign.errors import ConfigError, DataError, UnsupportedError
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
        alphabet: letters of the designs, in the order of the backbone's: makes the reward differentiable, by its
            expectation under independent letters. The table must then hold every string of one length over them.

    Raises:
        ConfigError: the file has no such column, or an alphabet repeats a letter.
        DataError: the file cannot be read, gives one design two values, or, with an alphabet, misses a string.
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
        alphabet: str = "",
    ) -> None:
        columns = [designs] if isinstance(designs, str) else list(designs)
        table = _read(str(path), columns)
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
        self.alphabet, self.differentiable = alphabet, bool(alphabet)
        if alphabet:
            self.halves = self._halves()

    def unreadable(self, design: Design) -> str:
        if isinstance(design, str) and design in self.values:
            return ""
        return f"not among the {len(self.values):,} designs of {self.source}"

    @property
    def examples(self) -> Collection[Design]:
        return self.values.keys()

    def score(self, designs: Sequence[Any]) -> npt.NDArray[np.float64]:
        return np.array([self.values[design] for design in designs])

    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, " B"]:
        if not self.differentiable:
            return super().relaxed(x)
        if x.shape[1:] != (self.length, len(self.alphabet)):
            raise UnsupportedError(
                f"reward {self.label!r} takes relaxed designs of {self.length} letters over {self.alphabet}, "
                f"got {x.shape[1]} positions of {x.shape[2]} tokens"
            )
        # all strings of the first half by all of the second, so that no row of K^L is ever made
        middle = self.length // 2
        first, second = _law(x[:, :middle].double()), _law(x[:, middle:].double())
        return ((first @ self.halves) * second).sum(-1)

    def to(self, device: str | torch.device) -> TableReward:
        if self.differentiable:
            self.halves = self.halves.to(device)
        return self

    def _halves(self) -> Float[Tensor, "F S"]:
        """The values of all strings, those of one first half in a row; both in lexicographic order."""
        letters, lengths = self.alphabet, {len(design) for design in self.values}
        if len(set(letters)) != len(letters):
            raise ConfigError(f"alphabet must name each letter once, got {letters!r}")
        if len(lengths) != 1:
            raise DataError(
                f"{self.source} has designs of {len(lengths)} lengths; a relaxed value needs one: leave out alphabet"
            )
        (self.length,) = lengths
        strangers = {letter for design in self.values for letter in design} - set(letters)
        every = len(letters) ** self.length
        if strangers or len(self.values) != every:
            short = f"the letter {min(strangers)!r}" if strangers else f"{len(self.values):,} of them"
            raise DataError(
                f"a relaxed value needs each of the {every:,} strings of {self.length} letters over {letters}, and "
                f"{self.source} has {short}: leave out alphabet, and what was not measured stays INVALID"
            )
        # sorted as the letters stand in the alphabet
        rank = str.maketrans({letter: chr(place) for place, letter in enumerate(letters)})
        ordered = sorted(self.values, key=lambda design: design.translate(rank))
        table = torch.tensor([self.values[design] for design in ordered], dtype=torch.float64)
        return table.view(len(letters) ** (self.length // 2), -1)


def _law(x: Float[Tensor, "B L K"]) -> Float[Tensor, "B S"]:
    """Probabilities of all strings of independent letters, in lexicographic order."""
    law = torch.ones(len(x), 1, dtype=x.dtype, device=x.device)
    for letter in x.unbind(1):
        law = (law[:, :, None] * letter[:, None]).flatten(1)
    return law


def _read(path: str, texts: Sequence[str]) -> pd.DataFrame:
    if path.startswith("data:"):
        from gendesign.data import tables

        path = str(tables.locate(path.removeprefix("data:")))
    file = Path(path).expanduser()
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        # the peptide NA is a sequence, not a missing value, and 0011 is one of another alphabet, not the number 11
        return pd.read_csv(
            file,
            sep="\t" if ".tsv" in file.suffixes else ",",
            keep_default_na=False,
            dtype=dict.fromkeys(texts, str),
        )
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the table {file}: {' '.join(str(error).split())[:200]}") from error

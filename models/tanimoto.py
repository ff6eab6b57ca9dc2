"""How alike molecules are, from counts of their neighbourhoods: Tanimoto's coefficient as a kernel.

    T(a, b) = sum_d min(a_d, b_d) / sum_d max(a_d, b_d)

It is positive definite: 1 for equal counts, 0 for nothing shared.

Ralaivola, Swamidass, Saigo and Baldi, "Graph kernels for chemical informatics" (2005, doi
10.1016/j.neunet.2005.07.009).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Integer
from torch import Tensor


class TanimotoKernel:
    """sum_d min(a_d, b_d) / sum_d max(a_d, b_d) to a fixed set of molecules, by one product of matrices.

    min(a, b) is the number of levels l = 1, 2, ... that both a and b reach, so counts become rows of zeros and ones, a
    column for each place and level that a molecule of the set reaches. Two molecules without any atom count as unlike.

    Args:
        counts: of the n molecules of the set.
    """

    def __init__(self, counts: Integer[Tensor, "n D"]) -> None:
        highest = counts.amax(0).long()
        self.place = torch.repeat_interleave(torch.arange(len(highest), device=counts.device), highest)
        first = torch.repeat_interleave(highest.cumsum(0) - highest, highest)
        self.level = torch.arange(len(self.place), device=counts.device) - first + 1
        self.reached = self._levels(counts)
        self.total = counts.sum(1, dtype=torch.float32)

    def __call__(self, counts: Integer[Tensor, "B D"]) -> Float[Tensor, "B n"]:
        """T of other molecules to each of the set, float64."""
        shared = self._levels(counts) @ self.reached.T
        either = counts.sum(1, dtype=torch.float32)[:, None] + self.total - shared
        return shared.double() / either.double().clamp(min=1.0)

    def among(self) -> Float[Tensor, "n n"]:
        """T within the set."""
        shared = self.reached @ self.reached.T
        return shared.double() / (self.total[:, None] + self.total - shared).double().clamp(min=1.0)

    def _levels(self, counts: Integer[Tensor, "B D"]) -> Float[Tensor, "B P"]:
        return (counts[:, self.place] >= self.level).float()

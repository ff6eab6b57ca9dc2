"""A denoiser whose matrix products are computed in bfloat16: the same weights, faster where processors have such units.

    8 bits of mantissa in products, float32 in sums, normalisations and answers

The law that is sampled changes by rounding; benchmarks/half.py measures time and divergence together. Processors
without bfloat16 units are slower with it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gendesign.models.base import Denoiser, resemble


class Half(Denoiser):
    """A denoiser under autocast to bfloat16.

    Args:
        denoiser: of tokens or numbers; its weights stay what they are.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        resemble(self, denoiser)

    def forward(
        self, x: Tensor, t: Tensor | None = None, cond: Any = None, mask: Tensor | None = None
    ) -> Any:
        """What the denoiser answers, in float32 or what is wider."""
        with torch.autocast(x.device.type, torch.bfloat16):
            answer = self.denoiser(x, t, cond, mask)
        if isinstance(answer, tuple):
            return tuple(map(_whole, answer))
        return _whole(answer)


def _whole(part: Tensor | None) -> Tensor | None:
    return part.float() if part is not None and part.dtype == torch.bfloat16 else part

"""Two denoisers, one above a noise level and one at and below it.

    D(x, sigma) = high(x, sigma) where sigma > sigma_floor, else low(x, sigma)

Fine-tuning a continuous backbone changes what it does at large noise and leaves the last, fine steps to the base: the
price of a moved mean is |Delta|^2/2 (1/sigma_s^2 - 1/sigma_t^2), which no reward can pay as sigma_s goes to 0.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gendesign.building import finite
from gendesign.models.base import Denoiser, resemble


class SwitchedDenoiser(Denoiser):
    """One denoiser at large noise, another at small.

    Args:
        high: asked above `sigma_floor`.
        low: asked at and below it.
        sigma_floor: noise level, above 0.
    """

    def __init__(self, high: Denoiser, low: Denoiser, *, sigma_floor: float) -> None:
        super().__init__()
        self.high = high
        self.low = low
        resemble(self, high)
        self.time_conditioned = True
        self.sigma_floor = finite("sigma_floor", sigma_floor, above=0.0)

    def forward(
        self,
        x: Float[Tensor, "B N"],
        t: Float[Tensor, " B"] | None = None,
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> Any:
        """What the denoiser of each row's noise level answers."""
        assert t is not None
        above = t > self.sigma_floor
        if bool(above.all()):
            return self.high(x, t, cond, mask)
        if not bool(above.any()):
            return self.low(x, t, cond, mask)
        parts = []
        for rows, denoiser in ((above, self.high), (~above, self.low)):
            chosen = cond[rows] if isinstance(cond, Tensor) else cond
            parts.append(denoiser(x[rows], t[rows], chosen, None if mask is None else mask[rows]))
        back = torch.cat([above.nonzero(), (~above).nonzero()]).squeeze(-1).argsort()
        if not isinstance(parts[0], tuple):
            return torch.cat(parts)[back]
        pairs = zip(*parts, strict=True)
        return tuple(None if a is None or b is None else torch.cat([a, b])[back] for a, b in pairs)

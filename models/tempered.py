"""A denoiser of tokens at another temperature: sharper or flatter choices of each token.

    p_T(x_0^i | x_t)  ∝  p(x_0^i | x_t)^(1/T)

T < 1 keeps to what the network is sure of, as designers of sequences on a backbone do (Dauparas et al. 2022,
doi 10.1126/science.add2187); T > 1 proposes more of what it holds possible, as for variants of one protein: nearly
every letter of the training data is the wild type's. What is sampled, scored and compared with is p_T.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

from gendesign.building import finite
from gendesign.models.base import Denoiser, resemble


class Tempered(Denoiser):
    """A denoiser whose logits are divided by a temperature.

    Args:
        denoiser: of tokens.
        temperature: T, above 0.

    Raises:
        ConfigError: the temperature is not above 0.
    """

    def __init__(self, denoiser: Denoiser, *, temperature: float) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.temperature = finite("temperature", temperature, above=0.0)
        resemble(self, denoiser)

    def forward(
        self,
        x: Int[Tensor, "B L"] | Float[Tensor, "B L K1"],
        t: Float[Tensor, " B"] | None = None,
        cond: Any = None,
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L K"]:
        """The logits over T."""
        logits: Tensor = self.denoiser(x, t, cond, mask)
        return logits / self.temperature

"""A backbone of tokens at another temperature: p_T, which every steering method then works on.

See `gendesign.models.tempered` for what a temperature means.
"""

from __future__ import annotations

from gendesign.backbone import Backbone
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.errors import UnsupportedError
from gendesign.models.tempered import Tempered


def at_temperature(backbone: Backbone, temperature: float) -> Backbone:
    """The same backbone, network and all, at another temperature of each token's choice.

    Args:
        backbone: a masked diffusion.
        temperature: T: below 1 sharper, above 1 flatter; every method, score and comparison then means p_T.

    Raises:
        UnsupportedError: it is no masked diffusion.
        ConfigError: T is not above 0.
    """
    if not isinstance(backbone.process, MaskedDiffusion):
        raise UnsupportedError(
            f"a temperature is of masked diffusion; this backbone is {type(backbone.process).__name__}"
        )
    return backbone.with_denoiser(
        Tempered(backbone.denoiser, temperature=temperature), temperature=temperature
    )

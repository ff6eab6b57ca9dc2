"""A conditional denoiser bound to one label, with classifier-free guidance.

    tokens    log p_w(x_0 | x_t)  ∝  log p(x_0 | x_t) + w (log p(x_0 | x_t, c) - log p(x_0 | x_t))
    numbers   x_hat_0  =  x_hat_0(x_t) + w (x_hat_0(x_t, c) - x_hat_0(x_t))

w = 1 samples p(x | c) and asks the network once; any other w but 0 asks it twice, as one batch. The variance of numbers
is the conditional one.

Ho and Salimans 2022, Classifier-Free Diffusion Guidance, arXiv 2207.12598; for tokens Schiff et al. 2024, Simple
Guidance Mechanisms for Discrete Diffusion Models, arXiv 2412.10193.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gendesign.building import finite
from gendesign.errors import ConfigError
from gendesign.models.base import Denoiser, resemble


class Conditioned(Denoiser):
    """A denoiser whose `cond` is given once and for all.

    Args:
        denoiser: one that takes a `cond`.
        label: the conditioning vector.
        guidance_scale: w.

    Raises:
        ConfigError: the scale is not finite.
    """

    label: Tensor

    def __init__(self, denoiser: Denoiser, label: Sequence[float], *, guidance_scale: float = 1.0) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.scale = finite("guidance_scale", guidance_scale)
        resemble(self, denoiser)
        self.cond_dim = 0  # it has its label
        self.rows_per_design = 1 if self.scale in (0.0, 1.0) else 2
        self.register_buffer("label", torch.tensor(list(label), dtype=torch.get_default_dtype()))

    def forward(
        self, x: Tensor, t: Tensor | None = None, cond: Any = None, mask: Tensor | None = None
    ) -> Any:
        """What the denoiser answers, guided.

        Raises:
            ConfigError: another `cond` is given.
        """
        if cond is not None:
            raise ConfigError("this denoiser is bound to a label and takes no other cond")
        label = self.label.expand(len(x), -1)
        if self.rows_per_design == 1:
            return self.denoiser(x, t, label * self.scale, mask)
        twice = [None if part is None else torch.cat([part, part]) for part in (x, t, mask)]
        answer = self.denoiser(twice[0], twice[1], torch.cat([label, torch.zeros_like(label)]), twice[2])
        if isinstance(answer, tuple):
            mean, variance = answer
            return self._mixed(mean), None if variance is None else variance.chunk(2)[0]
        return self._mixed(answer.double().log_softmax(-1))

    def _mixed(self, both: Tensor) -> Tensor:
        given, free = both.chunk(2)
        return guided(given, free, self.scale)


def guided(given: Tensor, free: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: means, or log-probabilities, with and without the condition.

    Args:
        given: with it.
        free: without.
        scale: w.
    """
    return free + scale * (given - free)

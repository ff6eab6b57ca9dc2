"""The network of a diffusers pipeline as a denoiser: (x, sigma) -> posterior mean.

Classifier-free guidance is a mean like any other,

    x_hat_0 = x_hat_0(no prompt) + g (x_hat_0(prompt) - x_hat_0(no prompt)),

for two rows of the network a design.

Ho, Salimans 2022, Classifier-Free Diffusion Guidance, arXiv 2207.12598.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gendesign.building import finite, whole
from gendesign.diffusers_bridge.coordinates import Coordinates
from gendesign.errors import UnsupportedError
from gendesign.models.base import Denoiser


class Prompt(nn.Module):
    """A text as the network reads it.

    Args:
        embeddings: of the prompt; preceded by those of the negative prompt where there is guidance.
        extra: further inputs of the network for each of these rows (`added_cond_kwargs` of Stable Diffusion XL).
    """

    embeddings: Tensor

    def __init__(
        self, embeddings: Float[Tensor, "R T E"], extra: dict[str, Float[Tensor, "R F"]] | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("embeddings", embeddings)
        self.names = tuple(extra or {})
        for name, value in (extra or {}).items():
            self.register_buffer(name, value)

    def arguments(self, num: int, dtype: torch.dtype) -> dict[str, Any]:
        """Keyword arguments of the network for `num` designs, all first rows before all second ones."""
        given: dict[str, Any] = {
            "encoder_hidden_states": self.embeddings.to(dtype).repeat_interleave(num, dim=0)
        }
        if self.names:
            extra = {name: getattr(self, name).to(dtype).repeat_interleave(num, dim=0) for name in self.names}
            given["added_cond_kwargs"] = extra
        return given


class PipelineDenoiser(Denoiser):
    """A network of diffusers, in EDM's coordinates.

    Args:
        network: takes (images, timesteps, return_dict=False).
        coordinates: the ones that it was trained in.
        channels: of the images or latents.
        height: of the images or latents.
        width: likewise.
        prompt: what a text-to-image network is told.
        guidance_scale: g, 1 for none; with two rows of the prompt.
        clip: bound on the mean's absolute values, `math.inf` for none.
        max_rows: rows that the network sees at once, which bounds memory.
    """

    time_conditioned = True
    aug_dim = math.inf

    def __init__(
        self,
        network: nn.Module,
        coordinates: Coordinates,
        *,
        channels: int,
        height: int,
        width: int,
        prompt: Prompt | None = None,
        guidance_scale: float = 1.0,
        clip: float = math.inf,
        max_rows: int = 64,
    ) -> None:
        super().__init__()
        self.network = network
        self.coordinates = coordinates
        self.shape = (channels, height, width)
        self.prompt = prompt
        self.guidance_scale = finite("guidance_scale", guidance_scale, at_least=0.0)
        self.clip = clip
        self.max_rows = whole("max_rows", max_rows)

    @property
    def rows_per_design(self) -> int:
        """Network rows that one prediction spends: 2 with classifier-free guidance."""
        return 1 if self.prompt is None else len(self.prompt.embeddings)

    def forward(
        self,
        x: Float[Tensor, "B N"],
        t: Float[Tensor, " B"] | None = None,
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B N"], None]:
        """The posterior mean in float64; the network computes in its own precision.

        Raises:
            UnsupportedError: something else than noisy designs and their noise levels was given.
        """
        if t is None or cond is not None or mask is not None:
            raise UnsupportedError(
                "a network of diffusers takes noisy designs and their noise levels, no cond and no mask; "
                "give a text as load_diffusers(..., prompt='...')"
            )
        sigma = t.double()
        size = max(1, self.max_rows // self.rows_per_design)
        parts = zip(x.double().split(size), sigma.split(size), strict=True)
        return torch.cat([self._mean(part, level) for part, level in parts]), None

    def _mean(self, x: Float[Tensor, "B N"], sigma: Float[Tensor, " B"]) -> Float[Tensor, "B N"]:
        dtype = next(self.network.parameters()).dtype
        images = (self.coordinates.scale(sigma)[:, None] * x).to(dtype).view(-1, *self.shape)
        # times stay in float32 at least: bfloat16 has too few digits for a thousand steps
        times = self.coordinates.timestep(sigma).to(dtype if dtype == torch.float64 else torch.float32)
        rows = self.rows_per_design
        given = {} if self.prompt is None else self.prompt.arguments(len(x), dtype)
        answer: Tensor = self.network(
            images.repeat(rows, 1, 1, 1), times.repeat(rows), return_dict=False, **given
        )[0]
        # a learned variance, of another process's transition, follows the mean's channels
        output = answer[:, : self.shape[0]].double().flatten(1)
        if rows == 2:
            without, with_prompt = output.chunk(2)
            output = without + self.guidance_scale * (with_prompt - without)
        mean = self.coordinates.mean(output, x, sigma)
        return mean if math.isinf(self.clip) else mean.clamp(-self.clip, self.clip)

"""What denoiser networks are, and what those over tokens share: input embedding, conditioning vector, checks.

A denoiser maps a noisy design x_t to what it believes of the clean one. Over tokens these are logits of the K clean
tokens at every position of a partly masked sequence; over numbers, mean and variance of every coordinate (a
`VectorNetwork` inside `gendesign.models.preconditioning.Preconditioned`). Networks know neither the noise process, nor
the domain, nor the reward.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from gendesign.building import Configurable
from gendesign.errors import ConfigError


class Denoiser(Configurable, nn.Module):
    """Base class of what a diffusion process asks.

    Attributes:
        time_conditioned: whether equal states at different times may give different answers.
    """

    time_conditioned: bool

    @abstractmethod
    def forward(
        self, x: Tensor, t: Tensor | None = None, cond: Any = None, mask: Tensor | None = None
    ) -> Any:
        """What the clean designs look like, given the noisy ones.

        Args:
            x: noisy designs, one a row.
            t: time (noise level) of each.
            cond: what they are conditioned on.
            mask: True at real positions (coordinates), False at padding.
        """


LOOKED_AT = ("vocab_size", "aug_dim", "sigma_data", "sigma_floor", "cond_dim", "rows_per_design")
"""What backbones, processes and conditioning ask of a denoiser, where it has it."""


def resemble(outer: Denoiser, inner: Denoiser) -> None:
    """Make a denoiser around another look like it to whoever asks."""
    outer.time_conditioned = inner.time_conditioned
    for name in LOOKED_AT:
        if hasattr(inner, name):
            setattr(outer, name, getattr(inner, name))


class VectorNetwork(Configurable, nn.Module):
    """Base class of networks over N numbers, whose inputs and outputs have unit variance."""

    @abstractmethod
    def forward(
        self,
        x: Float[Tensor, "B N"],
        noise: Float[Tensor, " B"],
        cond: Any = None,
        mask: Bool[Tensor, "B N"] | None = None,
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N"] | None]:
        """The raw output, and the log of its variance where the network has a head for it.

        Args:
            x: noisy designs, scaled to unit variance.
            noise: a quarter of the log of each design's noise level.
            cond: what they are conditioned on.
            mask: True at coordinates that are to be denoised, False at fixed ones and at padding.
        """


class TokenDenoiser(Denoiser):
    """Base class of networks over sequences of tokens.

    Accepts token ids (0..K, where K is MASK) or relaxed one-hots over the K+1 tokens: a row of the embedding matrix is
    then replaced by a mixture of rows, so that ids and their one-hots give the same logits and a gradient reaches a
    relaxed input.

    Args:
        vocab_size: K, the number of clean tokens; the input has one more, MASK.
        width: number of channels.
        time_conditioned: whether the network sees the time t (it need not for masked diffusion).
        cond_dim: length of the vector `cond` that a conditional network takes; 0 for none.
    """

    def __init__(
        self, vocab_size: int, width: int, *, time_conditioned: bool = False, cond_dim: int = 0
    ) -> None:
        super().__init__()
        if vocab_size < 2 or width < 2 or cond_dim < 0:
            raise ConfigError(
                f"a denoiser needs vocab_size >= 2, width >= 2 and cond_dim >= 0; got {vocab_size}, {width}, {cond_dim}"
            )
        self.vocab_size = vocab_size
        self.width = width
        self.time_conditioned = time_conditioned
        self.cond_dim = cond_dim
        self.embedding = nn.Parameter(torch.randn(vocab_size + 1, width))
        self.time_mlp = TimeEmbedding(width) if time_conditioned else None
        self.cond_mlp = nn.Linear(cond_dim, width) if cond_dim else None

    @abstractmethod
    def forward(
        self,
        x: Int[Tensor, "B L"] | Float[Tensor, "B L K1"],
        t: Float[Tensor, " B"] | None = None,
        cond: Float[Tensor, "B D"] | None = None,
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, "B L K"]:
        """Logits over the K clean tokens at every position.

        Args:
            x: token ids in 0..K, K being MASK, or relaxed one-hots over the K+1 tokens.
            t: time of each sequence in [0, 1]; only a time-conditioned network reads it, and it must then be given.
            cond: what the sequences are conditioned on, where the network has a `cond_dim`; None is the zero vector,
                which stands for "any".
            mask: True at real positions. Padding (False) does not influence the logits of real positions.

        Returns:
            unnormalised log-probabilities.

        Raises:
            ConfigError: an input has the wrong shape or kind, or is missing.
        """

    def embed(self, x: Int[Tensor, "B L"] | Float[Tensor, "B L K1"]) -> Float[Tensor, "B L C"]:
        """Rows of the embedding matrix for ids, mixtures of its rows for relaxed one-hots."""
        if x.is_floating_point():
            if x.ndim != 3 or x.shape[-1] != self.vocab_size + 1:
                raise ConfigError(
                    f"relaxed input must be [batch, length, {self.vocab_size + 1}] (the clean tokens and MASK); "
                    f"got {list(x.shape)}"
                )
            return x.to(self.embedding.dtype) @ self.embedding
        if x.ndim != 2:
            raise ConfigError(f"token ids must be [batch, length]; got {list(x.shape)}")
        return functional.embedding(x, self.embedding)

    def condition(
        self, batch: int, t: Float[Tensor, " B"] | None, cond: Float[Tensor, "B D"] | None
    ) -> Float[Tensor, "B C"] | None:
        """The vector that modulates every block: of the time and of `cond`; None where the network takes neither."""
        vector: Tensor | None = None
        if self.time_mlp is not None:
            if t is None:
                raise ConfigError("this network is time-conditioned: give t, one time in [0, 1] per sequence")
            if t.shape != (batch,):
                raise ConfigError(
                    f"t must hold one time for each of the {batch} sequences; got {list(t.shape)}"
                )
            vector = self.time_mlp(t.to(self.embedding.dtype))
        projected = embed_cond(self.cond_mlp, cond, batch)
        if projected is None or vector is None:
            return vector if projected is None else projected
        return vector + projected

    @property
    def is_modulated(self) -> bool:
        """Whether blocks receive a conditioning vector."""
        return self.time_conditioned or self.cond_dim > 0


def embed_cond(mlp: nn.Linear | None, cond: Tensor | None, batch: int) -> Float[Tensor, "B C"] | None:
    """Project what designs are conditioned on; no `cond` is the zero vector, which stands for "any".

    Args:
        mlp: of `cond_dim` inputs; None where the network takes no `cond`.
        cond: Float[B cond_dim].
        batch: B.

    Raises:
        ConfigError: a `cond` that the network does not take, or of another shape.
    """
    if mlp is None:
        if cond is not None:
            raise ConfigError("this network takes no cond; build it with cond_dim=...")
        return None
    if cond is None:
        return mlp.bias.expand(batch, -1)
    if cond.shape != (batch, mlp.in_features):
        raise ConfigError(f"cond must be [{batch}, {mlp.in_features}]; got {list(cond.shape)}")
    projected: Tensor = mlp(cond.to(mlp.weight.dtype))
    return projected


class TimeEmbedding(nn.Module):
    """Sines and cosines of t at geometrically spaced frequencies, then a two-layer perceptron.

    Args:
        width: length of the embedding.
        max_frequency: the highest angular frequency; times closer than about 1 / max_frequency look alike.
    """

    frequencies: Tensor

    def __init__(self, width: int, max_frequency: float = 1000.0) -> None:
        super().__init__()
        half = width // 2
        self.register_buffer(
            "frequencies", torch.exp(torch.linspace(0.0, math.log(max_frequency), half)), False
        )
        self.mlp = nn.Sequential(nn.Linear(2 * half, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Float[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Embed a time for each sequence."""
        angles = t[:, None] * self.frequencies
        embedded: Tensor = self.mlp(torch.cat([angles.sin(), angles.cos()], dim=-1))
        return embedded

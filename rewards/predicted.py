"""A learned predictor as a reward.

    r(x) = mean_m f_m(prefix + x + suffix) - kappa * std_m f_m(prefix + x + suffix)

with members m of the ensemble; kappa > 0 is a lower confidence bound, which steering cannot raise by leaving
what the ensemble agrees on. The constant context is part of what was measured, so it is put back around every
design.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gendesign.building import finite, whole
from gendesign.codecs import SequenceCodec, TokenCodec
from gendesign.designs import Design
from gendesign.errors import CheckpointError, ConfigError, UnsupportedError
from gendesign.molecules import chemistry
from gendesign.molecules.codec import MoleculeCodec
from gendesign.rewards.base import DifferentiableReward, Scores
from gendesign.rewards.predictors import load_predictor


class PredictedReward(DifferentiableReward):
    """One head of an ensemble of predictors of sequences or of molecules.

    Args:
        predictor: name of a shipped predictor, or a folder that `Predictor.save_pretrained` wrote.
        head: which of its targets; may be left out if it has one.
        lower_confidence_bound: kappa, standard deviations to subtract from the mean; at least 0.
        prefix: constant sequence before every design; the predictor's own when left out.
        suffix: constant sequence after it; likewise.
        min_length: shorter designs are INVALID: a predictor of fixed-length inserts knows nothing of them.
        batch_size: designs per forward pass; with few, what passes between layers stays in a processor's caches.
        name: name in tables.

    Raises:
        CheckpointError: the predictor cannot be loaded.
        ConfigError: it has no such head, or is one network where a bound is asked for.
    """

    def __init__(
        self,
        predictor: str,
        *,
        head: str = "",
        lower_confidence_bound: float = 0.0,
        prefix: str | None = None,
        suffix: str | None = None,
        min_length: int = 1,
        batch_size: int = 64,
        name: str = "",
    ) -> None:
        self.predictor = load_predictor(predictor)
        if self.predictor.center.isnan().any():
            raise CheckpointError(
                f"predictor {predictor!r} has features but no measurements yet; train it by fit --init"
            )
        heads = self.predictor.heads
        if head not in heads and (head or len(heads) > 1):
            raise ConfigError(
                f"predictor {predictor!r} has heads {', '.join(heads)}; expected one of them as head, got {head!r}"
            )
        self.head = heads.index(head) if head else 0
        self.kappa = finite("lower_confidence_bound", lower_confidence_bound, at_least=0.0)
        self.is_ensemble = len(self.predictor.networks) > 1
        if self.kappa and not self.is_ensemble:
            raise ConfigError(
                f"lower_confidence_bound needs an ensemble, and predictor {predictor!r} is one network"
            )
        self.prefix = self.predictor.prefix if prefix is None else prefix
        self.suffix = self.predictor.suffix if suffix is None else suffix
        self.min_length = whole("min_length", min_length)
        self.batch_size = whole("batch_size", batch_size)
        self.codec = self.predictor.codec
        context = sorted(set(self.prefix + self.suffix) - set(self.codec.vocabulary))
        if context:
            raise ConfigError(
                f"prefix and suffix must be of letters {''.join(self.codec.vocabulary)}, got {''.join(context)!r}"
            )
        self.alphabet = alphabet_of(self.codec)
        self.name = name or f"{predictor.rstrip('/').rsplit('/', 1)[-1]} {heads[self.head]}"
        self.unit = self.predictor.unit
        self.source = self.trained_on = self.predictor.source

    @property
    def version(self) -> str:
        """Of the weights, and of what reads molecules."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.predictor.state_dict().items()):
            digest.update(name.encode() + tensor.cpu().numpy().tobytes())
        weights = f"weights {digest.hexdigest()[:16]}"
        return f"{chemistry.version()}; {weights}" if isinstance(self.codec, MoleculeCodec) else weights

    def canonical(self, design: Design) -> Design:
        return self.codec.normal(str(design))

    def unreadable(self, design: Design) -> str:
        if not isinstance(design, str):
            return f"expected a sequence, got an array of shape {np.shape(design)}"
        if len(design) < self.min_length:
            return f"expected at least {self.min_length} letters, got {len(design)}"
        reason = self.codec.reason_invalid(self.prefix + design + self.suffix)
        return (
            f"with its context of {len(self.prefix)} + {len(self.suffix)} letters: {reason}" if reason else ""
        )

    @torch.no_grad()
    def score(self, designs: Sequence[str]) -> Scores:
        parts = []
        for start in range(0, len(designs), self.batch_size):
            chosen = designs[start : start + self.batch_size]
            x = self.codec.encode([self.prefix + design + self.suffix for design in chosen])
            parts.append(torch.stack(self._moments(x.to(self.predictor.center.device))))
        mean, std = torch.cat(parts, dim=1).cpu().double()
        return Scores((mean - self.kappa * std).numpy(), std=std.numpy() if self.is_ensemble else None)

    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, " B"]:
        return self.relaxed_moments(x)[0]

    def relaxed_moments(
        self, x: Float[Tensor, "B L K"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"] | None]:
        letters = len(self.codec.vocabulary)
        # PAD's probability is what the letters leave; a suffix would have to follow an end that is uncertain
        if x.shape[-1] != letters and (x.shape[-1] != self.codec.vocab_size or self.suffix):
            raise UnsupportedError(
                f"reward {self.label!r} takes relaxed designs of fixed length over {letters} letters, "
                f"got {x.shape[-1]} tokens"
            )
        x = x[..., :letters]
        fixed = [self._one_hot(text, x) for text in (self.prefix, self.suffix)]
        whole_design = torch.cat([fixed[0], x, fixed[1]], dim=1)
        missing = self.codec.length - whole_design.shape[1]
        if missing < 0:
            raise ConfigError(
                f"reward {self.label!r} reads {self.codec.length} letters with context, got {whole_design.shape[1]}"
            )
        mean, std = self._moments(torch.nn.functional.pad(whole_design, (0, 0, 0, missing)))
        return mean - self.kappa * std, std if self.is_ensemble else None

    def to(self, device: str | torch.device) -> PredictedReward:
        self.predictor.to(device)
        return self

    def _one_hot(self, text: str, like: Float[Tensor, "B L K"]) -> Float[Tensor, "B C K"]:
        ids = torch.tensor(
            [self.codec.vocabulary.index(letter) for letter in text], dtype=torch.long, device=like.device
        )
        rows = torch.nn.functional.one_hot(ids, len(self.codec.vocabulary)).to(like)
        return rows.expand(len(like), -1, -1)

    def _moments(
        self, x: Int[Tensor, "B L"] | Float[Tensor, "B L K"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Mean and standard deviation over the ensemble's members."""
        members = self.predictor(x)[..., self.head]
        mean = members.mean(0)
        # The tiny constant keeps the square root's gradient finite where all members agree.
        variance = (members - mean).square().sum(0) / max(len(members) - 1, 1)
        return mean, (variance + 1e-12).sqrt()


def alphabet_of(codec: TokenCodec) -> str:
    """The tokens that a reward reads, in their order: letters, or symbols with blanks between them."""
    return codec.alphabet if isinstance(codec, SequenceCodec) else " ".join(codec.vocabulary)

"""A hook for learned scorers of pictures, such as an aesthetic head on CLIP.

    r(x) = scorer(normalise(resize(x)))

Nothing is downloaded and no scorer ships: pass any function or module that takes Float[B 3 S S] and gives B numbers.
A user's own, built on a CLIP that is already on disk, is ten lines (`my_scorer.py`):

    class Aesthetic(torch.nn.Module):
        def __init__(self, folder):
            super().__init__()
            self.clip = CLIPVisionModelWithProjection.from_pretrained(folder, local_files_only=True)
            self.head = torch.nn.Linear(self.clip.config.projection_dim, 1)
            self.head.load_state_dict(safetensors.torch.load_file(f"{folder}/head.safetensors"))
        def forward(self, x):
            return self.head(torch.nn.functional.normalize(self.clip(x).image_embeds))

In Python `AestheticScore(Aesthetic(folder))`; in YAML, loaded with `trust=["my_scorer"]`,

    class_path: gendesign.rewards.AestheticScore
    init_args: {scorer: {class_path: my_scorer.Aesthetic, init_args: {folder: clip}}, name: aesthetic}

Reference: Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision, arXiv 2103.00020
(input size and normalisation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gendesign.building import finite, whole
from gendesign.errors import ConfigError, RewardError
from gendesign.rewards.images import ImageReward

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class AestheticScore(ImageReward):
    """What a scorer of pictures says of an image; differentiable as the scorer is.

    Args:
        scorer: a function or module from images Float[B 3 S S], resized and normalised, to Float[B] or Float[B 1];
            larger is better. A module is put into evaluation mode and its weights are frozen.
        size: S, pixels of a side that the scorer reads.
        mean: of each channel, subtracted; CLIP's unless given.
        std: of each channel, divided by; CLIP's unless given.
        batch_size: images at once.
        name: name in tables.
        unit: unit of the numbers.

    Raises:
        ConfigError: the scorer cannot be called, or an argument is out of range.
    """

    def __init__(
        self,
        scorer: Callable[[Tensor], Tensor] | str,
        *,
        size: int = 224,
        mean: Sequence[float] = CLIP_MEAN,
        std: Sequence[float] = CLIP_STD,
        batch_size: int = 32,
        name: str = "aesthetic",
        unit: str = "",
    ) -> None:
        if not callable(scorer):
            raise ConfigError(
                f"scorer must be a function or module of images, got {scorer!r}; in YAML name its class by "
                "class_path and init_args, and load it with trust=['its package']"
            )
        if len(mean) != 3 or len(std) != 3:
            raise ConfigError(f"mean and std must be three numbers each, got {list(mean)} and {list(std)}")
        if isinstance(scorer, nn.Module):
            scorer.eval().requires_grad_(False)
        self.scorer = scorer
        self.size, self.batch_size = whole("size", size), whole("batch_size", batch_size)
        self.mean = tuple(finite("mean", value) for value in mean)
        self.std = tuple(finite("std", value, above=0.0) for value in std)
        self.name, self.unit = name, unit
        self.source = f"{type(scorer).__module__}.{type(scorer).__qualname__}"
        self.device = torch.device("cpu")

    def relaxed(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        return torch.cat([self._ask(part) for part in x.split(self.batch_size)])

    def to(self, device: str | torch.device) -> AestheticScore:
        self.device = torch.device(device)
        if isinstance(self.scorer, nn.Module):
            self.scorer.to(self.device)
        return self

    def _ask(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        colour = x.to(self.device, torch.float32).expand(-1, 3, -1, -1)  # grey: the same in every channel
        resized = nn.functional.interpolate(
            colour, (self.size, self.size), mode="bicubic", align_corners=False, antialias=True
        )
        mean, std = (resized.new_tensor(values)[:, None, None] for values in (self.mean, self.std))
        scores = self.scorer((resized - mean) / std)
        if not isinstance(scores, Tensor) or scores.numel() != len(x):
            found = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise RewardError(f"reward {self.label!r}: the scorer must give {len(x)} numbers, got {found}")
        return scores.reshape(len(x))

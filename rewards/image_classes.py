"""A learned classifier of images as a reward: how surely an image shows a class.

    r(x) = log mean_m p_m(class | x)

with members m of the ensemble, in nats: 0 where the class is certain, ln(1/K) where nothing is known of K classes. Near
0 the reward is flat, so steering stops where the classifier is sure. What it is sure of need not be an image of the
class: an auditing classifier (`-heldout`) and the distances of `gendesign.metrics.fidelity` tell.

Reference: Dhariwal and Nichol 2021, Diffusion Models Beat GANs on Image Synthesis, arXiv 2105.05233 (steering by a
classifier's log-probability).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import whole
from gendesign.designs import Array, Design
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards.base import DifferentiableReward, Scores
from gendesign.rewards.classifiers import ensemble, load_classifier
from gendesign.rewards.images import not_image, to_pixels


class ImageClass(DifferentiableReward):
    """Log-probability that an image shows a class.

    Args:
        predictor: name of a shipped classifier, or a folder that `Classifier.save_pretrained` wrote.
        target: name of the class.
        batch_size: images per forward pass.
        name: name in tables.

    Raises:
        CheckpointError: the classifier cannot be loaded.
        ConfigError: it knows no such class.
    """

    unit = "nats"

    def __init__(self, predictor: str, *, target: str, batch_size: int = 512, name: str = "") -> None:
        self.classifier = load_classifier(predictor)
        if target not in self.classifier.classes:
            raise ConfigError(
                f"classifier {predictor!r} tells {', '.join(self.classifier.classes)} apart; "
                f"expected one of them as target, got {target!r}"
            )
        self.target = self.classifier.classes.index(target)
        self.batch_size = whole("batch_size", batch_size)
        self.name = name or f"{predictor.rstrip('/').rsplit('/', 1)[-1]} {target}"
        self.source = self.trained_on = self.classifier.source

    def unreadable(self, design: Design) -> str:
        reason = not_image(design)
        shape = self.classifier.codec.shape
        if not reason and not isinstance(design, str) and design.shape != shape:
            return f"expected an image of shape {shape}, got {design.shape}"
        return reason

    @torch.no_grad()
    def score(self, designs: Sequence[Array]) -> Scores:
        parts = [
            torch.stack(self.relaxed_moments(part)) for part in to_pixels(designs).split(self.batch_size)
        ]
        value, std = torch.cat(parts, dim=1).cpu().double()
        return Scores(value.numpy(), std=std.numpy())

    def relaxed(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, " B"]:
        return self.relaxed_moments(x)[0]

    def relaxed_moments(self, x: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """The log-probability, and the standard deviation of the members' own."""
        codec = self.classifier.codec
        if x.ndim != 4 or tuple(x.shape[1:]) != (codec.channels, codec.height, codec.width):
            raise UnsupportedError(
                f"reward {self.label!r} takes images [batch, {codec.channels}, {codec.height}, {codec.width}], "
                f"got {list(x.shape)}"
            )
        log_p = self.classifier(x)
        members = log_p[..., self.target]
        # The tiny constant keeps the square root's gradient finite where all members agree.
        variance = (members - members.mean(0)).square().sum(0) / max(len(members) - 1, 1)
        return ensemble(log_p)[:, self.target], (variance + 1e-12).sqrt()

    def to(self, device: str | torch.device) -> ImageClass:
        self.classifier.to(device)
        return self


class DigitClass(ImageClass):
    """Log-probability that an image shows a handwritten digit.

    Args:
        digit: 0 to 9.
        predictor: as in `ImageClass`.
        batch_size: images per forward pass.

    Raises:
        ConfigError: something else than a digit.
    """

    def __init__(self, digit: int = 3, *, predictor: str = "digit-classifier", batch_size: int = 512) -> None:
        super().__init__(predictor, target=str(digit), batch_size=batch_size)

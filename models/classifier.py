"""Networks that tell the class of an image; ensembles of them are learned rewards.

    convolutions -> pooling -> convolutions -> pooling -> dense features -> a logit for each class

Where a digit lies in the frame and which way its strokes run both matter, so positions are kept to the end. The dense
features are what distances between sets of images are measured in (`gendesign.metrics.fidelity`).

Reference: LeCun et al. 1998, Gradient-based learning applied to document recognition, Proc. IEEE 86:2278.
"""

from __future__ import annotations

from abc import abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from gendesign.building import Configurable, finite, whole
from gendesign.errors import ConfigError


class ImageClassifier(Configurable, nn.Module):
    """Base class: images to logits.

    Attributes:
        shape: channels, height and width of the images.
        num_classes: K.
    """

    shape: tuple[int, int, int]
    num_classes: int

    @abstractmethod
    def features(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """What the last layer reads of images, 0 black to 1 white.

        Raises:
            ConfigError: `x` is not [batch, *shape].
        """

    @abstractmethod
    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Logits of the classes; see `features`."""

    def check(self, x: Tensor) -> None:
        """Raise ConfigError unless `x` is [batch, channels, height, width]."""
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape:
            raise ConfigError(
                f"expected images [batch, {', '.join(map(str, self.shape))}], got {list(x.shape)}"
            )


class ConvClassifier(ImageClassifier):
    """Small convolutional network.

    Args:
        height: pixels.
        width: pixels.
        channels: 1 for grey, 3 for colour.
        num_classes: K.
        filters: channels of the first convolutions; the second ones have twice as many.
        hidden: F, dense features.
        dropout: probability of zeroing a dense input in training.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        height: int,
        width: int,
        channels: int = 1,
        *,
        num_classes: int = 10,
        filters: int = 16,
        hidden: int = 32,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.shape = (whole("channels", channels), whole("height", height), whole("width", width))
        self.num_classes = whole("num_classes", num_classes, at_least=2)
        filters, hidden = whole("filters", filters), whole("hidden", hidden)
        if not 0 <= finite("dropout", dropout) < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        layers: list[nn.Module] = []
        inputs = channels
        for outputs in (filters, 2 * filters):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.GELU()]
            layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.GELU(), nn.MaxPool2d(2, ceil_mode=True)]
            inputs = outputs
        positions = -(-height // 4) * -(-width // 4)
        drop = nn.Dropout(dropout)
        layers += [nn.Flatten(), drop, nn.Linear(inputs * positions, hidden), nn.GELU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(drop, nn.Linear(hidden, num_classes))

    def features(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        self.check(x)
        found: Tensor = self.body(x)
        return found

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        logits: Tensor = self.head(self.features(x))
        return logits

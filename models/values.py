"""Networks that give a noisy state one number: the learned values of steering.

Over tokens a sequence predictor reads one-hots in which MASK is one letter more. Over numbers a residual perceptron
reads the state scaled to unit variance, and its noise level.
"""

from __future__ import annotations

from abc import abstractmethod

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from gendesign.building import Configurable, finite, whole
from gendesign.errors import ConfigError
from gendesign.models.base import TimeEmbedding
from gendesign.models.mlp import MAX_FREQUENCY, MLPBlock
from gendesign.models.predictor import SequencePredictor


class ValueNetwork(Configurable, nn.Module):
    """Base class.

    Attributes:
        time_conditioned: whether equal states at different times may have different values.
    """

    time_conditioned: bool

    @abstractmethod
    def forward(self, x: Tensor, t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """One number a state.

        Args:
            x: states.
            t: time (noise level) of each.
        """


class TokenValue(ValueNetwork):
    """A sequence predictor over the K clean tokens and MASK.

    Args:
        network: of K + 1 letters and one target.

    Raises:
        ConfigError: it has several targets.
    """

    time_conditioned = False

    def __init__(self, network: SequencePredictor) -> None:
        super().__init__()
        if network.num_targets != 1:
            raise ConfigError(f"a value is one number: expected num_targets=1, got {network.num_targets}")
        self.network = network

    def forward(self, x: Int[Tensor, "B L"], t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Read the tokens; the time is not looked at."""
        dtype = next(self.network.parameters()).dtype
        answer: Tensor = self.network(functional.one_hot(x, self.network.num_letters).to(dtype))
        return answer[:, 0]


class VectorValue(ValueNetwork):
    """A residual perceptron over N numbers and their noise level.

    Args:
        dim: N.
        width: of every layer.
        depth: number of residual blocks.
        dropout: in the blocks.
        sigma_data: standard deviation of the data, which scales the states.

    Raises:
        ConfigError: an argument is out of range.
    """

    time_conditioned = True

    def __init__(
        self, dim: int, width: int = 128, *, depth: int = 3, dropout: float = 0.0, sigma_data: float = 0.5
    ) -> None:
        super().__init__()
        self.dim = whole("dim", dim)
        whole("width", width, at_least=2), whole("depth", depth)
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout must be in [0, 1), got {dropout}")
        self.sigma_data = finite("sigma_data", sigma_data, above=0.0)
        self.noise = TimeEmbedding(width, MAX_FREQUENCY)
        self.inlet = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(MLPBlock(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Float[Tensor, "B N"], t: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Read the numbers, scaled by 1/sqrt(sigma^2 + sigma_data^2), and ln(sigma)/4.

        Raises:
            ConfigError: x has another number of columns.
        """
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ConfigError(f"expected [batch, {self.dim}], got {list(x.shape)}")
        sigma, dtype = t.double().clamp(min=1e-6), self.inlet.weight.dtype
        scaled = x.double() / (sigma**2 + self.sigma_data**2).sqrt()[:, None]
        condition = functional.silu(self.noise((sigma.log() / 4).to(dtype)))
        h = self.inlet(scaled.to(dtype))
        for block in self.blocks:
            h = block(h, condition)
        answer: Tensor = self.head(self.norm(h))
        return answer[:, 0]

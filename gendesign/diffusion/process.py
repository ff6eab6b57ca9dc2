"""What every diffusion process offers: the three nouns that steering methods are written against.

A `Process` is the noise. Its `predict` asks the network once and returns a `Prediction` of the clean design;
`transition` turns a prediction into the law p(x_s | x_t) of one reverse step, a `Transition`. The two are apart,
so that a prediction already paid for is kept, and so that a method which changes the prediction gets a new
transition for free.

Letters of shapes: B designs, L positions, N coordinates, K tokens, V = K + 1 tokens with MASK, M samples, E edges of
the time grid (one more than its steps).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Generator, Tensor

from gendesign.building import Configurable
from gendesign.errors import UnsupportedError


@runtime_checkable
class Network(Protocol):
    """What a process asks of a denoiser network (`gendesign.models.Denoiser`)."""

    time_conditioned: bool

    def __call__(
        self, x: Tensor, t: Tensor | None = None, cond: Any = None, mask: Tensor | None = None
    ) -> Tensor: ...


class Prediction(ABC):
    """What the network believes of the clean design x_0, given x_t.

    Attributes:
        rows: network rows that were spent on it (classifier-free guidance spends two a design).
    """

    rows: int

    @abstractmethod
    def __getitem__(self, index: Tensor) -> Prediction:
        """The prediction of some of the rows; it counts no network rows, since none are spent."""

    @abstractmethod
    def append(self, other: Prediction) -> Prediction:
        """The rows of this prediction, then those of another; network rows are added up."""

    @abstractmethod
    def mode(self) -> Tensor:
        """The most probable clean token everywhere, or the clean mean: Int[B L] or Float[B N]."""

    @abstractmethod
    def sample(self, num: int, *, generator: Generator) -> Tensor:
        """`num` clean designs a row, each drawn from the prediction: Int[M B L] or Float[M B N]."""


class Transition(ABC):
    """The law p(x_s | x_t) of one reverse step."""

    @abstractmethod
    def sample(self, num: int, *, generator: Generator) -> Tensor:
        """`num` independent states a row: Int[M B L] or Float[M B N]."""

    @abstractmethod
    def rsample(
        self, *, temperature: float, generator: Generator | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """One state a row, differentiable in the prediction.

        Args:
            temperature: of the relaxation, above 0; continuous transitions, which need none, ignore it.
            generator: source of the noise.
            noise: the noise itself, where a caller must repeat a draw (activation recomputation).
        """

    def settled(self, x_s: Tensor) -> Tensor:
        """The state of this step that a draw of `rsample` stands for; numbers stand for themselves."""
        return x_s

    @abstractmethod
    def log_prob(self, x_s: Tensor) -> Float[Tensor, " B"]:
        """Log p(x_s | x_t) in nats."""

    @abstractmethod
    def kl(self, other: Transition) -> Float[Tensor, " B"]:
        """KL(self || other) in nats, for two transitions of the same x_t, t and s."""


class Process(Configurable, ABC):
    """A noising process and its reversal."""

    figure: str = "loss"
    """What `evaluate` gives, for the names of logged figures."""

    def check_denoiser(self, denoiser: Any) -> None:
        """Refuse a network that does not belong to this noise.

        Raises:
            ConfigError: with the reason.
        """

    @abstractmethod
    def prior(self, num: int, length: int, *, generator: Generator, template: Tensor | None = None) -> Tensor:
        """`num` states of pure noise; fixed coordinates of the template are kept."""

    @abstractmethod
    def corrupt(self, x_0: Tensor, t: Float[Tensor, " B"], *, generator: Generator) -> Tensor:
        """Draw x_t given x_0, each row at its own time."""

    @abstractmethod
    def loss(
        self,
        denoiser: Network,
        x_0: Tensor,
        *,
        generator: Generator,
        cond: Any = None,
        mask: Tensor | None = None,
    ) -> Float[Tensor, " B"]:
        """Training loss of each design."""

    @abstractmethod
    def num_steps(self, steps: int, num_free: int) -> int:
        """How many steps a run takes that asks for `steps` and designs `num_free` coordinates."""

    @abstractmethod
    def times(self, steps: int) -> Float[Tensor, " E"]:
        """The grid of a run, from pure noise down to 0, in float64."""

    @abstractmethod
    def event_time(
        self, x: Tensor, t: Tensor | None, step: int, times: Tensor, *, generator: Generator
    ) -> Float[Tensor, " B"]:
        """The time at which step number `step` acts on each state.

        Args:
            x: states before the step.
            t: the times of the step before, None at the start.
            step: 0-based number of the step; `len(times) - 1` asks for the time after the last one.
            times: the grid.
            generator: for processes whose event times are random.
        """

    @abstractmethod
    def predict(
        self,
        denoiser: Network,
        x_t: Tensor,
        t: Float[Tensor, " B"],
        cond: Any = None,
        mask: Tensor | None = None,
        template: Tensor | None = None,
    ) -> Prediction:
        """Ask the network about each state at its own time.

        Args:
            denoiser: the network.
            x_t: states.
            t: time of each.
            cond: what they are conditioned on.
            mask: True at real positions.
            template: coordinates that are given; read where states do not carry them themselves.
        """

    @abstractmethod
    def transition(
        self, prediction: Any, x_t: Tensor, t: Float[Tensor, " B"], s: Float[Tensor, " B"]
    ) -> Transition:
        """The reverse step from time t to time s < t of each state."""

    def soft(self, x: Tensor) -> Tensor:
        """States in the form that a gradient passes through: one-hots of tokens, numbers as they are."""
        return x

    def hard(self, x: Tensor) -> Tensor:
        """The states that relaxed ones stand for: the most probable tokens, numbers as they are."""
        return x

    def step_noise(self, x: Tensor, *, generator: Generator) -> Tensor:
        """The noise of one `Transition.rsample` from these states, to be drawn before the transition is known.

        Raises:
            UnsupportedError: this process has no reparametrised steps.
        """
        raise UnsupportedError(f"{type(self).__name__} has no reparametrised steps; it cannot be fine-tuned")

    @abstractmethod
    def evaluate(
        self,
        denoiser: Network,
        x_0: Tensor,
        *,
        num_times: int,
        generator: Generator,
        cond: Any = None,
        mask: Tensor | None = None,
    ) -> Float[Tensor, " B"]:
        """What validation reports of each design, named by `figure`: lower is better, a sum over coordinates."""

    @abstractmethod
    def log_likelihood(
        self,
        denoiser: Network,
        x_0: Tensor,
        *,
        num_times: int,
        generator: Generator,
        cond: Any = None,
        mask: Tensor | None = None,
        fixed: Tensor | None = None,
        max_rows: int = 1024,
        alike: bool = False,
    ) -> Float[Tensor, " B"]:
        """An estimate of log p(x_0), or of a lower bound on it, in nats a design.

        Args:
            denoiser: the network.
            x_0: designs.
            num_times: noise levels a design; the error falls with it.
            generator: of the estimate's randomness.
            cond: conditioning, handed to the network.
            mask: True at real positions.
            fixed: positions that are given, not modelled.
            max_rows: network rows a call.
            alike: every design meets the same noise: its estimate depends on the generator and itself alone, whatever
                it is judged beside, and errors of different designs go together.
        """


def concatenate(predictions: Sequence[Prediction]) -> Prediction:
    """The rows of several predictions, in order."""
    first, *rest = predictions
    for prediction in rest:
        first = first.append(prediction)
    return first

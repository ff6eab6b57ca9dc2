"""What a reward is: designs in, one score and one status per design out.

    r : design -> R, in the reward's unit; larger is better, and steering always raises it.

A reward can break in many ways (raise, hang, return NaN, return too few values), and a steering run must
neither die of it nor take a wrong number for a right one. So `Reward.__call__` guards the subclass's `score`:
equal designs are scored once, a failing design fails alone, order is restored by index, and a wrong count
is an error that is never papered over. A value exists only where the status is OK; everywhere else it is NaN.
All of this holds for strings and arrays alike; what a reward cannot read (a sequence reward given an image) is
INVALID.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import Configurable
from gendesign.designs import Design, distinct
from gendesign.errors import DesignError, GendesignError, RewardError, UnsupportedError
from gendesign.rewards.scores import Scores, Status

__all__ = ["DifferentiableReward", "FunctionReward", "Reward", "Scores", "Status"]


class Reward(Configurable, ABC):
    """Scores designs; subclasses implement `score` and state what the number means.

    Attributes:
        name: short name, used in tables and error messages.
        unit: unit of the values ("" = none).
        direction: "maximise": steering raises the value. A quantity to be lowered is negated by its reward.
        source: where the reward comes from (paper, data set, file).
        trained_on: what a learned reward was trained on ("" = nothing was learned).
        differentiable: whether `relaxed` works. Ask this, not `isinstance`: a composed reward is
            differentiable if and only if all its parts are.
        alphabet: order of the tokens in `relaxed`'s last axis: letters, or symbols with blanks between them ("" = any,
            or no tokens). Methods that need a gradient refuse a backbone of other tokens.
    """

    name: str = ""
    unit: str = ""
    direction: str = "maximise"
    source: str = ""
    trained_on: str = ""
    alphabet: str = ""
    differentiable: bool = False

    @abstractmethod
    def score(self, designs: Sequence[Any]) -> Sequence[float] | npt.NDArray[np.float64] | Tensor | Scores:
        """Score distinct, readable designs.

        Args:
            designs: n designs, each once, each accepted by `unreadable` (so of the kind that the reward reads).

        Returns:
            n numbers in the order of the designs (larger is better), or `Scores`. It may raise: the designs
            are then tried in smaller batches, and those that raise alone become FAILED (INVALID for a
            `DesignError`).
        """

    def unreadable(self, design: Design) -> str:
        """Why this reward cannot read a design; "" if it can. Designs with a reason become INVALID."""
        return ""

    @property
    def examples(self) -> Collection[Design]:
        """The designs that it reads, where they are few of their kind; by default none are named."""
        return ()

    def canonical(self, design: Design) -> Design:
        """The one way of writing a readable design that all equal ones share; by default it is its own.

        A reward that says more here than the default scores that spelling, whichever was given, and once.
        """
        return design

    @property
    def version(self) -> str:
        """What decides the values besides the arguments, such as versions of packages and a digest of weights.

        "" = unknown: values that may change from one day to the next without notice are never kept on disk.
        """
        return ""

    @property
    def guide(self) -> Reward:
        """What steering looks at in its stead, by default itself; designs are judged by the reward itself.

        It is another one where this one has no value for much of what is seen on the way; wherever it has, both agree.
        """
        return self

    def relaxed(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        """Differentiable value of what `Codec.relax` gives; `score` on exact designs."""
        raise UnsupportedError(
            f"reward {self.label!r} is not differentiable; use a method that needs no gradient "
            "(SVDD, BestOfN), or a differentiable reward"
        )

    def relaxed_moments(
        self, x: Float[Tensor, "B ..."]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"] | None]:
        """`relaxed`, and its standard deviation where the reward knows one."""
        return self.relaxed(x), None

    def residuals(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, "B R"] | None:
        """E(x) with `relaxed` = -|e|^2/2 and terms that bend little, for guidance; None: not of this form."""
        return None

    def to(self, device: str | torch.device) -> Reward:
        """Move what the reward computes with to a device; nothing to move by default."""
        return self

    @property
    def label(self) -> str:
        """The reward's name, or that of its class."""
        return self.name or type(self).__name__

    def __call__(self, designs: Sequence[Design]) -> Scores:
        """Score designs, in order.

        Args:
            designs: any number of designs, strings or arrays; repeats are scored once.

        Returns:
            One value and one status per design, in the order of `designs`.

        Raises:
            RewardError: the reward returned more or fewer values than designs, `designs` is a single string, or
                one of them is neither a string nor an array of numbers.
        """
        if isinstance(designs, (str, bytes)):
            raise RewardError(
                f"reward {self.label!r} expects a list of designs, got one string; write reward([design])"
            )
        start = time.perf_counter()
        try:
            different, index = distinct(designs)
        except (TypeError, ValueError) as error:
            raise RewardError(
                f"reward {self.label!r} expects designs that are strings or arrays of numbers ({error})"
            ) from error
        reasons: list[str] = []
        spellings: list[Design] = []
        for design in different:  # one after the other: what reads a design may remember it for a while
            reasons.append(self.unreadable(design))
            if not reasons[-1]:
                spellings.append(self.canonical(design))
        readable = [i for i, reason in enumerate(reasons) if not reason]
        spelled, same = distinct(spellings)
        parts = [self._attempt(spelled)] if spelled else []
        parts += [Scores.all(1, Status.INVALID, reason) for reason in reasons if reason]
        rows = np.empty(len(different), dtype=np.int64)  # where each one's score stands among the parts
        rows[readable] = same
        rows[[i for i, reason in enumerate(reasons) if reason]] = np.arange(
            len(spelled), sum(map(len, parts))
        )
        scores = Scores.concatenate(parts).subset(rows[index])
        return replace(scores, seconds=time.perf_counter() - start)

    def _attempt(self, designs: list[Design]) -> Scores:
        """Score a batch; when it raises, halve it, so that only designs that raise alone are lost."""
        try:
            return self._checked(self.score(designs), len(designs))
        except DesignError as error:
            failure, status = error, Status.INVALID
        except GendesignError:
            raise  # a broken contract or a missing package concerns every design
        except Exception as error:
            failure, status = error, Status.FAILED  # type: ignore[assignment]
        if len(designs) == 1:
            said = next((text for line in str(failure).splitlines() if (text := line.strip())), "")
            return Scores.all(1, status, f"{type(failure).__name__}: {said}")
        half = len(designs) // 2
        return Scores.concatenate([self._attempt(designs[:half]), self._attempt(designs[half:])])

    def _checked(self, result: object, expected: int) -> Scores:
        """Turn what `score` returned into Scores of the expected length."""
        if not isinstance(result, Scores):
            if isinstance(result, Tensor):
                result = result.detach().cpu().double().numpy()  # NumPy has no bfloat16
            if isinstance(result, (str, bytes)) or not (
                hasattr(result, "__len__") and hasattr(result, "__getitem__")
            ):
                raise RewardError(
                    f"reward {self.label!r} must return a list of {expected} numbers for {expected} designs, "
                    f"got {type(result).__name__}"
                )
            self._require_count(len(result), expected)
            result = Scores(np.asarray(result, dtype=np.float64))
        self._require_count(len(result), expected)
        return result

    def _require_count(self, got: int, expected: int) -> None:
        if got != expected:
            raise RewardError(
                f"reward {self.label!r} was given {expected} designs and must return {expected} values, got {got}"
            )


class DifferentiableReward(Reward):
    """A reward with a gradient; `relaxed` must equal `score` on exact designs."""

    differentiable = True

    @abstractmethod
    def relaxed(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        """Differentiable value of relaxed designs.

        Args:
            x: what `Codec.relax` gives. Sequences: probabilities [B, L, K] over the codec's K tokens, in the order
                of `alphabet`. Images: [B, C, H, W], 0 black to 1 white, not clamped. Vectors: [B, ...], in the
                user's units.

        Returns:
            Float [B], in the reward's unit.
        """


class FunctionReward(Reward):
    """A reward from a Python function, so that a user's own needs no class.

    In YAML: `class_path: gendesign.rewards.FunctionReward`, `init_args: {function: my_module.gc}`, with
    `trust=["my_module"]` where it is loaded.

    Args:
        function: takes a list of designs and returns one number per design, in order; larger is better. Arrays
            are copies, which it may change.
        name: name in tables; the function's own when left out.
        unit: unit of the numbers.
        each: the function takes one design and returns one number instead.
    """

    def __init__(
        self, function: Callable[..., Any] | str, *, name: str = "", unit: str = "", each: bool = False
    ) -> None:
        if not callable(function):
            raise RewardError(
                f"FunctionReward needs a Python function, got {function!r}; in YAML write "
                "function: my_module.my_function and load it with load_reward(..., trust=['my_module'])"
            )
        self.function = function
        self.name = name or getattr(function, "__name__", "function")
        self.unit = unit
        self.each = each
        self.source = (
            f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', self.name)}".strip(".")
        )
        # YAML names a function by its path
        self.init_args = {"function": self.source, "name": name, "unit": unit, "each": each}

    def _attempt(self, designs: list[Design]) -> Scores:
        """Designs that are scored one by one fail one by one: none is scored again for another's sake."""
        if not self.each or len(designs) == 1:
            return super()._attempt(designs)
        return Scores.concatenate([super(FunctionReward, self)._attempt([design]) for design in designs])

    def score(self, designs: Sequence[Any]) -> Any:
        own = [design if isinstance(design, str) else np.array(design) for design in designs]
        if self.each:
            return [self.function(design) for design in own]
        result = self.function(own)
        if isinstance(result, (int, float)):
            raise RewardError(
                f"reward {self.label!r}: the function returned one number for a list of {len(designs)} designs; "
                "return a list, or set each: true if it scores one design"
            )
        return result

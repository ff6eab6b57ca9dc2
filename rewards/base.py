"""What a reward is: designs in, one score and one status per design out.

    r : design -> R, in the reward's unit; larger is better, and steering always raises it.

A reward can break in many ways (raise, hang, return NaN, return too few values), and a steering run must neither
die of it nor take a wrong number for a right one. So `Reward.__call__` guards the subclass's `score`: identical designs are
scored once, a failing design fails alone, order is restored by index, and a wrong count is an error that is
never papered over. A value exists only where the status is OK; everywhere else it is NaN.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import Configurable
from gendesign.errors import DesignError, GendesignError, RewardError, UnsupportedError


class Status(StrEnum):
    """How the scoring of one design ended; the later in this list, the worse."""

    OK = "OK"
    INVALID = "INVALID"  # the reward cannot read the design, or a constraint excludes it
    FAILED = "FAILED"  # the reward raised, died, or returned no finite number
    TIMED_OUT = "TIMED_OUT"  # the reward did not answer in time

    @property
    def severity(self) -> int:
        """0 for OK, growing with how wrong things went; composed rewards keep the worst of their parts."""
        return list(Status).index(self)


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of a batch of designs, in the order of the designs.

    Args:
        values: float64 [n], in the reward's unit. NaN unless the status is OK (enforced); an OK value that is not finite becomes FAILED.
        status: one `Status` per design; all OK when left out.
        std: float64 [n], standard deviation of each value, where the reward knows it.
        message: one line per design, empty unless something went wrong.
        seconds: wall time that scoring took.

    Raises:
        RewardError: the lengths differ.
    """

    values: npt.NDArray[np.float64]
    status: tuple[Status, ...] = ()
    std: npt.NDArray[np.float64] | None = None
    message: tuple[str, ...] = ()
    seconds: float = 0.0

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 1:
            raise RewardError(f"scores must be one number per design, got an array of shape {values.shape}")
        n = len(values)
        status = [Status(s) for s in self.status] or [Status.OK] * n
        message = list(self.message) or [""] * n
        std = None if self.std is None else np.array(self.std, dtype=np.float64)
        for what, length in (("statuses", len(status)), ("messages", len(message)), ("standard deviations", n if std is None else len(std))):
            if length != n:
                raise RewardError(f"scores of {n} designs need {n} {what}, got {length}")
        for i in range(n):
            if status[i] is Status.OK and not np.isfinite(values[i]):
                status[i] = Status.FAILED
                message[i] = message[i] or f"the reward returned {values[i]}, which is not a finite number"
        bad = np.array([s is not Status.OK for s in status], dtype=bool)
        values[bad] = np.nan
        if std is not None:
            std[bad] = np.nan
        for name, value in (("values", values), ("status", tuple(status)), ("std", std), ("message", tuple(message))):
            object.__setattr__(self, name, value)

    @classmethod
    def all(cls, n: int, status: Status, message: str) -> Scores:
        """`n` designs without a value, for one and the same reason."""
        return cls(np.full(n, np.nan), (status,) * n, None, (message,) * n)

    @classmethod
    def concatenate(cls, parts: Sequence[Scores]) -> Scores:
        """Join batches in order; the standard deviation is NaN where a part has none."""
        if not parts:
            return cls(np.empty(0))
        std = None
        if any(p.std is not None for p in parts):
            std = np.concatenate([np.full(len(p), np.nan) if p.std is None else p.std for p in parts])
        return cls(
            np.concatenate([p.values for p in parts]),
            tuple(s for p in parts for s in p.status),
            std,
            tuple(m for p in parts for m in p.message),
            sum(p.seconds for p in parts),
        )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Bool [n]: which designs have a value."""
        return np.array([s is Status.OK for s in self.status], dtype=bool)

    def subset(self, index: Iterable[int] | npt.NDArray[Any]) -> Scores:
        """The scores at `index` (integers, in that order, repeats allowed; or a boolean mask of length n)."""
        rows = np.asarray(list(index) if not isinstance(index, np.ndarray) else index)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.int64)
        return Scores(
            self.values[rows],
            tuple(self.status[i] for i in rows),
            None if self.std is None else self.std[rows],
            tuple(self.message[i] for i in rows),
            self.seconds,
        )

    def counts(self) -> dict[Status, int]:
        """How many designs ended in each status (only statuses that occur)."""
        return {s: self.status.count(s) for s in Status if s in self.status}


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
        alphabet: order of the tokens in `relaxed`'s last axis ("" = any).
    """

    name: str = ""
    unit: str = ""
    direction: str = "maximise"
    source: str = ""
    trained_on: str = ""
    alphabet: str = ""
    differentiable: bool = False

    @abstractmethod
    def score(self, designs: Sequence[str]) -> Sequence[float] | npt.NDArray[np.float64] | Tensor | Scores:
        """Score distinct, readable designs.

        Args:
            designs: n designs, each once, each accepted by `unreadable`.

        Returns:
            n numbers in the order of the designs (larger is better), or `Scores`. It may raise: the designs are then tried
            in smaller batches, and those that raise alone become FAILED (INVALID for a `DesignError`).
        """

    def unreadable(self, design: str) -> str:
        """Why this reward cannot read a design; "" if it can. Designs with a reason become INVALID."""
        return ""

    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, "B"]:
        """Differentiable value of relaxed one-hots over the codec's K tokens; equals `score` on exact one-hots."""
        raise UnsupportedError(
            f"reward {self.label!r} is not differentiable; use a method that needs no gradient (SVDD, BestOfN), or a differentiable reward"
        )

    def relaxed_moments(
        self, x: Float[Tensor, "B L K"]
    ) -> tuple[Float[Tensor, "B"], Float[Tensor, "B"] | None]:
        """`relaxed`, and its standard deviation where the reward knows one."""
        return self.relaxed(x), None

    def to(self, device: str | torch.device) -> Reward:
        """Move what the reward computes with to a device; nothing to move by default."""
        return self

    @property
    def label(self) -> str:
        """The reward's name, or that of its class."""
        return self.name or type(self).__name__

    def __call__(self, designs: Sequence[str]) -> Scores:
        """Score designs, in order.

        Args:
            designs: any number of designs; repeats are scored once.

        Returns:
            One value and one status per design, in the order of `designs`.

        Raises:
            RewardError: the reward returned more or fewer values than designs, or `designs` is a single string.
        """
        if isinstance(designs, (str, bytes)):
            raise RewardError(f"reward {self.label!r} expects a list of designs, got one string; write reward([design])")
        start = time.perf_counter()
        reasons = {design: self.unreadable(design) for design in designs}
        readable = [design for design, reason in reasons.items() if not reason]
        unreadable = [design for design, reason in reasons.items() if reason]
        parts = [self._attempt(readable)] if readable else []
        parts += [Scores.all(1, Status.INVALID, reasons[design]) for design in unreadable]
        rows = {design: i for i, design in enumerate(readable + unreadable)}
        scores = Scores.concatenate(parts).subset([rows[design] for design in designs])
        return replace(scores, seconds=time.perf_counter() - start)

    def _attempt(self, designs: list[str]) -> Scores:
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
            return Scores.all(1, status, f"{type(failure).__name__}: {failure}".splitlines()[0])
        half = len(designs) // 2
        return Scores.concatenate([self._attempt(designs[:half]), self._attempt(designs[half:])])

    def _checked(self, result: object, expected: int) -> Scores:
        """Turn what `score` returned into Scores of the expected length."""
        if not isinstance(result, Scores):
            if isinstance(result, Tensor):
                result = result.detach().cpu().numpy()
            if isinstance(result, (str, bytes)) or not hasattr(result, "__len__") or not hasattr(result, "__getitem__"):
                raise RewardError(
                    f"reward {self.label!r} must return a list of {expected} numbers for {expected} designs, "
                    f"got {type(result).__name__}"
                )
            if len(result) != expected:
                raise RewardError(f"reward {self.label!r} was given {expected} designs and must return {expected} values, got {len(result)}")
            result = Scores(np.asarray(result, dtype=np.float64))
        if len(result) != expected:
            raise RewardError(f"reward {self.label!r} was given {expected} designs and must return {expected} values, got {len(result)}")
        return result


class DifferentiableReward(Reward):
    """A reward with a gradient; `relaxed` must equal `score` on exact one-hots."""

    differentiable = True

    @abstractmethod
    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, "B"]:
        """Differentiable value of relaxed designs.

        Args:
            x: probabilities over the codec's K tokens (in the order of `alphabet`) at each of L positions.

        Returns:
            Float [B], in the reward's unit.
        """


class FunctionReward(Reward):
    """A reward from a Python function, so that a user's own needs no class.

    In YAML: `class_path: gendesign.rewards.FunctionReward`, `init_args: {function: my_module.gc}`, with
    `trust=["my_module"]` where it is loaded.

    Args:
        function: takes a list of designs and returns one number per design, in order; larger is better.
        name: name in tables; the function's own when left out.
        unit: unit of the numbers.
        each: the function takes one design and returns one number instead.
    """

    def __init__(
        self, function: Callable[..., Any] | str, *, name: str = "", unit: str = "", each: bool = False
    ) -> None:
        if not callable(function):
            raise RewardError(
                f"FunctionReward needs a Python function, got {function!r}; in YAML write function: my_module.my_function "
                "and load it with load_reward(..., trust=['my_module'])"
            )
        self.function = function
        self.name = name or getattr(function, "__name__", "function")
        self.unit = unit
        self.each = each
        self.source = f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', self.name)}".strip(".")
        self.init_args = {"function": self.source, "name": name, "unit": unit, "each": each}  # YAML names a function by its path

    def score(self, designs: Sequence[str]) -> Any:
        if self.each:
            return [self.function(design) for design in designs]
        result = self.function(list(designs))
        if isinstance(result, (int, float)):
            raise RewardError(
                f"reward {self.label!r}: the function returned one number for a list of {len(designs)} designs; "
                "return a list, or set each: true if it scores one design"
            )
        return result

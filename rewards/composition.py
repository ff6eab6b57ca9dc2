"""Rewards made of rewards: sums, differences, products and constraints.

    WeightedSum   sum_i w_i r_i          Difference  r_1 - r_2          Product  prod_i r_i
    Threshold     r where low <= c <= high, else no value, or r - penalty * violation (or this on the way only)

A design's status is the worst of its parts' (a value that a part does not have is never guessed), standard
deviations are propagated to first order as if the parts' errors were independent, and a composition is
differentiable if and only if all its parts are.
"""

from __future__ import annotations

import functools
import math
import operator
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import finite
from gendesign.designs import Design, distinct
from gendesign.errors import ConfigError, DesignError, UnsupportedError
from gendesign.rewards.base import Reward, Scores, Status

Number = TypeVar("Number", npt.NDArray[np.float64], Tensor)


class Composition(Reward):
    """A reward computed from the values of other rewards; subclasses give the formula.

    Args:
        parts: at least one reward; they must read the same alphabet.
        name: name in tables; "" = written from the parts' names.

    Raises:
        ConfigError: no parts, something that is not a reward, or parts over different alphabets.
    """

    def __init__(self, parts: Sequence[Reward], *, name: str = "") -> None:
        wrong = [p for p in parts if not isinstance(p, Reward)]
        if not parts or wrong:
            raise ConfigError(f"{type(self).__name__} needs rewards, got {wrong[0] if wrong else 'none'!r}")
        alphabets = sorted({p.alphabet for p in parts if p.alphabet})
        if len(alphabets) > 1:
            raise ConfigError(
                f"{type(self).__name__} needs rewards over one alphabet, got {' and '.join(alphabets)}"
            )
        self.parts = tuple(parts)
        self.alphabet = alphabets[0] if alphabets else ""
        self.unit = _common([p.unit for p in parts], other="mixed units")
        self.source = "; ".join(dict.fromkeys(p.source for p in parts if p.source))
        self.trained_on = "; ".join(dict.fromkeys(p.trained_on for p in parts if p.trained_on))
        self.name = name

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Whether every part is."""
        return all(p.differentiable for p in self.parts)

    @property
    def guide(self) -> Reward:
        """The same of the parts' guides; itself where they are the parts."""
        if all(part.guide is part for part in self.parts):
            return self
        return type(self)(**_guides(self.init_args))

    @property
    def version(self) -> str:
        """The parts' versions; unknown if one of them is."""
        versions = [p.version for p in self.parts]
        return "; ".join(dict.fromkeys(versions)) if all(versions) else ""

    def unreadable(self, design: Design) -> str:
        """The reason that all parts give, if they agree on one; otherwise each part speaks for itself."""
        reasons = {part.unreadable(design) for part in self.parts}
        return reasons.pop() if len(reasons) == 1 else ""

    def canonical(self, design: Design) -> Design:
        """The spelling on which all parts agree, if they do."""
        try:
            spellings = distinct([p.canonical(design) for p in self.parts])[0]
        except DesignError:
            return design  # the parts will say why
        return spellings[0] if len(spellings) == 1 else design

    @abstractmethod
    def combine(self, values: Sequence[Number]) -> Number:
        """The value from the parts' values (arrays or tensors of B numbers, one per part)."""

    @abstractmethod
    def spread(self, values: Sequence[Number], stds: Sequence[Number]) -> Number:
        """The standard deviation from the parts' values and standard deviations."""

    def wishes(self, values: Sequence[Number]) -> list[tuple[str, Number] | None]:
        """Of each part what is better the larger it is, with its name around '{}'; None where it does not matter."""
        return [("{}", value) for value in values]

    def score(self, designs: Sequence[Design]) -> Scores:
        scores = [part(designs) for part in self.parts]
        return self.join([s.values for s in scores], scores)

    def join(self, values: Sequence[npt.NDArray[np.float64]], scores: Sequence[Scores]) -> Scores:
        """Scores from the parts' scores: worst status, joined messages, propagated standard deviation."""
        status = tuple(
            max(column, key=lambda s: s.severity) for column in zip(*(s.status for s in scores), strict=True)
        )
        message = tuple(
            "; ".join(f"{part.label}: {text}" for part, text in zip(self.parts, column, strict=True) if text)
            for column in zip(*(s.message for s in scores), strict=True)
        )
        std = None
        if any(s.std is not None for s in scores):
            std = self.spread(values, [np.zeros(len(s)) if s.std is None else s.std for s in scores])
        return Scores(self.combine(values), status, std, message)

    def relaxed(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        self._require_differentiable()
        return self.combine([part.relaxed(x) for part in self.parts])

    def relaxed_moments(
        self, x: Float[Tensor, "B ..."]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"] | None]:
        self._require_differentiable()
        moments = [part.relaxed_moments(x) for part in self.parts]
        values = [mean for mean, _ in moments]
        if all(std is None for _, std in moments):
            return self.combine(values), None
        return self.combine(values), self.spread(
            values, [torch.zeros_like(m) if s is None else s for m, s in moments]
        )

    def to(self, device: str | torch.device) -> Composition:
        for part in self.parts:
            part.to(device)
        return self

    def _require_differentiable(self) -> None:
        stuck = [part.label for part in self.parts if not part.differentiable]
        if stuck:
            raise UnsupportedError(
                f"reward {self.label!r} is not differentiable because {', '.join(stuck)} is not; "
                "use a method that needs no gradient (SVDD, BestOfN), or a differentiable reward"
            )


class WeightedSum(Composition):
    """sum_i weights_i rewards_i.

    Args:
        rewards: the parts.
        weights: one number per part, in the unit wanted per unit of the part; all 1 when left out. A negative
            weight lowers a part.
        name: name in tables.

    Raises:
        ConfigError: another number of weights than rewards, or a weight that is not finite.
    """

    def __init__(
        self, rewards: Sequence[Reward], *, weights: Sequence[float] | None = None, name: str = ""
    ) -> None:
        super().__init__(rewards, name=name)
        weights = [1.0] * len(self.parts) if weights is None else list(weights)
        if len(weights) != len(self.parts):
            raise ConfigError(
                f"WeightedSum of {len(self.parts)} rewards needs as many weights, got {len(weights)}"
            )
        self.weights = tuple(finite("weights", w) for w in weights)
        self.name = name or " + ".join(
            f"{w:g} {p.label}" for w, p in zip(self.weights, self.parts, strict=True)
        )

    def wishes(self, values: Sequence[Number]) -> list[tuple[str, Number] | None]:
        return [
            None if w == 0 else ("{}", v) if w > 0 else ("minus {}", -v)
            for w, v in zip(self.weights, values, strict=True)
        ]

    def combine(self, values: Sequence[Number]) -> Number:
        return _total([w * v for w, v in zip(self.weights, values, strict=True)])

    def spread(self, values: Sequence[Number], stds: Sequence[Number]) -> Number:
        return root(_total([(w * s) ** 2 for w, s in zip(self.weights, stds, strict=True)]))


class Difference(WeightedSum):
    """plus - minus: high in one reward, low in the other.

    Args:
        plus: the reward to raise.
        minus: the reward to lower.
        name: name in tables.
    """

    def __init__(self, plus: Reward, minus: Reward, *, name: str = "") -> None:
        super().__init__([plus, minus], weights=[1.0, -1.0], name=name)
        self.name = name or f"{plus.label} - {minus.label}"


class Product(Composition):
    """prod_i rewards_i; meant for parts that are never negative (two negative parts make a positive product).

    Args:
        rewards: the parts.
        name: name in tables.
    """

    def __init__(self, rewards: Sequence[Reward], *, name: str = "") -> None:
        super().__init__(rewards, name=name)
        self.unit = " x ".join(p.unit for p in self.parts if p.unit)
        self.name = name or " x ".join(p.label for p in self.parts)

    def combine(self, values: Sequence[Number]) -> Number:
        return functools.reduce(operator.mul, values)

    def spread(self, values: Sequence[Number], stds: Sequence[Number]) -> Number:
        terms = []
        for i, std in enumerate(stds):
            others = [
                value for j, value in enumerate(values) if j != i
            ]  # not prod / r_i, which a zero would break
            terms.append((functools.reduce(operator.mul, others, std)) ** 2)
        return root(_total(terms))


class Threshold(Composition):
    """A reward under a constraint: at_least <= constraint(design) <= at_most.

    Without a penalty, a design that violates the constraint is INVALID: it has no value. With one it scores
    reward - penalty * violation, where violation is the distance to the allowed range in the constraint's
    unit. Where it is strict as well, steering sees the penalty, which says where the range is, and a design that
    violates the constraint in the end is INVALID.

    Args:
        reward: what is maximised.
        constraint: what must stay in the range.
        at_least: smallest allowed value of the constraint; None = no limit.
        at_most: largest allowed value; None = no limit.
        penalty: the reward's units per unit of violation; None = exclude instead.
        name: name in tables.
        strict: with a penalty: exclude too, and leave the penalty to steering.

    Raises:
        ConfigError: no limit, limits that leave nothing, a penalty that is not positive, or strict without a penalty.
    """

    def __init__(
        self,
        reward: Reward,
        constraint: Reward,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        penalty: float | None = None,
        name: str = "",
        strict: bool = False,
    ) -> None:
        super().__init__([reward, constraint], name=name)
        if at_least is None and at_most is None:
            raise ConfigError("Threshold needs at_least, at_most or both")
        self.at_least = -math.inf if at_least is None else finite("at_least", at_least)
        self.at_most = math.inf if at_most is None else finite("at_most", at_most)
        if self.at_least > self.at_most:
            raise ConfigError(f"Threshold allows nothing: at_least {at_least} is above at_most {at_most}")
        self.penalty = None if penalty is None else finite("penalty", penalty, above=0.0)
        if strict and penalty is None:
            raise ConfigError(
                "strict=True needs a penalty, which steering sees; without one all is excluded anyway"
            )
        self.strict = strict
        self.unit = reward.unit
        self.name = name or f"{reward.label} given {constraint.label}"

    @property
    def guide(self) -> Reward:
        """With the penalty alone, where it is strict."""
        return Threshold(**{**_guides(self.init_args), "strict": False}) if self.strict else super().guide

    def combine(self, values: Sequence[Number]) -> Number:
        value, constraint = values
        if self.penalty is None or self.strict:
            return value  # the constraint decides about the status, not about the value
        return value - self.penalty * self._violation(constraint)

    def wishes(self, values: Sequence[Number]) -> list[tuple[str, Number] | None]:
        value, constraint = values
        return [("{}", value), ("minus {} beyond its limits", -self._violation(constraint))]

    def spread(self, values: Sequence[Number], stds: Sequence[Number]) -> Number:
        if self.penalty is None or self.strict:
            return stds[0]
        outside = (self._violation(values[1]) > 0) * self.penalty
        return root(stds[0] ** 2 + (outside * stds[1]) ** 2)

    def join(self, values: Sequence[npt.NDArray[np.float64]], scores: Sequence[Scores]) -> Scores:
        joined = super().join(values, scores)
        if self.penalty is not None and not self.strict:
            return joined
        violation = self._violation(scores[1].values)
        status, message = list(joined.status), list(joined.message)
        for i in np.flatnonzero((violation > 0) & joined.ok):
            status[i] = Status.INVALID
            limits = f"outside [{self.at_least:g}, {self.at_most:g}]"
            details = f" ({message[i]})" if message[i] else ""
            message[i] = f"{self.parts[1].label} is {scores[1].values[i]:g}, {limits}{details}"
        return Scores(joined.values, tuple(status), joined.std, tuple(message))

    def _violation(self, constraint: Number) -> Number:
        """Distance to the allowed range: max(0, at_least - c, c - at_most)."""
        if isinstance(constraint, Tensor):
            return torch.relu(self.at_least - constraint) + torch.relu(constraint - self.at_most)
        return np.maximum(self.at_least - constraint, 0.0) + np.maximum(constraint - self.at_most, 0.0)


def root(x: Number, n: int = 2) -> Number:
    """The n-th root of numbers of at least 0, whose gradient is 0 at 0: there the root itself has an infinite one."""
    return x.clip(min=1e-37) ** (1 / n) * (x > 0)


def _total(terms: Sequence[Number]) -> Number:
    return functools.reduce(operator.add, terms)


def _common(units: Sequence[str], *, other: str) -> str:
    """The unit that all parts share, or `other`."""
    return units[0] if len(set(units)) == 1 else other


def _guides(given: Any) -> Any:
    """Arguments of a reward, with the guides of the rewards among them."""
    if isinstance(given, Reward):
        return given.guide
    if isinstance(given, Mapping):
        return {key: _guides(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [_guides(value) for value in given]
    return given

"""A reward put on the scale 0 to 1 by how well it meets a goal, and the mean of several such goals.

    Gaussian         exp(-(r - mu)^2 / 2 sigma^2)           r near mu
    MinGaussian      1 where r <= mu, Gaussian above        r at most mu
    MaxGaussian      1 where r >= mu, Gaussian below        r at least mu
    Clipped          (r - lower) / (upper - lower), held within [0, 1]
    GeometricMean    (prod_i r_i)^(1/n): no part can be given up for another

The arithmetic mean is a `WeightedSum` whose weights sum to 1. Like every composition, these keep the worst status of
their parts, propagate standard deviations, and are differentiable where their parts are.

Brown et al., "GuacaMol: Benchmarking Models for De Novo Molecular Design" (2019, arXiv 1811.09621).
"""

from __future__ import annotations

import functools
import math
import operator
from abc import abstractmethod
from collections.abc import Sequence

import numpy.typing as npt

from gendesign.building import finite
from gendesign.errors import ConfigError
from gendesign.rewards.base import Reward, Scores, Status
from gendesign.rewards.composition import Composition, Number, root


class Modified(Composition):
    """A function of one reward, on the scale 0 to 1.

    Args:
        reward: what is measured.
        name: name in tables.
    """

    def __init__(self, reward: Reward, *, name: str = "") -> None:
        super().__init__([reward], name=name)
        self.unit = "of 1"

    @abstractmethod
    def curve(self, x: Number) -> Number:
        """The value where the reward is x."""

    @abstractmethod
    def slope(self, x: Number) -> Number:
        """The derivative of `curve`."""

    def combine(self, values: Sequence[Number]) -> Number:
        return self.curve(values[0])

    def spread(self, values: Sequence[Number], stds: Sequence[Number]) -> Number:
        return abs(self.slope(values[0])) * stds[0]


class Gaussian(Modified):
    """1 where the reward is mu, falling off on both sides.

    Args:
        reward: what is measured.
        mu: the wanted value, in the reward's unit.
        sigma: how far from it the value has fallen to 0.61.
        name: name in tables.

    Raises:
        ConfigError: sigma is not positive.
    """

    said = "near"

    def __init__(self, reward: Reward, mu: float, sigma: float, *, name: str = "") -> None:
        super().__init__(reward, name=name)
        self.mu, self.sigma = finite("mu", mu), finite("sigma", sigma, above=0.0)
        self.name = name or f"{reward.label} {self.said} {self.mu:g}"

    def shortfall(self, x: Number) -> Number:
        """How far x is on the wrong side, in the reward's unit."""
        return x - self.mu

    def curve(self, x: Number) -> Number:
        return math.e ** (-((self.shortfall(x) / self.sigma) ** 2) / 2)

    def slope(self, x: Number) -> Number:
        return -self.shortfall(x) / self.sigma**2 * self.curve(x)


class MinGaussian(Gaussian):
    """1 up to mu, falling off above: the reward is to be at most mu. Arguments as of `Gaussian`."""

    said = "at most"

    def shortfall(self, x: Number) -> Number:
        return (x - self.mu).clip(min=0.0)


class MaxGaussian(Gaussian):
    """1 from mu on, falling off below: the reward is to be at least mu. Arguments as of `Gaussian`."""

    said = "at least"

    def shortfall(self, x: Number) -> Number:
        return (x - self.mu).clip(max=0.0)


class Clipped(Modified):
    """0 at `lower`, 1 at `upper`, a straight line between them and flat outside.

    Args:
        reward: what is measured.
        upper: value from which more is no better (up to which, if below `lower`).
        lower: value at which nothing is gained.
        name: name in tables.

    Raises:
        ConfigError: upper equals lower.
    """

    def __init__(self, reward: Reward, upper: float, *, lower: float = 0.0, name: str = "") -> None:
        super().__init__(reward, name=name)
        self.upper, self.lower = finite("upper", upper), finite("lower", lower)
        if self.upper == self.lower:
            raise ConfigError(f"Clipped needs two different values, got upper = lower = {self.upper:g}")
        self.name = name or f"{reward.label} up to {self.upper:g}"

    def curve(self, x: Number) -> Number:
        return ((x - self.lower) / (self.upper - self.lower)).clip(0.0, 1.0)

    def slope(self, x: Number) -> Number:
        between = (x - self.lower) * (x - self.upper) < 0
        return between / (self.upper - self.lower)


class GeometricMean(Composition):
    """(prod_i rewards_i)^(1/n): 0 as soon as one part is 0.

    Args:
        rewards: the parts, none of which is ever negative; a design for which one is becomes INVALID.
        name: name in tables.
    """

    def __init__(self, rewards: Sequence[Reward], *, name: str = "") -> None:
        super().__init__(rewards, name=name)
        self.name = name or f"geometric mean of {', '.join(p.label for p in self.parts)}"

    def combine(self, values: Sequence[Number]) -> Number:
        return root(functools.reduce(operator.mul, values), len(values))

    def spread(self, values: Sequence[Number], stds: Sequence[Number]) -> Number:
        mean = self.combine(values)
        terms = [
            (mean * std / (value + (value == 0))) ** 2 for value, std in zip(values, stds, strict=True)
        ]  # at a zero part the mean is zero, and so is its first-order deviation
        return root(functools.reduce(operator.add, terms)) / len(values)

    def join(self, values: Sequence[npt.NDArray], scores: Sequence[Scores]) -> Scores:
        joined = super().join(values, scores)
        status, message = list(joined.status), list(joined.message)
        for part, own in zip(self.parts, values, strict=True):
            for i in (own < 0).nonzero()[0]:
                status[i] = max(status[i], Status.INVALID, key=lambda s: s.severity)
                message[i] = f"{part.label} is {own[i]:g}; a geometric mean needs parts of at least 0"
        return Scores(joined.values, tuple(status), joined.std, tuple(message))

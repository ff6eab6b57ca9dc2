"""Point clouds in two dimensions whose shape can be judged by eye."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from gendesign.designs import Array

Toy = Callable[[int, np.random.Generator], Array]


def two_moons(num: int, random: np.random.Generator) -> Array:
    """Two interleaved half circles of radius 1, with noise of .08."""
    angle, upper = random.uniform(0, math.pi, num), random.random(num) < 0.5
    x = np.where(upper, np.cos(angle), 1 - np.cos(angle))
    y = np.where(upper, np.sin(angle), 0.5 - np.sin(angle))
    return np.stack([x, y], axis=1) + random.normal(0, 0.08, (num, 2))


def eight_gaussians(num: int, random: np.random.Generator) -> Array:
    """Eight round clusters of deviation .15 on a circle of radius 2."""
    angle = random.integers(0, 8, num) * (math.pi / 4)
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    noisy: Array = centres + random.normal(0, 0.15, (num, 2))
    return noisy


def spiral(num: int, random: np.random.Generator) -> Array:
    """Two turns of a spiral out to radius 2, evenly filled along its length, with noise of .05."""
    turn = 4 * math.pi * np.sqrt(random.random(num))
    arm = np.stack([np.cos(turn), np.sin(turn)], axis=1) * (turn / (2 * math.pi))[:, None]
    noisy: Array = arm + random.normal(0, 0.05, (num, 2))
    return noisy


def rings(num: int, random: np.random.Generator) -> Array:
    """Two circles, of radius 1 and 2, with noise of .06."""
    angle, radius = random.uniform(0, 2 * math.pi, num), random.integers(1, 3, num)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    noisy: Array = circle + random.normal(0, 0.06, (num, 2))
    return noisy


def checkerboard(num: int, random: np.random.Generator) -> Array:
    """The dark squares of a 4 x 4 board over [-2, 2]."""
    column = random.integers(0, 4, num)
    row = 2 * random.integers(0, 2, num) + column % 2
    return np.stack([column, row], axis=1) + random.random((num, 2)) - 2.0


TOYS: dict[str, Toy] = {
    toy.__name__: toy for toy in (two_moons, eight_gaussians, spiral, rings, checkerboard)
}
"""By name."""

"""Goals of several properties at once, put together from rewards and modifiers as in GuacaMol.

    Isomer(formula)         geometric mean of Gaussians: of each element's count (sigma 1) and of all atoms (sigma 2)
    LikeReference(r, ref)   exp(-(r(x) - r(ref))^2 / 2 sigma^2): the property that a reference molecule has

Everything else that those goals need is composed in YAML (configs/design/reward/guacamol-*.yaml) from `Similarity`,
descriptors, `Gaussian`, `MinGaussian`, `MaxGaussian`, `Clipped`, `GeometricMean` and `WeightedSum`.

Brown et al., "GuacaMol: Benchmarking Models for De Novo Molecular Design" (2019, arXiv 1811.09621), in the constants of
its package, version 0.5.5: the twenty goals of its suite give the same scores to 1e-15 (`python
benchmarks/guacamol_parity.py`, 327 molecules). What is no molecule scores -1 there and is INVALID here; fragments,
which it scores, are INVALID here too.
"""

from __future__ import annotations

import re

from gendesign.errors import ConfigError
from gendesign.rewards.base import Reward
from gendesign.rewards.modifiers import Gaussian, GeometricMean
from gendesign.rewards.molecules import AtomCount


class Isomer(GeometricMean):
    """How close a molecule's formula is to a given one, 0 to 1.

    Args:
        formula: such as C16H15F6N5O, hydrogens included.
        name: name in tables.

    Raises:
        ConfigError: this is no formula.
    """

    def __init__(self, formula: str, *, name: str = "") -> None:
        counts = parse_formula(formula)
        goals = [Gaussian(AtomCount(element), mu=count, sigma=1.0) for element, count in counts.items()]
        goals.append(Gaussian(AtomCount(), mu=sum(counts.values()), sigma=2.0))
        super().__init__(goals, name=name or f"isomer of {formula}")


class LikeReference(Gaussian):
    """1 where a property equals that of a reference molecule.

    Args:
        reward: the property.
        reference: SMILES of the molecule whose value is wanted.
        sigma: how far from it the goal has fallen to 0.61, in the property's unit.
        name: name in tables.

    Raises:
        ConfigError: the reference has no such property, or sigma is not positive.
    """

    def __init__(self, reward: Reward, reference: str, sigma: float, *, name: str = "") -> None:
        scores = reward([reference])
        if not scores.ok[0]:
            raise ConfigError(f"reference {reference!r} has no {reward.label}: {scores.message[0]}")
        super().__init__(reward, float(scores.values[0]), sigma, name=name)


def parse_formula(formula: str) -> dict[str, int]:
    """How many atoms of each element a formula such as C9H10N2O2PF2Cl names.

    Raises:
        ConfigError: this is no formula.
    """
    parts = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
    if not parts or "".join(symbol + count for symbol, count in parts) != formula:
        raise ConfigError(f"expected a formula such as C16H15F6N5O, got {formula!r}")
    counts: dict[str, int] = {}
    for symbol, count in parts:
        counts[symbol] = counts.get(symbol, 0) + int(count or 1)
    return counts

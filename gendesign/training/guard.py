"""A guard against reward hacking: bands in which designs must stay, whatever the guiding reward says of them.

Four figures of a design tell that a reward is being exploited: a held-out reward that no longer follows, a likelihood
under the base that falls, words that natural sequences hardly have (which a base may find likely all the same), and
members of a predictor that disagree. Each has a band, counted from what unsteered designs of the base have, in their
standard deviations:

    z = (figure - median of the base) / standard deviation of the base,    low <= z <= high.

Where no band is given, it ends at a quantile of the base's designs, on the side on which exploitation shows: a set is
outside when its median design is one of those that the base hardly ever makes. Nothing of a run enters that rule.

Two actions: `broken` says whether the medians of a set have left (fine-tuning then stops), and `distances` says how far
each design is outside, by which it is weighted down (`GuardedReward`, for any steering method).

Gao et al. 2022, Scaling Laws for Reward Model Overoptimization, arXiv 2210.10760.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gendesign.backbone import Backbone
from gendesign.building import Configurable, check_arguments, finite, whole
from gendesign.codecs import Codec
from gendesign.designs import Design
from gendesign.errors import ConfigError
from gendesign.loading import load_backbone
from gendesign.metrics.kmers import word_likeness
from gendesign.metrics.reference import Reference
from gendesign.rewards.base import Reward
from gendesign.rewards.catalog import load_reward
from gendesign.rewards.scores import Scores, Status

Band = Sequence[float | None]
FIGURES = {"heldout": "low", "naturalness": "low", "likeness": "low", "disagreement": "high"}
"""What a guard looks at, and on which side exploitation shows."""


@dataclass(frozen=True)
class Figures:
    """What a guard looks at, one number a design; NaN where unknown.

    Attributes:
        heldout: the held-out reward.
        naturalness: log-likelihood under the base, nats a coordinate.
        disagreement: standard deviation of the guiding reward over its members.
        likeness: how familiar natural sequences are with its words, nats a word (`gendesign.metrics.kmers`); None where
            the base brings no spectra of them.
    """

    heldout: NDArray[np.float64]
    naturalness: NDArray[np.float64]
    disagreement: NDArray[np.float64]
    likeness: NDArray[np.float64] | None = None

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """A figure by its name."""
        found = getattr(self, name)
        return np.full(len(self.heldout), np.nan) if found is None else found

    def medians(self) -> dict[str, float]:
        """Of each figure."""
        return {name: _median(self[name]) for name in FIGURES}


def figures(
    designs: Sequence[Design],
    *,
    guide: Scores | None = None,
    heldout: Reward | None = None,
    base: Backbone | None = None,
    num_times: int = 8,
    seed: int = 0,
    alike: bool = False,
) -> Figures:
    """Measure designs.

    Args:
        designs: to be measured.
        guide: their scores by the guiding reward, whose deviations are the disagreement.
        heldout: the reward that steering does not follow.
        base: the backbone whose likelihood is the naturalness, and whose reference holds natural words.
        num_times: noise levels a design in the likelihood.
        seed: of the likelihood's noise.
        alike: every design meets the same noise, so that its figures do not depend on what it is measured beside.
    """
    unknown = np.full(len(designs), np.nan)
    natural = unknown.copy()
    # what a network in training writes is not always a design
    fine = [] if base is None else [i for i, design in enumerate(designs) if base.codec.is_valid(design)]
    if base is not None and fine:
        known = [designs[i] for i in fine]
        nats = base.log_likelihood(known, num_times=num_times, seed=seed, alike=alike)
        natural[fine] = nats.cpu().numpy() / base.codec.length
    return Figures(
        heldout=unknown if heldout is None else heldout(designs).values,
        naturalness=natural,
        disagreement=unknown if guide is None or guide.std is None else guide.std,
        likeness=None if base is None else _likeness(designs, base),
    )


def _likeness(designs: Sequence[Design], base: Backbone) -> NDArray[np.float64] | None:
    """Of the longest words whose natural spectrum the base brings."""
    reference = base.reference
    if not isinstance(reference, Reference) or not reference.spectra:
        return None
    k = max(reference.spectra)
    text = [design if isinstance(design, str) else "" for design in designs]
    return word_likeness(text, reference.spectra[k], k, reference.alphabet)


class Guard(Configurable):
    """Bands of the figures, in standard deviations of the base's designs from their median.

    Args:
        heldout: (low, high), null where open; None: the `quantile` of the base's designs, and open above.
        naturalness: likewise.
        likeness: likewise.
        disagreement: likewise, but open below.
        quantile: where a band ends that is not given: 0.01 is the lowest (of disagreement the highest) hundredth.
        fall: the most that the median of the held-out reward may fall below the highest that it has reached in a run;
            None: as far as its band allows.
        penalty: price, in units of the reward's standard deviation over the base's designs, of a standard deviation
            outside a band.

    Raises:
        ConfigError: a band that is none, or a price below 0.
    """

    def __init__(
        self,
        *,
        heldout: Band | None = None,
        naturalness: Band | None = None,
        likeness: Band | None = None,
        disagreement: Band | None = None,
        quantile: float = 0.01,
        fall: float | None = 1.0,
        penalty: float = 10.0,
    ) -> None:
        given = (heldout, naturalness, likeness, disagreement)
        self.bands = {
            name: None if band is None else _band(name, band)
            for name, band in zip(FIGURES, given, strict=True)
        }
        self.quantile = finite("quantile", quantile, above=0.0)
        if quantile >= 0.5:
            raise ConfigError(f"quantile must be below 0.5, the median of the base, got {quantile:g}")
        self.fall = None if fall is None else finite("fall", fall, above=0.0)
        self.penalty = finite("penalty", penalty, at_least=0.0)

    def distances(self, found: Figures, base: Figures) -> NDArray[np.float64]:
        """How far each design is outside its bands, in standard deviations, added up; what is unknown counts as 0."""
        total = np.zeros(len(found.heldout))
        for name in self.bands:
            low, high = self.band(name, base)
            z = _standardised(found[name], base[name])
            total += np.nan_to_num(np.maximum(low - z, 0.0) + np.maximum(z - high, 0.0))
        return total

    def band(self, name: str, base: Figures) -> tuple[float, float]:
        """Where a figure may be, in standard deviations of the base's from their median."""
        given = self.bands[name]
        if given is not None:
            return given
        fine = base[name][np.isfinite(base[name])]
        if not len(fine):
            return -np.inf, np.inf
        low = FIGURES[name] == "low"
        edge = np.quantile(fine, self.quantile if low else 1 - self.quantile)
        z = float(_standardised(np.array([edge]), fine)[0])
        return (z, np.inf) if low else (-np.inf, z)

    def broken(self, found: Figures, base: Figures, *, best_heldout: float = -np.inf) -> str:
        """Why a set of designs is outside, by its medians; "" if it is not.

        Args:
            found: figures of the designs.
            base: those of the base's designs.
            best_heldout: the highest median of the held-out reward so far.
        """
        for name, given in self.bands.items():
            low, high = self.band(name, base)
            own, centre, spread = _median(found[name]), *_place(base[name])
            z = (own - centre) / spread
            if z < low or z > high:
                side, edge = ("below", low) if z < low else ("above", high)
                where = "" if given is not None else f", {100 * self.quantile:g} % of its designs"
                return (
                    f"{name} {own:.4g} is {abs(z):.1f} standard deviations {side} the base's "
                    f"{centre:.4g}; the band ends at {edge:+.1f}{where}"
                )
        centre, spread = _place(base.heldout)
        now = _median(found.heldout)
        if self.fall is not None and best_heldout - now > self.fall * spread:
            return (
                f"heldout {now:.4g} fell {(best_heldout - now) / spread:.1f} standard deviations of the base below "
                f"its highest, {best_heldout:.4g}; at most {self.fall:g} are allowed"
            )
        return ""


class GuardedReward(Reward):
    """A reward less a price for leaving the guard's bands, so that any steering method carries the guard.

        r'(x) = r(x) - penalty * sd_base(r) * distance(x)

    Where r has a gradient, methods that follow it are weighted down likewise: relaxed designs have the value of r' and
    the gradient of r, over 1 + penalty * distance of the designs that they stand for. A held-out reward used here
    guides: judge the designs by yet another one.

    Args:
        reward: r, or its shipped name.
        backbone: the base, or its shipped name: its designs are what the bands are counted from.
        guard: the bands, or the arguments of a `Guard`.
        heldout: a reward to be watched, or its shipped name.
        base_designs: unsteered designs to count from.
        steps: reverse steps of these.
        num_times: noise levels a design in the likelihood; 0 leaves naturalness out, which costs network evaluations
            that a run does not count.
        seed: of the base's designs.
    """

    def __init__(
        self,
        reward: Reward | str,
        backbone: Backbone | str,
        *,
        guard: Guard | Mapping[str, Any] | None = None,
        heldout: Reward | str | None = None,
        base_designs: int = 64,
        steps: int = 64,
        num_times: int = 8,
        seed: int = 0,
    ) -> None:
        self.reward = load_reward(reward) if isinstance(reward, str) else reward
        self.backbone = load_backbone(backbone) if isinstance(backbone, str) else backbone
        self.heldout = load_reward(heldout) if isinstance(heldout, str) else heldout
        given = {} if guard is None else guard
        if not isinstance(given, Guard):
            check_arguments(Guard, given)
        self.guard = given if isinstance(given, Guard) else Guard(**given)
        self.num_times = whole("num_times", num_times, at_least=0)
        self.name = f"{self.reward.label} guarded"
        self.unit, self.source = self.reward.unit, self.reward.source
        self.trained_on, self.alphabet = self.reward.trained_on, self.reward.alphabet
        reads_back = type(self.backbone.codec).harden is not Codec.harden
        self.differentiable = self.reward.differentiable and reads_back
        natural = self.backbone.sample(
            whole("base_designs", base_designs, at_least=2), steps=steps, seed=seed
        )
        scores = self.reward(natural)
        self.base = self._figures(natural, scores)
        self.price = self.guard.penalty * _place(scores.values)[1]

    def unreadable(self, design: Design) -> str:
        return self.reward.unreadable(design) or self.backbone.codec.reason_invalid(design)

    def score(self, designs: Sequence[Design]) -> Scores:
        scores = self.reward(designs)
        outside = self.guard.distances(self._figures(designs, scores), self.base)
        price = np.where(outside > 0, self.price * outside, 0.0)
        status = tuple(Status(s) for s in scores.status)
        return Scores(scores.values - price, status, scores.std, scores.message)

    def relaxed(self, x: Float[Tensor, "B ..."]) -> Float[Tensor, " B"]:
        if not self.differentiable:
            return super().relaxed(x)
        value, std = self.reward.relaxed_moments(x)
        designs, outside = self.backbone.codec.harden(x), np.zeros(len(x))
        fine = np.array([not self.unreadable(design) for design in designs])
        known = None if std is None else std.detach().cpu().double().numpy()[fine]
        if fine.any():
            guide = Scores(np.zeros(int(fine.sum())), std=known)
            kept = [design for design, readable in zip(designs, fine, strict=True) if readable]
            outside[fine] = self.guard.distances(self._figures(kept, guide), self.base)
        distance = torch.from_numpy(outside).to(value)
        weighted = value / (1 + self.guard.penalty * distance)
        price = torch.where(distance > 0, self.price * distance, 0.0)
        return weighted + (value - weighted).detach() - price

    def to(self, device: str | torch.device) -> GuardedReward:
        self.backbone.to(device)
        for reward in (self.reward, self.heldout):
            if reward is not None:
                reward.to(device)
        return self

    def _figures(self, designs: Sequence[Design], scores: Scores) -> Figures:
        base = self.backbone if self.num_times else None
        times = max(1, self.num_times)
        return figures(designs, guide=scores, heldout=self.heldout, base=base, num_times=times, alike=True)


def _band(name: str, band: Band) -> tuple[float, float]:
    if isinstance(band, str) or len(band) != 2:
        raise ConfigError(f"{name} must be a band (low, high), null where open, got {band!r}")
    low, high = (
        edge if value is None else finite(name, value)
        for value, edge in zip(band, (-np.inf, np.inf), strict=True)
    )
    if not low < high:
        raise ConfigError(f"{name} must rise from low to high, got {band!r}")
    return low, high


def _place(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median and standard deviation; a figure that never varies has the smallest deviation above 0."""
    fine = values[np.isfinite(values)]
    if not len(fine):
        return float("nan"), float("nan")
    return float(np.median(fine)), max(float(fine.std()), 1e-12)


def _median(values: NDArray[np.float64]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # all unknown: unknown
        return float(np.nanmedian(values)) if len(values) else float("nan")


def _standardised(values: NDArray[np.float64], base: NDArray[np.float64]) -> NDArray[np.float64]:
    centre, spread = _place(base)
    return (values - centre) / spread

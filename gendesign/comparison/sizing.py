"""Sizes by what is spent: a size is tried, and the next one follows from what its run spent.

The most that a method may spend is often far above what it does: designs end early, candidates are alike and are asked
about once. Sizes chosen by that bound leave part of the budget unspent, of one method more than of another. Spending
grows about as a power of the size, so that sizes are sought as zeros are by the secant method, in logarithms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

BELOW, ABOVE = 0.1, 0.05
"""How far from the budget is near enough, as shares of it."""
TRIES = 6
"""Sizes that are tried at most."""


@dataclass
class Search:
    """The search for the size at which a run spends about its budget.

    Args:
        budget: of any currency.
        size: the first one to try.
        most: the largest one.

    Attributes:
        settled: whether `size` is the answer, rather than the next one to try.
        reason: why no size will do; "" where one does.
    """

    budget: float
    size: int
    most: int
    settled: bool = False
    reason: str = ""
    _spent: dict[int, float] = field(default_factory=dict)

    def tell(self, spent: float | None) -> None:
        """What a run at `size` spent; None: it failed, and so would others."""
        if spent is None:
            self.settled = True
            return
        self._spent[self.size] = spent
        share = spent / self.budget - 1
        after = None if -BELOW <= share <= ABOVE or len(self._spent) == TRIES else self._next()
        if after is None:
            self._settle()
        else:
            self.size = after

    def _next(self) -> int | None:
        """The next size to try; None: there is none."""
        below = sorted(size for size, spent in self._spent.items() if spent <= self.budget)
        above = sorted(size for size, spent in self._spent.items() if spent > self.budget)
        known = sorted(self._spent)
        if below and above:
            low, high = below[-1], above[0]
            if high - low <= 1:  # also where chance has turned their order
                return None
            return min(max(self._crossing(low, high), low + 1), high - 1)
        if above:
            guess = self._crossing(*known[:2]) if len(known) > 1 else self._in_proportion(above[0])
            return None if above[0] == 1 else min(max(guess, 1), above[0] - 1)
        last = below[-1]
        before = below[-2] if len(below) > 1 else None
        # of two sizes that are near each other, chance may have the larger one spend less
        flat = self._spent[last] == 0 or any(
            2 * size <= last and self._spent[last] < 1.02 * spent for size, spent in self._spent.items()
        )
        if flat or last >= self.most:  # a larger size spends no more
            return None
        grew = before is not None and self._spent[last] > self._spent[before]
        guess = self._crossing(before, last) if before is not None and grew else self._in_proportion(last)
        return min(max(guess, last + 1), 16 * last, self.most)

    def _in_proportion(self, size: int) -> int:
        return math.floor(size * self.budget / self._spent[size])

    def _crossing(self, one: int, other: int) -> int:
        """Where the power of the size that goes through two of them meets the budget."""
        a, b = math.log(self._spent[one]), math.log(self._spent[other])
        if a == b:
            return other
        share = (math.log(self.budget) - a) / (b - a)
        return math.floor(min(one * (other / one) ** min(share, 20.0), self.most))

    def _settle(self) -> None:
        """The size that spends most, of those that are not above the budget by more than is near enough."""
        self.settled = True
        fits = [size for size, spent in self._spent.items() if spent <= (1 + ABOVE) * self.budget]
        if fits:
            self.size = max(fits, key=lambda size: (self._spent[size], -size))
        else:
            self.size = min(self._spent)
            least = self._spent[self.size]
            self.reason = (
                f"spends {least:g} a design at size {self.size}, the budget is {self.budget:g}; raise it"
            )

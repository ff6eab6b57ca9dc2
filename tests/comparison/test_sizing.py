"""Sizes are sought by what is spent: the budget is met, in few tries, whatever the law of spending."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from gendesign.comparison.sizing import ABOVE, BELOW, TRIES, Search

Law = Callable[[int], float]


def sought(law: Law, budget: float, first: int, most: int = 1 << 16) -> tuple[Search, list[int]]:
    search, tried = Search(budget, first, most), list[int]()
    while not search.settled:
        tried.append(search.size)
        search.tell(law(search.size))
    return search, tried


@pytest.mark.parametrize("first", [1, 2, 40])
@pytest.mark.parametrize(
    "law",
    [
        lambda size: 3.0 * size,
        lambda size: 11 * size**0.55,
        lambda size: 20 + 4.0 * size,
        lambda size: 0.8 * size * (1 + 0.05 * math.sin(9 * size)),
    ],
)
def test_the_budget_is_met(law: Law, first: int) -> None:
    for budget in (64, 300):
        search, tried = sought(law, budget, first)
        assert -BELOW <= law(search.size) / budget - 1 <= ABOVE and not search.reason
        assert len(tried) == len(set(tried)) <= TRIES


def test_a_bound_that_is_met_is_tried_once() -> None:
    assert sought(lambda size: size, 64, 64) == (Search(64, 64, 1 << 16, True, "", {64: 64}), [64])


def test_coarse_sizes_stay_below_the_budget() -> None:
    """One size spends too little and the next one too much: the smaller one is taken."""
    search, _ = sought(lambda size: 30.0 * size, 80, 1)
    assert search.size == 2 and not search.reason


def test_chance_among_neighbours_does_not_end_the_search() -> None:
    """What size 7 spent is less than what 6 did, which says nothing of 8."""
    spent = {2: 19.8, 6: 51.0, 7: 50.7, 8: 60.0}
    search, tried = sought(lambda size: spent[size], 64, 2)
    assert tried == [2, 6, 7, 8] and search.size == 8


def test_what_grows_no_more_ends_the_search() -> None:
    search, tried = sought(lambda size: min(20.0, 5.0 * size), 64, 1)
    assert len(tried) <= 4 and search.size in tried and 20 in [min(20, 5 * search.size)]
    assert sought(lambda size: 0.0, 64, 7)[0].size == 7
    assert max(sought(lambda size: 0.1 * size, 64, 2, most=9)[1]) == 9


def test_a_budget_below_the_smallest_size_has_a_reason() -> None:
    search, tried = sought(lambda size: 70.0 * size, 64, 3)
    assert tried[-1] == search.size == 1 and "spends 70 a design at size 1, the budget is 64" in search.reason


def test_a_run_that_failed_ends_the_search() -> None:
    search = Search(64, 3, 100)
    search.tell(None)
    assert search.settled and search.size == 3 and not search.reason

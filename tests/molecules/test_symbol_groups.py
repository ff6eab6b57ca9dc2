"""Groups of symbols: the most frequent neighbours first, and reading that loses nothing."""

from gendesign.molecules.symbol_groups import grouped, learn_groups


def test_the_most_frequent_pair_is_found_first() -> None:
    rows = ["abab", "ab", "cab", "xyz"]
    assert learn_groups(rows, 1) == [("a", "b")]
    assert learn_groups(rows, 9) == [("a", "b")]  # no other pair occurs twice
    assert learn_groups([], 3) == [] and learn_groups(rows, 0) == []


def test_groups_grow_by_groups() -> None:
    found = learn_groups(["aaaa"] * 3, 5)
    assert found == [("a", "a"), ("a",) * 4]


def test_the_longest_group_from_the_left() -> None:
    groups = {("a", "b"), ("a", "b", "c"), ("b", "c", "d")}
    assert grouped("abcd", groups, longest=3) == [("a", "b", "c"), ("d",)]
    assert grouped("bcdab", groups, longest=3) == [("b", "c", "d"), ("a", "b")]
    assert grouped("", groups, longest=3) == [] and grouped("xa", set(), longest=1) == [("x",), ("a",)]


def test_nothing_is_lost() -> None:
    rows = ["abcabcabd", "bcabdab", "ddabc"]
    groups = set(learn_groups(rows, 4))
    for row in rows:
        read = grouped(row, groups, longest=max(map(len, groups)))
        assert "".join("".join(group) for group in read) == row

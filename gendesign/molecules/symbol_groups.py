"""Groups of symbols that often follow each other, so that a molecule takes fewer tokens.

As in byte-pair encoding, the most frequent pair of neighbours becomes a token, again and again: a benzene ring, an
amide or a methyl group in brackets becomes one token, which a backbone then cannot misspell. A row of symbols is read
from the left, each time the longest group that fits.

Gage, "A new algorithm for data compression" (1994); Sennrich, Haddow, Birch, "Neural machine translation of rare words
with subword units" (2016, arXiv 1508.07909); for molecules: Li and Fourches, "SMILES pair encoding" (2021, doi
10.1021/acs.jcim.0c01127).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

Group = tuple[str, ...]


def learn_groups(rows: Iterable[Sequence[str]], num: int) -> list[Group]:
    """The groups that shorten rows of symbols most, one pair of neighbours at a time.

    Args:
        rows: of symbols.
        num: groups to find; fewer where no pair occurs twice.

    Returns:
        the groups, in the order in which they were found; of pairs that are equally frequent the alphabetically last.
    """
    parts: list[list[Group]] = [[(symbol,) for symbol in row] for row in rows]
    counts: Counter[tuple[Group, Group]] = Counter()
    places: defaultdict[tuple[Group, Group], set[int]] = defaultdict(set)
    for row, groups in enumerate(parts):
        for pair in zip(groups, groups[1:], strict=False):
            counts[pair] += 1
            places[pair].add(row)
    found: dict[Group, None] = {}
    while counts and len(found) < num:
        best = max(counts.items(), key=lambda item: (item[1], item[0]))
        if best[1] < 2:
            break
        left, right = best[0]
        found[left + right] = None
        for row in places.pop((left, right)):
            before, after = parts[row], _merged(parts[row], left, right)
            counts.subtract(zip(before, before[1:], strict=False))
            for pair in zip(after, after[1:], strict=False):
                counts[pair] += 1
                places[pair].add(row)
            parts[row] = after
        del counts[left, right]
    return list(found)


def _merged(groups: list[Group], left: Group, right: Group) -> list[Group]:
    merged, place = [], 0
    while place < len(groups):
        fits = groups[place] == left and groups[place + 1 : place + 2] == [right]
        merged.append(left + right if fits else groups[place])
        place += 2 if fits else 1
    return merged


def grouped(symbols: Sequence[str], groups: Collection[Group], *, longest: int) -> list[Group]:
    """Read symbols from the left, each time the longest group that fits; a symbol that starts none stands alone.

    Args:
        symbols: of one molecule.
        groups: what may be read at once; quickest as a set or a mapping.
        longest: symbols of the longest of them.
    """
    row, place, found = tuple(symbols), 0, []
    while place < len(row):
        size = next(
            (n for n in range(min(longest, len(row) - place), 1, -1) if row[place : place + n] in groups), 1
        )
        found.append(row[place : place + size])
        place += size
    return found

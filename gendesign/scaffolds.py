"""Scaffolds: a molecule with open ends becomes SELFIES symbols with free positions.

    *{3}c1ccc(*)cc1   ->   [C] [C] [=C] [Branch1] [=Branch2] [C] [=C] [C] [=Ring1] [=Branch1] ? ? ?  ? ? ? ? ? ? ...

A ring in SELFIES closes to the n-th atom before it, and a branch holds the next n symbols; neither may count what is
not known yet. So the scaffold is written such that no ring closes across a free part, and each free part is a branch of
stated length, or the end of the string. RDKit writes it in many ways; the first that keeps it, however its free parts
are filled, is taken. What a free part does later may still break it (a ring that closes into the scaffold, a part that
is shorter than its branch): `open_ends.departs` says of a design whether it did.

Krenn et al. 2020, Self-referencing embedded strings (SELFIES): a 100% robust molecular string representation,
doi:10.1088/2632-2153/aba947 (the rules of branches, rings and bonds).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gendesign.chemistry import parse, rdkit, shown
from gendesign.codecs import FREE
from gendesign.errors import DesignError
from gendesign.molecule_codec import selfies
from gendesign.open_ends import Scaffold, holds, query_of, read_scaffold

ROOM = 6
"""Symbols of a free part that states none, unless it is the last: that one takes what is left."""
WRITINGS, TRIED = 300, 30
"""Ways of writing a scaffold that are looked at, and of those that keep it, how many are compared at most."""

_STAND_IN = 85  # astatine, which no backbone knows; its isotope is the number of the open end
_ASTATINE = re.compile(r"\[[/\\]?(\d+)At\]")
# how free parts begin that are tried, of an element that no scaffold has: n atoms, one, and as many bonds as there are
_FILLER = "[Te]"
_LONG: tuple[str, ...] = (_FILLER,)
_SHORT: tuple[str, ...] = ("[F]",)
_GREEDY: tuple[str, ...] = ("[#Te]", "[F]")
_Filling = dict[int, tuple[str, ...]]


@dataclass(frozen=True)
class _Branch:
    """A side chain of a scaffold: what a [Branch] symbol holds."""

    bond: str
    body: list[_Piece]


_Piece = str | int | _Branch
"""Of a written scaffold: a symbol, the number of an open end, or a branch."""


@lru_cache(maxsize=64)
def scaffold_tokens(template: str, *, vocabulary: frozenset[str], length: int) -> tuple[str | None, ...]:
    """The symbols of a template.

    Args:
        template: as of `read_scaffold`.
        vocabulary: symbols that may be used.
        length: positions L.

    Returns:
        L symbols, `FREE` where free, None where empty.

    Raises:
        DesignError: as of `read_scaffold`; there is no room; symbols are not in the vocabulary; or no way of writing
            keeps the scaffold.
    """
    read = read_scaffold(template)
    if read.is_open:
        return _filled_up([FREE] * (read.rooms[0] or length), length, read)
    unknown: set[str] = set()
    fits: list[_Row] = []
    needed = 0
    for row in _rows(read, length):
        if len(row.symbols) > length:
            needed = min(needed or len(row.symbols), len(row.symbols))
            continue
        wrong = {symbol for symbol in row.symbols if isinstance(symbol, str)} - vocabulary
        unknown |= wrong
        if fits and (row.worth > fits[0].worth or len(fits) == TRIED):
            break
        if not wrong:
            fits.append(row)
            if row.exact:
                break
    if fits:
        best = min(fits, key=lambda row: not row.exact)
        return _filled_up([FREE if isinstance(one, int) else one for one in best.symbols], length, read)
    if unknown:
        names = ", ".join(sorted(unknown)[:5])
        raise DesignError(
            f"the template {shown(template)} needs {names}, which the backbone's vocabulary lacks"
        )
    if needed:
        _filled_up([FREE] * needed, length, read)
    raise DesignError(
        f"SELFIES have no way of writing {shown(template)} in which no ring closes across a free part; "
        "give one ring system fewer open ends"
    )


def _writings(read: Scaffold) -> Iterator[list[_Piece]]:
    """Ways of writing a scaffold, first those that end with a free part, and the short ones."""
    mol = parse(read.smiles, attachments=True)
    with rdkit() as chem:
        for atom in mol.GetAtoms():
            if not atom.GetAtomicNum():
                atom.SetAtomicNum(_STAND_IN)
        chem.Kekulize(mol, clearAromaticFlags=True)
        texts = dict.fromkeys(
            [chem.MolToSmiles(mol), *chem.MolToRandomSmilesVect(mol, WRITINGS, randomSeed=1)]
        )
    found = []
    with selfies() as library:
        for text in texts:
            try:
                found.append(_pieces(list(library.split_selfies(library.encoder(text)))))
            except library.EncoderError:
                continue

    usable = [pieces for pieces in found if not isinstance(pieces[0], int)]
    yield from sorted(
        usable, key=lambda one: (_worth(read, one), len(_row(one, [1] * len(read.rooms), set())))
    )


def _worth(read: Scaffold, pieces: list[_Piece]) -> int:
    """Best, 0, is a free part of any length at the end; then one of stated length; then none."""
    last = pieces[-1]
    return 2 if not isinstance(last, int) else int(read.rooms[last - 1] is not None)


def _pieces(symbols: list[str]) -> list[_Piece]:
    """Symbols grouped into branches."""
    from selfies.grammar_rules import get_index_from_selfies

    pieces: list[_Piece] = []
    place = 0
    while place < len(symbols):
        symbol = symbols[place]
        place += 1
        if (end := _ASTATINE.fullmatch(symbol)) is not None:
            pieces.append(int(end[1]))
        elif symbol[-4:-2] in ("ch", "ng"):  # [Branch1], [=Ring2]: that many symbols are a number
            number = symbols[place : place + int(symbol[-2])]
            place += len(number)
            if symbol[-4:-2] == "ng":
                pieces += [symbol, *number]
                continue
            size = get_index_from_selfies(*number) + 1  # type: ignore[arg-type]  # they mean strings
            pieces.append(_Branch(symbol[1:-8], _pieces(symbols[place : place + size])))
            place += size
        else:
            pieces.append(symbol)
    return pieces


def _row(pieces: list[_Piece], rooms: Sequence[int], held: Collection[int]) -> list[str | int]:
    """Symbols again, with the number of its open end at every free position.

    Args:
        pieces: of a written scaffold.
        rooms: positions of each open end.
        held: open ends in branches of their own, so that they are bound by a single bond.
    """
    row: list[str | int] = []
    for piece in pieces:
        if isinstance(piece, _Branch):
            row += _branch(piece.bond, _row(piece.body, rooms, held))
        elif isinstance(piece, int):
            free: list[str | int] = [piece] * rooms[piece - 1]
            row += _branch("", free) if piece in held else free
        else:
            row.append(piece)
    return row


def _branch(bond: str, body: list[str | int]) -> list[str | int]:
    from selfies.grammar_rules import get_selfies_from_index

    number = get_selfies_from_index(len(body) - 1)
    return [f"[{bond}Branch{len(number)}]", *number, *body]


@dataclass(frozen=True)
class _Row:
    """A way of writing that keeps the scaffold.

    Attributes:
        symbols: with the number of its open end at every free position.
        worth: as of `_worth`.
        exact: whether its last free part cannot begin with more than a single bond. (In a branch of its own it never
            could, but a branch says how long it is.)
    """

    symbols: list[str | int]
    worth: int
    exact: bool


def _rows(read: Scaffold, length: int) -> Iterator[_Row]:
    ends = range(1, len(read.rooms) + 1)
    for pieces in _writings(read):
        last = pieces[-1] if isinstance(pieces[-1], int) else 0
        rooms = [room or (1 if end == last else ROOM) for end, room in enumerate(read.rooms, start=1)]
        held: set[int] = set()
        row = _row(pieces, rooms, held)
        if len(row) > length:
            yield _Row(row, _worth(read, pieces), False)  # only to tell how much room it takes
            continue
        longer, shorter = dict.fromkeys(ends, _LONG), dict.fromkeys(ends, _SHORT)
        if not all(_survives(read, row, filling) for filling in (longer, shorter)):
            continue  # a ring closes across a free part
        for end in ends:
            if end != last and not _survives(read, _row(pieces, rooms, held), {end: _GREEDY}):
                held.add(end)
        row = _row(pieces, rooms, held)
        others: _Filling = {end: _GREEDY for end in ends if end != last}
        if not all(_survives(read, row, filling) for filling in (longer, shorter, others)):
            continue
        exact = not last or _survives(read, row, {last: _GREEDY})
        if last and read.rooms[last - 1] is None:
            rooms[last - 1] = max(1, rooms[last - 1] + length - len(row))
        yield _Row(_row(pieces, rooms, held), _worth(read, pieces), exact)


def _survives(read: Scaffold, row: list[str | int], filling: _Filling) -> bool:
    """Whether the scaffold is kept, with all its free parts, where these begin so."""
    left = {end: list(filling.get(end, _LONG)) for end in range(1, len(read.rooms) + 1)}
    symbols = [(left[one].pop(0) if left[one] else _FILLER) if isinstance(one, int) else one for one in row]
    with selfies() as library:
        mol = parse(library.decoder("".join(symbols)))
    size = {_LONG: len(row), _SHORT: 1, _GREEDY: 2}
    atoms = sum(min(row.count(end), size[filling.get(end, _LONG)]) for end in left)
    return mol.GetNumAtoms() == query_of(read.smiles).GetNumAtoms() - len(left) + atoms and holds(read, mol)


def _filled_up(row: list[str | None], length: int, read: Scaffold) -> tuple[str | None, ...]:
    if len(row) > length:
        raise DesignError(
            f"no room: the template {shown(read.text)} takes {len(row)} symbols of {length}; "
            "state fewer for its open ends, as in '*{4}'"
        )
    return (*row, *[None] * (length - len(row)))

"""Scaffolds: a molecule with open ends becomes SELFIES symbols with free positions.

    *{2}c1ccc(*)cc1   ->   [C] [C] [=C] [Branch1] [=Branch2] [C] [=C] [C] [=Ring1] [=Branch1] ? ?  ? ? ? ? ? ? ...

A ring in SELFIES closes to the n-th atom before it, and a branch holds the next n symbols; neither may count what is
not known yet. So the scaffold is written such that no ring closes across a free part (RDKit writes it in many ways; the
first that keeps it, however its free parts are filled, is taken), and the lengths of branches are set when a design is
decoded, by what its free parts hold. Each free part is then bound by a single bond. What it may still do is close a
ring into the scaffold: `open_ends.departs` says of a design whether it holds what was asked for.

Krenn et al. 2020, Self-referencing embedded strings (SELFIES): a 100% robust molecular string representation,
doi:10.1088/2632-2153/aba947 (the rules of branches, rings and bonds).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gendesign.chemistry import parse, rdkit, shown
from gendesign.codecs import FREE
from gendesign.errors import DesignError
from gendesign.molecule_codec import selfies
from gendesign.open_ends import Scaffold, holds, query_of, read_scaffold

ROOM = 3
"""Tokens of a free part that states none, unless it is the last: that one takes what is left."""
WRITINGS = 300
"""Ways of writing a scaffold that are tried."""
SYMBOLS = 3
"""Symbols that a free token is taken to hold until it is known, where the length of its branch must be shown."""

_STAND_IN = 85  # astatine, which no backbone knows; its isotope is the number of the open end
_ASTATINE = re.compile(r"\[[/\\]?(\d+)At\]")
# free parts to try, of an element that no scaffold has: long, short, and with as many bonds as it can get
_LONG, _SHORT, _GREEDY = ["[Te]"] * 4, ["[F]"], ["[#Te]", "[F]"]


@dataclass(frozen=True)
class _Branch:
    """A side chain: what a [Branch] symbol holds."""

    bond: str
    body: list[_Piece]


_Piece = str | int | _Branch
"""Of a written scaffold: a symbol, the number of an open end, or a branch."""


@dataclass(frozen=True)
class Layout:
    """Where the symbols of a scaffold and its free parts stand.

    Attributes:
        tokens: L tokens, `FREE` where free, None where empty.
        places: positions of each open end, by its number.
        pieces: the scaffold.
        held: open ends that need a branch of their own to be bound by a single bond.
    """

    tokens: tuple[str | None, ...]
    places: Mapping[int, range]
    pieces: list[_Piece]
    held: frozenset[int]

    def symbols(self, parts: Mapping[int, list[str]]) -> list[str]:
        """All symbols of a design.

        Args:
            parts: the symbols of each free part.
        """
        whole = {end: _row(_pieces(part), {}, ()) for end, part in parts.items()}
        return [symbol for symbol in _row(self.pieces, whole, self.held) if isinstance(symbol, str)]


def lay_out(
    template: str,
    *,
    symbols: Collection[str],
    length: int,
    grouped: Callable[[Sequence[str]], list[str]],
) -> Layout:
    """Read a template and find it a place.

    Args:
        template: as of `read_scaffold`.
        symbols: those that may be used.
        length: positions L.
        grouped: the tokens of a row of symbols.

    Raises:
        DesignError: as of `read_scaffold`; there is no room; symbols are not known; or no way of writing keeps the
            scaffold.
    """
    read = read_scaffold(template)
    if read.is_open:
        return _placed(read, [1], frozenset(), length=length, grouped=grouped)
    unknown: set[str] = set()
    for pieces in _writings(read):
        wrong = {symbol for symbol in _row(pieces, {}, ()) if isinstance(symbol, str)}.difference(symbols)
        unknown |= wrong
        held = None if wrong else _held(read, pieces)
        if held is not None:
            return _placed(read, pieces, held, length=length, grouped=grouped)
    if unknown:
        names = ", ".join(sorted(unknown)[:5])
        raise DesignError(f"the template {shown(template)} needs {names}, which the backbone does not know")
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

    def order(pieces: list[_Piece]) -> tuple[int, int]:
        # best is a free part of any length at the end; then one of stated length; then none
        last = pieces[-1]
        worth = 2 if not isinstance(last, int) else int(read.rooms[last - 1] is not None)
        return worth, len(_row(pieces, {}, ()))

    yield from sorted((pieces for pieces in found if not isinstance(pieces[0], int)), key=order)


def _held(read: Scaffold, pieces: list[_Piece]) -> frozenset[int] | None:
    """Which open ends need a branch of their own; None where this way of writing does not keep the scaffold."""
    ends = range(1, len(read.rooms) + 1)
    held: set[int] = set()
    # free parts of different lengths: a ring that closes across one cannot be right for both
    if not all(_survives(read, pieces, held, dict.fromkeys(ends, part)) for part in (_LONG, _SHORT)):
        return None
    for end in ends:
        # an atom with bonds to spare, asked for three, must not give more than one
        if not _survives(read, pieces, held, dict.fromkeys(ends, _LONG) | {end: _GREEDY}):
            held.add(end)
    kept = all(_survives(read, pieces, held, dict.fromkeys(ends, part)) for part in (_LONG, _SHORT, _GREEDY))
    return frozenset(held) if kept else None


def _survives(
    read: Scaffold, pieces: list[_Piece], held: Collection[int], parts: Mapping[int, list[str]]
) -> bool:
    """Whether the scaffold is kept, with all of its free parts, where these are given."""
    with selfies() as library:
        mol = parse(library.decoder("".join(map(str, _row(pieces, parts, held)))))
    atoms = query_of(read.smiles).GetNumAtoms() - len(parts) + sum(map(len, parts.values()))
    return mol.GetNumAtoms() == atoms and holds(read, mol)


def _placed(
    read: Scaffold,
    pieces: list[_Piece],
    held: frozenset[int],
    *,
    length: int,
    grouped: Callable[[Sequence[str]], list[str]],
) -> Layout:
    """Give each free part its positions, the last one those that are left."""
    last = pieces[-1] if isinstance(pieces[-1], int) else 0
    rooms = {end: room or (1 if end == last else ROOM) for end, room in enumerate(read.rooms, start=1)}
    if (least := sum(rooms.values())) > length:
        raise _no_room(read, least, length)
    shown_as = {end: [end] * (SYMBOLS * room) for end, room in rooms.items()}
    # a branch at the end would say how long the molecule is to be: it is not shown
    row = _row(pieces, shown_as, held - {last})
    tokens: list[str | None] = []
    places: dict[int, range] = {}
    fixed: list[str] = []
    for one in [*row, 0]:
        if isinstance(one, str):
            fixed.append(one)
        elif one not in places:
            tokens += grouped(fixed)
            fixed = []
            if one == last and read.rooms[last - 1] is None:
                rooms[last] = max(1, length - len(tokens))
            places[one] = range(len(tokens), len(tokens) + rooms.get(one, 0))
            tokens += [FREE] * rooms.get(one, 0)
    if len(tokens) > length:
        raise _no_room(read, len(tokens), length)
    del places[0]
    return Layout((*tokens, *[None] * (length - len(tokens))), places, pieces, held)


def _no_room(read: Scaffold, taken: int, length: int) -> DesignError:
    return DesignError(
        f"no room: the template {shown(read.text)} takes {taken} tokens of {length} or more; "
        "state fewer for its open ends, as in '*{2}'"
    )


def _pieces(symbols: Sequence[str]) -> list[_Piece]:
    """Symbols taken apart into branches; a ring or a branch that the end cuts short is left out, or shorter."""
    from selfies.grammar_rules import get_index_from_selfies

    pieces: list[_Piece] = []
    place = 0
    while place < len(symbols):
        symbol = symbols[place]
        place += 1
        if (end := _ASTATINE.fullmatch(symbol)) is not None:
            pieces.append(int(end[1]))
        elif symbol[-4:-2] in ("ch", "ng"):  # [Branch1], [=Ring2]: that many symbols are a number
            size = int(symbol[-2])
            number = list(symbols[place : place + size])
            place += size
            if len(number) < size:
                break
            if symbol[-4:-2] == "ng":
                pieces += [symbol, *number]
                continue
            size = get_index_from_selfies(*number) + 1  # type: ignore[arg-type]  # they mean strings
            pieces.append(_Branch(symbol[1:-8], _pieces(symbols[place : place + size])))
            place += size
        else:
            pieces.append(symbol)
    return pieces


def _row(
    pieces: list[_Piece], parts: Mapping[int, Sequence[str | int]], held: Collection[int]
) -> list[str | int]:
    """Symbols again, with the lengths of branches as they are.

    Args:
        pieces: of a written scaffold.
        parts: what stands at each open end; nothing where left out.
        held: open ends in branches of their own.
    """
    row: list[str | int] = []
    for piece in pieces:
        if isinstance(piece, _Branch):
            row += _branch(piece.bond, _row(piece.body, parts, held))
        elif isinstance(piece, int):
            part = list(parts.get(piece, ()))
            row += _branch("", part) if piece in held else part
        else:
            row.append(piece)
    return row


def _branch(bond: str, body: list[str | int]) -> list[str | int]:
    from selfies.grammar_rules import get_selfies_from_index

    number = get_selfies_from_index(len(body) - 1) if body else []
    return [f"[{bond}Branch{len(number)}]", *number, *body] if body else []

"""Scaffolds: a molecule with open ends becomes symbols with free positions.

    *{2}c1ccc(*)cc1   ->   [C] [C] [=C] [(] [C] [=C] [C] [=C] [Ring:6] [(] ? ? [)] [)] ? ? ? ? ? ? ...

A branch ends at its bracket and a ring says its size, so that nothing counts what is not known yet. When a design is
decoded, each free part stands for itself: bound by a single bond, with no ring to what is outside. So the scaffold is
there whatever its free parts are, but for stereochemistry: of the many ways in which RDKit writes a scaffold, one
is taken that keeps it, however long its free parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gendesign.codecs import FREE
from gendesign.errors import DesignError
from gendesign.molecules import sized_rings
from gendesign.molecules.chemistry import parse, rdkit, shown
from gendesign.molecules.open_ends import Scaffold, holds, query_of, read_scaffold
from gendesign.molecules.sized_rings import Part

ROOM = 3
"""Tokens of a free part that states none, unless it is the last: that one takes what is left."""
WRITINGS = 300
"""Ways of writing a scaffold that are tried."""

_STAND_IN = 85  # astatine, which no backbone knows; its isotope is the number of the open end
_ASTATINE = re.compile(r"\[[/\\]?(\d+)At\]")
_SYMBOL = re.compile(r"\[[^\[\]]*\]")
# free parts to try, of an element that no scaffold has: long, short, and with as many bonds as it can get
_TRIED = (("[Te]",) * 4, ("[F]",), ("[#Te]", "[F]"))

Piece = str | int
"""Of a written scaffold: a symbol, or the number of an open end."""


@dataclass(frozen=True)
class Layout:
    """Where the symbols of a scaffold and its free parts stand.

    Attributes:
        tokens: L tokens, `FREE` where free, None where empty.
        places: positions of each open end, by its number.
    """

    tokens: tuple[str | None, ...]
    places: Mapping[int, range]

    def filled(self, tokens: Sequence[str | None]) -> list[str | Part]:
        """The symbols of a design, those of each free part by themselves."""
        starts = {places.start: places for places in self.places.values()}
        found: list[str | Part] = []
        place = 0
        while place < len(tokens):
            part = starts.get(place)
            texts = tokens[place : part.stop if part else place + 1]
            symbols = _SYMBOL.findall("".join(text or "" for text in texts))
            found += [tuple(symbols)] if part else symbols
            place += len(texts)
        return found


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
        return _placed(read, [1], length=length, grouped=grouped)
    unknown: set[str] = set()
    for pieces in _writings(read):
        wrong = {piece for piece in pieces if isinstance(piece, str)}.difference(symbols)
        unknown |= wrong
        if not wrong and all(_survives(read, pieces, part) for part in _TRIED):
            return _placed(read, pieces, length=length, grouped=grouped)
    if unknown:
        names = ", ".join(sorted(unknown)[:5])
        raise DesignError(f"the template {shown(template)} needs {names}, which the backbone does not know")
    raise DesignError(f"SELFIES have no way of writing {shown(template)} that keeps its stereochemistry")


def _writings(read: Scaffold) -> Iterator[list[Piece]]:
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
    for text in texts:
        try:
            found.append([_piece(symbol) for symbol in sized_rings.write(text)])
        except DesignError:
            continue

    def order(pieces: list[Piece]) -> tuple[int, int]:
        # best is a free part of any length at the end; then one of stated length; then none
        last = pieces[-1]
        worth = 2 if not isinstance(last, int) else int(read.rooms[last - 1] is not None)
        return worth, len(pieces)

    yield from sorted((pieces for pieces in found if not isinstance(pieces[0], int)), key=order)


def _piece(symbol: str) -> Piece:
    end = _ASTATINE.fullmatch(symbol)
    return int(end[1]) if end else symbol


def _survives(read: Scaffold, pieces: list[Piece], part: Part) -> bool:
    """Whether the scaffold is kept, with all of its free parts, where these are given."""
    text = sized_rings.to_selfies([part if isinstance(piece, int) else piece for piece in pieces])
    with sized_rings.selfies() as library:
        mol = parse(library.decoder(text))
    atoms = query_of(read.smiles).GetNumAtoms() + len(read.rooms) * (len(part) - 1)
    return mol.GetNumAtoms() == atoms and holds(read, mol)


def _placed(
    read: Scaffold, pieces: list[Piece], *, length: int, grouped: Callable[[Sequence[str]], list[str]]
) -> Layout:
    """Give each free part its positions, the last one those that are left."""
    last = pieces[-1] if isinstance(pieces[-1], int) else 0
    rooms = {end: room or (1 if end == last else ROOM) for end, room in enumerate(read.rooms, start=1)}
    if (least := sum(rooms.values())) > length:
        raise _no_room(read, least, length)
    tokens: list[str | None] = []
    places: dict[int, range] = {}
    fixed: list[str] = []
    for piece in [*pieces, 0]:
        if isinstance(piece, str):
            fixed.append(piece)
            continue
        tokens += grouped(fixed)
        fixed = []
        if piece == last and last and read.rooms[last - 1] is None:
            rooms[last] = max(1, length - len(tokens))
        if piece:
            places[piece] = range(len(tokens), len(tokens) + rooms[piece])
            tokens += [FREE] * rooms[piece]
    if len(tokens) > length:
        raise _no_room(read, len(tokens), length)
    return Layout((*tokens, *[None] * (length - len(tokens))), places)


def _no_room(read: Scaffold, taken: int, length: int) -> DesignError:
    return DesignError(
        f"no room: the template {shown(read.text)} takes {taken} tokens of {length} or more; "
        "state fewer for its open ends, as in '*{2}'"
    )

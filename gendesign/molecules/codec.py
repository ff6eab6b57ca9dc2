"""Molecules to tokens and back: canonical SMILES outside, SELFIES symbols, or groups of them, inside.

Branches stand in brackets and rings say their size (`sized_rings`), so that a backbone need not count. Every row of
symbols is a molecule: a symbol that asks for more bonds than its atom has left gets as many as there are, and what
follows a saturated end is not read. So a backbone that writes symbols cannot write an invalid
molecule, which also means that validity says nothing of how well it learned.

Krenn, Häse, Nigam, Friederich, Aspuru-Guzik, "Self-referencing embedded strings (SELFIES): a 100% robust molecular
string representation" (2020, doi 10.1088/2632-2153/aba947); Lo et al., "Recent advances in the self-referencing
embedded strings (SELFIES) library" (2023, doi 10.1039/D3DD00044C).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jaxtyping import Int
from torch import Tensor

from gendesign.codecs import FREE, TokenCodec
from gendesign.errors import ConfigError, DesignError
from gendesign.molecules import sized_rings
from gendesign.molecules.chemistry import canonical, parse, saturated, shown, write
from gendesign.molecules.symbol_groups import grouped, learn_groups

if TYPE_CHECKING:
    from gendesign.molecules.scaffolds import Layout

_SYMBOL = re.compile(r"\[[^\[\]]*\]")


class MoleculeCodec(TokenCodec):
    """Molecules of one fragment, with stereochemistry and charges, as SELFIES symbols padded at the end.

    A token is one symbol, or a group of them that the vocabulary lists as one, such as [C][=C]; a molecule is read from
    the left, each time the longest token that fits.

    Encoding is verified: a molecule whose symbols would not give back the same canonical SMILES is refused. Decoding
    never raises: PAD is skipped wherever it stands; a row that still holds MASK, or nothing but PAD, is the empty
    string, which no codec of molecules encodes.

    Args:
        vocabulary: SELFIES symbols and groups of them, in the order of their token ids; `learn` finds those of a set
            of molecules. Each symbol of a group is there alone, too.
        length: most tokens of a molecule, L.

    Raises:
        ConfigError: something that is no SELFIES symbol, or twice the same, or a group of others.
        MissingExtraError: SELFIES or RDKit is not installed.
    """

    def __init__(self, vocabulary: Sequence[str], length: int) -> None:
        super().__init__(vocabulary, length, variable=True)
        if not self.vocabulary or len(self._index) != len(self.vocabulary):
            raise ConfigError("vocabulary must hold distinct SELFIES symbols, such as [C], [=O] and [Ring:6]")
        groups = {token: tuple(_SYMBOL.findall(token)) for token in self.vocabulary}
        self.symbols = frozenset(token for token, group in groups.items() if len(group) == 1)
        for token, group in groups.items():
            if "".join(group) != token or not (
                sized_rings.is_symbol(token) if len(group) == 1 else self.symbols.issuperset(group)
            ):
                raise ConfigError(
                    "vocabulary must hold SELFIES symbols, such as [C], [(], [)] or [Ring:6], and groups of these; "
                    f"got {token!r}"
                )
        self._groups = frozenset(group for group in groups.values() if len(group) > 1)
        self._longest = max(map(len, groups.values()))
        self._layouts: dict[str, Layout] = {}
        self._layout: Layout | None = None

    @classmethod
    def learn(
        cls,
        molecules: Iterable[str],
        *,
        length: int | None = None,
        at_least: int = 1,
        num_groups: int = 0,
        grouped_every: int = 1,
    ) -> MoleculeCodec:
        """The codec of a set of molecules.

        Args:
            molecules: SMILES; what is no molecule is left out.
            length: L; None: that of the longest molecule whose symbols are all in the vocabulary.
            at_least: molecules in which a symbol must occur.
            num_groups: groups of symbols to find; see `gendesign.molecules.symbol_groups`.
            grouped_every: groups are learned from every n-th molecule, which suffices where there are many.

        Returns:
            a codec with their symbols, the most frequent ones first; with each symbol come its mirror images, so that
            a molecule is inside the vocabulary as often as its stereoisomers are. Groups follow.

        Raises:
            DesignError: no molecule was usable.
        """
        rows = []
        for smiles in molecules:
            try:
                rows.append(_symbols(canonical(smiles)))
            except DesignError:
                continue
        seen = Counter(symbol for row in rows for symbol in set(row))
        vocabulary = sorted((s for s in seen if seen[s] >= at_least), key=lambda s: (-seen[s], s))
        known = {other for symbol in vocabulary for other in _mirrored(symbol)}
        vocabulary += sorted(known.difference(vocabulary))
        inside = [row for row in rows if known.issuperset(row)]
        if not inside:
            raise DesignError(f"a vocabulary is learned from molecules, but none of {len(rows)} was usable")
        vocabulary += ["".join(group) for group in learn_groups(inside[::grouped_every], num_groups)]
        if length is None:
            length = max(len(cls(vocabulary, 1).grouped(row)) for row in inside)
        return cls(vocabulary, length)

    def grouped(self, symbols: Sequence[str]) -> list[str]:
        """The tokens of symbols, all of which must be in the vocabulary."""
        return ["".join(group) for group in grouped(symbols, self._groups, longest=self._longest)]

    def split(self, design: Any) -> list[str]:
        name = canonical(design)
        symbols = _symbols(name)
        wrong = sorted(set(symbols) - self.symbols)
        if wrong:
            raise DesignError(f"{', '.join(wrong[:5])} not in the codec's vocabulary: {shown(name)}")
        tokens = self.grouped(symbols)
        if len(tokens) > self.length:
            raise DesignError(
                f"expected a molecule of at most {self.length} tokens, got {len(tokens)}: {shown(name)}"
            )
        return tokens

    def decode(self, x: Int[Tensor, "B L"]) -> list[str]:
        tokens: list[str | None] = [*self.vocabulary, *([None] if self.variable else []), FREE]
        return [self.join([tokens[i] for i in row]) for row in x.tolist()]

    def join(self, tokens: list[str | None]) -> str:
        """The canonical SMILES of the symbols; PAD is skipped, and with a MASK among them it is empty."""
        if FREE in tokens:
            return ""
        if self._layout is not None:
            return _smiles(sized_rings.to_selfies(self._layout.filled(tokens)))
        symbols = _SYMBOL.findall("".join([token for token in tokens if token is not None]))
        return _smiles(sized_rings.to_selfies(symbols))

    def split_template(self, template: Any) -> list[str | None]:
        """Read a SMILES with open ends `*` or `*{n}`, where free parts of n tokens go; see `scaffolds`."""
        return list(self._laid_out(template).tokens)

    def under(self, template: Any) -> MoleculeCodec:
        """A codec whose rows hold the template's free parts at their places."""
        codec = copy(self)
        codec._layout = self._laid_out(template)
        return codec

    def departs(self, template: str, design: str) -> str:
        from gendesign.molecules.open_ends import departs

        return departs(template, design)

    def _laid_out(self, template: Any) -> Layout:
        from gendesign.molecules.scaffolds import lay_out

        if not isinstance(template, str):
            raise DesignError(f"expected a template such as 'c1ccccc1*', got {type(template).__name__}")
        if template not in self._layouts:
            self._layouts[template] = lay_out(
                template, symbols=self.symbols, length=self.length, grouped=self.grouped
            )
        return self._layouts[template]

    def normal(self, text: str) -> str:
        """The canonical SMILES, where it is a molecule."""
        try:
            return canonical(text)
        except DesignError:
            return text


def _mirrored(symbol: str) -> set[str]:
    """A symbol, and those with the other direction of its bond (/) or turn of its neighbours (@ and @@)."""
    turns = {symbol}
    if "@" in symbol:
        turns = {symbol.replace("@@", "@"), symbol.replace("@@", "@").replace("@", "@@")}
    marks = str.maketrans("/\\", "\\/")
    return turns | {turned.translate(marks) for turned in turns}


@lru_cache(maxsize=65_536)
def _symbols(name: str) -> tuple[str, ...]:
    """The symbols of a canonical SMILES, from which it can be read back."""
    symbols = tuple(sized_rings.write(name))
    back = _smiles(sized_rings.to_selfies(symbols))
    if back != name:
        raise DesignError(f"SELFIES change the molecule {shown(name)} to {shown(back)}")
    return symbols


@lru_cache(maxsize=65_536)
def _smiles(text: str) -> str:
    """The canonical SMILES of SELFIES; empty where there is no molecule.

    A symbol that states its hydrogens ([C@@H1], [NH1]) can be left with a bond too few: hydrogens fill it.
    """
    with sized_rings.selfies() as library:
        try:
            smiles = library.decoder(text)
        except library.DecoderError:
            return ""
    try:
        return canonical(write(saturated(parse(smiles))))
    except DesignError:
        return ""

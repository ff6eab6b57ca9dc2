"""Motif matches: how well a transcription factor's binding motif occurs in a DNA sequence.

A motif is a table of letter counts n[w, b]. With a background q and a pseudocount c its log-odds are, in
bits,

    s[w, b] = log2( (n[w, b] + c q[b]) / (sum_b n[w, b] + c) / q[b] )

and a site scores the sum of s along it; the reverse complement of the motif finds sites on the other strand.

In YAML, with a file of your own, a table of `gendesign data` or the shipped motifs of yeast, `jaspar2024-yeast`:

    class_path: gendesign.rewards.MotifCount
    init_args: {path: data:jaspar2024_core_vertebrates_transfac, motif: TBP, relative: 0.85}

Reference: G. Stormo, DNA binding sites: representation and discovery, Bioinformatics 2000.
"""

from __future__ import annotations

import gzip
import io
import math
import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gendesign.building import finite
from gendesign.data import tables
from gendesign.designs import Design
from gendesign.errors import ConfigError, DataError
from gendesign.rewards.dna import LETTERS, DNAReward

SHIPPED = Path(__file__).parent / "motif_files"
"""Where the shipped files of motifs lie; `README.md` there says whose they are."""

UNIFORM = dict.fromkeys(LETTERS, 0.25)


class MotifReward(DNAReward):
    """Shared by the motif rewards: reading the motif and scoring every position on both strands.

    Args:
        path: a MEME (minimal), JASPAR or TRANSFAC file, or a gzip of one; `data:NAME`, a table of `gendesign data`;
            or the name of a shipped file, `jaspar2024-yeast`.
        motif: the motif's name or identifier in that file; may be left out if the file holds one.
        background: probability of each letter; uniform when left out.
        pseudocount: counts added to each position, shared out by the background.
        both_strands: also look for the motif's reverse complement.

    Raises:
        ConfigError: a background or pseudocount out of range.
        DataError: the file cannot be read, or does not hold that motif.
    """

    unit = "bits"

    def __init__(
        self,
        path: str,
        *,
        motif: str = "",
        background: Mapping[str, float] | None = None,
        pseudocount: float = 1.0,
        both_strands: bool = True,
    ) -> None:
        q = {**UNIFORM} if background is None else {str(k): float(v) for k, v in background.items()}
        if (
            set(q) != set(LETTERS)
            or min(q.values()) <= 0
            or not math.isclose(sum(q.values()), 1.0, abs_tol=1e-6)
        ):
            raise ConfigError(
                f"background must give A, C, G and T positive probabilities that sum to 1, got {background!r}"
            )
        self.pseudocount = finite("pseudocount", pseudocount, above=0.0)
        name, counts = read_motif(path, motif)
        self.source = f"{Path(path).name}: {name}"
        self.name = f"motif {name}"
        self.both_strands = both_strands
        prior = torch.tensor([q[b] for b in LETTERS], dtype=torch.float64)
        self.log_odds: Float[Tensor, "W 4"] = log_odds(counts, prior, self.pseudocount)

    def unreadable(self, design: Design) -> str:
        reason = super().unreadable(design)
        if not reason and len(design) < len(self.log_odds):
            return f"expected at least {len(self.log_odds)} letters, the motif's width, got {len(design)}"
        return reason

    def score(self, designs: Sequence[str]) -> Tensor:
        index = {letter: i for i, letter in enumerate(LETTERS)}
        length = max(len(d) for d in designs)
        x = torch.zeros(len(designs), length, len(LETTERS), dtype=torch.float64)
        for row, design in enumerate(designs):
            x[row, range(len(design)), [index[letter] for letter in design]] = 1.0
        return self._value(x)

    def sites(self, x: Float[Tensor, "B L 4"]) -> Float[Tensor, "B S"]:
        """Score of every site (start, strand) in bits; -inf where it would run over the design's end."""
        forward = self.log_odds.to(x)
        kernels = (
            [forward, forward.flip(0, 1)] if self.both_strands else [forward]
        )  # A<->T, C<->G is a flip of ACGT
        scores = F.conv1d(x.transpose(1, 2), torch.stack(kernels).transpose(1, 2))
        # Letters fill a design from its start, so a site is inside if its last position is.
        inside: Bool[Tensor, "B P"] = x.sum(-1)[:, len(forward) - 1 :] > 0.5
        return scores.masked_fill(~inside[:, None], -math.inf).flatten(1)

    @abstractmethod
    def _value(self, x: Float[Tensor, "B L 4"]) -> Float[Tensor, " B"]:
        """The reward of (relaxed) one-hot designs."""


class MaxMotifScore(MotifReward):
    """Log-odds of the best site, in bits; differentiable almost everywhere (the best site's gradient)."""

    differentiable = True

    def relaxed(self, x: Float[Tensor, "B L K"]) -> Float[Tensor, " B"]:
        return self._value(x[..., : len(LETTERS)])

    def _value(self, x: Float[Tensor, "B L 4"]) -> Float[Tensor, " B"]:
        return self.sites(x).amax(1)


class MotifCount(MotifReward):
    """Number of sites whose log-odds reach a threshold.

    Args:
        path: as in `MotifReward`.
        motif: as in `MotifReward`.
        threshold: smallest score of a site, in bits. None = `relative` of the highest score that any site can
            have.
        relative: fraction of the highest possible score, used when `threshold` is None.
        background: as in `MotifReward`.
        pseudocount: as in `MotifReward`.
        both_strands: as in `MotifReward`; a palindromic site then counts on each strand.
    """

    unit = "sites"

    def __init__(
        self,
        path: str,
        *,
        motif: str = "",
        threshold: float | None = None,
        relative: float = 0.8,
        background: Mapping[str, float] | None = None,
        pseudocount: float = 1.0,
        both_strands: bool = True,
    ) -> None:
        super().__init__(
            path, motif=motif, background=background, pseudocount=pseudocount, both_strands=both_strands
        )
        highest = float(self.log_odds.amax(1).sum())
        self.threshold = (
            finite("relative", relative) * highest if threshold is None else finite("threshold", threshold)
        )
        self.name = f"sites of {self.name}"

    def _value(self, x: Float[Tensor, "B L 4"]) -> Float[Tensor, " B"]:
        return (self.sites(x) >= self.threshold - 1e-9).sum(1).to(x)


def log_odds(
    counts: Float[Tensor, "W 4"], background: Float[Tensor, " 4"], pseudocount: float
) -> Float[Tensor, "W 4"]:
    """s[w, b] of the module's equation, in bits."""
    smooth = (counts + pseudocount * background) / (counts.sum(1, keepdim=True) + pseudocount)
    return torch.log2(smooth / background)


def read_motif(path: str, motif: str = "") -> tuple[str, Float[Tensor, "W 4"]]:
    """Read one motif's letter counts.

    Args:
        path: MEME (minimal), JASPAR or TRANSFAC file, plain or gzip; `data:NAME`; or the name of a shipped one.
        motif: its name or identifier; "" if the file holds one motif.

    Returns:
        The motif's name, and float64 counts in the order A, C, G, T.

    Raises:
        DataError: unreadable file, no such motif, or several where none is named, or of that name.
    """
    file, found = _parse(path)
    names: dict[str, list[Any]] = {}
    for one in found:
        for label in _labels(one):
            names.setdefault(label, []).append(one)
    if motif and motif not in names:
        raise DataError(
            f"{file} holds no motif {motif!r} among its {len(found)}, such as {', '.join(list(names)[:3])}"
        )
    if not motif and len(found) > 1:
        raise DataError(f"{file} holds {len(found)} motifs; name one with motif=")
    alike = names[motif] if motif else found
    if len(alike) > 1:
        shown = ", ".join(_labels(one)[0] for one in alike[:5])
        raise DataError(f"{file} holds {len(alike)} motifs {motif!r}: {shown}; name one in full")
    (chosen,) = alike
    return _labels(chosen)[0] or file.stem, _counts(chosen)


def read_log_odds(path: str, *, share: float = 0.03) -> list[Float[Tensor, "_ 4"]]:
    """Read the log-odds of all motifs of a file, against a uniform background.

    Args:
        path: as in `read_motif`.
        share: of the background in each position, in place of a pseudocount: files give some motifs as counts of
            sites and others as percentages.

    Returns:
        Float64 log-odds of each motif, in bits.

    Raises:
        DataError: the file cannot be read, or holds no motif.
    """
    uniform = torch.tensor([UNIFORM[b] for b in LETTERS], dtype=torch.float64)
    counts = [_counts(motif) for motif in _parse(path)[1]]
    return [log_odds((1 - share) * n / n.sum(1, keepdim=True), uniform, share) for n in counts]


def _parse(path: str) -> tuple[Path, list[Any]]:
    """The file that `path` means, and its motifs, at least one."""
    from Bio import motifs  # heavy, and only needed here

    if not isinstance(path, str):
        raise ConfigError(f"path must name a file, data:NAME or a shipped set of motifs, got {path!r}")
    file = tables.locate(path.removeprefix("data:")) if path.startswith("data:") else Path(path).expanduser()
    shipped = SHIPPED / f"{path}.jaspar"
    file = shipped if not file.exists() and shipped.is_file() else file
    try:
        opener = gzip.open if file.suffix == ".gz" else open
        with opener(file, "rt") as handle:
            text = handle.read()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(known.stem for known in SHIPPED.glob("*.jaspar")))
        raise DataError(f"cannot read the motif file {file}: {error}; shipped: {names}") from error
    kind = "jaspar" if text.lstrip().startswith(">") else "minimal"
    if re.search(r"^P[O0]\s", text, re.MULTILINE):
        kind = "transfac"
    try:
        found = list(motifs.parse(io.StringIO(text), kind, strict=False))
        if kind == "minimal":  # the parser keeps the identifier alone: MOTIF identifier [name]
            for entry, line in zip(found, re.findall(r"^MOTIF\s+(.+?)\s*$", text, re.MULTILINE), strict=True):
                entry.name = line
    except Exception as error:  # Biopython raises whatever its parser stumbles over
        raise DataError(f"{file} is neither a MEME, a JASPAR nor a TRANSFAC file: {error}") from error
    if not found:
        raise DataError(f"{file} holds 0 motifs; expected a MEME, JASPAR or TRANSFAC file")
    return file, found


def _counts(motif: Any) -> Float[Tensor, "W 4"]:
    return torch.tensor([list(motif.counts[b]) for b in LETTERS], dtype=torch.float64).T


def _labels(motif: Any) -> list[str]:
    """The names under which a motif may be asked for: identifier and name, together or apart."""
    if hasattr(motif, "get"):  # TRANSFAC: a table of what each record says
        named = [motif.get("AC"), *(motif.get("ID") or "").split()]
    else:
        named = [getattr(motif, "matrix_id", None), *(motif.name or "").split()]
    words = [text for text in named if text]
    return list(dict.fromkeys([" ".join(words), *words]))

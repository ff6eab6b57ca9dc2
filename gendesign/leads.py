"""Lead optimisation: designs that start from given ones, of which some positions are masked again.

Design i starts from lead i mod n, of whose positions k, drawn at random, hold MASK; the rest are kept as in a template.
What is not masked never changes, so a design differs from its lead in at most k positions, by construction. Where
designs may grow, k positions after the lead's end are masked too, so that at most k may be added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.building import finite, whole
from gendesign.codecs import Codec, TokenCodec
from gendesign.designs import Design
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.errors import ConfigError, DesignError, UnsupportedError


@dataclass(frozen=True)
class Leads:
    """Designs to start from, encoded.

    Attributes:
        designs: the n leads.
        ids: their tokens.
        open: positions that may be masked again: what is neither padding nor fixed by a template.
        count: how many of these are, k of each lead.
        room: positions after the end of each lead that are masked too, so that designs may be longer than it.
        mask_id: the id of MASK.
    """

    designs: tuple[Design, ...]
    ids: Int[Tensor, "n L"]
    open: Bool[Tensor, "n L"]
    count: Int[Tensor, " n"]
    room: Bool[Tensor, "n L"]
    mask_id: int

    @property
    def num_masked(self) -> int:
        """The most positions that a design has to fill."""
        return int((self.count + self.room.sum(-1)).max())

    def templates(self, first: int, num: int, *, generator: Generator) -> Int[Tensor, "B L"]:
        """Where the designs number `first`, first + 1, ... start.

        Args:
            first: number of the first design.
            num: how many designs, B.
            generator: of these designs.

        Returns:
            The tokens of each design's lead, MASK where it is to be designed anew.
        """
        which = torch.arange(first, first + num) % len(self.ids)
        key = torch.rand(num, self.ids.shape[1], dtype=torch.float64, generator=generator)
        rank = key.masked_fill(~self.open[which], 2.0).argsort(-1).argsort(-1)
        masked = (rank < self.count[which, None]) | self.room[which]
        return torch.where(masked, self.mask_id, self.ids[which])


def read_leads(
    backbone: Backbone,
    start: Design | Sequence[Design],
    remask: int | float,
    *,
    template: Any = None,
) -> Leads:
    """Encode what designs are to start from.

    Args:
        backbone: a masked diffusion.
        start: a design, or several; designs take them in turn.
        remask: a whole number: positions of each lead to mask again; a fraction: that share of them, at least one.
            Where designs may grow, as many positions after the end are masked as within, so that they can.
        template: what the codec reads as a template; its fixed positions are never masked again.

    Raises:
        ConfigError: `remask` is neither a whole number from 1 nor a fraction above 0 and at most 1.
        DesignError: no lead, one that the codec refuses, or one that contradicts the template.
        UnsupportedError: a backbone that is no masked diffusion; a template where it has a layout of its own.
    """
    if not isinstance(backbone.process, MaskedDiffusion):
        raise UnsupportedError(
            f"start= masks positions again, which needs masked diffusion; this backbone is "
            f"{type(backbone.process).__name__}: use template= to fix coordinates"
        )
    codec, mask_id = backbone.codec, backbone.process.mask_id
    designs = (start,) if isinstance(start, str) else tuple(start)
    if not designs:
        raise DesignError("start= names no design; give at least one, or leave it out")
    for number, design in enumerate(designs, start=1):
        reason = codec.reason_invalid(design)
        if reason:
            raise DesignError(f"start, design {number} of {len(designs)}: {reason}")
    if isinstance(codec, TokenCodec):  # counted against in the spelling that they are designed in
        designs = tuple(codec.normal(design) for design in designs)
    if template is not None and type(codec).departs is not Codec.departs:
        # the layout of a scaffold is not that of a lead that holds it
        raise UnsupportedError("start= and template= do not go together for molecules; give one of them")
    ids = codec.encode(designs)
    pad = getattr(codec, "pad_id", None)
    real = torch.ones_like(ids, dtype=torch.bool) if pad is None else ids != pad
    free = real
    if template is not None:
        given, fixed = codec.encode_template(template)
        wrong = (fixed & (ids != given)).any(-1).nonzero().flatten().tolist()
        if wrong:
            raise DesignError(f"start, design {wrong[0] + 1} of {len(ids)}, contradicts the template")
        free = real & ~fixed
    size = free.sum(-1)
    if bool((size == 0).any()):
        raise DesignError("the template fixes every position of a design to start from")
    count = _count(remask, size)
    end = real.sum(-1)
    place = torch.arange(ids.shape[1])
    growth = torch.zeros_like(count) if pad is None else count
    room = (place >= end[:, None]) & (place < (end + growth)[:, None])
    if template is not None:
        room &= ~fixed
    return Leads(designs, ids, free, count, room, mask_id)


def _count(remask: int | float, size: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """How many of `size` positions are masked again."""
    if isinstance(remask, int):
        return size.clamp(max=whole("remask", remask))
    share = finite("remask", remask, above=0.0)
    if share > 1:
        raise ConfigError(
            f"remask must be a whole number of positions, or a fraction above 0 and at most 1, got {remask:g}"
        )
    return (size * share).round().long().clamp(min=1)

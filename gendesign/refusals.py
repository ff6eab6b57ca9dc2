"""Rewards that cannot read what a backbone writes are refused before anything is spent.

A backbone's codec turns tokens into designs, so that some of its designs, though no good ones, can be had for nothing:
of all lengths, where lengths vary. A reward, or a part of a composed one, that reads none of them is for other designs;
so is a table none of whose designs the codec writes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gendesign.backbone import Backbone
from gendesign.designs import Design
from gendesign.determinism import generator
from gendesign.errors import UnsupportedError
from gendesign.forms import guess_form
from gendesign.rewards.base import Reward

ROWS = 16
"""Rows of random tokens that are decoded."""


def refuse_unreadable(backbone: Backbone, reward: Reward | None, *, role: str = "reward") -> None:
    """Raise if no design of the backbone can be read.

    Args:
        backbone: what is sampled.
        reward: what is to score its designs; None: nothing.
        role: the argument that it was given as.

    Raises:
        UnsupportedError: the reward, or a part of it, reads none of them.
    """
    if reward is None:
        return
    designs = rough_designs(backbone)
    for part in parts_of(reward):
        inner = [one for one in parts_of(part) if one is not part]
        if any(one.examples for one in inner):
            continue  # what a table is part of reads what the table does, which is judged by itself
        reason = _unreadable(backbone, part, designs)
        if reason:
            shown = designs or list(part.examples)
            many = "sequences" if isinstance(shown[0], str) else guess_form(shown[:1]).many
            within = "" if part is reward else f", a part of {reward.label},"
            raise UnsupportedError(
                f"{part.label}{within} cannot score the {many} of this backbone: {reason}; choose another with "
                f"{role}=, or none with {role}=null"
            )


def _unreadable(backbone: Backbone, part: Reward, designs: list[Design]) -> str:
    """Why a reward reads no design of the backbone; "" if it reads one, or nothing is known."""
    # a table's designs are hardly met at random, but the codec can say whether it writes them
    known = part.examples
    reasons = (
        (backbone.codec.reason_invalid(design) for design in known)
        if known
        else (part.unreadable(design) for design in designs)
    )
    first = ""
    for reason in reasons:
        if not reason:
            return ""
        first = first or reason
    return first


def rough_designs(backbone: Backbone) -> list[Design]:
    """Designs that the codec writes, from tokens drawn at random, or from the number 0 everywhere."""
    codec, process = backbone.codec, backbone.process
    noise = generator(0, "probe", device="cpu")
    x = process.prior(ROWS, codec.length, generator=noise)
    if x.is_floating_point():  # noise itself may be no design at all
        # (where numbers stand for texts, such as graphs of molecules, one text says little of what is written)
        return [design for design in codec.decode(torch.zeros_like(x[:1])) if not isinstance(design, str)]
    pad = getattr(codec, "pad_id", None)
    letters = int(getattr(process, "vocab_size", 2)) - (pad is not None)
    x = torch.randint(letters, x.shape, generator=noise)
    if pad is not None:  # lengths from one token to all of them
        end = torch.linspace(1, codec.length, ROWS).round().long()
        x[torch.arange(codec.length) >= end[:, None]] = pad
    return [design for design in codec.decode(x) if not codec.reason_invalid(design)]


def parts_of(reward: Reward) -> Iterator[Reward]:
    """The reward itself, and all that it is composed of."""
    yield reward
    inner = getattr(reward, "reward", None)
    for part in (*getattr(reward, "parts", ()), *([inner] if isinstance(inner, Reward) else [])):
        yield from parts_of(part)

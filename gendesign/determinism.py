"""Randomness that belongs to a place in a run, so that a resumed run repeats an uninterrupted one.

Noise of a training batch is a function of (seed, number of the batch, rank): `generator` gives it to code
that takes a generator. Dropout takes none; `dropout_seeded` seeds PyTorch's global stream for a block of
code and puts it back as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream_seed(*place: int | str) -> int:
    """A seed for a place, such as (seed, "train", batch number, rank); distinct places give unrelated streams."""
    digest = hashlib.sha256(":".join(str(part) for part in place).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*place: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for a place."""
    return torch.Generator(device=device).manual_seed(stream_seed(*place))


@contextmanager
def dropout_seeded(*place: int | str, device: torch.device | str = "cpu") -> Iterator[None]:
    """Within the block, global draws on `device` depend on the place alone; the stream is then restored."""
    device = torch.device(device)
    devices = [] if device.type == "cpu" else [device.index or 0]
    kind = "cuda" if device.type == "cpu" else device.type
    with torch.random.fork_rng(devices=devices, device_type=kind):
        torch.manual_seed(stream_seed(*place))
        yield

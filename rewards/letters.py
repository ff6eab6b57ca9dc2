"""What rewards of sequences read: strings of an alphabet, in either case, as in tables that are trained on."""

from __future__ import annotations

import numpy as np

from gendesign.designs import Design
from gendesign.rewards.base import Reward


def misspelt(design: Design, alphabet: str, *, kind: str, letters: str = "letters") -> str:
    """Why a design is not a string of these letters in either case; "" if it is one.

    Args:
        design: anything.
        alphabet: the letters, upper case.
        kind: of sequence, as in "a DNA sequence".
        letters: what its letters stand for.
    """
    if not isinstance(design, str):
        return f"expected {kind}, got an array of shape {np.shape(design)}"
    if not design:
        return f"expected {kind}, got an empty one"
    wrong = sorted(set(design) - set(alphabet) - set(alphabet.lower()))
    return f"expected {letters} {alphabet}, got {''.join(wrong[:5])!r}" if wrong else ""


class UpperCaseReward(Reward):
    """Base class of rewards that read letters in either case, and are given them in upper case."""

    def canonical(self, design: Design) -> Design:
        return design.upper() if isinstance(design, str) else design

"""Filters of synthetic episodes by words, as the command line takes them, fitted to real data.

`return@0.1` keeps good returns (its temperature), `terminal` wants ends where real ones are, `dynamics@0.01` cuts
before transitions that a learned dynamics reward finds false (the quantile of real ones). What stands after @ may be
left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gendesign.errors import ConfigError
from gendesign.rl.dynamics_filter import DynamicsFilter
from gendesign.rl.filters import Filter, ReturnFilter, TerminalFilter
from gendesign.rl.quality import parts_of
from gendesign.rl.trajectories import Trajectories

WORDS: dict[str, tuple[Any, str]] = {
    "return": (ReturnFilter, "temperature"),
    "terminal": (TerminalFilter, ""),
    "dynamics": (DynamicsFilter, "quantile"),
}


def named_filters(words: Sequence[str], real: Trajectories | None, *, horizon: int) -> list[Filter]:
    """Fitted filters, in order.

    Args:
        words: as above.
        real: what they are fitted to.
        horizon: transitions of a synthetic episode; returns are compared with those of real parts of this length.

    Raises:
        ConfigError: no such filter, a number that is none, or no real data to fit it to.
    """
    chosen = []
    for word in words:
        name, at, level = word.partition("@")
        if name not in WORDS or (at and not WORDS[name][1]):
            raise ConfigError(f"no filter {word!r}; expected return@0.1, terminal or dynamics@0.01")
        kind, argument = WORDS[name]
        try:
            chosen.append(kind(**({argument: float(level)} if at else {})))
        except ValueError:
            raise ConfigError(f"expected a number after @, got {word!r}") from None
    if chosen and real is None:
        raise ConfigError("filters are fitted to real data; name them with real=FILE")
    if not chosen or real is None:
        return []
    parts = real
    if any(isinstance(each, ReturnFilter) for each in chosen):  # the others read episodes of any length
        parts = Trajectories.of(parts_of(real.episodes, horizon), real.about)
    return [each.fit(parts if isinstance(each, ReturnFilter) else real) for each in chosen]

"""Panels of trajectories: some of them drawn along their steps, and pictures of what the environment shows."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from gendesign.report.figures import Floats, Series, key
from gendesign.report.svg import PALETTE, canvas, finish
from gendesign.rl.dynamics import Simulator

SMALLEST = 1e-5
"""Errors below this one are drawn as this one."""
LINES = ("steered", "base", "A", "T", "G", "C")
"""Colours of single trajectories."""


def lines_panel(name: str, values: Sequence[Floats], *, title: str) -> str:
    """A column of some trajectories along their steps, one line each.

    Args:
        name: prefix of the ids within the page.
        values: of each trajectory, shape [steps].
        title: the column's name.

    Returns:
        inline SVG.
    """
    with canvas(190) as (figure, ax):
        for number, one in enumerate(values):
            ax.plot(np.arange(len(one)), one, color=PALETTE[LINES[number % len(LINES)]], linewidth=1.6)
        ax.set_xlabel("step")
        ax.set_ylabel(title)
        return finish(figure, name, f"{title} of {len(values)} trajectories along the steps")


def errors_panel(name: str, series: Sequence[tuple[Series, Floats]]) -> str:
    """How many transitions have at most which error, on a logarithmic axis.

    Args:
        name: prefix of the ids within the page.
        series: each set and the errors of its transitions, at least 0.

    Returns:
        inline SVG.
    """
    with canvas(210) as (figure, ax):
        for one, values in series:
            known = np.sort(np.maximum(values, SMALLEST))
            share = 100 * (np.arange(len(known)) + 1) / len(known)
            ax.plot(
                known, share, color=PALETTE[one.colour], linewidth=2.0, label=one.label,
                linestyle="-" if one.filled else "--",
            )  # fmt: skip
        ax.set_xscale("log")
        ax.set_xlim(left=SMALLEST)
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.set_xlabel("dynamics error (standard deviations)")
        ax.set_ylabel("transitions with at most this (%)")
        ax.set_ylim(0, 101)
        key(ax)
        return finish(figure, name, "Share of transitions by dynamics error")


def frames(environment: str, observations: NDArray[np.floating], *, most: int = 8) -> list[str]:
    """What the environment shows along a trajectory, as images in the page.

    Args:
        environment: a name that gymnasium knows, or its specification as JSON.
        observations: [T + 1, S].
        most: frames, evenly spread.

    Returns:
        `data:` addresses, in order.

    Raises:
        UnsupportedError: the environment's state cannot be set from an observation.
        ConfigError: there is no such environment, or it cannot be drawn here.
    """
    from PIL import Image

    simulator = Simulator(environment, render=True)
    # pygame draws into memory, and is not to look for a screen
    screen = os.environ.get("SDL_VIDEODRIVER")
    os.environ["SDL_VIDEODRIVER"] = screen or "dummy"
    try:
        shown = []
        for step in np.unique(np.linspace(0, len(observations) - 1, most).astype(int)):
            picture = Image.fromarray(simulator.picture(observations[step])).resize((160, 160))
            buffer = io.BytesIO()
            picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(
                buffer, format="PNG", optimize=True
            )
            shown.append(f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}")
        return shown
    finally:
        simulator.close()
        if screen is None:
            del os.environ["SDL_VIDEODRIVER"]

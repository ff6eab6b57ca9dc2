"""A hand-written controller of gymnasium's Pendulum-v1: pump energy, then balance.

With angle th from upright (I = m l^2 / 3, m = l = 1, g = 10) the energy is E = thdot^2 / 6 + 5 cos th; at
rest upright E = 5.

    u = k (5 - E) sign(thdot)         away from the top, thdot^2 / 6 growing by u thdot,
    u = -(a th + b thdot)             near the top.

Astrom and Furuta 2000, Swinging up a pendulum by energy control, doi.org/10.1016/S0005-1098(99)00140-5.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LIMIT = 2.0
"""Largest torque of Pendulum-v1."""


def swing_up(observation: NDArray[Any]) -> NDArray[Any]:
    """The torque [1] for an observation (cos th, sin th, thdot)."""
    cosine, sine, speed = (float(value) for value in observation)
    angle = np.arctan2(sine, cosine)
    if cosine > 0.85 and abs(speed) < 4:
        torque = -(12 * angle + 3 * speed)
    else:
        torque = 2 * (5 - (speed**2 / 6 + 5 * cosine)) * (1.0 if speed >= 0 else -1.0)
    return np.array([np.clip(torque, -LIMIT, LIMIT)])

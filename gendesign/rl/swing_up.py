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
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gendesign.building import finite
from gendesign.errors import ConfigError
from gendesign.rl.policies import Gaussian

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


class SwingUp(Gaussian):
    """The controller as a policy with normal noise, for guidance: N(a; swing_up(s), (2 noise)^2).

    Args:
        noise: standard deviation as a share of the largest torque.
    """

    def __init__(self, noise: float = 0.2) -> None:
        super().__init__(torques, LIMIT * finite("noise", noise, above=0.0))


def torques(observations: Float[Tensor, "*B S"]) -> Float[Tensor, "*B 1"]:
    """`swing_up` of many observations."""
    if observations.shape[-1] != 3:
        raise ConfigError(
            f"swing-up reads (cos, sin, speed) of Pendulum-v1, got {observations.shape[-1]} numbers an observation"
        )
    cosine, sine, speed = observations.unbind(-1)
    balance = -(12 * torch.atan2(sine, cosine) + 3 * speed)
    pump = 2 * (5 - (speed**2 / 6 + 5 * cosine)) * torch.where(speed >= 0, 1.0, -1.0).to(speed)
    return torch.where((cosine > 0.85) & (speed.abs() < 4), balance, pump).clamp(-LIMIT, LIMIT)[..., None]

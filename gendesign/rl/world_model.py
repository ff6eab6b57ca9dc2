"""An ensemble of networks that predict the next observation and the reward: the usual baseline of synthetic data.

    s' = s + f_i(s, a),   standardised, with a learned deviation; a random member takes every step of a roll-out.

Members see their own bootstrap of the rows. Trained on real data; rolled out from real starts with a policy's actions.

Janner et al. 2019, When to Trust Your Model: Model-Based Policy Optimization, arXiv 1906.08253.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from gendesign.building import Configurable, whole
from gendesign.determinism import dropout_seeded, generator
from gendesign.rl.trajectories import Episode, Trajectories, flatten

SMALL = 1e-6


class EnsembleLinear(nn.Module):
    """A linear layer of each member."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(members, inputs, outputs) / inputs**0.5)
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))

    def forward(self, x: Float[Tensor, "E B I"]) -> Float[Tensor, "E B O"]:
        """Apply each member's layer to its rows."""
        return torch.baddbmm(self.bias, x, self.weight)


class WorldModel(Configurable):
    """The ensemble.

    Args:
        members: how many networks.
        width: of two hidden layers.
        steps: of training.
        batch_size: rows a member and step.
        lr: of Adam.
        seed: of weights, bootstraps and batches.
    """

    def __init__(
        self,
        *,
        members: int = 5,
        width: int = 128,
        steps: int = 2000,
        batch_size: int = 256,
        lr: float = 1e-3,
        seed: int = 0,
    ) -> None:
        self.members, self.steps = whole("members", members), whole("steps", steps)
        self.width, self.batch_size = whole("width", width), whole("batch_size", batch_size)
        self.lr, self.seed = lr, whole("seed", seed, at_least=0)
        self.snapshots: list[dict[str, Tensor]] = []

    def fit(self, real: Trajectories, *, snapshots: int = 0) -> WorldModel:
        """Train on real transitions.

        Args:
            real: the data.
            snapshots: so many states of training are kept in `snapshots`, evenly spread, the last one included.
        """
        flat = flatten(real)
        seen = torch.tensor(np.asarray(flat["observations"], dtype=np.float32))
        acted = torch.tensor(np.asarray(flat["actions"], dtype=np.float32))
        after = torch.tensor(np.asarray(flat["next_observations"], dtype=np.float32))
        reward = torch.tensor(np.asarray(flat["rewards"], dtype=np.float32))[:, None]
        x, y = torch.cat([seen, acted], 1), torch.cat([after - seen, reward], 1)
        self._inputs = x.mean(0), x.std(0) + SMALL
        self._outputs = y.mean(0), y.std(0) + SMALL
        self._low, self._high = seen.amin(0), seen.amax(0)
        x, y = (x - self._inputs[0]) / self._inputs[1], (y - self._outputs[0]) / self._outputs[1]
        with dropout_seeded(self.seed, "world model"):
            self.network = nn.Sequential(
                EnsembleLinear(self.members, x.shape[1], self.width), nn.SiLU(),
                EnsembleLinear(self.members, self.width, self.width), nn.SiLU(),
                EnsembleLinear(self.members, self.width, 2 * y.shape[1]),
            )  # fmt: skip
        boot = torch.randint(
            len(x), (self.members, len(x)), generator=generator(self.seed, "world model", "rows")
        )
        optimiser = torch.optim.Adam(self.network.parameters(), lr=self.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        for step in range(self.steps):
            noise = generator(self.seed, "world model", step)
            rows = boot.gather(1, torch.randint(len(x), (self.members, self.batch_size), generator=noise))
            mean, log_std = self._raw(x[rows])
            loss = (0.5 * ((y[rows] - mean) / log_std.exp()) ** 2 + log_std).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            if snapshots and (step + 1) % max(1, self.steps // snapshots) == 0:
                self.snapshots.append(
                    {name: value.detach().clone() for name, value in self.network.state_dict().items()}
                )
        return self

    def _raw(self, x: Float[Tensor, "E B I"]) -> tuple[Float[Tensor, "E B O"], Float[Tensor, "E B O"]]:
        mean, log_std = self.network(x).chunk(2, -1)
        return mean, log_std.clamp(-5.0, 1.0)

    @torch.no_grad()
    def step(
        self, seen: Float[Tensor, "B S"], acted: Float[Tensor, "B A"], *, generator: Generator
    ) -> tuple[Float[Tensor, "B S"], Float[Tensor, " B"]]:
        """Next observations, inside the range of real ones, and rewards: each row by a random member."""
        x = (torch.cat([seen, acted], 1) - self._inputs[0]) / self._inputs[1]
        mean, log_std = self._raw(x.expand(self.members, *x.shape))
        who = torch.randint(self.members, (len(x),), generator=generator)
        row = torch.arange(len(x))
        mean, std = mean[who, row], log_std[who, row].exp()
        y = mean + std * torch.randn(mean.shape, generator=generator)
        y = self._outputs[0] + self._outputs[1] * y
        return (seen + y[:, :-1]).clamp(self._low, self._high), y[:, -1]

    def rollout(
        self,
        starts: NDArray[Any],
        act: Callable[[Tensor], Tensor],
        *,
        horizon: int,
        generator: Generator,
        like: Trajectories,
    ) -> Trajectories:
        """Episodes of `horizon` steps.

        Args:
            starts: [B, S] observations to begin at.
            act: actions [B, A] for observations [B, S], clipped to the bounds.
            horizon: T.
            generator: of members and noise.
            like: whose bounds and environment the episodes have.
        """
        seen = torch.tensor(np.asarray(starts, dtype=np.float32))
        assert like.action_low is not None and like.action_high is not None
        low, high = (
            torch.tensor(np.asarray(b, dtype=np.float32)) for b in (like.action_low, like.action_high)
        )
        observations, actions, rewards = [seen], [], []
        for _ in range(horizon):
            acted = act(seen).detach().float().clamp(low, high)
            seen, reward = self.step(seen, acted, generator=generator)
            observations.append(seen)
            actions.append(acted)
            rewards.append(reward)
        s, a, r = (torch.stack(each, 1).numpy() for each in (observations, actions, rewards))
        late = np.zeros(horizon, dtype=bool)
        late[-1] = True
        episodes = tuple(
            Episode(s[i], a[i], r[i].astype(np.float64), np.zeros(horizon, dtype=bool), late)
            for i in range(len(s))
        )
        return replace(like, episodes=episodes, provenance={"generator": "world model"})

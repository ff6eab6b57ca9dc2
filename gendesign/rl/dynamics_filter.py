"""A dynamics reward, learned from real data, that tells transitions of the environment from those of learned models.

Networks D_k are trained to tell real (s, a, s') from (s, a, s' of a model), the model being an ensemble at successive
moments of its own training: rough ones teach D_k what is far off, good ones what is nearly right. The reward is

    r_D(s, a, s') = mean_k log D_k(s, a, s'),

and an episode is cut before its first transition whose reward lies below a low quantile of real ones.

What differs from the paper: there, a model is trained against the discriminators in turn (its adversary is a policy),
and the best of several candidates of each step is taken; episodes that are given whole offer no candidates.

Luo et al. 2024, Reward-Consistent Dynamics Models are Strongly Generalizable for Offline Reinforcement Learning
(MOREC), arXiv 2310.05422.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gendesign.building import finite, whole
from gendesign.determinism import dropout_seeded, generator
from gendesign.errors import ConfigError
from gendesign.rl.filters import Filter, shortened
from gendesign.rl.trajectories import Episode, Trajectories, flatten
from gendesign.rl.world_model import EnsembleLinear, WorldModel


class DynamicsFilter(Filter):
    """Cuts episodes where their dynamics are not the environment's.

    Args:
        quantile: of real transitions' rewards: below it a synthetic one counts as false.
        shortest: an episode that would be shorter is left out.
        discriminators: K.
        width: of the networks.
        steps: of training, of the model and of the discriminators.
        batch_size: rows of each kind a step.
        lr: of Adam.
        seed: of everything that is drawn.
    """

    def __init__(
        self,
        *,
        quantile: float = 0.01,
        shortest: int = 2,
        discriminators: int = 4,
        width: int = 128,
        steps: int = 1500,
        batch_size: int = 256,
        lr: float = 1e-3,
        seed: int = 0,
    ) -> None:
        if not 0 < finite("quantile", quantile) < 1:
            raise ConfigError(f"quantile must be in (0, 1), got {quantile}")
        self.quantile, self.shortest = quantile, whole("shortest", shortest)
        self.discriminators, self.steps = whole("discriminators", discriminators), whole("steps", steps)
        self.width, self.batch_size = whole("width", width), whole("batch_size", batch_size)
        self.lr, self.seed = finite("lr", lr, above=0.0), whole("seed", seed, at_least=0)

    def fit(self, real: Trajectories) -> DynamicsFilter:
        """Train; every fifth episode (or row, where there are fewer than five) sets the threshold alone."""
        flat = flatten(real)
        s, a, after = (
            torch.tensor(np.asarray(flat[name], dtype=np.float32))
            for name in ("observations", "actions", "next_observations")
        )
        held = np.concatenate([np.full(len(e), i % 5 == 4) for i, e in enumerate(real.episodes)])
        if not held.any():
            held = np.arange(len(s)) % 5 == 4
        self._scale(s, a, after)
        model = WorldModel(steps=self.steps, width=self.width, seed=self.seed)
        model.fit(real, snapshots=self.discriminators)
        train = torch.tensor(np.flatnonzero(~held))
        false = self._false(model, s, a)
        inputs = self._features(s, a, after).shape[1]
        k = self._members = len(false)
        with dropout_seeded(self.seed, "dynamics filter"):
            self.network = nn.Sequential(
                EnsembleLinear(k, inputs, self.width), nn.SiLU(),
                EnsembleLinear(k, self.width, self.width), nn.SiLU(), EnsembleLinear(k, self.width, 1),
            )  # fmt: skip
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=self.lr, weight_decay=1e-3)
        for step in range(self.steps):
            noise = generator(self.seed, "dynamics filter", step)
            rows = train[torch.randint(len(train), (self.batch_size,), generator=noise)]
            x = self._features(s[rows], a[rows], after[rows]).expand(k, -1, -1)
            wrong = torch.stack([self._features(s[rows], a[rows], each[rows]) for each in false])
            told = self.network(torch.cat([x, wrong], 1))[..., 0]
            truth = torch.cat([torch.ones(k, len(rows)), torch.zeros(k, len(rows))], 1)
            loss = functional.binary_cross_entropy_with_logits(told, truth)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        found = self._reward(s[held], a[held], after[held])
        self.threshold = float(np.quantile(found, self.quantile))
        self.fitted = True
        return self

    def rewards(self, episode: Episode) -> NDArray[np.float64]:
        """r_D of each transition [T]."""
        seen = torch.tensor(np.asarray(episode.observations, dtype=np.float32))
        return self._reward(seen[:-1], torch.tensor(np.asarray(episode.actions, dtype=np.float32)), seen[1:])

    def keep(self, episode: Episode, *, generator: np.random.Generator) -> Episode | None:
        low = np.flatnonzero(self.rewards(episode) < self.threshold)
        if not len(low):
            return episode
        return shortened(episode, int(low[0])) if low[0] >= self.shortest else None

    def _scale(self, s: Tensor, a: Tensor, after: Tensor) -> None:
        x = torch.cat([s, a], 1)
        self._inputs = x.mean(0), x.std(0) + 1e-6
        move = after - s
        self._move = move.mean(0), move.std(0) + 1e-6

    def _features(self, s: Tensor, a: Tensor, after: Tensor) -> Float[Tensor, "B F"]:
        """State, action, and by how much the state moves, each in units of its own spread."""
        x = (torch.cat([s, a], 1) - self._inputs[0]) / self._inputs[1]
        return torch.cat([x, (after - s - self._move[0]) / self._move[1]], 1)

    def _false(self, model: WorldModel, s: Tensor, a: Tensor) -> list[Tensor]:
        found = []
        for number, weights in enumerate(model.snapshots):
            model.network.load_state_dict(weights)
            found.append(model.step(s, a, generator=generator(self.seed, "false", number))[0])
        return found

    @torch.no_grad()
    def _reward(self, s: Tensor, a: Tensor, after: Tensor) -> NDArray[np.float64]:
        x = self._features(s, a, after)
        told = self.network(x.expand(self._members, *x.shape))[..., 0]
        return functional.logsigmoid(told).mean(0).double().numpy()

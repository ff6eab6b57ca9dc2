"""The exact arena: spaces small enough to enumerate, with exact denoisers, values and targets."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator, Tensor, nn

from gendesign.backbone import Backbone
from gendesign.codecs import Codec, DNACodec
from gendesign.diffusion.enumerated import best_objective, path_objective
from gendesign.diffusion.exact import PointSet, PosteriorDraws
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.unmasking import FirstHitting, Unmasking
from gendesign.models.base import TokenDenoiser
from gendesign.models.tabular import TabularDenoiser as LearnableTable
from gendesign.rewards.base import DifferentiableReward, Reward
from gendesign.steering.particles import Plan, make_plan
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.value import StateValue, Value, Valued

K = 4
MASK = 4


class TabularDenoiser(TokenDenoiser):
    """Exact clean marginals p(x_0^i | x_t) for an enumerated p, looked up by the state's index."""

    logits: Tensor
    joint: Tensor

    def __init__(self, p: Tensor, length: int) -> None:
        super().__init__(K, 2)
        self.length = length
        self.rows = 0
        designs = torch.tensor(list(itertools.product(range(K), repeat=length)))
        states = torch.tensor(list(itertools.product(range(K + 1), repeat=length)))
        agrees = ((states[:, None] == designs) | (states[:, None] == MASK)).all(-1).double()
        joint = agrees * p  # [states, designs]
        marginal = torch.einsum("sd,dlk->slk", joint, nn.functional.one_hot(designs, K).double())
        self.register_buffer("logits", (marginal / joint.sum(-1)[:, None, None]).log())
        self.register_buffer("joint", joint)

    def index(self, x: Tensor) -> Tensor:
        return (x * (K + 1) ** torch.arange(self.length - 1, -1, -1)).sum(-1)

    def forward(self, x: Tensor, t: Any = None, cond: Any = None, mask: Any = None) -> Tensor:
        self.rows += len(x)
        return self.logits[self.index(x)]


class ExactSoftValue(StateValue):
    """v(x_t) = alpha log E[exp(r(x_0)/alpha) | x_t], from the table."""

    def __init__(self, table: Tensor, denoiser: TabularDenoiser) -> None:
        self.table = table
        self.denoiser = denoiser

    def read(self, codec: Any, x: Tensor, t: Tensor, *, alpha: float) -> Tensor:
        return self.table[self.denoiser.index(x)]


class ArenaReward(DifferentiableReward):
    """A reward of every string of a length, and its expectation under independent letters as its relaxation."""

    name = "arena"

    def __init__(self, r: Callable[[str], float], table: Tensor) -> None:
        self.r = r
        self.table = table

    def score(self, designs: Sequence[str]) -> list[float]:
        return [self.r(design) for design in designs]

    def relaxed(self, x: Tensor) -> Tensor:
        law = torch.ones(len(x), 1).to(x)
        for letter in x.unbind(1):
            law = (law[:, :, None] * letter[:, None]).flatten(1)
        return law @ self.table.to(x)


class NumbersReward(DifferentiableReward):
    """A reward of vectors, written with operations that numbers and tensors share."""

    name = "arena"

    def __init__(self, r: Callable[[Any], Any]) -> None:
        self.r = r

    def score(self, designs: Sequence[Any]) -> Any:
        return np.broadcast_to(self.r(np.stack(designs).T), len(designs))

    def relaxed(self, x: Tensor) -> Tensor:
        return self.r(x.unbind(-1))


@dataclass
class Arena:
    """p, r and p* over every string of a length, and a backbone that knows p exactly."""

    backbone: Backbone
    reward: Reward
    designs: list[str]
    p: Tensor
    r: Tensor
    alpha: float

    @property
    def denoiser(self) -> TabularDenoiser:
        return self.backbone.denoiser  # type: ignore[return-value]

    @property
    def target(self) -> Tensor:
        """p*(x) ∝ p(x) exp(r(x)/alpha)."""
        return (self.p.log() + self.r / self.alpha).softmax(0)

    @property
    def soft_values(self) -> Tensor:
        joint = self.denoiser.joint
        tilted = (joint * (self.r / self.alpha).exp()).sum(-1)
        return self.alpha * (tilted / joint.sum(-1)).log()

    def exact_value(self) -> ExactSoftValue:
        return ExactSoftValue(self.soft_values, self.denoiser)

    def plan(self, steps: int = 8, template: str | None = None) -> Plan:
        return make_plan(self.backbone, steps=steps, template=template)

    def sample(
        self, method: Steering, num: int, *, steps: int = 8, seed: int = 0, template: str | None = None
    ) -> Any:
        generator = Generator().manual_seed(seed)
        return run_sampler(
            method(self.backbone, self.reward), num, self.plan(steps, template), generator=generator
        )

    def frequencies(self, method: Steering, num: int, *, steps: int = 8, seed: int = 0) -> Tensor:
        """Empirical law of the designs."""
        x = self.sample(method, num, steps=steps, seed=seed).x
        index = (x * K ** torch.arange(x.shape[1] - 1, -1, -1)).sum(-1)
        return torch.bincount(index, minlength=len(self.p)).double() / num

    def floor(self, num: int, law: Tensor | None = None) -> float:
        """Expected total variation of `num` exact samples from the law: sum sqrt(q (1-q) / (2 pi num))."""
        q = self.target if law is None else law
        return float((q * (1 - q) / (2 * torch.pi * num)).sqrt().sum())


def total_variation(a: Tensor, b: Tensor) -> float:
    return 0.5 * float((a - b).abs().sum())


@pytest.fixture
def make_arena() -> Callable[..., Arena]:
    def make(
        p: Sequence[float] | Tensor,
        r: Callable[[str], float],
        *,
        length: int,
        alpha: float,
        unmasking: Unmasking | None = None,
    ) -> Arena:
        codec = DNACodec(length)
        designs = ["".join(letters) for letters in itertools.product("ACGT", repeat=length)]
        table = torch.as_tensor(p, dtype=torch.float64)
        if len(table) == K and length > 1:  # independent letters
            law = torch.ones(1, dtype=torch.float64)
            for _ in range(length):
                law = (law[:, None] * table).flatten()
            table = law
        process = MaskedDiffusion(K, unmasking=FirstHitting() if unmasking is None else unmasking)
        backbone = Backbone(codec, process, TabularDenoiser(table, length))
        values = torch.tensor([r(design) for design in designs], dtype=torch.float64)
        reward = ArenaReward(r, values)
        return Arena(backbone, reward, designs, table, values, alpha)

    return make


class ExactPointValue(Value):
    """v(x_t) = alpha log sum_y p(y | x_t) exp(r(y)/alpha), from the posterior of a `PointPrediction`."""

    def __init__(self, r: Tensor) -> None:
        self.r = r

    def __call__(
        self,
        reward: Reward,
        codec: Any,
        x: Tensor,
        t: Tensor,
        prediction: Any,
        *,
        alpha: float,
        generator: Generator,
    ) -> Valued:
        values = alpha * (prediction.log_weights + self.r / alpha).logsumexp(-1)
        return Valued(values, torch.ones_like(values, dtype=torch.bool), 0)


class NumbersCodec(Codec):
    """Vectors as they are."""

    def __init__(self, length: int) -> None:
        self.length = length

    def encode(self, designs: Sequence[Any]) -> Tensor:
        return torch.tensor(np.asarray(designs), dtype=torch.float64)

    def decode(self, x: Tensor) -> list[Any]:
        return list(x.detach().double().numpy())

    def reason_invalid(self, design: Any) -> str:
        return "" if np.isfinite(design).all() else "expected finite numbers"


@dataclass
class PointsArena:
    """A finite set of points with law p, a reward r, and p*; one backbone with exact steps, one with moments only."""

    exact: Backbone
    moments: Backbone
    reward: Reward
    points: Tensor
    p: Tensor
    r: Tensor
    alpha: float

    @property
    def target(self) -> Tensor:
        return (self.p.log() + self.r / self.alpha).softmax(0)

    def exact_value(self) -> ExactPointValue:
        return ExactPointValue(self.r)

    def frequencies(
        self, method: Steering, num: int, *, steps: int = 8, seed: int = 0, exact: bool = True
    ) -> Tensor:
        """Empirical law of the designs over the points, each counted at its nearest one."""
        backbone = self.exact if exact else self.moments
        noise = Generator().manual_seed(seed)
        final = run_sampler(
            method(backbone, self.reward), num, make_plan(backbone, steps=steps), generator=noise
        )
        nearest = torch.cdist(final.x, self.points).argmin(-1)
        return torch.bincount(nearest, minlength=len(self.points)).double() / num

    def floor(self, num: int) -> float:
        """Expected total variation of `num` exact samples from p*."""
        q = self.target
        return float((q * (1 - q) / (2 * torch.pi * num)).sqrt().sum())


@pytest.fixture
def make_points_arena() -> Callable[..., PointsArena]:
    def make(
        points: Tensor, r: Callable[[Any], float], *, aug_dim: float, alpha: float, p: Tensor | None = None
    ) -> PointsArena:
        law = torch.full((len(points),), 1 / len(points)).double() if p is None else p.double()
        denoiser, codec = PointSet(points, aug_dim, weights=law), NumbersCodec(points.shape[1])
        settings: dict[str, Any] = {"sigma_min": 0.01, "sigma_max": 40.0, "sigma_data": 1.0}
        exact = Backbone(codec, PosteriorDraws(aug_dim, **settings), denoiser)
        moments = Backbone(codec, PoissonFlow(aug_dim, **settings), denoiser)
        values = torch.tensor([r(y.numpy()) for y in points], dtype=torch.float64)
        reward = NumbersReward(r)
        return PointsArena(exact, moments, reward, points.double(), law, values, alpha)

    return make


class TableReward(DifferentiableReward):
    """A number for every design, multilinear in relaxed ones."""

    def __init__(self, table: Tensor, name: str = "table") -> None:
        self.table = table
        self.name = name

    def score(self, designs: Sequence[str]) -> Any:
        place = [sum("ACGT".index(c) * K ** (len(d) - 1 - i) for i, c in enumerate(d)) for d in designs]
        return self.table[torch.tensor(place)]

    def relaxed(self, x: Tensor) -> Tensor:
        weight = x[:, 0].to(self.table)
        for i in range(1, x.shape[1]):
            weight = (weight[:, :, None] * x[:, i, None, :].to(self.table)).flatten(1)
        return weight @ self.table


@pytest.fixture
def table_reward() -> type[TableReward]:
    return TableReward


@dataclass
class TunableArena:
    """A policy and its base as tables over every partly masked string, and the exact objective of fine-tuning."""

    policy: Backbone
    base: Backbone
    reward: TableReward
    times: Tensor
    alpha: float

    def objective(self, *, divergence: Any = None) -> Tensor:
        """E[r] - alpha D(path || base path), exact, differentiable in the policy's table."""
        tables = [backbone.denoiser.table for backbone in (self.policy, self.base)]
        return path_objective(
            self.policy.process,  # type: ignore[arg-type]
            tables[0],
            tables[1],
            self.reward.table,
            self.times,
            alpha=self.alpha,
            divergence=divergence,
        )

    def best(self) -> float:
        """The best objective on this grid."""
        table = self.base.denoiser.table.detach()
        process: Any = self.policy.process
        return best_objective(process, table, self.reward.table, self.times, alpha=self.alpha)[0]

    def outcome(self, method: Any, num: int, *, seed: int = 0, alpha: float | None = None) -> Any:
        noise = Generator().manual_seed(seed)
        price = self.alpha if alpha is None else alpha
        return method.objective(
            self.policy, self.base, self.reward, self.times, num, alpha=price, generator=noise
        )

    def tune(self, method: Any, *, updates: int, batch: int, lr: float = 0.1, seed: int = 0) -> float:
        """Train; the exact objective that is reached."""
        ascent = torch.optim.Adam(self.policy.parameters(), lr=lr)
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(ascent, updates)
        noise = Generator().manual_seed(seed)
        for _ in range(updates):
            found = method.objective(
                self.policy, self.base, self.reward, self.times, batch, alpha=self.alpha, generator=noise
            )
            ascent.zero_grad()
            found.loss.backward()
            ascent.step()
            slower.step()
        return float(self.objective().detach())


@pytest.fixture
def make_tunable() -> Callable[..., TunableArena]:
    def make(
        r: Callable[[str], float],
        *,
        p: Sequence[float] = (0.4, 0.3, 0.2, 0.1),
        length: int = 3,
        alpha: float = 0.5,
        unmasking: Unmasking | None = None,
        steps: int = 8,
    ) -> TunableArena:
        law = torch.ones(1, dtype=torch.float64)
        for _ in range(length):
            law = (law[:, None] * torch.tensor(p, dtype=torch.float64)).flatten()
        process = MaskedDiffusion(K, unmasking=FirstHitting() if unmasking is None else unmasking)
        designs = ["".join(letters) for letters in itertools.product("ACGT", repeat=length)]
        table = torch.tensor([r(design) for design in designs], dtype=torch.float64)
        policy, base = (
            Backbone(DNACodec(length), process, LearnableTable(K, length).set_law(law)) for _ in range(2)
        )
        times = process.times(process.num_steps(steps, length))
        return TunableArena(policy, base.requires_grad_(False), TableReward(table), times, alpha)

    return make


@pytest.fixture
def random_law() -> Callable[[int, int], Tensor]:
    def law(length: int, seed: int) -> Tensor:
        raw = torch.rand(K**length, dtype=torch.float64, generator=Generator().manual_seed(seed))
        return raw / raw.sum()

    return law


@pytest.fixture
def tv() -> Callable[[Tensor, Tensor], float]:
    return total_variation

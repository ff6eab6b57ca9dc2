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
from gendesign.diffusion.exact import PointSet, PosteriorDraws
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.unmasking import FirstHitting, Unmasking
from gendesign.models.base import TokenDenoiser
from gendesign.rewards.base import FunctionReward, Reward
from gendesign.steering.particles import Plan, make_plan
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.value import Value, Valued

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


class ExactSoftValue(Value):
    """v(x_t) = alpha log E[exp(r(x_0)/alpha) | x_t], from the table."""

    def __init__(self, table: Tensor, denoiser: TabularDenoiser) -> None:
        self.table = table
        self.denoiser = denoiser

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
        values = self.table[self.denoiser.index(x)]
        return Valued(values, torch.ones_like(values, dtype=torch.bool), 0)


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
        reward = FunctionReward(r, name="arena", each=True)
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
        reward = FunctionReward(lambda designs: [r(design) for design in designs], name="arena")
        return PointsArena(exact, moments, reward, points.double(), law, values, alpha)

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

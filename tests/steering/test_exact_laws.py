"""Laws of designs without sampling (benchmarks/exact_laws.py), and beyond four letters what they say of each method.

Over many strings total variation drowns in its own floor, so that sampled laws are compared in deciles of the reward,
and exact ones by their divergence.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.partial_strings import Enumerated
from gendesign.diffusion.unmasking import FirstHitting
from gendesign.models.tabular import TabularDenoiser
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.guidance import Guidance
from gendesign.steering.particles import make_plan
from gendesign.steering.proposals import Target
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.smc import SMC
from gendesign.steering.svdd import SVDD
from gendesign.steering.token_proposals import FirstOrder, MaskedExact
from gendesign.steering.value import StateValue

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "exact_laws.py"
spec = importlib.util.spec_from_file_location("exact_laws", SCRIPT)
assert spec is not None and spec.loader is not None
laws = importlib.util.module_from_spec(spec)
sys.modules["exact_laws"] = laws
spec.loader.exec_module(laws)

ALPHA = 1.0


class Soft(StateValue):
    """The exact soft value of a network's own law."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def read(self, codec: Any, x: Tensor, t: Tensor, *, alpha: float) -> Tensor:
        return self.table[(x * 5 ** torch.arange(x.shape[1] - 1, -1, -1)).sum(-1)]


class Space:
    """A network that believes anything, a random reward with a gradient, and what dynamic programming says of them."""

    def __init__(self, length: int, reward: Any) -> None:
        noise = Generator().manual_seed(length)
        denoiser = TabularDenoiser(4, length).requires_grad_(False)
        denoiser.table.normal_(generator=noise)
        self.backbone = Backbone(DNACodec(length), MaskedDiffusion(4, unmasking=FirstHitting()), denoiser)
        self.r = torch.randn(4**length, dtype=torch.float64, generator=noise)
        self.reward = reward(self.r)
        self.states = Enumerated(denoiser.table.log_softmax(-1))
        self.p = self.states.law()
        self.target = (self.p.log() + self.r / ALPHA).softmax(0)
        self.soft = self.states.soft_values(self.r, alpha=ALPHA)

    def change(self) -> Tensor:
        """What first-order guidance takes each reveal to be worth."""
        x, target = self.states.states, Target(self.backbone, self.reward, ALPHA)
        return FirstOrder().predict(target, x, torch.ones(len(x)).double()).change

    def frequencies(self, method: Steering, num: int) -> Tensor:
        """Empirical law of the designs."""
        plan = make_plan(self.backbone, steps=self.backbone.codec.length)
        noise = Generator().manual_seed(0)
        x = run_sampler(method(self.backbone, self.reward), num, plan, generator=noise).x
        index = (x * 4 ** torch.arange(x.shape[1] - 1, -1, -1)).sum(-1)
        return torch.bincount(index, minlength=len(self.p)).double() / num

    def deciles(self, q: Tensor) -> Tensor:
        """Mass of a law in each decile of the reward under p*."""
        order = self.r.argsort()
        place = torch.empty_like(order)
        place[order] = (self.target[order].cumsum(0) * 10).long().clamp(max=9)
        return torch.zeros(10, dtype=torch.float64).index_add_(0, place, q)

    def kl(self, q: Tensor) -> float:
        """KL(q || p*) in nats."""
        return float(torch.xlogy(q, q / self.target).sum())


@pytest.fixture
def make_space(table_reward: Any) -> Any:
    return lambda length: Space(length, table_reward)


def test_laws_are_those_of_the_samplers(make_space: Any, tv: Any) -> None:
    """Each exact law against designs that were drawn."""
    space, num = make_space(3), 12_000
    exact = {
        SVDD(candidates=3, alpha=ALPHA, value=Soft(space.soft)): laws.svdd_law(
            space.states, space.soft, alpha=ALPHA, candidates=3
        ),
        Guidance(ALPHA, FirstOrder()): laws.guided_law(space.states, space.change(), alpha=ALPHA),
        BestOfN(candidates=4): laws.best_of_n_law(space.p, space.r, 4),
        BestOfN(candidates=4, selection="resample", alpha=ALPHA): laws.weighted_law(
            space.p, space.r, alpha=ALPHA, num=4
        ),
    }
    for method, law in exact.items():
        floor = float((law * (1 - law) / (2 * torch.pi * num)).sqrt().sum())
        assert law.sum().item() == pytest.approx(1.0)
        assert tv(space.frequencies(method, num), law) <= 1.25 * floor, method
        assert min(tv(law, space.p), tv(law, space.target)) > 5 * floor, method


def test_exact_changes_give_the_target(make_space: Any) -> None:
    """Guidance by the soft value's own differences draws p*, and so does SVDD among infinitely many candidates."""
    space = make_space(4)
    change = torch.zeros(625, 4, 4, dtype=torch.float64)
    for n in range(1, 5):
        for place, step in enumerate(space.states.reveals(n)):
            change[step.source, place] = space.soft[step.target] - space.soft[step.source, None]
    guided = laws.guided_law(space.states, change, alpha=ALPHA)
    torch.testing.assert_close(guided, space.target, rtol=1e-9, atol=1e-12)
    value = torch.where(space.states.complete, torch.nan, space.soft)
    value[space.states.complete] = space.r
    endless = laws.svdd_law(space.states, value, alpha=ALPHA, candidates=math.inf)
    torch.testing.assert_close(endless, space.target, rtol=1e-9, atol=1e-12)


def test_divergence_of_svdd_falls_with_candidates_at_six_letters(make_space: Any) -> None:
    """KL(q || p*) over all 4,096 strings, exact: it falls as M grows, to nothing; first-order guidance stops short."""
    space = make_space(6)
    found = [
        space.kl(laws.svdd_law(space.states, space.soft, alpha=ALPHA, candidates=m)) for m in (1, 4, 16, 64)
    ]
    assert found[0] == pytest.approx(space.kl(space.p))
    assert all(later < 0.2 * earlier for earlier, later in zip(found, found[1:], strict=False)), found
    assert 0 < found[-1] < 5e-4
    first_order = space.kl(laws.guided_law(space.states, space.change(), alpha=ALPHA))
    assert 0.03 < first_order < 0.2 * found[0]


def test_deciles_of_the_reward_at_six_letters(make_space: Any, tv: Any) -> None:
    """Sampled laws of SVDD, SMC, weighted best-of-N and exact guidance, by deciles and mean reward."""
    space, num = make_space(6), 1_000
    value = Soft(space.soft)
    floor = 10 * math.sqrt(0.1 * 0.9 / (2 * math.pi * num))
    mean = float(space.target @ space.r)
    sd = math.sqrt(float(space.target @ (space.r - mean) ** 2) / num)
    base = tv(space.deciles(space.p), space.deciles(space.target))
    for method in (
        SVDD(candidates=24, alpha=ALPHA, value=value),
        SMC(particles=24, alpha=ALPHA, value=value),
        Guidance(ALPHA, MaskedExact(), value=value),
        BestOfN(candidates=48, selection="resample", alpha=ALPHA),
    ):
        q = space.frequencies(method, num)
        assert tv(space.deciles(q), space.deciles(space.target)) <= floor + 0.02 < base, method
        assert abs(float(q @ space.r) - mean) < 4 * sd + 0.02, method

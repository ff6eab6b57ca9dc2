"""Policy gradient: unbiased against the exact gradient, and at the optimum of its own grid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator

from gendesign.diffusion.in_order import InOrder
from gendesign.diffusion.unmasking import Ancestral, FirstHitting, Unmasking
from gendesign.divergences import ChiSquared, ReverseKL
from gendesign.errors import ConfigError
from gendesign.rewards.base import FunctionReward
from gendesign.steering.policy_gradient import PolicyGradient, leave_one_out


def count_a(design: str) -> float:
    return float(design.count("A"))


def is_acg(design: str) -> float:
    return 3.0 * (design == "ACG")


@pytest.mark.whole
@pytest.mark.parametrize("divergence", [ReverseKL(), ChiSquared()])
@pytest.mark.parametrize("unmasking", [FirstHitting(), Ancestral(), InOrder()])
def test_the_gradient_is_unbiased(make_tunable: Any, unmasking: Unmasking, divergence: Any) -> None:
    """Its mean over trajectories is the gradient of the exact objective, where every step is differentiated."""
    arena = make_tunable(is_acg, unmasking=unmasking, steps=3)
    table = arena.policy.denoiser.table
    with torch.no_grad():
        table.add_(0.5 * torch.randn(table.shape, generator=Generator().manual_seed(1), dtype=torch.float64))
    (exact,) = torch.autograd.grad(-arena.objective(divergence=divergence), table)
    method = PolicyGradient(truncation=None, divergence=divergence, recompute=False)
    parts = []
    for seed in range(8):
        found = arena.outcome(method, 8_000, seed=seed)
        parts.append(torch.autograd.grad(found.loss, table)[0])
    drawn = torch.stack(parts)
    error = drawn.std(0) / len(parts) ** 0.5
    z = ((drawn.mean(0) - exact) / error.clamp(min=1e-4)).abs()
    assert z.max() < 8 and (z > 3).double().mean() < 0.03
    assert torch.nn.functional.cosine_similarity(drawn.mean(0).flatten(), exact.flatten(), dim=0) > 0.995


@pytest.mark.whole
@pytest.mark.parametrize(("reward", "best"), [(count_a, 1.902795), (is_acg, 1.183169)])
def test_it_reaches_the_optimum_within_2_percent(make_tunable: Any, reward: Any, best: float) -> None:
    """With one token a step the optimum is alpha log Z."""
    arena = make_tunable(reward)
    method = PolicyGradient(truncation=None, recompute=False)
    reached = arena.tune(method, updates=60, batch=512, lr=0.1)
    assert 0.98 * best <= reached <= best + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("reward", [count_a, is_acg])
@pytest.mark.parametrize("steps", [2, 8])
def test_it_reaches_the_optimum_of_coarser_grids_within_2_percent(
    make_tunable: Any, reward: Any, steps: int
) -> None:
    """Where several tokens are revealed at once the optimum is lower, and found by ascent of the exact objective."""
    arena = make_tunable(reward, unmasking=Ancestral(), steps=steps)
    best = arena.best()
    method = PolicyGradient(truncation=None, recompute=False)
    reached = arena.tune(method, updates=300, batch=256, lr=0.1)
    assert 0.98 * best <= reached <= best + 1e-6


def test_failed_rewards_count_for_nothing(make_tunable: Any) -> None:
    arena = make_tunable(count_a)

    def broken(design: str) -> float:
        return float("nan") if design.startswith("A") else float(design.count("A"))

    arena.reward = FunctionReward(broken, name="broken", each=True)
    found = arena.outcome(PolicyGradient(truncation=None), 64)
    assert 0 < found.failures < 64 and bool(found.loss.isfinite())
    arena.reward = FunctionReward(lambda design: float("nan"), name="none", each=True)
    found = arena.outcome(PolicyGradient(truncation=None), 64)
    assert found.failures == 64
    (gradient,) = torch.autograd.grad(found.loss, arena.policy.denoiser.table)
    assert bool(gradient.isfinite().all())


def test_designs_that_end_early_are_drawn_and_weighed(make_tunable: Any) -> None:
    """Unmasking in order, a token settles all that follows: what is drawn is a state that the step can reach."""
    arena = make_tunable(count_a, unmasking=InOrder(pad=3))
    found = arena.outcome(PolicyGradient(truncation=None), 256)
    (gradient,) = torch.autograd.grad(found.loss, arena.policy.denoiser.table)
    assert bool(found.loss.isfinite()) and bool(gradient.isfinite().all())


def test_leave_one_out() -> None:
    returns = torch.tensor([[1.0], [2.0], [6.0], [100.0]])
    ok = torch.tensor([True, True, True, False])
    assert leave_one_out(returns, ok).flatten().tolist() == [-3.0, -1.5, 4.5, 0.0]
    assert not leave_one_out(returns, torch.tensor([True, False, False, False])).any()


def test_one_trajectory_has_no_baseline(make_tunable: Any) -> None:
    with pytest.raises(ConfigError, match="at least 2 trajectories"):
        make_tunable(count_a).outcome(PolicyGradient(), 1)

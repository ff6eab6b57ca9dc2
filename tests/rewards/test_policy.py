"""Trajectories by a policy's likelihood and by their return."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator

from gendesign.array_codecs import VectorSequenceCodec
from gendesign.backbone import Backbone
from gendesign.diffusion.exact_gaussian import CorrelatedGaussian
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import ConfigError
from gendesign.rewards.base import Status
from gendesign.rewards.policy import PolicyLikelihood, TrajectoryReturn
from gendesign.rl.policies import Gaussian
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import run_sampler
from gendesign.steering.smc import SMC
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered

POLICY = Gaussian(lambda s: 0.5 * s + 1.0, 0.5)


class Rows(VectorSequenceCodec):
    """One observation, one action, one reward."""

    observation_columns = (0,)
    action_columns = (1,)


def rows(*, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(3, 2, 3))


def test_the_likelihood_is_a_sum_over_steps() -> None:
    x = rows()
    likelihood = PolicyLikelihood(POLICY, observation_columns=[0], action_columns=[1])
    e = (x[..., 1] - 0.5 * x[..., 0] - 1) / 0.5
    expected = (-0.5 * e**2 - math.log(0.5) - 0.5 * math.log(2 * math.pi)).sum(-1)
    np.testing.assert_allclose(likelihood(list(x)).values, expected, rtol=1e-9)
    np.testing.assert_allclose(likelihood.relaxed(torch.tensor(x)), expected, rtol=1e-9)
    np.testing.assert_allclose(likelihood.residuals(torch.tensor(x)), e, rtol=1e-9)


@pytest.mark.parametrize("gradient", ["both", "actions"])
def test_the_gradient_may_leave_observations_alone(gradient: Any) -> None:
    x = torch.tensor(rows()).requires_grad_()
    reward = PolicyLikelihood(POLICY, observation_columns=[0], action_columns=[1], gradient=gradient)
    (g,) = torch.autograd.grad(reward.relaxed(x).sum(), x)
    assert bool(g[..., 1].all()) and not g[..., 2].any()
    assert bool(g[..., 0].any()) is (gradient == "both")


def test_returns_end_with_the_episode() -> None:
    """Columns: observation, reward, terminal."""
    one = np.array([[0, 1.0, 0], [0, 2.0, 1], [0, 4.0, 0]])
    assert TrajectoryReturn(1)([one]).values[0] == pytest.approx(7.0)
    assert TrajectoryReturn(1, terminal_column=2)([one]).values[0] == pytest.approx(3.0)
    assert TrajectoryReturn(1, terminal_column=2, discount=0.5)([one]).values[0] == pytest.approx(2.0)


def test_what_is_no_trajectory_is_invalid() -> None:
    reward = TrajectoryReturn(2)
    bad = [np.zeros((4, 2)), np.zeros(4), np.full((2, 3), np.nan), "ACGT"]
    scores = reward(bad)
    assert all(status == Status.INVALID for status in scores.status)
    assert np.isnan(scores.values).all()


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs log_prob"):
        PolicyLikelihood(3, observation_columns=[0], action_columns=[1])
    with pytest.raises(ConfigError, match="at least one observation column"):
        PolicyLikelihood(POLICY, observation_columns=[], action_columns=[1])
    with pytest.raises(ConfigError, match="whole numbers from 0"):
        TrajectoryReturn(-1)
    with pytest.raises(ConfigError, match="discount must be at most 1"):
        TrajectoryReturn(1, discount=1.5)


@pytest.mark.whole
@pytest.mark.parametrize("method", [SVDD(candidates=8, alpha=0.3), SMC(particles=8, alpha=0.3)])
@pytest.mark.parametrize("kind", ["policy", "return"])
def test_svdd_and_smc_steer_trajectories(method: Any, kind: str) -> None:
    codec = Rows(["s", "a", "r"], 2, mean=[0.0, 0.0, 0.0], std=[1.0, 2.0, 1.0])
    process = PoissonFlow(math.inf, sigma_data=1.0)
    backbone = Backbone(codec, process, CorrelatedGaussian(torch.zeros(6), torch.eye(6)))
    reward = PolicyLikelihood.of(POLICY, codec) if kind == "policy" else TrajectoryReturn(2)
    plan = make_plan(backbone, steps=8)
    found = []
    for one in (Unsteered(), method):
        final = run_sampler(one(backbone, reward), 48, plan, generator=Generator().manual_seed(0))
        found.append(reward(codec.decode(final.x)).values.mean())
    assert found[1] > found[0] + 0.8


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_policy_is_asked_in_the_precision_of_its_network(kind: torch.dtype) -> None:
    """Networks are single by default, designs double."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torch.nn.Linear(3, 2).to(kind)
    reward = PolicyLikelihood(Gaussian(network, 0.1), observation_columns=[0, 1, 2], action_columns=[3, 4])
    rows = np.random.default_rng(0).normal(size=(5, 6))
    mean = rows[:, :3] @ network.weight.detach().double().numpy().T + network.bias.detach().double().numpy()
    expected = (-((rows[:, 3:5] - mean) ** 2) / 0.02 - math.log(0.1 * math.sqrt(2 * math.pi))).sum()
    assert reward([rows]).values[0] == pytest.approx(expected, rel=1e-5)

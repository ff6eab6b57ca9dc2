"""DRAKES: exact path costs, gradients with and without recomputation, counted forwards, and its measured bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Generator, Tensor, nn

from gendesign.array_codecs import VectorCodec
from gendesign.backbone import Backbone
from gendesign.diffusion.in_order import InOrder
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.schedules import LogLinear
from gendesign.diffusion.unmasking import Ancestral, FactorisedTransition, FirstHitting, Unmasking
from gendesign.divergences import AlphaDivergence, ChiSquared, ReverseKL
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.loading import load_backbone
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.models.switched import SwitchedDenoiser
from gendesign.rewards.base import DifferentiableReward, FunctionReward
from gendesign.steering.drakes import DRAKES, made_hard
from gendesign.steering.policy_gradient import PolicyGradient
from gendesign.steering.trajectory import Forwards, step_divergence

P, NEW = (torch.tensor(p, dtype=torch.float64) for p in ((0.4, 0.3, 0.2, 0.1), (0.5, 0.2, 0.2, 0.1)))


def count_a(design: str) -> float:
    return float(design.count("A"))


def is_acg(design: str) -> float:
    return 3.0 * (design == "ACG")


@pytest.mark.parametrize(
    ("weighting", "expected"), [("exact", 6.095690), ("rate", 780.2561), ("published", 0.0)]
)
def test_the_path_s_kl_over_200_tokens(weighting: Any, expected: float) -> None:
    """In closed form on a grid; on hard states nothing revealed costs the published weighting."""
    process = MaskedDiffusion(4, schedule=LogLinear(eps=1e-12))  # m_t = t
    method = DRAKES(weighting=weighting)
    times = process.times(128, end=1e-5)
    total = 0.0
    for step in range(128):
        t, s = times[step : step + 1], times[step + 1 : step + 2]
        m = process.schedule.mask_probability(t).item()
        # one position that is masked with probability m_t, in expectation: relaxed one-hots weigh exactly so
        x = torch.cat([torch.tensor([0.25] * 4) * (1 - m), torch.tensor([m])]).double()[None, None]
        laws = [FactorisedTransition(p.log()[None, None], x, _stay(process, t, s)) for p in (NEW, P)]
        if weighting == "published":
            laws = [
                replace(law, x_t=torch.tensor([[4]])) for law in laws
            ]  # hard and masked: nothing is revealed
        total += 200 * method.price(process, laws[0], laws[1], t, x).item()
    assert total == pytest.approx(expected, rel=2e-6)


def _stay(process: MaskedDiffusion, t: Tensor, s: Tensor) -> Tensor:
    return process.schedule.mask_probability(s) / process.schedule.mask_probability(t)


def test_the_published_weighting_is_of_revealed_tokens() -> None:
    process, t = MaskedDiffusion(4), torch.tensor([0.5], dtype=torch.float64)
    x = torch.tensor([[[0.5, 0.1, 0.1, 0.1, 0.2]]], dtype=torch.float64)
    laws = [FactorisedTransition(p.log()[None, None], x, torch.tensor([0.5]).double()) for p in (NEW, P)]
    terms = NEW * (NEW / P).log() - NEW + P
    expected = 0.8 * (terms * x[0, 0, :4]).sum() / process.schedule.mask_probability(t)
    found = DRAKES(weighting="published").price(process, laws[0], laws[1], t, x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("unmasking", [FirstHitting(), Ancestral(), InOrder()])
@pytest.mark.parametrize("divergence", [ReverseKL(), ChiSquared(), AlphaDivergence(0.5)])
def test_hard_paths_cost_what_enumeration_says(
    make_tunable: Any, unmasking: Unmasking, divergence: Any
) -> None:
    """With straight-through steps trajectories are those of the sampler, so mean reward and cost are exact."""
    arena = make_tunable(count_a, unmasking=unmasking, steps=4)
    with torch.no_grad():
        arena.policy.denoiser.table.add_(
            0.5 * torch.randn(125, 3, 4, generator=Generator().manual_seed(1), dtype=torch.float64)
        )
    method = DRAKES(truncation=None, straight_through=True, divergence=divergence)
    found = arena.outcome(method, 20_000)
    arena.alpha = 1e-12
    reward = arena.objective().item()
    arena.alpha = 1.0
    cost = reward - arena.objective(divergence=divergence).item()
    assert found.reward == pytest.approx(reward, abs=0.02)
    assert found.divergence == pytest.approx(cost, abs=0.02, rel=0.02)


class ConvReward(DifferentiableReward):
    """Something smooth and not linear."""

    name = "conv"

    def score(self, designs: Any) -> Any:
        return [0.0] * len(designs)

    def relaxed(self, x: Tensor) -> Tensor:
        return torch.tanh(x[..., 0].sum(-1) - (x[:, 1:, 1] * x[:, :-1, 2]).sum(-1)) * 2


class CountingDenoiser(nn.Module):
    """Notes of every call whether it builds a graph."""

    time_conditioned = False

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls: list[bool] = []

    def forward(self, *args: Any) -> Tensor:
        y: Tensor = self.inner(*args)
        self.calls.append(y.requires_grad)
        return y


def small_backbones(length: int = 6) -> tuple[Backbone, Backbone]:
    from gendesign.codecs import DNACodec
    from gendesign.models.dilated_conv import DilatedConvDenoiser

    made = []
    for seed in (0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            denoiser = DilatedConvDenoiser(4, 8, depth=2, kernel_size=3, dropout=0.2).double().eval()
            for block in denoiser.blocks:
                nn.init.normal_(block.pointwise.weight, std=0.3)  # type: ignore[union-attr, arg-type]
        made.append(Backbone(DNACodec(length), MaskedDiffusion(4), denoiser))
    return made[0].eval(), made[1].eval().requires_grad_(False)


def gradients(method: Any, pair: Any, reward: Any, *, steps: int, num: int = 5) -> list[Tensor]:
    policy, base = pair
    times = policy.process.times(steps)
    found = method.objective(
        policy, base, reward, times, num, alpha=0.3, generator=Generator().manual_seed(3)
    )
    parameters = [p for p in policy.parameters() if p.requires_grad]
    return [found.loss.detach(), *torch.autograd.grad(found.loss, parameters)]


@pytest.mark.parametrize(
    "method",
    [
        DRAKES(truncation=None),
        DRAKES(truncation=3, tau=0.5, straight_through=True),
        DRAKES(truncation=None, base_gradient=True, divergence=ChiSquared()),
        DRAKES(truncation=4, weighting="published"),
        PolicyGradient(truncation=None),
    ],
)
def test_recomputation_changes_no_gradient(method: Any) -> None:
    pair = small_backbones()
    kept = gradients(replace(method, recompute=False), pair, ConvReward(), steps=6)
    again = gradients(replace(method, recompute=True), pair, ConvReward(), steps=6)
    for a, b in zip(kept, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
    assert sum(float(g.abs().sum()) for g in kept[1:]) > 1e-6


def test_the_base_s_gradient_is_left_out_unless_asked_for() -> None:
    pair = small_backbones()
    without, full = (
        gradients(DRAKES(truncation=None, base_gradient=b), pair, ConvReward(), steps=6)
        for b in (False, True)
    )
    torch.testing.assert_close(without[0], full[0])  # the value is the same
    assert any((a - b).abs().max() > 1e-6 for a, b in zip(without[1:], full[1:], strict=True))


@pytest.mark.parametrize("method", [DRAKES(truncation=50), PolicyGradient(truncation=50)])
def test_forwards_are_counted_by_kind_and_none_builds_a_graph_in_vain(method: Any) -> None:
    """T = 128, K = 50: 128 of the policy, 50 recomputed, 50 of the base."""
    policy, base = small_backbones(length=3)
    policy.denoiser, base.denoiser = CountingDenoiser(policy.denoiser), CountingDenoiser(base.denoiser)  # type: ignore[assignment]
    found = method.objective(
        policy,
        base,
        ConvReward(),
        policy.process.times(128),
        4,
        alpha=0.3,
        generator=Generator().manual_seed(3),
    )
    calls = policy.denoiser.calls
    before = len(calls)
    found.loss.backward()
    again = len(calls) - before
    assert found.forwards == Forwards(128, 50, 50)
    # a step before which nothing is masked asks nothing
    assert before <= 128 and again <= 50 and len(base.denoiser.calls) <= 50
    assert not any(calls[: before - 50]) and not any(base.denoiser.calls)
    if isinstance(method, DRAKES):
        assert before == 128 or before >= 50
        assert all(calls[before - 50 : before]) and again == 50 and len(base.denoiser.calls) == 50


def test_the_gap_to_the_optimum_shrinks_with_tau_and_straight_through_steps(make_tunable: Any) -> None:
    """Gradients through the relaxation are biased. benchmarks/drakes_gap.py has figures."""
    reached = {}
    for tau, hard in ((1.0, False), (0.3, False), (1.0, True)):
        method = DRAKES(truncation=None, tau=tau, straight_through=hard, recompute=False)
        arena = make_tunable(count_a, unmasking=Ancestral(), steps=4)
        reached[tau, hard] = arena.tune(method, updates=25, batch=64, lr=0.3)
    # independent letters: alpha log Z on any grid
    assert reached[1.0, False] < min(reached[0.3, False], reached[1.0, True]) <= 1.902796
    assert reached[1.0, False] < 1.6 and reached[1.0, True] > 1.7


@pytest.mark.parametrize("method", [DRAKES(truncation=None, tau=0.3), PolicyGradient(truncation=None)])
def test_huge_and_tiny_alpha(make_tunable: Any, method: Any) -> None:
    """A huge price leaves the base where it is; a tiny one gives everything for the reward; nothing overflows."""
    arena = make_tunable(count_a)
    for alpha, low, high in ((1e9, 1.15, 1.25), (1e-9, 2.7, 3.0)):
        arena.alpha = alpha
        arena.tune(method, updates=15, batch=64, lr=0.5)
        arena.alpha = 1e-12
        assert low < arena.objective().item() <= high
        assert bool(arena.policy.denoiser.table.isfinite().all())


# Continuous ------------------------------------------------------------------------------------------------------


class Bump(DifferentiableReward):
    """-|x - c|^2 in the user's units."""

    name = "bump"

    def score(self, designs: Any) -> Any:
        return [-float(((d - 1.5) ** 2).sum()) for d in designs]

    def relaxed(self, x: Tensor) -> Tensor:
        return -((x - 1.5) ** 2).sum(-1)


def flows(aug_dim: float, *, floor: float = 0.2) -> tuple[Backbone, Backbone]:
    def network(seed: int) -> Preconditioned:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            inner = MLPNetwork(2, width=16, depth=2).double()
            for p in inner.parameters():
                nn.init.normal_(p, std=0.3)
        return Preconditioned(inner, sigma_data=1.0, aug_dim=aug_dim).eval()

    process = PoissonFlow(aug_dim, sigma_data=1.0, sigma_max=10.0, sigma_min=0.05)
    codec = VectorCodec(["x", "y"], mean=[0.0, 0.0], std=[1.0, 2.0])
    base = Backbone(codec, process, network(0)).eval().requires_grad_(False)
    switched = SwitchedDenoiser(network(1), base.denoiser, sigma_floor=floor)
    return Backbone(codec, process, switched), base


@pytest.mark.parametrize("aug_dim", [torch.inf, 3.0])
@pytest.mark.parametrize("method", [DRAKES(truncation=None), PolicyGradient(truncation=None)])
def test_continuous_steps_recomputed_and_counted(aug_dim: float, method: Any) -> None:
    pair = flows(aug_dim)
    kept = gradients(replace(method, recompute=False), pair, Bump(), steps=8)
    again = gradients(replace(method, recompute=True), pair, Bump(), steps=8)
    for a, b in zip(kept, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-13)
    assert sum(float(g.abs().sum()) for g in kept[1:]) > 1e-6 and bool(kept[0].isfinite())
    times = pair[0].process.times(8)
    priced = int((times[:-1] > 0.2).sum())
    found = method.objective(
        *pair, Bump(), times, 4, alpha=0.3, generator=Generator().manual_seed(0)
    ).forwards
    assert found.base == priced < 8 and found.policy == 8


def test_the_gradient_of_a_continuous_path_is_that_of_finite_differences() -> None:
    policy, base = flows(torch.inf)
    weight = policy.denoiser.high.network  # type: ignore[union-attr]
    parameter = next(p for p in weight.parameters() if p.ndim == 2)  # type: ignore[union-attr]

    def loss() -> Tensor:
        return (
            DRAKES(truncation=None, base_gradient=True)
            .objective(
                policy,
                base,
                Bump(),
                policy.process.times(6),
                8,
                alpha=0.3,
                generator=Generator().manual_seed(0),
            )
            .loss
        )

    (gradient,) = torch.autograd.grad(loss(), parameter)
    place, h = (0, 1), 1e-5
    with torch.no_grad():
        parameter[place] += h
        up = loss()
        parameter[place] -= 2 * h
        down = loss()
    assert gradient[place].item() == pytest.approx(float((up - down) / (2 * h)), rel=1e-5)


def test_sampled_and_closed_kl_of_a_step_agree() -> None:
    policy, base = flows(torch.inf)
    process = policy.process
    x = torch.randn(1, 2, generator=Generator().manual_seed(0)).double().expand(20_000, 2)
    t, s = (torch.full((20_000,), v, dtype=torch.float64) for v in (2.0, 1.0))
    laws = [process.transition(process.predict(b.denoiser, x, t), x, t, s) for b in (policy, base)]
    y = laws[0].sample(1, generator=Generator().manual_seed(1))[0]
    exact, guessed = step_divergence(laws[0], laws[1], y, ReverseKL())
    sampled, drawn = step_divergence(laws[0], laws[1], y, AlphaDivergence(1.0))
    assert not guessed and drawn
    assert sampled.mean().item() == pytest.approx(exact[0].item(), rel=0.05)


def test_hard_in_value_soft_in_gradient() -> None:
    process, x = MaskedDiffusion(4), torch.tensor([[[0.1, 0.6, 0.1, 0.1, 0.1]]], requires_grad=True)
    y = made_hard(process, process.hard(x), x.double())
    assert y.tolist() == [[[0.0, 1.0, 0.0, 0.0, 0.0]]]
    (gradient,) = torch.autograd.grad((y * torch.arange(5)).sum(), x)
    assert gradient.tolist() == [[[0.0, 1.0, 2.0, 3.0, 4.0]]]


def test_refusals(make_tunable: Any) -> None:
    with pytest.raises(ConfigError, match="tau must be above 0"):
        DRAKES(tau=0.0)
    with pytest.raises((ConfigError, TypeCheckError), match="weighting"):
        DRAKES(weighting="other")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="one of the KL"):
        DRAKES(weighting="published", divergence=ChiSquared())
    with pytest.raises(ConfigError, match="truncation"):
        DRAKES(truncation=0)
    arena = make_tunable(count_a)
    arena.reward = FunctionReward(lambda designs: [0.0] * len(designs), name="opaque")
    with pytest.raises(UnsupportedError, match="opaque is not; use PolicyGradient"):
        arena.outcome(DRAKES(), 4)
    with pytest.raises(UnsupportedError, match="gendesign finetune"):
        DRAKES()(arena.policy, None)


def test_what_was_fine_tuned_is_sampled_as_it_was() -> None:
    """Another temperature, or another scale of guidance, is another base: its KL would be of the two together."""
    shipped = "dna-yeast-promoter-drakes"
    method = DRAKES(tuned=shipped)
    assert method(load_backbone("dna-yeast-promoter"))
    with pytest.raises(UnsupportedError, match="fine-tuned at temperature 1, this backbone is at 0.3"):
        method(load_backbone("dna-yeast-promoter", temperature=0.3))

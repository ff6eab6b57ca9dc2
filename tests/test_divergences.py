"""Divergences against their definitions, and their best laws against a numerical maximiser."""

import math

import pytest
import torch
from torch import Tensor

from gendesign.divergences import AlphaDivergence, ChiSquared, Divergence, ReverseKL
from gendesign.errors import ConfigError

P = torch.tensor([0.35, 0.25, 0.2, 0.1, 0.07, 0.03], dtype=torch.float64)
Q = torch.tensor([0.1, 0.3, 0.05, 0.15, 0.2, 0.2], dtype=torch.float64)
R = torch.tensor([0.1, -0.4, 0.8, 1.5, 0.9, 2.0], dtype=torch.float64)
EVERY = [ReverseKL(), ChiSquared(), *(AlphaDivergence(a) for a in (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0))]


def name(divergence: Divergence) -> str:
    return f"{type(divergence).__name__}-{getattr(divergence, 'order', '')}"


def best_law(divergence: Divergence, alpha: float) -> Tensor:
    return (P.log() + divergence.log_weights(R, alpha, P.log())).softmax(-1)


def objective(divergence: Divergence, q: Tensor, alpha: float) -> Tensor:
    return (q * R).sum() - alpha * divergence.between(q.log(), P.log())


def test_values_of_known_divergences() -> None:
    kl = (Q * (Q / P).log()).sum()
    chi2 = (Q**2 / P).sum() - 1
    forward = (P * (P / Q).log()).sum()
    hellinger = 4 * (1 - (P * Q).sqrt().sum())  # order 1/2
    for divergence, expected in (
        (ReverseKL(), kl),
        (AlphaDivergence(1.0), kl),
        (AlphaDivergence(1 + 1e-7), kl),
        (ChiSquared(), chi2),
        (AlphaDivergence(2.0), chi2 / 2),
        (AlphaDivergence(0.0), forward),
        (AlphaDivergence(0.5), hellinger),
    ):
        torch.testing.assert_close(divergence.between(Q.log(), P.log()), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("divergence", EVERY, ids=name)
def test_mean_over_draws_is_the_divergence(divergence: Divergence) -> None:
    mean = (Q * divergence.per_draw((Q / P).log())).sum()
    torch.testing.assert_close(mean, divergence.between(Q.log(), P.log()))
    assert divergence.between(P.log(), P.log()).item() == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("divergence", EVERY, ids=name)
def test_weights_give_the_maximiser(divergence: Divergence, alpha: float) -> None:
    """No law found by gradient ascent is better, and its weights average to 1 under the base."""
    q = best_law(divergence, alpha)
    w = divergence.log_weights(R, alpha, P.log()).exp()
    if not isinstance(divergence, ReverseKL) and getattr(divergence, "order", 1) != 1:
        assert (P * w).sum().item() == pytest.approx(1.0, abs=1e-9)
    logits = P.log().clone().requires_grad_()
    ascent = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        ascent.zero_grad()
        loss = -objective(divergence, logits.softmax(-1).clamp(min=1e-30), alpha)
        loss.backward()
        return loss

    ascent.step(closure)
    found = logits.detach().softmax(-1)
    reached = objective(divergence, q.clamp(min=1e-300), alpha).item()
    assert reached >= objective(divergence, found, alpha).item() - 1e-7
    torch.testing.assert_close(q, found, atol=3e-3, rtol=0)


def test_reverse_kl_is_the_exponential_tilt_and_chi_squared_cuts_off() -> None:
    torch.testing.assert_close(best_law(ReverseKL(), 0.5), (P.log() + R / 0.5).softmax(-1))
    torch.testing.assert_close(best_law(AlphaDivergence(1.0), 0.5), best_law(ReverseKL(), 0.5))
    kept = best_law(ChiSquared(), 0.05) > 0
    assert 0 < int(kept.sum()) < len(P)


@pytest.mark.parametrize("alpha", [1e-12, 1e-3, 1e3, 1e12])
@pytest.mark.parametrize("divergence", EVERY, ids=name)
def test_no_temperature_overflows(divergence: Divergence, alpha: float) -> None:
    q = best_law(divergence, alpha)
    assert bool(q.isfinite().all()) and q.sum().item() == pytest.approx(1.0)
    if alpha >= 1e3:
        torch.testing.assert_close(q, P, atol=1e-2, rtol=0)
    if alpha <= 1e-3 and getattr(divergence, "order", 1.0) >= 1:
        assert int(q.argmax()) == int(R.argmax()) and q.max() > 0.9


def test_excluded_outcomes_and_rows_are_independent() -> None:
    rows = torch.stack([R, R.flip(0), R.masked_fill(R > 1, -math.inf)])
    for divergence in EVERY:
        weights = divergence.log_weights(rows, 0.4)
        assert bool((weights[2, R > 1] == -math.inf).all()) and bool(weights[2, R <= 1].isfinite().any())
        alone = divergence.log_weights(rows[1:2], 0.4)
        torch.testing.assert_close(weights[1:2], alone)


def test_certain_tokens_cost_nothing_and_have_a_gradient() -> None:
    logits = torch.tensor([0.3, -0.2], dtype=torch.float64, requires_grad=True)
    log_q = torch.stack([logits.log_softmax(0), torch.tensor([0.0, -math.inf], dtype=torch.float64)])
    log_p = torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64).log()
    for divergence in EVERY:
        values = divergence.between(log_q, log_p)
        assert values[0] > 0 and values[1] == 0
        (gradient,) = torch.autograd.grad(values.sum(), logits, retain_graph=True)
        assert bool(gradient.isfinite().all()) and gradient.abs().sum() > 0


@pytest.mark.parametrize("divergence", EVERY, ids=name)
def test_alpha_must_be_above_0(divergence: Divergence) -> None:
    with pytest.raises(ConfigError, match="alpha must be above 0"):
        divergence.log_weights(R, 0.0)


def test_order_must_be_finite() -> None:
    with pytest.raises(ConfigError, match="order"):
        AlphaDivergence(math.inf)

"""Masked diffusion against closed forms and exact enumerations.

Sahoo et al. 2024, arXiv 2406.07524; Zheng et al. 2024, arXiv 2409.02908; Wang et al. 2024 (DRAKES), arXiv 2410.13643.
"""

import itertools
import math

import pytest
import torch
from torch import Tensor

from gendesign.diffusion.in_order import InOrder
from gendesign.diffusion.masked import MaskedDiffusion, stratify
from gendesign.diffusion.schedules import Cosine, LogLinear
from gendesign.diffusion.unmasking import (
    Ancestral,
    FactorisedTransition,
    FirstHitting,
    KTokens,
    Unmasking,
    categorical,
)
from gendesign.errors import ConfigError

P = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
LOGITS = torch.tensor([1.0, 2.0, 0.5, -1.0, 3.0], dtype=torch.float64)
SUBS = torch.tensor([0.22420782, 0.60946004, 0.13598892, 0.03034323], dtype=torch.float64)
A, C, G, T, MASK = range(5)


class Fixed:
    """A network with the same logits everywhere."""

    time_conditioned = False

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.rows = 0

    def __call__(
        self, x: Tensor, t: Tensor | None = None, cond: object = None, mask: Tensor | None = None
    ) -> Tensor:
        self.rows += len(x)
        return self.logits.expand(*x.shape[:2], -1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ones(t: float, num: int = 1) -> Tensor:
    return torch.full((num,), t, dtype=torch.float64)


def test_subs_removes_mask_and_copies_unmasked_tokens() -> None:
    prediction = MaskedDiffusion(4).predict(Fixed(LOGITS), torch.tensor([[MASK, G]]), ones(0.5))
    expected = torch.tensor([-1.4951819, -0.4951819, -1.9951819, -3.4951819], dtype=torch.float64)
    torch.testing.assert_close(prediction.log_probs[0, 0], expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(prediction.log_probs[0, 0].exp(), SUBS, rtol=1e-6, atol=0)
    assert prediction.log_probs[0, 1].exp().tolist() == [0, 0, 1, 0]


def test_known_rows_cost_no_network_rows() -> None:
    network = Fixed(LOGITS)
    prediction = MaskedDiffusion(4).predict(network, torch.tensor([[A, C], [MASK, C], [T, G]]), ones(0.5, 3))
    assert (network.rows, prediction.rows) == (1, 1)
    assert prediction.mode().tolist() == [[A, C], [C, C], [T, G]]


@pytest.mark.parametrize("token", range(5))
def test_reverse_step_probabilities(token: int) -> None:
    process = MaskedDiffusion(4)
    x = torch.tensor([[MASK]])
    step = process.transition(process.predict(Fixed(LOGITS), x, ones(0.5)), x, ones(0.5), ones(0.25))
    expected = [0.11210391, 0.30473002, 0.06799446, 0.01517161, 0.5][token]
    assert step.log_prob(torch.tensor([[token]])).exp().item() == pytest.approx(expected, rel=1e-6)


def test_grid_unmask_probabilities() -> None:
    process = MaskedDiffusion(4)
    times = process.times(128, end=1e-5)
    m = process.schedule.mask_probability(times)
    reveal = 1 - m[1:] / m[:-1]
    for step, expected in [(0, 0.007812422), (64, 0.015624688), (127, 0.998721624)]:
        assert reveal[step].item() == pytest.approx(expected, rel=1e-6)
    assert LogLinear(0.0).mask_probability(times)[-1].item() == pytest.approx(1e-5)
    assert process.times(7)[-1].item() == 0


def test_bound_on_factorised_data_is_the_entropy() -> None:
    """Row 6: H(p) with m = t on (0, 1]; the training loss is (1 - eps) H."""
    entropy = -(P * P.log()).sum().item()
    assert entropy == pytest.approx(1.279854226, rel=1e-9)
    process, length = MaskedDiffusion(4, min_time=1e-2), 64
    x = categorical(P.log().expand(256, length, 4), 1, generator=generator(1))[0]
    bound = process.log_likelihood(Fixed(P.log()), x, num_times=64, generator=generator(2))
    exact = P.log()[x].sum(-1)
    # the exact denoiser of factorised data makes the bound tight for each design: only sampling noise is left
    assert (bound - exact).mean().item() / length == pytest.approx(0, abs=2e-3)
    loss = process.loss(Fixed(P.log()), x.repeat(40, 1), generator=generator(3)).mean() / length
    assert loss.item() == pytest.approx(-(1 - 1e-3) * exact.mean().item() / length, rel=5e-3)


def test_bound_counts_free_positions_only() -> None:
    x = torch.tensor([[A, C, G, T]])
    fixed = torch.tensor([[True, True, False, False]])
    mask = torch.tensor([[True, True, True, False]])
    process = MaskedDiffusion(4)
    bound = process.log_likelihood(
        Fixed(P.log()), x, num_times=20_000, generator=generator(), fixed=fixed, mask=mask
    )
    assert bound.item() == pytest.approx(math.log(0.2), rel=0.02)


def test_low_discrepancy_times() -> None:
    u = torch.tensor([0.1, 0.6, 0.3, 0.9], dtype=torch.float64)
    expected = torch.tensor([0.025975, 0.400600, 0.575425, 0.975025], dtype=torch.float64)
    torch.testing.assert_close(stratify(u, 1e-3), expected, rtol=1e-9, atol=0)


def test_first_hitting_takes_one_token_an_event() -> None:
    """Row 8: exactly L steps, and the first event happens at L/(L+1) on average."""
    process = MaskedDiffusion(4, schedule=LogLinear(0.0), unmasking=FirstHitting())
    length = 7
    x = torch.full((20_000, length), MASK)
    assert process.num_steps(1000, length) == length
    t = process.event_time(x, None, 0, process.times(length), generator=generator())
    assert t.mean().item() == pytest.approx(length / (length + 1), abs=3e-3)
    last = process.event_time(
        torch.full((2, length), A), t[:2], 1, process.times(length), generator=generator()
    )
    assert last.tolist() == [0, 0]


def test_gumbel_softmax_relaxation() -> None:
    """Row 10."""
    u = torch.tensor([0.2, 0.7, 0.5, 0.9, 0.3], dtype=torch.float64)
    transition = FactorisedTransition(SUBS.log()[None, None], torch.tensor([[MASK]]), ones(0.5))
    relaxed = transition.rsample(temperature=1.0, noise=u[None, None])[0, 0]
    expected = torch.tensor([0.0440458, 0.5402571, 0.0620306, 0.0910567, 0.2626099], dtype=torch.float64)
    torch.testing.assert_close(relaxed, expected, rtol=1e-6, atol=1e-7)
    assert transition.rsample(temperature=1e-3, noise=u[None, None]).argmax().item() == 1


@pytest.mark.parametrize("unmasking", [Ancestral(), KTokens(2)])
def test_relaxation_copies_known_tokens_and_carries_gradient(unmasking: Unmasking) -> None:
    process = MaskedDiffusion(4, unmasking=unmasking)
    logits = LOGITS.clone().requires_grad_()
    x = torch.tensor([[MASK, G, MASK]])
    step = process.transition(process.predict(Fixed(logits), x, ones(0.5)), x, ones(0.5), ones(0.25))
    relaxed = step.rsample(temperature=0.5, generator=generator())
    assert relaxed[0, 1].tolist() == [0, 0, 1, 0, 0]
    torch.testing.assert_close(relaxed.sum(-1), torch.ones(1, 3, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(relaxed[0, 0, 0] + relaxed[0, 2, 1], logits)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def test_path_kl_does_not_depend_on_the_grid() -> None:
    """Row 11: 200 tokens, two constant token laws; the path KL is 200 times the KL of a token."""
    new = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64)
    token = (new * (new / P).log()).sum().item()
    assert token == pytest.approx(0.030478754, rel=1e-6)

    def path_kl(steps: int, end: float) -> float:
        process = MaskedDiffusion(4)
        times, total = process.times(steps, end=end), 0.0
        x = torch.full((1, 200), MASK)
        m = process.schedule.mask_probability(times)
        for k in range(steps):
            t, s = times[k : k + 1], times[k + 1 : k + 2]
            step = process.transition(process.predict(Fixed(new.log()), x, t), x, t, s)
            base = process.transition(process.predict(Fixed(P.log()), x, t), x, t, s)
            total += (m[k] / m[0] * step.kl(base)).item()  # the share of tokens still masked at t
        return total

    assert path_kl(16, 0.0) == pytest.approx(6.095751, rel=1e-6)
    assert path_kl(128, 0.0) == pytest.approx(6.095751, rel=1e-6)
    assert path_kl(128, 1e-5) == pytest.approx(6.095690, rel=1e-6)


@pytest.mark.parametrize(
    "unmasking", [Ancestral(), FirstHitting(), KTokens(2), KTokens(5), InOrder(), InOrder(G)]
)
def test_transition_is_a_distribution_and_samples_from_it(unmasking: Unmasking) -> None:
    """log_prob sums to one over every state, and frequencies of samples agree with it."""
    process = MaskedDiffusion(4, unmasking=unmasking, schedule=Cosine())
    x = torch.tensor([[MASK, C, MASK, MASK]])
    step = process.transition(process.predict(Fixed(LOGITS), x, ones(0.8)), x, ones(0.8), ones(0.3))
    states = torch.tensor(list(itertools.product(range(5), repeat=4)))
    log_probs = torch.cat([step.log_prob(state[None]) for state in states])
    assert log_probs.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    drawn = step.sample(40_000, generator=generator())[:, 0]
    index = (drawn * torch.tensor([125, 25, 5, 1])).sum(-1)
    frequency = torch.bincount(index, minlength=625) / len(drawn)
    assert 0.5 * (frequency - log_probs.exp()).abs().sum().item() < 0.02


@pytest.mark.parametrize("unmasking", [Ancestral(), FirstHitting(), KTokens(2), InOrder(), InOrder(G)])
def test_transition_kl_matches_enumeration(unmasking: Unmasking) -> None:
    process = MaskedDiffusion(4, unmasking=unmasking)
    x = torch.tensor([[MASK, C, MASK]])
    t, s = ones(0.8), ones(0.3)
    step = process.transition(process.predict(Fixed(LOGITS), x, t), x, t, s)
    base = process.transition(process.predict(Fixed(P.log()), x, t), x, t, s)
    states = torch.tensor(list(itertools.product(range(5), repeat=3)))
    new = torch.cat([step.log_prob(state[None]) for state in states])
    old = torch.cat([base.log_prob(state[None]) for state in states])
    expected = torch.where(new > -torch.inf, new.exp() * (new - old), 0.0).sum()
    torch.testing.assert_close(step.kl(base).sum(), expected)


def test_per_design_times() -> None:
    process = MaskedDiffusion(4)
    x = torch.full((2, 1), MASK)
    t, s = torch.tensor([0.5, 0.9], dtype=torch.float64), torch.tensor([0.25, 0.3], dtype=torch.float64)
    step = process.transition(process.predict(Fixed(LOGITS), x, t), x, t, s)
    torch.testing.assert_close(step.log_prob(x).exp(), s / t)


def test_categorical_keeps_small_probabilities() -> None:
    """Row 9: an event of probability 1e-9 is drawn at its rate, which float32 Gumbel noise cannot do."""
    log_probs = torch.tensor([[[math.log1p(-1e-6), math.log(1e-6)]]], dtype=torch.float64)
    drawn = categorical(log_probs, 20_000_000, generator=generator(5))
    assert drawn.sum().item() == pytest.approx(20, abs=15)
    never = torch.tensor([[[-torch.inf, 0.0, -torch.inf]]], dtype=torch.float64)
    assert set(categorical(never, 10_000, generator=generator()).unique().tolist()) == {1}


def test_corrupt_masks_at_each_designs_rate_and_spares_fixed_positions() -> None:
    process = MaskedDiffusion(4, schedule=LogLinear(0.0))
    x = torch.zeros(2, 50_000, dtype=torch.long)
    fixed = torch.zeros(50_000, dtype=torch.bool)
    fixed[:1000] = True
    x_t = process.corrupt(x, torch.tensor([0.2, 0.7]), generator=generator(), fixed=fixed)
    assert not (x_t[:, :1000] == MASK).any()
    rates = (x_t[:, 1000:] == MASK).double().mean(-1)
    torch.testing.assert_close(rates, torch.tensor([0.2, 0.7], dtype=torch.float64), atol=0.01, rtol=0)


def test_prior_keeps_a_template() -> None:
    template = torch.tensor([A, MASK, T])
    assert (
        MaskedDiffusion(4).prior(2, 3, generator=generator(), template=template).tolist()
        == [[A, MASK, T]] * 2
    )
    assert MaskedDiffusion(4).prior(1, 3, generator=generator()).tolist() == [[MASK] * 3]


@pytest.mark.parametrize(
    "make",
    [
        lambda: MaskedDiffusion(1),
        lambda: MaskedDiffusion(4, min_time=0.0),
        lambda: MaskedDiffusion(4, min_time=2.0),
    ]
    + [lambda: KTokens(0), lambda: MaskedDiffusion(4).times(0)],
)
def test_bad_arguments_are_refused(make: object) -> None:
    with pytest.raises(ConfigError):
        make()  # type: ignore[operator]


def test_relaxation_needs_a_positive_temperature() -> None:
    transition = FactorisedTransition(SUBS.log()[None, None], torch.tensor([[MASK]]), ones(0.5))
    with pytest.raises(ConfigError, match="temperature"):
        transition.rsample(temperature=0.0, generator=generator())

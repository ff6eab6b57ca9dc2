"""Unmasking from the first position on: which positions, how often the network is asked, and that laws are kept."""

import itertools

import pytest
import torch
from torch import Tensor

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.diffusion.in_order import InOrder, OrderedTransition
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.twisted import twist
from gendesign.errors import ConfigError
from gendesign.models.tabular import TabularDenoiser
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import run_sampler
from gendesign.steering.unsteered import Unsteered

A, C, G, PAD, MASK = range(5)
P = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def step(x: list[list[int]], pad: int | None = PAD) -> OrderedTransition:
    ids = torch.tensor(x)
    return OrderedTransition(P.log().expand(*ids.shape, 4), ids, pad)


def test_the_first_masked_position_is_revealed_and_pad_settles_what_follows_up_to_the_next_known_one() -> (
    None
):
    law = step([[A, MASK, MASK, C, MASK], [MASK, G, MASK, MASK, MASK]])
    drawn = law.sample(20_000, generator=generator())
    for row, rest in ((0, [C, MASK]), (1, [G, MASK, MASK, MASK])):
        states = {tuple(state) for state in drawn[:, row].tolist()}
        if row == 0:
            assert states == {(A, v, MASK, *rest) for v in (A, C, G)} | {(A, PAD, PAD, *rest)}
        else:
            assert states == {(v, *rest) for v in range(4)}
    ended = (drawn[:, 0, 1] == PAD).double().mean().item()
    assert ended == pytest.approx(P[PAD].item(), abs=0.01)


def test_without_a_pad_nothing_is_settled() -> None:
    drawn = step([[MASK, MASK]], pad=None).sample(2000, generator=generator())
    assert {tuple(state) for state in drawn[:, 0].tolist()} == {(v, MASK) for v in range(4)}


def test_a_design_with_nothing_masked_stays() -> None:
    law = step([[A, C]])
    assert law.sample(3, generator=generator()).tolist() == [[[A, C]]] * 3
    assert law.log_prob(torch.tensor([[A, C]])).item() == 0
    assert law.log_prob(torch.tensor([[A, G]])).item() == -torch.inf


def test_steps_in_order_give_the_law_of_the_network() -> None:
    """The chain rule: designs have probability p(x_1) p(x_2 | x_1) ..., which a table holds."""
    law = torch.rand(64, dtype=torch.float64, generator=generator(3)) ** 2
    law = law / law.sum()
    process = MaskedDiffusion(4, unmasking=InOrder())
    backbone = Backbone(DNACodec(3), process, TabularDenoiser(4, 3).set_law(law)).eval()
    designs = backbone.codec.encode(backbone.sample(20_000, seed=0))
    index = (designs * torch.tensor([16, 4, 1])).sum(-1)
    found = torch.bincount(index, minlength=64) / len(designs)
    assert 0.5 * (found - law).abs().sum().item() < 0.03


def test_a_design_costs_as_many_rows_as_it_has_letters() -> None:
    """A network that says A, A, PAD: three questions a design of seven places."""

    class AAEnd(TabularDenoiser):
        def forward(self, x: Tensor, t: object = None, cond: object = None, mask: object = None) -> Tensor:
            logits = torch.full((*x.shape, 4), -torch.inf)
            logits[:, :2, A] = 0.0
            logits[:, 2:, PAD] = 0.0
            return logits

    backbone = Backbone(DNACodec(7), MaskedDiffusion(4, unmasking=InOrder(PAD)), AAEnd(4, 1)).eval()
    plan = make_plan(backbone, steps=100)
    assert plan.steps == 7
    final = run_sampler(Unsteered()(backbone), 5, plan, generator=generator())
    assert final.x.tolist() == [[A, A, *[PAD] * 5]] * 5
    assert final.cost.network_rows <= 3 * 5


def test_relaxed_steps_are_the_hard_ones_at_low_temperature_and_carry_a_gradient() -> None:
    x = torch.tensor([[A, MASK, MASK, C, MASK]]).expand(400, -1)
    logits = P.log().clone().requires_grad_()
    law = OrderedTransition(logits.log_softmax(-1).expand(*x.shape, 4), x, PAD)
    relaxed = law.rsample(temperature=1e-3, generator=generator())
    torch.testing.assert_close(relaxed.sum(-1), torch.ones(x.shape, dtype=torch.float64))
    states = {tuple(state) for state in relaxed.argmax(-1).tolist()}
    assert states == {(A, v, MASK, C, MASK) for v in (A, C, G)} | {(A, PAD, PAD, C, MASK)}
    warm = law.rsample(temperature=1.0, generator=generator())
    (gradient,) = torch.autograd.grad(warm[:, 2, PAD].sum(), logits)  # through what PAD settles
    assert gradient[PAD] > 0 and gradient.isfinite().all()


def test_what_a_draw_stands_for_is_a_state_of_the_step() -> None:
    """PAD as the likeliest token of many holds less than half: what follows is PAD all the same."""
    law = step([[MASK, MASK, MASK, C, MASK]] * 20_000)
    settled = law.settled(law.rsample(temperature=1.0, generator=generator()))
    assert {tuple(state) for state in settled.tolist()} == {
        (v, PAD if v == PAD else MASK, PAD if v == PAD else MASK, C, MASK) for v in range(4)
    }
    found = torch.bincount(settled[:, 0], minlength=4) / len(settled)
    torch.testing.assert_close(found.double(), P, atol=0.012, rtol=0)


def test_divergences_count_the_revealed_position_only() -> None:
    x = torch.tensor([[MASK, MASK, A]])
    other = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    new, old = step([[MASK, MASK, A]]), OrderedTransition(other.log().expand(1, 3, 4), x, PAD)
    assert new.kl(old).item() == pytest.approx((P * (P / other).log()).sum().item())
    assert new.reveal.tolist() == [[1, 0, 0]]


def test_tilted_steps_stay_in_order() -> None:
    tilt = torch.zeros(1, 2, 4, dtype=torch.float64)
    tilt[0, 0, G] = 2.0
    law = twist(step([[MASK, MASK]]), tilt)
    expected = P * tilt[0, 0].exp()
    expected = expected / expected.sum()
    for v in range(4):
        state = torch.tensor([[v, PAD if v == PAD else MASK]])
        assert law.log_prob(state).exp().item() == pytest.approx(expected[v].item())


def test_every_state_is_counted_once() -> None:
    law = step([[MASK, A, MASK]])
    states = torch.tensor(list(itertools.product(range(5), repeat=3)))
    total = sum(law.log_prob(state[None]).exp().item() for state in states)
    assert total == pytest.approx(1.0)


def test_a_pad_is_a_token() -> None:
    with pytest.raises(ConfigError, match="pad"):
        InOrder(-1)

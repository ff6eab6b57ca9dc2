"""The tilted target on enumerable spaces, and what selection does to it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Generator

from gendesign.steering.resampling import choose
from gendesign.steering.svdd import SVDD
from gendesign.steering.value import PosteriorMode

LETTERS = (0.4, 0.3, 0.2, 0.1)
MASK = 4


def count_a(design: str) -> float:
    return float(design.count("A"))


def is_acg(design: str) -> float:
    return 3.0 * (design == "ACG")


def test_number_of_a(make_arena: Any) -> None:
    arena = make_arena(LETTERS, count_a, length=3, alpha=0.5)
    log_z = (arena.p.log() + arena.r / arena.alpha).logsumexp(0)
    target = arena.target
    assert log_z.exp().item() == pytest.approx(44.951782, rel=1e-6)
    assert (target * arena.r).sum().item() == pytest.approx(2.493760, rel=1e-6)
    kl = (target * (target / arena.p).log()).sum().item()
    assert kl == pytest.approx(1.181929, rel=1e-6)
    assert target[arena.designs.index("AAA")].item() == pytest.approx(0.574381, rel=1e-6)
    assert 0.5 * log_z.item() == pytest.approx(1.902795, rel=1e-6)
    assert (target * arena.r).sum().item() - 0.5 * kl == pytest.approx(0.5 * log_z.item(), rel=1e-9)


def test_values_and_the_blindness_of_mode_look_ahead(make_arena: Any) -> None:
    arena = make_arena(LETTERS, is_acg, length=3, alpha=0.5)
    log_z = (arena.p.log() + arena.r / arena.alpha).logsumexp(0)
    assert log_z.exp().item() == pytest.approx(10.658291, rel=1e-6)
    assert arena.target[arena.designs.index("ACG")].item() == pytest.approx(0.908428, rel=1e-6)
    states = torch.tensor([[MASK, MASK, MASK], [0, MASK, MASK], [0, 1, MASK]])
    soft = arena.soft_values[arena.denoiser.index(states)]
    expected = torch.tensor([1.183169, 1.612344, 2.200214], dtype=torch.float64)
    torch.testing.assert_close(soft, expected, rtol=1e-6, atol=0)
    joint = arena.denoiser.joint[arena.denoiser.index(states)]
    mean = (joint * arena.r).sum(-1) / joint.sum(-1)
    torch.testing.assert_close(
        mean, torch.tensor([0.072, 0.18, 0.60], dtype=torch.float64), rtol=1e-6, atol=0
    )

    t = torch.full((3,), 0.5, dtype=torch.float64)
    prediction = arena.backbone.process.predict(arena.denoiser, states, t)
    mode = PosteriorMode()(
        arena.reward, arena.backbone.codec, states, t, prediction, alpha=0.5, generator=Generator()
    )
    assert mode.values.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("num", "argmax", "expected"),
    [(1, False, 0.4), (2, False, 0.582783), (10, False, 0.799578), (2, True, 0.64), (10, True, 0.993953)],
)
def test_selecting_one_of_m(make_arena: Any, num: int, argmax: bool, expected: float) -> None:
    """By enumeration of how many of the M candidates are A, and by SVDD of one letter: A is worth 2 alpha."""
    total = 0.0
    for hits in range(num + 1):
        log_w = torch.tensor([2.0] * hits + [0.0] * (num - hits), dtype=torch.float64)
        if argmax:
            log_w = torch.where(log_w == log_w.max(), 0.0, -torch.inf)
        picks_a = log_w.softmax(0)[:hits].sum().item()
        total += math.comb(num, hits) * 0.4**hits * 0.6 ** (num - hits) * picks_a
    assert total == pytest.approx(expected, rel=1e-6)
    letters = (0.4, 0.3, 0.2, 0.1)
    arena = make_arena(letters, lambda design: 2.0 * design.count("A"), length=1, alpha=1.0)
    method = SVDD(num, 1.0, selection="argmax" if argmax else "categorical")
    found = arena.frequencies(method, 20_000)[arena.designs.index("A")].item()
    assert found == pytest.approx(expected, abs=4 * math.sqrt(0.25 / 20_000))


def test_choose_draws_with_its_weights() -> None:
    log_w = torch.tensor([[2.0, 0.0, -torch.inf, 1.0]], dtype=torch.float64)
    drawn = choose(log_w.expand(100_000, -1), generator=Generator().manual_seed(0))
    frequency = torch.bincount(drawn, minlength=4) / len(drawn)
    torch.testing.assert_close(frequency.double(), log_w[0].softmax(0), atol=5e-3, rtol=0)


def test_tabular_denoiser_gives_exact_marginals(make_arena: Any, random_law: Any) -> None:
    """The arena itself: sequential products of its marginals give back p, in any order of positions."""
    arena = make_arena(random_law(3, 1), count_a, length=3, alpha=1.0)
    for order in itertools.permutations(range(3)):
        for design in ("ACG", "TTA"):
            x, log_p = torch.full((1, 3), MASK), 0.0
            clean = arena.backbone.codec.encode([design])
            for position in order:
                log_p += arena.denoiser(x)[0, position, clean[0, position]].item()
                x[0, position] = clean[0, position]
            assert log_p == pytest.approx(arena.p[arena.designs.index(design)].log().item(), rel=1e-9)

"""Algebra of rewards: values, statuses, deviations, gradients."""

import math

import jaxtyping
import numpy as np
import pytest
import torch

from gendesign.building import build, describe
from gendesign.codecs import DNACodec, RNACodec
from gendesign.errors import ConfigError, RewardError, UnsupportedError
from gendesign.rewards import (
    Difference,
    DifferentiableReward,
    FunctionReward,
    GCContent,
    LowerConfidenceBound,
    Product,
    Reward,
    Scores,
    Status,
    Threshold,
    WeightedSum,
)

DESIGNS = ["AACG", "GGCC", "TTTT", "ACGT"]


class Linear(DifferentiableReward):
    """Weighted letters, with a known standard deviation."""

    unit, alphabet = "points", "ACGT"

    def __init__(self, weights: list[float], *, std: float = 0.0) -> None:
        self.weights, self.std = torch.tensor(weights, dtype=torch.float64), std

    def relaxed(self, x):  # type: ignore[no-untyped-def]
        return (x * self.weights.to(x)).sum((1, 2))

    def relaxed_moments(self, x):  # type: ignore[no-untyped-def]
        return self.relaxed(x), torch.full((len(x),), self.std, dtype=x.dtype)

    def score(self, designs):  # type: ignore[no-untyped-def]
        return Scores(self.relaxed(one_hot(designs)).numpy(), std=np.full(len(designs), self.std))


class Fixed(Reward):
    """One status for all."""

    def __init__(self, status: str) -> None:
        self.status = status

    def score(self, designs):  # type: ignore[no-untyped-def]
        return Scores(
            np.zeros(len(designs)), (Status(self.status),) * len(designs), message=("why",) * len(designs)
        )


def one_hot(designs: list[str]) -> torch.Tensor:
    return torch.nn.functional.one_hot(DNACodec(len(designs[0])).encode(designs), 4).double()


A, B = Linear([1.0, 2.0, 0.0, 0.0], std=0.3), Linear([0.0, 1.0, 1.0, 5.0], std=0.4)
a, b = A(DESIGNS).values, B(DESIGNS).values
COMPOSED = [
    (WeightedSum([A, B], weights=[2.0, -0.5]), 2 * a - 0.5 * b, np.full(4, math.hypot(0.6, 0.2))),
    (Difference(A, B), a - b, np.full(4, 0.5)),
    (Product([A, B]), a * b, np.hypot(0.3 * b, 0.4 * a)),
    (Threshold(A, B, at_most=100.0), a, np.full(4, 0.3)),
    (Threshold(A, B, at_most=2.0, penalty=3.0), a - 3 * np.maximum(b - 2, 0), np.hypot(0.3, 1.2 * (b > 2))),
    (Threshold(A, B, at_least=6.0, penalty=3.0), a - 3 * np.maximum(6 - b, 0), np.hypot(0.3, 1.2 * (b < 6))),
    (LowerConfidenceBound(A, kappa=2.0), a - 0.6, np.full(4, 0.3)),
    (LowerConfidenceBound(Difference(A, B), kappa=2.0), a - b - 1.0, np.full(4, 0.5)),
]


@pytest.mark.parametrize(("reward", "values", "std"), COMPOSED, ids=lambda v: getattr(v, "name", ""))
def test_values_deviations_and_gradients_follow_the_formula(
    reward: Reward, values: np.ndarray, std: np.ndarray
) -> None:
    scores = reward(DESIGNS)
    np.testing.assert_allclose(scores.values, values)
    np.testing.assert_allclose(scores.std, std)
    assert reward.differentiable and reward.alphabet == "ACGT" and "points" in reward.unit
    x = one_hot(DESIGNS).requires_grad_()
    relaxed = reward.relaxed(x)
    np.testing.assert_allclose(relaxed.detach().numpy(), values, atol=1e-5)
    (gradient,) = torch.autograd.grad(relaxed.sum(), x)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


@pytest.mark.parametrize("worse", ["INVALID", "FAILED", "TIMED_OUT"])
@pytest.mark.parametrize(
    "make",
    [
        lambda p, q: WeightedSum([p, q]),
        Difference,
        lambda p, q: Product([q, p]),
        lambda p, q: Threshold(p, q, at_least=-9.0),
    ],
)
def test_the_worst_status_wins_and_no_value_is_guessed(make, worse: str) -> None:  # type: ignore[no-untyped-def]
    scores = make(A, Fixed(worse))(DESIGNS)
    assert set(scores.status) == {Status(worse)}
    assert np.isnan(scores.values).all()
    assert "Fixed: why" in scores.message[0]


def test_timed_out_is_worse_than_failed_is_worse_than_invalid() -> None:
    assert WeightedSum([Fixed("FAILED"), Fixed("TIMED_OUT"), Fixed("INVALID")])(["A"]).status == (
        Status.TIMED_OUT,
    )
    assert WeightedSum([Fixed("FAILED"), Fixed("INVALID")])(["A"]).status == (Status.FAILED,)


def test_a_zero_factor_does_not_hide_a_missing_value() -> None:
    assert np.isnan(Product([Linear([0, 0, 0, 0]), Fixed("FAILED")])(["ACGT"]).values).all()


def test_threshold_without_penalty_excludes() -> None:
    scores = Threshold(A, B, at_least=2.0, at_most=5.0)(DESIGNS)
    inside = (b >= 2) & (b <= 5)
    assert 0 < inside.sum() < 4
    assert [s is Status.OK for s in scores.status] == inside.tolist()
    np.testing.assert_array_equal(scores.values[inside], a[inside])
    assert "outside [2, 5]" in scores.message[int(np.flatnonzero(~inside)[0])]


def test_a_strict_threshold_excludes_and_guides_by_its_penalty() -> None:
    """Nested ones too: the guide has a value everywhere, and equals the reward wherever that has one."""
    inner = Threshold(A, A, at_most=1.5, penalty=2.0, strict=True)
    reward = Threshold(inner, B, at_least=1.0, penalty=3.0, strict=True, name="both")
    scores, guide = reward(DESIGNS), reward.guide
    inside = (a <= 1.5) & (b >= 1)
    assert 0 < inside.sum() < 4 and [s is Status.OK for s in scores.status] == inside.tolist()
    np.testing.assert_array_equal(scores.values[inside], a[inside])
    np.testing.assert_allclose(scores.std[inside], 0.3)  # type: ignore[index]
    seen = guide(DESIGNS)
    assert seen.ok.all() and guide.label == "both"
    np.testing.assert_allclose(seen.values, a - 2 * np.maximum(a - 1.5, 0) - 3 * np.maximum(1 - b, 0))
    loose = Threshold(A, B, at_least=1.0, penalty=3.0)
    assert loose.guide is loose and A.guide is A


def test_whatever_is_made_of_a_strict_threshold_is_guided_by_its_penalty() -> None:
    strict = Threshold(B, A, at_most=1.5, penalty=3.0, strict=True)
    outer = Threshold(strict, B, at_least=1.0, penalty=2.0)
    total = WeightedSum([strict, A], weights=[1.0, 2.0])
    penalised = b - 3 * np.maximum(a - 1.5, 0)
    for reward, wanted in ((outer, penalised - 2 * np.maximum(1 - b, 0)), (total, penalised + 2 * a)):
        seen = reward.guide(DESIGNS)
        assert not reward(DESIGNS).ok.all() and seen.ok.all()
        np.testing.assert_allclose(seen.values, wanted)


def test_a_composition_is_differentiable_only_if_all_parts_are() -> None:
    count = FunctionReward(len, each=True, name="count")
    for reward in (
        WeightedSum([A, count]),
        Difference(count, A),
        Product([A, count]),
        Threshold(A, count, at_least=0.0),
    ):
        assert not reward.differentiable
        with pytest.raises(UnsupportedError, match="count"):
            reward.relaxed(one_hot(DESIGNS))
    nested = WeightedSum([Difference(A, count)])
    assert not nested.differentiable


def test_sum_of_one_part_with_deviation_and_one_without() -> None:
    np.testing.assert_allclose(WeightedSum([A, GCContent()])(DESIGNS).std, 0.3)
    assert WeightedSum([GCContent()])(DESIGNS).std is None


def test_a_bound_needs_a_deviation() -> None:
    bound = LowerConfidenceBound(GCContent())
    with pytest.raises(RewardError, match="gc-content"):
        bound(DESIGNS)
    with pytest.raises(UnsupportedError, match="gc-content"):
        bound.relaxed(one_hot(DESIGNS))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WeightedSum([]), "needs rewards"),
        (lambda: WeightedSum([A, B], weights=[1.0]), "2 rewards needs as many weights, got 1"),
        (lambda: WeightedSum([A], weights=[math.nan]), "finite"),
        (lambda: Threshold(A, B), "at_least"),
        (lambda: Threshold(A, B, at_least=2.0, at_most=1.0), "allows nothing"),
        (lambda: Threshold(A, B, at_least=2.0, penalty=0.0), "penalty"),
        (lambda: Threshold(A, B, at_least=2.0, strict=True), "needs a penalty"),
        (lambda: LowerConfidenceBound(A, kappa=-1.0), "kappa"),
    ],
)
def test_wrong_arguments_are_refused(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        make()


def test_what_is_not_a_reward_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        jaxtyping.config, "jaxtyping_disable", True
    )  # as in use: YAML may say rewards: [A, 3]
    with pytest.raises(ConfigError, match="needs rewards, got 3"):
        WeightedSum([A, 3])  # type: ignore[list-item]


def test_parts_must_share_an_alphabet() -> None:
    class RNA(Linear):
        alphabet = RNACodec(1).alphabet

    with pytest.raises(ConfigError, match="ACGT and ACGU"):
        WeightedSum([A, RNA([0, 0, 0, 0])])


def test_units_and_sources_propagate() -> None:
    assert WeightedSum([A, B]).unit == "points" and WeightedSum([A, GCContent()]).unit == "mixed units"
    assert Product([A, GCContent()]).unit == "points x fraction"
    assert Threshold(A, GCContent(), at_least=0.0).unit == "points"
    assert Difference(A, GCContent()).name == "Linear - gc-content"


def test_a_composition_is_rebuilt_from_its_description() -> None:
    reward = Threshold(GCContent(), WeightedSum([GCContent(target=[0.2, 0.6])], weights=[2.0]), at_least=-0.1)
    again = build(describe(reward), kinds=(Reward,))
    np.testing.assert_array_equal(again(DESIGNS).values, reward(DESIGNS).values)


def test_parts_that_give_one_reason_give_it_once() -> None:
    scores = WeightedSum([GCContent(), Difference(GCContent(), A)])(["ACGU"])
    assert scores.status == (Status.INVALID,) and scores.message[0].count("expected letters ACGT") >= 1
    alone = WeightedSum([GCContent(), GCContent(target=[0.2, 0.6])])(["ACGU"])
    assert alone.message == GCContent()(["ACGU"]).message

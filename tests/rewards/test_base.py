"""The guarded call: statuses, order, counts, and which designs a failure costs."""

import pickle

import numpy as np
import pytest
import torch

from gendesign.building import describe
from gendesign.errors import DesignError, MissingExtraError, RewardError, UnsupportedError
from gendesign.rewards import DifferentiableReward, FunctionReward, GCContent, Reward, Scores, Status


def lengths(designs: list[str]) -> list[float]:
    return [float(len(d)) for d in designs]


def fussy(designs: list[str]) -> list[float]:
    """Raises for a batch that holds "bad" or "alien", gives NaN for "nan" and inf for "inf"."""
    if "bad" in designs:
        raise ZeroDivisionError("\n  bad design\nsecond line")
    if "alien" in designs:
        raise DesignError("expected DNA, got alien")
    return [float(d) if d in ("nan", "inf") else len(d) for d in designs]


def test_one_bad_design_costs_only_itself() -> None:
    scores = FunctionReward(fussy)(["a", "bad", "bbb", "nan", "alien", "inf", "cc"])
    wanted = [Status.OK, Status.FAILED, Status.OK, Status.FAILED, Status.INVALID, Status.FAILED, Status.OK]
    assert list(scores.status) == wanted
    assert scores.values[[0, 2, 6]].tolist() == [1, 3, 2]
    assert np.isnan(scores.values[[1, 3, 4, 5]]).all()
    assert scores.message[1] == "ZeroDivisionError: bad design"
    assert "nan" in scores.message[3] and "inf" in scores.message[5] and "expected DNA" in scores.message[4]
    assert scores.counts() == {Status.OK: 3, Status.INVALID: 1, Status.FAILED: 3}


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_wrong_number_of_values_is_an_error_that_names_both_counts(extra: int) -> None:
    reward = FunctionReward(lambda designs: [0.0] * (len(designs) + extra), name="short")
    with pytest.raises(RewardError, match=rf"'short'.*given 3 designs.*3 values, got {3 + extra}"):
        reward(["a", "b", "c"])


@pytest.mark.parametrize(
    ("result", "message"),
    [(None, "list of 2 numbers.*NoneType"), (0.5, "one number"), ("ab", "got str"), ({}, "got 0|dict")],
)
def test_something_else_than_a_list_of_numbers_is_an_error(result: object, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        FunctionReward(lambda designs: result)(["a", "b"])


def test_a_table_of_values_is_an_error() -> None:
    with pytest.raises(RewardError, match=r"shape \(2, 1\)"):
        FunctionReward(lambda designs: np.zeros((len(designs), 1)))(["a", "b"])


def test_scores_with_another_length_are_an_error() -> None:
    with pytest.raises(RewardError, match="given 2 designs"):
        FunctionReward(lambda designs: Scores(np.zeros(3)))(["a", "b"])


def test_a_single_string_is_an_error() -> None:
    with pytest.raises(RewardError, match="list of designs"):
        FunctionReward(lengths)("ACGT")


def test_an_error_of_gendesign_is_not_a_failed_design() -> None:
    def needs_package(designs: list[str]) -> list[float]:
        raise MissingExtraError("rdkit", "molecules")

    with pytest.raises(MissingExtraError):
        FunctionReward(needs_package)(["a", "b"])


def test_repeats_are_scored_once_and_come_back_in_order() -> None:
    seen: list[str] = []

    def spy(designs: list[str]) -> list[float]:
        seen.extend(designs)
        return lengths(designs)

    scores = FunctionReward(spy)(["aa", "b", "aa", "ccc", "b"])
    assert scores.values.tolist() == [2, 1, 2, 3, 1]
    assert seen == ["aa", "b", "ccc"]


def test_permuting_designs_permutes_scores() -> None:
    designs = ["a", "bad", "bbb", "nan", "alien", "cc", "a"]
    order = [4, 2, 6, 0, 1, 5, 3]
    scores, permuted = FunctionReward(fussy)(designs), FunctionReward(fussy)([designs[i] for i in order])
    np.testing.assert_array_equal(permuted.values, scores.values[order])
    assert permuted.status == tuple(scores.status[i] for i in order)


def test_unreadable_designs_are_invalid_and_never_reach_the_reward() -> None:
    class NoX(Reward):
        def unreadable(self, design: str) -> str:
            return "has an X" if "X" in design else ""

        def score(self, designs):  # type: ignore[no-untyped-def]
            assert not any("X" in d for d in designs)
            return torch.tensor(lengths(designs))

    scores = NoX()(["X", "aa", "XX", "b"])
    assert scores.values[[1, 3]].tolist() == [2, 1]
    assert scores.status[0] is scores.status[2] is Status.INVALID
    assert scores.message[0] == "has an X"
    assert NoX()(["X"]).status == (Status.INVALID,)
    assert len(NoX()([])) == 0


def test_a_function_of_one_design() -> None:
    assert FunctionReward(len, each=True)(["ab", "c"]).values.tolist() == [2, 1]


def test_a_function_of_one_design_is_asked_once_of_each_whichever_fail() -> None:
    asked = []

    def lengthy(design: str) -> float:
        asked.append(design)
        return 1 / (len(design) % 3)

    scores = FunctionReward(lengthy, each=True)(["A" * n for n in range(1, 10)])
    assert asked == ["A" * n for n in range(1, 10)]
    assert [s is Status.FAILED for s in scores.status] == [n % 3 == 0 for n in range(1, 10)]
    np.testing.assert_array_equal(scores.values[[0, 1]], [1.0, 0.5])


def test_a_function_given_as_text_is_refused_with_the_way_to_name_one() -> None:
    with pytest.raises(RewardError, match="trust="):
        FunctionReward("my_module.gc")  # type: ignore[arg-type]


def test_a_function_reward_describes_itself_by_path() -> None:
    assert describe(FunctionReward(lengths, unit="letters"))["init_args"]["function"].endswith(
        "test_base.lengths"
    )


def test_a_reward_without_gradient_says_what_to_use() -> None:
    with pytest.raises(UnsupportedError, match="SVDD"):
        FunctionReward(lengths).relaxed(torch.zeros(1, 2, 4))
    assert not FunctionReward(lengths).differentiable
    assert DifferentiableReward.differentiable


def test_scores_have_a_value_only_where_ok() -> None:
    scores = Scores(
        np.array([1.0, 2.0, 3.0]), (Status.OK, Status.TIMED_OUT, Status.OK), np.array([0.1, 0.2, 0.3])
    )
    np.testing.assert_array_equal(scores.values, [1, np.nan, 3])
    np.testing.assert_array_equal(scores.std, [0.1, np.nan, 0.3])
    assert scores.ok.tolist() == [True, False, True]
    picked = scores.subset([2, 1])
    np.testing.assert_array_equal(picked.values, [3, np.nan])
    assert picked.status == (Status.OK, Status.TIMED_OUT)
    assert len(scores.subset(scores.ok)) == 2


def test_no_score_is_a_negative_zero() -> None:
    assert str(GCContent(target=[0.2, 0.8])(["ACGT"]).values.tolist()) == "[0.0]"


def test_a_tensor_of_half_precision_is_a_list_of_numbers() -> None:
    scores = FunctionReward(lambda designs: torch.tensor([0.5, 2.0], dtype=torch.bfloat16))(["A", "C"])
    assert scores.ok.all() and scores.values.tolist() == [0.5, 2.0]


def test_scores_of_different_lengths_are_refused() -> None:
    with pytest.raises(RewardError, match="need 2 statuses, got 1"):
        Scores(np.zeros(2), (Status.OK,))
    with pytest.raises(RewardError, match="2 deviations, got 1"):
        Scores(np.zeros(2), std=np.zeros(1))


def test_joining_scores_keeps_order_and_marks_unknown_deviations() -> None:
    joined = Scores.concatenate(
        [Scores(np.array([1.0]), std=np.array([0.5])), Scores.all(1, Status.FAILED, "no")]
    )
    np.testing.assert_array_equal(joined.values, [1, np.nan])
    np.testing.assert_array_equal(joined.std, [0.5, np.nan])
    assert joined.message == ("", "no")


def test_scores_and_rewards_can_be_pickled() -> None:
    scores = pickle.loads(pickle.dumps(FunctionReward(len, each=True)))(["abc"])  # noqa: S301
    assert pickle.loads(pickle.dumps(scores)).values.tolist() == [3]  # noqa: S301


# Arrays as designs --------------------------------------------------------------------------------------------


def brightest(designs: list[np.ndarray]) -> list[float]:
    """Raises for a batch with a black image."""
    if any(d.max() == 0 for d in designs):
        raise ZeroDivisionError("black")
    return [float(d.max()) for d in designs]


def grey(level: float) -> np.ndarray:
    return np.full((2, 2), level)


def test_arrays_are_scored_once_and_in_order() -> None:
    seen: list[float] = []

    def spy(designs: list[np.ndarray]) -> list[float]:
        seen.extend(float(d[0, 0]) for d in designs)
        return brightest(designs)

    scores = FunctionReward(spy)([grey(0.5), grey(0.2), grey(0.5), -0.0 * grey(1) + 0.2])
    assert scores.values.tolist() == [0.5, 0.2, 0.5, 0.2]
    assert seen == [0.5, 0.2]


def test_equal_numbers_of_another_shape_are_another_design() -> None:
    shapes = FunctionReward(np.ndim, each=True)
    assert shapes([np.zeros(4), np.zeros((2, 2)), np.zeros((1, 2, 2))]).values.tolist() == [1, 2, 3]


def test_one_bad_array_costs_only_itself() -> None:
    designs = [grey(0.5), grey(0.0), grey(0.25), grey(np.nan)]
    scores = FunctionReward(brightest)(designs)
    assert [str(s) for s in scores.status] == ["OK", "FAILED", "OK", "FAILED"]
    np.testing.assert_array_equal(scores.values, [0.5, np.nan, 0.25, np.nan])
    permuted = FunctionReward(brightest)([designs[i] for i in (2, 1, 3, 0)])
    np.testing.assert_array_equal(permuted.values, scores.values[[2, 1, 3, 0]])


def test_a_user_s_function_cannot_change_the_designs() -> None:
    def blacken(design: np.ndarray) -> float:
        design *= 0
        return 1.0

    designs = [grey(0.5)]
    assert FunctionReward(blacken, each=True)(designs).ok.all()
    np.testing.assert_array_equal(designs[0], grey(0.5))


@pytest.mark.parametrize("design", [{"a": 1}, [["x"]], object()])
def test_something_else_than_strings_and_arrays_is_an_error(design: object) -> None:
    with pytest.raises(RewardError, match="strings or arrays"):
        Reward.__call__.__wrapped__(FunctionReward(lengths), [design])  # past the annotation's own check

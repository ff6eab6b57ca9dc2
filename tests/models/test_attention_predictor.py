"""The transformer predictor: padding has no influence wherever it stands, and what is half there counts half."""

import pytest
import torch
from torch.nn.functional import one_hot

from gendesign.errors import ConfigError
from gendesign.models.attention_predictor import AttentionPredictor


def network(**changes: int) -> AttentionPredictor:
    sizes: dict[str, int] = {"width": 16, "depth": 2, "num_heads": 2, "hidden": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AttentionPredictor(5, 9, 2, **(sizes | changes)).double()


def tokens(*rows: str) -> torch.Tensor:
    """Letters a to e, '-' for padding, as one-hots whose padded rows are zero."""
    ids = torch.tensor([["abcde-".index(letter) for letter in row.ljust(9, "-")] for row in rows])
    return one_hot(ids, 6)[..., :5].double()


def test_padding_has_no_influence_wherever_it_stands() -> None:
    plain, inside, before, shorter_batch = network()(tokens("abcdea", "ab-cd--ea", "---abcdea", "abcdea"))
    torch.testing.assert_close(inside, plain)
    torch.testing.assert_close(before, plain)
    torch.testing.assert_close(network()(tokens("abcdea"))[0], shorter_batch)


def test_order_and_number_of_tokens_matter() -> None:
    a, b, c = network()(tokens("abcde", "abced", "abcdee"))
    assert not torch.allclose(a, b) and not torch.allclose(a, c)


def test_what_is_half_there_lies_between_and_has_a_gradient() -> None:
    whole, none = tokens("abcd"), tokens("abc")
    amount = torch.linspace(0, 1, 11).double()[:, None, None]
    values = network()(none + amount * (whole - none))[:, 0]
    torch.testing.assert_close(values[[0, -1]], network()(torch.cat([none, whole]))[:, 0])
    steps = values.diff().abs()
    assert steps.max() < 0.5 * steps.sum()  # it does not jump
    x = (0.5 * none + 0.5 * whole).requires_grad_()
    (gradient,) = torch.autograd.grad(network()(x).sum(), x)
    assert gradient.isfinite().all() and gradient[0, 3].abs().sum() > 0


def test_gradients_are_finite_also_where_there_is_only_padding() -> None:
    x = tokens("abc", "").requires_grad_()
    out = network()(x)
    assert out.shape == (2, 2) and out.isfinite().all()
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert gradient.isfinite().all()


def test_every_weight_learns_and_rows_do_not_mix() -> None:
    model, x = network(), tokens("abcde", "eed", "caab")
    model(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    torch.testing.assert_close(model(x.flip(0)), model(x).flip(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"num_heads": 3}, "multiple of 2"), ({"dropout": 1.0}, "dropout"), ({"depth": 0}, "depth")],
)
def test_arguments_out_of_range_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        network(**change)


def test_designs_of_another_size_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[batch, 9, 5\], got \[1, 9, 6\]"):
        network()(torch.zeros(1, 9, 6).double())

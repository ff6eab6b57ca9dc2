"""Denoisers: what may and what may not influence a position's logits."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gendesign.building import build, describe
from gendesign.errors import ConfigError
from gendesign.models.base import TokenDenoiser
from gendesign.models.dilated_conv import DilatedConvDenoiser
from gendesign.models.transformer import Neighbours, TransformerDenoiser, attend, rotate

K = 4


def randomise(network: TokenDenoiser) -> TokenDenoiser:
    """Move every parameter away from its start: zero-initialised layers would hide errors."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=noise))
    return network.eval()


def make(kind: str, *, time_conditioned: bool = False, cond_dim: int = 0) -> TokenDenoiser:
    if kind == "conv":
        return randomise(
            DilatedConvDenoiser(K, 16, depth=3, time_conditioned=time_conditioned, cond_dim=cond_dim)
        )
    return randomise(
        TransformerDenoiser(K, 16, depth=2, num_heads=2, time_conditioned=time_conditioned, cond_dim=cond_dim)
    )


def ids(batch: int, length: int) -> Tensor:
    return torch.randint(0, K + 1, (batch, length), generator=torch.Generator().manual_seed(0))


kinds = pytest.mark.parametrize("kind", ["conv", "transformer"])


@kinds
def test_relaxed_one_hots_give_the_logits_of_ids(kind: str) -> None:
    network, x = make(kind), ids(3, 12)
    relaxed = functional.one_hot(x, K + 1).float()
    assert network(x).shape == (3, 12, K)
    torch.testing.assert_close(network(relaxed), network(x), atol=1e-5, rtol=1e-5)


@kinds
def test_gradient_reaches_a_relaxed_input_and_matches_a_finite_difference(kind: str) -> None:
    network = make(kind).double()
    x = torch.rand(
        2, 6, K + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    ).requires_grad_()
    assert torch.autograd.gradcheck(lambda relaxed: network(relaxed).sum(-1), x, atol=1e-5)


@kinds
@pytest.mark.parametrize("length", [5, 12])
def test_padding_does_not_influence_real_positions(kind: str, length: int) -> None:
    network, x = make(kind), ids(2, 12)
    mask = (torch.arange(12) < length).expand(2, 12)
    other = torch.where(mask, x, (x + 1) % (K + 1))
    padded = network(x, mask=mask)
    torch.testing.assert_close(padded[:, :length], network(other, mask=mask)[:, :length], atol=1e-6, rtol=0)
    torch.testing.assert_close(padded[:, :length], network(x[:, :length])[:, :length], atol=1e-5, rtol=1e-5)
    if length < 12:
        assert (padded[:, 0] - network(x)[:, 0]).abs().max() > 1e-3  # without the mask it does influence them


@kinds
def test_rows_do_not_influence_each_other(kind: str) -> None:
    network, x = make(kind), ids(4, 12)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(network(x[order]), network(x)[order], atol=1e-6, rtol=0)


def test_receptive_field_is_what_the_dilations_say() -> None:
    network = randomise(DilatedConvDenoiser(K, 8, depth=3, kernel_size=3, dilations=(1, 2, 4)))
    assert isinstance(network, DilatedConvDenoiser) and network.receptive_field == 1 + 2 * 7
    x = functional.one_hot(ids(1, 41), K + 1).float().requires_grad_()
    network(x)[0, 20].sum().backward()
    assert x.grad is not None
    reached = x.grad[0].abs().sum(-1).nonzero().squeeze(-1)
    assert (reached.min(), reached.max()) == (20 - 7, 20 + 7)


def test_rotary_products_depend_on_the_distance_alone() -> None:
    query, key = torch.randn(2, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    queries, keys = (rotate(vector.expand(1, 1, 10, 8)) for vector in (query, key))
    products = (queries @ keys.transpose(-1, -2))[0, 0]
    for distance in (-3, 0, 2):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-6, rtol=0)
    assert (products[0, 0] - products[0, 5]).abs() > 1e-3
    torch.testing.assert_close(queries.norm(dim=-1), query.norm().expand(1, 1, 10), atol=1e-6, rtol=0)


@kinds
def test_time_is_read_by_a_conditioned_network_and_ignored_by_the_other(kind: str) -> None:
    x, early, late = ids(2, 8), torch.tensor([0.1, 0.1]), torch.tensor([0.9, 0.9])
    conditioned, plain = make(kind, time_conditioned=True), make(kind)
    assert conditioned.time_conditioned and not plain.time_conditioned
    assert (conditioned(x, early) - conditioned(x, late)).abs().max() > 1e-3
    torch.testing.assert_close(plain(x, early), plain(x, None), atol=0, rtol=0)
    mixed = conditioned(x, torch.tensor([0.1, 0.9]))  # each row has its own time
    torch.testing.assert_close(mixed[0], conditioned(x, early)[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(mixed[1], conditioned(x, late)[1], atol=1e-6, rtol=0)


@kinds
def test_cond_is_read(kind: str) -> None:
    network, x = make(kind, cond_dim=3), ids(2, 8)
    assert (network(x, cond=torch.zeros(2, 3)) - network(x, cond=torch.ones(2, 3))).abs().max() > 1e-3
    torch.testing.assert_close(network(x), network(x, cond=torch.zeros(2, 3)))  # no label is the zero vector


@kinds
def test_missing_or_unwanted_inputs_are_refused(kind: str) -> None:
    x = ids(2, 8)
    with pytest.raises(ConfigError, match="give t"):
        make(kind, time_conditioned=True)(x)
    with pytest.raises(ConfigError, match="takes no cond"):
        make(kind)(x, cond=torch.zeros(2, 3))
    with pytest.raises(ConfigError, match=r"cond must be \[2, 3\]"):
        make(kind, cond_dim=3)(x, cond=torch.zeros(2, 5))
    with pytest.raises(ConfigError, match=r"must be \[batch, length, 5\]"):
        make(kind)(torch.zeros(2, 8, K))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"depth": 0}, "at least 1"),
        ({"dilations": ()}, "at least 1"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"vocab_size": 1}, "vocab_size >= 2"),
        ({"cond_dim": -1}, "cond_dim >= 0"),
    ],
)
def test_bad_arguments_of_the_convolutional_network(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DilatedConvDenoiser(**{"vocab_size": K, "width": 8, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"num_heads": 3}, "multiple of"), ({"depth": 0}, "at least 1"), ({"dropout": -0.1}, "dropout must be")],
)
def test_bad_arguments_of_the_transformer(arguments: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TransformerDenoiser(**{"vocab_size": K, "width": 8, "num_heads": 2, **arguments})


@kinds
def test_a_network_is_rebuilt_from_its_description(kind: str) -> None:
    network, x = make(kind), ids(2, 8)
    again = build(describe(network), kinds=(TokenDenoiser,)).eval()
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(again(x), network(x), atol=0, rtol=0)


@kinds
def test_dropout_acts_in_training_only(kind: str) -> None:
    network, x = make(kind), ids(2, 8)
    torch.testing.assert_close(network(x), network(x), atol=0, rtol=0)
    network.train()
    assert (network(x) - network(x)).abs().max() > 1e-4


@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_bfloat16_is_attention(masked: bool) -> None:
    noise = torch.Generator().manual_seed(0)
    parts = [torch.randn(2, 3, 8, 4, generator=noise, requires_grad=True) for _ in range(3)]
    attendable = torch.arange(8).view(1, 1, 1, 8) < torch.tensor([5, 8]).view(2, 1, 1, 1) if masked else None
    exact = attend(*parts, attendable)
    quick = attend(*[part.bfloat16() for part in parts], attendable)
    assert quick.dtype == torch.bfloat16 and torch.allclose(quick.float(), exact, atol=0.03)
    wanted = torch.autograd.grad(exact.square().sum(), parts)
    found = torch.autograd.grad(quick.float().square().sum(), parts)
    for one, other in zip(wanted, found, strict=True):
        assert torch.allclose(one, other, atol=0.15)


def test_a_network_with_positions_knows_where_it_is() -> None:
    nothing = torch.full((1, 6), 4)  # MASK everywhere
    torch.manual_seed(0)
    relative = TransformerDenoiser(4, 16, depth=1, num_heads=2).eval()(nothing)[0]
    placed = TransformerDenoiser(4, 16, depth=1, num_heads=2, length=6).eval()(nothing)[0]
    assert torch.allclose(relative[0], relative[3], atol=1e-5) and not torch.allclose(
        placed[0], placed[3], atol=1e-2
    )


def test_neighbours_see_as_far_as_they_reach_and_never_padding() -> None:
    torch.manual_seed(0)
    near = Neighbours(4, 2)
    y = torch.randn(1, 8, 4)
    other = y.clone()
    other[0, 0] += 1
    changed = (near(other) - near(y)).abs().sum(-1)[0] > 1e-6
    assert changed.tolist() == [True, True, True, False, False, False, False, False]
    network = TransformerDenoiser(4, 16, depth=2, num_heads=2, reach=2).eval()
    mask = torch.tensor([[True] * 5 + [False] * 3])
    x = torch.randint(0, 4, (1, 8))
    filled = x.masked_fill(~mask, 1)
    assert torch.allclose(network(x, mask=mask)[0, :5], network(filled, mask=mask)[0, :5], atol=1e-5)


def test_positions_and_reach_out_of_range() -> None:
    for wrong in ({"length": 0}, {"reach": -1}):
        with pytest.raises(ConfigError, match="length must be"):
            TransformerDenoiser(4, 16, num_heads=2, **wrong)
    with pytest.raises(ConfigError, match="at most 3 positions"):
        TransformerDenoiser(4, 16, num_heads=2, length=3)(torch.zeros(1, 4, dtype=torch.long))

"""The graph transformer: equivariance, Bayes' rule, bad arguments."""

import math

import pytest
import torch

from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import ConfigError
from gendesign.models.graph_transformer import GraphTransformer

V, T = 6, 3


def network(**kwargs: object) -> GraphTransformer:
    torch.manual_seed(0)
    net = GraphTransformer(V, T, width=16, pair_width=8, depth=2, num_heads=2, **kwargs)  # type: ignore[arg-type]
    for parameter in net.parameters():  # also what starts at zero
        torch.nn.init.normal_(parameter, std=0.3)
    return net.double().eval()


def permuted(x: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """The same graphs with their places in another order."""
    pairs = torch.triu_indices(V, V, 1)
    full = torch.zeros(len(x), V, V, dtype=x.dtype)
    full[:, pairs[0], pairs[1]] = x[:, V * T :]
    full = (full + full.mT)[:, place][:, :, place]
    types = x[:, : V * T].reshape(-1, V, T)[:, place]
    return torch.cat([types.flatten(1), full[:, pairs[0], pairs[1]]], 1)


def graphs(num: int = 4) -> torch.Tensor:
    return torch.randn(num, V * T + V * (V - 1) // 2, dtype=torch.float64)


def test_permuting_places_permutes_the_answer() -> None:
    net, place = network(), torch.tensor([3, 0, 5, 1, 4, 2])
    x, sigma = graphs(), torch.tensor([0.1, 0.5, 1.0, 5.0])
    for one, other in zip(net(x, sigma), net(permuted(x, place), sigma), strict=True):
        torch.testing.assert_close(permuted(one, place), other)
        assert not torch.allclose(one, other)


def test_every_coordinate_is_asked_about_in_the_light_of_all_others() -> None:
    net = network()
    x = graphs(1).requires_grad_()
    net(x, torch.tensor([1.0]))[0][0, 0].backward()
    assert x.grad is not None and (x.grad != 0).all()


def test_mean_and_variance_are_those_of_categories() -> None:
    mean, variance = network()(graphs(), torch.tensor([0.1, 0.5, 1.0, 5.0]))
    types = mean[:, : V * T].reshape(-1, V, T)
    torch.testing.assert_close(types.sum(-1), torch.ones_like(types[..., 0]))
    torch.testing.assert_close(variance[:, : V * T], (mean * (1 - mean))[:, : V * T], atol=1e-9, rtol=0)
    orders = mean[:, V * T :]
    assert (orders >= 0).all() and (orders <= 3).all() and (variance >= 0).all()


def test_an_untrained_network_is_exact_for_independent_coordinates() -> None:
    """With uniform categories and no context the posterior is Bayes' rule, here by hand."""
    net, sigma = GraphTransformer(V, T, width=16, pair_width=8, depth=1, num_heads=2).eval(), 0.7
    x = graphs(1)
    mean, variance = net(x, torch.tensor([sigma]))
    values = torch.arange(4, dtype=torch.float64)
    law = torch.exp(-((x[0, -1] - values) ** 2) / (2 * sigma**2))
    law = law / law.sum()
    torch.testing.assert_close(mean[0, -1], law @ values)
    torch.testing.assert_close(variance[0, -1], law @ values**2 - (law @ values) ** 2)
    hot = torch.exp(-((x[0, :T] - torch.eye(T)) ** 2).sum(1) / (2 * sigma**2))
    torch.testing.assert_close(mean[0, :T], hot / hot.sum())


def test_it_learns_which_pairs_are_bonded() -> None:
    """Two kinds of places, bonds between unlike ones alone: the network must beat what coordinates say themselves."""
    torch.manual_seed(0)
    pairs = torch.triu_indices(V, V, 1)
    kind = torch.randint(2, (256, V))
    bonds = (kind[:, pairs[0]] != kind[:, pairs[1]]).float()
    x = torch.cat([torch.nn.functional.one_hot(kind, T).flatten(1).float(), bonds], 1)
    process = PoissonFlow(math.inf, log_sigma_mean=-0.5, log_sigma_std=0.5)
    net = GraphTransformer(V, T, width=16, pair_width=8, depth=1, num_heads=2, aug_dim=math.inf)
    process.check_denoiser(net)
    noise = torch.Generator().manual_seed(0)

    def error() -> float:
        fixed = torch.Generator().manual_seed(1)
        with torch.no_grad():
            return float(process.evaluate(net, x, num_times=2, generator=fixed).mean())

    before, optimiser = error(), torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        process.loss(net, x, generator=noise).mean().backward()
        optimiser.step()
    assert error() < 0.5 * before


def test_what_designs_are_conditioned_on_reaches_the_answer() -> None:
    net, x, sigma = network(cond_dim=2), graphs(2), torch.ones(2)
    assert not torch.allclose(net(x, sigma)[0], net(x, sigma, torch.ones(2, 2, dtype=torch.float64))[0])
    with pytest.raises(ConfigError, match="takes no cond"):
        network()(x, sigma, torch.ones(2, 2))


def test_bad_arguments_are_refused() -> None:
    net = network()
    with pytest.raises(ConfigError, match="needs t"):
        net(graphs())
    with pytest.raises(ConfigError, match="expected \\[batch, 33\\]"):
        net(torch.zeros(2, 5), torch.ones(2))
    with pytest.raises(ConfigError, match="multiple of num_heads"):
        GraphTransformer(V, T, width=15, num_heads=4)
    with pytest.raises(ConfigError, match="pair_width even"):
        GraphTransformer(V, T, pair_width=7)
    with pytest.raises(ConfigError, match="aug_dim"):
        GraphTransformer(V, T, aug_dim=0)
    with pytest.raises(ConfigError, match="num_nodes"):
        GraphTransformer(1, T)

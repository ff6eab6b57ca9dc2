"""Molecular graphs through the whole path: every method that needs no gradient, on a tiny untrained network."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

import gendesign as gd
from gendesign.backbone import Backbone
from gendesign.designs import Design
from gendesign.errors import UnsupportedError
from gendesign.rewards.base import Reward
from gendesign.steering.sampler import Steering

pytest.importorskip("rdkit")

from gendesign.models.graph_transformer import GraphTransformer
from gendesign.molecules.chemistry import canonical
from gendesign.molecules.graph_codec import MolecularGraphCodec


class Carbons(Reward):
    """Number of letters C: cheap, and steerable."""

    name = "carbons"

    def score(self, designs: Sequence[Design]) -> list[float]:
        return [float(str(design).upper().count("C")) for design in designs]


def tiny(aug_dim: float = math.inf) -> Backbone:
    torch.manual_seed(0)
    codec = MolecularGraphCodec(["C", "N", "O"], 6)
    net = GraphTransformer(6, 4, width=16, pair_width=8, depth=1, num_heads=2, aug_dim=aug_dim)
    process = gd.PoissonFlow(aug_dim, sigma_max=10.0, sigma_min=0.02)
    return Backbone(codec, process, net).eval()


@pytest.mark.whole
@pytest.mark.parametrize("aug_dim", [math.inf, 32.0])
@pytest.mark.parametrize(
    "method",
    [gd.SVDD(candidates=4, alpha=0.1), gd.BestOfN(4), gd.SMC(alpha=0.5), gd.Unsteered()],
    ids=lambda method: type(method).__name__,
)
def test_methods_without_gradients_design_molecules(method: Steering, aug_dim: float) -> None:
    run = gd.design(tiny(aug_dim), Carbons(), method, num_designs=6, steps=6, base_designs=0)
    assert len(run.designs) == 6 and any(run.designs)
    assert all(design == canonical(design) for design in run.designs if design)
    assert np.isfinite(run.naturalness[[bool(design) for design in run.designs]]).all()


def test_steering_raises_the_reward() -> None:
    backbone = tiny()
    plain = gd.design(backbone, Carbons(), gd.Unsteered(), num_designs=16, steps=8, base_designs=0)
    steered = gd.design(
        backbone, Carbons(), gd.SVDD(candidates=8, alpha=0.05), num_designs=16, steps=8, base_designs=0
    )
    means = [
        sum(score[score == score]) / 16 for score in (r.scores["carbons"].values for r in (plain, steered))
    ]
    assert means[1] > means[0] + 0.5


def test_gradients_of_a_reward_without_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="differentiable"):
        gd.design(tiny(), Carbons(), gd.Guidance(), num_designs=2, steps=4, base_designs=0)


def test_the_likelihood_of_an_untrained_network() -> None:
    """It takes every type and order to be uniform and independent: a product of mixtures at the lowest noise level."""
    backbone = tiny()
    x = backbone.codec.encode(["CCO", "C"]).double()
    assert isinstance(backbone.process, gd.PoissonFlow)
    sigma = backbone.process.likelihood_floor
    types, orders = x[:, :24].reshape(2, 6, 1, 4), x[:, 24:, None]
    squared = ((types - torch.eye(4)) ** 2).sum(-1), (orders - torch.arange(4)) ** 2
    mixtures = [torch.logsumexp(-each / (2 * sigma**2), -1) - math.log(4) for each in squared]
    wanted = mixtures[0].sum(1) + mixtures[1].sum(1) - 39 / 2 * math.log(2 * math.pi * sigma**2)
    found = backbone.log_likelihood(["CCO", "C"], num_times=40)
    torch.testing.assert_close(found, wanted, atol=6.0, rtol=0)  # two probes estimate the trace
    assert abs(wanted[0]) > 50

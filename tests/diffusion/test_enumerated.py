"""Exact objectives of paths against closed forms."""

import itertools

import pytest
import torch
from torch import Tensor

from gendesign.diffusion.enumerated import all_states, best_objective, path_objective
from gendesign.diffusion.in_order import InOrder
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import Ancestral, FirstHitting, KTokens, Unmasking
from gendesign.divergences import ChiSquared
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.models.tabular import TabularDenoiser

P = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
NEW = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64)
STRINGS = ["".join(letters) for letters in itertools.product("ACGT", repeat=3)]
COUNT_A = torch.tensor([float(s.count("A")) for s in STRINGS], dtype=torch.float64)
ACG = torch.tensor([3.0 * (s == "ACG") for s in STRINGS], dtype=torch.float64)


def table(p: Tensor) -> Tensor:
    return TabularDenoiser(4, 3).set_law(torch.einsum("a,b,c->abc", p, p, p).flatten()).table.detach()


@pytest.mark.parametrize(
    ("unmasking", "steps"), [(Ancestral(), 1), (Ancestral(), 7), (FirstHitting(), 3), (InOrder(), 3)]
)
def test_the_kl_of_factorised_paths_is_that_of_the_designs(unmasking: Unmasking, steps: int) -> None:
    """On any grid that ends at 0; E[r] with alpha 0-th of the objective."""
    process = MaskedDiffusion(4, unmasking=unmasking)
    times = process.times(steps)
    cost = -path_objective(process, table(NEW), table(P), torch.zeros(64), times, alpha=1.0)
    assert cost.item() == pytest.approx(3 * 0.030478754, rel=1e-6)
    gain = path_objective(process, table(NEW), table(P), COUNT_A, times, alpha=1e-12)
    assert gain.item() == pytest.approx(1.5, rel=1e-6)
    chi = -path_objective(
        process, table(NEW), table(P), torch.zeros(64), times, alpha=1.0, divergence=ChiSquared()
    )
    assert chi.item() == pytest.approx(3 * ((NEW**2 / P).sum().item() - 1), rel=1e-6)


@pytest.mark.whole
@pytest.mark.parametrize(("reward", "expected"), [(COUNT_A, 1.902795), (ACG, 1.183169)])
def test_the_best_path_with_one_token_a_step_is_the_tilted_law(reward: Tensor, expected: float) -> None:
    process = MaskedDiffusion(4, unmasking=FirstHitting())
    best, found = best_objective(process, table(P), reward, process.times(3), alpha=0.5)
    assert best == pytest.approx(expected, abs=2e-6)
    again = path_objective(process, found, table(P), reward, process.times(3), alpha=0.5)
    assert again.item() == pytest.approx(best)


def test_coarse_grids_reach_less_on_dependent_rewards() -> None:
    process = MaskedDiffusion(4, unmasking=Ancestral())
    reached = [best_objective(process, table(P), ACG, process.times(steps), alpha=0.5)[0] for steps in (1, 4)]
    assert reached[0] < reached[1] < 1.183169


def test_states_tables_and_their_mixtures_agree() -> None:
    denoiser = TabularDenoiser(4, 2)
    with torch.no_grad():
        denoiser.table.normal_(generator=torch.Generator().manual_seed(0))
    states = all_states(4, 2)
    torch.testing.assert_close(denoiser(states), denoiser.table)
    soft = torch.nn.functional.one_hot(states, 5).double()
    torch.testing.assert_close(denoiser(soft), denoiser.table)
    torch.testing.assert_close(denoiser(soft[:1] * 0.3 + soft[7:8] * 0.7).shape, torch.Size([1, 2, 4]))


def test_what_cannot_be_enumerated_is_refused() -> None:
    with pytest.raises(ConfigError, match="states"):
        TabularDenoiser(4, 9)
    process = MaskedDiffusion(4, unmasking=KTokens(2))
    with pytest.raises(UnsupportedError, match="one token a step"):
        path_objective(process, table(P), table(P), COUNT_A, process.times(2), alpha=1.0)

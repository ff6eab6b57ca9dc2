"""Energies of pairs: exact differences, what they may depend on, and the geometry that they read."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gendesign.errors import ConfigError
from gendesign.models.pairwise_energy import LETTERS, PairwiseEnergy, properties
from gendesign.models.residue_geometry import PAIR_NUMBERS, SITE_NUMBERS, Geometry

L = 14


def chains(num: int = 2) -> Tensor:
    """Helices with noise on every atom."""
    places = torch.arange(L, dtype=torch.float64)[:, None] + torch.tensor([0.0, 0.3, 0.6, 0.7]).double()
    angle = places * math.radians(100.0)
    atoms = torch.stack([2.3 * angle.cos(), 2.3 * angle.sin(), 1.5 * places], dim=-1).expand(num, -1, -1, -1)
    noise = torch.randn(atoms.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    along = torch.arange(L, dtype=torch.float64).expand(num, -1)[..., None]
    return torch.cat([(atoms + 0.4 * noise).flatten(2), along, torch.zeros_like(along)], dim=-1)


def energy(members: int = 2) -> PairwiseEnergy:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = PairwiseEnergy(members, width=8, pair_width=8, rank=3, neighbours=4)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return made.double().eval()


def ids(num: int = 3) -> Tensor:
    return torch.randint(0, 20, (num, L), generator=torch.Generator().manual_seed(3))


def test_substitutions_are_differences_of_scores() -> None:
    made, cond, x = energy(), chains(), ids(2)
    table = made(cond).substitutions(x)
    assert table.shape == (2, 2, L, 20)
    for number in range(2):
        alone = made(cond[number : number + 1])
        start = alone.of(x[number : number + 1])
        for place in (0, 5, L - 1):
            other = x[number].expand(20, -1).clone()
            other[:, place] = torch.arange(20)
            assert torch.allclose(table[:, number, place], alone.of(other) - start)
    assert table.abs().max() > 0.1


def test_relaxed_one_hots_have_the_score_of_ids_and_mixtures_its_mean_at_one_place() -> None:
    found, x = energy()(chains(1)), ids()
    relaxed = one_hot(x, 20).double()
    assert torch.allclose(found.of_relaxed(relaxed), found.of(x))
    mixed = relaxed[:1].clone()
    mixed[0, 4] = torch.rand(20, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).softmax(0)
    each = x[:1].expand(20, -1).clone()
    each[:, 4] = torch.arange(20)
    assert torch.allclose(found.of_relaxed(mixed)[:, 0], found.of(each) @ mixed[0, 4])


def test_turning_moving_and_numbering_change_nothing_and_mirroring_does() -> None:
    made, cond, x = energy(), chains(), ids(2)
    plain = made(cond).substitutions(x)
    q, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)))
    q = q * torch.det(q)

    def moved(matrix: Tensor) -> Tensor:
        atoms = cond[..., :12].unflatten(-1, (4, 3)) @ matrix.T + torch.tensor([3.0, -40.0, 9.0]).double()
        return torch.cat([atoms.flatten(-2), cond[..., 12:] + 100], dim=-1)

    assert torch.allclose(made(moved(q)).substitutions(x), plain)
    assert not torch.allclose(made(moved(-q)).substitutions(x), plain)


def test_padding_and_missing_residues_count_nowhere() -> None:
    made, cond, x = energy(), chains(1), ids(1)
    short = made(cond[:, :9]).substitutions(x[:, :9])
    mask = (torch.arange(L) < 9)[None]
    assert torch.allclose(made(cond, mask).substitutions(x)[:, :, :9], short)
    gone = cond.clone()
    gone[:, 9:, 3] = torch.nan
    assert torch.allclose(made(gone).substitutions(x)[:, :, :9], short)
    assert not made(gone).substitutions(x)[:, :, 9:].any()


def test_numbers_of_a_straight_helix() -> None:
    """Torsions are those of the atoms, ends are where the chain ends, and every number is of the order of one."""
    cond = chains(1)
    atoms = cond[..., :12].unflatten(-1, (4, 3))
    places, known = cond[..., 12:].long(), torch.ones(1, L, dtype=torch.bool)
    geometry = Geometry(atoms, places[..., 0], places[..., 1], known)
    sites, pairs = geometry.sites(), geometry.near(4)
    assert sites.shape == (1, L, SITE_NUMBERS) and geometry.of_pairs(*pairs).shape == (
        len(pairs[0]),
        PAIR_NUMBERS,
    )
    assert sites.abs().max() < 8 and (pairs[1] < pairs[2]).all()
    assert sites[0, 0, -3] == 1 and sites[0, -1, -2] == 1 and sites[0, 1, -3] == pytest.approx(0.5)
    from Bio.PDB.vectors import Vector, calc_dihedral

    phi = calc_dihedral(*(Vector(*atoms[0, i, a].tolist()) for i, a in ((4, 2), (5, 0), (5, 1), (5, 2))))
    assert geometry._torsions()[0, 5, :2].tolist() == pytest.approx([math.sin(phi), math.cos(phi)])


def test_properties_are_of_the_alphabet() -> None:
    table = properties()
    assert sorted(LETTERS) == list("ACDEFGHIKLMNPQRSTVWY") == list(LETTERS)
    assert torch.allclose(table.mean(0), torch.zeros(10), atol=1e-6) and table[LETTERS.index("P"), 8] > 3


def test_errors() -> None:
    with pytest.raises(ConfigError, match="14"):
        energy()(chains()[..., :12])
    with pytest.raises(ConfigError, match="dropout"):
        PairwiseEnergy(dropout=1.0)
    with pytest.raises(ConfigError, match="members"):
        PairwiseEnergy(0)

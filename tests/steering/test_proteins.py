"""Every steering method of the table works on a protein backbone bound to a structure, also from its wild type."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gendesign as gd
from gendesign.backbone import Backbone
from gendesign.errors import UnsupportedError
from gendesign.files.structures import threaded_pdb
from gendesign.inverse_folding import on_structure
from gendesign.models.pairwise_energy import PairwiseEnergy
from gendesign.models.structure_denoiser import StructureDenoiser
from gendesign.rewards import FunctionReward
from gendesign.rewards.stability import Stability, StabilityPredictor
from gendesign.steering.sampler import Steering
from gendesign.steering.value import StateValue
from gendesign.structures import Structure

OWN = "MKTAYIAKQR"


def support_matrix() -> Any:
    script = Path(__file__).parents[2] / "benchmarks" / "support_matrix.py"
    spec = importlib.util.spec_from_file_location("support_matrix", script)
    assert spec is not None and spec.loader is not None
    module = sys.modules.setdefault("support_matrix", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


class Flat(StateValue):
    """A value that reads states, for proposals that need one."""

    def read(self, codec: Any, x: torch.Tensor, t: torch.Tensor, *, alpha: float) -> torch.Tensor:
        return torch.zeros(len(x), dtype=torch.float64)


def away_from_start(module: torch.nn.Module) -> Any:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Stability]:
    folder = tmp_path_factory.mktemp("protein")
    places = np.arange(10)[:, None] + np.array([0.0, 0.3, 0.6, 0.7])
    angle = places * np.deg2rad(100.0)
    atoms = np.stack([2.3 * np.cos(angle), 2.3 * np.sin(angle), 1.5 * places], axis=-1)
    helix = Structure("x", "A", OWN, atoms, np.full((10, 3), np.nan), tuple(str(i + 5) for i in range(10)))
    (folder / "x.pdb").write_text(threaded_pdb(helix, OWN))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = away_from_start(StructureDenoiser(20, 8, encoder_depth=1, decoder_depth=1, neighbours=5))
        predictor = StabilityPredictor(away_from_start(PairwiseEnergy(2, width=8, pair_width=8, rank=2)))
    predictor.save_pretrained(folder / "predictor")
    backbone = Backbone(gd.ProteinCodec(12), gd.MaskedDiffusion(20, unmasking=gd.FirstHitting()), net).eval()
    path = str(folder / "x.pdb")
    return on_structure(backbone, path), Stability(path, predictor=str(folder / "predictor"))


def methods() -> list[Any]:
    matrix = support_matrix()
    found = list(matrix.methods())
    for name, method in list(found):
        if "proposal" in {field.name for field in dataclasses.fields(method)} and "solver=" not in name:
            found += [
                (f"{name}({other})", dataclasses.replace(method, proposal=proposal, value=Flat()))
                for other, proposal in matrix.proposals()
                if other != "Base" and matrix.supports(proposal.needs, "masked", True)
            ]
    kept = [
        (n, m) for n, m in found if matrix.supports(m.needs, "masked", True) and not hasattr(m, "objective")
    ]
    return [pytest.param(method, id=name) for name, method in kept]


@pytest.mark.whole
@pytest.mark.parametrize("method", methods())
def test_every_method_designs_on_a_structure(pair: tuple[Backbone, Stability], method: Steering) -> None:
    backbone, reward = pair
    if getattr(method, "alpha", None) == "auto":
        method = dataclasses.replace(method, alpha=0.5)  # type: ignore[type-var]
    small = {method.sized_by: 3} if method.sized_by else {}
    method = dataclasses.replace(method, **small)  # type: ignore[type-var]
    run = gd.design(backbone, reward, method, num_designs=3, base_designs=0, seed=0, template="8-9")
    assert all(len(one) == 10 and one[3:5] == OWN[3:5] for one in run.designs)
    np.testing.assert_allclose(run.values, reward(run.designs).values, atol=1e-5)
    if type(method).__name__ != "Genetic":
        near = gd.design(backbone, reward, method, num_designs=3, base_designs=0, seed=0, start=OWN, remask=2)
        assert all(sum(a != b for a, b in zip(one, OWN, strict=True)) <= 2 for one in near.designs)
    black_box = FunctionReward(lambda designs: [float(one.count("A")) for one in designs], name="black box")
    if method.needs.gradient:
        with pytest.raises(UnsupportedError):
            gd.design(backbone, black_box, method, num_designs=1, base_designs=0)
    else:
        assert len(gd.design(backbone, black_box, method, num_designs=1, base_designs=0)) == 1


@pytest.mark.parametrize("method", [gd.DRAKES(), gd.PolicyGradient()], ids=lambda m: type(m).__name__)
def test_training_methods_reach_the_network_of_a_structure(
    pair: tuple[Backbone, Stability], method: Any
) -> None:
    bound, reward = pair
    base = copy.deepcopy(bound)
    base.process = gd.MaskedDiffusion(20)
    tuned = copy.deepcopy(base).requires_grad_(True)
    noise = torch.Generator().manual_seed(0)
    found = method.objective(tuned, base, reward, base.process.times(6), 4, alpha=0.3, generator=noise)
    found.loss.backward()
    moved = [
        name for name, one in tuned.denoiser.named_parameters() if one.grad is not None and one.grad.any()
    ]
    assert any("decoder_layers" in name for name in moved) and any("encoder_layers" in name for name in moved)


def test_what_was_fine_tuned_on_a_structure_designs_on_that_one(
    pair: tuple[Backbone, Stability], tmp_path: Path
) -> None:
    bound, reward = pair
    bound.save_pretrained(tmp_path / "tuned")
    method = gd.DRAKES(tuned=str(tmp_path / "tuned"))
    run = gd.design(bound, reward, method, num_designs=3, base_designs=0, seed=0, start=OWN, remask=2)
    assert all(sum(a != b for a, b in zip(one, OWN, strict=True)) <= 2 for one in run.designs)
    assert np.isfinite(run.values).all()
    other = bound.with_denoiser(copy.deepcopy(bound.denoiser))
    other.denoiser.condition[0, 0] += 1.0
    for wrapped in (other, other.in_bfloat16()):
        with pytest.raises(UnsupportedError, match="fine-tuned on another condition"):
            method(wrapped, reward)
    other.denoiser.condition[0, :3] = torch.nan  # an atom that is missing
    other.save_pretrained(tmp_path / "other")
    gd.DRAKES(tuned=str(tmp_path / "other"))(other, reward)

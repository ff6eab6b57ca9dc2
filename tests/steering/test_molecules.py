"""Every steering method of the support matrix on molecules: a backbone of random weights over SELFIES tokens."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendesign.backbone import Backbone
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.errors import UnsupportedError
from gendesign.models.attention_predictor import AttentionPredictor
from gendesign.models.transformer import TransformerDenoiser
from gendesign.molecules import chemistry
from gendesign.molecules.codec import MoleculeCodec
from gendesign.rewards import QED, PredictedReward, Predictor, Reward
from gendesign.run import design
from gendesign.steering.drakes import DRAKES
from gendesign.steering.guidance import Guidance
from gendesign.steering.particles import make_plan
from gendesign.steering.policy_gradient import PolicyGradient
from gendesign.steering.sampler import Steering
from gendesign.steering.svdd import SVDD
from gendesign.steering.token_proposals import FirstOrder
from gendesign.steering.unsteered import Unsteered
from gendesign.steering.value import StateValue
from gendesign.training.finetuning import finetune

pytest.importorskip("rdkit")
pytest.importorskip("selfies")

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "support_matrix.py"
spec = importlib.util.spec_from_file_location("support_matrix", SCRIPT)
assert spec is not None and spec.loader is not None
matrix = importlib.util.module_from_spec(spec)
sys.modules["support_matrix"] = matrix
spec.loader.exec_module(matrix)

MOLECULES = [
    "CCO",
    "c1ccccc1",
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1CCC[C@H]1c1cccnc1",
    "C[NH+](C)CC(=O)[O-]",
    "FC(F)Cl",
]
LENGTH = 12


class Longer(StateValue):
    """Of a state: how many of its tokens are no PAD."""

    def read(self, codec: Any, x: Tensor, t: Tensor, *, alpha: float) -> Tensor:
        return (x < codec.pad_id).double().sum(-1) / 10


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    codec = MoleculeCodec.learn(MOLECULES, length=LENGTH, num_groups=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TransformerDenoiser(codec.vocab_size, width=16, depth=1, num_heads=2, dropout=0.0)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return Backbone(codec, MaskedDiffusion(codec.vocab_size), network).eval()


@pytest.fixture(scope="module")
def learned(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Reward:
    """A differentiable reward of random weights over the backbone's tokens."""
    codec = backbone.codec
    network = AttentionPredictor(len(codec.vocabulary), LENGTH, 1, width=16, depth=1, num_heads=2, hidden=8)
    model = Predictor(codec, network, heads=["something"], members=2)  # type: ignore[arg-type]
    model.center.fill_(0.0), model.scale.fill_(1.0)
    folder = tmp_path_factory.mktemp("predictor") / "mine"
    model.save_pretrained(folder)
    return PredictedReward(str(folder))


def every() -> list[Any]:
    """Each method that needs no training, and each that takes proposals with each of them."""
    found = [(name, method) for name, method in matrix.methods() if not hasattr(method, "objective")]
    for name, method in list(found):
        if "proposal" in {field.name for field in dataclasses.fields(method)} and "solver=" not in name:
            found += [
                (f"{name}({other})", dataclasses.replace(method, proposal=proposal, value=Longer()))
                for other, proposal in matrix.proposals()
                if other
                not in ("Base", "MaskedExact")  # which looks at every neighbour: slow, and tested elsewhere
            ]
    return [pytest.param(method, id=name) for name, method in found]


@pytest.mark.whole
@pytest.mark.parametrize("method", every())
@pytest.mark.parametrize("gradient", [False, True])
def test_methods_without_training(
    backbone: Backbone, learned: Reward, method: Steering, gradient: bool
) -> None:
    """What the table supports runs and gives molecules; what it does not is refused."""
    reward = learned if gradient else QED()
    if getattr(method, "alpha", None) == "auto":
        method = dataclasses.replace(method, alpha=0.1)  # type: ignore[type-var]
    if not matrix.supports(method.needs, "masked", gradient):
        with pytest.raises(UnsupportedError):
            method.require(reward, backbone)
        return
    run = design(backbone, reward, method, num_designs=3, steps=3, base_designs=0, seed=0)
    assert len(run.designs) == 3
    assert all(not name or name == chemistry.canonical(name) for name in run.designs)
    bound = method.bound(3, make_plan(backbone, steps=3))
    assert run.cost.network_rows <= bound.network_rows


@pytest.mark.parametrize("method", [DRAKES(truncation=2), PolicyGradient(truncation=2)])
def test_methods_that_train(backbone: Backbone, learned: Reward, method: Any) -> None:
    """A few updates, by gradients of the predictor or by QED itself; then the tuned backbone gives molecules."""
    reward = learned if method.needs.gradient else QED()
    tuned = finetune(backbone, reward, method, updates=2, batch_size=4, steps=3, alpha=0.1)
    run = design(tuned, reward, Unsteered(), num_designs=3, steps=3, base_designs=0, seed=0)
    assert all(not name or chemistry.canonical(name) == name for name in run.designs)
    moved = [bool((a != b).any()) for a, b in zip(tuned.parameters(), backbone.parameters(), strict=False)]
    assert any(moved)


def test_guidance_and_svdd_raise_the_learned_reward(backbone: Backbone, learned: Reward) -> None:
    settings: dict[str, Any] = {"num_designs": 24, "steps": 8, "base_designs": 24, "seed": 1}
    for method in (Guidance(proposal=FirstOrder(), alpha=0.02), SVDD(candidates=6, alpha=0.01)):
        run = design(backbone, learned, method, **settings)
        steered = run.scores[learned.label].values
        base = run.base.scores[learned.label].values
        assert torch.tensor(steered).nanmean() > torch.tensor(base).nanmean(), type(method).__name__


def test_a_gradient_belongs_to_the_backbone_s_own_tokens(learned: Reward) -> None:
    """A vocabulary of as many other tokens would be misread in silence."""
    other = MoleculeCodec.learn([*MOLECULES[1:], "CCN"], length=LENGTH, num_groups=4)
    size = other.vocab_size
    network = TransformerDenoiser(size, width=16, depth=1, num_heads=2, dropout=0.0)
    stranger = Backbone(other, MaskedDiffusion(size), network).eval()
    with pytest.raises(UnsupportedError, match="own tokens"):
        design(stranger, learned, Guidance(proposal=FirstOrder(), alpha=0.1), num_designs=2, steps=2)

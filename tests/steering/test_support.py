"""The table of what works with what is up to date, and every cell of it is true."""

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
from gendesign.building import build
from gendesign.command.compose import options, read_yaml
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.errors import UnsupportedError
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.models.tabular import TabularDenoiser
from gendesign.rewards.base import DifferentiableReward, FunctionReward, Reward
from gendesign.steering.finetuned import FineTuned
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import Steering, run_sampler
from gendesign.steering.value import StateValue
from gendesign.training.finetuning import finetune

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "support_matrix.py"
spec = importlib.util.spec_from_file_location("support_matrix", SCRIPT)
assert spec is not None and spec.loader is not None
matrix = importlib.util.module_from_spec(spec)
sys.modules["support_matrix"] = matrix
spec.loader.exec_module(matrix)

LETTERS = (0.4, 0.3, 0.2, 0.1)


class Bowl(DifferentiableReward):
    """Minus the squared distance from 0.3, of numbers and of token probabilities alike; the last ones count most."""

    name = "bowl"

    def relaxed(self, x: Tensor) -> Tensor:
        weight = torch.arange(1.0, x.shape[-1] + 1).to(x)
        return -(weight * (x - 0.3) ** 2).flatten(1).sum(-1)

    def score(self, designs: Any) -> list[float]:
        if isinstance(designs[0], str):
            ids = torch.tensor([["ACGT".index(letter) for letter in design] for design in designs])
            return self.relaxed(torch.nn.functional.one_hot(ids, 4).double()).tolist()
        return [self.relaxed(torch.from_numpy(design)[None]).item() for design in designs]


class Flat(StateValue):
    """A value that reads states, for proposals that need one, and scores none but clean ones."""

    def read(self, codec: Any, x: Tensor, t: Tensor, *, alpha: float) -> Tensor:
        return torch.zeros(len(x), dtype=torch.float64)


def rewards() -> dict[bool, Reward]:
    return {True: Bowl(), False: FunctionReward(Bowl().score, name="black box")}


def test_the_page_is_up_to_date() -> None:
    """Write it anew with `python benchmarks/support_matrix.py`."""
    assert matrix.PAGE.read_text() == matrix.page()


def test_every_shipped_method_is_in_the_table() -> None:
    known = {type(method) for _, method in matrix.methods()}
    assert {type(build(read_yaml(path))) for path in options("steering").values()} <= known


def every() -> list[Any]:
    """Each method, and each method that takes proposals with each of them."""
    found = list(matrix.methods())
    for name, method in list(found):
        if "proposal" in {field.name for field in dataclasses.fields(method)} and "solver=" not in name:
            for other, proposal in matrix.proposals():
                if other != "Base":
                    found.append(
                        (f"{name}({other})", dataclasses.replace(method, proposal=proposal, value=Flat()))
                    )
    return [pytest.param(method, id=name) for name, method in found]


@pytest.mark.parametrize("method", every())
def test_every_cell(make_arena: Any, make_points_arena: Any, method: Steering) -> None:
    """What is supported runs; what is not is refused, with the nearest method that fits."""
    points = torch.tensor([[0.0, 0.0], [1.0, 0.5], [-1.0, 0.2]])
    backbones = {
        "masked": make_arena(LETTERS, lambda design: 0.0, length=3, alpha=1.0).backbone,
        "continuous": make_points_arena(points, lambda y: 0.0, aug_dim=128.0, alpha=1.0).moments,
    }
    if getattr(method, "alpha", None) == "auto":
        method = dataclasses.replace(method, alpha=1.0)  # type: ignore[type-var]
    for kind, backbone in backbones.items():
        assert isinstance(backbone.process, MaskedDiffusion) is (kind == "masked")
        for differentiable, reward in rewards().items():
            if matrix.supports(method.needs, kind, differentiable):
                run(method, backbone, reward)
            else:
                with pytest.raises(UnsupportedError, match=method.alternative.split()[-1]):
                    run(method, backbone, reward)


def trainable(backbone: Backbone) -> Backbone:
    """The same designs and noise, with a denoiser that has weights."""
    if isinstance(backbone.process, MaskedDiffusion):
        table = TabularDenoiser(4, 3).set_law(torch.full((64,), 1 / 64))
        return Backbone(backbone.codec, backbone.process, table)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MLPNetwork(2, width=8, depth=1)
    denoiser = Preconditioned(network, sigma_data=1.0, aug_dim=128.0)
    return Backbone(backbone.codec, backbone.process, denoiser)


def run(method: Steering, backbone: Any, reward: Reward) -> None:
    noise = torch.Generator().manual_seed(0)
    if isinstance(method, FineTuned):  # it steers by training: one update, and what came of it is sampled
        base = trainable(backbone)
        tuned = finetune(base, reward, method, updates=1, steps=4, batch_size=4, lr=0.1)
        pairs = zip(base.denoiser.parameters(), tuned.denoiser.parameters(), strict=False)
        assert any(not torch.equal(before, after) for before, after in pairs)
        assert len(tuned.sample(4, steps=4)) == 4
        return
    plan = make_plan(backbone, steps=4)
    final = run_sampler(method(backbone, reward), 4, plan, generator=noise)
    assert len(backbone.codec.decode(final.x)) == 4
    bound = method.bound(4, plan)
    for currency in ("network_rows", "reward_calls", "value_rows"):
        assert getattr(final.cost, currency) <= getattr(bound, currency), currency


def test_a_size_is_an_argument_that_the_cost_grows_with(make_arena: Any) -> None:
    plan = make_plan(make_arena(LETTERS, lambda design: 0.0, length=3, alpha=1.0).backbone, steps=4)
    for _, method in matrix.methods():
        if method.sized_by is not None:
            few, many = (
                dataclasses.replace(method, **{method.sized_by: size}).bound(1, plan) for size in (2, 9)
            )
            assert few.network_rows <= many.network_rows and few.reward_calls < many.reward_calls

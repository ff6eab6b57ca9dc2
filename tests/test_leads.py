"""Lead optimisation: a bound on mutations that holds by construction, whatever the method."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.determinism import generator
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.unmasking import FirstHitting
from gendesign.errors import ConfigError, DesignError, UnsupportedError
from gendesign.leads import read_leads
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.models.transformer import TransformerDenoiser
from gendesign.rewards.base import FunctionReward
from gendesign.run import design, estimate_cost
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.smc import SMC
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered

LEADS = ["ACGTACGTACGT", "TTTTTTTTTTTT"]


def backbone_of(*, variable: bool = False, **options: Any) -> Backbone:
    codec = DNACodec(12, variable=variable)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = TransformerDenoiser(codec.vocab_size, width=8, depth=1, num_heads=2)
    return Backbone(codec, MaskedDiffusion(codec.vocab_size, **options), network).double().eval()


def gc(designs: list[str]) -> list[float]:
    return [(d.count("G") + d.count("C")) / max(1, len(d)) for d in designs]


def mutations(a: str, b: str) -> int:
    return sum(x != y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    "steering",
    [Unsteered(), BestOfN(candidates=3), SVDD(candidates=3, alpha=0.1), SMC(particles=4, alpha=0.1)],
    ids=lambda method: type(method).__name__,
)
def test_no_design_has_more_mutations_than_positions_masked(steering: Any) -> None:
    run = design(
        backbone_of(), FunctionReward(gc), steering,
        num_designs=9, steps=5, base_designs=5, start=LEADS, remask=3,
    )  # fmt: skip
    starts = [LEADS[i % 2] for i in range(9)]
    assert run.leads == starts and run.base is not None
    assert all(mutations(d, lead) <= 3 for d, lead in zip(run.designs, starts, strict=True))
    assert any(mutations(d, lead) for d, lead in zip(run.designs, starts, strict=True))
    assert all(mutations(d, LEADS[i % 2]) <= 3 for i, d in enumerate(run.base.designs))
    assert "start,mutations" in run.csv().replace("rank,index,design,", "")


def test_every_set_of_positions_is_masked_equally_often() -> None:
    leads = read_leads(backbone_of(), LEADS[0], 2)
    rows = leads.templates(0, 6600, generator=generator(0, "test")) == 4
    counts = torch.tensor(
        [float((rows[:, i] & rows[:, j]).sum()) for i, j in itertools.combinations(range(12), 2)]
    )
    assert (rows.sum(-1) == 2).all()
    # 66 pairs, 100 each: the chi-squared statistic has mean 65 and standard deviation 11.4
    assert float(((counts - 100) ** 2 / 100).sum()) < 65 + 5 * 11.4


def test_a_share_is_of_what_may_change() -> None:
    backbone = backbone_of()
    assert read_leads(backbone, LEADS, 0.25).count.tolist() == [3, 3]
    assert read_leads(backbone, LEADS, 0.01).count.tolist() == [1, 1]
    assert read_leads(backbone, LEADS, 1.0).count.tolist() == [12, 12]
    assert read_leads(backbone, LEADS, 99).count.tolist() == [12, 12]
    some = read_leads(backbone, LEADS[0], 1.0, template="ACGT********")
    assert some.count.tolist() == [8]
    masked = some.templates(0, 4, generator=generator(0, "test")) == 4
    assert not masked[:, :4].any() and masked[:, 4:].all()


def test_designs_may_grow_where_the_length_is_variable() -> None:
    backbone = backbone_of(variable=True)
    leads = read_leads(backbone, ["ACGTAC", "ACGTACGTACG"], 3)
    masked = leads.templates(0, 2, generator=generator(0, "test")) == backbone.process.mask_id
    assert masked[0, :6].sum() == 3 and masked[0, 6:].tolist() == [True] * 3 + [False] * 3
    assert masked[1, :11].sum() == 3 and masked[1, 11]  # no more room than this
    assert leads.num_masked == 6


def test_one_token_a_step_takes_as_many_steps_as_there_are_masked_positions() -> None:
    run = design(
        backbone_of(unmasking=FirstHitting()), None, Unsteered(), num_designs=3, base_designs=0,
        start=LEADS[0], remask=4,
    )  # fmt: skip
    assert run.provenance["steps"] == 4
    assert run.cost.network_rows <= 12
    bound = estimate_cost(
        backbone_of(unmasking=FirstHitting()), Unsteered(), num_designs=3, steps=80, base_designs=0,
        start=LEADS[0], remask=4,
    )  # fmt: skip
    assert bound.network_rows == run.estimate.network_rows == 12


def test_the_same_seed_and_a_resumed_run_give_the_same_designs(tmp_path: Any) -> None:
    def go(**more: Any) -> list[str]:
        return design(
            backbone_of(), FunctionReward(gc), SVDD(candidates=2, alpha=0.1),
            num_designs=70, steps=3, base_designs=2, start=LEADS, remask=0.5, **more,
        ).designs  # fmt: skip

    first = go(out=tmp_path / "run")
    assert go() == first
    for block in (tmp_path / "run").rglob("*steered*1.json"):
        block.unlink()
    assert go(out=tmp_path / "run", resume=True) == first
    assert go(seed=1) != first


@pytest.mark.parametrize(
    ("start", "remask", "template", "error", "words"),
    [
        ([], 3, None, DesignError, "names no design"),
        (["ACGU" * 3], 3, None, DesignError, "design 1 of 1: expected letters ACGT"),
        ([LEADS[0], "ACG"], 3, None, DesignError, "design 2 of 2: expected a sequence of 12"),
        (LEADS, 0, None, ConfigError, "remask must be a whole number of at least 1"),
        (LEADS, 1.5, None, ConfigError, "a fraction above 0 and at most 1, got 1.5"),
        (LEADS, math.nan, None, ConfigError, "remask"),
        (LEADS, 3, "G***********", DesignError, "design 1 of 2, contradicts the template"),
    ],
)
def test_what_cannot_be_started_from(start: Any, remask: Any, template: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        read_leads(backbone_of(), start, remask, template=template)


def test_mutations_are_counted_from_the_lead_as_it_is_designed() -> None:
    """Lower case, as repeats are marked, is the same sequence."""
    assert read_leads(backbone_of(), ["acgtacgtacgt", LEADS[1]], 2).designs == tuple(LEADS)


def test_a_template_with_a_layout_of_its_own_is_refused() -> None:
    class Laid(DNACodec):
        def departs(self, template: Any, design: Any) -> str:
            return ""

    other = backbone_of()
    other.codec = Laid(12)
    with pytest.raises(UnsupportedError, match="give one of them"):
        read_leads(other, LEADS[0], 3, template="A***********")


def test_continuous_backbones_refuse_with_the_way_out() -> None:
    from gendesign.array_codecs import VectorCodec

    codec = VectorCodec(["a", "b"], mean=[0.0, 0.0], std=[1.0, 1.0])
    continuous = Backbone(
        codec, PoissonFlow(aug_dim=8), Preconditioned(MLPNetwork(2, width=8, depth=1), aug_dim=8)
    )
    with pytest.raises(UnsupportedError, match="needs masked diffusion.*PoissonFlow: use template="):
        design(continuous, None, Unsteered(), start=[LEADS[0]])

"""The guard: bands in standard deviations of the base, and what leaves them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import FirstHitting
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.models.tabular import TabularDenoiser
from gendesign.rewards.base import DifferentiableReward, FunctionReward, Reward
from gendesign.rewards.scores import Scores
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.drakes import DRAKES
from gendesign.steering.genetic import Genetic
from gendesign.steering.guidance import Guidance
from gendesign.steering.policy_gradient import PolicyGradient
from gendesign.steering.smc import SMC
from gendesign.steering.svdd import SVDD
from gendesign.steering.token_proposals import FirstOrder
from gendesign.training.finetuning import finetune
from gendesign.training.guard import FIGURES, Figures, Guard, GuardedReward, figures


def name_of(method: Any) -> str:
    proposal = getattr(method, "proposal", None)
    return type(method).__name__ + ("" if proposal is None else f"-{type(proposal).__name__}")


def made(heldout: list[float], naturalness: list[float], disagreement: list[float]) -> Figures:
    return Figures(*(np.array(values) for values in (heldout, naturalness, disagreement)))


BASE = made([0.0, 2.0, 1.0, 1.0], [-1.5, -1.3, -1.4, -1.4], [0.1, 0.3, 0.2, 0.2])
SD = BASE.heldout.std()


def test_distances_are_counted_in_standard_deviations_of_the_base() -> None:
    guard = Guard(heldout=(-1, 2), naturalness=(-1, None), disagreement=(None, 2))
    found = made(
        [1.0, 1.0 - 3 * SD, 1.0 + 5 * SD, np.nan],
        [-1.4, -1.4, -1.4, -1.4 - 2 * SD / 10],
        [0.2, 0.2, 0.2, 0.2 + 4 * SD / 10],
    )
    np.testing.assert_allclose(guard.distances(found, BASE), [0.0, 2.0, 3.0, 1.0 + 2.0], atol=1e-9)


@pytest.mark.parametrize(
    ("found", "best", "message"),
    [
        (made([1.0] * 3, [-1.4] * 3, [0.2] * 3), 1.0, ""),
        (made([1.0 - 2 * SD] * 3, [-1.4] * 3, [0.2] * 3), -np.inf, "heldout .* below the base's"),
        (made([9.0] * 3, [-2.4] * 3, [0.2] * 3), -np.inf, "naturalness .* below"),
        (made([9.0] * 3, [-1.4] * 3, [9.0] * 3), -np.inf, "disagreement .* above"),
        (made([9.0] * 3, [-1.4] * 3, [0.2] * 3), 9.0 + 2 * SD, "fell 2.0 standard deviations"),
        (made([np.nan] * 3, [-1.4] * 3, [np.nan] * 3), -np.inf, ""),
    ],
)
def test_a_set_is_judged_by_its_medians(found: Figures, best: float, message: str) -> None:
    import re

    reason = Guard(heldout=(-1, None), naturalness=(-3, None), disagreement=(None, 3)).broken(
        found, BASE, best_heldout=best
    )
    assert re.search(message, reason) if message else reason == ""
    assert "\n" not in reason


def test_what_is_measured() -> None:
    denoiser = TabularDenoiser(4, 3)  # uniform
    base = Backbone(DNACodec(3), MaskedDiffusion(4), denoiser)
    guide = Scores(np.zeros(2), std=np.array([0.1, 0.2]))
    heldout = FunctionReward(lambda design: float(design.count("A")), name="a", each=True)
    found = figures(["AAC", "CCC"], guide=guide, heldout=heldout, base=base)
    assert found.heldout.tolist() == [2.0, 0.0] and found.disagreement.tolist() == [0.1, 0.2]
    np.testing.assert_allclose(found.naturalness, -np.log(4))
    assert np.isnan(figures(["AAC"]).naturalness).all()
    # a network in training may write what is no design, which has no likelihood, and costs the others nothing
    found = figures(["AA-", "AAC", ""], base=base)
    np.testing.assert_allclose(found.naturalness, [np.nan, -np.log(4), np.nan])
    assert np.isnan(figures(["A"], base=base).naturalness).all()


class Fooled(DifferentiableReward):
    """The number of A, and four times that of T; a sum over independent letters is linear in them."""

    name, alphabet = "guide", "ACGT"

    def score(self, designs: Any) -> Any:
        return [design.count("A") + 4.0 * design.count("T") for design in designs]

    def relaxed(self, x: Tensor) -> Tensor:
        return (x @ torch.tensor([1.0, 0.0, 0.0, 4.0]).to(x)).sum(-1)


def hackable() -> tuple[Backbone, Reward, Reward]:
    """A's are good; the guide is taken in by T's, of which the base has few."""
    p, law = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for _ in range(4):
        law = (law[:, None] * p).flatten()
    backbone = Backbone(
        DNACodec(4), MaskedDiffusion(4, unmasking=FirstHitting()), TabularDenoiser(4, 4).set_law(law)
    )
    heldout = FunctionReward(lambda design: float(design.count("A")), name="quality", each=True)
    return backbone.requires_grad_(False), Fooled(), heldout


def guarded(guide: Reward, backbone: Backbone, heldout: Reward) -> GuardedReward:
    guard = Guard(naturalness=(-1.5, None), penalty=50.0)
    return GuardedReward(guide, backbone, heldout=heldout, guard=guard, num_times=16)


METHODS = [
    BestOfN(candidates=64),
    SVDD(candidates=8, alpha=0.05),
    SVDD(candidates=8, alpha=0.05, proposal=FirstOrder()),
    SMC(particles=16, alpha=0.05),
    SMC(particles=16, alpha=0.5, proposal=FirstOrder()),
    Guidance(alpha=0.5),
    Genetic(population=16, generations=4),
]


@pytest.mark.parametrize("method", METHODS, ids=name_of)
def test_any_method_carries_the_guard_as_a_reward(method: Any) -> None:
    """Guarded designs stay natural, at a lower guide. A gradient is weighted down where designs are outside, and no
    sooner, so that methods which follow it end nearer the bands."""
    from gendesign.run import design

    backbone, guide, heldout = hackable()
    kept = guarded(guide, backbone, heldout)
    loose, tight = (
        design(backbone, reward, method, num_designs=16, steps=4, base_designs=0) for reward in (guide, kept)
    )
    letters = ["".join(run.designs) for run in (loose, tight)]
    assert letters[0].count("T") > 0.45 * len(letters[0]) and letters[1].count("T") < letters[0].count("T")
    found = [figures(run.designs, heldout=heldout, base=backbone) for run in (loose, tight)]
    outside = [kept.guard.distances(f, kept.base).mean() for f in found]
    assert outside[1] < (0.7 if method.needs.gradient else 0.33) * outside[0], outside


def test_a_guarded_value_is_of_its_design_alone_so_that_runs_resume(tmp_path: Any) -> None:
    from gendesign.run import design

    backbone, guide, heldout = hackable()
    reward = guarded(guide, backbone, heldout)
    found = [f"T{b}T{d}" for b in "ACGT" for d in "ACGT"]
    np.testing.assert_allclose(reward(found).values, [reward([one]).values[0] for one in found])
    run, again = (
        design(
            backbone,
            reward,
            BestOfN(candidates=2),
            num_designs=70,
            base_designs=0,
            out=tmp_path,
            resume=resume,
        )
        for resume in (False, True)
    )
    assert run.designs == again.designs


@pytest.mark.whole
@pytest.mark.parametrize("method", [DRAKES(tau=0.5), PolicyGradient()], ids=name_of)
def test_methods_that_train_carry_it_too(method: Any) -> None:
    backbone, guide, heldout = hackable()
    share = []
    for reward in (guide, guarded(guide, backbone, heldout)):
        tuned = finetune(backbone, reward, method, updates=16, steps=4, batch_size=32, lr=0.5, alpha=0.1)
        share.append("".join(tuned.sample(64, steps=4)).count("T") / 256)
    assert share[0] > 0.4 and share[1] < 0.8 * share[0], share


def test_outside_the_bands_the_guide_pulls_less() -> None:
    """A relaxed design has the guarded value, and the guide's gradient over 1 + penalty * distance."""
    backbone, guide, heldout = hackable()
    kept = guarded(guide, backbone, heldout)
    scores = kept(["TTTT", "ACGA", "XX"])
    assert scores.values[0] < scores.values[1] == 2.0 and scores.status[2] == "INVALID"
    x = torch.eye(4, dtype=torch.float64)[torch.tensor([[3, 3, 3, 3], [0, 1, 2, 0]])].requires_grad_()
    value = kept.relaxed(x)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    np.testing.assert_allclose(value.detach().numpy(), scores.values[:2], rtol=1e-9)
    distance = kept.guard.distances(figures(["TTTT"], heldout=heldout, base=backbone, num_times=4), kept.base)
    assert gradient[1, 0].tolist() == [1.0, 0.0, 0.0, 4.0] and distance > 1
    assert gradient[0, 0, 3].item() == pytest.approx(4.0 / (1 + 50.0 * distance[0]), rel=1e-6)
    black_box = guarded(heldout, backbone, heldout)
    assert kept.differentiable and not black_box.differentiable and kept.alphabet == "ACGT"
    with pytest.raises(UnsupportedError, match="not differentiable"):
        black_box.relaxed(x)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heldout": (2.0, 1.0)}, "heldout must rise"),
        ({"naturalness": (1.0,)}, "naturalness must be a band"),
        ({"disagreement": (None, float("nan"))}, "disagreement must be a finite"),
        ({"fall": 0.0}, "fall must be above 0"),
        ({"penalty": -1.0}, "penalty must be at least 0"),
        ({"quantile": 0.6}, "quantile must be below 0.5"),
        ({"quantile": 0.0}, "quantile must be above 0"),
    ],
)
def test_wrong_bands(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Guard(**settings)


def test_a_configuration_names_a_guarded_reward(tmp_path: Any) -> None:
    from gendesign.rewards.catalog import build_reward

    hackable()[0].save_pretrained(tmp_path / "base")
    arguments: dict[str, Any] = {
        "reward": {"class_path": "gendesign.rewards.dna.GCContent"},
        "backbone": str(tmp_path / "base"),
        "guard": {"naturalness": [-2, None]},
        "base_designs": 8,
        "num_times": 1,
        "steps": 4,
    }
    reward = build_reward({"class_path": "gendesign.training.guard.GuardedReward", "init_args": arguments})
    assert reward(["TTTT"]).values[0] < 0.0 and reward.label == "gc-content guarded"
    arguments["guard"] = {"naturalnes": [-2, None]}
    with pytest.raises(ConfigError, match="did you mean 'naturalness'"):
        build_reward({"class_path": "gendesign.training.guard.GuardedReward", "init_args": arguments})


def test_bands_that_are_not_given_end_at_a_quantile_of_the_base() -> None:
    """On the side where exploitation shows, whatever the scale; a set is judged by its median design."""
    rng = np.random.default_rng(0)
    base = Figures(
        rng.normal(8, 3, 1_000),
        rng.normal(-1.3, 0.1, 1_000),
        rng.gamma(2, 0.2, 1_000),
        rng.normal(0.3, 0.05, 1_000),
    )
    guard, low, high = Guard(quantile=0.01), {}, {}
    for name in FIGURES:
        low[name], high[name] = guard.band(name, base)
        values = base[name]
        z = (values - np.median(values)) / values.std()
        outside = (z < low[name]) | (z > high[name])
        assert outside.mean() == pytest.approx(0.01, abs=0.001)
    assert low["disagreement"] == -np.inf and high["disagreement"] < np.inf
    assert all(high[name] == np.inf for name in ("heldout", "naturalness", "likeness"))
    fine = Figures(
        *(
            np.full(5, np.median(base[name]))
            for name in ("heldout", "naturalness", "disagreement", "likeness")
        )
    )
    assert guard.broken(fine, base) == ""
    strange = Figures(fine.heldout + 9, fine.naturalness, fine.disagreement, fine.likeness - 0.5)
    reason = guard.broken(strange, base)
    assert reason.startswith("likeness") and reason.endswith("1 % of its designs")
    assert guard.distances(strange, base).min() > 5


def test_words_that_natural_sequences_hardly_have(tmp_path: Any) -> None:
    """The likeness is the base's reference's; one without spectra has none, and leaves no band."""
    from gendesign.metrics.kmers import hash_kmers, kmer_spectrum
    from gendesign.metrics.reference import Reference

    rng = np.random.default_rng(1)
    natural = ["".join(rng.choice(list("ACGT"), 6, p=[0.4, 0.1, 0.1, 0.4])) for _ in range(400)]
    reference = Reference(
        "ACGT", hash_kmers(natural, 4), spectra={k: kmer_spectrum(natural, k) for k in (1, 3)}
    )
    base = Backbone(DNACodec(6), MaskedDiffusion(4), TabularDenoiser(4, 6))
    assert figures(natural[:2], base=base, num_times=1).likeness is None
    base.save_pretrained(tmp_path)
    reference.save(tmp_path / "reference.safetensors")
    from gendesign.loading import load_backbone

    base = load_backbone(str(tmp_path))
    own, odd = (figures(designs, base=base, num_times=1) for designs in (natural[:100], ["GCGCGG"] * 3))
    assert own.likeness is not None and odd.likeness is not None
    assert np.allclose(own.naturalness, -np.log(4), atol=1e-5)  # this base finds all of them equally likely
    assert "likeness" in Guard().broken(odd, own) and Guard().broken(own, own) == ""

"""The guard: bands in standard deviations of the base, and what leaves them."""

from typing import Any

import numpy as np
import pytest

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import FirstHitting
from gendesign.errors import ConfigError
from gendesign.models.tabular import TabularDenoiser
from gendesign.rewards.base import FunctionReward, Reward
from gendesign.rewards.scores import Scores
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.svdd import SVDD
from gendesign.training.guard import FIGURES, Figures, Guard, GuardedReward, figures


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


def hackable() -> tuple[Backbone, Reward, Reward]:
    """A's are good; the guide is taken in by T's, of which the base has few."""
    import torch

    p, law = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for _ in range(4):
        law = (law[:, None] * p).flatten()
    backbone = Backbone(
        DNACodec(4), MaskedDiffusion(4, unmasking=FirstHitting()), TabularDenoiser(4, 4).set_law(law)
    )
    heldout = FunctionReward(lambda design: float(design.count("A")), name="quality", each=True)
    guide = FunctionReward(
        lambda design: design.count("A") + 4.0 * design.count("T"), name="guide", each=True
    )
    return backbone.requires_grad_(False), guide, heldout


@pytest.mark.parametrize("method", [BestOfN(candidates=64), SVDD(candidates=8, alpha=0.05)])
def test_any_method_carries_the_guard_as_a_reward(method: Any) -> None:
    """Guarded designs stay natural, at a lower guide."""
    from gendesign.run import design

    backbone, guide, heldout = hackable()
    guarded = GuardedReward(
        guide, backbone, heldout=heldout, guard=Guard(naturalness=(-1.5, None), penalty=50.0), num_times=4
    )
    loose, tight = (
        design(backbone, reward, method, num_designs=16, steps=4, base_designs=0)
        for reward in (guide, guarded)
    )
    letters = ["".join(run.designs) for run in (loose, tight)]
    assert letters[0].count("T") > 0.45 * len(letters[0]) and letters[1].count("T") < letters[0].count("T")
    found = [figures(run.designs, heldout=heldout, base=backbone) for run in (loose, tight)]
    outside = [guarded.guard.distances(f, guarded.base).mean() for f in found]
    assert outside[0] > 3 * outside[1], outside
    scores = guarded(["TTTT", "ACGA", "XX"])
    assert scores.values[0] < scores.values[1] == 2.0 and scores.status[2] == "INVALID"


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

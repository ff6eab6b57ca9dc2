"""Conditional backbones: labels, lengths, what a batch brings; dropout, classifier-free guidance, rows counted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from gendesign.array_codecs import VectorCodec
from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec, ProteinCodec
from gendesign.conditioning import Bins, Brought, Labels, Lengths, Numbers, given_in
from gendesign.determinism import generator
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import ConfigError, DataError, UnsupportedError
from gendesign.loading import load_backbone
from gendesign.models.base import Denoiser
from gendesign.models.conditioned import Conditioned
from gendesign.models.dilated_conv import DilatedConvDenoiser
from gendesign.models.dit import DiTNetwork
from gendesign.models.half import Half
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.models.switched import SwitchedDenoiser
from gendesign.models.tempered import Tempered
from gendesign.models.transformer import TransformerDenoiser
from gendesign.models.unet2d import UNet2DNetwork
from gendesign.rewards.base import FunctionReward
from gendesign.steering.policy_gradient import PolicyGradient
from gendesign.training.finetuning import FineTuning

NAN = math.nan


def test_labels_and_bins() -> None:
    """One-hots; nothing where nothing was measured."""
    targets = torch.tensor([[0.0, 9.0], [2.0, 9.0], [NAN, 9.0]])
    assert Labels(3).encode(targets).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    scores = torch.tensor([[-1.0], [0.5], [0.7], [3.0], [NAN]])
    found = Bins([0.5, 1.0]).encode(scores)
    assert found.argmax(-1)[:4].tolist() == [0, 1, 1, 2] and found[4].sum() == 0
    assert Bins([0.5], column=1).label(0.2).tolist() == [1, 0]


def test_numbers_are_told_together_or_not_at_all() -> None:
    targets = torch.tensor([[9.0, 3.0, 10.0], [9.0, 1.0, NAN]])
    known = Numbers([2, 1], mean=[8, 1], std=[4, 2])
    assert known.dim == 3 and known.encode(targets).tolist() == [[0.5, 1.0, 1.0], [0.0, 0.0, 0.0]]
    assert known.label([10.0, 3]).tolist() == [0.5, 1.0, 1.0] and Numbers([4]).label(2).tolist() == [2, 1]
    for label in (1.0, [1.0], [1.0, NAN]):
        with pytest.raises(ConfigError):
            known.label(label)
    with pytest.raises(DataError, match="target 2"):
        known.encode(targets[:, :2])
    for columns, more in (([], {}), ([0], {"std": [0.0]}), ([0], {"mean": [1, 2]}), ([-1], {})):
        with pytest.raises(ConfigError):
            Numbers(columns, **more)


def test_labels_are_left_out_as_often_as_said() -> None:
    targets = torch.zeros(4_000, 1)
    kept = Labels(2, dropout=0.25).for_training(targets, generator=generator(0)).sum(-1)
    assert kept.mean().item() == pytest.approx(0.75, abs=0.03)
    assert bool((Labels(2, dropout=0.0).for_training(targets, generator=generator(0)).sum(-1) == 1).all())


class Loose(Denoiser):
    """Answers that are linear in the label, so that guidance can be written down."""

    time_conditioned, cond_dim, vocab_size = False, 2, 4

    def __init__(self, numbers: bool) -> None:
        super().__init__()
        self.numbers, self.calls = numbers, 0

    def forward(self, x: Tensor, t: Any = None, cond: Any = None, mask: Any = None) -> Any:
        self.calls += len(x)
        if self.numbers:
            return cond[:, :1] + 0 * x, 0.5 + cond[:, 1:] + 0 * x
        return torch.arange(4.0) * (1 + cond[:, :1, None]) + torch.zeros(*x.shape, 4)


@pytest.mark.parametrize(("scale", "rows"), [(0.0, 1), (1.0, 1), (3.0, 2), (-0.5, 2)])
def test_guidance_is_the_mixture_of_both_answers(scale: float, rows: int) -> None:
    """Tokens: log-probabilities; numbers: means, with the conditional variance. Rows are counted double."""
    inner = Loose(numbers=False)
    process, x, t = MaskedDiffusion(4), torch.full((3, 2), 4), torch.full((3,), 0.5).double()
    bound = Conditioned(inner, [1.0, 0.0], guidance_scale=scale)
    found = process.predict(bound, x, t)
    given, free = ((torch.arange(4.0).double() * k).log_softmax(0) for k in (2, 1))
    expected = (free + scale * (given - free)).log_softmax(0)
    torch.testing.assert_close(found.log_probs, expected.expand(3, 2, 4))
    assert found.rows == inner.calls == 3 * rows
    numbers = Loose(numbers=True)
    flow = PoissonFlow(math.inf).predict(
        Conditioned(numbers, [1.0, 0.25], guidance_scale=scale),
        torch.zeros(3, 2),
        t,
    )
    torch.testing.assert_close(flow.mean, torch.full((3, 2), scale).double())
    if scale != 0:
        torch.testing.assert_close(flow.variance, torch.full((3, 2), 0.75 if scale != 0 else 0.5).double())
    assert flow.rows == numbers.calls == 3 * rows


@pytest.mark.parametrize(
    "wrap",
    [
        Half,
        lambda inner: Tempered(inner, temperature=2.0),
        lambda inner: SwitchedDenoiser(inner, inner, sigma_floor=0.1),
    ],
    ids=["half", "tempered", "switched"],
)
def test_a_denoiser_around_another_looks_like_it(wrap: Any) -> None:
    """It takes what the inner one takes, and counts the rows that it asks for."""
    inner = Loose(numbers=False)
    Labels(2).check(wrap(inner))
    bound = wrap(Conditioned(inner, [1.0, 0.0], guidance_scale=3.0))
    assert bound.vocab_size == 4 and bound.rows_per_design == 2
    Brought().check(bound)  # it has its label


def test_what_is_fine_tuned_belongs_to_its_label_and_without_one_takes_one_still(tmp_path: Path) -> None:
    network = Preconditioned(MLPNetwork(2, 8, depth=1, cond_dim=2))
    free = Backbone(
        VectorCodec(["a", "b"], mean=[0, 0], std=[1, 1]), PoissonFlow(), network, conditioning=Labels(2)
    )
    one, two = (free.conditioned_on(label) for label in (0, 1))
    reward = FunctionReward(lambda designs: [0.0] * len(designs))
    for name, base in (("free", free), ("one", one)):
        FineTuning(base, reward, PolicyGradient()).save_pretrained(tmp_path / name)
        PolicyGradient(tuned=str(tmp_path / name))(base)
    assert len(load_backbone(tmp_path / "free", label=1).sample(2, steps=2)) == 2
    for name, base, said in (("one", two, "another"), ("one", free, "a"), ("free", one, "no")):
        with pytest.raises(UnsupportedError, match=f"fine-tuned on {said} label"):
            PolicyGradient(tuned=str(tmp_path / name))(base)


@pytest.mark.parametrize(
    "network",
    [
        MLPNetwork(16, 16, depth=1, cond_dim=3),
        DiTNetwork(4, 4, 16, depth=1, num_heads=2, cond_dim=3),
        UNet2DNetwork(4, 4, widths=(8, 8), cond_dim=3),
    ],
    ids=lambda network: type(network).__name__,
)
def test_networks_of_numbers_read_the_label(network: Any) -> None:
    for parameter in network.parameters():  # they start as the identity
        nn.init.normal_(parameter, std=0.2)
    x, noise = torch.randn(2, 16), torch.zeros(2)
    one, other = (network.eval()(x, noise, torch.eye(3)[[i, i]])[0] for i in (0, 1))
    assert (one - other).abs().max() > 1e-3
    torch.testing.assert_close(network(x, noise), network(x, noise, torch.zeros(2, 3)))
    with pytest.raises(ConfigError, match=r"cond must be \[2, 3\]"):
        network(x, noise, torch.zeros(2, 2))


def train(
    backbone: Backbone, x: Tensor, targets: Tensor, steps: int, folder: Path, mask: Tensor | None = None
) -> None:
    batch = {
        "x": x,
        "targets": targets,
        "weight": torch.ones(len(x)),
        "mask": torch.ones(x.shape, dtype=torch.bool) if mask is None else mask,
    }
    batches = [batch | {"position": torch.tensor(i)} for i in range(steps)]
    trainer = Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(backbone, torch.utils.data.DataLoader(batches, batch_size=None))
    backbone.eval().requires_grad_(False)


@pytest.mark.filterwarnings("ignore")
def test_a_masked_backbone_learns_its_labels(tmp_path: Path) -> None:
    """Label 0 means A or C, label 1 means G or T; unlabelled samples are of both kinds. Saved, loaded, guided."""
    x = torch.randint(0, 2, (256, 4), generator=generator(0)) + 2 * (torch.arange(256) % 2)[:, None]
    network = TransformerDenoiser(4, 32, depth=1, num_heads=2, dropout=0.0, cond_dim=2)
    backbone = Backbone(
        DNACodec(4), MaskedDiffusion(4), network, lr=1e-2, warmup_steps=5, conditioning=Labels(2)
    )
    train(backbone, x, (torch.arange(256) % 2)[:, None].float(), 80, tmp_path)
    backbone.save_pretrained(tmp_path / "saved")
    for label, letters in ((0, "AC"), (1, "GT")):
        for scale in (1.0, 2.0):
            bound = load_backbone(tmp_path / "saved", label=label, guidance_scale=scale)
            designs = bound.sample(64, steps=6)
            share = sum(all(letter in letters for letter in design) for design in designs) / 64
            assert share > 0.9
            assert bound.provenance["label"] == label and bound.provenance["guidance_scale"] == scale
    loaded = load_backbone(tmp_path / "saved")
    free = loaded.sample(64, steps=6)
    assert {letter in "AC" for design in free for letter in design[0]} == {True, False}
    good, bad = loaded.conditioned_on(0).log_likelihood(["ACCA", "GTTG"], num_times=16)
    assert good > bad + 3
    again = loaded.conditioned_on(1, guidance_scale=2.0)
    again.save_pretrained(tmp_path / "bound")  # a bound backbone is a backbone like any other
    assert load_backbone(tmp_path / "bound").sample(8, steps=4) == again.sample(8, steps=4)
    assert loaded.sample(64, steps=6) == free  # binding changed nothing of the original


@pytest.mark.whole
@pytest.mark.filterwarnings("ignore")
def test_a_continuous_backbone_learns_binned_scores(tmp_path: Path) -> None:
    """Low scores lie at -1, high ones at 1."""
    score = torch.arange(256) % 2
    x = (2.0 * score[:, None] - 1) + 0.1 * torch.randn((256, 2), generator=generator(0))
    network = MLPNetwork(2, 32, depth=1, cond_dim=2)
    backbone = Backbone(
        VectorCodec(["a", "b"], mean=[0.0, 0.0], std=[1.0, 1.0]),
        PoissonFlow(128, sigma_data=1.0),
        Preconditioned(network, sigma_data=1.0, aug_dim=128),
        lr=1e-2,
        warmup_steps=5,
        conditioning=Bins([0.5]),
    )
    train(backbone, x, score[:, None].float(), 200, tmp_path)
    for label, place in ((0.0, -1.0), (0.9, 1.0)):
        drawn = torch.tensor(backbone.conditioned_on(label).sample(64, steps=18))
        assert (drawn.mean() - place).abs() < 0.3 and drawn.std() < 0.5
    assert torch.tensor(backbone.sample(64, steps=18)).std() > 0.6


@pytest.mark.filterwarnings("ignore")
def test_a_backbone_of_several_lengths_learns_them(tmp_path: Path) -> None:
    """Proteins of 2, 4 or 6 letters: a length is asked for as any label is, and guided toward."""
    codec = ProteinCodec(6, variable=True)
    lengths = 2 + 2 * (torch.arange(256) % 3)
    letters = torch.randint(0, 2, (256, 6), generator=generator(0))
    x = torch.where(torch.arange(6) < lengths[:, None], letters, codec.pad_id)
    network = DilatedConvDenoiser(codec.vocab_size, 32, depth=2, dropout=0.0, cond_dim=3)
    backbone = Backbone(
        codec,
        MaskedDiffusion(codec.vocab_size),
        network,
        lr=1e-2,
        warmup_steps=5,
        conditioning=Lengths([3, 5]),
    )
    mask = x != codec.pad_id
    cond = given_in({"mask": mask, "targets": torch.zeros(256, 0)}, backbone.conditioning)["cond"]
    assert cond is not None and cond.argmax(-1).equal((lengths - 2) // 2)
    train(backbone, x, torch.zeros(256, 0), 80, tmp_path, mask=mask)
    backbone.save_pretrained(tmp_path / "saved")
    for length in (2, 4, 6):
        for scale in (1.0, 2.0):
            bound = load_backbone(tmp_path / "saved", label=length, guidance_scale=scale)
            assert sum(len(design) == length for design in bound.sample(64, steps=12)) > 55
    assert {len(design) for design in backbone.sample(64, steps=12)} >= {2, 4, 6}


def test_what_a_batch_brings_is_left_out_as_often_as_said() -> None:
    batch = {"cond": torch.zeros(2_000, 3, 14), "mask": torch.ones(2_000, 3, dtype=torch.bool)}
    cond = Brought(dropout=0.25).given(batch, generator=generator(0))["cond"]
    assert cond is not None and cond.isnan().all((1, 2)).float().mean().item() == pytest.approx(
        0.25, abs=0.03
    )
    assert (cond.isnan().any((1, 2)) == cond.isnan().all((1, 2))).all()  # of a design all or nothing
    for conditioning in (None, Brought(dropout=0.25)):  # outside of training nothing is left out
        found = given_in(batch, conditioning)
        assert found["cond"] is batch["cond"] and found["mask"] is batch["mask"]
    assert given_in(batch, generator=generator(0))["cond"] is batch["cond"]
    with pytest.raises(ConfigError, match="bring no cond"):
        Brought().given({"mask": batch["mask"]})
    with pytest.raises(ConfigError, match="takes a vector"):
        Brought().check(TransformerDenoiser(4, 8, depth=1, num_heads=2, cond_dim=3))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    network = TransformerDenoiser(4, 8, depth=1, num_heads=2, cond_dim=3)
    with pytest.raises(ConfigError, match="2 numbers, the network has cond_dim=3"):
        Backbone(DNACodec(4), MaskedDiffusion(4), network, conditioning=Labels(2))
    plain = Backbone(DNACodec(4), MaskedDiffusion(4), TransformerDenoiser(4, 8, depth=1, num_heads=2))
    with pytest.raises(UnsupportedError, match="knows no labels"):
        plain.conditioned_on(0)
    plain.save_pretrained(tmp_path / "plain")
    with pytest.raises(UnsupportedError, match="knows no labels"):
        load_backbone(tmp_path / "plain", label=1)
    with pytest.raises(ConfigError, match="needs a label"):
        load_backbone(tmp_path / "plain", guidance_scale=2.0)
    known = Backbone(DNACodec(4), MaskedDiffusion(4), network, conditioning=Labels(3))
    for label in (3, 0.5, -1, NAN):
        with pytest.raises(ConfigError):
            known.conditioned_on(label)
    with pytest.raises(ConfigError, match="guidance_scale"):
        known.conditioned_on(1, guidance_scale=math.inf)
    with pytest.raises(ConfigError, match="bound to a label"):
        known.conditioned_on(1).denoiser(torch.zeros(1, 4, dtype=torch.long), cond=torch.zeros(1, 3))
    with pytest.raises(DataError, match="target 1"):
        Labels(2, column=1).encode(torch.zeros(3, 1))
    with pytest.raises(DataError, match="label 0..1"):
        Labels(2).encode(torch.full((1, 1), 2.0))
    for make in (
        lambda: Labels(1),
        lambda: Labels(2, dropout=1.5),
        lambda: Labels(2, column=-1),
        lambda: Bins([]),
        lambda: Bins([1.0, 1.0]),
    ):
        with pytest.raises(ConfigError):
            make()

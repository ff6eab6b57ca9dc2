"""Predictors that read a molecule's tokens, as differentiable rewards."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from gendesign.codecs import DNACodec
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.models.attention_predictor import AttentionPredictor
from gendesign.models.predictor import ConvPredictor
from gendesign.molecules.codec import MoleculeCodec
from gendesign.rewards import PredictedReward, Predictor, Status, load_predictor, load_reward

pytest.importorskip("rdkit")
pytest.importorskip("selfies")
MOLECULES = ["CCO", "c1ccccc1", "CC(=O)O", "CCN", "CC(N)=O"]


@pytest.fixture(scope="module")
def codec() -> MoleculeCodec:
    return MoleculeCodec.learn(MOLECULES, length=14)


def made(folder: Path, codec: MoleculeCodec, members: int) -> str:
    network = AttentionPredictor(len(codec.vocabulary), 14, 2, width=16, depth=1, num_heads=2, hidden=8)
    model = Predictor(codec, network, heads=["one", "two"], members=members, source="somewhere")
    model.center.copy_(torch.tensor([1.0, -1.0]))
    model.scale.copy_(torch.tensor([2.0, 0.5]))
    model.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("members", [1, 2])
def test_relaxed_tokens_with_padding_equal_the_score(
    tmp_path: Path, codec: MoleculeCodec, members: int
) -> None:
    reward = PredictedReward(made(tmp_path / "p", codec, members), head="one")
    ids = codec.encode(MOLECULES)
    relaxed = codec.relax(one_hot(ids, codec.vocab_size + 1).float()).requires_grad_()
    values = reward.relaxed(relaxed)
    np.testing.assert_allclose(values.detach().numpy(), reward(MOLECULES).values, atol=1e-5)
    (gradient,) = torch.autograd.grad(values.sum(), relaxed)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0
    moved = torch.stack([torch.cat([row[row == codec.pad_id], row[row != codec.pad_id]]) for row in ids])
    elsewhere = reward.relaxed(codec.relax(one_hot(moved, codec.vocab_size + 1).float()))
    np.testing.assert_allclose(elsewhere.detach().numpy(), values.detach().numpy(), atol=1e-5)


def test_spellings_of_a_molecule_score_alike_and_others_have_a_reason(
    tmp_path: Path, codec: MoleculeCodec
) -> None:
    reward = PredictedReward(made(tmp_path / "p", codec, 2), head="two")
    scores = reward(["OCC", "CCO", "C1CC", "", "CC.O", "[Si]", "C" * 60])
    assert scores.values[0] == scores.values[1] and scores.std is not None and scores.std[0] > 1e-4
    assert list(scores.status[2:]) == [Status.INVALID] * 5 and all(scores.message[2:])
    assert "rdkit" in reward.version and "weights" in reward.version


def test_one_network_has_no_deviation_and_no_bound(tmp_path: Path, codec: MoleculeCodec) -> None:
    folder = made(tmp_path / "p", codec, 1)
    reward = PredictedReward(folder, head="one")
    assert reward(["CCO"]).std is None
    assert reward.relaxed_moments(torch.zeros(1, 14, codec.vocab_size))[1] is None
    with pytest.raises(ConfigError, match="one network"):
        PredictedReward(folder, head="one", lower_confidence_bound=1.0)


def test_other_tokens_are_refused(tmp_path: Path, codec: MoleculeCodec) -> None:
    reward = PredictedReward(made(tmp_path / "p", codec, 1), head="one")
    with pytest.raises(UnsupportedError, match="tokens"):
        reward.relaxed(torch.zeros(1, 14, codec.vocab_size + 1))


def test_padding_before_a_constant_end_is_refused(tmp_path: Path) -> None:
    small = {"width": 8, "stem_kernel": 5, "kernel_size": 3, "depth": 1, "poolings": 2, "hidden": 8}
    for suffix in ("", "GT"):
        model = Predictor(
            DNACodec(12, variable=True), ConvPredictor(4, 12, 1, **small), heads=["up"], suffix=suffix
        )
        model.center.fill_(0.0), model.scale.fill_(1.0)
        model.save_pretrained(tmp_path / f"dna{suffix}")
    padded = one_hot(torch.tensor([[0, 1, 2, 4, 4, 4]]), 5).float()
    free = PredictedReward(str(tmp_path / "dna"))
    np.testing.assert_allclose(free.relaxed(padded).detach().numpy(), free(["ACG"]).values, atol=1e-5)
    with pytest.raises(UnsupportedError, match="5 tokens"):
        PredictedReward(str(tmp_path / "dnaGT")).relaxed(padded)


def test_the_shipped_predictor_tells_drugs_from_others() -> None:
    drug, greasy = "CC(=O)Nc1ccc(OCC(O)CNC(C)C)cc1", "CCCCCCCCCCCCCCCC"
    qed, logp = (load_reward(f"molecule-properties{head}")([drug, greasy]) for head in ("", "-logp"))
    assert qed.ok.all() and logp.ok.all() and qed.std is None
    assert qed.values[0] > qed.values[1] + 0.1 and logp.values[1] > logp.values[0] + 1.5
    assert load_reward("molecule-properties").alphabet == " ".join(
        load_predictor("molecule-properties").codec.vocabulary
    )
    assert load_reward("molecule-properties-heldout")([drug]).values == load_reward("qed")([drug]).values

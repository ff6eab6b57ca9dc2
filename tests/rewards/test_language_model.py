"""Protein language models: a tiny one made here, its likelihood against transformers' own, gradients, refusals."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gendesign.codecs import ProteinCodec
from gendesign.errors import CheckpointError, ConfigError, MissingExtraError, UnsupportedError
from gendesign.rewards import ProteinLanguageModel, Status
from gendesign.rewards.protein import AMINO_ACIDS

transformers = pytest.importorskip("transformers")

SPECIAL = ["<cls>", "<pad>", "<eos>", "<unk>"]
LETTERS = list("LAGVSERTIDPKQNFYMHWCXBUZO.-")  # an order of its own
DESIGNS = ["MKV", "ACDEFGHIKL", "WWWWWWWWWW"]


def esm(folder: Path, *, token_dropout: bool, positions: str, tokens: list[str] | None = None) -> Path:
    """A random ESM of two layers, saved as the hub holds it."""
    folder.mkdir(parents=True)
    vocabulary = tokens or [*SPECIAL, *LETTERS, "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = transformers.EsmTokenizer(str(folder / "vocab.txt"))
    config = transformers.EsmConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32, pad_token_id=1, mask_token_id=vocabulary.index("<mask>"),
        token_dropout=token_dropout, position_embedding_type=positions, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, emb_layer_norm_before=False, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.EsmForMaskedLM(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[(True, "rotary"), (False, "absolute")], ids=["esm2", "absolute"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    dropout, positions = request.param
    return esm(tmp_path_factory.mktemp("plm") / "tiny", token_dropout=dropout, positions=positions)


@torch.no_grad()
def by_token_ids(folder: Path, design: str, *, one_pass: bool) -> float:
    """The definition, through the model's own embedding of token ids."""
    model = transformers.EsmForMaskedLM.from_pretrained(folder).eval()
    tokenizer = transformers.EsmTokenizer.from_pretrained(folder)
    letters = tokenizer.convert_tokens_to_ids(list(AMINO_ACIDS))
    ids = tokenizer(design, return_tensors="pt")["input_ids"]
    total = 0.0
    for place in range(1, 1 + len(design)):
        masked = ids.clone()
        if not one_pass:
            masked[0, place] = tokenizer.mask_token_id
        attended = torch.ones_like(ids)
        log_probs = model(masked, attention_mask=attended).logits[0, place, letters].log_softmax(-1)
        total += float(log_probs[AMINO_ACIDS.index(design[place - 1])])
    return total / len(design)


@pytest.mark.parametrize("one_pass", [False, True])
def test_score_is_the_definition_and_relaxed_agrees(folder: Path, one_pass: bool) -> None:
    reward = ProteinLanguageModel(str(folder), one_pass=one_pass, batch_size=4)
    scores = reward(DESIGNS)
    expected = [by_token_ids(folder, design, one_pass=one_pass) for design in DESIGNS]
    np.testing.assert_allclose(scores.values, expected, atol=1e-5)
    assert np.ptp(expected) > 0.01  # the model tells them apart
    same = [design for design in DESIGNS if len(design) == 10]
    x = torch.nn.functional.one_hot(ProteinCodec(10).encode(same), 20).float().requires_grad_()
    relaxed = reward.relaxed(x)
    np.testing.assert_allclose(relaxed.detach().numpy(), expected[1:], atol=1e-5)
    gradient = torch.autograd.grad(relaxed.sum(), x)[0]
    assert gradient.isfinite().all() and (gradient.abs().sum((1, 2)) > 0).all()


def test_gradients_match_finite_differences(folder: Path) -> None:
    reward = ProteinLanguageModel(str(folder))
    reward.network.double()
    x = torch.rand(1, 3, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    # rotary positions are computed in single precision
    assert torch.autograd.gradcheck(reward.relaxed, x.requires_grad_(), eps=1e-3, atol=1e-2, rtol=1e-2)


def test_order_and_batches_change_nothing(folder: Path) -> None:
    reward = ProteinLanguageModel(str(folder), batch_size=3)
    other = ProteinLanguageModel(str(folder), batch_size=100)
    np.testing.assert_allclose(reward(DESIGNS[::-1]).values[::-1], other(DESIGNS).values, atol=1e-5)


def test_what_it_cannot_read_is_invalid(folder: Path) -> None:
    reward = ProteinLanguageModel(str(folder), max_length=5)
    scores = reward(["MKV", "MKX", "mk*", "", "MKVMKV"])
    assert list(scores.status) == [Status.OK] + [Status.INVALID] * 4
    assert "at most 5 residues" in scores.message[4]
    with pytest.raises(UnsupportedError, match="fixed length"):
        reward.relaxed(torch.zeros(1, 3, 21))


def test_the_bound_of_a_table_of_positions(tmp_path: Path) -> None:
    reward = ProteinLanguageModel(str(esm(tmp_path / "m", token_dropout=False, positions="absolute")))
    assert reward.max_length == 32 - 2 - 2  # two special tokens; positions begin after the padding token's
    assert list(reward(["A" * 28, "A" * 29]).status) == [Status.OK, Status.INVALID]


def test_what_is_no_protein_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="cannot load the language model"):
        ProteinLanguageModel(str(tmp_path / "nothing"))
    tokens = [*SPECIAL, *"ACDEFGHIKLMNPQRSTV", "<mask>"]
    with pytest.raises(ConfigError, match="W, Y"):
        ProteinLanguageModel(
            str(esm(tmp_path / "few", token_dropout=True, positions="rotary", tokens=tokens))
        )
    plain = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "transformers":
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"gendesign\[plm\]"):
        ProteinLanguageModel(str(tmp_path))


def test_a_model_of_the_bert_family(tmp_path: Path) -> None:
    """As ProtBERT: other special tokens, absolute positions from 0, layer norm after the embeddings."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS[:20]]
    (tmp_path / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=False)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, initializer_range=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.BertForMaskedLM(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reward = ProteinLanguageModel(str(tmp_path))
    assert reward.max_length == 16 - 2
    ids = torch.tensor([[2, *(vocabulary.index(a) for a in "MKV"), 3]])
    letters = [vocabulary.index(a) for a in AMINO_ACIDS]
    total = 0.0
    for place, letter in enumerate("MKV", start=1):
        masked = ids.index_put((torch.tensor(0), torch.tensor(place)), torch.tensor(4))
        log_probs = model(masked).logits[0, place, letters].log_softmax(-1)
        total += log_probs[AMINO_ACIDS.index(letter)].item()
    np.testing.assert_allclose(reward(["MKV"]).values, [total / 3], atol=1e-5)

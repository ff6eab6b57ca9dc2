"""Networks for variants of a reference: additive effects, a profile, ids and one-hots alike, errors."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import one_hot

from gendesign.errors import ConfigError
from gendesign.models.variants import SURE, VariantDenoiser, VariantPredictor

REFERENCE = "ACDA"


def letters(text: str) -> torch.Tensor:
    return one_hot(torch.tensor([["ACDE".index(c) for c in text]]), 4).float()


def predictor(**options: int) -> VariantPredictor:
    torch.manual_seed(0)
    return VariantPredictor(4, 4, 2, reference=REFERENCE, alphabet="ACDE", **options).eval()


def test_latent_effects_add_over_mutations_and_the_reference_has_none() -> None:
    network = predictor(effects=3)
    first, second, both = (network.effects((letters(t) - network.reference).flatten(1))
                           for t in ("CCDA", "ACDE", "CCDE"))  # fmt: skip
    torch.testing.assert_close(first + second, both)
    torch.testing.assert_close(network(letters(REFERENCE)), network.bend(torch.zeros(1, 3)))
    assert network(letters("CCDE")).shape == (1, 2)


def test_before_training_the_denoiser_believes_in_the_reference_to_a_degree() -> None:
    network = VariantDenoiser(4, REFERENCE, alphabet="ACDE", width=8).eval()
    p = network(torch.full((2, 4), 4)).softmax(-1)
    expected = torch.tensor(SURE).exp() / (torch.tensor(SURE).exp() + 3)
    torch.testing.assert_close(p[0].amax(-1), expected.expand(4))
    assert ["ACDE"[i] for i in p[0].argmax(-1)] == list(REFERENCE)


def test_a_denoiser_reads_ids_as_it_reads_their_one_hots_and_sees_what_is_known() -> None:
    torch.manual_seed(0)
    network = VariantDenoiser(4, REFERENCE, alphabet="ACDE", width=8).eval()
    torch.nn.init.normal_(network.shift[-1].weight)
    ids = torch.tensor([[4, 1, 2, 0], [4, 1, 2, 3]])
    torch.testing.assert_close(network(ids), network(one_hot(ids, 5).float()))
    assert not torch.allclose(network(ids)[0, 0], network(ids)[1, 0])


def test_a_tiny_landscape_with_a_threshold_is_learned() -> None:
    torch.manual_seed(0)
    x = torch.cat([letters(f"{a}{b}{c}{d}") for a in "AC" for b in "CE" for c in "DA" for d in "AC"])
    distance = (x - letters(REFERENCE)).abs().flatten(1).sum(1) / 2
    y = torch.sigmoid(4 * (1.5 - distance))[:, None].expand(-1, 2)
    network = predictor(effects=2, hidden=16).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(300):
        loss = (network(x) - y).square().mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    assert float(loss.detach()) < 1e-3


@pytest.mark.parametrize("reference", ["ACD", "ACDEE", "ACDX", ""])
def test_a_reference_that_does_not_fit_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError, match="the reference must be"):
        VariantPredictor(4, 4, 1, reference=reference, alphabet="ACDE")


def test_sequences_of_another_length_and_conditions_are_refused() -> None:
    network = VariantDenoiser(4, REFERENCE, alphabet="ACDE", width=8)
    with pytest.raises(ConfigError, match="4 positions over 5 tokens"):
        network(torch.zeros(1, 3, dtype=torch.long))
    with pytest.raises(ConfigError, match="takes no cond"):
        network(torch.zeros(1, 4, dtype=torch.long), cond=torch.zeros(1, 2))
    with pytest.raises(ConfigError, match="expected one-hots"):
        predictor()(torch.zeros(1, 3, 4))

"""Known motifs in a first layer: occupancies worked out by hand, both strands, gradients, and what does not fit."""

import math

import pytest
import torch

from gendesign.codecs import DNACodec
from gendesign.errors import ConfigError
from gendesign.models.known_motifs import KnownMotifs
from gendesign.models.predictor import ConvPredictor, RecurrentPredictor, SequencePredictor

AC = torch.tensor([[1.0, -2.0, -2.0, -2.0], [-2.0, 2.0, -1.0, -2.0]])  # A then C; 3 bits at best
GATTA = torch.full((5, 4), -1.0).index_put(
    (torch.arange(5), torch.tensor([2, 0, 3, 3, 0])), torch.tensor(1.5)
)


def layer(width: int = 3) -> KnownMotifs:
    torch.manual_seed(0)
    made = KnownMotifs(4, 2, 5, width)
    made.take([AC, GATTA])
    return made


def one_hot(*designs: str) -> torch.Tensor:
    return torch.nn.functional.one_hot(DNACodec(len(designs[0])).encode(list(designs)), 4).float()


def occupied(known: KnownMotifs, x: torch.Tensor) -> torch.Tensor:
    return known.occupancies(known.scores(x))


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_an_occupancy_worked_out_by_hand() -> None:
    # a motif of two in five positions starts at position 1: site l is of letters l - 1 and l
    found = occupied(layer(), one_hot("ACGTA").transpose(1, 2))[0, 0]
    cut = 0.75 * 3
    forward = [-2.0, 1 + 2, -2 - 1, -2 - 2, -2 - 2]  # site 0 hangs over the edge: only A at its second place
    # the other strand is G then T, one place further on in the kernel: GT scores 3
    backward = [-1 + (-2), -2 + (-2), 2 + 1, -2 - 2, -2.0]
    expected = [sigmoid(max(f, b) - cut) for f, b in zip(forward, backward, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_gain_and_cut_enter() -> None:
    known = layer()
    plain = occupied(known, one_hot("ACGTA").transpose(1, 2))
    with torch.no_grad():
        known.cut.add_(1.0)
        known.gain.fill_(2.0)
    changed = occupied(known, one_hot("ACGTA").transpose(1, 2))
    torch.testing.assert_close(changed.logit(), 2 * (plain.logit() - 1), atol=1e-4, rtol=1e-4)


def test_the_other_strand_is_read_from_its_other_end() -> None:
    known = layer()
    design, reverse = one_hot("GATTACAGGTCCA", "TGGACCTGTAATC").transpose(1, 2)
    # kernels of five positions are symmetric about their middle; a motif of two in them is off it by one
    whole = occupied(known, torch.stack([design, reverse]))[:, 1]
    torch.testing.assert_close(whole[0], whole[1].flip(0))
    assert whole[0].argmax() == 2 and float(whole[0, 2].detach()) == pytest.approx(sigmoid(7.5 / 4))


def test_a_wider_motif_is_cut_to_the_positions_that_tell_most() -> None:
    sure = torch.tensor([2.0, -6.0, -6.0, -6.0])
    motif = torch.stack([torch.zeros(4), sure.roll(1), sure, sure.roll(3), torch.zeros(4), torch.zeros(4)])
    known = KnownMotifs(4, 1, 3, 2)
    known.take([motif])
    torch.testing.assert_close(known.kernels[0].T, motif[1:4])
    torch.testing.assert_close(known.cut, torch.tensor([[0.75 * 6]]))


def test_relaxed_designs_have_a_gradient_and_the_kernels_have_none() -> None:
    known = layer()
    x = one_hot("ACGTACCAGT").transpose(1, 2).requires_grad_()
    known(x).square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().sum() > 0
    assert {name for name, _ in known.named_parameters()} == {"cut", "gain", "mix.weight", "mix.bias"}
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in known.parameters())
    # a numerical derivative along one letter
    step = torch.zeros_like(x)
    step[0, 2, 4] = 1e-3
    with torch.no_grad():
        slope = (known(x + step).square().sum() - known(x - step).square().sum()) / 2e-3
    assert float(slope) == pytest.approx(float(x.grad[0, 2, 4]), rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("kind", [ConvPredictor, RecurrentPredictor])
def test_a_network_with_motifs_sees_what_one_without_cannot(kind: type[SequencePredictor]) -> None:
    torch.manual_seed(0)
    network = kind(4, 12, 2, width=8, stem_kernel=3, known_motifs=2, motif_width=5)  # type: ignore[call-arg]
    x = one_hot("ACGTACCAGTCA", "GATTACAGATTA")
    network.eval()
    assert not network.has_motifs
    before = network(x)
    network.take_motifs([AC, GATTA])
    assert network.has_motifs and not torch.allclose(network(x), before, atol=1e-4)
    assert "stem.known.kernels" in network.state_dict()


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="motif_width must be odd; got 4"):
        KnownMotifs(4, 2, 4, 8)
    with pytest.raises(ConfigError, match="known_motifs must be a whole number"):
        ConvPredictor(4, 12, 1, known_motifs=-1)
    with pytest.raises(ConfigError, match="place for known_motifs: 2 over 4 letters; got 1 over 4"):
        layer().take([AC])
    with pytest.raises(ConfigError, match="over 4 letters; got 2 over 3, 4"):
        layer().take([AC, AC[:, :3]])
    with pytest.raises(ConfigError, match="no place for known motifs; give it known_motifs: 2"):
        ConvPredictor(4, 12, 1).take_motifs([AC, GATTA])


@pytest.mark.parametrize("kind", [ConvPredictor, RecurrentPredictor])
def test_scores_of_the_same_motifs_are_taken_from_another_network(kind: type[SequencePredictor]) -> None:
    x = one_hot("ACGTACGTACGT")
    networks = [
        kind(4, 12, 1, known_motifs=2, motif_width=5).eval()  # type: ignore[call-arg]
        for _ in range(2)
    ]
    for network in networks:
        network.take_motifs([AC, GATTA])
    scores = networks[0].motif_scores(x)
    torch.testing.assert_close(networks[1](x, scores), networks[1](x), rtol=0, atol=0)
    assert not torch.equal(networks[1](x, scores + 1), networks[1](x))
    assert kind(4, 12, 1).motif_scores(x) is None

"""Networks over numbers: shapes, what they read, and that they start as the preconditioning's own answer."""

from typing import Any

import pytest
import torch

from gendesign.building import build, describe
from gendesign.errors import ConfigError, MissingExtraError
from gendesign.models.base import VectorNetwork
from gendesign.models.dit import DiTNetwork
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.models.unet2d import TIME_SCALE, UNet2DNetwork

KINDS = ["mlp", "dit", "near", "unet", "colour"]


def make(kind: str, *, dropout: float = 0.0, live: bool = True) -> VectorNetwork:
    torch.manual_seed(0)
    network: VectorNetwork
    if kind == "mlp":
        network = MLPNetwork(12, 16, depth=2, dropout=dropout)
    elif kind == "dit":
        network = DiTNetwork(4, 3, 16, depth=2, num_heads=2, dropout=dropout)
    elif kind == "near":
        network = DiTNetwork(4, 3, 16, depth=2, num_heads=2, dropout=dropout, reach=1)
    elif kind == "unet":
        network = UNet2DNetwork(6, 2, widths=(8, 16), norm_groups=4, dropout=dropout)
    else:
        network = UNet2DNetwork(2, 2, 3, widths=(8,), norm_groups=4, dropout=dropout)
    if live:  # zeros at the start would hide what the network reads
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_log_variance_of_every_coordinate(kind: str) -> None:
    network, x = make(kind), torch.randn(5, 12)
    noise = torch.linspace(-1.5, 1.1, 5)
    mean, log_variance = network(x, noise)
    assert mean.shape == log_variance.shape == (5, 12)
    assert not torch.allclose(mean, log_variance)
    one, _ = network(x[2:3], noise[2:3])  # rows do not influence each other
    torch.testing.assert_close(one[0], mean[2], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_is_read_and_its_answer_varies_smoothly(kind: str) -> None:
    """Noise levels within a hundredth of each other get neighbouring answers; distant ones differ."""
    torch.manual_seed(1)
    network, x = make(kind, live=False), torch.randn(1, 12)
    for parameter in network.parameters():
        if parameter.detach().abs().sum() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    noise = torch.tensor([-1.0, -0.998, 0.5])
    mean, _ = network(x.expand(3, -1), noise)
    near, far = (mean[1] - mean[0]).norm(), (mean[2] - mean[0]).norm()
    assert far > 1e-3 and near < far / 2


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_network_answers_as_the_preconditioning_does(kind: str) -> None:
    denoiser = Preconditioned(make(kind, live=False), sigma_data=0.5)
    x, sigma = torch.randn(4, 12).double(), torch.tensor([0.01, 0.5, 1.0, 80.0]).double()
    mean, variance = denoiser(x, sigma)
    total = sigma[:, None] ** 2 + 0.25
    assert variance is not None and mean.dtype == variance.dtype == torch.float64
    torch.testing.assert_close(mean, 0.25 / total * x)
    torch.testing.assert_close(variance, (sigma[:, None] ** 2 * 0.25 / total).expand_as(mean))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_input_and_every_weight(kind: str) -> None:
    network, x = make(kind), torch.randn(3, 12, requires_grad=True)
    mean, log_variance = network(x, torch.zeros(3) + 0.3)
    (mean.sum() + log_variance.square().sum()).backward()
    assert x.grad is not None and bool((x.grad != 0).all())
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("kind", KINDS)
def test_it_runs_in_the_precision_of_its_weights(kind: str) -> None:
    mean, log_variance = make(kind).double()(torch.randn(2, 12).double(), torch.zeros(2).double())
    assert mean.dtype == log_variance.dtype == torch.float64


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_acts_in_training_only(kind: str) -> None:
    network, x, noise = make(kind, dropout=0.5), torch.randn(2, 12), torch.zeros(2)
    assert torch.equal(network(x, noise)[0], network(x, noise)[0])
    network.train()
    assert not torch.equal(network(x, noise)[0], network(x, noise)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_rebuilt_from_its_description(kind: str) -> None:
    network, x = make(kind), torch.randn(2, 12)
    again = build(describe(network)).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(x, torch.zeros(2))[0], network(x, torch.zeros(2))[0])


def test_steps_of_a_sequence_see_each_other() -> None:
    network, x = make("dit"), torch.randn(1, 12)
    other = x.clone()
    other[0, 9:] += 1  # the last step
    first, second = network(x, torch.zeros(1))[0], network(other, torch.zeros(1))[0]
    assert bool((first[0, :3] != second[0, :3]).all())


def test_pixels_are_in_the_order_channels_rows_columns() -> None:
    torch.manual_seed(0)
    network = UNet2DNetwork(2, 4, 3, widths=(8, 8), norm_groups=4).eval()
    torch.nn.init.normal_(network.unet.conv_out.weight)  # type: ignore[union-attr,arg-type]
    image, noise = torch.randn(1, 3, 2, 4), torch.tensor([0.2])
    mean, log_variance = network(image.flatten(1), noise)
    both = network.unet(image, TIME_SCALE * noise).sample
    assert torch.equal(torch.cat([mean, log_variance], dim=1).view(1, 6, 2, 4), both)


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_that_do_not_fit(kind: str) -> None:
    with pytest.raises(ConfigError, match=r"expected \[batch, 12\]"):
        make(kind)(torch.zeros(2, 11), torch.zeros(2))
    with pytest.raises(ConfigError, match="takes no cond"):
        make(kind)(torch.zeros(2, 12), torch.zeros(2), torch.zeros(2, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLPNetwork(0), "dim must be"),
        (lambda: MLPNetwork(2, 1), "width must be"),
        (lambda: MLPNetwork(2, depth=0), "depth must be"),
        (lambda: MLPNetwork(2, dropout=1.0), "dropout"),
        (lambda: DiTNetwork(0, 2), "steps must be"),
        (lambda: DiTNetwork(2, 2, 20, num_heads=4), "multiple of 2"),
        (lambda: DiTNetwork(2, 2, dropout=-0.1), "dropout"),
        (lambda: DiTNetwork(2, 2, reach=-1), "reach"),
        (lambda: UNet2DNetwork(8, 7), "multiples of 2, got 8 x 7"),
        (lambda: UNet2DNetwork(10, 8, widths=(8, 8, 8)), "multiples of 4, got 10 x 8"),
        (lambda: UNet2DNetwork(8, 8, widths=(12,)), "multiples of norm_groups=8"),
        (lambda: UNet2DNetwork(8, 8, widths=()), "widths"),
        (lambda: UNet2DNetwork(8, 8, layers=0), "layers must be"),
        (lambda: UNet2DNetwork(8, 8, dropout=2.0), "dropout"),
    ],
)
def test_bad_arguments(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_missing_diffusers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(MissingExtraError, match=r"gendesign\[images\]"):
        UNet2DNetwork(8, 8)

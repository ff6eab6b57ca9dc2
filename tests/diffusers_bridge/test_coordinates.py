"""Every parametrisation gives the posterior mean of a Gaussian exactly; a flow in sigma is diffusers' DDIM."""

import math
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

from gendesign.diffusers_bridge import load_diffusers
from gendesign.diffusers_bridge.coordinates import CUMULATIVE, EDM, FLOW, coordinates_of
from gendesign.diffusers_bridge.denoiser import PipelineDenoiser
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.solvers import Euler
from gendesign.errors import UnsupportedError

MEAN, SPREAD = 0.3, 0.6


def gaussian_mean(x: Tensor, sigma: Tensor) -> Tensor:
    """E[x_0 | x] of data N(MEAN, SPREAD^2)."""
    return (SPREAD**2 * x + sigma**2 * MEAN) / (SPREAD**2 + sigma**2)


class GaussianNetwork(nn.Module):
    """What a perfectly trained network answers, computed from its scheduler's own formulas."""

    def __init__(self, scheduler: Any, family: str) -> None:
        super().__init__()
        self.scheduler, self.family = scheduler, family
        self.unused = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, sample: Tensor, times: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        t = times.view(-1, 1, 1, 1)
        prediction = self.scheduler.config.get("prediction_type")
        if self.family == "edm":
            data, sigma = self.scheduler.config.sigma_data, (4 * t).exp()
            x = sample * (sigma**2 + data**2).sqrt()
            out = (gaussian_mean(x, sigma) - data**2 / (sigma**2 + data**2) * x) / (sigma * data)
            out = out * (sigma**2 + data**2).sqrt()
            return (out if prediction == "epsilon" else -out,)
        if self.family == "flow":
            s = t / self.scheduler.config.num_train_timesteps
            x_0 = gaussian_mean(sample / (1 - s), s / (1 - s))
            return ((sample - x_0) / s,)  # z - x_0 with z = (x_s - (1 - s) x_0)/s
        abar = self.scheduler.alphas_cumprod.double()[t.round().long()]
        x_0 = gaussian_mean(sample / abar.sqrt(), ((1 - abar) / abar).sqrt())
        noise = (sample - abar.sqrt() * x_0) / (1 - abar).sqrt()
        if prediction == "sample":
            return (x_0,)
        return (noise if prediction == "epsilon" else abar.sqrt() * noise - (1 - abar).sqrt() * x_0,)


def denoiser(scheduler: Any, family: str, **options: Any) -> PipelineDenoiser:
    network = GaussianNetwork(scheduler, family)
    return PipelineDenoiser(network, coordinates_of(scheduler), channels=1, height=2, width=2, **options)


CASES = [
    *[(name, "abar", kind) for name in ("DDPM", "DDIM") for kind in ("epsilon", "v_prediction", "sample")],
    *[
        (name.removesuffix("Scheduler"), "abar", "epsilon")
        for name in CUMULATIVE
        if "DPMSolverSDE" not in name
    ],
    *[(name.removesuffix("Scheduler"), "edm", kind) for name in EDM for kind in ("epsilon", "v_prediction")],
    *[(name.removesuffix("Scheduler"), "flow", None) for name in FLOW],
]


@pytest.mark.parametrize(("name", "family", "prediction"), CASES)
def test_the_mean_of_a_gaussian_is_exact(name: str, family: str, prediction: str | None) -> None:
    options = {} if prediction is None else {"prediction_type": prediction}
    scheduler = getattr(diffusers, f"{name}Scheduler")(**options)
    own = denoiser(scheduler, family)
    known = own.coordinates
    if family == "abar":  # at the levels that the network was trained at
        sigma = known.log_sigma[[0, 1, 250, 500, 998, 999]].exp()
    else:
        sigma = torch.logspace(
            math.log10(known.sigma_min), math.log10(known.sigma_max), 6, dtype=torch.float64
        )
    x = MEAN + sigma[:, None] * torch.linspace(-2, 2, 4, dtype=torch.float64)
    mean, variance = own(x, sigma)
    assert variance is None and mean.dtype == torch.float64
    torch.testing.assert_close(mean, gaussian_mean(x, sigma[:, None]), rtol=1e-9, atol=1e-9)


def test_times_are_whole_at_known_levels_and_linear_in_log_sigma_between() -> None:
    known = coordinates_of(diffusers.DDPMScheduler())
    assert known.sigma_min == pytest.approx(math.sqrt(1 / 0.9999 - 1), rel=1e-3)
    log_sigma = known.log_sigma
    steps = torch.tensor([0.0, 1.0, 17.0, 998.0, 999.0], dtype=torch.float64)
    torch.testing.assert_close(known.timestep(log_sigma[steps.long()].exp()), steps)
    between = (0.25 * log_sigma[17] + 0.75 * log_sigma[18]).exp()[None]
    torch.testing.assert_close(known.timestep(between), torch.tensor([17.75], dtype=torch.float64))
    beyond = torch.tensor([1e-9, 1e9], dtype=torch.float64)
    assert known.timestep(beyond).tolist() == [0.0, 999.0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_no_signal_at_the_last_step(prediction: str) -> None:
    scheduler = diffusers.DDIMScheduler(rescale_betas_zero_snr=True, prediction_type=prediction)
    own = denoiser(scheduler, "abar")
    known = own.coordinates
    assert math.isfinite(known.sigma_max)
    if prediction == "epsilon":  # it says nothing of x_0 there: the step before is the first
        assert len(known.log_sigma) == 999
    else:
        assert known.sigma_max > 4000 and bool((known.log_sigma.diff() > 0).all())
    if prediction != "v_prediction":
        return
    # there v = -x_0 to the network, whose mean without any signal is the data's
    sigma = torch.full((1,), known.sigma_max, dtype=torch.float64)
    own.network.forward = lambda x, times, return_dict: (torch.full_like(x, -MEAN),)
    mean, _ = own(torch.full((1, 4), known.sigma_max / 3, dtype=torch.float64), sigma)
    torch.testing.assert_close(mean, torch.full_like(mean, MEAN), rtol=1e-3, atol=1e-3)


def test_euler_in_sigma_is_ddim(make_unet: Any) -> None:
    """On the same timesteps, the probability flow's first-order steps are DDIM's at eta = 0."""
    scheduler = diffusers.DDIMScheduler(
        num_train_timesteps=100, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(10)
    unet = make_unet().double()
    pipeline = diffusers.DDIMPipeline(unet, scheduler)
    backbone = load_diffusers(pipeline)
    abar = scheduler.alphas_cumprod.double()
    levels = [math.sqrt((1 - float(abar[t])) / float(abar[t])) for t in scheduler.timesteps] + [0.0]
    image = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = image.flatten(1) * math.sqrt(1 + levels[0] ** 2)
    process, noise = backbone.process, torch.Generator()
    assert isinstance(process, PoissonFlow)
    for time, t, s in zip(scheduler.timesteps, levels, levels[1:], strict=False):
        with torch.no_grad():
            image = scheduler.step(unet(image, time).sample, time, image, eta=0.0).prev_sample
            now, then = (torch.full((2,), level, dtype=torch.float64) for level in (t, s))
            x, _ = backbone.advance(backbone.predict(x, now), x, now, then, solver=Euler(), generator=noise)
        torch.testing.assert_close(x / math.sqrt(1 + s**2), image.flatten(1), rtol=1e-5, atol=1e-5)


def test_the_scheduler_s_own_clipping_is_kept_and_can_be_changed(make_unet: Any) -> None:
    clipping = diffusers.DDPMScheduler(clip_sample=True, clip_sample_range=0.5)
    pipeline = diffusers.DDPMPipeline(make_unet(), clipping)
    x, sigma = torch.full((1, 64), 300.0, dtype=torch.float64), torch.full((1,), 100.0, dtype=torch.float64)
    assert float(load_diffusers(pipeline).predict(x, sigma).mode().abs().max()) <= 0.5
    assert float(load_diffusers(pipeline, clip=2.0).predict(x, sigma).mode().abs().max()) == 2.0
    assert float(load_diffusers(pipeline, clip=math.inf).predict(x, sigma).mode().abs().max()) > 2.0
    # a setting that a scheduler kept from another one's file, and never reads
    inherited = diffusers.EulerDiscreteScheduler.from_config(clipping.config)
    assert load_diffusers(diffusers.DDPMPipeline(make_unet(), inherited)).denoiser.clip == math.inf
    with pytest.raises(UnsupportedError, match=r"thresholding=True.*clip=1\.0"):
        load_diffusers(diffusers.DDPMPipeline(make_unet(), diffusers.DDPMScheduler(thresholding=True)))


def test_a_learned_variance_is_split_off(make_unet: Any) -> None:
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range", clip_sample=False)
    unet = make_unet(out_channels=2)
    backbone = load_diffusers(diffusers.DDPMPipeline(unet, scheduler))
    x, sigma = torch.randn(2, 64, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    with torch.no_grad():
        before = backbone.predict(x, sigma).mode()
        unet.conv_out.weight[1] += 1.0  # of the variance alone
    torch.testing.assert_close(backbone.predict(x, sigma).mode(), before)


@pytest.mark.parametrize(
    ("scheduler", "words"),
    [
        (
            diffusers.ScoreSdeVeScheduler(),
            r"ScoreSdeVeScheduler is not supported.*DDPM, .*EDMEuler.*FlowMatchEulerDiscrete",
        ),
        (
            diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
            "prediction_type='flow_prediction' is not supported; supported are epsilon, v_prediction, sample",
        ),
        (
            diffusers.EulerDiscreteScheduler(prediction_type="v_prediction", timestep_type="continuous"),
            "timestep_type='continuous'",
        ),
        (diffusers.DDPMScheduler(trained_betas=[0.1, 0.0, 0.1]), "expected betas in"),
    ],
)
def test_schedulers_that_cannot_be_a_backbone_are_named(scheduler: Any, words: str) -> None:
    with pytest.raises(UnsupportedError, match=words):
        coordinates_of(scheduler)

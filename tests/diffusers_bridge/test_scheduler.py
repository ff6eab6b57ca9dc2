"""The scheduler alone: with an exact network its samples follow the data, in the loop of any pipeline."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendesign.diffusers_bridge import PoissonFlowScheduler
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import ConfigError
from gendesign.models.preconditioning import coefficients

MEAN, SPREAD = 0.3, 0.6


def network(sample: Tensor, time: Tensor) -> Tensor:
    """Raw mean and log-variance of data N(MEAN, SPREAD^2) under Gaussian noise, from EDM's formulas."""
    sigma = (time.double() * 4 / 100).exp().expand(len(sample))
    c = coefficients(sigma, 0.5)
    x = sample.double().flatten(1) / c.input
    level = sigma[:, None] ** 2
    mean = (SPREAD**2 * x + level * MEAN) / (SPREAD**2 + level)
    variance = level * SPREAD**2 / (SPREAD**2 + level)
    raw = (mean - c.skip * x) / c.out
    head = (variance / c.out**2).log().expand_as(raw)
    both = torch.cat([raw.view_as(sample), head.view_as(sample)], dim=1)
    return both.to(sample.dtype)


def run(
    scheduler: Any, num: int, steps: int, *, dtype: torch.dtype = torch.float64, **options: Any
) -> Tensor:
    """What pipelines of diffusers do."""
    noise = torch.Generator().manual_seed(0)
    sample = torch.randn(num, 1, 1, 2, generator=noise, dtype=dtype) * scheduler.init_noise_sigma
    scheduler.set_timesteps(steps)
    for time in scheduler.timesteps:
        output = network(scheduler.scale_model_input(sample, time), time)
        sample = scheduler.step(output, time, sample, **({"generator": noise} | options)).prev_sample
    assert sample.dtype == dtype
    return sample.flatten(1)


@pytest.mark.parametrize(("solver", "steps"), [("transition", 240), ("euler", 240), ("heun", 30)])
def test_samples_follow_the_data(solver: str, steps: int) -> None:
    drawn = run(PoissonFlowScheduler(aug_dim=None, solver=solver), 4000, steps)
    assert float(drawn.mean()) == pytest.approx(MEAN, abs=0.03)
    # rules of the first order leave the spread short
    assert float(drawn.std()) == pytest.approx(SPREAD, rel=0.02 if solver == "heun" else 0.04)


def test_the_first_call_maps_the_unit_normal_to_the_prior() -> None:
    z = torch.randn(20000, 1, 1, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for aug_dim in (None, 3.0):
        scheduler = PoissonFlowScheduler(aug_dim=aug_dim)
        scheduler.set_timesteps(2)
        made = scheduler.step(
            torch.full_like(z, math.nan),
            scheduler.timesteps[0],
            z,
            generator=torch.Generator().manual_seed(2),
        )
        assert made.pred_original_sample is None
        x = made.prev_sample / coefficients(torch.full((1,), 80.0), 0.5).input
        if aug_dim is None:
            torch.testing.assert_close(x, 80 * z)
        else:  # Student-t with 3 degrees of freedom: quartiles at 0.7649 scales
            assert float((x.abs() < 0.7649 * 80).double().mean()) == pytest.approx(0.5, abs=0.015)


def test_float32_pipelines_lose_nothing_visible() -> None:
    exact = run(PoissonFlowScheduler(aug_dim=None, solver="heun"), 1, 20)
    noise = torch.Generator().manual_seed(0)
    z = torch.randn(1, 1, 1, 2, generator=noise, dtype=torch.float64).float()
    scheduler = PoissonFlowScheduler(aug_dim=None, solver="heun")
    scheduler.set_timesteps(20)
    for time in scheduler.timesteps:
        z = scheduler.step(network(z, time), time, z, generator=noise, return_dict=False)[0]
    torch.testing.assert_close(z.flatten(1).double(), exact, rtol=1e-3, atol=1e-3)


def test_a_generator_an_image_gives_each_its_own_stream() -> None:
    def draw(seeds: list[int]) -> Tensor:
        scheduler = PoissonFlowScheduler(aug_dim=4.0)
        scheduler.set_timesteps(3)
        sample = torch.ones(len(seeds), 1, 1, 2, dtype=torch.float64)
        noise = [torch.Generator().manual_seed(seed) for seed in seeds]
        for time in scheduler.timesteps:
            sample = scheduler.step(network(sample, time), time, sample, generator=noise).prev_sample
        return sample.flatten(1)

    both = draw([5, 6])
    torch.testing.assert_close(both, torch.cat([draw([5]), draw([6])]))
    assert not torch.allclose(both[0], both[1])


def test_noise_is_added_as_the_network_takes_it() -> None:
    scheduler = PoissonFlowScheduler(aug_dim=2.0)
    image = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
    noise = scheduler.draw_noise(image.shape, generator=torch.Generator().manual_seed(0))
    process = PoissonFlow(2.0)
    drawn = process.corrupt(image.flatten(1), torch.ones(3), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(noise.flatten(1), drawn)
    scheduler.set_timesteps(5)
    times, levels = scheduler.timesteps[1:4], process.times(5)[:3]  # the first call makes the prior
    noisy = scheduler.add_noise(image + 0.5, noise, times).flatten(1)
    expected = (0.5 + levels[:, None] * drawn) * coefficients(levels, 0.5).input
    torch.testing.assert_close(noisy, expected, rtol=1e-5, atol=1e-6)
    alike = scheduler.add_noise(image + 0.5, noise, times[0]).flatten(1)
    torch.testing.assert_close(alike[0], noisy[0])


@pytest.mark.parametrize("aug_dim", [math.inf, 1.0, 128.0])
def test_a_process_is_written_and_read_as_plain_json(aug_dim: float, tmp_path: Path) -> None:
    process = PoissonFlow(aug_dim, sigma_max=50.0, rho=5.0, sigma_data=0.7, transfer_from=math.inf)
    PoissonFlowScheduler.of(process, solver="heun").save_pretrained(tmp_path)
    text = (tmp_path / "scheduler_config.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    read = PoissonFlowScheduler.from_pretrained(tmp_path)
    for name in ("aug_dim", "sigma_min", "sigma_max", "rho", "sigma_data", "transfer_from"):
        assert getattr(read.process, name) == getattr(process, name), name
    assert read.config.solver == "heun"
    other = PoissonFlowScheduler.from_config(read.config, solver="euler")
    assert other.config.solver == "euler" and other.process.aug_dim == aug_dim


def test_wrong_use_is_said() -> None:
    with pytest.raises(ConfigError, match="solver must be one of transition, euler, heun"):
        PoissonFlowScheduler(solver="ddim")
    with pytest.raises(ConfigError, match="aug_dim must be at least 1"):
        PoissonFlowScheduler(aug_dim=0.5)
    scheduler, sample = PoissonFlowScheduler(), torch.zeros(2, 1, 1, 2)
    with pytest.raises(ConfigError, match="call set_timesteps"):
        scheduler.step(sample, 0, sample)
    scheduler.set_timesteps(1)
    with pytest.raises(ConfigError, match="one for each of 2 images; got 1"):
        scheduler.step(sample, 0, sample, generator=[torch.Generator()])

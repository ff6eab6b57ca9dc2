"""A Stable-Diffusion-like pipeline with its prompt: guidance, latents, steering, gradients through the decoder."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

import gendesign as gd
from gendesign.diffusers_bridge import load_diffusers
from gendesign.diffusers_bridge.latents import LatentCodec
from gendesign.errors import ConfigError, DesignError, MissingExtraError, UnsupportedError
from gendesign.rewards.images import Brightness
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import Steering, run_sampler

WORDS = ["<|startoftext|>", "<|endoftext|>", "a", "cat", "dog", "bright"]


def tokenizer() -> Any:
    """Knows a few words."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<|endoftext|>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=WORDS[0],
        eos_token=WORDS[1],
        unk_token=WORDS[1],
        pad_token=WORDS[1],
        model_max_length=6,
    )


def text_config() -> Any:
    return transformers.CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=6,
        projection_dim=8,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def unet(**changed: Any) -> Any:
    options: dict[str, Any] = {
        "sample_size": 4,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 8),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "cross_attention_dim": 8,
    }
    return diffusers.UNet2DConditionModel(**(options | changed)).eval()


def autoencoder(**changed: Any) -> Any:
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.5,
        **changed,
    ).eval()


@pytest.fixture
def pipeline() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return diffusers.StableDiffusionPipeline(
            autoencoder(),
            transformers.CLIPTextModel(text_config()).eval(),
            tokenizer(),
            unet(),
            diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1, beta_schedule="scaled_linear"),
            None,
            None,
            requires_safety_checker=False,
        )


def steered(backbone: Any, steering: Steering) -> np.ndarray:
    plan, noise = make_plan(backbone, steps=4), torch.Generator().manual_seed(0)
    return np.stack(
        backbone.codec.decode(run_sampler(steering(backbone, Brightness()), 2, plan, generator=noise).x)
    )


def test_a_saved_pipeline_draws_what_its_prompt_says(pipeline: Any, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "sd")
    backbone = gd.load_backbone(f"diffusers:{tmp_path / 'sd'}", prompt="a cat", guidance_scale=3.0)
    assert isinstance(backbone.codec, LatentCodec) and backbone.codec.length == 4 * 4 * 4
    images = backbone.sample(2, steps=3, seed=1)
    assert images[0].shape == (8, 8, 3) and images[0].min() >= 0 and images[0].max() <= 1
    np.testing.assert_array_equal(images, backbone.sample(2, steps=3, seed=1))
    other = load_diffusers(tmp_path / "sd", prompt="a dog", guidance_scale=3.0)
    assert not np.array_equal(images, other.sample(2, steps=3, seed=1))
    negative = load_diffusers(tmp_path / "sd", prompt="a cat", negative_prompt="dog", guidance_scale=3.0)
    assert not np.array_equal(images, negative.sample(2, steps=3, seed=1))
    half = load_diffusers(tmp_path / "sd", prompt="a cat", guidance_scale=3.0, dtype="bfloat16")
    np.testing.assert_allclose(half.sample(2, steps=3, seed=1), images, atol=0.1)
    assert load_diffusers(tmp_path / "sd", prompt="a", size=(16, 8)).sample(1, steps=1)[0].shape == (16, 8, 3)


def test_guidance_is_a_line_through_two_means_and_costs_two_rows(pipeline: Any) -> None:
    def mean(g: float) -> tuple[torch.Tensor, int]:
        backbone = load_diffusers(pipeline, prompt="a cat", guidance_scale=g)
        noise = torch.Generator().manual_seed(0)
        x = backbone.process.prior(3, backbone.codec.length, generator=noise)
        with torch.no_grad():
            seen = backbone.predict(x, torch.full((3,), 2.0, dtype=torch.float64))
        return seen.mode(), seen.rows

    (without, twice), (prompted, once), (guided, _) = mean(0.0), mean(1.0), mean(4.0)
    assert (twice, once) == (6, 3)
    assert not torch.allclose(without, prompted, atol=1e-4)
    torch.testing.assert_close(guided, without + 4 * (prompted - without), rtol=1e-4, atol=1e-4)


def test_the_mean_is_what_the_pipeline_itself_predicts(pipeline: Any) -> None:
    """One step of diffusers' own DDIM from its own guided noise gives our mean."""
    backbone = load_diffusers(pipeline, prompt="a cat", guidance_scale=2.0)
    scheduler = diffusers.DDIMScheduler.from_config(
        pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=True
    )
    pipeline.scheduler = scheduler
    seen: list[torch.Tensor] = []
    step = scheduler.step

    def watched(output: Any, time: Any, sample: Any, **options: Any) -> Any:
        seen.append(step(output, time, sample).pred_original_sample)
        return step(output, time, sample, **options)

    scheduler.step = watched
    z = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    pipeline.set_progress_bar_config(disable=True)
    pipeline(
        "a cat", guidance_scale=2.0, num_inference_steps=1, latents=z, output_type="latent", height=8, width=8
    )
    abar = scheduler.alphas_cumprod[scheduler.timesteps[0]].double()
    sigma = ((1 - abar) / abar).sqrt()[None]
    with torch.no_grad():
        mean = backbone.predict(z.double().flatten(1) / abar.sqrt(), sigma).mode()
    torch.testing.assert_close(mean, seen[0].double().flatten(1), rtol=1e-4, atol=1e-4)


def test_steering_in_latent_space(pipeline: Any) -> None:
    backbone = load_diffusers(pipeline, prompt="a cat", guidance_scale=1.0)
    base = steered(backbone, gd.Unsteered())
    bright = steered(backbone, gd.SVDD(candidates=6, alpha=1e-4))
    assert bright.mean() > base.mean()
    np.testing.assert_array_equal(bright, steered(backbone, gd.SVDD(candidates=6, alpha=1e-4)))


def test_the_codec_is_the_autoencoder(pipeline: Any) -> None:
    codec = load_diffusers(pipeline, prompt="a cat").codec
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with torch.no_grad():
        pixels = pipeline.vae.decode(x.view(3, 4, 4, 4) / 0.5).sample
    expected = (pixels / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(codec.decode(x), expected, atol=1e-5)
    relaxed = codec.relax(x)
    torch.testing.assert_close(relaxed, pixels / 2 + 0.5, rtol=1e-4, atol=1e-5)
    # a reward's gradient reaches the latents: a step along it is brighter
    Brightness().relaxed(relaxed).sum().backward()
    assert x.grad is not None and float(x.grad.abs().min(1).values.max()) > 0
    with torch.no_grad():
        moved = codec.relax(x + 0.01 * x.grad / x.grad.norm())
    assert float(moved.mean()) > float(relaxed.detach().mean())
    # encoded as diffusers encodes
    images = codec.decode(x)
    coded = pipeline.vae.encode(torch.from_numpy(np.stack(images)).float().permute(0, 3, 1, 2) * 2 - 1)
    torch.testing.assert_close(codec.encode(images), coded.latent_dist.mode().flatten(1).detach() * 0.5)
    assert codec.encode([]).shape == (0, 64) and codec.decode(x[:0]) == []
    with pytest.raises(DesignError, match="shape"):
        codec.encode([np.zeros((4, 4))])
    with pytest.raises(UnsupportedError, match="takes no template"):
        codec.encode_template(images[0])


def test_stable_diffusion_xl(pipeline: Any) -> None:
    """A second encoder's pooled text and the picture's size are inputs of the network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        xl = diffusers.StableDiffusionXLPipeline(
            autoencoder(force_upcast=True),
            transformers.CLIPTextModel(text_config()).eval(),
            transformers.CLIPTextModelWithProjection(text_config()).eval(),
            tokenizer(),
            tokenizer(),
            unet(
                cross_attention_dim=16,
                addition_embed_type="text_time",
                addition_time_embed_dim=4,
                projection_class_embeddings_input_dim=8 + 6 * 4,
            ),
            diffusers.EulerDiscreteScheduler(),
        )
    backbone = load_diffusers(xl, prompt="a cat", guidance_scale=3.0)
    assert backbone.sample(1, steps=2)[0].shape == (8, 8, 3)
    z = torch.randn(2, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma = torch.full((2,), 1.0, dtype=torch.float64)
    means = [load_diffusers(xl, prompt=p).predict(z, sigma).mode() for p in ("a cat", "a dog")]
    assert not torch.allclose(*means, atol=1e-4)


def test_what_does_not_fit_is_refused(pipeline: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="draws what a text says"):
        load_diffusers(pipeline)
    with pytest.raises(ConfigError, match="guidance_scale must be at least 0"):
        load_diffusers(pipeline, prompt="a cat", guidance_scale=-1.0)
    with pytest.raises(ConfigError, match=r"multiples of 2 pixels, got \(8, 9\)"):
        load_diffusers(pipeline, prompt="a cat", size=(8, 9))
    pipeline.save_pretrained(tmp_path / "sd")
    pipeline.unet = unet(in_channels=9)
    with pytest.raises(UnsupportedError, match="takes 9 channels, the autoencoder gives 4"):
        load_diffusers(pipeline, prompt="a cat")
    pipeline.unet = unet(time_cond_proj_dim=8)
    with pytest.raises(UnsupportedError, match="time_cond_proj_dim=8 is not supported"):
        load_diffusers(pipeline, prompt="a cat")
    pipeline.unet, pipeline.vae = unet(), autoencoder(latents_mean=[0.0] * 4, latents_std=[1.0] * 4)
    with pytest.raises(UnsupportedError, match="latents_mean and latents_std are not supported"):
        load_diffusers(pipeline, prompt="a cat")
    monkeypatch.setattr(
        diffusers.DiffusionPipeline,
        "from_pretrained",
        lambda *_, **__: (_ for _ in ()).throw(ImportError("x")),
    )
    with pytest.raises(MissingExtraError, match="transformers is not installed"):
        load_diffusers(tmp_path / "sd", prompt="a cat")

"""Unconditional pipelines as backbones: loading, steering, and what is refused."""

import json
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

import gendesign as gd
from gendesign.array_codecs import ImageCodec
from gendesign.backbone import Backbone
from gendesign.building import describe
from gendesign.diffusers_bridge import load_diffusers
from gendesign.diffusion.solvers import Heun
from gendesign.errors import CheckpointError, ConfigError, TrustError, UnsupportedError
from gendesign.rewards.images import Brightness
from gendesign.steering.particles import make_plan
from gendesign.steering.sampler import Steering, run_sampler


def test_a_folder_is_a_backbone_and_a_seed_gives_its_images(folder: Path) -> None:
    backbone = load_diffusers(f"diffusers:{folder}")
    assert isinstance(backbone.codec, ImageCodec) and backbone.process.aug_dim == float("inf")
    assert not backbone.training and not any(p.requires_grad for p in backbone.parameters())
    first, again = (backbone.sample(3, steps=4, seed=5) for _ in range(2))
    assert first[0].shape == (8, 8) and all(0 <= image.min() and image.max() <= 1 for image in first)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, backbone.sample(3, steps=4, seed=6))
    smooth = backbone.sample(3, steps=4, seed=5, solver=Heun())
    assert not np.array_equal(first, smooth)
    # a network that sees its rows few at a time sees the same
    few = load_diffusers(folder, max_rows=1).sample(3, steps=4, seed=5)
    np.testing.assert_allclose(first, few, atol=1e-5)


def test_half_precision_networks_draw_much_the_same(folder: Path) -> None:
    full = load_diffusers(folder).sample(2, steps=4, seed=1, solver=Heun())
    half = load_diffusers(folder, dtype="bfloat16")
    assert next(half.parameters()).dtype == torch.bfloat16
    np.testing.assert_allclose(half.sample(2, steps=4, seed=1, solver=Heun()), full, atol=0.05)


def test_it_says_what_it_is_in_a_configuration(folder: Path) -> None:
    backbone = load_diffusers(str(folder), clip=1.0)
    config = describe(backbone)
    assert config["init_args"]["source"] == str(folder) and config["init_args"]["clip"] == 1.0
    assert backbone.provenance["name"] == f"diffusers:{folder}"


def test_colour_and_other_sizes(make_unet: Any) -> None:
    pipeline = diffusers.DDPMPipeline(
        make_unet(in_channels=3, out_channels=3, sample_size=(8, 16)), diffusers.DDPMScheduler()
    )
    assert load_diffusers(pipeline).sample(1, steps=2)[0].shape == (8, 16, 3)
    assert load_diffusers(pipeline, size=(4, 4)).sample(1, steps=2)[0].shape == (4, 4, 3)
    unsized = diffusers.DDPMPipeline(make_unet(sample_size=None), diffusers.DDPMScheduler())
    with pytest.raises(ConfigError, match=r"give size=\(height, width\)"):
        load_diffusers(unsized)


def steered(backbone: Backbone, steering: Steering, seed: int = 0) -> np.ndarray:
    """Four images."""
    plan, noise = make_plan(backbone, steps=6), torch.Generator().manual_seed(seed)
    final = run_sampler(steering(backbone, Brightness()), 4, plan, generator=noise)
    return np.stack(backbone.codec.decode(final.x))


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.DDIMScheduler(clip_sample=False),
        diffusers.DDPMScheduler(prediction_type="v_prediction", clip_sample=False),
        diffusers.EDMEulerScheduler(),
        diffusers.FlowMatchEulerDiscreteScheduler(),
    ],
)
def test_steering_toward_brightness(make_unet: Any, scheduler: Any) -> None:
    backbone = load_diffusers(diffusers.DDPMPipeline(make_unet(), scheduler))
    base = steered(backbone, gd.Unsteered())
    bright = steered(backbone, gd.SVDD(candidates=6, alpha=1e-4))
    assert bright.mean() > base.mean() + 0.01
    np.testing.assert_array_equal(bright, steered(backbone, gd.SVDD(candidates=6, alpha=1e-4)))
    assert steered(backbone, gd.BestOfN(candidates=6)).mean() > base.mean()
    assert not np.array_equal(base, steered(backbone, gd.Unsteered(solver=Heun())))


def test_a_whole_run_is_judged_and_reported(folder: Path, tmp_path: Path) -> None:
    run = gd.design(
        gd.load_backbone(f"diffusers:{folder}"),
        Brightness(),
        gd.SVDD(candidates=2, alpha=0.01),
        num_designs=2,
        steps=2,
        base_designs=2,
    )
    assert len(run.designs) == 2 and np.isfinite(run.naturalness).all()
    assert run.provenance["backbone"] == f"diffusers:{folder}"
    run.save(tmp_path / "out")
    assert (tmp_path / "out/designs.csv").is_file()


def test_latents_without_a_text(make_unet: Any) -> None:
    """LDM's pipelines: their autoencoder quantises."""
    vqvae = diffusers.VQModel(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=3,
        norm_num_groups=4,
        num_vq_embeddings=16,
    )
    unet = make_unet(in_channels=3, out_channels=3, sample_size=4)
    pipeline = diffusers.LDMPipeline(vqvae, unet, diffusers.DDIMScheduler(clip_sample=False))
    backbone = load_diffusers(pipeline)
    assert backbone.codec.length == 3 * 4 * 4
    assert backbone.sample(2, steps=2)[0].shape == (8, 8, 3)


def test_what_a_pipeline_cannot_do_is_refused(folder: Path, tmp_path: Path) -> None:
    backbone = load_diffusers(folder)
    with pytest.raises(UnsupportedError, match="saved by diffusers"):
        backbone.save_pretrained(tmp_path / "other")
    for refused in (
        lambda: backbone.training_step({}, 0),
        backbone.configure_optimizers,
        lambda: backbone.load_weights(backbone),
    ):
        with pytest.raises(UnsupportedError, match="not trained here"):
            refused()
    with pytest.raises(UnsupportedError, match="no cond and no mask"):
        backbone.denoiser(torch.zeros(1, 64), torch.ones(1), torch.ones(1, 3))


def test_networks_that_cannot_be_a_backbone_are_named(make_unet: Any) -> None:
    labelled = diffusers.DDPMPipeline(make_unet(num_class_embeds=10), diffusers.DDPMScheduler())
    with pytest.raises(UnsupportedError, match="num_class_embeds=10 is not supported"):
        load_diffusers(labelled)
    pipeline = diffusers.DDPMPipeline(make_unet(), diffusers.DDPMScheduler())
    pipeline.unet = torch.nn.Linear(1, 1)
    with pytest.raises(UnsupportedError, match="needs a unet of class UNet2DModel"):
        load_diffusers(pipeline)


def test_arguments_out_of_range(folder: Path) -> None:
    with pytest.raises(ConfigError, match="takes no prompt"):
        load_diffusers(folder, prompt="a cat")
    with pytest.raises(ConfigError, match="dtype must be one of"):
        load_diffusers(folder, dtype="int8")
    with pytest.raises(ConfigError, match="clip must be above 0"):
        load_diffusers(folder, clip=0.0)
    with pytest.raises(ConfigError, match="max_rows"):
        load_diffusers(folder, max_rows=0)


def test_sources_that_are_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no model_index\.json"):
        load_diffusers(tmp_path)
    for source in (str(tmp_path / "absent"), "no-such-name", "./absent/here"):
        with pytest.raises(CheckpointError, match="expected a folder with a model_index"):
            load_diffusers(source)
    with pytest.raises(CheckpointError, match="no-org/no-pipeline: cannot be read"):
        load_diffusers("no-org/no-pipeline")  # the tests are offline


def test_pickles_and_code_are_never_read(folder: Path, make_unet: Any, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    pipeline = diffusers.DDPMPipeline(make_unet(), diffusers.DDPMScheduler())
    pipeline.save_pretrained(pickled, safe_serialization=False)
    assert (pickled / "unet/diffusion_pytorch_model.bin").is_file()
    with pytest.raises(CheckpointError, match=r"diffusion_pytorch_model\.bin may be a pickle"):
        load_diffusers(pickled)
    (pickled / "unet/other.safetensors").write_bytes(b"")  # a decoy: the weights are a pickle still
    with pytest.raises(CheckpointError, match="cannot be read as a pipeline"):
        load_diffusers(pickled)

    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w')\n"
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "scheduler/evil.py").write_text(code)
    (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["evil", "Evil"]}))
    with pytest.raises(TrustError, match="never run"):
        load_diffusers(folder)
    (folder / "evil.py").write_text(code)
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": ["evil", "Evil"]}))
    with pytest.raises(TrustError, match="never run"):
        load_diffusers(folder)
    # a module that happens to be installed is not imported because a folder names it
    (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["this", "Zen"]}))
    with pytest.raises(CheckpointError, match="not one of the libraries"):
        load_diffusers(folder)
    assert not mark.exists()


def test_a_damaged_file_is_an_error_of_ours(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"short")
    with pytest.raises(CheckpointError, match="cannot be read as a pipeline"):
        load_diffusers(folder)

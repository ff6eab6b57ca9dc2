"""Backbones as pipelines of diffusers: the same images for the same seed, and what diffusers itself can load."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.pipelines.pipeline_loading_utils import _get_custom_components_and_folders

import gendesign as gd
from gendesign.array_codecs import ImageCodec, VectorCodec
from gendesign.backbone import Backbone
from gendesign.diffusers_bridge import (
    PoissonFlowPipeline,
    PoissonFlowScheduler,
    load_diffusers,
    save_diffusers,
)
from gendesign.diffusion.solvers import Euler, Heun, Solver
from gendesign.diffusion.student import student_scale
from gendesign.errors import CheckpointError, ConfigError, OutputError, TrustError, UnsupportedError
from gendesign.models.mlp import MLPNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.models.unet2d import UNet2DNetwork


def image_backbone(aug_dim: float = 16.0, channels: int = 1) -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet2DNetwork(8, 4, channels, widths=(8, 8), norm_groups=4, dropout=0.1)
        torch.nn.init.normal_(network.unet.conv_out.weight, std=0.3)
    denoiser = Preconditioned(network, aug_dim=aug_dim)
    backbone = Backbone(ImageCodec(8, 4, channels), gd.PoissonFlow(aug_dim), denoiser)
    return backbone.eval().requires_grad_(False)  # as a loaded one is


def vector_backbone() -> Backbone:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = MLPNetwork(2, 8, depth=1)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    codec = VectorCodec(["mass", "length"], mean=[1.0, 2.0], std=[0.5, 3.0])
    backbone = Backbone(codec, gd.PoissonFlow(math.inf), Preconditioned(network, aug_dim=math.inf))
    return backbone.eval().requires_grad_(False)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("aug_dim", [1.0, 16.0, math.inf])
@pytest.mark.parametrize(("solver", "own"), [("transition", None), ("euler", Euler()), ("heun", Heun())])
def test_a_saved_backbone_samples_the_same(
    aug_dim: float, solver: str, own: Solver | None, tmp_path: Path
) -> None:
    backbone = image_backbone(aug_dim)
    save_diffusers(backbone, tmp_path / "saved", solver=solver)
    pipeline = PoissonFlowPipeline.from_pretrained(tmp_path / "saved")
    for num in (1, 3):  # to the bit: convolutions of one image and of several round differently
        drawn = pipeline(num, generator=seeded(7), num_inference_steps=4, output_type="design").images
        np.testing.assert_array_equal(drawn, backbone.sample(num, steps=4, seed=7, solver=own))
    assert all(weight.requires_grad for weight in pipeline.unet.parameters())  # it can still be trained on


def test_more_than_a_block_and_every_form_of_output() -> None:
    backbone = image_backbone(channels=3)
    pipeline = PoissonFlowPipeline.of(backbone)
    designs = backbone.sample(66, steps=2, seed=1)
    drawn = pipeline(66, generator=seeded(1), num_inference_steps=2, output_type="np").images
    np.testing.assert_array_equal(drawn, designs)
    (tensors,) = pipeline(1, generator=seeded(1), num_inference_steps=2, output_type="pt", return_dict=False)
    assert tensors.shape == (1, 3, 8, 4)
    pictures = PoissonFlowPipeline.of(image_backbone())(2, generator=seeded(1), num_inference_steps=2).images
    assert pictures[0].size == (4, 8)
    with pytest.raises(ConfigError, match="output_type must be one of pil, np, pt, design"):
        pipeline(output_type="latent")


def test_generators_behave_as_diffusers_users_expect() -> None:
    pipeline = PoissonFlowPipeline.of(image_backbone())

    def draw(generator: Any, num: int = 2) -> np.ndarray:
        return pipeline(num, generator=generator, num_inference_steps=2, output_type="np").images

    one = seeded(3)
    first, second = draw(one), draw(one)  # a generator that was used gives others
    np.testing.assert_array_equal(first, draw(seeded(3)))
    assert not np.array_equal(first, second)
    listed = draw([seeded(3), seeded(4)])
    np.testing.assert_array_equal(listed, np.concatenate([draw(seeded(3), 1), draw(seeded(4), 1)]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        free = draw(None)
        torch.manual_seed(0)
        np.testing.assert_array_equal(free, draw(None))
    with pytest.raises(ConfigError, match="expected 2 generators"):
        draw([seeded(3)])


@pytest.mark.parametrize(("solver", "calls"), [("transition", 6), ("heun", 10)])
@pytest.mark.parametrize("aug_dim", [4.0, math.inf])
def test_diffusers_itself_loads_and_samples_it(
    solver: str, calls: int, aug_dim: float, tmp_path: Path
) -> None:
    """A plain pipeline draws in float32 and in another order; from its own draws, the backbone makes its images."""
    backbone = image_backbone(aug_dim)
    save_diffusers(backbone, tmp_path / "saved", solver=solver)
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "saved", low_cpu_mem_usage=False)
    assert type(pipeline) is diffusers.DDPMPipeline and isinstance(pipeline.scheduler, PoissonFlowScheduler)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(2, generator=seeded(0), num_inference_steps=5, output_type="np").images
    assert len(pipeline.scheduler.timesteps) == calls

    noise, process = seeded(0), backbone.process
    z = torch.randn(2, 1, 8, 4, generator=noise).double().flatten(1)
    x = 80.0 * student_scale(2, aug_dim, device="cpu", generator=noise)[:, None] * z
    levels, own = process.times(5), Heun() if solver == "heun" else None
    with torch.no_grad():
        for t, s in zip(levels, levels[1:], strict=False):
            now, then = t.expand(2), s.expand(2)
            x, _ = backbone.advance(backbone.predict(x, now), x, now, then, solver=own, generator=noise)
    np.testing.assert_allclose(images[..., 0], backbone.codec.decode(x), atol=2e-4)


def test_diffusers_wants_our_module_imported_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers 0.42 imports no foreign module because a folder names one."""
    save_diffusers(image_backbone(), tmp_path / "saved")
    index = json.loads((tmp_path / "saved/model_index.json").read_text())
    assert index["_class_name"] == "DDPMPipeline"
    assert index["scheduler"] == ["gendesign.diffusers_bridge.scheduler", "PoissonFlowScheduler"]
    monkeypatch.delitem(sys.modules, "gendesign.diffusers_bridge.scheduler")
    with pytest.raises(ValueError, match=r"import gendesign\.diffusers_bridge\.scheduler before calling"):
        diffusers.DiffusionPipeline.from_pretrained(tmp_path / "saved", low_cpu_mem_usage=False)


def test_a_hub_id_is_fetched_by_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """diffusers 0.42 downloads no repository that names a foreign module; from a local copy of it, it loads."""
    backbone = image_backbone()
    save_diffusers(backbone, tmp_path / "saved")
    index = json.loads((tmp_path / "saved/model_index.json").read_text())
    with pytest.raises(ValueError, match="is not a module in 'diffusers/pipelines'"):
        _get_custom_components_and_folders("me/digits", index, ["scheduler/scheduler_config.json"], [])

    asked: list[Any] = []

    def download(repository: str, **options: Any) -> str:
        asked.append((repository, options))
        return str(tmp_path / "saved")

    monkeypatch.setattr("gendesign.diffusers_bridge.pipeline.snapshot_download", download)
    pipeline = PoissonFlowPipeline.from_pretrained("me/digits", revision="v1")
    ((repository, options),) = asked
    assert repository == "me/digits" and options["revision"] == "v1"
    assert not any(name.endswith((".bin", ".py")) for name in options["allow_patterns"])
    drawn = pipeline(1, generator=seeded(0), num_inference_steps=2, output_type="design").images
    np.testing.assert_array_equal(drawn, backbone.sample(1, steps=2))
    # the same by the name of a backbone
    monkeypatch.setattr(diffusers.DiffusionPipeline, "load_config", lambda *_, **__: index)
    again = load_diffusers("diffusers:me/digits")
    np.testing.assert_array_equal(again.sample(1, steps=2), drawn)
    assert again.provenance["name"] == "diffusers:me/digits"


def test_a_saved_folder_is_a_backbone_again(tmp_path: Path) -> None:
    backbone = image_backbone(4.0)
    save_diffusers(backbone, tmp_path / "saved")
    again = load_diffusers(f"diffusers:{tmp_path / 'saved'}")
    assert type(again) is Backbone and not any(p.requires_grad for p in again.parameters())
    np.testing.assert_array_equal(again.sample(2, steps=3), backbone.sample(2, steps=3))
    with pytest.raises(ConfigError, match="PoissonFlowPipeline takes no prompt"):
        load_diffusers(tmp_path / "saved", prompt="a cat")
    again.save_pretrained(tmp_path / "ours")
    np.testing.assert_array_equal(
        gd.load_backbone(tmp_path / "ours").sample(2, steps=3), backbone.sample(2, steps=3)
    )
    # a network trained at one D and sampled at another stays so
    moved = Backbone(backbone.codec, gd.PoissonFlow(64.0, transfer_from=4.0), backbone.denoiser)
    save_diffusers(moved, tmp_path / "moved")
    assert load_diffusers(tmp_path / "moved").process.transfer_from == 4.0


def test_vectors_have_a_pipeline_of_ours_alone(tmp_path: Path) -> None:
    backbone = vector_backbone()
    save_diffusers(backbone, tmp_path / "saved", solver="heun")
    pipeline = PoissonFlowPipeline.from_pretrained(tmp_path / "saved")
    drawn = pipeline(3, generator=seeded(2), num_inference_steps=4).images
    np.testing.assert_array_equal(drawn, backbone.sample(3, steps=4, seed=2, solver=Heun()))
    assert load_diffusers(tmp_path / "saved").codec.columns == ("mass", "length")
    with pytest.raises(ConfigError, match="output_type must be one of design"):
        pipeline(output_type="pil")
    # diffusers knows its own pipeline classes only
    with pytest.raises(AttributeError, match="PoissonFlowPipeline"):
        diffusers.DiffusionPipeline.from_pretrained(tmp_path / "saved")


def test_the_card_comes_along_and_a_pipeline_is_replaced_whole(tmp_path: Path) -> None:
    backbone = image_backbone()
    backbone.save_pretrained(tmp_path / "ours")
    (tmp_path / "ours/CARD.md").write_text("# Tiny\n\nA tiny backbone.\n")
    loaded = gd.load_backbone(tmp_path / "ours")
    for solver in ("transition", "heun"):
        save_diffusers(loaded, tmp_path / "saved", solver=solver)
    assert (tmp_path / "saved/README.md").read_text().startswith("# Tiny")
    assert PoissonFlowPipeline.from_pretrained(tmp_path / "saved").scheduler.config.solver == "heun"
    files = {path.name for path in tmp_path.glob("saved/**/*") if path.is_file()}
    assert not any(Path(name).suffix in (".bin", ".pt", ".py") for name in files)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_cannot_be_saved_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="only a PoissonFlow backbone"):
        save_diffusers(load_diffusers(folder), tmp_path / "copy")
    with pytest.raises(UnsupportedError, match="MaskedDiffusion"):
        save_diffusers(gd.load_backbone("dna-yeast-promoter"), tmp_path / "dna")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/mine.txt").write_text("x")
    with pytest.raises(OutputError, match="holds something else"):
        save_diffusers(image_backbone(), tmp_path / "notes")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="holds something else"):
        save_diffusers(image_backbone(), tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written"):
        save_diffusers(image_backbone(), tmp_path / "file" / "below")
    with pytest.raises(ConfigError, match="solver must be one of"):
        save_diffusers(image_backbone(), tmp_path / "saved", solver="ddim")
    assert not (tmp_path / "saved").exists()


def test_folders_that_are_not_ours_are_refused(make_unet: Any, tmp_path: Path) -> None:
    foreign = PoissonFlowPipeline(make_unet(), PoissonFlowScheduler())
    foreign.save_pretrained(tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="was not saved by gendesign"):
        load_diffusers(tmp_path / "foreign")
    save_diffusers(vector_backbone(), tmp_path / "saved")
    config = tmp_path / "saved/unet/config.json"
    evil = json.loads(config.read_text()) | {"network": {"class_path": "os.system", "init_args": {}}}
    config.write_text(json.dumps(evil))
    with pytest.raises(TrustError, match=r"os\.system, code outside gendesign"):
        load_diffusers(tmp_path / "saved")

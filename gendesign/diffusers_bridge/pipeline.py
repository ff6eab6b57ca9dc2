"""A continuous backbone as a pipeline of diffusers, which samples exactly as the backbone does.

    save_diffusers(backbone, "digits/")
    pipeline = gd.PoissonFlowPipeline.from_pretrained("digits/")
    pipeline(16, generator=torch.Generator().manual_seed(0)).images    # = backbone.sample(16, seed=0)

Where the network is a U-Net over images, the folder is one of diffusers' own `DDPMPipeline` with another scheduler, and
`DiffusionPipeline.from_pretrained` reads it too, once gendesign.diffusers_bridge is imported; see `scheduler`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    ConfigMixin,
    DDPMPipeline,
    DiffusionPipeline,
    ImagePipelineOutput,
    ModelMixin,
    UNet2DModel,
)
from diffusers.configuration_utils import register_to_config
from diffusers.utils import is_accelerate_available
from huggingface_hub import snapshot_download
from torch import Generator

from gendesign.array_codecs import ImageCodec
from gendesign.backbone import Backbone
from gendesign.building import build, describe
from gendesign.codecs import Codec
from gendesign.diffusers_bridge.scheduler import PoissonFlowScheduler
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.errors import CheckpointError, ConfigError, OutputError, UnsupportedError
from gendesign.models.base import VectorNetwork
from gendesign.models.preconditioning import Preconditioned
from gendesign.models.unet2d import UNet2DNetwork
from gendesign.pretrained import CARD

INDEX = "model_index.json"
_FILES = ["*.json", "*.safetensors", "README.md"]
_PLACE = ("revision", "token", "cache_dir", "local_files_only", "force_download")


class NetworkModel(ModelMixin, ConfigMixin):
    """A network of gendesign, saved and loaded as one of diffusers.

    Args:
        network: its class_path and init_args; only networks of gendesign are built.
    """

    @register_to_config
    def __init__(self, network: dict[str, Any]) -> None:
        super().__init__()
        self.body: VectorNetwork = build(network, kinds=(VectorNetwork,))


class PoissonFlowPipeline(DiffusionPipeline):
    """PFGM++ or EDM with a network of gendesign.

    Args:
        unet: a `UNet2DModel` that `UNet2DNetwork` made, or a `NetworkModel`.
        scheduler: noise levels and solver.
        codec: class_path and init_args of the codec; None for images in the U-Net's own size.
    """

    def __init__(
        self, unet: Any, scheduler: PoissonFlowScheduler, codec: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(codec=codec)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> PoissonFlowPipeline:
        """Load what `save_diffusers` wrote, from safetensors only.

        Args:
            pretrained_model_name_or_path: a folder, or a hub id.
            kwargs: as `DiffusionPipeline.from_pretrained` takes them.
        """
        source = pretrained_model_name_or_path
        if not Path(source).is_dir():
            # diffusers' own download refuses a repository that names a scheduler of another package
            place = {key: kwargs.pop(key) for key in _PLACE if key in kwargs}
            source = snapshot_download(str(source), allow_patterns=_FILES, **place)
        kwargs["use_safetensors"] = True
        kwargs.setdefault("low_cpu_mem_usage", is_accelerate_available())  # diffusers warns where it is not
        pipeline: PoissonFlowPipeline = super().from_pretrained(source, **kwargs)
        for tensor in (*pipeline.unet.parameters(), *pipeline.unet.buffers()):
            # mapped from a file they lie anywhere in memory, and a convolution rounds by where: at home they do not
            tensor.data = tensor.data.clone()
        return pipeline

    @classmethod
    def of(cls, backbone: Backbone, *, solver: str = "transition") -> PoissonFlowPipeline:
        """The pipeline of a backbone, around the same network.

        Args:
            backbone: continuous, with a preconditioned network.
            solver: "transition" (random), "euler" or "heun".

        Raises:
            UnsupportedError: another kind of backbone.
        """
        process, denoiser = backbone.process, backbone.denoiser
        if not isinstance(process, PoissonFlow) or not isinstance(denoiser, Preconditioned):
            raise UnsupportedError(
                f"only a PoissonFlow backbone with a Preconditioned network is a pipeline of diffusers; this one has "
                f"{type(process).__name__} and {type(denoiser).__name__}"
            )
        scheduler = PoissonFlowScheduler.of(process, solver=solver)
        network, codec = denoiser.network, backbone.codec
        if isinstance(network, UNet2DNetwork) and type(codec) is ImageCodec:
            return cls(network.unet, scheduler)
        model = NetworkModel(describe(network))
        model.body = network
        return cls(model.eval(), scheduler, describe(codec))

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Save as diffusers does; a U-Net over images as a `DDPMPipeline`, so that diffusers itself can load it."""
        if isinstance(self.unet, UNet2DModel):
            DDPMPipeline(self.unet, self.scheduler).save_pretrained(save_directory, **kwargs)
        else:
            super().save_pretrained(save_directory, **kwargs)

    def backbone(self) -> Backbone:
        """The backbone that this pipeline samples, around the same network.

        Raises:
            CheckpointError: the U-Net is none that `UNet2DNetwork` makes.
        """
        process = self.scheduler.process
        network = self.unet.body if isinstance(self.unet, NetworkModel) else _around(self.unet)
        codec = self.config.codec
        trained = process.aug_dim if process.transfer_from is None else process.transfer_from
        denoiser = Preconditioned(network, sigma_data=process.sigma_data, aug_dim=trained)
        known = _images(self.unet) if codec is None else build(dict(codec), kinds=(Codec,))
        return Backbone(known, process, denoiser).to(self.unet.device).eval()

    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generator | Sequence[Generator] | None = None,
        num_inference_steps: int = 80,
        output_type: str | None = None,
        return_dict: bool = True,
    ) -> Any:
        """Draw designs.

        Args:
            batch_size: how many.
            generator: a new one seeded with n gives what `backbone.sample(..., seed=n)` gives; one that was used
                before gives other designs each time. A list has one an image; None takes PyTorch's own stream.
            num_inference_steps: steps of the noise schedule.
            output_type: "pil", "np" [B H W C] or "pt" [B C H W] for images, "design" for designs as the backbone
                gives them. None: "pil" for images, else "design".
            return_dict: whether to return an object with `.images`, or a tuple.

        Raises:
            ConfigError: no such output, or another number of generators than of images.
        """
        backbone = self.backbone()
        image = isinstance(backbone.codec, ImageCodec)
        kinds = ("pil", "np", "pt", "design") if image else ("design",)
        kind = kinds[0] if output_type is None else output_type
        if kind not in kinds:
            raise ConfigError(f"output_type must be one of {', '.join(kinds)}, got {kind!r}")
        options: dict[str, Any] = {"steps": num_inference_steps, "solver": self.scheduler.solver}
        if isinstance(generator, Sequence) and len(generator) != batch_size:
            raise ConfigError(f"expected {batch_size} generators, one an image; got {len(generator)}")
        with _frozen(self.unet):
            if isinstance(generator, Sequence):
                designs = [backbone.sample(1, seed=_seed(each), **options)[0] for each in generator]
            else:
                designs = backbone.sample(batch_size, seed=_seed(generator), **options)
        shown: Any = designs
        if kind != "design":
            shown = np.stack([np.atleast_3d(design) for design in designs])
        if kind == "pil":
            shown = self.numpy_to_pil(shown)
        if kind == "pt":
            shown = torch.from_numpy(shown).permute(0, 3, 1, 2)
        return ImagePipelineOutput(images=shown) if return_dict else (shown,)


def save_diffusers(backbone: Backbone, folder: str | Path, *, solver: str = "transition") -> None:
    """Save a continuous backbone as a pipeline of diffusers; never half-written.

    Args:
        backbone: a `PoissonFlow` one, with a preconditioned network.
        folder: where; an earlier pipeline there is replaced.
        solver: what the pipeline samples with: "transition" (random), "euler" or "heun".

    Raises:
        UnsupportedError: another kind of backbone.
        OutputError: the folder holds something else, or cannot be written.
    """
    pipeline, folder = PoissonFlowPipeline.of(backbone, solver=solver), Path(folder)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / INDEX).exists())):
        raise OutputError(f"{folder}: holds something else than a pipeline; choose a new or empty folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            pipeline.save_pretrained(made, safe_serialization=True)
            card = None if backbone.folder is None else backbone.folder / CARD
            if card is not None and card.is_file():
                shutil.copyfile(card, made / "README.md")
            made.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            made.rename(folder)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _images(unet: Any) -> ImageCodec:
    size = unet.config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return ImageCodec(int(height), int(width), int(unet.config.in_channels))


def _around(unet: Any) -> UNet2DNetwork:
    """The network of gendesign that has this U-Net inside."""
    config, images = unet.config, _images(unet)
    network = UNet2DNetwork(
        images.height,
        images.width,
        images.channels,
        widths=tuple(config.block_out_channels),
        layers=config.layers_per_block,
        attention=config.add_attention,
        dropout=config.dropout,
        norm_groups=config.norm_num_groups,
    )
    made: Any = network.unet
    for name, value in made.config.items():
        if not name.startswith("_") and _plain(config.get(name)) != _plain(value):
            raise CheckpointError(
                f"the U-Net has {name}={config.get(name)!r}, gendesign's has {value!r}: this pipeline was not saved by "
                "gendesign, or by another version of it"
            )
    network.unet = unet
    return network


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


@contextmanager
def _frozen(network: Any) -> Iterator[None]:
    """Weights without gradients, as loaded backbones have them: for others PyTorch multiplies in another order."""
    before = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    network.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, needed in before:
            parameter.requires_grad_(needed)


def _seed(generator: Generator | None) -> int:
    """The seed of a new generator; of a used one, or of PyTorch's own stream, a number drawn from it."""
    if generator is None:
        return int(torch.randint(2**62, ()))
    new = Generator(device=generator.device).manual_seed(generator.initial_seed())
    is_new = bool((new.get_state() == generator.get_state()).all())
    drawn = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return generator.initial_seed() if is_new else drawn

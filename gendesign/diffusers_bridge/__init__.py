"""diffusers in both directions: its pipelines as backbones, and backbones as its pipelines."""

from gendesign.errors import MissingExtraError

try:
    import diffusers as _  # noqa: F401
except ImportError as error:
    raise MissingExtraError("diffusers", "diffusers") from error

from gendesign.diffusers_bridge.backbone import DiffusersBackbone, load_diffusers
from gendesign.diffusers_bridge.pipeline import PoissonFlowPipeline, save_diffusers
from gendesign.diffusers_bridge.scheduler import PoissonFlowScheduler

__all__ = [
    "DiffusersBackbone",
    "PoissonFlowPipeline",
    "PoissonFlowScheduler",
    "load_diffusers",
    "save_diffusers",
]

"""gendesign: designs from diffusion models, steered toward what you want.

    import gendesign as gd
    backbone = gd.load_backbone("dna-yeast-promoter")
    reward = gd.load_reward("dna-expression")
    run = gd.design(backbone, reward, gd.SVDD(candidates=10, alpha=0.1), num_designs=64, steps=80, seed=0)

Names are imported when they are first used, so that `import gendesign` is instant.
"""

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "VectorSequenceCodec": "array_codecs",
    "VectorCodec": "array_codecs",
    "ImageCodec": "array_codecs",
    "Ancestral": "diffusion.unmasking",
    "Backbone": "backbone",
    "BestOfN": "steering.best_of_n",
    "Cosine": "diffusion.schedules",
    "DNACodec": "codecs",
    "ChiSquared": "divergences",
    "AlphaDivergence": "divergences",
    "DRAKES": "steering.drakes",
    "DesignSet": "design_set",
    "FirstHitting": "diffusion.unmasking",
    "FunctionReward": "rewards.base",
    "GendesignError": "errors",
    "InOrder": "diffusion.in_order",
    "KTokens": "diffusion.unmasking",
    "LogLinear": "diffusion.schedules",
    "MaskedDiffusion": "diffusion.masked",
    "Churn": "diffusion.solvers",
    "Euler": "diffusion.solvers",
    "Heun": "diffusion.solvers",
    "PoissonFlow": "diffusion.poisson_flow",
    "PoissonFlowPipeline": "diffusers_bridge",
    "PoissonFlowScheduler": "diffusers_bridge",
    "Preconditioned": "models.preconditioning",
    "PolicyGradient": "steering.policy_gradient",
    "PolicyGuidance": "steering.policy_guidance",
    "CovarianceAware": "steering.covariance_proposal",
    "FirstOrder": "steering.token_proposals",
    "Genetic": "steering.genetic",
    "Guidance": "steering.guidance",
    "MaskedExact": "steering.token_proposals",
    "LearnedValue": "steering.learned_value",
    "Bins": "conditioning",
    "Brought": "conditioning",
    "Labels": "conditioning",
    "Lengths": "conditioning",
    "Numbers": "conditioning",
    "PlugIn": "steering.proposals",
    "SMC": "steering.smc",
    "MoleculeCodec": "molecules.codec",
    "VarianceAware": "steering.proposals",
    "PosteriorMode": "steering.value",
    "PosteriorSamples": "steering.value",
    "ProteinCodec": "codecs",
    "RNACodec": "codecs",
    "Reward": "rewards.base",
    "ReverseKL": "divergences",
    "SVDD": "steering.svdd",
    "Scores": "rewards.base",
    "SequenceCodec": "codecs",
    "Structure": "structures",
    "Status": "rewards.base",
    "synthesize": "rl.synthesis",
    "Unsteered": "steering.unsteered",
    "Comparison": "comparison",
    "Task": "comparison",
    "blend": "steering.finetuned",
    "compare": "comparison",
    "design": "run",
    "estimate_cost": "run",
    "Guard": "training.guard",
    "GuardedReward": "training.guard",
    "finetune": "training.finetuning",
    "list_backbones": "loading",
    "list_rewards": "rewards",
    "load_backbone": "loading",
    "load_diffusers": "diffusers_bridge",
    "load_reward": "rewards",
    "load_value": "steering.learned_value",
    "read_structure": "files.structures",
    "save_diffusers": "diffusers_bridge",
    "write_report": "report",
}

__all__ = [
    "AlphaDivergence", "Ancestral", "Backbone", "BestOfN", "Bins", "Brought", "ChiSquared", "Churn", "Comparison",
    "Cosine",
    "DesignSet", "DNACodec", "DRAKES", "Euler", "FirstHitting", "FirstOrder", "FunctionReward", "GendesignError",
    "Genetic", "Guard", "GuardedReward",
    "Guidance", "Heun", "InOrder", "KTokens", "Labels", "LearnedValue", "Lengths", "LogLinear", "MaskedDiffusion",
    "MaskedExact",
    "MoleculeCodec", "Numbers", "PlugIn", "PoissonFlow", "PoissonFlowPipeline", "PoissonFlowScheduler",
    "PolicyGradient", "PolicyGuidance", "CovarianceAware",
    "PosteriorMode", "PosteriorSamples", "ProteinCodec", "ReverseKL", "Reward", "RNACodec", "Scores", "SequenceCodec",
    "SMC", "Status", "Structure", "SVDD", "Task", "Unsteered", "VarianceAware", "blend", "compare", "design",
    "estimate_cost", "finetune", "list_backbones",
    "list_rewards", "load_backbone", "load_diffusers", "load_reward", "load_value", "read_structure",
    "save_diffusers", "synthesize", "write_report",
]  # fmt: skip

if TYPE_CHECKING:
    from gendesign.backbone import Backbone
    from gendesign.codecs import DNACodec, ProteinCodec, RNACodec, SequenceCodec
    from gendesign.comparison import Comparison, Task, compare
    from gendesign.conditioning import Bins, Brought, Labels, Lengths, Numbers
    from gendesign.design_set import DesignSet
    from gendesign.diffusers_bridge import (
        PoissonFlowPipeline,
        PoissonFlowScheduler,
        load_diffusers,
        save_diffusers,
    )
    from gendesign.diffusion.in_order import InOrder
    from gendesign.diffusion.masked import MaskedDiffusion
    from gendesign.diffusion.poisson_flow import PoissonFlow
    from gendesign.diffusion.schedules import Cosine, LogLinear
    from gendesign.diffusion.solvers import Churn, Euler, Heun
    from gendesign.diffusion.unmasking import Ancestral, FirstHitting, KTokens
    from gendesign.divergences import AlphaDivergence, ChiSquared, ReverseKL
    from gendesign.errors import GendesignError
    from gendesign.files.structures import read_structure
    from gendesign.loading import list_backbones, load_backbone
    from gendesign.molecules.codec import MoleculeCodec
    from gendesign.report import write_report
    from gendesign.rewards import list_rewards, load_reward
    from gendesign.rewards.base import FunctionReward, Reward, Scores, Status
    from gendesign.rl.synthesis import synthesize
    from gendesign.run import design, estimate_cost
    from gendesign.steering.best_of_n import BestOfN
    from gendesign.steering.covariance_proposal import CovarianceAware
    from gendesign.steering.drakes import DRAKES
    from gendesign.steering.finetuned import blend
    from gendesign.steering.genetic import Genetic
    from gendesign.steering.guidance import Guidance
    from gendesign.steering.learned_value import LearnedValue, load_value
    from gendesign.steering.policy_gradient import PolicyGradient
    from gendesign.steering.policy_guidance import PolicyGuidance
    from gendesign.steering.proposals import PlugIn, VarianceAware
    from gendesign.steering.smc import SMC
    from gendesign.steering.svdd import SVDD
    from gendesign.steering.token_proposals import FirstOrder, MaskedExact
    from gendesign.steering.unsteered import Unsteered
    from gendesign.steering.value import PosteriorMode, PosteriorSamples
    from gendesign.structures import Structure
    from gendesign.training.finetuning import finetune
    from gendesign.training.guard import Guard, GuardedReward


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gendesign' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gendesign.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""A tiny backbone on disk, and what is compared with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gendesign.backbone import Backbone
from gendesign.codecs import DNACodec
from gendesign.comparison import Comparison
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.unmasking import FirstHitting
from gendesign.models.tabular import TabularDenoiser
from gendesign.rewards.dna import GCContent
from gendesign.steering.best_of_n import BestOfN
from gendesign.steering.svdd import SVDD
from gendesign.steering.unsteered import Unsteered

LENGTH = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("backbone") / "tiny"
    law = torch.rand(4**LENGTH, generator=torch.Generator().manual_seed(0))
    process = MaskedDiffusion(4, unmasking=FirstHitting())
    Backbone(DNACodec(LENGTH), process, TabularDenoiser(4, LENGTH).set_law(law / law.sum())).save_pretrained(
        path
    )
    return str(path)


@pytest.fixture
def make(folder: str) -> Callable[..., Comparison]:
    def comparison(task: dict[str, Any] | None = None, **changes: Any) -> Comparison:
        own = {"backbone": folder, "reward": GCContent(), "num_designs": 6, "steps": LENGTH, "alpha": 0.1}
        settings: dict[str, Any] = {
            "methods": {"unsteered": Unsteered(), "best_of_n": BestOfN(), "svdd": SVDD()},
            "tasks": {"tiny": own | (task or {})},
            "seeds": 2,
            "network_evaluations": [40],
        }
        return Comparison(**(settings | changes))

    return comparison


@pytest.fixture
def here(tmp_path: Path) -> Path:
    return tmp_path / "out"

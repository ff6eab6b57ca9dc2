"""Rewards: what designs are steered toward. Everything is imported at first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gendesign.rewards.aesthetics import AestheticScore
    from gendesign.rewards.base import DifferentiableReward, FunctionReward, Reward
    from gendesign.rewards.catalog import build_reward, list_rewards, load_reward
    from gendesign.rewards.classifiers import Classifier, load_classifier
    from gendesign.rewards.composition import (
        Difference,
        Product,
        Threshold,
        WeightedSum,
    )
    from gendesign.rewards.confidence import LowerConfidenceBound
    from gendesign.rewards.dna import GCContent
    from gendesign.rewards.image_classes import DigitClass, ImageClass
    from gendesign.rewards.images import Brightness, Contrast, JPEGCompressibility
    from gendesign.rewards.liabilities import SequenceLiabilities
    from gendesign.rewards.motifs import MaxMotifScore, MotifCount
    from gendesign.rewards.predicted import PredictedReward
    from gendesign.rewards.predictors import Predictor, load_predictor
    from gendesign.rewards.protein import (
        GRAVY,
        Aromaticity,
        InstabilityIndex,
        IsoelectricPoint,
        NetCharge,
        ProteinWeight,
    )
    from gendesign.rewards.relatives import Mutations, SequenceIdentity, SequenceSimilarity
    from gendesign.rewards.scores import Scores, Status
    from gendesign.rewards.synthesis import SynthesisProblems
    from gendesign.rewards.table import TableReward
    from gendesign.rewards.workers import TimedReward

_HOME = {
    "AestheticScore": "aesthetics",
    "DifferentiableReward": "base",
    "FunctionReward": "base",
    "Reward": "base",
    "Scores": "scores",
    "Status": "scores",
    "build_reward": "catalog",
    "list_rewards": "catalog",
    "load_reward": "catalog",
    "Classifier": "classifiers",
    "load_classifier": "classifiers",
    "Difference": "composition",
    "LowerConfidenceBound": "confidence",
    "Product": "composition",
    "Threshold": "composition",
    "WeightedSum": "composition",
    "GCContent": "dna",
    "DigitClass": "image_classes",
    "ImageClass": "image_classes",
    "Brightness": "images",
    "Contrast": "images",
    "JPEGCompressibility": "images",
    "MaxMotifScore": "motifs",
    "MotifCount": "motifs",
    "PredictedReward": "predicted",
    "Predictor": "predictors",
    "load_predictor": "predictors",
    "GRAVY": "protein",
    "Aromaticity": "protein",
    "ProteinWeight": "protein",
    "InstabilityIndex": "protein",
    "NetCharge": "protein",
    "IsoelectricPoint": "protein",
    "SequenceLiabilities": "liabilities",
    "SequenceIdentity": "relatives",
    "SequenceSimilarity": "relatives",
    "Mutations": "relatives",
    "SynthesisProblems": "synthesis",
    "TableReward": "table",
    "TimedReward": "workers",
}

__all__ = [
    "AestheticScore",
    "Aromaticity",
    "Brightness",
    "Classifier",
    "Contrast",
    "Difference",
    "DifferentiableReward",
    "DigitClass",
    "FunctionReward",
    "GCContent",
    "GRAVY",
    "ImageClass",
    "InstabilityIndex",
    "IsoelectricPoint",
    "JPEGCompressibility",
    "LowerConfidenceBound",
    "MaxMotifScore",
    "MotifCount",
    "Mutations",
    "NetCharge",
    "PredictedReward",
    "Predictor",
    "Product",
    "ProteinWeight",
    "Reward",
    "Scores",
    "SequenceIdentity",
    "SequenceLiabilities",
    "SequenceSimilarity",
    "Status",
    "SynthesisProblems",
    "TableReward",
    "Threshold",
    "TimedReward",
    "WeightedSum",
    "build_reward",
    "list_rewards",
    "load_classifier",
    "load_predictor",
    "load_reward",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

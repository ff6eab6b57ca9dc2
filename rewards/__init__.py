"""Rewards: what designs are steered toward. Everything is imported at first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gendesign.rewards.activity import PredictedActivity, TrainingSimilarity
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
    from gendesign.rewards.docking import Docking
    from gendesign.rewards.goals import Isomer, LikeReference
    from gendesign.rewards.image_classes import DigitClass, ImageClass
    from gendesign.rewards.images import Brightness, Contrast, JPEGCompressibility
    from gendesign.rewards.language_model import ProteinLanguageModel
    from gendesign.rewards.liabilities import SequenceLiabilities
    from gendesign.rewards.modifiers import Clipped, Gaussian, GeometricMean, MaxGaussian, MinGaussian
    from gendesign.rewards.molecule_filters import PAINS, Lipinski, Substructure
    from gendesign.rewards.molecules import (
        QED,
        TPSA,
        AtomCount,
        Complexity,
        HeavyAtoms,
        LogP,
        MolecularWeight,
        MoleculeReward,
        PenalisedLogP,
        Rings,
        RotatableBonds,
        SyntheticAccessibility,
    )
    from gendesign.rewards.motifs import MaxMotifScore, MotifCount
    from gendesign.rewards.pooled import Pooled, TimedReward
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
    from gendesign.rewards.regressor import Regressor, load_regressor
    from gendesign.rewards.relatives import Mutations, SequenceIdentity, SequenceSimilarity
    from gendesign.rewards.scores import Scores, Status
    from gendesign.rewards.similarity import Similarity
    from gendesign.rewards.synthesis import SynthesisProblems
    from gendesign.rewards.table import TableReward

_HOME = {
    "PredictedActivity": "activity",
    "TrainingSimilarity": "activity",
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
    "Docking": "docking",
    "DigitClass": "image_classes",
    "ImageClass": "image_classes",
    "Brightness": "images",
    "Contrast": "images",
    "JPEGCompressibility": "images",
    "Isomer": "goals",
    "LikeReference": "goals",
    "Clipped": "modifiers",
    "Gaussian": "modifiers",
    "GeometricMean": "modifiers",
    "MaxGaussian": "modifiers",
    "MinGaussian": "modifiers",
    "Lipinski": "molecule_filters",
    "PAINS": "molecule_filters",
    "Substructure": "molecule_filters",
    "AtomCount": "molecules",
    "Complexity": "molecules",
    "HeavyAtoms": "molecules",
    "LogP": "molecules",
    "MolecularWeight": "molecules",
    "MoleculeReward": "molecules",
    "PenalisedLogP": "molecules",
    "QED": "molecules",
    "Rings": "molecules",
    "RotatableBonds": "molecules",
    "SyntheticAccessibility": "molecules",
    "TPSA": "molecules",
    "Similarity": "similarity",
    "MaxMotifScore": "motifs",
    "MotifCount": "motifs",
    "Pooled": "pooled",
    "PredictedReward": "predicted",
    "Predictor": "predictors",
    "load_predictor": "predictors",
    "GRAVY": "protein",
    "Aromaticity": "protein",
    "ProteinLanguageModel": "language_model",
    "ProteinWeight": "protein",
    "InstabilityIndex": "protein",
    "NetCharge": "protein",
    "IsoelectricPoint": "protein",
    "Regressor": "regressor",
    "load_regressor": "regressor",
    "SequenceLiabilities": "liabilities",
    "SequenceIdentity": "relatives",
    "SequenceSimilarity": "relatives",
    "Mutations": "relatives",
    "Stability": "stability",
    "SynthesisProblems": "synthesis",
    "TableReward": "table",
    "TimedReward": "pooled",
}

__all__ = [
    "AestheticScore",
    "Aromaticity",
    "AtomCount",
    "Brightness",
    "Classifier",
    "Clipped",
    "Complexity",
    "Contrast",
    "Difference",
    "DifferentiableReward",
    "DigitClass",
    "Docking",
    "FunctionReward",
    "GCContent",
    "GRAVY",
    "Gaussian",
    "GeometricMean",
    "HeavyAtoms",
    "ImageClass",
    "InstabilityIndex",
    "IsoelectricPoint",
    "Isomer",
    "JPEGCompressibility",
    "LikeReference",
    "Lipinski",
    "LogP",
    "LowerConfidenceBound",
    "MaxGaussian",
    "MaxMotifScore",
    "MinGaussian",
    "MolecularWeight",
    "MoleculeReward",
    "MotifCount",
    "Mutations",
    "NetCharge",
    "PAINS",
    "PenalisedLogP",
    "Pooled",
    "PredictedActivity",
    "PredictedReward",
    "Predictor",
    "Product",
    "ProteinLanguageModel",
    "ProteinWeight",
    "QED",
    "Regressor",
    "Reward",
    "Rings",
    "RotatableBonds",
    "Scores",
    "SequenceIdentity",
    "SequenceLiabilities",
    "SequenceSimilarity",
    "Similarity",
    "Stability",
    "Status",
    "Substructure",
    "SynthesisProblems",
    "SyntheticAccessibility",
    "TPSA",
    "TableReward",
    "Threshold",
    "TimedReward",
    "TrainingSimilarity",
    "WeightedSum",
    "build_reward",
    "list_rewards",
    "load_classifier",
    "load_predictor",
    "load_regressor",
    "load_reward",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])

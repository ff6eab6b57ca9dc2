"""Measure two digit classifiers on images that they were not trained on, as their cards report it.

    python benchmarks/classifier_card.py [--guide digit-classifier] [--audit digit-classifier-heldout]

Test images are the same for both. Figures: accuracy with Wilson's 95 % interval, mean negative log-probability,
calibration error over ten bins of confidence, for the test images and for everything that a classifier has not seen
(test and the other half); how often both err on the same image; what they say of images that are no digits. The
output is Markdown.
"""

import argparse
import math

import numpy as np
import torch
import yaml

from gendesign.array_codecs import ImageCodec
from gendesign.data.images import ImageDataModule
from gendesign.rewards import Classifier, load_classifier
from gendesign.rewards.classifiers import ensemble
from gendesign.rewards.images import to_pixels

CONFIGS = {
    "guide": "configs/train/digit_classifier.yaml",
    "audit": "configs/train/digit_classifier_heldout.yaml",
}


def data_module(config: str) -> ImageDataModule:
    """The data module of a training config."""
    with open(config) as handle:
        arguments = dict(yaml.safe_load(handle)["data"]["init_args"])
    return ImageDataModule(codec=ImageCodec(**arguments.pop("codec")["init_args"]), **arguments)


@torch.no_grad()
def probabilities(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """The ensemble's probabilities, [rows, classes]."""
    return ensemble(classifier(to_pixels(list(images)))).double().exp().numpy()


def wilson(right: int, n: int) -> str:
    """A proportion with Wilson's 95 % interval."""
    p, z = right / n, 1.96
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return f"{p:.3f} ({low:.3f} to {high:.3f})"


def calibration_error(p: np.ndarray, labels: np.ndarray) -> float:
    """Mean difference of confidence and accuracy over ten bins of confidence, weighed by their images."""
    confidence, right = p.max(1), p.argmax(1) == labels
    bins = np.minimum((confidence * 10).astype(int), 9)
    gaps = [abs((confidence - right)[bins == b].mean()) * (bins == b).mean() for b in np.unique(bins)]
    return float(sum(gaps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guide", default="digit-classifier", help="name or folder")
    parser.add_argument("--audit", default="digit-classifier-heldout", help="name or folder")
    options = parser.parse_args()
    data = {role: data_module(config) for role, config in CONFIGS.items()}
    classifiers = {role: load_classifier(getattr(options, role)) for role in CONFIGS}
    images, labels = data["guide"].designs, data["guide"].targets[:, 0].astype(int)
    test = data["guide"].indices("test")
    assert set(test) == set(data["audit"].indices("test"))
    found = {role: probabilities(classifiers[role], images) for role in CONFIGS}
    print("| classifier | images | n | accuracy (95 % interval) | NLL (nats) | calibration error |")
    print("|---|---|---|---|---|---|")
    for role, p in found.items():
        seen = np.concatenate([data[role].indices("train"), data[role].indices("val")])
        unseen = np.setdiff1d(np.arange(len(labels)), seen)
        for which, rows in (("test", test), ("all unseen", unseen)):
            right = int((p[rows].argmax(1) == labels[rows]).sum())
            nll = -np.log(p[rows, labels[rows]]).mean()
            print(
                f"| {role} | {which} | {len(rows)} | {wilson(right, len(rows))} | {nll:.3f} "
                f"| {calibration_error(p[rows], labels[rows]):.3f} |"
            )
    wrong = {role: p[test].argmax(1) != labels[test] for role, p in found.items()}
    both = int((wrong["guide"] & wrong["audit"]).sum())
    print(
        f"\nErrors on the {len(test)} test images: {int(wrong['guide'].sum())} and "
        f"{int(wrong['audit'].sum())}, {both} shared."
    )
    rng = np.random.default_rng(0)
    print("\n| images that are no digits | confidence above .9, guide | audit | both, in the same digit |")
    print("|---|---|---|---|")
    strange = {
        "uniform noise": rng.random((1000, 8, 8)),
        "pixels of a digit in another order": images[rng.integers(len(images), size=1000)]
        .reshape(1000, 64)[:, rng.permutation(64)]
        .reshape(1000, 8, 8),
        "mean of two digits of different classes": mixtures(images, labels, rng),
    }
    for name, batch in strange.items():
        p = [probabilities(classifiers[role], batch) for role in CONFIGS]
        sure = [each.max(1) > 0.9 for each in p]
        same = sure[0] & sure[1] & (p[0].argmax(1) == p[1].argmax(1))
        print(f"| {name} | {sure[0].mean():.1%} | {sure[1].mean():.1%} | {same.mean():.1%} |")


def mixtures(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of pairs of digits of different classes."""
    first, second = rng.integers(len(images), size=(2, 3000))
    different = np.flatnonzero(labels[first] != labels[second])[:1000]
    return (images[first[different]] + images[second[different]]) / 2


if __name__ == "__main__":
    main()

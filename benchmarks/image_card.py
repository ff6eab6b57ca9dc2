"""The figures of an image backbone's card: samples of handwritten digits beside real ones that it never saw.

    python benchmarks/image_card.py image-digits image-digits-edm

Samples, as many as there are unseen digits (validation and test), are compared with those: energy distance of
pixels, and Frechet distance of `digit-classifier`'s features. `real` are training digits, as many, compared with
the same unseen ones: what a perfect model would have. Means over sampling seeds with 95 % intervals. Sure: how many
have a digit that the classifier gives more than 90 %. Copies: the distance of each sample to the nearest training
digit, beside that of unseen digits. Cost: CPU seconds for 64 designs. With --pictures FOLDER also a PNG of a hundred
each.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from gendesign.array_codecs import ImageCodec
from gendesign.backbone import Backbone
from gendesign.data.images import ImageDataModule
from gendesign.diffusion.solvers import Heun, Solver
from gendesign.loading import load_backbone
from gendesign.metrics.fidelity import energy_distance, frechet_distance
from gendesign.metrics.summary import bootstrap_interval
from gendesign.rewards import load_classifier
from gendesign.rewards.images import to_pixels

Floats = NDArray[np.float64]
SAMPLERS: dict[str, tuple[int, Solver | None]] = {
    "transitions, 80 steps": (80, None),
    "transitions, 20 steps": (20, None),
    "Heun, 18 steps": (18, Heun()),
}


class Yardstick:
    """Figures of a set of images against the unseen digits."""

    def __init__(self) -> None:
        data = ImageDataModule("digits", ImageCodec(8, 8))
        self.train = data.designs[data.indices("train")]
        self.unseen = data.designs[np.concatenate([data.indices("val"), data.indices("test")])]
        self.classifier = load_classifier("digit-classifier")
        self.features = self._features(self.unseen)

    def __call__(self, images: Floats) -> dict[str, float]:
        return {
            "energy": energy_distance(flat(images), flat(self.unseen)),
            "frechet": frechet_distance(self._features(images), self.features),
            **self.alone(images),
        }

    @torch.inference_mode()
    def alone(self, images: Floats) -> dict[str, float]:
        """Figures that need no other images than the training digits."""
        confidence = self.classifier(to_pixels(list(images))).exp().mean(0).amax(1)
        near = self.nearest(images)
        return {
            "sure": float((confidence > 0.9).double().mean()),
            "near_5": float(np.quantile(near, 0.05)),
            "near_50": float(np.quantile(near, 0.5)),
            "nearest": float(near.min()),
        }

    def nearest(self, images: Floats) -> Floats:
        """Euclidean distance to the nearest training digit, in pixels of [0, 1]."""
        to_train = torch.cdist(torch.from_numpy(flat(images)), torch.from_numpy(flat(self.train)))
        found: Floats = to_train.amin(1).numpy()
        return found

    @torch.inference_mode()
    def _features(self, images: Floats) -> Floats:
        found: Floats = self.classifier.features(to_pixels(list(images))).double().numpy()
        return found


def flat(images: Floats) -> Floats:
    return images.reshape(len(images), -1)


def draw(backbone: Backbone, sampler: str, num: int, seed: int) -> tuple[Floats, float]:
    """Designs, and seconds for 64 of them."""
    steps, solver = SAMPLERS[sampler]
    start = time.process_time()
    images = np.stack(backbone.sample(num, steps=steps, seed=seed, solver=solver))
    return images, (time.process_time() - start) * 64 / num


def row(name: str, found: list[dict[str, float]]) -> str:
    def cell(key: str, digits: int) -> str:
        values = np.array([each[key] for each in found])
        low, high = bootstrap_interval(values, np.mean)
        return f"{values.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

    means = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
    copies = f"{means['near_5']:.2f} | {means['near_50']:.2f} | {min(each['nearest'] for each in found):.2f}"
    seconds = f"{means['seconds']:.2f}" if "seconds" in means else ""
    return f"| {name} | {cell('energy', 4)} | {cell('frechet', 2)} | {means['sure']:.3f} | {copies} | {seconds} |"


def picture(images: Floats, path: Path) -> None:
    """The first hundred, dark on light, eight times enlarged."""
    from PIL import Image

    tiles = np.pad(images[:100].reshape(10, 10, 8, 8), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=0.3)
    sheet = (255 * (1 - tiles.transpose(0, 2, 1, 3).reshape(90, 90))).round().astype(np.uint8)
    Image.fromarray(sheet).resize((720, 720), Image.Resampling.NEAREST).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbones", nargs="+", help="names or folders")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    yardstick = Yardstick()
    num = len(yardstick.unseen)
    print(
        "| images | energy | Frechet | sure | nearest 5 % | median | least | seconds |\n" + "|---" * 8 + "|"
    )
    real = []
    for seed in range(given.seeds):
        rows = np.random.default_rng(seed).choice(len(yardstick.train), num, replace=False)
        real.append(yardstick(yardstick.train[rows]))
    # training digits are their own nearest, and the classifier's: these figures are the unseen ones'
    beside = yardstick.alone(yardstick.unseen)
    print(row("real digits", [each | beside for each in real]))
    for name in given.backbones:
        backbone = load_backbone(name)
        for sampler in SAMPLERS:
            found = []
            for seed in range(given.seeds):
                images, seconds = draw(backbone, sampler, num, seed)
                found.append(yardstick(images) | {"seconds": seconds})
            print(row(f"{name}, {sampler}", found), flush=True)
            if given.pictures:
                given.pictures.mkdir(parents=True, exist_ok=True)
                picture(images, given.pictures / f"{Path(name).name}-{sampler.split(',')[0].lower()}.png")


if __name__ == "__main__":
    main()

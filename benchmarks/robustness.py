"""How far samples of digits fall off under injected noise, few steps and coarse weights, at D = 16, 128, 2048 and inf.

    python benchmarks/robustness.py --train --models runs/digits     # D=16 and 2048, as configs/train/image_digits.yaml
    python benchmarks/robustness.py --models runs/digits             # about eight minutes on one core, estimated

D=128 and inf are the shipped `image-digits` and `image-digits-edm`, unless the folder holds its own.

Section 6 of PFGM++ (Xu et al. 2023, arXiv 2302.04265) finds models of smaller D more robust. Its protocol, and ours:

    noise    after each step of the probability flow to a noise level sigma > 0, x <- x + alpha sigma z, z ~ N(0, I)
             (the paper injects alpha N(0, r/sqrt(D) I), and r/sqrt(D) = sigma)
    steps    Heun steps on the same schedule, nothing else changed
    bits     weights (not biases and gains) rounded to a uniform grid of 2^bits - 1 levels, symmetric, one a tensor;
             no fine-tuning

18 Heun steps unless said. Figures, for each of 5 sampling seeds: energy distance of pixels (unbiased) and Frechet
distance of the 96 features of `digit-classifier`, both to all 1,797 digits. Models share seeds, so their differences
are paired. Writes robustness.csv, robustness.png, and the part of ROBUSTNESS.md below its marker.
"""

import argparse
import copy
import csv
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from gendesign.array_codecs import ImageCodec
from gendesign.backbone import Backbone
from gendesign.data.images import ImageDataModule
from gendesign.diffusion.poisson_flow import PoissonFlow
from gendesign.diffusion.solvers import Ask, Heun, Solved
from gendesign.loading import load_backbone
from gendesign.metrics.fidelity import energy_distance, frechet_distance
from gendesign.metrics.summary import bootstrap_interval
from gendesign.rewards import load_classifier
from gendesign.rewards.images import to_pixels

HERE = Path(__file__).parent
CONFIG = HERE.parent / "configs/train/image_digits.yaml"
MODELS = ("16", "128", "2048", "inf")
SHIPPED = {"128": "image-digits", "inf": "image-digits-edm"}
STEPS = 18
AXES: dict[str, tuple[float, ...]] = {
    "noise": (0.0, 0.1, 0.2, 0.4, 0.6),
    "steps": (35, 18, 9, 5),
    "bits": (32, 8, 6, 5, 4),
}
UNTOUCHED = {"noise": 0.0, "steps": STEPS, "bits": 32}
METRICS = {"energy": "energy distance, pixels", "frechet": "Frechet distance, features"}
MARKER = "<!-- below: written by benchmarks/robustness.py -->"

Row = dict[str, float | str]


class NoisyHeun(Heun):
    """Heun's step, then a fault: noise of standard deviation alpha sigma."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def step(
        self,
        process: PoissonFlow,
        ask: Ask,
        prediction,
        x: Tensor,
        t: Tensor,
        s: Tensor,
        *,
        generator: Generator,
    ) -> Solved:  # type: ignore[no-untyped-def]
        solved = super().step(process, ask, prediction, x, t, s, generator=generator)
        fault = torch.randn(x.shape, dtype=x.dtype, generator=generator)
        return Solved(solved.x + self.alpha * s[:, None] * fault, solved.rows)


def quantised(backbone: Backbone, bits: int) -> Backbone:
    """A copy whose weight matrices and kernels lie on a grid of 2^bits - 1 levels between -max and max."""
    made = copy.deepcopy(backbone)
    top = 2 ** (bits - 1) - 1
    with torch.no_grad():
        for module in made.denoiser.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                unit = module.weight.abs().max() / top
                module.weight.copy_((module.weight / unit).round() * unit)
    return made


def samples(backbone: Backbone, axis: str, level: float, *, num: int, seed: int) -> np.ndarray:
    """Designs [num, H, W] under one fault."""
    steps = int(level) if axis == "steps" else STEPS
    solver = NoisyHeun(level) if axis == "noise" and level else Heun()
    return np.stack(backbone.sample(num, steps=steps, seed=seed, solver=solver))


class Yardstick:
    """Both distances to the real digits."""

    def __init__(self) -> None:
        self.digits = ImageDataModule("digits", ImageCodec(8, 8)).designs
        self.classifier = load_classifier("digit-classifier")
        self.features = self._features(self.digits)

    def __call__(self, images: np.ndarray) -> dict[str, float]:
        energy = energy_distance(images.reshape(len(images), -1), self.digits.reshape(len(self.digits), -1))
        return {"energy": energy, "frechet": frechet_distance(self._features(images), self.features)}

    def floor(self, num: int, seed: int) -> dict[str, float]:
        """The distances of `num` real digits: what a perfect model would have."""
        rows = np.random.default_rng(seed).choice(len(self.digits), num, replace=False)
        return self(self.digits[rows])

    @torch.no_grad()
    def _features(self, images: np.ndarray) -> np.ndarray:
        return self.classifier.features(to_pixels(list(images))).double().numpy()


def measure(models: Path, *, num: int, seeds: int) -> Iterator[Row]:
    """One row a model, fault, level and seed; the untouched model is measured once and belongs to each fault."""
    yardstick = Yardstick()
    for seed in range(seeds):
        yield {"model": "real", "fault": "none", "level": 0.0, "seed": seed, **yardstick.floor(num, seed)}
    for name in MODELS:
        backbone = load(models, name)
        for axis, levels in AXES.items():
            for level in levels:
                if level == UNTOUCHED[axis] and axis != "steps":
                    continue
                faulty = quantised(backbone, int(level)) if axis == "bits" else backbone
                for seed in range(seeds):
                    with torch.inference_mode():
                        found = yardstick(samples(faulty, axis, level, num=num, seed=seed))
                    row: Row = {"model": name, "fault": axis, "level": level, "seed": seed, **found}
                    yield row
                    if axis == "steps" and level == STEPS:
                        yield from (
                            {**row, "fault": other, "level": UNTOUCHED[other]} for other in ("noise", "bits")
                        )


def load(models: Path, name: str) -> Backbone:
    folder = models / name / "pretrained"
    if not folder.is_dir() and name not in SHIPPED:
        sys.exit(f"{folder}: no such model; train it with --train")
    return load_backbone(str(folder) if folder.is_dir() else SHIPPED[name])


def train(models: Path) -> None:
    """Train the models that do not ship: the shipped config at another D. A killed run is resumed."""
    for name in MODELS:
        if name in SHIPPED:
            continue
        text = CONFIG.read_text().replace("aug_dim: 128", f"aug_dim: {name.replace('inf', '.inf')}")
        models.mkdir(parents=True, exist_ok=True)
        config = models / f"{name}.yaml"
        config.write_text(text.replace("runs/image-digits", str(models / name)))
        subprocess.run(
            [sys.executable, "-m", "gendesign.training.command", "fit", "--config", str(config)], check=True
        )


# Tables and the plot ----------------------------------------------------------------------------------------


def chosen(rows: list[Row], model: str, axis: str, level: float, metric: str) -> np.ndarray:
    """A figure's values over seeds."""
    found = [r for r in rows if r["model"] == model and r["fault"] == axis and float(r["level"]) == level]
    return np.array([float(r[metric]) for r in sorted(found, key=lambda r: int(r["seed"]))])


def cell(values: np.ndarray, digits: int = 2) -> str:
    low, high = bootstrap_interval(values, np.mean)
    return f"{values.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def tables(rows: list[Row]) -> str:
    """Markdown: every figure, and by how much smaller D is better or worse than inf at each fault."""
    lines: list[str] = []
    for metric, title in METRICS.items():
        real = chosen(rows, "real", "none", 0.0, metric)
        digits = 3 if metric == "energy" else 2
        lines += ["", f"### {title[0].upper()}{title[1:]}", "", f"Real digits: {cell(real, digits)}.", ""]
        lines += [f"| fault | level | {' | '.join(f'D={name}' for name in MODELS)} |", "|---" * 6 + "|"]
        for axis, levels in AXES.items():
            for level in levels:
                cells = [cell(chosen(rows, name, axis, level, metric), digits) for name in MODELS]
                lines.append(f"| {axis} | {level:g} | {' | '.join(cells)} |")
        finite = MODELS[:-1]
        lines += [
            "",
            "What the fault added, D minus inf (paired by seed; below 0: D is the more robust):",
            "",
        ]
        lines += [f"| fault | level | {' | '.join(f'D={name}' for name in finite)} |", "|---" * 5 + "|"]
        for axis, levels in AXES.items():
            for level in levels:
                if level == UNTOUCHED[axis]:
                    continue
                cells = [cell(added(rows, name, axis, level, metric), digits) for name in finite]
                lines.append(f"| {axis} | {level:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


def added(rows: list[Row], name: str, axis: str, level: float, metric: str) -> np.ndarray:
    """Rise of a distance under the fault, D's minus inf's, a seed each."""
    rise = [
        chosen(rows, model, axis, level, metric) - chosen(rows, model, axis, UNTOUCHED[axis], metric)
        for model in (name, "inf")
    ]
    return rise[0] - rise[1]


def plot(rows: list[Row], path: Path) -> None:
    import matplotlib.pyplot as plt

    colours = {"16": "#c2185b", "128": "#e8871e", "2048": "#3a7d44", "inf": "#1f4e9c"}
    labels = {"noise": "injected noise alpha", "steps": "Heun steps", "bits": "bits of a weight"}
    figure, panels = plt.subplots(2, 3, figsize=(10.5, 5.8), sharey="row", layout="constrained")
    for i, (metric, title) in enumerate(METRICS.items()):
        real = chosen(rows, "real", "none", 0.0, metric).mean()
        for j, (axis, levels) in enumerate(AXES.items()):
            panel = panels[i, j]
            places = np.arange(len(levels))
            for k, name in enumerate(MODELS):
                values = [chosen(rows, name, axis, level, metric) for level in levels]
                mean = np.array([v.mean() for v in values])
                ends = np.array([bootstrap_interval(v, np.mean) for v in values]).T
                panel.errorbar(
                    places + 0.06 * (k - 1.5), mean, np.abs(ends - mean), color=colours[name], marker="o",
                    markersize=3.5, linewidth=1.3, capsize=2, label=f"D={name}",
                )  # fmt: skip
            if metric == "frechet":
                panel.axhline(real, color="0.5", linestyle=":", label="real digits")
                panel.set_yscale("log")
                panel.set_yticks([20, 40, 80, 160], ["20", "40", "80", "160"])
                panel.minorticks_off()
                panel.set_xlabel(labels[axis])
            else:
                panel.axhline(0, color="0.5", linestyle=":")
                panel.set_yscale("symlog", linthresh=0.05)
                panel.set_yticks([0, 0.02, 0.04, 0.1, 0.2], ["0", ".02", ".04", ".1", ".2"])
            panel.set_xticks(places, [f"{level:g}" for level in levels])
            panel.spines[["top", "right"]].set_visible(False)
        panels[i, 0].set_ylabel(title)
    panels[1, 0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--models", type=Path, default=Path("runs/digits"), help="folder with 16/, 128/, 2048/, inf/"
    )
    parser.add_argument("--train", action="store_true", help="train the models that do not ship, then stop")
    parser.add_argument("--num", type=int, default=192, help="samples a seed")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the results")
    parser.add_argument(
        "--again", action="store_true", help="draw tables and plot of the robustness.csv that is there"
    )
    options = parser.parse_args()
    if options.train:
        train(options.models)
        return
    table = options.out / "robustness.csv"
    if not options.again:
        torch.set_num_threads(1)
        start, done = time.perf_counter(), []
        for row in measure(options.models, num=options.num, seeds=options.seeds):
            done.append(row)
            if row["seed"] == options.seeds - 1:
                print(
                    f"{time.perf_counter() - start:5.0f} s  D={row['model']} {row['fault']} {row['level']}",
                    flush=True,
                )
        options.out.mkdir(parents=True, exist_ok=True)
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(done[0]))
            writer.writeheader()
            writer.writerows(done)
    with table.open(newline="") as file:
        rows: list[Row] = list(csv.DictReader(file))
    plot(rows, options.out / "robustness.png")
    page = options.out / "ROBUSTNESS.md"
    said = page.read_text().partition(MARKER)[0] if page.exists() else ""
    page.write_text(f"{said}{MARKER}\n\n![](robustness.png)\n{tables(rows)}\n")


if __name__ == "__main__":
    main()

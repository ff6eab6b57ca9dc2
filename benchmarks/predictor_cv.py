"""Which recipe predicts natural promoters of unseen genes best? Cross-validation that never sees the test groups.

    python benchmarks/predictor_cv.py base native5 random2022 pretrained motifs motifs+pretrained
    python benchmarks/predictor_cv.py --network recurrent base motifs motifs+pretrained

Guide and audit are trained on disjoint halves of the groups. Here a recipe is trained on one half as the configs say,
and judged on random and natural promoters of the other; then the other way round. Recipes, each a change of `base`:

    native5      natural groups are drawn five times as often
    random2022   half of each batch are promoters of another random library, with a head of their own (DREAM 2022)
    pretrained   first `--fill` steps of filling in masked bases of natural alleles, none alike to a test group
    motifs       the first layer also holds the shipped motifs of yeast (`gendesign.models.known_motifs`)
    motifs+pretrained   both; what ships, with `--fill 1600`

The output is Markdown; r is Pearson's, of one network (`--members` for the mean of several).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import time

import numpy as np
import pandas as pd
import torch
from predictor_card import CONFIGS, data_module
from torch import Tensor, nn
from torch.nn import functional

from gendesign.data import tables
from gendesign.models.known_motifs import KnownMotifs
from gendesign.models.predictor import ConvPredictor, RecurrentPredictor, SequencePredictor
from gendesign.optimisation import adamw_with_cosine
from gendesign.rewards.motifs import read_log_odds

RECIPES = ("base", "native5", "random2022", "pretrained", "motifs", "motifs+pretrained")
PREFIX, SUFFIX = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
LENGTH, BATCH, STEPS = 110, 128, 400


class Trial:
    """The data, and training of one recipe on one half."""

    def __init__(self, recipe: str, network: str, fill: int) -> None:
        self.recipe, self.network, self.fill = recipe, network, fill
        modules = [data_module(config) for config in CONFIGS.values()]
        data, table = modules[0], modules[0].table
        self.halves = [np.concatenate([m.indices("train"), m.indices("val")]) for m in modules]
        self.library, self.group = np.array(data.column("library")), np.array(data.column("group"))
        self.x = functional.one_hot(table.x.long(), 5)[..., :4].float() * table.mask[..., None]
        self.y = torch.from_numpy(table.targets).float()
        self.test = [data.sequences[i] for i in data.indices("test")]

    def one_hot(self, sequences: list[str]) -> Tensor:
        """One-hots; zeros where the base is unknown, and after the end."""
        ids = [["ACGTN".index(b) for b in s] + [4] * (LENGTH - len(s)) for s in sequences]
        return functional.one_hot(torch.tensor(ids), 5)[..., :4].float()

    def build(self, heads: int) -> SequencePredictor:
        if self.network == "conv":
            network: SequencePredictor = ConvPredictor(
                4, LENGTH, heads, stem_kernel=13, both_strands=True, poolings=4
            )
            width = 64
        else:
            network, width = (
                RecurrentPredictor(4, LENGTH, heads, width=128, stem_kernel=11, both_strands=True),
                128,
            )
        if "motifs" in self.recipe:
            log_odds = read_log_odds("jaspar2024-yeast")
            network.stem.known = KnownMotifs(4, len(log_odds), 15, width)
            network.take_motifs(log_odds)
        return network

    def fill_in(self, network: SequencePredictor, rng: np.random.Generator) -> None:
        """Train the trunk, all but the dense layers, to name masked bases of natural alleles."""
        words = {s[i : i + 20] for s in self.test for i in range(len(PREFIX), len(s) - len(SUFFIX) - 19)}
        table = pd.read_csv(tables.locate("yeast_native_promoters_1011"))
        fine = [not any(s[i : i + 20] in words for i in range(61)) for s in table.sequence]
        table = table[fine].reset_index(drop=True)
        genes = list(table.groupby("gene_promoter").indices.values())
        alleles = self.one_hot([PREFIX + s + SUFFIX for s in table.sequence])
        features = network.eval().features(alleles[:1])
        network.train()
        pooled = -(-LENGTH // features.shape[2])  # positions that became one
        head = nn.Conv1d(features.shape[1], 4 * pooled, 1)
        training = adamw_with_cosine(
            nn.ModuleList([network, head]), lr=2e-3, weight_decay=0.05, warmup_steps=50, total_steps=self.fill
        )
        for _ in range(self.fill):
            x = alleles[[rng.choice(genes[i]) for i in rng.integers(len(genes), size=BATCH)]]
            hidden = torch.zeros(BATCH, LENGTH, dtype=torch.bool)
            hidden[:, 17:97] = torch.rand(BATCH, 80) < torch.rand(BATCH, 1) * 0.3 + 0.05
            out = head(network.features(x * ~hidden[..., None]))
            out = out.view(BATCH, 4, pooled, -1).permute(0, 3, 2, 1).reshape(BATCH, -1, 4)[:, :LENGTH]
            loss = functional.cross_entropy(out[hidden], x[hidden].argmax(-1))
            _step(training, network, loss)

    def train(self, rows: np.ndarray, half: int, seed: int) -> tuple[nn.Module, Tensor, Tensor]:
        """The network's moving average after the last step, with centre and scale of its targets."""
        rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        groups = list(pd.Series(rows).groupby(self.group[rows], sort=False).agg(np.array))
        weights = np.ones(len(groups))
        if self.recipe == "native5":
            weights[[self.library[g[0]] == "native" for g in groups]] = 5
        center = self.y[rows].nanmean(0)
        scale = (self.y[rows] - center).square().nanmean(0).sqrt()
        more = self.recipe == "random2022"
        if more:
            extra = pd.read_csv(tables.locate("yeast_random_promoters_dream2022_demo"))
            side = extra.sequence.map(lambda s: int(hashlib.sha256(f"dream{s}".encode()).hexdigest(), 16) % 2)
            extra = extra[(extra.sequence.str.len() <= LENGTH) & (side == half)]
            more_x = self.one_hot(list(extra.sequence))
            more_y = torch.tensor(extra.expression.to_numpy(), dtype=torch.float32)
            more_y = (more_y - more_y.mean()) / more_y.std()
        network = self.build(3 if more else 2)
        if "pretrained" in self.recipe:
            self.fill_in(network, rng)
        average = [p.detach().clone() for p in network.parameters()]
        training = adamw_with_cosine(network, lr=2e-3, weight_decay=0.05, warmup_steps=50, total_steps=STEPS)
        order: list[int] = []
        for step in range(STEPS):
            if self.recipe == "native5":
                drawn = rng.choice(len(groups), BATCH, p=weights / weights.sum())
            else:  # each group once before any comes again
                while len(order) < BATCH:
                    order += list(rng.permutation(len(groups)))
                drawn, order = order[:BATCH], order[BATCH:]
            chosen = [rng.choice(groups[i]) for i in drawn]
            x, y = self.x[chosen], (self.y[chosen] - center) / scale
            if more:
                other = rng.integers(len(more_x), size=BATCH)
                x, blank = torch.cat([x, more_x[other]]), torch.full((BATCH, 1), math.nan)
                y = torch.cat(
                    [torch.cat([y, blank], 1), torch.cat([blank, blank, more_y[other][:, None]], 1)]
                )
            known = ~y.isnan()
            loss = ((network(x) - y.nan_to_num()).square() * known).sum() / known.sum()
            _step(training, network, loss)
            decay = min(0.998, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, p in zip(average, network.parameters(), strict=True):
                    mean.mul_(decay).add_(p, alpha=1 - decay)
        with torch.no_grad():
            for mean, p in zip(average, network.parameters(), strict=True):
                p.copy_(mean)
        return network.eval(), center, scale

    @torch.no_grad()
    def judge(self, half: int, members: int) -> dict[str, float]:
        """Pearson r on the other half, by library and medium."""
        rows = self.halves[1 - half]
        rows = rows[self.library[rows] != "sswm"]
        found = torch.zeros(len(rows), 2)
        for member in range(members):
            with torch.enable_grad():
                network, center, scale = self.train(self.halves[half], half, 100 * half + member)
            out = torch.cat([network(self.x[part])[:, :2] for part in np.array_split(rows, 20)])
            found += (out * scale + center) / members
        told = {}
        for library in ("native", "random"):
            for head, medium in enumerate(("complex", "defined")):
                truth = self.y[rows, head]
                fine = torch.from_numpy(self.library[rows] == library) & truth.isfinite()
                told[f"{library}, {medium}"] = float(
                    torch.corrcoef(torch.stack([found[fine, head], truth[fine]]))[0, 1]
                )
        return told


def _step(training: dict, network: nn.Module, loss: Tensor) -> None:
    training["optimizer"].zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    training["optimizer"].step()
    training["lr_scheduler"]["scheduler"].step()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipes", nargs="+", choices=RECIPES)
    parser.add_argument("--network", choices=("conv", "recurrent"), default="conv")
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument(
        "--fill", type=int, default=400, metavar="STEPS", help="pretraining steps (%(default)s)"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for number, recipe in enumerate(options.recipes):
        trial = Trial(recipe, options.network, options.fill)
        for half in (0, 1):
            start = time.process_time()
            told = trial.judge(half, options.members)
            if not number and not half:
                print(
                    f"| network | recipe | trained on half | {' | '.join(told)} | s |\n"
                    + "|---" * (len(told) + 4)
                    + "|"
                )
            cells = " | ".join(f"{r:.3f}" for r in told.values())
            print(
                f"| {options.network} | {recipe} | {half} | {cells} | {time.process_time() - start:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Measure the learned activities of molecules on scaffolds that neither guide nor audit was trained on.

    python benchmarks/molecule_predictors.py [--guide molecule-seh] [--audit molecule-seh-heldout]

The cards report it. Test scaffolds are the same for both. Figures: Spearman and Pearson r, root mean squared
error, how many measurements lie within the predicted 95 % interval; by similarity to the nearest molecule trained
on; each with a 95 % interval (bootstrap over scaffolds, since analogues are not independent). "all unseen" adds
the other half's scaffolds. Then: how well measured actives are told from unseen ZINC molecules; the correlation
of guide's and audit's errors; how much of ZINC is in the domain; and the time. The output is Markdown.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import yaml

from gendesign.building import build
from gendesign.data.molecules import MoleculeDataModule
from gendesign.molecules.fingerprints import CountFingerprint
from gendesign.rewards import PredictedActivity

DRAWS = 1000
CONFIGS = {"guide": "configs/train/molecule_seh.yaml", "audit": "configs/train/molecule_seh_heldout.yaml"}
EDGES = (0.0, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 1.01)
ACTIVE = 7.0
FRESH = 3000
"""ZINC molecules, beside the decoys, on which the domain is measured."""


def data_module(config: str, extra: int = 0) -> MoleculeDataModule:
    """The data module of a training config; `extra` decoys come after those that it names."""
    with open(config) as handle:
        arguments = dict(yaml.safe_load(handle)["data"]["init_args"])
    fingerprint = build(arguments.pop("fingerprint"), kinds=(CountFingerprint,))
    return MoleculeDataModule(
        fingerprint=fingerprint, **(arguments | {"num_decoys": arguments["num_decoys"] + extra})
    )


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))


def auc(high: np.ndarray, low: np.ndarray) -> float:
    """Probability that one of `high` is above one of `low`."""
    order = np.sort(low)
    below = np.searchsorted(order, high, "left") + np.searchsorted(order, high, "right")
    return float(below.mean() / 2 / len(low))


def interval(
    figure: Callable[..., float],
    columns: list[np.ndarray],
    groups: np.ndarray,
    rng: np.random.Generator,
    digits: int = 2,
) -> str:
    """A figure of aligned columns with its 95 % interval over resampled groups."""
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    draws = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        draws.append(figure(*(column[rows] for column in columns)))
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return f"{figure(*columns):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--guide", default="molecule-seh", help="name or folder")
    parser.add_argument("--audit", default="molecule-seh-heldout", help="name or folder")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    data = {role: data_module(config) for role, config in CONFIGS.items()}
    rewards = {role: PredictedActivity(getattr(options, role)) for role in CONFIGS}
    table = data["guide"]
    measured = np.flatnonzero(~table.presumed)
    truth, scaffolds = table.targets[measured, 0], np.array(table.scaffolds)
    found = {}
    for role, reward in rewards.items():
        start = time.process_time()
        mean, std, near = (part.numpy() for part in reward.predict(table.molecules))
        seconds = time.process_time() - start
        found[role] = (mean, std, near)
        print(
            f"{role}: {1e3 * seconds / len(mean):.2f} ms of processor time a molecule, fingerprint included\n"
        )

    test = np.isin(measured, table.indices("test"))
    unseen = {role: ~np.isin(measured, data[role].indices("train")) for role in CONFIGS}
    print(
        "| predictor | molecules | n (scaffolds) | Spearman | Pearson r | RMSE | of the mean | within 95 % |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for role in CONFIGS:
        mean, std, _ = (part[: len(measured)] for part in found[role])
        centre = truth[np.isin(measured, data[role].indices("train"))].mean()
        for which, rows in (("test", test), ("all unseen", unseen[role])):
            m, s, t, g = mean[rows], std[rows], truth[rows], scaffolds[rows]
            inside = (np.abs(m - t) < 1.96 * s).astype(float)
            print(
                f"| {role} | {which} | {rows.sum()} ({len(set(g))}) | {interval(spearman, [m, t], g, rng)} "
                f"| {interval(pearson, [m, t], g, rng)} | {interval(rmse, [m, t], g, rng)} "
                f"| {rmse(np.full(len(t), centre), t):.2f} | {interval(np.mean, [inside], g, rng)} |"
            )

    print("\n| predictor | similarity | n (scaffolds) | RMSE | bias | Spearman | mean std | within 95 % |")
    print("|---|---|---|---|---|---|---|---|")
    for role in CONFIGS:
        mean, std, near = (part[: len(measured)] for part in found[role])
        for low, high in zip(EDGES[:-1], EDGES[1:], strict=True):
            rows = unseen[role] & (near >= low) & (near < high)
            if rows.sum() < 10:
                continue
            m, s, t, g = mean[rows], std[rows], truth[rows], scaffolds[rows]
            print(
                f"| {role} | {low:.2f} to {min(high, 1):.2f} | {rows.sum()} ({len(set(g))}) "
                f"| {interval(rmse, [m, t], g, rng)} | {(m - t).mean():+.2f} | {interval(spearman, [m, t], g, rng)} "
                f"| {s.mean():.2f} | {np.mean(np.abs(m - t) < 1.96 * s):.2f} |"
            )

    fresh_table = data_module(CONFIGS["guide"], extra=FRESH)
    fresh = fresh_table.molecules[-FRESH:]
    print(
        f"\n| predictor | actives of the test (pIC50 >= {ACTIVE:g}) above unseen ZINC, AUC | ZINC predicted, mean ",
        end="",
    )
    print(
        "| 99.9 % of ZINC below | ZINC similarity, median (5 % to 95 %) | ZINC with similarity >= .25, .35, .45 |"
    )
    print("|---|---|---|---|---|---|")
    for role, reward in rewards.items():
        mean, _, near = (part.numpy() for part in reward.predict(fresh))
        active = found[role][0][: len(measured)][test & (truth >= ACTIVE)]
        low, middle, high = np.percentile(near, [5, 50, 95])
        shares = ", ".join(f"{100 * np.mean(near >= edge):.0f} %" for edge in (0.25, 0.35, 0.45))
        print(
            f"| {role} | {auc(active, mean):.4f} | {mean.mean():.2f} | {np.percentile(mean, 99.9):.2f} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) | {shares} |"
        )

    print("\n| errors of guide and audit | n | correlation (95 % interval) |")
    print("|---|---|---|")
    errors = [found[role][0][: len(measured)] - truth for role in CONFIGS]
    print(
        f"| test scaffolds | {test.sum()} | {interval(pearson, [e[test] for e in errors], scaffolds[test], rng)} |"
    )


if __name__ == "__main__":
    main()

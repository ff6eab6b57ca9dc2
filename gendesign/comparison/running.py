"""What a worker does: run one cell, measure its designs, and hand back the files of its folder."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gendesign.building import build
from gendesign.comparison.cells import backbone_of
from gendesign.comparison.config import Config
from gendesign.design_set import DesignSet
from gendesign.errors import DesignError, GendesignError
from gendesign.forms import Files
from gendesign.metrics import summary as metrics
from gendesign.rewards.base import Reward, Scores
from gendesign.rewards.catalog import build_reward, load_reward
from gendesign.run import design

RECORD = "cell.json"
"""The file of a cell's folder that says what it holds and what was measured."""


def perform(spec: Config, key: str) -> Files:
    """Run a cell.

    Args:
        spec: `Cell.spec`.
        key: `Cell.key`, written down so that a resumed comparison knows its own.

    Returns:
        The files of its folder. Where the run failed, only its record, with the reason.
    """
    start = time.perf_counter()
    try:
        with one_thread():
            files, said = _run(spec)
        said = {"status": "OK", "reason": "", **said}
    except Exception as error:
        text = str(error) if isinstance(error, GendesignError) else f"{type(error).__name__}: {error}"
        files, said = {}, {"status": "FAILED", "reason": " ".join(text.split())[:500], "figures": {}}
    said |= {"key": key, "seconds_in_all": time.perf_counter() - start, "spec": spec}
    return {**files, RECORD: json.dumps(said, indent=2, default=str).encode()}


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread: sums have one order, so that results do not depend on how cells are spread over cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run(spec: Config) -> tuple[dict[str, Any], Config]:
    task, trust, device = spec["task"], tuple(spec["trust"]), spec["device"]
    backbone = backbone_of(task["backbone"], device, trust)
    reward, heldout = (_reward(json.dumps(task[name]), device, trust) for name in ("reward", "heldout"))
    method = build(spec["method"], trust=trust)
    run = design(
        backbone,
        reward,
        method,
        heldout=heldout,
        num_designs=task["num_designs"],
        steps=task["steps"],
        seed=spec["seed"],
        template=task["template"],
        start=task["start"],
        remask=task["remask"],
        unmasking=build(task["unmasking"], trust=trust),
        base_designs=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        run.save(Path(folder) / "run")
        files = dict(_contents(Path(folder) / "run"))
    measured = figures(run) | {"training_calls": float(method.training_calls) or None}
    # the audit's unit, where there is one: it is what methods are compared by
    return files, {"figures": measured, "unit": (heldout or reward).unit if reward is not None else ""}


def _contents(folder: Path) -> Iterator[tuple[str, bytes | Files]]:
    for path in sorted(folder.iterdir()):
        yield path.name, dict(_contents(path)) if path.is_dir() else path.read_bytes()


@lru_cache(maxsize=8)
def _reward(described: str, device: str, trust: tuple[str, ...]) -> Reward | None:
    config = json.loads(described)
    if config is None:
        return None
    if isinstance(config, str):
        return load_reward(config, device=device, trust=trust)
    if "path" in config:
        return load_reward(config["path"], device=device, trust=trust)
    return build_reward(config, trust=trust).to(device)


def figures(run: DesignSet) -> dict[str, float | None]:
    """A run in numbers; None where something cannot be measured.

    `guide_*` and `heldout_*`: quartiles, in the rewards' units. `naturalness`: median, nats a token or coordinate.
    `diversity`: mean distance of two designs. `kmer_correlation`: of the longest words' spectrum with that of the best
    natural designs. `network_evaluations`, `reward_calls`, and `value_evaluations` of
    learned values: spent a design.
    """
    num = len(run)
    found: dict[str, float] = {}
    for role, scores in zip(("guide", "heldout"), run.scores.values(), strict=False):
        found |= _quartiles(role, scores)
    guide = run.guide
    assert guide is not None
    found |= {f"designs_{status.lower()}": count for status, count in guide.counts().items()}
    found["naturalness"] = _median(run.naturalness)
    found["diversity"] = metrics.mean_pairwise_distance(run.designs, distance=run.form.distances)
    found["distinct"] = metrics.num_distinct(run.designs)
    found |= {f"novelty_{name}": _median(values) for name, values in run.novelty.items()}
    found["kmer_correlation"] = _likeness(run)
    found |= _percentiles(run)
    found["kl_bound"] = float(np.mean(run.kl))
    found["alpha"] = float("nan") if run.alpha is None else run.alpha
    found["network_evaluations"] = run.cost.network_rows / num
    found["reward_calls"] = run.cost.reward_calls / num
    found["value_evaluations"] = run.cost.value_rows / num or float("nan")
    found["lookahead_failures"] = run.cost.lookahead_failures
    found["seconds"] = run.cost.seconds
    return {name: float(value) if np.isfinite(value) else None for name, value in found.items()}


def _quartiles(role: str, scores: Scores) -> dict[str, float]:
    fine = scores.values[scores.ok]
    low, middle, high = np.percentile(fine, [25, 50, 75]) if len(fine) else [float("nan")] * 3
    return {f"{role}_lower_quartile": low, f"{role}_median": middle, f"{role}_upper_quartile": high}


def _percentiles(run: DesignSet) -> dict[str, float]:
    """Where the median designs stand among natural ones, where the reference knows the reward."""
    if run.reference is None:
        return {}
    found = {}
    for role, (name, scores) in zip(("guide", "heldout"), run.scores.items(), strict=False):
        if name in run.reference.reward_quantiles:
            quantiles = run.reference.reward_quantiles[name]
            middle = np.array(_median(scores.values))
            found[f"{role}_natural_percentile"] = float(metrics.percentile_of(middle, quantiles))
    return found


def _likeness(run: DesignSet) -> float:
    reference = run.reference
    if not isinstance(reference, metrics.Reference) or not reference.top_spectra:
        return float("nan")
    k = max(reference.top_spectra)
    texts = [design for design in run.designs if isinstance(design, str)]
    try:
        spectrum = metrics.kmer_spectrum(texts, k, reference.alphabet)
    except DesignError:  # no design is long enough
        return float("nan")
    return metrics.spectrum_correlation(spectrum, reference.top_spectra[k])


def _median(values: Any) -> float:
    fine = np.asarray(values, dtype=np.float64)
    fine = fine[np.isfinite(fine)]
    return float(np.median(fine)) if len(fine) else float("nan")

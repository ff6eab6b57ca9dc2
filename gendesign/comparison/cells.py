"""From a comparison to the runs that it needs: each method gets the size with which it fits the budget.

Several budgets may ask for the same run (a method whose cost is fixed, or two currencies that lead to one size): a
cell is what is run and kept, an entry is a row of the results, and many entries may point at one cell.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from gendesign.backbone import Backbone
from gendesign.building import build, describe
from gendesign.comparison.config import CURRENCIES, Comparison, Config, Task
from gendesign.comparison.sizing import Search
from gendesign.errors import ConfigError, GendesignError
from gendesign.loading import load_described
from gendesign.pretrained import CONFIG
from gendesign.provenance import fingerprint
from gendesign.run import estimate_cost
from gendesign.steering.particles import Cost
from gendesign.steering.sampler import Steering

MOST = 1 << 16
"""The largest size that is tried."""


@dataclass(frozen=True)
class Cell:
    """One run of `gendesign.design`.

    Attributes:
        folder: where its result is kept, relative to the comparison's.
        spec: everything that determines it, plain data.
    """

    folder: str
    spec: Config

    @property
    def key(self) -> str:
        """A digest of the spec."""
        return hashlib.sha256(json.dumps(self.spec, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A row of the results.

    Attributes:
        task: its name.
        method: its name.
        currency: what the budget is counted in.
        budget: a design.
        seed: of the run.
        size: of the method at this budget; None where its cost is fixed.
        cell: what is run; None where nothing can be.
        reason: why nothing can be run.
        is_base: whether the method needs no reward: what the others are compared with.
        sought: whether its size is sought by what runs spend.
    """

    task: str
    method: str
    currency: str
    budget: float
    seed: int
    size: int | None = None
    cell: Cell | None = None
    reason: str = ""
    is_base: bool = False
    sought: bool = False

    @property
    def place(self) -> Place:
        """Which row of a table it belongs to, whatever the seed."""
        return self.task, self.method, self.currency, self.budget


Place = tuple[str, str, str, float]


def plan_entries(comparison: Comparison, searches: Mapping[Place, Search] | None = None) -> Iterator[Entry]:
    """Every row of the results, in their order: tasks, budgets, methods, seeds.

    Args:
        comparison: what is to be compared.
        searches: for sizes that are sought by what is spent, as far as they have come.
    """
    for task_name, task in comparison.tasks.items():
        assert isinstance(task, Task)
        for currency, budget in comparison.budgets:
            for name, config in comparison.methods_of(task_name).items():
                entry = Entry(task_name, name, currency, budget, 0)
                try:
                    method = read_method(config, task, comparison.trust)
                    entry = dataclasses.replace(entry, is_base=not method.needs.reward)
                    trust = tuple(comparison.trust)
                    backbone = backbone_of(task.backbone, comparison.device, trust)
                    weights = _weights(json.dumps(task.backbone, sort_keys=True), comparison.device, trust)
                    if name not in task.methods:  # its own ones come at their size
                        sought = comparison.sizes == "spent" and method.sized_by is not None
                        entry = dataclasses.replace(entry, sought=sought)
                        search = (searches or {}).get(entry.place)
                        method = _fitted(method, backbone, task, entry, search, trust)
                except Exception as error:  # one cell that cannot be made stops no other
                    text = (
                        str(error)
                        if isinstance(error, GendesignError)
                        else f"{type(error).__name__}: {error}"
                    )
                    reason = " ".join(text.split())
                    for seed in comparison.seeds:
                        yield dataclasses.replace(entry, seed=seed, reason=reason)
                    continue
                size = getattr(method, method.sized_by) if method.sized_by else None
                for seed in comparison.seeds:
                    spec = {
                        "task": {key: value for key, value in task.config.items() if key != "methods"},
                        "method": describe(method),
                        "seed": seed,
                        "device": comparison.device,
                        "trust": list(comparison.trust),
                    }
                    spec["contents"] = {"backbone": weights} | contents_of([spec["task"], spec["method"]])
                    shown = name if size is None else f"{name}-{size}"
                    cell = Cell(f"cells/{task_name}/{shown}/seed-{seed}", spec)
                    yield dataclasses.replace(entry, seed=seed, size=size, cell=cell)


def contents_of(config: Any) -> dict[str, str]:
    """Digests of the files and saved networks that a configuration names: what they hold is part of the run."""
    if isinstance(config, Mapping):
        return contents_of(list(config.values()))
    if isinstance(config, list | tuple):
        return {path: digest for one in config for path, digest in contents_of(one).items()}
    if not isinstance(config, str) or not config:
        return {}
    try:
        path = Path(config).expanduser()
        path = path / CONFIG if path.is_dir() else path
        return {config: hashlib.sha256(path.read_bytes()).hexdigest()} if path.is_file() else {}
    except (OSError, ValueError):  # a text that could be no path
        return {}


def _fitted(
    method: Steering,
    backbone: Backbone,
    task: Task,
    entry: Entry,
    search: Search | None,
    trust: tuple[str, ...],
) -> Steering:
    """The method at the size for a budget, or at the one to be tried next."""
    if search is not None and search.reason:
        raise ConfigError(f"{type(method).__name__} {search.reason}")
    if search is not None:
        return at_size(method, search.size)
    try:
        return sized(method, backbone, task, entry.currency, entry.budget, trust=trust)
    except ConfigError:
        if not entry.sought:
            raise
        return at_size(method, 1)  # the bound is above the budget, but what is spent need not be


def read_method(config: Any, task: Task, trust: Any = ()) -> Steering:
    """The steering method of a configuration, at the task's temperature where it leaves it open.

    Raises:
        ConfigError: it is no steering method.
    """
    method = build(config, trust=trust)
    if not isinstance(method, Steering):
        raise ConfigError(
            f"{config.get('class_path')} is no steering method; expected a subclass of Steering"
        )
    if task.alpha is not None and getattr(method, "alpha", None) == "auto":
        method = dataclasses.replace(method, alpha=task.alpha)  # type: ignore[type-var]
    return method


def backbone_of(given: str | Mapping[str, Any], device: str, trust: tuple[str, ...]) -> Backbone:
    """A backbone, loaded once."""
    return _loaded(json.dumps(given, sort_keys=True), device, trust)


@lru_cache(maxsize=4)
def _loaded(arguments: str, device: str, trust: tuple[str, ...]) -> Backbone:
    return load_described(json.loads(arguments), device=device, trust=trust)


@lru_cache(maxsize=4)
def _weights(arguments: str, device: str, trust: tuple[str, ...]) -> str:
    return fingerprint(_loaded(arguments, device, trust))


def sized(
    method: Steering,
    backbone: Backbone,
    task: Task,
    currency: str,
    budget: float,
    *,
    trust: Sequence[str] = (),
) -> Steering:
    """The method at the largest size whose bound stays within the budget; as it is, where its cost is fixed.

    Args:
        method: at any size.
        backbone: what is sampled.
        task: how many designs and steps.
        currency: "network_evaluations" or "reward_calls".
        budget: of it, a design.
        trust: packages whose classes the task's rule of unmasking may be of.

    Raises:
        ConfigError: the method spends more at any size.
    """

    def spends(size: int | None) -> float:
        cost = most(at_size(method, size), backbone, task, trust=trust)
        spent = {"network_evaluations": cost.network_rows, "reward_calls": cost.reward_calls}[currency]
        return spent / task.num_designs

    own = None if method.sized_by is None else getattr(method, method.sized_by)
    least = None if own is None else 1
    if spends(least) > budget:
        raise ConfigError(
            f"{type(method).__name__} may spend {spends(least):g} {CURRENCIES[currency]} a design"
            + (f" at {method.sized_by}=1" if own is not None else "")
            + f", the budget is {budget:g}; raise it"
        )
    if own is None or spends(MOST) <= budget:
        return method  # nothing that its size could change
    fits, over = 1, MOST
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if spends(middle) <= budget else (fits, middle)
    return at_size(method, fits)


def at_size(method: Steering, size: int | None) -> Steering:
    """The method at another size."""
    if size is None or method.sized_by is None:
        return method
    return dataclasses.replace(method, **{method.sized_by: size})  # type: ignore[type-var]


def most(method: Steering, backbone: Backbone, task: Task, *, trust: Sequence[str] = ()) -> Cost:
    """The most that sampling the task's designs can spend, the choice of a temperature included."""
    unmasking = build(task.unmasking, trust=trust)
    cost = estimate_cost(
        backbone,
        method,
        num_designs=task.num_designs,
        steps=task.steps,
        base_designs=0,
        template=task.template,
        start=task.start,
        remask=task.remask,
        unmasking=unmasking,
    )
    # the designs' last, independent scoring is no part of any method
    return cost + Cost(reward_calls=-task.num_designs)

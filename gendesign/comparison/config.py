"""What is compared: methods, tasks, seeds, and budgets that know no method."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from gendesign.building import check_arguments, describe, finite, whole
from gendesign.diffusion.unmasking import Unmasking
from gendesign.errors import ConfigError
from gendesign.rewards.base import Reward
from gendesign.steering.sampler import Steering

Config = dict[str, Any]

CURRENCIES = {"network_evaluations": "network evaluations", "reward_calls": "reward calls"}
"""What budgets are counted in, a design."""

Sizes = Literal["bound", "spent"]

_NAME = re.compile(r"\w[\w.+-]*")


@dataclass(frozen=True)
class Task:
    """A backbone, a reward to raise, and one to audit with.

    Args:
        backbone: a shipped name, a folder, or a hub id; or a mapping of arguments of `load_backbone`, `path` the first.
        reward: a shipped name, a folder, `class_path`/`init_args`, or a `Reward` that can be written so.
        heldout: the same, never used for steering; None: no audit.
        steps: reverse steps.
        num_designs: designs of each cell.
        alpha: temperature, in the reward's unit, of every method that leaves it to "auto"; None: each finds its own.
        template: what is fixed of the designs; see `gendesign.design`.
        start: designs to start from; likewise.
        remask: what is masked again of each of them; likewise.
        unmasking: another rule of unmasking, or its `class_path`/`init_args`.
        methods: steering by name, of this task alone, at the size that each says: what was trained for the task, or
            only works with its reward.

    Raises:
        ConfigError: a value out of range.
    """

    backbone: str | Config
    reward: str | Config | Reward | None
    heldout: str | Config | Reward | None = None
    steps: int = 80
    num_designs: int = 64
    alpha: float | None = None
    template: str | None = None
    start: str | list[str] | None = None
    remask: int | float = 0.3
    unmasking: Config | Unmasking | None = None
    methods: Any = field(default_factory=dict)

    def __post_init__(self) -> None:
        whole("steps", self.steps), whole("num_designs", self.num_designs)
        if self.alpha is not None:
            finite("alpha", self.alpha, above=0.0)
        for name in ("reward", "heldout", "unmasking"):
            object.__setattr__(self, name, describe(getattr(self, name)))
        own = {str(name): _described(name, one) for name, one in _mapping("methods", self.methods)}
        object.__setattr__(self, "methods", own)
        if isinstance(self.backbone, Mapping):
            if "path" not in self.backbone:
                raise ConfigError(
                    f"a backbone needs a path, got {', '.join(map(str, self.backbone)) or 'nothing'}"
                )
            object.__setattr__(self, "backbone", dict(self.backbone))
        else:
            object.__setattr__(self, "backbone", str(self.backbone))
        if self.reward is None:
            raise ConfigError(
                "a task needs a reward; all methods are judged by it, also those that ignore it"
            )

    @property
    def config(self) -> Config:
        """Plain data."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True)
class Comparison:
    """Methods x tasks x seeds x budgets.

    Args:
        methods: steering by name, as objects or `class_path`/`init_args`.
        tasks: by name.
        seeds: how many (0, 1, ...), or which.
        network_evaluations: budgets in network evaluations a design.
        reward_calls: budgets in reward calls a design.
        sizes: how a method gets the size that a budget allows. "bound": the largest whose most possible spending stays
            within it. "spent": sizes are tried with the first seed until what is spent is near the budget; for where
            methods spend far less than they may, as with designs that end early.
        device: where networks run.
        trust: packages, besides gendesign, whose classes may be named.

    Raises:
        ConfigError: nothing to compare, or a value out of range.
    """

    # what a file may hold in these places is checked, not assumed
    methods: Mapping[str, Any]
    tasks: Mapping[str, Any]
    seeds: Any = 5
    network_evaluations: Any = ()
    reward_calls: Any = ()
    sizes: Any = "bound"
    device: str = "cpu"
    trust: Sequence[str] = ()

    def __post_init__(self) -> None:
        seeds = self.seeds if isinstance(self.seeds, Sequence) else range(whole("seeds", self.seeds))
        fixed: dict[str, Any] = {"seeds": tuple(whole("seeds", seed, at_least=0) for seed in seeds)}
        for name in CURRENCIES:
            given = getattr(self, name)
            given = given if isinstance(given, list | tuple) else [given]
            fixed[name] = tuple(sorted({finite(name, amount, above=0.0) for amount in given}))
        fixed["methods"] = {
            str(name): _described(name, one) for name, one in _mapping("methods", self.methods)
        }
        fixed["tasks"] = {str(name): _task(name, one) for name, one in _mapping("tasks", self.tasks)}
        fixed["trust"] = tuple(self.trust)
        for name, value in fixed.items():
            object.__setattr__(self, name, value)
        if self.sizes not in get_args(Sizes):
            raise ConfigError(f"sizes must be one of {', '.join(get_args(Sizes))}, got {self.sizes!r}")
        if not self.methods or not self.tasks or not self.seeds:
            raise ConfigError("a comparison needs at least one method, one task and one seed")
        if not self.budgets:
            raise ConfigError(
                f"a comparison needs a budget: give {' or '.join(CURRENCIES)}, a list of numbers a design"
            )

    @property
    def budgets(self) -> list[tuple[str, float]]:
        """(currency, amount a design) of every budget."""
        return [(name, amount) for name in CURRENCIES for amount in getattr(self, name)]

    def methods_of(self, task: str) -> dict[str, Config]:
        """The methods of a task: those of all, and its own."""
        return {**self.methods, **self.tasks[task].methods}

    @property
    def method_names(self) -> list[str]:
        """Every method of any task."""
        return list(dict.fromkeys(name for task in self.tasks for name in self.methods_of(task)))

    @property
    def config(self) -> Config:
        """Plain data, from which the same comparison is made again; whom to trust is not for a file to say."""
        plain = {each.name: getattr(self, each.name) for each in fields(self)}
        tasks = {name: task.config for name, task in self.tasks.items()}
        del plain["trust"]
        lists = {name: list(plain[name]) for name in ("seeds", *CURRENCIES)}
        return {**plain, **lists, "methods": dict(self.methods), "tasks": tasks}


def _mapping(what: str, given: Any) -> list[tuple[str, Any]]:
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what} must map names to what they mean, got {given!r}")
    for name in given:
        if not _NAME.fullmatch(str(name)):
            raise ConfigError(f"names of {what} are letters, digits and . _ + -, got {name!r}")
    return list(given.items())


def _described(name: str, method: Any) -> Config:
    config = describe(method) if isinstance(method, Steering) else method
    if not isinstance(config, Mapping) or "class_path" not in config:
        raise ConfigError(
            f"method {name!r} must be a steering method or class_path and init_args, got {method!r}"
        )
    return dict(config)


def _task(name: str, task: Any) -> Task:
    if isinstance(task, Task):
        return task
    if not isinstance(task, Mapping):
        raise ConfigError(f"task {name!r} must have backbone, reward, ..., got {task!r}")
    try:
        check_arguments(Task, task)
        return Task(**task)
    except ConfigError as error:
        raise ConfigError(f"task {name!r}: {error}") from error

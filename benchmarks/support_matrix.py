"""Which steering method works with what, written from the methods' own declarations.

    python benchmarks/support_matrix.py        (writes configs/design/steering/README.md)

A test compares the file with what this prints, and runs every supported cell.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gendesign.steering
from gendesign.diffusion.solvers import Heun
from gendesign.steering.needs import Kind, Needs
from gendesign.steering.proposals import Proposal
from gendesign.steering.sampler import Steering

PAGE = Path(__file__).parents[1] / "configs" / "design" / "steering" / "README.md"
KINDS: tuple[Kind, ...] = ("masked", "continuous")
REWARDS = {False: "any reward", True: "differentiable reward"}

HEAD = """\
# What works with what

Written by `python benchmarks/support_matrix.py` from what each method declares; do not edit. A pair that is not
supported is refused before anything is spent, with the reason and the nearest method that fits. Every cell is tested.
"""
LATER = """\

Steps of SVDD, SMC and guidance are drawn from a **proposal** (`proposal=`); they then need what their proposal needs:
"""


def every(base: type, package: Any = gendesign.steering) -> list[type]:
    """The classes of the package that can be used, by name; those with children are there for these only."""
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    found, left = set(), [one for one in base.__subclasses__() if one.__module__.startswith(package.__name__)]
    while left:
        cls = left.pop()
        children = [child for child in cls.__subclasses__() if child.__module__.startswith(package.__name__)]
        left += children
        if not inspect.isabstract(cls) and not children:
            found.add(cls)
    return sorted(found, key=lambda cls: cls.__name__)


def methods() -> Iterator[tuple[str, Steering]]:
    """Every method as it is by default, and with a solver where it takes one."""
    for cls in every(Steering):
        yield cls.__name__, cls()
        if "solver" in {field.name for field in dataclasses.fields(cls)}:  # type: ignore[arg-type]
            yield f"{cls.__name__}(solver=Heun())", cls(solver=Heun())


def proposals() -> Iterator[tuple[str, Proposal]]:
    """Every proposal as it is by default."""
    for cls in every(Proposal):
        yield cls.__name__, cls()


def supports(needs: Needs, kind: Kind, differentiable: bool) -> bool:
    """Whether a backbone of a kind and a reward are all that is needed, designs being of any form."""
    return not needs.trajectories and needs.process in (None, kind) and (differentiable or not needs.gradient)


def words(needs: Needs) -> str:
    """Needs in words."""
    said = {
        "a differentiable reward": needs.gradient,
        "a reward": needs.reward and not needs.gradient,
        "random transitions with a density": needs.density,
        "a network that does not read the time": needs.time_independent,
        "designs that are trajectories, a policy": needs.trajectories,
        f"a {needs.process} process": needs.process is not None,
    }
    return ", ".join(text for text, needed in said.items() if needed) or "nothing"


def table(first: str, rows: Iterator[tuple[str, Any]]) -> list[str]:
    """Rows of Markdown."""
    columns = [(kind, differentiable) for kind in KINDS for differentiable in REWARDS]
    lines = [f"| {first} | needs | " + " | ".join(f"{k}, {REWARDS[r]}" for k, r in columns) + " | else use |"]
    lines.append("|---" * (len(columns) + 3) + "|")
    for name, one in rows:
        cells = ["yes" if supports(one.needs, *column) else "–" for column in columns]
        instead = one.alternative if "–" in cells else ""
        lines.append(f"| `{name}` | {words(one.needs)} | " + " | ".join(cells) + f" | {instead} |")
    return lines


def page() -> str:
    """The whole file."""
    return "\n".join([HEAD, *table("method", methods()), LATER, *table("proposal", proposals())]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())

"""Wrong words of a training command in one line: what was expected, what came, and what was probably meant.

jsonargparse explains a wrong value by every type that it tried, over many lines. Here its text is reduced
to the key and the reason, and a wrong name gets the nearest right one.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from gendesign.errors import ConfigError, GendesignError

_NOISE = re.compile(
    r"^(Does not validate against any of the Union subtypes|Subtypes:|Errors:|Given value type:|"
    r"(- )?Expected a <class 'NoneType'>)"
)


class TrainingParser(LightningArgumentParser):
    """Raises ConfigError with one line, and prints nothing."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise.

        Raises:
            ConfigError: always.
        """
        parser = getattr(ex, "subcommand_parser", None) or self
        known = [name for action in parser._actions for name in action.option_strings]
        raise cause_of(ex) or ConfigError(one_line(message, known)) from ex


def cause_of(error: BaseException | None) -> GendesignError | None:
    """The error of gendesign that jsonargparse wrapped in its own, if there is one."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, GendesignError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def one_line(message: str, known: list[str]) -> str:
    """Reduce a message of jsonargparse.

    Args:
        message: its text, often of many lines.
        known: the option strings that exist, such as --trainer.max_steps.
    """
    names = sorted({name.lstrip("-") for name in known} - {"h", "c"})
    unknown = re.search(r"[Uu]nrecognized arguments?: (--?[\w.]+)", message)
    if unknown:
        return f"unknown option {unknown[1]}{_hint(unknown[1], known)}"
    key = re.search(r"does not accept option '([\w.]+)'", message)
    if key:
        return f"unknown key {key[1]!r}{_hint(key[1], sorted({name.partition('.')[0] for name in names}))}"
    option = re.search(r"(?:class_path '([\w.]+)':\s+)?Option '([\w.]+)' is not accepted", message)
    if option:
        taken = _parameters(option[1]) if option[1] else names
        owner = f"{option[1].rpartition('.')[2]} has no argument" if option[1] else "there is no argument"
        return f"{owner} {option[2]!r}{_hint(option[2], taken) or _all(taken)}"
    attribute = re.search(r"module '([\w.]+)' has no attribute '(\w+)'", message)
    if attribute:
        return f"{attribute[1]} has no {attribute[2]!r}{_hint(attribute[2], _public(attribute[1]))}"
    lines = [line.strip() for line in message.splitlines()]
    kept = [line.removeprefix("- ") for line in lines if line and not _NOISE.match(line)]
    text = re.sub(r"\s+", " ", " ".join(kept))
    text = re.sub(r'(Parser key "[\w.]+": )(?=Parser key)', "", text)
    text = re.sub(r" Given value: (\{.*|NestedArg\(.*)$", "", text)
    return text.replace("typing.Literal", "one of ")


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _all(names: list[str]) -> str:
    return f"; it takes {', '.join(names)}" if names else ""


def _parameters(path: str) -> list[str]:
    module, _, name = path.rpartition(".")
    try:
        return [
            p
            for p in inspect.signature(getattr(importlib.import_module(module), name)).parameters
            if p != "self"
        ]
    except (ImportError, AttributeError, ValueError, TypeError):
        return []


def _public(module: str) -> list[str]:
    try:
        return [name for name in dir(importlib.import_module(module)) if not name.startswith("_")]
    except ImportError:
        return []

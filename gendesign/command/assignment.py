"""One word of a command line set inside a configuration: `candidates=20` of the class that a file names.

What a word may be follows from that class's signature; an argument that is itself an object takes a class's name.
"""

import collections.abc
import difflib
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Sequence
from typing import Any

from gendesign.building import Configurable, resolve
from gendesign.command.values import read_value
from gendesign.errors import ConfigError


def assign(
    node: Any, place: str, path: Sequence[str], text: str, trust: Sequence[str] = (), *, annotation: Any = Any
) -> None:
    """Set one value inside a configuration, in place.

    Args:
        node: the configuration.
        place: what it is called, for messages.
        path: keys, argument names and indices; `init_args` may be left out.
        text: the word.
        trust: packages whose classes may be named besides gendesign's.
        annotation: what a value is that no class's signature tells.

    Raises:
        ConfigError: there is no such place, or the word is no value of its type.
    """
    key, free = ".".join([place, *path]), annotation
    for i, part in enumerate(path):
        where = ".".join([place, *path[:i]])
        if isinstance(node, dict) and "class_path" in node:
            if part == "init_args":
                continue
            if part == "class_path":
                annotation = str
            else:
                annotation = _argument(where, str(node["class_path"]), part, trust)
                if node.get("init_args") is None:
                    node["init_args"] = {}
                node = node["init_args"]
        elif isinstance(node, list):
            if not part.isdigit() or int(part) >= len(node):
                raise ConfigError(f"{where} has the elements 0 to {len(node) - 1}, got {part!r}")
        elif isinstance(node, dict):
            if part not in node:
                raise ConfigError(f"{where} has no {part!r}; {nearest(part, list(node))}")
            annotation = free
        else:
            raise ConfigError(f"{where} is a value and has no {part!r}")
        index: Any = int(part) if isinstance(node, list) else part
        if i == len(path) - 1:
            node[index] = component(key, text, annotation) or read_value(key, text, annotation)
        elif isinstance(node, dict) and index not in node:
            raise ConfigError(f"{where}.{part} is not set; choose it first, or give it in a YAML file")
        else:
            node = node[index]


def _argument(where: str, class_path: str, name: str, trust: Sequence[str]) -> Any:
    """The annotation of a constructor argument."""
    cls = resolve(class_path, trust=trust)
    parameters = inspect.signature(cls).parameters
    if name not in parameters:
        hint = nearest(name, list(parameters)) if parameters else "it takes none"
        raise ConfigError(f"{where} has no argument {name!r}; {hint}")
    try:
        hints = typing.get_type_hints(cls.__init__ if isinstance(cls, type) else cls)  # type: ignore[misc]
    except (NameError, TypeError):
        hints = {}
    return hints.get(name, Any)


def component(key: str, text: str, annotation: Any) -> dict[str, Any] | None:
    """`steering.value=PosteriorSamples`: an argument that is itself an object takes the name of its class."""
    kinds = typing.get_args(annotation) or (annotation,)
    wanted = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Configurable)]
    if not wanted or (text == "null" and type(None) in kinds):
        return None
    for kind in wanted:
        _import_siblings(kind)
    known = {cls.__name__: cls for kind in wanted for cls in _subclasses(kind) if not inspect.isabstract(cls)}
    if text not in known:
        raise ConfigError(f"{key} must be a {wanted[0].__name__}, got {text!r}; {nearest(text, known)}")
    return {"class_path": f"{known[text].__module__}.{text}", "init_args": {}}


def _import_siblings(cls: type) -> None:
    """Make the classes known that live beside this one, such as `LearnedValue` beside `Value`."""
    package = cls.__module__.rpartition(".")[0]
    if package.startswith("gendesign."):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")


def _subclasses(cls: type) -> list[type]:
    children: list[type] = cls.__subclasses__()
    return [cls, *(found for child in children for found in _subclasses(child))]


def nearest(word: str, known: collections.abc.Iterable[str]) -> str:
    """The option that was meant, or all that there are, as the end of a message."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known) or 'none'}"

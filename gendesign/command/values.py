"""One word of a command line as a value of a type.

A parameter that is a string takes the word to the letter, before any grammar can change it: the SMILES
CC(=O)Oc1ccccc1C(=O)O, the SMARTS [C@@H], the peptides NAN and INF, a path with = or spaces. Everything else is
read by Hydra's grammar: numbers, true, null, [lists], {key: value}.
"""

import collections.abc
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal

from gendesign.errors import ConfigError

_NUMBER = re.compile(r"[-+]?(\d[\d_]*(\.\d*)?|\.\d+)([eE][-+]?\d+)?")


def read_value(key: str, text: str, annotation: Any) -> Any:
    """Read a word as a value of a type.

    Args:
        key: what is set, for the message.
        text: the word.
        annotation: type of the parameter; a string type takes the word to the letter.

    Raises:
        ConfigError: the word is no value of that type.
    """
    kinds = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    origins = {typing.get_origin(kind) or kind for kind in kinds}
    if type(None) in origins and text == "null":
        return None
    if origins & {str, Path}:
        if int in origins or float in origins:
            return _grammar(text) if _NUMBER.fullmatch(text) else text
        is_list = text.startswith("[") and any(_is_list_of_text(kind) for kind in kinds)
        return _list_of_text(text) if is_list else text
    choices = {
        str(item): item
        for kind in kinds
        if typing.get_origin(kind) is Literal
        for item in typing.get_args(kind)
    }
    if text in choices:
        return choices[text]
    if choices and origins <= {Literal, type(None)}:
        raise ConfigError(f"{key} must be one of {', '.join(choices)}, got {text!r}")
    if any(_is_list_of_text(kind) for kind in kinds):
        return _list_of_text(text)
    return typed(key, _grammar(text), annotation)


def typed(key: str, value: Any, annotation: Any) -> Any:
    """Check a value that came from YAML or Hydra's grammar, where its type is simple.

    Args:
        key: what is set, for the message.
        value: plain data.
        annotation: type of the parameter.

    Returns:
        The value; a whole number becomes a float where one is expected.

    Raises:
        ConfigError: the value has another type.
    """
    kinds = typing.get_args(annotation) if _is_union(annotation) else (annotation,)
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    choices = [item for kind in kinds if typing.get_origin(kind) is Literal for item in typing.get_args(kind)]
    simple = [kind for kind in kinds if kind in names]
    if (
        len(simple) + bool(choices) < len(kinds)
        or any(type(value) is kind for kind in simple)
        or value in choices
    ):
        return value
    if float in simple and type(value) is int:
        return float(value)
    expected = [names[kind] for kind in simple if kind is not type(None)] + [repr(item) for item in choices]
    raise ConfigError(f"{key} must be {' or '.join(expected)}, got {value!r}")


def _grammar(text: str) -> Any:
    """A value by Hydra's grammar: numbers, true, null, [lists], {key: value}; anything else is text."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(f"x={text}")
        return override.value() if not override.is_sweep_override() else text
    except HydraException:
        return text


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _is_list_of_text(annotation: Any) -> bool:
    lists = (list, tuple, collections.abc.Sequence, collections.abc.Iterable)
    return typing.get_origin(annotation) in lists and typing.get_args(annotation)[:1] == (str,)


def _list_of_text(text: str) -> list[str]:
    """Split `[a,b]` (or `a,b`) at commas outside brackets, each element to the letter."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    parts, depth = [""], 0
    for letter in inner:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    stripped = [part.strip() for part in parts]
    return [
        part[1:-1] if len(part) > 1 and part[0] == part[-1] and part[0] in "'\"" else part
        for part in stripped
        if part
    ]

"""What words say of one part of a configuration, and mean of others, too.

A reward's auditor measures what the reward measures, a reward on a structure means the backbone's, and an alpha is in
its reward's unit.
"""

from collections.abc import Mapping, Sequence
from typing import Any


def with_start(plain: dict[str, Any], start: str | None) -> dict[str, Any]:
    """An earlier run's configuration, whose rewards compare with the new start where they did with the old one."""
    old = plain.get("start")
    if not start or not isinstance(old, str) or not old:
        return plain

    def moved(node: Any) -> Any:
        if isinstance(node, dict):
            # a structure is the backbone's, even where a run started from its sequence
            return {key: value if key == "structure" else moved(value) for key, value in node.items()}
        if isinstance(node, list):
            return [moved(value) for value in node]
        return start if node == old else node

    return plain | {key: moved(plain[key]) for key in ("reward", "heldout") if key in plain}


def for_auditor(plain: Mapping[str, Any], rest: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """What is set in the reward holds for its auditor, where the two had the same value: they measure one thing."""
    found = []
    for key, text in rest:
        head, *path = key.split(".")
        values = [_value(plain.get(role), path) for role in ("reward", "heldout")]
        if head == "reward" and values[0] is not None and values[0] == values[1]:
            found.append((".".join(["heldout", *path]), text))
    return found


def for_structure(plain: Mapping[str, Any], rest: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A reward that scores designs on a structure means the one that the backbone designs for, as it did before."""
    said = {key: text for key, text in rest if key in ("backbone.structure", "backbone.chain")}
    old = _value(plain.get("backbone"), ["structure"])
    roles = [
        role for role in ("reward", "heldout") if _value(plain.get(role), ["structure"]) in {"", old} - {None}
    ]
    return [(key.replace("backbone", role), text) for role in roles for key, text in said.items()]


def without_alpha_of(own: Mapping[str, Any], plain: dict[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """An alpha that a configuration gives is in its own reward's unit, and says nothing of another reward.

    Rewards with one auditor measure one thing. What the words themselves say stays.
    """
    alpha = _value(plain.get("steering"), ["alpha"])
    same = plain.get("reward") == own.get("reward") or (
        plain.get("heldout") is not None and plain["heldout"] == own.get("heldout")
    )
    said = any(word.lstrip("+").startswith("steering.alpha=") for word in words)
    if same or said or not isinstance(alpha, int | float) or alpha != _value(own.get("steering"), ["alpha"]):
        return plain
    given = {key: value for key, value in plain["steering"]["init_args"].items() if key != "alpha"}
    return plain | {"steering": plain["steering"] | {"init_args": given}}


def _value(node: Any, path: Sequence[str]) -> Any:
    """What a configuration says at a path, None where it says nothing."""
    for part in path:
        if isinstance(node, dict) and "class_path" in node and part not in ("class_path", "init_args"):
            node = node.get("init_args")
        node = node.get(part) if isinstance(node, dict) else None
    return node

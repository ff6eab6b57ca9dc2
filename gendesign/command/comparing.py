"""The verb `compare`: words to a `Comparison`, its runs, and where to look.

gendesign compare yeast_promoters methods=[svdd,best_of_n] seeds=3 tasks.yeast_promoters.steps=40 out=outputs/c
"""

import argparse
import copy
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gendesign.building import check_arguments
from gendesign.command.assignment import assign, nearest
from gendesign.command.compose import options, read_yaml
from gendesign.command.values import read_value
from gendesign.command.verbs import resolved_device
from gendesign.comparison import CONFIG, MARKDOWN, PAGE, TABLE, Comparison, Task, compare
from gendesign.comparison.cells import Cell
from gendesign.comparison.config import CURRENCIES, Sizes
from gendesign.errors import ConfigError, RewardError

CONFIGS = Path(__file__).parents[1] / "configs" / "compare"

SETTINGS: dict[str, Any] = {
    "seeds": Any,
    **dict.fromkeys(CURRENCIES, Any),
    "sizes": Sizes,
    "device": str,
    "out": str | None,
}
"""The settings of a comparison and their types."""

Config = dict[str, Any]


def read_comparison(
    config: str, words: Sequence[str] = (), *, folders: Sequence[Path] = (), trust: Sequence[str] = ()
) -> tuple[Comparison, str | None]:
    """The comparison that a configuration and words describe, and the folder that they name.

    Args:
        config: name of a shipped configuration, or a YAML file.
        words: `key=value` each.
        folders: the user's own, with more methods in steering/.
        trust: packages whose classes may be named besides gendesign's.

    Raises:
        ConfigError: an unknown configuration, key or name, or a value of the wrong type.
    """
    plain = read_yaml(_file(config))
    known = {"methods": dict, "tasks": dict, **SETTINGS}
    for key in plain:
        if key not in known:
            raise ConfigError(f"{config} has no setting {key!r}; {nearest(str(key), known)}")
    for key in ("methods", "tasks"):
        if not isinstance(plain.setdefault(key, {}), dict):
            raise ConfigError(f"{config}: {key} must map names to what they mean, got {plain[key]!r}")
    plain["methods"] = {name: _method(one, folders) for name, one in plain["methods"].items()}
    for task in plain["tasks"].values():
        if isinstance(task, dict) and isinstance(task.get("methods"), dict):
            task["methods"] = {name: _method(one, folders) for name, one in task["methods"].items()}
    # what anchors of YAML share is each one's own
    plain |= {
        key: {name: copy.deepcopy(one) for name, one in plain[key].items()} for key in ("methods", "tasks")
    }
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"expected key=value, got {word!r}")
        _set(plain, key, text, folders, trust)
    out = plain.pop("out", None)
    plain["device"] = resolved_device(plain.get("device", "auto"))
    return Comparison(**plain, trust=trust), out


def _file(config: str) -> Path:
    path = Path(config).expanduser()
    if path.suffix in (".yaml", ".yml") or "/" in config:
        return path
    shipped = {file.stem: file for file in sorted(CONFIGS.glob("*.yaml"))}
    if config not in shipped:
        raise ConfigError(f"no comparison {config!r}; {nearest(config, shipped)}")
    return shipped[config]


def _method(given: Any, folders: Sequence[Path]) -> Any:
    """A method by the name of its file, or as it is."""
    if not isinstance(given, str):
        return given
    known = options("steering", folders=folders)
    if given not in known:
        raise ConfigError(f"no steering {given!r}; {nearest(given, known)}")
    return read_yaml(known[given])


def _set(plain: Config, key: str, text: str, folders: Sequence[Path], trust: Sequence[str]) -> None:
    head, *path = key.split(".")
    if head in SETTINGS and not path:
        plain[head] = read_value(key, text, SETTINGS[head])
    elif head == "methods" and not path:
        names = read_value(key, text, list[str])
        plain[head] = {name: plain[head].get(name) or _method(name, folders) for name in names}
    elif head == "tasks" and not path:
        names = read_value(key, text, list[str])
        for name in names:
            if name not in plain[head]:
                raise ConfigError(f"no task {name!r}; {nearest(name, plain[head])}")
        plain[head] = {name: plain[head][name] for name in names}
    elif head == "methods" and len(path) == 1:
        plain[head][path[0]] = _method(text, folders)
    elif head in ("methods", "tasks"):
        name, *inside = path
        if name not in plain[head]:
            raise ConfigError(f"no {head.removesuffix('s')} {name!r}; {nearest(name, plain[head])}")
        if not inside:
            raise ConfigError(f"{key} is made of {', '.join(typing.get_type_hints(Task))}; set one of these")
        if head == "tasks" and len(inside) == 1:
            check_arguments(Task, dict.fromkeys([*plain[head][name], inside[0]]))
            plain[head][name][inside[0]] = read_value(key, text, typing.get_type_hints(Task)[inside[0]])
        else:
            assign(plain[head][name], f"{head}.{name}", inside, text, trust)
    else:
        raise ConfigError(f"no setting {key!r}; {nearest(head, ['methods', 'tasks', *SETTINGS])}")


def compare_verb(arguments: argparse.Namespace) -> None:
    """Run a comparison and write its tables and its page."""
    words = list(arguments.words)
    if not words or "=" in words[0]:
        shipped = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        raise ConfigError(f"gendesign compare needs a configuration first: {shipped}, or a YAML file")
    folders = []
    if arguments.config_dir is not None:
        folders = [Path(arguments.config_dir).expanduser()]
        if not folders[0].is_dir():
            raise ConfigError(f"no configuration folder {arguments.config_dir}")
    comparison, named = read_comparison(words[0], words[1:], folders=folders, trust=arguments.trust)
    if arguments.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {arguments.jobs}")
    out = Path(named or Path("outputs") / f"compare_{Path(words[0]).stem}").expanduser()
    found = compare(
        comparison,
        out,
        jobs=arguments.jobs,
        resume=arguments.resume,
        ray_address=arguments.ray,
        progress=_tell,
    )
    print(f"page: {out / PAGE}\ntables: {out / TABLE}, {out / MARKDOWN}\nto repeat it: {out / CONFIG}")
    failed = [row for row in found.rows if row.status == "FAILED"]
    if failed:
        text = f"{len(failed)} of {len(found.rows)} rows could not be run; the first: {failed[0].reason}"
        if len(failed) == len(found.rows):
            raise RewardError(text)
        print(f"warning: {text}", file=sys.stderr)


def _tell(done: int, total: int, cell: Cell, reason: str) -> None:
    said = f": failed ({reason})" if reason else ""
    print(f"{done} of {total}: {cell.folder}{said}", file=sys.stderr, flush=True)

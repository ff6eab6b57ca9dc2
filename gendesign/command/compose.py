"""From the words of a command line to one plain configuration.

    gendesign design backbone=dna-yeast-promoter steering=svdd steering.candidates=20 template=ACGT****

Hydra composes the chosen files of the groups backbone/, reward/ (also for `heldout`) and steering/. The other words
set constructor arguments: `steering.candidates=20` is `init_args.candidates` of the class that the steering file
names. What a word may be follows from that class's signature: an argument that is a string is taken to the letter
(a SMILES, the peptide NAN, a path with = or spaces), everything else is read by Hydra's grammar.
"""

import inspect
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gendesign.building import resolve
from gendesign.command.assignment import assign, component, nearest
from gendesign.command.following import for_auditor, for_structure, with_start, without_alpha_of
from gendesign.command.values import read_value, typed
from gendesign.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs" / "design"
LOADING = ("name_or_path", "device", "trust", "return")
"""What is not said of a backbone by `backbone.KEY=`."""
GROUPS = {"backbone": "backbone", "reward": "reward", "heldout": "reward", "steering": "steering"}
"""What the user chooses, and the folder of its files."""

SETTINGS: dict[str, Any] = {
    "num_designs": int,
    "steps": int,
    "seed": int,
    "base_designs": int,
    "ess_fraction": float,
    "max_rows": int,
    "unmasking": Any,
    "template": str | None,
    "start": str | None,
    "remask": int | float,
    "out": str | None,
    "device": str,
}
"""The settings of a run and their types."""

OBJECTS = {"unmasking": "gendesign.diffusion.unmasking.Unmasking"}
"""Settings that are objects: the word is the name of a class derived from this one."""


def options(group: str, *, folders: Sequence[Path] = ()) -> dict[str, Path]:
    """The names that a group offers and their files.

    Args:
        group: backbone, reward, heldout or steering.
        folders: the user's configuration folders, laid out like the shipped one.

    Raises:
        ConfigError: two folders have a file of the same name, so that it is unclear which is meant.
    """
    found: dict[str, Path] = {}
    for folder in (*folders, CONFIGS):
        for path in sorted((folder / GROUPS[group]).glob("*.yaml")):
            if not path.samefile(found.setdefault(path.stem, path)):
                raise ConfigError(f"{found[path.stem]} has the name of a shipped {GROUPS[group]}; rename it")
    return found


def compose(
    words: Sequence[str],
    *,
    config: str | None = None,
    config_dir: str | Path | None = None,
    trust: Sequence[str] = (),
) -> dict[str, Any]:
    """The configuration that the words describe.

    Args:
        words: `key=value` each.
        config: name of a shipped configuration, or a YAML file; `default` if left out.
        config_dir: a folder with more files for the groups.
        trust: packages whose classes may be named besides gendesign's.

    Returns:
        Plain data: GROUPS, and those of SETTINGS that were given. A reward or steering is {class_path, init_args},
        a backbone or a saved reward {path: name or folder}, no held-out reward None.

    Raises:
        ConfigError: an unknown key, option or configuration, or a value of the wrong type.
        TrustError: a configuration names a class outside gendesign and `trust`.
    """
    folders = [_existing_folder(config_dir)] if config_dir is not None else []
    name, folders = _primary(config, folders)
    chosen, rest = _split(words, folders)
    files = {key: value for key, value in chosen.items() if isinstance(value, str)}
    texts = {key: text for key, text in rest if SETTINGS.get(key) == str | None and "${" not in text}
    said = {key: read_value(key, text, str | None) for key, text in texts.items()}
    plain = _compose_files(name, folders, files, said)
    plain.update({key: value for key, value in chosen.items() if not isinstance(value, str)})
    plain.setdefault("heldout", None)
    if "reward" in chosen:
        plain = without_alpha_of(_compose_files(name, folders, {}, said), plain, words)
    for key in ("backbone", "reward", "steering"):
        if not isinstance(plain.get(key), dict) and not (key == "reward" and key in plain):
            raise ConfigError(
                f"no {key} was chosen; add {key}=NAME, one of {', '.join(options(key, folders=folders))}"
            )
    _check_keys(plain)
    if not any(word.lstrip("+").startswith("heldout=") for word in words):
        rest = [*for_auditor(plain, rest), *rest]
    rest = [*for_structure(plain, rest), *rest]
    for key, text in rest:
        _set(plain, key, text, trust)
    for key in SETTINGS.keys() & plain.keys():
        plain[key] = typed(key, plain[key], SETTINGS[key])
    return plain


def _existing_folder(folder: str | Path) -> Path:
    path = Path(folder).expanduser().resolve()
    if not path.is_dir():
        raise ConfigError(f"no configuration folder {folder}")
    return path


def _primary(config: str | None, folders: list[Path]) -> tuple[str, list[Path]]:
    """Name of the primary configuration, and the folders to look in before the shipped one."""
    if config is None:
        return "default", folders
    path = Path(config).expanduser()
    if path.suffix == ".yaml" or "/" in config:
        if not path.is_file():
            raise ConfigError(f"no configuration file {config}")
        return path.stem, [path.resolve().parent, *folders]
    known = sorted({file.stem for folder in (*folders, CONFIGS) for file in folder.glob("*.yaml")})
    if config not in known:
        raise ConfigError(f"no configuration {config!r}; {nearest(config, known)}")
    return config, folders


def _split(words: Sequence[str], folders: Sequence[Path]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Separate the choices of the groups from the arguments that are set."""
    chosen: dict[str, Any] = {}
    rest: list[tuple[str, str]] = []
    for word in words:
        key, equals, value = word.partition("=")
        key = key.lstrip("+")
        if not equals:
            raise ConfigError(f"expected key=value, got {word!r}")
        if key in GROUPS:
            chosen[key] = _choice(key, value, folders)
        else:
            rest.append((key, value))
    if "reward" in chosen and "heldout" not in chosen:
        # the auditor that belongs to the reward; none rather than one that measures something else
        auditor = f"{chosen['reward']}-heldout"
        chosen["heldout"] = auditor if auditor in options("heldout", folders=folders) else None
    return chosen, rest


def _choice(group: str, value: str, folders: Sequence[Path]) -> Any:
    """An option's name, None, or the content of the user's own file or folder."""
    known = options(group, folders=folders)
    if value in known:
        return value
    if value in ("null", "none", "") and group in ("reward", "heldout"):
        return None
    if group == "backbone" and value.startswith("diffusers:"):
        return {"path": value}
    path = Path(value).expanduser()
    if path.suffix in (".yaml", ".yml"):
        return read_yaml(path)
    if group == "steering" or not (path.is_dir() or "/" in value):
        raise ConfigError(f"no {group} {value!r}; {nearest(value, known)}")
    if group != "backbone" and not path.is_dir():
        raise ConfigError(f"no folder {value} with a saved {group} reward")
    return {"path": value}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file of keys and values.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {_one_line(error)}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold class_path and init_args, got {content!r}")
    return content


def _compose_files(
    name: str, folders: Sequence[Path], files: Mapping[str, str], said: Mapping[str, str | None]
) -> dict[str, Any]:
    """The files as one; what they refer to (`${start}`) is what was said, where it was."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    every = [*folders, CONFIGS.resolve()]
    first = next(folder for folder in every if (folder / f"{name}.yaml").exists())
    others = [folder for folder in every if folder != first]
    if "defaults" not in read_yaml(first / f"{name}.yaml"):  # a resolved configuration of an earlier run
        whole = {key: read_yaml(options(key, folders=folders)[value]) for key, value in files.items()}
        return with_start(read_yaml(first / f"{name}.yaml"), said.get("start")) | whole
    overrides = [f"{'reward@heldout' if key == 'heldout' else key}={value}" for key, value in files.items()]
    if others:
        quoted = ",".join("'file://" + str(folder).replace("'", r"\'") + "'" for folder in others)
        overrides.append(f"hydra.searchpath=[{quoted}]")
    try:
        with initialize_config_dir(str(first), version_base="1.3"):
            composed = hydra_compose(name, overrides)
        for key, value in said.items():
            OmegaConf.update(composed, key, value, force_add=True)
        plain = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"configuration {name!r} cannot be composed: {_one_line(error)}") from error
    assert isinstance(plain, dict)
    # what a configuration says of the option that it chooses itself is not meant for another one
    own = _own_choices(name, every)
    others_chosen = {key: value for key, value in files.items() if own.get(key) != value}
    plain |= {key: read_yaml(options(key, folders=folders)[value]) for key, value in others_chosen.items()}
    return typing.cast(dict[str, Any], plain)


def _own_choices(name: str, folders: Sequence[Path]) -> dict[str, str]:
    """Which option of each group a configuration chooses, itself or by one that it builds on."""
    file = next((path for folder in folders if (path := folder / f"{name}.yaml").exists()), None)
    found: dict[str, str] = {}
    for entry in [] if file is None else read_yaml(file).get("defaults") or []:
        if isinstance(entry, str):
            found |= _own_choices(entry, folders)
            continue
        for key, value in entry.items():
            group = str(key).removeprefix("override ")
            found["heldout" if group == "reward@heldout" else group] = str(value)
    return found


def _check_keys(plain: Mapping[str, Any]) -> None:
    for key in plain:
        if key not in GROUPS and key not in SETTINGS:
            raise ConfigError(f"no setting {key!r}; {nearest(str(key), [*GROUPS, *SETTINGS])}")


def backbone_settings(names: Iterable[str]) -> dict[str, Any]:
    """Types of what may be said of a backbone: its path, and what else `load_backbone` takes.

    Raises:
        ConfigError: it takes no such thing.
    """
    from gendesign.loading import load_backbone  # here, since it imports torch

    hints = typing.get_type_hints(load_backbone)
    known = {"path": str} | {k: v for k, v in hints.items() if k not in LOADING}
    for name in names:
        if name not in known:
            raise ConfigError(f"backbone has no {name!r}; {nearest(name, known)}")
    return known


def _set(plain: dict[str, Any], key: str, text: str, trust: Sequence[str]) -> None:
    """Set one value in place; `key` is a dotted path that may leave out `init_args`."""
    head, *path = key.split(".")
    annotation: Any = Any
    if head in SETTINGS and not path:
        annotation = resolve(OBJECTS[head]) if head in OBJECTS and text != "null" else SETTINGS[head]
        plain[head] = component(key, text, annotation) or read_value(key, text, annotation)
        return
    if head not in (*GROUPS, *OBJECTS) or not path:
        raise ConfigError(f"no setting {key!r}; {nearest(head, [*GROUPS, *SETTINGS])}")
    node: Any = plain.get(head)
    if node is None:
        raise ConfigError(f"{key} cannot be set: no {head} was chosen")
    if head == "backbone" and len(path) == 1:
        node[path[0]] = read_value(key, text, backbone_settings([path[0]])[path[0]])
        return
    assign(node, head, path, text, trust)


def configurations(config_dir: str | Path | None = None) -> dict[str, str]:
    """Names of the whole configurations, with the first line of each file where it is a comment."""
    folders = [_existing_folder(config_dir)] if config_dir is not None else []
    files = [file for folder in (*folders, CONFIGS) for file in sorted(folder.glob("*.yaml"))]
    first = {file.stem: file.read_text().partition("\n")[0] for file in files}
    return {name: line.lstrip("# ") if line.startswith("#") else "" for name, line in first.items()}


def steering_methods(config_dir: str | Path | None = None, *, trust: Sequence[str] = ()) -> dict[str, str]:
    """Names of the steering methods, with the first line of the docstring of each one's module."""
    folders = [_existing_folder(config_dir)] if config_dir is not None else []
    found = {}
    for name, path in options("steering", folders=folders).items():
        cls = resolve(str(read_yaml(path).get("class_path")), trust=trust)
        found[name] = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "").splitlines()[0]
    return found


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]

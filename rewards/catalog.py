"""Rewards by name: what ships, and how a name, a folder or a YAML file becomes a reward.

A shipped reward is a file configs/design/reward/<name>.yaml: its first line, a comment, describes it; the
rest is one `class_path`/`init_args` mapping. A file may name only rewards of gendesign, unless the user
trusts another package by name.
"""

from __future__ import annotations

import difflib
import importlib.resources
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gendesign.building import build, resolve, trusting
from gendesign.errors import ConfigError, TrustError
from gendesign.pretrained import CONFIG, read_config
from gendesign.rewards.base import FunctionReward, Reward


def list_rewards() -> dict[str, str]:
    """Names of the shipped rewards, each with one line of description."""
    files = sorted(_folder().glob("*.yaml"), key=lambda file: file.stem)
    return {file.stem: _first_comment(file) for file in files}


def load_reward(name_or_folder: str | Path, *, device: str = "cpu", trust: Sequence[str] = ()) -> Reward:
    """Load a reward.

    Args:
        name_or_folder: name of a shipped reward (`list_rewards`), a folder with a predictor's weights, or a
            YAML file.
        device: where learned rewards compute.
        trust: top-level packages, besides gendesign, whose classes and functions the file may name. They are
            also looked for in the current folder.

    Raises:
        ConfigError: there is no such reward, or its file is wrong.
        TrustError: its file names code of a package that is not trusted.
        CheckpointError: weights are missing or damaged.
    """
    given = str(name_or_folder)
    shipped, path = _folder() / f"{given}.yaml", Path(given).expanduser()
    if given in list_rewards():
        reward = build_reward(_read(shipped), trust=trust)
        reward.name = given
    elif path.is_dir():
        with trusting(trust):
            reward = _of_folder(path)
    elif path.is_file():
        reward = build_reward(_read(path), trust=trust)
    else:
        near = difflib.get_close_matches(given, list(list_rewards()), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"shipped are {', '.join(list_rewards())}"
        raise ConfigError(f"no reward {given!r}: expected a shipped name, a folder or a YAML file; {hint}")
    reward.to(device)
    return reward


def build_reward(config: Any, *, trust: Sequence[str] = ()) -> Reward:
    """Build a reward from a `class_path`/`init_args` mapping.

    A `FunctionReward`'s function is named by its dotted path.

    Raises:
        ConfigError: the mapping names no reward, or wrong arguments.
        TrustError: it names code of a package that is not trusted.
    """
    if not isinstance(config, Mapping) or "class_path" not in config:
        raise ConfigError(
            "a reward is written as class_path: and init_args:, such as class_path: gendesign.rewards.GCContent"
        )
    here = os.getcwd()
    if trust and here not in sys.path and "" not in sys.path:
        # a console script does not look into the current folder, where a user's module lies
        sys.path.append(here)
    reward = build(_with_functions(config, trust), kinds=(Reward,), trust=trust)
    if not isinstance(reward, Reward):
        raise ConfigError(f"{config['class_path']} is not a reward; derive it from gendesign.rewards.Reward")
    return reward


def _with_functions(config: Any, trust: Sequence[str]) -> Any:
    """Replace the dotted path of every FunctionReward's function by the function, if trusted."""
    if isinstance(config, (list, tuple)):
        return [_with_functions(item, trust) for item in config]
    if not isinstance(config, Mapping):
        return config
    config = {key: _with_functions(value, trust) for key, value in config.items()}
    arguments = config.get("init_args")
    named = str(config.get("class_path", "")).rpartition(".")[2]
    if named == FunctionReward.__name__ and isinstance(arguments, dict):
        path = arguments.get("function")
        if isinstance(path, str):
            if path.partition(".")[0] == "gendesign":
                raise TrustError(f"function must be your own, such as my_module.my_function; got {path}")
            arguments["function"] = resolve(path, trust=trust)
    return config


def _read(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: cannot be read as YAML ({str(error).splitlines()[0]})") from error


def _of_folder(folder: Path) -> Reward:
    """The reward of a folder of weights, by their kind."""
    if (folder / CONFIG).is_file() and read_config(folder).get("kind") == "regressor":
        from gendesign.rewards.activity import PredictedActivity

        return PredictedActivity(str(folder))
    from gendesign.rewards.predicted import PredictedReward

    return PredictedReward(str(folder))


def _first_comment(file: Path) -> str:
    first = file.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def _folder() -> Path:
    return Path(str(importlib.resources.files("gendesign.configs"))) / "design" / "reward"

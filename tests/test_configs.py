"""Every shipped YAML names real classes with real arguments, and composes."""

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gendesign.backbone import Backbone
from gendesign.building import build, check_arguments, describe
from gendesign.command.compose import CONFIGS, GROUPS, compose, options
from gendesign.errors import MissingExtraError
from gendesign.loading import list_backbones, load_backbone
from gendesign.rewards.base import Reward
from gendesign.rewards.catalog import build_reward, list_rewards, load_reward
from gendesign.steering.sampler import Steering

TRAINING = sorted((CONFIGS.parent / "train").glob("*.yaml"))
PRIMARY = sorted(CONFIGS.glob("*.yaml"))
EVERY = sorted(CONFIGS.parent.rglob("*.yaml"))


def named(config: Any) -> Iterator[dict[str, Any]]:
    """All class_path mappings of a configuration."""
    if isinstance(config, dict):
        if "class_path" in config:
            yield config
        for value in config.values():
            yield from named(value)
    elif isinstance(config, list):
        for value in config:
            yield from named(value)


@pytest.mark.parametrize("path", EVERY, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_classes_exist_and_take_the_arguments(path: Path) -> None:
    found = list(named(yaml.safe_load(path.read_text())))
    assert found or path.parent.name == "backbone" or path in PRIMARY
    for config in found:
        module, _, name = config["class_path"].rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        assert inspect.isclass(cls)
        given = {key: value for key, value in (config.get("init_args") or {}).items()}
        if path.parent.name != "train":  # there, the data module gives what is missing
            check_arguments(cls, given)
        else:
            assert set(given) <= set(inspect.signature(cls).parameters) or any(
                p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values()
            )


@pytest.mark.parametrize("name", sorted(options("steering")))
def test_steering_files_build(name: str) -> None:
    assert isinstance(build(yaml.safe_load(options("steering")[name].read_text())), Steering)


@pytest.mark.whole
@pytest.mark.parametrize("name", sorted(options("reward")))
def test_reward_files_build_and_are_described(name: str) -> None:
    assert len(list_rewards()[name]) > 20
    try:
        reward = build_reward(yaml.safe_load(options("reward")[name].read_text()))
    except MissingExtraError as error:
        pytest.skip(str(error))
    assert isinstance(reward, Reward) and load_reward(name).label == name
    scores = reward(["ACGT" * 20, "TTGA" * 20])
    assert len(scores) == 2


@pytest.mark.parametrize("name", sorted(options("backbone")))
def test_backbone_files_load(name: str) -> None:
    assert name in list_backbones()
    assert isinstance(load_backbone(yaml.safe_load(options("backbone")[name].read_text())["path"]), Backbone)


@pytest.mark.parametrize("path", PRIMARY, ids=lambda path: path.stem)
def test_primary_files_compose(path: Path) -> None:
    plain = compose([], config=path.stem)
    assert set(plain) >= set(GROUPS)
    assert plain["heldout"] is None or plain["heldout"] != plain["reward"]


def test_the_auditor_shares_no_predictor_with_the_guide() -> None:
    for name in options("reward"):
        if f"{name}-heldout" in options("reward"):
            plain = compose([f"reward={name}"])
            predictors = [
                {
                    c["init_args"]["predictor"]
                    for c in named(plain[role])
                    if "predictor" in (c.get("init_args") or {})
                }
                for role in ("reward", "heldout")
            ]
            # what can be computed exactly is audited by the exact value, which has no predictor
            assert predictors[0] and not predictors[0] & predictors[1]


@pytest.mark.parametrize("path", TRAINING, ids=lambda path: path.stem)
def test_training_files_are_whole(path: Path) -> None:
    assert {"model", "data", "trainer"} <= set(yaml.safe_load(path.read_text()))


def test_own_sequences_continue_the_shipped_backbone() -> None:
    """`--init` needs the same network: the example's is built as the shipped one."""
    model = yaml.safe_load((CONFIGS.parent / "train/own_sequences.yaml").read_text())["model"]["init_args"]
    backbone = load_backbone("dna-yeast-promoter")
    for part in ("codec", "process", "denoiser"):
        built, shipped = build(model[part]), getattr(backbone, part)
        assert type(built) is type(shipped)
        full = {**signature_defaults(type(built)), **model[part]["init_args"]}
        assert full == {**signature_defaults(type(shipped)), **describe(shipped)["init_args"]}


def signature_defaults(cls: type) -> dict[str, Any]:
    return {
        p.name: describe(p.default)
        for p in inspect.signature(cls).parameters.values()
        if p.default is not p.empty
    }

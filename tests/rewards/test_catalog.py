"""Rewards by name, from files and folders, and what a file may not do."""

from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from gendesign.errors import ConfigError, TrustError
from gendesign.rewards import build_reward, list_rewards, load_reward

USER = """
from gendesign.rewards import Reward

def gc(designs):
    return [(d.count("G") + d.count("C")) / len(d) for d in designs]

class Short(Reward):
    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def score(self, designs):
        return [-self.scale * len(d) for d in designs]

class NoReward:
    pass
"""


@pytest.fixture()
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a user's module; it is the current folder."""
    (tmp_path / "catalog_user_module.py").write_text(USER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry])
    return tmp_path


def write(folder: Path, text: str) -> Path:
    (folder / "reward.yaml").write_text(text)
    return folder / "reward.yaml"


def test_every_shipped_reward_has_a_line_of_description_and_says_what_it_is() -> None:
    listed = list_rewards()
    assert {
        "dna-expression",
        "dna-expression-heldout",
        "dna-expression-defined",
        "dna-complex-minus-defined",
        "gc-content",
    } <= set(listed)
    assert list(listed) == sorted(listed)
    for name, line in listed.items():
        assert len(line) > 20, name
    assert load_reward("gc-content").name == "gc-content"


def test_a_users_function_in_yaml(user: Path) -> None:
    path = write(
        user, "class_path: gendesign.rewards.FunctionReward\ninit_args: {function: catalog_user_module.gc}\n"
    )
    assert load_reward(path, trust=["catalog_user_module"])(["GC", "AC"]).values.tolist() == [1, 0.5]
    with pytest.raises(TrustError, match=r"trust=\['catalog_user_module'\]"):
        load_reward(path)


def test_a_users_class_in_yaml_also_inside_a_composition(user: Path) -> None:
    part = {"class_path": "catalog_user_module.Short", "init_args": {"scale": 2.0}}
    config = {
        "class_path": "gendesign.rewards.WeightedSum",
        "init_args": {"rewards": [part, part], "weights": [1.0, 0.5]},
    }
    np.testing.assert_allclose(build_reward(config, trust=["catalog_user_module"])(["ACG"]).values, [-9])
    with pytest.raises(TrustError, match="catalog_user_module"):
        build_reward(config)


@pytest.mark.parametrize(
    "config",
    [
        {"class_path": "os.system", "init_args": {"command": "true"}},
        {"class_path": "gendesign.rewards.FunctionReward", "init_args": {"function": "os.system"}},
        {
            "class_path": "gendesign.rewards.base.FunctionReward",
            "init_args": {"function": "gendesign.rewards.catalog.os.system"},
        },
        {
            "class_path": "gendesign.rewards.WeightedSum",
            "init_args": {"rewards": [{"class_path": "subprocess.Popen"}]},
        },
        {"class_path": "gendesign.codecs.DNACodec", "init_args": {"length": 3}},
    ],
)
def test_a_file_cannot_run_code_that_nobody_trusted(config: dict[str, object]) -> None:
    with pytest.raises(TrustError):
        build_reward(config)


def test_wrong_names_and_files(user: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'gc-content'"):
        load_reward("gc-contents")
    with pytest.raises(ConfigError, match="class_path"):
        load_reward(write(user, "- 1\n"))
    with pytest.raises(ConfigError, match="YAML"):
        load_reward(write(user, "class_path: [\n"))
    with pytest.raises(ConfigError, match="did you mean 'target'"):
        load_reward(
            write(user, "class_path: gendesign.rewards.GCContent\ninit_args: {targets: [0.1, 0.2]}\n")
        )
    with pytest.raises(ConfigError, match="not a reward"):
        load_reward(write(user, "class_path: catalog_user_module.NoReward\n"), trust=["catalog_user_module"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_package_at_all", "cannot be imported: No module named 'no_such_package_at_all'"),
        ("def broken(:", "cannot be imported: SyntaxError"),
        ("1 / 0", "cannot be imported: ZeroDivisionError"),
        ("class Own:\n    def __init__(self):\n        raise ValueError('no such plate')", "no such plate"),
    ],
)
def test_a_users_module_that_is_broken_is_said_in_one_line(user: Path, source: str, message: str) -> None:
    name = f"broken_module_{len(source)}"
    (user / f"{name}.py").write_text(source)
    with pytest.raises(ConfigError, match=message):
        load_reward(write(user, f"class_path: {name}.Own\n"), trust=[name])


def test_keys_that_are_no_words_are_refused(user: Path) -> None:
    with pytest.raises(ConfigError, match="got also 3"):
        load_reward(write(user, "class_path: gendesign.rewards.GCContent\n3: 4\n"))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Pooled", {"reward": "qed"}, "Pooled needs a reward"),
        ("SynthesisProblems", {"sites": [None]}, "restriction enzyme"),
        ("SynthesisProblems", {"max_homopolymer": 3, "prefix": 0}, "prefix"),
        ("SequenceLiabilities", {"patterns": "N[GS]"}, "by name"),
        ("Substructure", {"required": 3}, "must be SMARTS"),
    ],
)
def test_a_value_of_the_wrong_kind_in_a_file_is_said_in_one_line(
    name: str, arguments: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as where users are
    with pytest.raises(ConfigError, match=message):
        build_reward({"class_path": f"gendesign.rewards.{name}", "init_args": arguments})

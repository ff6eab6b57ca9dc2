"""From words to a configuration: groups, arguments by signature, and strings taken to the letter."""

import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from gendesign.command.compose import compose, options, steering_methods
from gendesign.command.values import read_value
from gendesign.errors import ConfigError, TrustError

MODULE = """
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from gendesign.rewards.base import Reward

class Likes(Reward):
    def __init__(self, target: str, *, motifs: Sequence[str] = (), weight: float = 1.0, model: str | None = None,
                 kind: Literal["one", "two"] = "one", part: Reward | None = None):
        self.name = "likes"
        self.target, self.motifs, self.weight, self.model = target, motifs, weight, model

    def score(self, designs):
        return [self.weight * d.count(self.target) for d in designs]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's configuration folder and the module that it names."""
    (tmp_path / "user_likes.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "user_likes", raising=False)
    (tmp_path / "reward").mkdir()
    (tmp_path / "reward/likes.yaml").write_text("class_path: user_likes.Likes\ninit_args:\n  target: NAN\n")
    (tmp_path / "reward/likes-heldout.yaml").write_text(
        "class_path: user_likes.Likes\ninit_args:\n  target: A\n"
    )
    (tmp_path / "reward/none.yaml").write_text("class_path: user_likes.Likes\n")
    (tmp_path / "mine.yaml").write_text(
        "defaults:\n  - default\n  - override reward: likes\n  - _self_\nnum_designs: 3\n"
    )
    return tmp_path


def composed(folder: Path, *words: str, **kwargs: Any) -> dict[str, Any]:
    return compose(["reward=likes", *words], config_dir=folder, trust=["user_likes"], **kwargs)


@pytest.mark.whole
@pytest.mark.parametrize(
    "text",
    [
        "CC(=O)Oc1ccccc1C(=O)O",
        "[C@@H](N)(C)C(=O)O",
        "[#6]-[C@@H]",
        "NAN",
        "INF",
        "nan",
        "1e5",
        "007",
        "true",
        "a=b=c",
        "/data/my files/x=1, y (2).pt",
        "${not_an_interpolation}",
        'it\'s "quoted" \\ here',
        "C:\\x",
        " padded ",
        "{a: 1}",
        "",
        "#C",
    ],
)
def test_strings_are_taken_to_the_letter(folder: Path, text: str) -> None:
    assert composed(folder, f"reward.target={text}")["reward"]["init_args"]["target"] == text
    assert composed(folder, f"template={text}", f"out={text}")["template"] == text


def test_a_string_in_the_users_yaml_stays_text(folder: Path) -> None:
    assert composed(folder)["reward"]["init_args"]["target"] == "NAN"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[GAATTC,NAN]", ["GAATTC", "NAN"]),
        ("[[C@@H],CC(=O)O]", ["[C@@H]", "CC(=O)O"]),
        ("['a b', INF]", ["a b", "INF"]),
        ("GAATTC", ["GAATTC"]),
        ("[]", []),
    ],
)
def test_lists_of_strings(folder: Path, text: str, expected: list[str]) -> None:
    assert composed(folder, f"reward.motifs={text}")["reward"]["init_args"]["motifs"] == expected


def test_other_types_follow_the_signature(folder: Path) -> None:
    arguments = composed(folder, "reward.weight=2", "reward.kind=two", "reward.model=null")["reward"][
        "init_args"
    ]
    assert arguments["weight"] == 2.0 and isinstance(arguments["weight"], float)
    assert arguments["kind"] == "two" and arguments["model"] is None
    assert composed(folder, "reward.init_args.weight=1e-3")["reward"]["init_args"]["weight"] == 1e-3
    for word in (
        "reward.weight=heavy",
        "reward.kind=three",
        "num_designs=many",
        "num_designs=1.5",
        "seed=true",
    ):
        with pytest.raises(ConfigError, match=word.split("=")[0]):
            composed(folder, word)


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (float | Literal["auto"], "auto", "auto"),
        (float | Literal["auto"], "0.5", 0.5),
        (float | str, "0.5", 0.5),
        (float | str, "NAN", "NAN"),
        (str | None, "null", None),
        (int | None, "null", None),
        (int, "-3", -3),
        (bool, "false", False),
        (list[float], "[1,2.5]", [1, 2.5]),
        (dict[str, float], "{A:1}", {"A": 1}),
        (Any, "a b", "a b"),
    ],
)
def test_values_by_type(annotation: Any, text: str, value: Any) -> None:
    read = read_value("x", text, annotation)
    assert read == value and type(read) is type(value)


def test_steering_arguments_leave_out_init_args() -> None:
    steering = compose(["steering=svdd", "steering.candidates=20", "steering.alpha=auto"])["steering"]
    assert steering["class_path"] == "gendesign.steering.svdd.SVDD"
    assert steering["init_args"]["candidates"] == 20 and steering["init_args"]["alpha"] == "auto"
    nested = compose(["steering.value=PosteriorSamples", "steering.value.num=4"])["steering"]["init_args"][
        "value"
    ]
    assert nested == {"class_path": "gendesign.steering.value.PosteriorSamples", "init_args": {"num": 4}}
    with pytest.raises(ConfigError, match="must be a number or 'auto'"):
        compose(["steering.alpha=small"])


def test_a_rule_of_unmasking_by_the_name_of_its_class() -> None:
    chosen = compose(["unmasking=KTokens", "unmasking.k=4"])["unmasking"]
    assert chosen == {"class_path": "gendesign.diffusion.unmasking.KTokens", "init_args": {"k": 4}}
    assert compose(["unmasking=null"])["unmasking"] is None
    with pytest.raises(ConfigError, match="did you mean 'FirstHitting'"):
        compose(["unmasking=FirstHit"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["num_design=3"], "did you mean 'num_designs'"),
        (["steering=svd"], "did you mean 'svdd'"),
        (["steering.candidate=3"], "no argument 'candidate'; did you mean 'candidates'"),
        (["steering.value=PosteriorSample"], "did you mean 'PosteriorSamples'"),
        (["steerin.candidates=3"], "no setting 'steerin.candidates'; did you mean 'steering'"),
        (["backbone=dna-yeast-promotr"], "did you mean 'dna-yeast-promoter'"),
        (["backbone.pat=x"], "has no 'pat'; did you mean 'path'"),
        (["seed"], "expected key=value, got 'seed'"),
        (["reward=no/such/folder"], "no folder"),
        (["reward=missing.yaml"], "cannot read missing.yaml"),
        (["heldout=null", "heldout.x=1"], "no heldout was chosen"),
    ],
)
def test_a_wrong_word_names_what_was_meant(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compose(words)
    assert "\n" not in str(caught.value)


def test_the_auditor_follows_the_reward(folder: Path) -> None:
    assert composed(folder)["heldout"]["init_args"]["target"] == "A"
    assert compose(["reward=none"], config_dir=folder)["heldout"] is None
    assert composed(folder, "heldout=null")["heldout"] is None
    assert compose([])["heldout"] is not None


def test_a_users_configuration_and_folder(folder: Path) -> None:
    plain = compose(["num_designs=5"], config=str(folder / "mine.yaml"), trust=["user_likes"])
    assert plain["reward"]["class_path"] == "user_likes.Likes" and plain["num_designs"] == 5
    assert compose([], config="mine", config_dir=folder)["num_designs"] == 3
    assert options("reward", folders=[folder])["likes"] == folder / "reward/likes.yaml"
    with pytest.raises(ConfigError, match="no configuration 'mne'; did you mean 'mine'"):
        compose([], config="mne", config_dir=folder)
    with pytest.raises(ConfigError, match="no configuration folder"):
        compose([], config_dir=folder / "nowhere")
    with pytest.raises(ConfigError, match="no configuration file"):
        compose([], config=str(folder / "nowhere.yaml"))


def test_a_folder_with_odd_letters_in_its_name(folder: Path) -> None:
    odd = folder / "it's a=b, c"
    (odd / "reward").mkdir(parents=True)
    (odd / "reward/own.yaml").write_text("class_path: user_likes.Likes\n")
    assert compose(["reward=own"], config_dir=odd)["reward"]["class_path"] == "user_likes.Likes"


def test_a_reward_from_a_file_or_a_folder(folder: Path) -> None:
    file = folder / "reward/likes.yaml"
    assert compose([f"reward={file}"])["reward"]["class_path"] == "user_likes.Likes"
    assert compose([f"backbone={folder}"])["backbone"] == {"path": str(folder)}
    (folder / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="must hold class_path"):
        compose([f"reward={folder / 'list.yaml'}"])
    (folder / "bad.yaml").write_text("a: [1\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        compose([f"reward={folder / 'bad.yaml'}"])


def test_arguments_of_untrusted_code_are_refused(folder: Path) -> None:
    with pytest.raises(TrustError, match="--trust user_likes"):
        compose(["reward=likes", "reward.weight=2"], config_dir=folder)


def test_wrong_keys_in_a_users_configuration(folder: Path) -> None:
    (folder / "odd.yaml").write_text("defaults:\n  - default\n  - _self_\nnum_design: 3\n")
    with pytest.raises(ConfigError, match="did you mean 'num_designs'"):
        compose([], config=str(folder / "odd.yaml"))
    (folder / "odd.yaml").write_text("defaults:\n  - default\n  - override reward: nothing\n")
    with pytest.raises(ConfigError, match="cannot be composed"):
        compose([], config=str(folder / "odd.yaml"))


def test_every_steering_method_has_a_line() -> None:
    methods = steering_methods()
    assert {"svdd", "best_of_n", "unsteered"} <= set(methods) and all(
        len(line) > 10 for line in methods.values()
    )


def test_two_files_of_one_name_are_not_guessed_between(folder: Path) -> None:
    (folder / "steering").mkdir()
    (folder / "steering/svdd.yaml").write_text("class_path: gendesign.steering.svdd.SVDD\n")
    with pytest.raises(ConfigError, match="rename it"):
        compose(["steering=svdd"], config_dir=folder)


def test_what_is_set_in_the_reward_holds_for_its_auditor() -> None:
    """A guide of eights audited by a judge of threes would look over-optimised, or sound, for no reason."""

    def heads(*words: str) -> list[str]:
        plain = compose(words)
        return [plain[role]["init_args"]["head"] for role in ("reward", "heldout")]

    assert heads("reward.head=defined") == ["defined", "defined"]
    assert heads("reward.init_args.head=defined") == ["defined", "defined"]
    assert heads("reward.head=defined", "heldout.head=complex") == ["defined", "complex"]
    assert heads("reward.head=defined", "heldout=dna-expression-heldout") == ["defined", "complex"]
    # but never what makes the auditor independent, nor what it does not have
    plain = compose(["reward.predictor=mine", "reward.lower_confidence_bound=1.0"])
    assert plain["heldout"] == compose([])["heldout"]


@pytest.mark.parametrize("lead", ["CC#CO", "my leads.smi", "a=b", ""])
def test_what_refers_to_a_setting_follows_what_was_said(lead: str) -> None:
    """The bound on similarity is to the user's lead, to the letter, not to that of the example."""
    composed = compose([f"start={lead}", "seed=3"], config="lead-optimisation")
    assert composed["start"] == lead and composed["seed"] == 3
    assert composed["reward"]["init_args"]["constraint"]["init_args"]["reference"] == lead
    example = compose([], config="lead-optimisation")
    assert example["reward"]["init_args"]["constraint"]["init_args"]["reference"] == example["start"] != ""


@pytest.mark.parametrize(("words", "lead"), [(["start=CC#CO"], "CC#CO"), ([], None), (["start=null"], None)])
def test_an_earlier_runs_configuration_follows_a_new_start(
    words: list[str], lead: str | None, tmp_path: Path
) -> None:
    earlier = compose([], config="lead-optimisation")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(earlier))
    again = compose(words, config=str(tmp_path / "config.yaml"))
    expected = earlier["start"] if lead is None else lead
    assert again["reward"]["init_args"]["constraint"]["init_args"]["reference"] == expected
    others = {**again, "start": "", "reward": ""}
    assert others == {**earlier, "start": "", "reward": ""}


def test_what_a_configuration_says_of_its_own_option_is_not_meant_for_another(tmp_path: Path) -> None:
    own = compose(["steering=svdd"], config="lead-optimisation")
    assert own["steering"]["init_args"]["paths"] == 2  # its own choice, named again
    other = compose(["steering=smc", "reward=qed"], config="lead-optimisation")
    assert "paths" not in other["steering"]["init_args"] and "constraint" not in other["reward"]["init_args"]
    backbone = compose(["backbone=dna-yeast-promoter"], config="molecules")["backbone"]
    assert backbone == {"path": "dna-yeast-promoter"}
    (tmp_path / "mine.yaml").write_text("defaults: [molecules, _self_]\nsteps: 5\n")
    mine = compose(["steering=svdd"], config=str(tmp_path / "mine.yaml"))
    assert mine["steering"]["init_args"]["paths"] == 3 and mine["steps"] == 5


def test_a_repeated_run_on_another_structure_is_scored_on_that_one(tmp_path: Path) -> None:
    """Two chains of one length: nothing else would tell that the old one still scores."""
    words = ["backbone=protein-inverse-folding", "backbone.structure=a.pdb", "reward=stability"]
    earlier = compose(words)
    assert {earlier[role]["init_args"]["structure"] for role in ("reward", "heldout")} == {"a.pdb"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(earlier))

    def structures(*words: str) -> list[str]:
        again = compose(words, config=str(tmp_path / "config.yaml"))
        return [again[role]["init_args"]["structure"] for role in ("reward", "heldout")]

    assert structures() == ["a.pdb", "a.pdb"]
    assert structures("backbone.structure=b.pdb") == ["b.pdb", "b.pdb"]
    earlier["start"] = "a.pdb"  # from its own sequence
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(earlier))
    assert structures("start=ACDE") == ["a.pdb", "a.pdb"]
    assert structures("backbone.structure=b.pdb", "reward.structure=c.pdb") == ["c.pdb", "c.pdb"]


def test_an_alpha_is_of_its_reward(tmp_path: Path) -> None:
    """.005 of a brightness is nothing in daltons; the same brightness without the deviations keeps it."""

    def alpha(*words: str, config: str = "gfp") -> float | None:
        found: float | None = compose(words, config=config)["steering"]["init_args"].get("alpha")
        return found

    assert alpha() == alpha("reward=gfp-brightness") == 0.005
    assert alpha("reward=protein-weight") is None and alpha("reward=protein-weight", "steering=svdd") is None
    assert alpha("reward=protein-weight", "steering.alpha=7") == 7
    for given in (0.3, 1):
        earlier = compose([])
        earlier["steering"]["init_args"]["alpha"] = given
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(earlier))
        assert alpha(config=str(tmp_path / "config.yaml")) == given
        assert alpha("reward=gc-content", config=str(tmp_path / "config.yaml")) is None


def test_what_else_is_said_of_a_backbone() -> None:
    """`backbone.prompt` is taken to the letter, `backbone.guidance_scale` is a number."""
    words = ["backbone=diffusers:some/pipeline", "backbone.prompt=null, {a}=b", "backbone.guidance_scale=3"]
    backbone = compose(words)["backbone"]
    assert backbone == {
        "path": "diffusers:some/pipeline",
        "prompt": "null, {a}=b",
        "guidance_scale": 3,
    }
    with pytest.raises(ConfigError, match="guidance_scale must be"):
        compose(["backbone.guidance_scale=much"])

"""The verb `compare`: words, shipped configurations, and one line for what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gendesign.building import build, check_arguments, resolve
from gendesign.cli import main
from gendesign.command.comparing import CONFIGS, read_comparison
from gendesign.comparison import Comparison
from gendesign.loading import list_backbones
from gendesign.rewards.catalog import list_rewards
from gendesign.steering.sampler import Steering

SHIPPED = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_comparisons_name_what_ships(name: str) -> None:
    comparison, out = read_comparison(name)
    assert out is None and comparison.budgets and len(comparison.seeds) >= 3
    for task in comparison.tasks.values():
        backbone = task.backbone if isinstance(task.backbone, str) else task.backbone["path"]
        assert backbone in list_backbones() and task.reward in list_rewards()
        audited = f"{task.reward}-heldout"  # a reward that is computed, such as QED, needs no audit
        assert task.heldout == (audited if audited in list_rewards() else None)
        assert task.alpha > 0
        for method in task.methods.values():
            _described(method)
    for method in comparison.methods.values():
        assert isinstance(build(method), Steering)


def _described(method: Any) -> None:
    """A method of a task names classes and arguments that there are; networks that it was trained with, no file yet."""
    cls = resolve(method["class_path"])
    check_arguments(cls, method.get("init_args", {}))
    value = method.get("init_args", {}).pop("value", None)
    if value is not None:
        check_arguments(resolve(value["class_path"]), value["init_args"])
    assert isinstance(build(method), Steering)


def test_words_choose_set_and_add() -> None:
    words = [
        "seeds=[4,7]",
        "network_evaluations=[100]",
        "reward_calls=[]",
        "methods=[svdd,best_of_n]",
        "methods.greedy=svdd",
        "methods.greedy.selection=argmax",
        "methods.svdd.value=PosteriorSamples",
        "methods.svdd.value.num=2",
        "tasks.yeast_promoters.steps=20",
        "tasks.yeast_promoters.template=null",
        "device=cpu",
        "out=some/where",
    ]
    comparison, out = read_comparison("yeast_promoters", words)
    assert (
        out == "some/where"
        and comparison.seeds == (4, 7)
        and comparison.budgets == [("network_evaluations", 100.0)]
    )
    assert list(comparison.methods) == ["svdd", "best_of_n", "greedy"]
    assert comparison.methods["greedy"]["init_args"]["selection"] == "argmax"
    assert comparison.methods["svdd"]["init_args"]["value"]["init_args"] == {"num": 2}
    assert comparison.tasks["yeast_promoters"].steps == 20


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs a configuration first: digits"),
        (["yeast_promoter"], "did you mean 'yeast_promoters'"),
        (["nowhere.yaml"], "cannot read"),
        (["digits", "methods=[svd]"], "did you mean 'svdd'"),
        (["digits", "methods.svdd.candidate=2"], "did you mean 'candidates'"),
        (["digits", "methods.ssvd.candidates=2"], "did you mean 'svdd'"),
        (["digits", "tasks=[digit]"], "did you mean 'digits'"),
        (["digits", "tasks.digits.step=2"], "did you mean 'steps'"),
        (["digits", "tasks.digits=2"], "is made of backbone, reward"),
        (["digits", "seed=2"], "did you mean 'seeds'"),
        (["digits", "seeds"], "expected key=value"),
        (["digits", "seeds=0"], "at least 1"),
        (["digits", "network_evaluations=[]", "reward_calls=[]"], "needs a budget"),
        (["digits", "--jobs", "0"], "--jobs must be at least 1"),
        (["digits", "--config-dir", "nowhere"], "no configuration folder"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("method: {}", "did you mean 'methods'"),
        ("trust: [os]", "no setting 'trust'"),
        ("methods: [svdd]", "must map names"),
        ("tasks: {a: {backbone: x, reward: y}}", "at least one method"),
        (
            "sizes: any\nmethods: {a: svdd}\ntasks: {a: {backbone: x, reward: y}}\nreward_calls: 9",
            "sizes must be",
        ),
        ("tasks: {a: {backbone: x, reward: y, methods: {a: svd}}}", "did you mean 'svdd'"),
        ("methods: {a: svdd}\ntasks: {a: 3}", "must have backbone"),
    ],
)
def test_bad_files_are_one_line(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    assert main(["compare", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_comparison_from_the_command_line(
    make: Callable[..., Comparison], here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain: dict[str, Any] = make(seeds=1).config
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(plain))
    words = ["compare", str(path), "methods=[unsteered,svdd]", f"out={here}"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "comparison.html" in printed.out and "2 of 2" in printed.err
    assert main(words) == 2 and "--resume" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    # the kept configuration repeats the comparison
    assert main(["compare", str(here / "comparison.yaml"), f"out={tmp_path / 'again'}"]) == 0
    starved = ["compare", str(path), "network_evaluations=[1]", f"out={tmp_path / 'starved'}"]
    capsys.readouterr()
    assert main(starved) == 2 and "the budget is 1" in capsys.readouterr().err


def test_what_anchors_share_is_set_in_one_alone() -> None:
    """The tasks of a configuration may be written as one and its variants."""
    tasks = read_comparison("molecules", ["tasks.qed.backbone.precision=float32"])[0].tasks
    assert {name for name, task in tasks.items() if task.backbone["precision"] == "float32"} == {"qed"}

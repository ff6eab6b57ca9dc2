"""The house itself: what is quick stays quick, what is documented exists, nothing forbidden is inside."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import gendesign

ROOT = Path(__file__).parent.parent
SOURCES = [
    path
    for room in ("gendesign", "models", "rewards", "configs")
    for path in sorted((ROOT / room).glob("**/*.py"))
]
DOCUMENTS = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "benchmarks/README.md")]


def imported(code: str) -> set[str]:
    """Modules in memory after some code ran in a fresh Python."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout.split()
    )


@pytest.mark.parametrize(
    "code", ["import gendesign", "import gendesign.cli; gendesign.cli.parser().format_help()"]
)
def test_nothing_heavy_is_imported_early(code: str) -> None:
    heavy = {"torch", "numpy", "pandas", "lightning", "hydra", "matplotlib", "Bio", "jaxtyping", "rich"}
    assert not heavy & imported(code)


def test_tables_are_listed_without_torch() -> None:
    assert not {"torch", "lightning", "hydra"} & imported(
        "import gendesign.cli; gendesign.cli.main(['data', 'list'])"
    )


@pytest.mark.whole
def test_rewards_and_runs_do_not_import_what_they_may_not_use() -> None:
    assert not {"Bio", "hydra", "logomaker"} & imported("import gendesign.run")


def test_every_public_name_exists_and_is_typed() -> None:
    assert set(gendesign.__all__) <= set(dir(gendesign))
    for name in gendesign.__all__:
        assert getattr(gendesign, name) is not None
    tree = ast.parse((ROOT / "gendesign/__init__.py").read_text())
    checked = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert set(gendesign.__all__) <= checked, "type checkers do not see every public name"
    with pytest.raises(AttributeError):
        _ = gendesign.nothing_of_this_name


def test_no_pickle_and_no_global_state() -> None:
    """Library code never unpickles, prints, quits or seeds globally (the command line prints)."""
    speaking = {
        "__main__.py",
        "cli.py",
        "verbs.py",
        "scoring.py",
        "comparing.py",
        "collecting.py",
        "synthesizing.py",
        "agents.py",
        "fetch.py",
        "terminal.py",
        "command.py",
    }
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        blocks = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.With) and "fork_rng" in ast.unparse(node.items[0])
        ]
        forked = {node for block in blocks for node in ast.walk(block)}  # there the stream is put back
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if path.name != "workers.py":  # there, between a process and its own child
                    assert called not in ("pickle.load", "pickle.loads", "pickle.Unpickler", "joblib.load"), (
                        path
                    )
                seeding = ("torch.manual_seed", "np.random.seed", "random.seed", "seed_everything")
                assert called not in seeding or node in forked, f"{path}:{node.lineno}"
                assert called != "torch.load" or "weights_only=True" in ast.unparse(node), path
                if path.name not in speaking:
                    assert called not in ("print", "sys.exit", "exit", "quit"), f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 350, "think again: a file is one idea"


def test_noise_is_drawn_where_its_generator_is() -> None:
    """A generator of one device cannot fill a tensor of another: what draws by one names the device."""
    draws = {"rand", "randn", "randint", "randperm"}
    for room in ("diffusion", "steering"):
        for path in sorted((ROOT / "gendesign" / room).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in draws
                ):
                    named = {keyword.arg for keyword in node.keywords}
                    assert "generator" not in named or "device" in named, f"{path}:{node.lineno}"


def test_the_readme_is_true() -> None:
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```(\w+)\n(.*?)```", text, flags=re.DOTALL)
    for language, block in blocks:
        if language == "python":
            compile(block, "README.md", "exec")
        if language == "yaml":
            assert yaml.safe_load(block)
    example = next(block for language, block in blocks if "import gendesign as gd" in block)
    assert len([line for line in example.splitlines() if line.strip()]) <= 15
    for name in re.findall(r"\bgd\.(\w+)", text):
        assert name in gendesign.__all__, name
    own = [block for language, block in blocks if "tata_boxes" in block]
    assert sum(len(block.splitlines()) for block in own) <= 15
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
        if "pretrained" not in target:
            assert (ROOT / target).exists(), target


def test_the_readme_s_own_reward_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gendesign.rewards import load_reward

    blocks = re.findall(
        r"```\w+\n# (my_rewards?\.\w+)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL
    )
    assert [name for name, _ in blocks] == ["my_rewards.py", "my_reward.yaml"]
    for name, block in blocks:
        (tmp_path / name).write_text(block)
    monkeypatch.syspath_prepend(str(tmp_path))
    reward = load_reward(tmp_path / "my_reward.yaml", trust=["my_rewards"])
    assert reward(["GGTATAAAGG", "ACGT"]).values.tolist() == [1.0, 0.0]


def test_constraints_allow_what_is_declared_and_name_no_platform() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            assert "+" not in version, line
            pinned[canonicalize_name(name)] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [text for extra in project["optional-dependencies"].values() for text in extra]
    for text in [*project["dependencies"], *extras]:
        requirement = Requirement(text)
        if requirement.name == project["name"]:  # an extra that names others
            continue
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text


def test_every_package_folder_is_installed() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"gendesign", "gendesign.models", "gendesign.rewards", "gendesign.configs"}
    found |= {f"gendesign.{path.parent.name}" for path in (ROOT / "gendesign").glob("*/__init__.py")}
    assert listed == found


def test_every_module_has_a_floor() -> None:
    """A new module must be given its place in the layers of pyproject.toml."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = set(re.findall(r"gendesign[\w.]*", " ".join(contracts[0]["layers"])))
    for path in (ROOT / "gendesign").glob("*.py"):
        assert path.stem == "__init__" or f"gendesign.{path.stem}" in named, path.stem
    for room in ("steering", "rewards", "data", "training", "command"):
        folder = ROOT / ("rewards" if room == "rewards" else f"gendesign/{room}")
        for path in folder.glob("*.py"):
            assert path.stem == "__init__" or f"gendesign.{room}.{path.stem}" in named, path


def test_the_ci_runs_the_readme_s_command() -> None:
    assert "make test" in (ROOT / ".ci/run").read_text() and "make test" in (ROOT / "README.md").read_text()
    rules = (ROOT / "Makefile").read_text()
    assert re.search(r"^test:.*\bpytest$", rules, flags=re.MULTILINE), (
        "the test command must end in pytest's summary"
    )


def test_the_makefile_runs_scripts_that_exist() -> None:
    rules = (ROOT / "Makefile").read_text()
    named = re.findall(r"benchmarks/\w+\.\w+", rules)
    assert "benchmarks/arena.py" in named and all((ROOT / name).exists() for name in named), named
    declared = re.search(r"^\.PHONY: (.*)$", rules, flags=re.MULTILINE)
    assert declared and all(
        re.search(rf"^{goal}:", rules, flags=re.MULTILINE) for goal in declared[1].split()
    )


def test_documents_speak_of_the_project_only() -> None:
    for path in [*DOCUMENTS, *SOURCES]:
        if path.exists():
            text = path.read_text()
            assert not re.search(r"/work/|\.\./shared|/tmp/|TODO|FIXME", text), path

"""Configurations: they rebuild what they describe, and run nobody's code."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gendesign.building import Configurable, build, describe, finite, resolve, whole
from gendesign.codecs import Codec
from gendesign.diffusion.masked import MaskedDiffusion
from gendesign.diffusion.process import Process
from gendesign.diffusion.schedules import Cosine, Schedule
from gendesign.diffusion.unmasking import KTokens, Unmasking
from gendesign.errors import ConfigError, TrustError
from gendesign.steering.proposals import Proposal
from gendesign.steering.sampler import Steering
from gendesign.steering.svdd import SVDD
from gendesign.steering.value import PosteriorSamples, Value

KINDS = (Process, Schedule, Unmasking)


def test_nested_objects_round_trip() -> None:
    process = MaskedDiffusion(4, schedule=Cosine(eps=0.01), unmasking=KTokens(3))
    config = describe(process)
    assert config["init_args"]["unmasking"] == {
        "class_path": "gendesign.diffusion.unmasking.KTokens",
        "init_args": {"k": 3},
    }
    again = build(config, kinds=KINDS)
    assert (again.vocab_size, again.schedule.eps, again.unmasking.k) == (4, 0.01, 3)
    assert describe(again) == config


def test_frozen_dataclasses_round_trip() -> None:
    method = SVDD(candidates=7, alpha=0.5, value=PosteriorSamples(3, soft=True))
    again = build(describe(method), kinds=(Steering, Value, Proposal))
    assert again.candidates == 7 and again.value.num == 3 and again.value.soft


def test_subclasses_without_a_constructor_remember_their_arguments() -> None:
    class Child(KTokens):
        pass

    assert Child(2).init_args == {"k": 2}


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.Popen",
        "builtins.eval",
        "gendesign.building.importlib.import_module",
        "gendesign.run.design",
        "gendesign.backbone.torch.load",
        "gendesign.codecs.DNACodec",  # of gendesign, but not of the kinds asked for
    ],
)
def test_code_outside_the_trusted_set_is_refused(path: str) -> None:
    with pytest.raises(TrustError, match="expected a gendesign class"):
        build({"class_path": path, "init_args": {"command": "touch /tmp/owned"}}, kinds=KINDS)


def test_nested_code_is_refused_too() -> None:
    config = {
        "class_path": "gendesign.diffusion.masked.MaskedDiffusion",
        "init_args": {"vocab_size": {"class_path": "os.getpid"}},
    }
    with pytest.raises(TrustError, match="os.getpid"):
        build(config, kinds=KINDS)


def test_trusted_packages_may_be_named() -> None:
    assert resolve("collections.OrderedDict", trust=["collections"]).__name__ == "OrderedDict"


def test_what_a_trusted_package_imports_is_not_trusted_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import functools, os\nfrom subprocess import run\nfrom gendesign.storage import write_text\n"
    code += "@functools.cache\ndef own(): return 1\nagain = functools.partial(own)\n"
    (tmp_path / "well_meant.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own", "again"):
        assert resolve(f"well_meant.{name}", trust=["well_meant"])() == 1
    for name in (
        "os.system",
        "os.environ.get",
        "functools.partial",
        "run",
        "write_text",
        "os.sys.stdout.write",
    ):
        with pytest.raises(TrustError, match=f"well_meant.{name}"):
            resolve(f"well_meant.{name}", trust=["well_meant"])


def test_the_command_is_no_module_to_import() -> None:
    """Naming it would run it."""
    with pytest.raises((TrustError, ConfigError)):
        resolve("gendesign.__main__.main")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"class_path": "gendesign.diffusion.unmasking.KTokens", "init_args": {"kk": 2}}, "did you mean 'k'"),
        ({"class_path": "gendesign.diffusion.masked.MaskedDiffusion"}, "needs a value for vocab_size"),
        ({"class_path": "gendesign.diffusion.unmasking.KToken"}, "did you mean 'KTokens'"),
        ({"class_path": "gendesign.nowhere.Thing"}, "has no"),
        (
            {"class_path": "gendesign.diffusion.unmasking.KTokens", "args": {}},
            "only class_path and init_args",
        ),
        ({"class_path": "gendesign.diffusion.unmasking.KTokens", "init_args": [1]}, "must be a mapping"),
    ],
)
def test_mistakes_are_named(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build(config, kinds=KINDS)


def test_plain_values_pass() -> None:
    assert build({"a": [1, "NAN", None]}, kinds=(Codec,)) == {"a": [1, "NAN", None]}


def test_what_numpy_counts_is_written_as_plain_numbers() -> None:
    config = describe(SVDD(candidates=2, alpha=np.float64(0.1)))
    assert yaml.safe_load(yaml.safe_dump(config))["init_args"]["alpha"] == 0.1
    assert describe({"target": np.array([0.25, 0.5]), "n": np.int64(3)}) == {"target": [0.25, 0.5], "n": 3}


def test_objects_that_do_not_remember_are_refused() -> None:
    @dataclass
    class Plain:
        x: int = 1

    with pytest.raises(ConfigError, match="Configurable"):
        describe(Plain())
    assert isinstance(SVDD(alpha=1.0), Configurable)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "1", 0.0, 10**400])
def test_finite_refuses(value: Any) -> None:
    with pytest.raises(ConfigError, match="alpha"):
        finite.__wrapped__("alpha", value, above=0.0) if hasattr(finite, "__wrapped__") else finite(
            "alpha", value, above=0.0
        )


@pytest.mark.parametrize("value", [0, -1, True])
def test_whole_refuses(value: Any) -> None:
    with pytest.raises(ConfigError, match="n must"):
        whole("n", value)

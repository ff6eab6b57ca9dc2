"""Settings of every test: shapes are checked, threads few, files stay inside the folders of pytest."""

import os

# before torch is imported: two test processes on two cores must not start a thread a core each
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import signal
import sys
import types

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

# before anything of gendesign is imported: jaxtyping's shape annotations are checked by beartype, which takes an
# int for a float as Python and mypy do
checker = types.ModuleType("gendesign_typechecker")
checker.check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # type: ignore[attr-defined]
sys.modules[checker.__name__] = checker
install_import_hook("gendesign", "gendesign_typechecker.check")

from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
# shells have what they start in the background ignore Ctrl-C, and its children with it; some tests press it
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Caches and configuration of the user's account are out of reach of the tests."""
    home: Path = tmp_path_factory.getbasetemp() / "home"
    home.mkdir(exist_ok=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    monkeypatch.setenv("MPLCONFIGDIR", str(home / "matplotlib"))
    yield

"""A command that is killed outright continues to the same file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gendesign.rl.synthesis import blocks_of
from gendesign.rl.trajectory_files import read_trajectories

CODE = "import sys; from gendesign.cli import main; sys.exit(main())"


def command(folder: Path, name: str, *more: str) -> list[str]:
    words = [
        "synthesize",
        "steering=unsteered",
        "steps=8",
        "num_steps=6000",
        f"out={folder / name}",
        "report=null",
    ]
    return [sys.executable, "-c", CODE, *words, "--quiet", *more]


@pytest.mark.whole
@pytest.mark.timeout(1200)
def test_a_killed_command_continues_to_the_same_bytes(tmp_path):
    subprocess.run(command(tmp_path, "whole.npz"), check=True)
    running = subprocess.Popen(command(tmp_path, "killed.npz"))
    blocks = blocks_of(str(tmp_path / "killed.npz"))
    for _ in range(3000):
        if len(list(blocks.glob("blocks/segments-*.json"))) >= 1:
            break
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed.npz").exists() and blocks.is_dir()
    subprocess.run(command(tmp_path, "killed.npz", "--resume"), check=True)
    assert (tmp_path / "killed.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    assert not blocks.exists() and read_trajectories(tmp_path / "whole.npz").num_steps == 6016
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.npz", "whole.npz"]

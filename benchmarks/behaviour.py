"""What the benchmarks of MuJoCo need, made where it is missing: behaviour data from poor to good, and a backbone.

An agent that clones a few episodes of an expert acts with more and more noise: a ladder of returns. The expert's
episodes are a file, or a data set of Minari's (`minari download mujoco/hopper/expert-v0`, then
`minari:mujoco/hopper/expert-v0`). The backbone is trained by configs/train/rl_hopper.yaml, for other environments with
their own numbers of observations and actions. Everything lies in runs/ENVIRONMENT/ and is kept.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml

from gendesign.rl.collecting import make
from gendesign.rl.trajectories import Trajectories, unflatten
from gendesign.rl.trajectory_files import read_trajectories, write_trajectories

NOISE = (1, 0.6, 0.4, 0.3, 0.2)
"""Of the clone, in half ranges; random actions come besides."""
REAL_STEPS = 60_000
CLONE = ("method=td3bc", "critic_weight=0.01", "lr=0.001", "width=128", "steps=4000", "episodes=20")
CONFIG = Path(__file__).parents[1] / "configs" / "train" / "rl_hopper.yaml"


def behaviour(environment: str, expert: str | None) -> Path:
    """The file of behaviour data."""
    folder = Path("runs") / environment
    path = folder / "behaviour.npz"
    if path.exists():
        return path
    clone = folder / "clone"
    if not clone.exists():
        if expert is None:
            raise SystemExit(f"--expert FILE or minari:ID is needed: episodes of an expert of {environment}")
        known = write_trajectories(_clipped(expert, environment), folder / "expert.npz", overwrite=True)
        _run("train-agent", str(known), f"environment={environment}", *CLONE, f"out={clone}")
    policies = ",".join(["random", *(f"agent:{clone}@{level:g}" for level in NOISE)])
    _run("collect", environment, f"policies={policies}", f"num_steps={REAL_STEPS}", f"out={path}")
    return path


def backbone(environment: str) -> str:
    """The folder of the backbone of the behaviour data."""
    folder = Path("runs") / environment / "backbone"
    if not (folder / "pretrained").exists():
        _run("fit", "--config", str(_config(environment)))
    return str(folder / "pretrained")


def _config(environment: str) -> Path:
    """The shipped configuration, or one with the numbers of another environment."""
    if environment == "Hopper-v5":
        return CONFIG
    env = make(environment)
    seen, low, high = env.observation_space.shape[0], env.action_space.low, env.action_space.high
    env.close()
    config = yaml.safe_load(CONFIG.read_text().replace("Hopper-v5", environment))
    parts = config["model"]["init_args"]
    parts["denoiser"]["init_args"]["network"]["init_args"]["dim"] = seen + len(low) + 2
    codec = parts["codec"]["init_args"]  # the data's is the same object
    codec |= {"observations": seen, "action_low": low.tolist(), "action_high": high.tolist()}
    path = Path("runs") / environment / "backbone.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _clipped(expert: str, environment: str) -> Trajectories:
    """An expert's episodes; some recorders keep actions as they were before the environment clipped them."""
    env = make(environment)
    low, high, spec = env.action_space.low, env.action_space.high, env.spec.to_json()
    env.close()
    if expert.endswith(".npz"):
        with np.load(expert) as file:
            flat = {name: file[name] for name in file.files if name != "metadata"}
        data = unflatten(flat | {"actions": flat["actions"].clip(low, high)})
    else:
        data = read_trajectories(expert)
    return replace(data, action_low=low, action_high=high, environment=spec)


def _run(*words: str) -> None:
    print("gendesign", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "gendesign", *words], check=True)

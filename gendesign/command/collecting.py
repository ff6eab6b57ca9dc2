"""The verb `collect`: behaviour data for offline reinforcement learning, as a file or a Minari data set."""

import argparse
import os
import sys

from gendesign.errors import ConfigError
from gendesign.rl.collecting import collect
from gendesign.rl.trajectory_files import check_target, write_trajectories

KEYS = ("out", "policies", "num_steps", "seed")


def collect_verb(arguments: argparse.Namespace) -> None:
    """Act in the environment, write the file, say what is in it."""
    given = {}
    for word in arguments.words:
        key, equals, value = word.partition("=")
        if not equals or key not in KEYS:
            raise ConfigError(f"expected key=value with a key of {', '.join(KEYS)}; got {word!r}")
        given[key] = value
    out = given.get("out") or f"outputs/{arguments.environment}.npz"
    check_target(out)  # before the work, not after it
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a function of the user's may lie where the user stands
    policies = [word for word in given.get("policies", "").strip("[]").split(",") if word]
    num_steps, seed = (
        _whole(key, given.get(key, default)) for key, default in (("num_steps", "20000"), ("seed", "0"))
    )
    data = collect(arguments.environment, policies=policies, num_steps=num_steps, seed=seed)
    print(write_trajectories(data, out))
    words = data.provenance["policies"]
    print(f"{data.num_steps} steps of {len(data.episodes)} episodes; mean return by policy:")
    for number, word in enumerate(words):
        returns = data.returns()[number :: len(words)]
        print(
            f"  {word}: {returns.mean():.1f} of {len(returns)} episodes"
            if len(returns)
            else f"  {word}: none"
        )


def _whole(key: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{key} must be a whole number, got {text!r}") from None

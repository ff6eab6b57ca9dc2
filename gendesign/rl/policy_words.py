"""A target policy by a word, as the command line takes it.

`swing-up` is the controller of Pendulum-v1; `agent:FOLDER` is an agent that `gendesign train-agent` wrote;
`module:name` is your own: a policy (anything with `log_prob`), a function without arguments that makes one, or a
deterministic policy, a function of observations [..., S] of torch to actions [..., A]. `WORD@0.2` says the noise that a
deterministic policy is believed with, in half ranges of each action; `swing-up` has 0.2 where none is said, an agent
its own.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from gendesign.building import describe, finite
from gendesign.errors import ConfigError, GendesignError
from gendesign.rl.policies import Deterministic, Gaussian
from gendesign.rl.swing_up import SwingUp

NOISE = 0.2
"""Of `swing-up`, where none is said."""


def named_policy(word: str, action_low: Sequence[float], action_high: Sequence[float]) -> Any:
    """The policy that a word names.

    Args:
        word: as above.
        action_low: lower bounds of the actions.
        action_high: upper bounds.

    Raises:
        ConfigError: no such policy, or a noise is missing or no number above 0.
        CheckpointError: the folder holds no agent.
    """
    name, at, level = word.partition("@")
    try:
        noise = finite("noise", float(level), above=0.0) if at else None
    except ValueError:
        raise ConfigError(f"expected a number after @, got {word!r}") from None
    reach = [(high - low) / 2 for low, high in zip(action_low, action_high, strict=True)]
    if name == "swing-up":
        return SwingUp(NOISE if noise is None else noise)
    kind, colon, rest = name.partition(":")
    if kind == "agent" and colon:
        from gendesign.rl.agent import load_agent

        agent = load_agent(rest)
        return agent if noise is None else agent.law(noise=noise)
    if not colon:
        raise ConfigError(f"no policy {name!r}; expected swing-up, agent:FOLDER or module:name")
    return _own(kind, rest, name, noise, reach)


def _own(module: str, attribute: str, word: str, noise: float | None, reach: list[float]) -> Any:
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"policy {word!r} cannot be imported: {error}") from error
    if isinstance(found, type):
        found = found()
    elif inspect.isfunction(found) and not inspect.signature(found).parameters:
        found = found()
    if hasattr(found, "log_prob"):
        if noise is not None:
            raise ConfigError(f"policy {word!r} has a law of its own; leave @{noise:g} out")
        return found
    if not callable(found):
        raise ConfigError(f"policy {word!r} is neither a policy nor a function of observations")
    if noise is None:
        raise ConfigError(
            f"policy {word!r} is deterministic; say the noise it is believed with, as in {word}@0.2"
        )
    if len(set(reach)) == 1:
        return Deterministic(found, noise=noise * reach[0])
    return Gaussian(found, [noise * each for each in reach])


def policy_digest(policy: Any) -> str:
    """A digest of a policy: of its class, its arguments and its weights, as far as they can be told.

    Functions count by name and source. Two policies of one digest may still differ in what a function closes over.
    """
    digest = hashlib.sha256(f"{type(policy).__module__}.{type(policy).__qualname__}".encode())
    try:
        digest.update(json.dumps(describe(policy), sort_keys=True, default=str).encode())
    except GendesignError:
        pass  # it holds functions or modules, which come next
    parts = (
        [policy, *(value for _, value in sorted(vars(policy).items()))]
        if hasattr(policy, "__dict__")
        else [policy]
    )
    for part in parts:
        weighed = (
            part.__self__ if inspect.ismethod(part) else part
        )  # an agent's law has the agent's own method as mean
        if isinstance(weighed, nn.Module):
            for name, tensor in sorted(weighed.state_dict().items()):
                digest.update(name.encode())
                digest.update(_bytes(tensor))
        if inspect.isfunction(part) or inspect.ismethod(part):
            digest.update(f"{part.__module__}.{part.__qualname__}".encode())
            try:
                digest.update(inspect.getsource(part).encode())
            except (OSError, TypeError):
                pass
        elif isinstance(part, (int, float, str, bool)):
            digest.update(repr(part).encode())
        elif isinstance(part, torch.Tensor):
            digest.update(_bytes(part))
    return digest.hexdigest()


def _bytes(tensor: torch.Tensor) -> bytes:
    raw: bytes = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return raw

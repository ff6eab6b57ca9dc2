"""The verb `score`: what a reward says of designs in a file: sequences, molecules, vectors or images."""

import argparse
import csv
import io
import sys
from pathlib import Path

from gendesign.command.verbs import composed, named_reward, resolved_device
from gendesign.design_set import write_text
from gendesign.errors import ConfigError, OutputError, RewardError
from gendesign.files.designs import Read, read_designs
from gendesign.forms import Molecule, guess_form
from gendesign.rewards.base import Scores


def score_verb(arguments: argparse.Namespace) -> None:
    """Score the designs of a file or folder; one row each, in its order."""
    for word in arguments.words:
        if word.partition("=")[0].split(".")[0] not in ("reward", "device", "out"):
            raise ConfigError(f"gendesign score takes reward=, its arguments, device= and out=; got {word!r}")
    config = composed(arguments, arguments.words)
    chosen = any(
        word.startswith("reward=") for word in arguments.words
    )  # that of the default run is not meant
    if not chosen or config["reward"] is None:
        raise ConfigError("gendesign score needs a reward; give reward=NAME")
    path = Path(arguments.file).expanduser()
    out = Path(config["out"]).expanduser() if config.get("out") else None
    if out is not None and out.exists():
        raise OutputError(f"{out} exists; choose another out=, nothing was overwritten")
    columns = [name.strip() for name in (arguments.column or "").split(",") if name.strip()]
    read = read_designs(path, columns=columns)
    for problem in read.problems[:5]:
        print(f"warning: {path}, {problem}", file=sys.stderr)
    reward = named_reward(config["reward"], resolved_device(config.get("device", "auto")), arguments.trust)
    assert reward is not None
    if arguments.processes is not None or arguments.cache is not None:
        from gendesign.rewards.pooled import Pooled

        reward = Pooled(
            reward, processes=1 if arguments.processes is None else arguments.processes, cache=arguments.cache
        )
    scores = reward(read.designs)
    table = _table(read, scores, reward.label)
    if out is None:
        print(table, end="")
    else:
        write_text(out, table)
    counts = ", ".join(f"{count} {status}" for status, count in scores.counts().items())
    many = Molecule.many if read.molecules else guess_form(read.designs).many
    print(f"{len(read.designs)} {many}: {counts}" + (f"; {out}" if out else ""), file=sys.stderr)
    if not scores.ok.any():
        raise RewardError(f"{path}: none of the {many} could be scored ({scores.message[0]})")


def _table(read: Read, scores: Scores, label: str) -> str:
    """CSV: name, the design where it is text, value, standard deviation, status, message."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    shown = [[design] if isinstance(design, str) else [] for design in read.designs]
    head = ["design"] if any(shown) else []
    writer.writerow(["id", *head, label, f"{label}_std", "status", "message"])
    for i, name in enumerate(read.names):
        std = "" if scores.std is None or not scores.ok[i] else f"{scores.std[i]:.6g}"
        value = f"{scores.values[i]:.6g}" if scores.ok[i] else ""
        writer.writerow([name, *shown[i], value, std, scores.status[i], scores.message[i]])
    return text.getvalue()

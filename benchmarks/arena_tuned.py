"""The arena's backbone, fine-tuned toward the measured score by each of the methods that steer by training.

    python benchmarks/arena_tuned.py --data DATA --out runs/arena            (all that the configuration names)
    python benchmarks/arena_tuned.py ... --only drakes-3                     (one of them)

The network that `landscape.py` trained is fine-tuned with the same alpha as every other method, and the same number
of steps as positions; what it answers becomes a table, like its base's. Policy gradient asks for scores alone. DRAKES
follows the gradient of the table's expectation under independent letters (`gendesign.rewards.table`), through tokens
that are relaxed along the way. A network that is there is not trained again.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path
from typing import Any

import yaml
from arena_value import quiet_trainer
from landscape import tabulate

from gendesign.building import build, describe
from gendesign.loading import load_backbone
from gendesign.rewards.base import Reward
from gendesign.training.finetuning import FineTuning
from gendesign.training.finetuning_data import EndlessData


def tune(out: Path, name: str, told: dict[str, Any], reward: Reward, *, alpha: float, seed: int) -> None:
    """Fine-tune the network once, and keep its table."""
    start = time.process_time()
    run = FineTuning(
        str(out / "network"),
        reward,
        build(told["method"]),
        alpha=alpha,
        steps=load_backbone(out / "network").codec.length,
        batch_size=told["batch"],
        lr=1e-3,
        warmup_steps=10,
        val_designs=256,
        seed=seed,
    )
    trainer = quiet_trainer(told["updates"])
    trainer.fit(run, EndlessData())
    seconds = round(time.process_time() - start, 1)
    last = {key: round(float(value), 4) for key, value in trainer.callback_metrics.items()}
    # the table's base is the table: the two hold the same law
    base = load_backbone(out / "backbone").provenance
    facts = {
        "base": {key: base[key] for key in ("name", "weights_sha256")},
        "method": describe(run.method),
        "updates": told["updates"],
        "trajectories": told["updates"] * told["batch"],
        "seed": seed,
        "skipped_updates": run.skipped,
        "seconds": seconds,
    }
    tabulate(run.policy).save_pretrained(out / "tuned" / f"{name}-{seed}", training=facts)
    print(f"{name}-{seed}: {last}, {seconds:.0f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/arena"))
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "arena.yaml")
    parser.add_argument("--only", help="one network, such as drakes-3")
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    reward = importlib.import_module(config["landscape"]).measured(arguments.data)
    for name, told in config["tuned"].items():
        for seed in range(told["seeds"]):
            wanted = arguments.only in (None, f"{name}-{seed}")
            if wanted and not (arguments.out / "tuned" / f"{name}-{seed}").exists():
                tune(arguments.out, name, told, reward, alpha=config["alpha"], seed=seed)


if __name__ == "__main__":
    main()

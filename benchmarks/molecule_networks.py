"""What the comparison of molecules has trained for each goal: a fine-tuned backbone, and a learned value.

    python benchmarks/molecule_networks.py --out runs/molecules                 (for all six goals)
    python benchmarks/molecule_networks.py --only policy-qed                    (one of them)

A policy-gradient fine-tune sees the rewards of 640 of its own molecules, a value those of 640 unsteered ones, of
which nothing else is known. Each is trained once, from seed 0, and says in its folder how many calls that took. The
backbone is asked in its own order and at its own temperature, as everywhere in the comparison. A network that is there
is not trained again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from arena_value import quiet_trainer, value_network

from gendesign.loading import load_backbone
from gendesign.steering.policy_gradient import PolicyGradient
from gendesign.training.finetuning import FineTuning
from gendesign.training.finetuning_data import EndlessData
from gendesign.training.value_data import RollOuts
from gendesign.training.value_training import ValueModel

BACKBONE = "molecule-zinc"
GOALS = {  # the reward, and the price of a nat in its unit
    "qed": ("qed", 0.005),
    "penalised_logp": ("penalised-logp", 0.05),
    "seh": ("molecule-seh", 0.03),
    "osimertinib": ("guacamol-osimertinib", 0.005),
    "perindopril": ("guacamol-perindopril", 0.003),
    "amlodipine": ("guacamol-amlodipine", 0.003),
}
UPDATES, BATCH, ROLL_OUTS = 20, 32, 640


def policy(folder: Path, reward: str, alpha: float) -> None:
    """Fine-tune the backbone."""
    start = time.process_time()
    run = FineTuning(
        BACKBONE,
        reward,
        PolicyGradient(truncation=None, recompute=False),
        alpha=alpha,
        steps=31,
        batch_size=BATCH,
        lr=5e-4,
        warmup_steps=3,
        val_designs=64,
    )
    trainer = quiet_trainer(UPDATES)
    trainer.fit(run, EndlessData())
    seconds = round(time.process_time() - start, 1)
    run.save_pretrained(folder, training={"updates": UPDATES, "seconds": seconds})
    shown = {name: round(float(trainer.callback_metrics[name]), 3) for name in ("guide", "divergence")}
    print(f"{folder}: last batch {shown}, {seconds:.0f} s of processor time", flush=True)


def value(folder: Path, reward: str) -> None:
    """Learn the mean reward that a beginning of a molecule leads to."""
    start = time.process_time()
    codec = load_backbone(BACKBONE).codec
    model = ValueModel(value_network(codec), target="mean", lr=2e-3, warmup_steps=20)
    trainer = quiet_trainer(200)
    trainer.fit(model, RollOuts(BACKBONE, reward, num=ROLL_OUTS, steps=codec.length, batch_size=128))
    seconds = round(time.process_time() - start, 1)
    model.save_pretrained(folder, training={"updates": 200, "seconds": seconds})
    loss = float(trainer.callback_metrics["train_loss"])
    print(f"{folder}: last loss {loss:.3f}, {seconds:.0f} s of processor time", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/molecules"))
    parser.add_argument("--only", help="one network, such as policy-qed or value-seh")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    everything = arguments.only is None
    for goal, (reward, alpha) in GOALS.items():
        name, folder = f"value-{goal}", arguments.out / f"value-{goal}"
        if (everything or arguments.only == name) and not folder.exists():
            value(folder, reward)
        name, folder = f"policy-{goal}", arguments.out / f"policy-{goal}"
        if (everything or arguments.only == name) and not folder.exists():
            policy(folder, reward, alpha)


if __name__ == "__main__":
    main()

"""The arena's soft value, learned from roll-outs of its backbone as `gendesign fit-value` learns one.

    python benchmarks/arena_value.py --data DATA --out runs/arena

Beside the exact soft value it shows what learning costs: 8,192 designs are scored before any is steered.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

import torch
import yaml
from lightning.pytorch import Trainer

from gendesign.codecs import TokenCodec
from gendesign.loading import load_backbone
from gendesign.models.predictor import ConvPredictor
from gendesign.models.values import TokenValue
from gendesign.training.value_data import RollOuts
from gendesign.training.value_training import ValueModel


def quiet_trainer(updates: int) -> Trainer:
    """On the processor, without files or words."""
    return Trainer(
        max_steps=updates,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        limit_val_batches=0,
    )


def value_network(codec: TokenCodec) -> TokenValue:
    """A small convolutional network over tokens, one of which is the mask; the same weights each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = ConvPredictor(
            num_letters=codec.vocab_size + 1,
            length=codec.length,
            num_targets=1,
            width=64,
            depth=3,
            dropout=0.1,
        )
    return TokenValue(network)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/arena"))
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "arena.yaml")
    parser.add_argument("--num", type=int, default=8192)
    parser.add_argument("--updates", type=int, default=2000)
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    alpha, measured = config["alpha"], importlib.import_module(config["landscape"]).measured
    start = time.process_time()
    backbone = str(arguments.out / "backbone")
    codec = load_backbone(backbone).codec
    model = ValueModel(value_network(codec), target="soft", alpha=alpha, lr=2e-3, warmup_steps=50)
    reward = measured(arguments.data)
    data = RollOuts(backbone, reward, num=arguments.num, steps=codec.length, batch_size=256)
    trainer = quiet_trainer(arguments.updates)
    trainer.fit(model, data)
    seconds = round(time.process_time() - start, 1)
    facts = {"updates": arguments.updates, "seconds": seconds}
    model.save_pretrained(arguments.out / "value", training=facts)
    print({name: float(value) for name, value in trainer.callback_metrics.items()}, f"{seconds:.0f} s")


if __name__ == "__main__":
    main()

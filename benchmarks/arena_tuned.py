"""The arena's backbone, fine-tuned by policy gradient toward the measured score, and tabulated like its base.

    python benchmarks/arena_tuned.py --data DATA --out runs/arena

No gradient of a table of measurements exists, so DRAKES has no place here; its black-box sibling has. The network that
`landscape.py` trained is fine-tuned with the same alpha as every other method; what it answers becomes a table.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

import yaml
from landscape import tabulate
from lightning.pytorch import Trainer

from gendesign.loading import load_backbone
from gendesign.steering.policy_gradient import PolicyGradient
from gendesign.training.finetuning import FineTuning
from gendesign.training.finetuning_data import EndlessData


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/arena"))
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "arena.yaml")
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--batch", type=int, default=256)
    arguments = parser.parse_args()
    config = yaml.safe_load(arguments.config.read_text())
    alpha, measured = config["alpha"], importlib.import_module(config["landscape"]).measured
    start = time.process_time()
    run = FineTuning(
        str(arguments.out / "network"),
        measured(arguments.data),
        PolicyGradient(truncation=None, recompute=False),
        alpha=alpha,
        steps=load_backbone(arguments.out / "network").codec.length,
        batch_size=arguments.batch,
        lr=1e-3,
        warmup_steps=10,
        val_designs=256,
    )
    trainer = Trainer(
        max_steps=arguments.updates,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=1.0,
        limit_val_batches=0,
    )
    trainer.fit(run, EndlessData())
    seconds = time.process_time() - start
    print({name: float(value) for name, value in trainer.callback_metrics.items()}, f"{seconds:.0f} s")
    # the table's base is the table: the two hold the same law
    base = load_backbone(arguments.out / "backbone").provenance
    facts = {"base": {key: base[key] for key in ("name", "weights_sha256")}, "updates": arguments.updates}
    tabulate(run.policy).save_pretrained(
        arguments.out / "tuned", training=facts | {"seconds": round(seconds, 1)}
    )


if __name__ == "__main__":
    main()

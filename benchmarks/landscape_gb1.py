"""Four sites of protein GB1 as an exact arena: 160,000 variants, of which some have no value.

    gendesign fit --config configs/train/protein_gb1.yaml
    python benchmarks/landscape_gb1.py --data DATA --out runs/arena-gb1

The network, trained on the measured variants, is asked about every partly masked variant, and its answers are kept as
the table of a `TabularDenoiser`, as in `landscape.py`. The reward is the measured fitness (enrichment over wild type by
binding to IgG-Fc; Wu et al. 2016, Adaptation in protein fitness landscapes is facilitated by indirect paths, eLife,
doi 10.7554/eLife.16965); variants without a measurement are INVALID.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from landscape import law, tabulate

from gendesign.loading import load_backbone
from gendesign.rewards.table import TableReward

TABLE = "gb1_wu2016_four_site.csv.gz"


def measured(data: Path) -> TableReward:
    """The measured fitness."""
    return TableReward(
        data / TABLE, designs="variant_39_40_41_54", value="fitness", name="GB1 fitness", unit="wild types"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", type=Path, default=Path("runs/protein-gb1/pretrained"))
    parser.add_argument("--out", type=Path, default=Path("runs/arena-gb1"))
    arguments = parser.parse_args()
    network = load_backbone(arguments.network)
    told = network.provenance["training"]
    facts = {
        "data": f"{TABLE}, {told['data']['num_train']:,} of {len(measured(arguments.data).values):,} measured variants",
        "steps": told["step"],
        "batch": 512,
        "val_bits_a_letter": round(told["val_bits"], 4),
    }
    network.save_pretrained(arguments.out / "network", training=facts)
    table = tabulate(network)
    table.save_pretrained(arguments.out / "backbone", training=facts)
    p = law(table)
    entropy = -float(torch.xlogy(p, p).sum())
    print(facts, f"sum of p {p.sum():.12f}; entropy {entropy:.3f} nats")


if __name__ == "__main__":
    main()

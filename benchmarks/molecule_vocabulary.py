"""The vocabulary of molecule-zinc, and what its codec makes of every molecule of the table.

    python benchmarks/molecule_vocabulary.py            (four minutes on one core)
    python benchmarks/molecule_vocabulary.py --table my_molecules.csv --column smiles --at-least 10

Prints the tokens as configs/train/molecule_zinc.yaml lists them, the lengths, and which share of the molecules comes
back from the codec as the identical canonical SMILES; every other one is printed with its reason.
"""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np

from gendesign.data import tables
from gendesign.errors import DesignError
from gendesign.files.sequences import read_rows
from gendesign.molecules.chemistry import canonical
from gendesign.molecules.codec import MoleculeCodec


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", default="data:zinc250k_properties")
    parser.add_argument("--column", default="smiles")
    parser.add_argument("--at-least", type=int, default=1, help="molecules that hold a symbol")
    parser.add_argument("--groups", type=int, default=384, help="groups of symbols that are tokens, too")
    parser.add_argument("--every", type=int, default=10, help="groups are learned from every n-th molecule")
    arguments = parser.parse_args()
    name = arguments.table
    path = Path(tables.locate(name.removeprefix("data:"))) if name.startswith("data:") else Path(name)
    molecules = read_rows(path).column(arguments.column, meant_for="--column", path=path)
    codec = MoleculeCodec.learn(
        molecules,
        at_least=arguments.at_least,
        num_groups=arguments.groups,
        grouped_every=arguments.every,
    )
    print(f"{len(codec.symbols)} symbols and {len(codec.vocabulary) - len(codec.symbols)} groups of them")
    print(", ".join(f"'{symbol}'" for symbol in codec.vocabulary))
    lengths, refused = [], Counter[str]()
    for smiles in molecules:
        try:
            ids = codec.encode([smiles])
            kept = codec.decode(ids) == [canonical(smiles)]
        except DesignError as error:
            refused[str(error)] += 1
            continue
        lengths.append(int((ids != codec.pad_id).sum()))
        if not kept:
            refused[f"changed: {smiles}"] += 1
    at = {q: int(np.quantile(lengths, q, method="higher")) for q in (0.01, 0.5, 0.99, 0.999, 1.0)}
    print(f"tokens of a molecule: {np.mean(lengths):.2f} on average, quantiles {at}")
    share = 1 - refused.total() / len(molecules)
    print(f"{share:.4%} of {len(molecules)} molecules come back as the identical canonical SMILES")
    for reason, count in refused.most_common(20):
        print(f"  {count} x {reason}")


if __name__ == "__main__":
    main()

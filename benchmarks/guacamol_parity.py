"""Whether the goals of configs/design/reward/guacamol-*.yaml are those of the benchmark's own package.

    pip download --no-deps --dest /tmp guacamol==0.5.5     # its other needs (keras, FCD) are not used here
    python benchmarks/guacamol_parity.py /tmp/guacamol-0.5.5-py3-none-any.whl [--molecules 500] [--table FILE]

Scores molecules of ZINC, the goals' own targets and a few isomers with both, and prints the largest difference and the
range that the scores cover, for each of the twenty goals of the suite `v2` and the isomers of the trivial suite.
"""

import argparse
import csv
import gzip
import sys
import types
from pathlib import Path

import numpy as np

from gendesign.data.tables import locate
from gendesign.files.sequences import read_rows
from gendesign.rewards import load_reward

SPECIAL = {"C7H8N2O2": "c7h8n2o2", "Valsartan SMARTS": "valsartan"}
ISOMERS = ["CCCCCCCCCCC", "CC(C)CCCC(C)CCC", "COc1ccc(N)nc1C=O", "NC(=O)c1c(F)c(F)c(Cl)c(CNO)c1CP"]


def import_guacamol(wheel: Path) -> types.ModuleType:
    """The package's suites; what it imports for its other benchmarks is replaced by names that are never used."""
    sys.path.insert(0, str(wheel))

    class Unused(types.ModuleType):
        def __getattr__(self, name: str) -> object:
            if name.startswith("__"):
                raise AttributeError(name)
            return object

    for name in ("fcd", "FCD"):
        sys.modules.setdefault(name, Unused(name))
    import scipy

    if not hasattr(scipy, "histogram"):
        scipy.histogram = np.histogram
    from guacamol import benchmark_suites

    return benchmark_suites


def file_of(goal: str) -> str:
    """The name of our file for one of its goals."""
    words = goal.lower().removesuffix(" mpo").removesuffix(" rediscovery").removesuffix(" similarity")
    return "guacamol-" + SPECIAL.get(goal, words.replace("molecules ", "").replace(" ", "-"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--molecules", type=int, default=500)
    parser.add_argument("--table", help="csv with a column smiles, instead of data:zinc250k")
    parser.add_argument("--targets", type=Path, help="csv.gz with a column smiles: the goals' own targets")
    arguments = parser.parse_args()
    suites = import_guacamol(arguments.wheel)
    from rdkit import RDLogger

    RDLogger.DisableLog("rdApp.*")
    smiles = read_rows(arguments.table or locate("zinc250k")).columns["smiles"]
    molecules = [
        str(s) for s in np.random.default_rng(0).choice(smiles, arguments.molecules, replace=False)
    ] + ISOMERS
    if arguments.targets:
        with gzip.open(arguments.targets, "rt") as file:
            molecules += [row["smiles"] for row in csv.DictReader(file)]
    print("| goal | molecules | largest difference | lowest | highest |\n|---|---|---|---|---|")
    for goal in [*suites.goal_directed_suite_v2(), suites.isomers_c7h8n2o2()]:
        theirs = np.array(goal.objective.score_list(molecules))
        ours = load_reward(file_of(goal.name))(molecules).values
        difference = np.abs(ours - theirs).max()
        print(
            f"| {goal.name} | {len(ours)} | {difference:.1e} | {theirs.min():.3g} | {theirs.max():.3g} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

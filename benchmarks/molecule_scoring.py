"""How fast many molecules are scored: alone, over two processes, and from the cache.

    gendesign data get zinc250k
    python benchmarks/molecule_scoring.py [--molecules 100000] [--reward qed] [--repeats 3] [--table FILE]

Prints, for each repeat, the seconds that the plain reward took, those of `Pooled` with two processes (its workers are
already there), and those of a second `Pooled` that finds everything in the cache, with

    parallel efficiency = alone / (2 x pooled),    speed-up of the cache = pooled / cached

All three are measured on the same molecules in one go, in ten slices that take turns, since a machine may have other
work to do.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence

import numpy as np

from gendesign.data.tables import locate
from gendesign.files.sequences import read_rows
from gendesign.rewards import Pooled, Reward, load_reward

SLICES = 10


def seconds(reward: Reward, designs: Sequence[str]) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    values = reward(list(designs)).values
    return time.perf_counter() - start, values


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--molecules", type=int, default=100_000)
    parser.add_argument("--reward", default="qed")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--table", help="csv with a column smiles, instead of data:zinc250k")
    arguments = parser.parse_args()
    smiles = read_rows(arguments.table or locate("zinc250k")).columns["smiles"]
    smiles = [str(s) for s in np.random.default_rng(0).permutation(smiles)]
    print("| repeat | molecules | alone, s | pooled, s | cached, s | efficiency | cache speed-up |")
    print("|---|---|---|---|---|---|---|")
    for repeat in range(arguments.repeats):
        start = repeat * arguments.molecules % max(1, len(smiles) - arguments.molecules)
        designs = smiles[start : start + arguments.molecules]
        size = -(-len(designs) // SLICES)
        alone = load_reward(arguments.reward)
        total = {"alone": 0.0, "pooled": 0.0, "cached": 0.0}
        with (
            tempfile.TemporaryDirectory() as folder,
            Pooled(load_reward(arguments.reward), processes=arguments.processes, cache=folder) as pooled,
        ):
            warm = smiles[-50:]
            alone(warm), pooled(warm)
            cached = Pooled(load_reward(arguments.reward), processes=arguments.processes, cache=folder)
            for place in range(0, len(designs), size):
                some = designs[place : place + size]
                found = {}
                for name, reward in (("alone", alone), ("pooled", pooled), ("cached", cached)):
                    spent, found[name] = seconds(reward, some)
                    total[name] += spent
                assert np.array_equal(found["alone"], found["pooled"], equal_nan=True)
                assert np.array_equal(found["alone"], found["cached"], equal_nan=True)
        efficiency = total["alone"] / arguments.processes / total["pooled"]
        row = [repeat + 1, len(designs), *(f"{total[name]:.1f}" for name in total)]
        row += [f"{efficiency:.2f}", f"{total['pooled'] / total['cached']:.0f}"]
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


if __name__ == "__main__":
    main()

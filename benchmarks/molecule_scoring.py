"""How fast many molecules are scored: alone, over two processes, and from the cache.

    gendesign data get zinc250k
    python benchmarks/molecule_scoring.py [--molecules 100000] [--reward qed] [--repeats 3] [--table FILE]

Prints, for each repeat, the seconds that the plain reward took, those of `Pooled` with two processes (its workers are
already there), and those of a second `Pooled` that finds everything in the cache, with

    parallel efficiency = alone / (2 x pooled),    speed-up of the cache = pooled / cached

and the seconds of processor time that the first two needed (workers included), whose ratio bounds the efficiency and
depends little on what else the machine does. All are measured on the same molecules, in slices that take turns.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gendesign.data.tables import locate
from gendesign.files.sequences import read_rows
from gendesign.rewards import Pooled, Reward, load_reward

SLICES = 10
NAMES = ("alone", "pooled", "cached")


def processor_seconds(pids: Sequence[int]) -> float:
    """Processor time that this process and others have used so far (Linux)."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return time.process_time() + sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


def measured(
    reward: Reward, designs: Sequence[str], pids: Sequence[int] = ()
) -> tuple[float, float, np.ndarray]:
    """Seconds, seconds of processor time, values."""
    start, used = time.perf_counter(), processor_seconds(pids)
    values = reward(list(designs)).values
    return time.perf_counter() - start, processor_seconds(pids) - used, values


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
    print(
        "| molecules | alone, s | pooled, s | cached, s | efficiency | cache | cpu alone, s | cpu pooled, s | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for repeat in range(arguments.repeats):
        start = repeat * arguments.molecules % max(1, len(smiles) - arguments.molecules)
        designs = smiles[start : start + arguments.molecules]
        size = -(-len(designs) // SLICES)
        alone = load_reward(arguments.reward)
        wall, processor = dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.0)
        with (
            tempfile.TemporaryDirectory() as folder,
            Pooled(load_reward(arguments.reward), processes=arguments.processes, cache=folder) as pooled,
        ):
            cached = Pooled(load_reward(arguments.reward), processes=arguments.processes, cache=folder)
            alone(smiles[-200:]), pooled(smiles[-200:])
            pids = [worker.process.pid for worker in pooled._pool.workers]
            for place in range(0, len(designs), size):
                some = designs[place : place + size]
                found = {}
                for name, reward in zip(NAMES, (alone, pooled, cached), strict=True):
                    spent, used, found[name] = measured(reward, some, pids)
                    wall[name] += spent
                    processor[name] += used
                for name in NAMES[1:]:
                    assert np.array_equal(found["alone"], found[name], equal_nan=True)
        row = [str(len(designs)), *(f"{wall[name]:.1f}" for name in NAMES)]
        row += [
            f"{wall['alone'] / arguments.processes / wall['pooled']:.2f}",
            f"{wall['pooled'] / wall['cached']:.0f} x",
        ]
        row += [f"{processor[name]:.1f}" for name in NAMES[:2]] + [
            f"{processor['alone'] / processor['pooled']:.2f}"
        ]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()

"""How long it takes until something happens: help, import, list; and the peak memory of a design run.

python benchmarks/startup.py                 times, median of 5
python benchmarks/startup.py --memory        peak memory of the default run, in a process of its own
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GENDESIGN = str(Path(sys.executable).with_name("gendesign"))
COMMANDS = {
    "gendesign --help": [GENDESIGN, "--help"],
    "import gendesign": [sys.executable, "-c", "import gendesign"],
    "import torch (for comparison)": [sys.executable, "-c", "import torch"],
    "gendesign data list": [GENDESIGN, "data", "list"],
    "gendesign list": [GENDESIGN, "list"],
}


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--memory", action="store_true", help="run the default design and report its peak memory"
    )
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    if not arguments.memory:
        print("| command | seconds |\n|---|---|")
        for name, command in COMMANDS.items():
            seconds(command)  # the first reads from disk
            print(f"| `{name}` | {statistics.median(seconds(command) for _ in range(arguments.turns)):.2f} |")
        return
    with tempfile.TemporaryDirectory() as folder:
        taken = seconds([GENDESIGN, "design", f"out={folder}/run", "--quiet"])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    print("| run | seconds in all | peak memory (MB) |\n|---|---|---|")
    print(f"| `gendesign design` | {taken:.0f} | {peak:,.0f} |")


if __name__ == "__main__":
    main()

"""Peak memory and time of one DRAKES update against the number of backpropagated steps.

    python benchmarks/drakes_memory.py
    python benchmarks/drakes_memory.py --width 64 --total 16 --steps 16 --without-recomputation 16

A dilated network of 20 blocks, sequences of 200 letters, batches of 32, K of T = 128 steps. Each row runs in a process
of its own, whose peak resident memory is read when it ends; the first row is the process without any update.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys


def update(k: int, recompute: bool, *, width: int, batch: int, length: int, total: int) -> dict[str, float]:
    """Run in a process of its own: one update, its CPU seconds and the peak memory in MiB."""
    import resource
    import time

    import torch

    from gendesign.backbone import Backbone
    from gendesign.codecs import DNACodec
    from gendesign.diffusion.masked import MaskedDiffusion
    from gendesign.models.dilated_conv import DilatedConvDenoiser
    from gendesign.rewards.dna import GCContent
    from gendesign.steering.drakes import DRAKES

    def backbone() -> Backbone:
        denoiser = DilatedConvDenoiser(4, width, depth=20, kernel_size=9, dropout=0.0)
        return Backbone(DNACodec(length), MaskedDiffusion(4), denoiser).eval()

    policy, base = backbone(), backbone().requires_grad_(False)
    seconds = 0.0
    if k:
        method = DRAKES(truncation=k, recompute=recompute)
        start = time.process_time()
        times = policy.process.times(total)
        noise = torch.Generator().manual_seed(0)
        found = method.objective(policy, base, GCContent(), times, batch, alpha=0.1, generator=noise)
        found.loss.backward()
        seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"mib": peak, "cpu_seconds": seconds}


def measure(k: int, recompute: bool, settings: dict[str, int]) -> dict[str, float]:
    """One row, in a new process."""
    command = [sys.executable, __file__, "--one", json.dumps({"k": k, "recompute": recompute, **settings})]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[8, 128])
    parser.add_argument("--without-recomputation", type=int, nargs="*", default=[])
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=200)
    parser.add_argument("--total", type=int, default=128, help="T; below it the number of steps is K")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(update(**json.loads(arguments.one))))
        return
    settings = {name: getattr(arguments, name) for name in ("width", "batch", "length", "total")}
    idle = measure(0, True, settings)
    print(f"no update: {idle['mib']:.0f} MiB")
    rows = [(k, True) for k in arguments.steps] + [(k, False) for k in arguments.without_recomputation]
    for k, recompute in rows:
        row = measure(k, recompute, settings)
        kind = "recomputed" if recompute else "kept"
        print(f"K={k:<4} {kind:<10} {row['mib']:.0f} MiB  {row['cpu_seconds']:.1f} CPU seconds", flush=True)


if __name__ == "__main__":
    main()

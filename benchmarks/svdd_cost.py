"""SVDD's network evaluations, reward calls and wall time against a plain implementation, in one run.

    python benchmarks/svdd_cost.py

The plain implementation does what the algorithm's text says and shares nothing: a prediction for each particle,
M candidates each, a prediction for each candidate, a reward call for each look-ahead. Ours never computes a
prediction twice: the chosen candidate's is the next step's, and equal states share one.
"""

import argparse
import time

import torch

from gendesign.backbone import Backbone
from gendesign.loading import load_backbone
from gendesign.rewards import load_reward
from gendesign.rewards.base import Reward
from gendesign.run import design
from gendesign.steering.svdd import SVDD


@torch.inference_mode()
def plain_svdd(
    backbone: Backbone, reward: Reward, *, num: int, candidates: int, steps: int, alpha: float, seed: int
) -> tuple[list[str], int, int, float]:
    """Algorithm 1 of arXiv 2408.08252 to the letter; returns designs, network rows, reward calls and seconds."""
    start = time.perf_counter()
    process, codec = backbone.process, backbone.codec
    generator = torch.Generator().manual_seed(seed)
    times = process.times(steps)
    x = process.prior(num, codec.length, generator=generator)
    rows = calls = 0
    for step in range(steps):
        t, s = times[step].expand(num), times[step + 1].expand(num)
        prediction = process.predict(backbone.denoiser, x, t)
        rows += num
        drawn = (
            process.transition(prediction, x, t, s).sample(candidates, generator=generator).transpose(0, 1)
        )
        flat = drawn.flatten(0, 1)
        ahead = process.predict(backbone.denoiser, flat, s.repeat_interleave(candidates)).mode()
        rows += len(flat)
        value = torch.as_tensor(reward(codec.decode(ahead)).values).view(num, candidates)
        calls += len(flat)
        kept = torch.multinomial((value / alpha).softmax(-1), 1, generator=generator)
        x = drawn[torch.arange(num), kept.squeeze(-1)]
    return codec.decode(x), rows, calls, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num", type=int, default=64)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--alpha", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    backbone, reward = load_backbone("dna-yeast-promoter"), load_reward("dna-expression")
    designs, rows, calls, seconds = plain_svdd(
        backbone, reward, num=a.num, candidates=a.candidates, steps=a.steps, alpha=a.alpha, seed=a.seed
    )
    method = SVDD(candidates=a.candidates, alpha=a.alpha)
    run = design(backbone, reward, method, num_designs=a.num, steps=a.steps, seed=a.seed, base_designs=0)
    naive = a.num * a.steps * (a.candidates + 1)
    print("| | network rows | reward calls | seconds | mean reward |\n|---|---|---|---|---|")
    print(f"| naive count | {naive:,} | {a.num * a.steps * a.candidates:,} | | |")
    print(
        f"| plain implementation | {rows:,} | {calls:,} | {seconds:.1f} | {reward(designs).values.mean():.2f} |"
    )
    cost = run.cost
    print(
        f"| gendesign | {cost.network_rows:,} | {cost.reward_calls:,} | {cost.seconds:.1f} | {run.values.mean():.2f} |"
    )


if __name__ == "__main__":
    main()

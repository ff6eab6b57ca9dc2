"""ARENA.md: tables and a figure of what `arena.py` measured."""

from __future__ import annotations

import math
import platform
import textwrap
from pathlib import Path
from typing import Any

import torch

from gendesign.comparison.config import CURRENCIES

HEAD = """\
# {title}

{commands}

{about} Backbone: {facts}.

- α = {alpha} {unit}. Mean reward: p {base:.4f}, p\\* {target:.4f}. KL(p\\* ‖ p) = {kl:.3f} nats; of designs drawn
  from p, a share of {ess:.4f} is effective under the weights exp(r/α). The largest probability of a design under p\\*
  is {top:.4f}.
- {seeds} seed{plural} of {num:,} designs for each row. **TV** is the total variation from p\\* over the ten deciles
  of the reward under p\\*, of all seeds together; {total:,} exact draws from p\\* would show {floor:.3f} on average,
  {each:.3f} for one seed. **KL** is that of the deciles.
- **exact KL** is KL(q ‖ p\\*) in nats over all {every:,} designs, without sampling, where the law q of a method's
  designs can be computed (`exact_laws.py`): unsteered, best-of-N, SVDD with a value that
  is a function of the state, guidance by it, fine-tuned backbones.
  **exact TV** is over deciles too.
- **KL bound** is what the run itself reports of its distance from p; exact for p\\* would be {kl:.3f}.
{partly}- Budgets are a design's. Each method has the largest size (candidates, particles) whose bound fits; evaluations
  and reward calls are those spent. Seconds are one core's, a thousand designs, with a table for a network.
"""

PARTLY = """\
- {unmeasured:,} of the {every:,} designs have no value in the table: INVALID, never a number. **feasible** is the share
  of a method's designs that were measured (p's own: {feasible:.3f}); means, distances and laws are those of the
  measured. **regret** is the largest measured score, {best:.2f}, less the best of a seed's designs, mean over seeds.
"""

COMPARED = "arena_compared.md"
SECTIONS = (COMPARED, "arena_proteins.md", "arena_molecules.md")
"""Where nothing is exact: words, and the tables of a `gendesign compare`. The last is molecule_arena.py's."""

COLUMNS = (
    "| method | size | TV | TV of seeds | exact TV | mean reward (range) | KL | exact KL | log p | KL bound "
    "| evaluations | calls | s |"
)


def write_page(
    path: Path,
    arena: Any,
    config: dict[str, Any],
    records: list[dict[str, Any]],
    grown: dict[str, dict[int, dict[str, Any]]],
    trained: list[dict[str, Any]],
    seconds: dict[str, float],
) -> None:
    """Write the page, and its figure beside it.

    Args:
        path: of the page.
        arena: the space.
        config: what was compared.
        records: a method at a budget each.
        grown: exact laws of methods, by their size.
        trained: fine-tuned networks, with their exact laws.
        seconds: processor time of each part of the work.
    """
    num, seeds = config["num_designs"], config["seeds"]
    q, p = arena.target, arena.p

    def floor(draws: int) -> float:
        return 10 * math.sqrt(0.1 * 0.9 / (2 * math.pi * draws))

    partial = not bool(arena.ok.all())
    training = arena.backbone.provenance.get("training", {})
    facts = f"{training.get('data')}, {training.get('steps')} steps of {training.get('batch')}"
    facts += f", {training['seconds']} s on one core" if "seconds" in training else ""
    lines = [
        HEAD.format(
            title=config["title"],
            commands="\n".join(f"    {line}" for line in config["commands"]),
            about=config["about"].strip(),
            unit=config["unit"],
            partly=_partly(arena) if partial else "",
            every=len(p),
            facts=facts,
            alpha=arena.alpha,
            base=arena.measures(p)["mean_reward"],
            target=float(q @ arena.r),
            kl=float(torch.xlogy(q, q / p).sum()),
            ess=float(1 / (q * q / p).sum()),
            top=float(q.max()),
            seeds=seeds,
            plural="" if seeds == 1 else "s",
            num=num,
            total=num * seeds,
            floor=floor(num * seeds),
            each=floor(num),
        )
    ]
    for currency, words in CURRENCIES.items():
        for budget in config[currency]:
            columns = COLUMNS + (" feasible | regret |" if partial else "")
            lines += [
                f"## At most {budget:,} {words} a design",
                "",
                columns,
                "|---" * columns.count(" |") + "|",
            ]
            lines += [
                _row(one, partial)
                for one in records
                if one["currency"] == currency and one["budget"] == budget
            ]
            lines.append("")
    lines += [*_growth(grown, config["exact_sizes"], len(p)), ""]
    if trained:
        lines += [*_trained(trained, arena), ""]
    figure = path.with_name(config["figure"])
    _draw(figure, config, records)
    lines += [
        "## Where the designs lie",
        "",
        f"![Share of the designs in each decile of p*]({figure.name})",
        "",
    ]
    lines += [
        "Share of the designs in each decile of the reward under p\\*; p\\* itself is the line at .1.",
        "",
    ]
    notes = path.with_name(config["notes"])
    if notes.exists():
        lines += [notes.read_text()]
    parts = ", ".join(f"{part} {spent:.0f}" for part, spent in seconds.items() if spent)
    lines += [
        f"Seconds of one core's processor time, all of the above: {parts}; {sum(seconds.values()) / 60:.0f} minutes.",
        "",
    ]
    if path.name == "ARENA.md":
        lines += [section.read_text() for section in map(path.with_name, SECTIONS) if section.exists()]
    lines.append(f"Python {platform.python_version()}, PyTorch {torch.__version__}, one thread.")
    path.write_text("\n".join(lines) + "\n")


def retell(section: Path, compared: Path) -> None:
    """Put the tables of a `gendesign compare` under the words of a section, in the place of earlier ones."""
    words = section.read_text().split("Medians over seeds,")[0].rstrip()
    section.write_text(f"{words}\n\n{(compared / 'results.md').read_text()}")


def _partly(arena: Any) -> str:
    return PARTLY.format(
        unmeasured=int((~arena.ok).sum()),
        every=len(arena.ok),
        feasible=arena.measures(arena.p)["feasible"],
        best=float(arena.r[arena.ok].max()),
    )


def _growth(grown: dict[str, dict[int, dict[str, Any]]], sizes: list[int], num: int) -> list[str]:
    lines = [
        "## As candidates grow, without sampling",
        "",
        f"KL(q ‖ p\\*) in nats over all {num:,} designs, in brackets total variation over all of them; both exact.",
        "",
        "| method | " + " | ".join(f"{size:,}" for size in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for name, laws in grown.items():
        cells = [f"{laws[size]['kl_to_target']:.3f} ({laws[size]['tv_designs']:.3f})" for size in sizes]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _trained(trained: list[dict[str, Any]], arena: Any) -> list[str]:
    q, p = arena.target, arena.p
    best = float(q @ arena.r) - arena.alpha * float(torch.xlogy(q, q / p).sum())
    lines = [
        "## Fine-tuned networks, without sampling",
        "",
        f"The objective is E[r] - α KL(q ‖ p), at most {best:.4f}; trajectories and seconds (of one core) are those of",
        "training, everything else is exact.",
        "",
        "| method | training seed | updates | trajectories | mean reward | KL(q ‖ p) | objective | exact KL "
        "| exact TV | seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in trained:
        law = one["law"]
        told = [
            one["method"], one["seed"], one["updates"], f"{one['trajectories']:,}", f"{law['mean_reward']:.4f}",
            f"{law['kl_to_base']:.3f}", f"{law['mean_reward'] - arena.alpha * law['kl_to_base']:.4f}",
            f"{law['kl_to_target']:.3f}", f"{law['tv']:.3f}", f"{one['seconds']:.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, told)) + " |")
    return lines


def _row(one: dict[str, Any], partial: bool) -> str:
    if "reason" in one:
        return f"| {one['method']} | | not run: {one['reason'].replace('|', '/')} |" + " |" * (
            10 + 2 * partial
        )

    def known(name: str) -> str:
        values = [law[name] for law in one["exact"]]  # fine-tuned networks may be several
        return f"{max(sum(values) / len(values), 0.0):.3f}" if values else ""

    low, high = one["reward_range"]
    seeds = f"{min(one['tv_seeds']):.3f} to {max(one['tv_seeds']):.3f}"
    told = [
        one["method"], one["size"] or "", f"{one['tv']:.3f}", seeds, known("tv"),
        f"{one['mean_reward']:.4f} ({low:.3f} to {high:.3f})", f"{one['kl_deciles']:.3f}", known("kl_to_target"),
        f"{one['log_p']:.3f}", f"{one['kl_bound']:.2f}", f"{one['network_evaluations']:.1f}",
        f"{one['reward_calls']:.1f}", f"{one['seconds']:.1f}",
    ]  # fmt: skip
    told += [f"{one['feasible']:.3f}", f"{one['regret']:.3f}"] if partial else []
    return "| " + " | ".join(map(str, told)) + " |"


def _draw(path: Path, config: dict[str, Any], records: list[dict[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    budget = max(config["network_evaluations"])
    drawn = [one for one in records if one["currency"] == "network_evaluations" and one["budget"] == budget]
    drawn = [one for one in drawn if "deciles" in one]
    columns = 4
    rows = math.ceil(len(drawn) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(11, 1.9 * rows), sharex=True, squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(drawn) :]:
        ax.set_visible(False)
    for ax, one in zip(axes.flat, drawn, strict=False):
        ax.bar(range(1, 11), one["deciles"], color="#0b6cae", width=0.8)
        ax.axhline(0.1, color="#1b2432", linewidth=1)
        size = f" ({one['size']})" if one["size"] else ""
        title = f"{one['method']}{size}: TV {one['tv']:.3f}"
        ax.set_title(textwrap.fill(title, 36), fontsize=9)  # as wide as its panel
        ax.set_xticks([1, 5, 10])
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    figure.suptitle(f"At most {budget:,} network evaluations a design", fontsize=10)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

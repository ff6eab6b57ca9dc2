"""A genetic algorithm on token strings, begun with designs of the backbone: a baseline that needs no network later on.

    population <- designs drawn from p;   repeat:  children <- mutate(cross(two parents));  keep the best, each once

A parent is the better of two drawn members. Two are cut at a point each and joined; the child may lose, gain or change
a token. In SELFIES every child is a molecule. Nothing but the beginning holds the designs near p.

Nigam et al. 2021, Beyond Generative Models: Superfast Traversal, Optimization, Novelty, Exploration and Discovery
(STONED) Algorithm for Molecules Using SELFIES, doi:10.1039/D1SC00231G (mutations of tokens); Jensen 2019, A Graph-Based
Genetic Algorithm and Generative Model/Monte Carlo Tree Search for the Exploration of Chemical Space,
doi:10.1039/C8SC05372C (crossover and selection, there on graphs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator

from gendesign.backbone import Backbone
from gendesign.building import finite, whole
from gendesign.errors import ConfigError, UnsupportedError
from gendesign.rewards.base import Reward
from gendesign.steering.needs import Needs
from gendesign.steering.particles import Cost, Particles, Plan
from gendesign.steering.sampler import Sampler, Steering

Row = list[int]


@dataclass(frozen=True)
class Genetic(Steering):
    """Breed designs, and keep the best.

    Args:
        population: members for each design wanted. All members of a block of designs (64) breed with each other, and
            its best different ones are left.
        generations: each has as many children as there are members.
        mutation: share of the children in which a token is changed too, or lost or gained.

    Raises:
        ConfigError: a setting out of range.
    """

    population: int = 2
    generations: int = 50
    mutation: float = 0.5

    alternative = "BestOfN"
    sized_by = "generations"

    def __post_init__(self) -> None:
        whole("population", self.population), whole("generations", self.generations)
        if not 0 <= finite("mutation", self.mutation) <= 1:
            raise ConfigError(f"mutation must be from 0 to 1, got {self.mutation:g}")

    @property
    def needs(self) -> Needs:
        """Tokens, to be cut and joined."""
        return Needs(process="masked")

    def __call__(self, backbone: Backbone, reward: Reward | None) -> GeneticSampler:
        """Bind the method to a backbone and a reward."""
        return GeneticSampler(backbone, self.require(reward, backbone), self)

    def bound(self, num: int, plan: Plan) -> Cost:
        """The network draws the first members; each of them and each child is scored."""
        members = num * self.population
        return Cost(network_rows=members * plan.steps, reward_calls=members * (1 + self.generations))


class GeneticSampler(Sampler):
    """Unsteered particles, which breed once they are clean."""

    def __init__(self, backbone: Backbone, reward: Reward, method: Genetic) -> None:
        super().__init__(backbone, None, particles_per_design=method.population)
        self.method = method
        self.judge = reward

    def init(self, num: int, plan: Plan, *, generator: Generator) -> Particles:
        """Pure noise for every member.

        Raises:
            UnsupportedError: designs that have each a template of its own (as leads have) cannot breed.
        """
        if plan.template is not None and plan.template.ndim > 1:
            raise UnsupportedError(
                f"Genetic breeds designs with each other, which start= keeps apart; use {self.method.alternative}"
            )
        return super().init(num, plan, generator=generator)

    def finish(self, particles: Particles, plan: Plan, *, generator: Generator) -> Particles:
        """Evolve the particles; leave the best, the best first."""
        codec, size, x = self.backbone.codec, len(particles), particles.x
        herd, calls = Herd(), 0
        rows: list[Row] = x.tolist()
        breeder = Breeder(rows, pad=getattr(codec, "pad_id", None), fixed=fixed_positions(plan, codec))
        for generation in range(1 + self.method.generations):
            if generation:
                rows = breeder(herd.rows, size, mutation=self.method.mutation, generator=generator)
            designs = codec.decode(torch.tensor(rows, dtype=x.dtype))
            new = {design: row for design, row in zip(designs, rows, strict=True) if design not in herd.known}
            if new:
                scores = self.judge(list(new))
                herd.add(list(new), list(new.values()), scores.values.tolist(), scores.ok.tolist())
                calls += len(new)
            herd.keep(size)
        return _leave(particles, herd, calls, num=size // self.method.population)


def fixed_positions(plan: Plan, codec: object) -> list[bool] | None:
    """Which positions a template fixes; None without one."""
    return None if plan.template is None else (plan.template != getattr(codec, "mask_id", -1)).tolist()


class Herd:
    """Members, the best first, and every design that was ever one: none is scored, or kept, twice."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.values: list[float] = []
        self.ok: list[bool] = []
        self.known: set[str] = set()

    def add(self, designs: Sequence[str], rows: list[Row], values: list[float], ok: list[bool]) -> None:
        """Take in members that are new."""
        self.known.update(designs)
        self.rows += rows
        self.values += values
        self.ok += ok

    def keep(self, size: int) -> None:
        """The best; what has no score is behind all that have one, and among equals the older goes first."""
        order = sorted(range(len(self.rows)), key=lambda i: -self.values[i] if self.ok[i] else float("inf"))
        for name in ("rows", "values", "ok"):
            mine = getattr(self, name)
            setattr(self, name, [mine[i] for i in order[:size]])


class Breeder:
    """Children of rows of tokens.

    Args:
        first: rows of the first generation; tokens that come in by mutation are drawn as often as they stand in these.
        pad: the token that fills rows up at the end; children then vary in length. None: they do not.
        fixed: positions that a template fixes: children then change token by token, in place. None: no template.
    """

    def __init__(self, first: list[Row], *, pad: int | None, fixed: list[bool] | None = None) -> None:
        self.pad = pad
        self.length = len(first[0])
        self.in_place = pad is None or fixed is not None
        self.free = [i for i in range(self.length) if fixed is None or not fixed[i]]
        self.pool = [row[i] for row in first for i in self.free if self.in_place or row[i] != pad]

    def __call__(self, rows: list[Row], num: int, *, mutation: float, generator: Generator) -> list[Row]:
        """Children.

        Args:
            rows: the parents, the best first.
            num: children wanted.
            mutation: share of them that are mutated.
            generator: source of all choices.
        """
        draws = torch.rand(num, 10, dtype=torch.float64, device=generator.device, generator=generator)
        return [self._child(rows, iter(u), mutation) for u in draws.tolist()]

    def _child(self, rows: list[Row], u: Iterator[float], mutation: float) -> Row:
        # the better of two drawn members is the one that comes first
        mother, father = (rows[int(min(next(u), next(u)) * len(rows))] for _ in range(2))
        pad = self.pad
        if pad is None or self.in_place:
            cut = int(next(u) * (self.length + 1))
            child = mother[:cut] + father[cut:]
            if next(u) < mutation and self.free:
                child[_drawn(self.free, next(u))] = _drawn(self.pool, next(u))
            return child
        mother, father = ([token for token in row if token != pad] for row in (mother, father))
        child = mother[: int(next(u) * (len(mother) + 1))] + father[int(next(u) * (len(father) + 1)) :]
        if next(u) < mutation:
            child = self._mutated(child, u)
        return (child + [pad] * self.length)[: self.length]

    def _mutated(self, child: Row, u: Iterator[float]) -> Row:
        """One token more, one less, or another one, each a third of the time."""
        place, kind = int(next(u) * (len(child) + 1)), int(next(u) * 3)
        new = [_drawn(self.pool, next(u))] if kind > 0 and self.pool else []
        return child[:place] + new + child[place + (kind != 1) :]


def _drawn(items: Row, u: float) -> int:
    return items[int(u * len(items))]


def _leave(particles: Particles, herd: Herd, calls: int, *, num: int) -> Particles:
    """The best members as one particle a design; where there are fewer, they are repeated."""
    chosen = [i % len(herd.rows) for i in range(num)]
    x = particles.x
    rows = torch.tensor([herd.rows[i] for i in chosen], dtype=x.dtype, device=x.device)
    values = torch.tensor([herd.values[i] for i in chosen], dtype=torch.float64, device=x.device)
    ok = torch.tensor([herd.ok[i] for i in chosen], device=x.device)
    first = torch.arange(num, device=x.device) * (len(x) // num)
    # how far the designs are from p is not known: no law of theirs is
    return replace(
        particles[first],
        x=rows,
        value=values,
        ok=ok,
        kl=torch.full_like(values, torch.nan),
        cost=particles.cost + Cost(reward_calls=calls),
    )

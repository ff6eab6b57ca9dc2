"""The state that every steering method carries from step to step, and what a run knows of itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gendesign.backbone import Backbone
from gendesign.building import whole
from gendesign.diffusion.process import Prediction


@dataclass(frozen=True)
class Cost:
    """What was spent.

    Attributes:
        network_rows: denoiser evaluations, one a row (NFE summed over designs).
        reward_calls: designs scored, relaxed ones included.
        value_rows: noisy states that a value was read of, one a row: evaluations of a learned value's network.
        lookahead_failures: look-aheads whose status was not OK; they inherited their parent's value.
        seconds: wall time.
    """

    network_rows: int = 0
    reward_calls: int = 0
    lookahead_failures: int = 0
    seconds: float = 0.0
    value_rows: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.network_rows + other.network_rows,
            self.reward_calls + other.reward_calls,
            self.lookahead_failures + other.lookahead_failures,
            self.seconds + other.seconds,
            self.value_rows + other.value_rows,
        )

    def __str__(self) -> str:
        read = f", {self.value_rows:,} value evaluations" if self.value_rows else ""
        return f"{self.network_rows:,} network evaluations, {self.reward_calls:,} reward calls{read}"


@dataclass(frozen=True)
class Plan:
    """What every step of a run needs to know.

    Attributes:
        times: edges of the time grid, from pure noise down to 0.
        length: positions L (coordinates N) of a design.
        template: an encoded design with MASK, or NaN, where it is free; one a design where it has two dimensions (if
            there are more designs, they take them in turn); or None.
        max_rows: network rows a call, which bounds memory.
        num_free: the most positions that a design has to fill; None: all of them.
        reveals: positions that every step but the last reveals; 0 where chance says how many.
        tokens: letters K that a position may take; 0 where positions hold numbers.
        ordered: whether a state says which position is revealed next.
    """

    times: Float[Tensor, " E"]
    length: int
    template: Tensor | None = None
    max_rows: int = 1024
    num_free: int | None = None
    reveals: int = 0
    tokens: int = 0
    ordered: bool = False

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.times) - 1

    def template_of(self, num: int, *, copies: int = 1) -> Tensor | None:
        """The template of each of `num` designs, whose `copies` particles share it; one row where all have the same."""
        if self.template is None or self.template.ndim == 1:
            return self.template
        rows = torch.arange(num, device=self.template.device) % len(self.template)
        return self.template[rows.repeat_interleave(copies)]


def make_plan(
    backbone: Backbone, *, steps: int, template: Any = None, num_free: int | None = None, max_rows: int = 1024
) -> Plan:
    """Plan a run.

    Args:
        backbone: what is sampled.
        steps: wished number of steps; rules of unmasking that need another number say so by `num_steps`.
        template: what the codec reads as one (for sequences one letter a position, '*' where free); None leaves
            everything free.
        num_free: the most positions that a design has to fill, where that is known better than from the template.
        max_rows: network rows a call.

    Raises:
        ConfigError: steps or max_rows below 1.
        DesignError: a template that does not fit the codec.
        UnsupportedError: a codec without templates.
    """
    whole("steps", steps), whole("max_rows", max_rows)
    length = backbone.codec.length
    ids, free = None, length
    if template is not None:
        ids, fixed = backbone.codec.encode_template(template)
        ids, free = ids.to(backbone.device), int((~fixed).sum())
    process = backbone.process
    free = free if num_free is None else num_free
    return Plan(
        process.times(process.num_steps(steps, free)),
        length,
        ids,
        max_rows,
        num_free=free,
        reveals=getattr(getattr(process, "unmasking", None), "k", 0),
        tokens=getattr(process, "vocab_size", 0),
        ordered=getattr(getattr(process, "unmasking", None), "ordered", False),
    )


@dataclass(frozen=True)
class Particles:
    """The state of a run: one row a particle.

    Attributes:
        x: noisy states.
        t: the time at which the next step acts on each.
        prediction: the network's prediction at (x, t).
        value: estimated value of each state in the reward's unit; NaN where unknown.
        ok: whether the reward could score what the state leads to.
        group: which design a particle belongs to.
        ancestor: row of the parent one step before.
        log_weight: importance weight, in log space.
        kl: nats whose mean over designs is an upper bound on the divergence from the base.
        state: what a method remembers of each particle's path; None where it remembers nothing.
        cost: spent so far, by all particles together.
    """

    x: Tensor
    t: Float[Tensor, " B"]
    prediction: Prediction
    value: Float[Tensor, " B"]
    ok: Bool[Tensor, " B"]
    group: Int[Tensor, " B"]
    ancestor: Int[Tensor, " B"]
    log_weight: Float[Tensor, " B"]
    kl: Float[Tensor, " B"]
    state: Float[Tensor, "B S"] | None = None
    cost: Cost = Cost()

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: Int[Tensor, " R"]) -> Particles:
        """Some of the rows; the cost, which belongs to the run, stays."""
        state = None if self.state is None else self.state[index]
        return replace(
            self,
            state=state,
            **{
                name: getattr(self, name)[index]
                for name in ("x", "t", "prediction", "value", "ok", "group", "ancestor", "log_weight", "kl")
            },
        )

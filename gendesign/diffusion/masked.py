"""Masked discrete diffusion.

Forward, each token becomes MASK independently with probability m_t. The network gives logits of the clean tokens
("SUBS": MASK is no clean token, and unmasked tokens are copied). The loss, in nats, is the negative bound

    -log p(x_0) <= E_t  m'_t / m_t  sum over masked i  -log p(x_0^i | x_t).

Sahoo et al. 2024, Simple and Effective Masked Diffusion Language Models, arXiv 2406.07524. Categoricals are sampled
in float64: float32 noise lowers the temperature (Zheng et al. 2024, arXiv 2409.02908).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor
from torch.nn import functional as F

from gendesign.building import finite, whole
from gendesign.diffusion.process import Network, Prediction, Process, Transition
from gendesign.diffusion.schedules import LogLinear, Schedule
from gendesign.diffusion.unmasking import Ancestral, Unmasking, categorical
from gendesign.errors import ConfigError


@dataclass(frozen=True)
class TokenPrediction(Prediction):
    """Clean token log-probabilities.

    Attributes:
        log_probs: log p(x_0 = v | x_t) at each position, in float64; 0 and -inf where the token is known.
        rows: network rows spent.
    """

    log_probs: Float[Tensor, "B L K"]
    rows: int = 0

    def __getitem__(self, index: Tensor) -> TokenPrediction:
        return TokenPrediction(self.log_probs[index])

    def append(self, other: Prediction) -> TokenPrediction:
        assert isinstance(other, TokenPrediction)
        return TokenPrediction(torch.cat([self.log_probs, other.log_probs]), self.rows + other.rows)

    def mode(self) -> Int[Tensor, "B L"]:
        return self.log_probs.argmax(-1)

    def sample(self, num: int, *, generator: Generator) -> Int[Tensor, "M B L"]:
        return categorical(self.log_probs, num, generator=generator)


class MaskedDiffusion(Process):
    """Masked diffusion over K tokens; token id K is MASK.

    Args:
        vocab_size: number of clean tokens K.
        schedule: masking schedule, log-linear by default.
        unmasking: which masked tokens a reverse step reveals: `Ancestral`, `FirstHitting` or `KTokens`.
        min_time: smallest time used in training, where the weight is 1/min_time.
    """

    figure = "bits"

    def __init__(
        self,
        vocab_size: int,
        *,
        schedule: Schedule | None = None,
        unmasking: Unmasking | None = None,
        min_time: float = 1e-3,
    ) -> None:
        self.vocab_size = whole("vocab_size", vocab_size, at_least=2)
        self.schedule = LogLinear() if schedule is None else schedule
        self.unmasking = Ancestral() if unmasking is None else unmasking
        self.min_time = finite("min_time", min_time, above=0.0)
        if not self.min_time < 1:
            raise ConfigError(f"min_time must be below 1, got {min_time}")

    @property
    def mask_id(self) -> int:
        """The id of MASK, K."""
        return self.vocab_size

    def with_unmasking(self, unmasking: Unmasking) -> MaskedDiffusion:
        """The same process with another rule of unmasking; a trained network serves any."""
        return MaskedDiffusion(
            self.vocab_size, schedule=self.schedule, unmasking=unmasking, min_time=self.min_time
        )

    # -- forward ---------------------------------------------------------------------------------------------

    def prior(
        self, num: int, length: int, *, generator: Generator, template: Int[Tensor, "*B L"] | None = None
    ) -> Int[Tensor, "B L"]:
        """Everything masked, but for the fixed positions of a template, or of one a design (MASK where free)."""
        row = torch.full((length,), self.mask_id) if template is None else template
        return row.to(generator.device).expand(num, -1).clone()

    def corrupt(
        self,
        x_0: Int[Tensor, "B L"],
        t: Float[Tensor, " B"],
        *,
        generator: Generator,
        fixed: Bool[Tensor, "*B L"] | None = None,
    ) -> Int[Tensor, "B L"]:
        """Mask each token with probability m_t, the fixed ones never."""
        return self._mask(x_0, self.schedule.mask_probability(t.double()), generator=generator, fixed=fixed)

    def _mask(
        self, x_0: Tensor, probability: Tensor, *, generator: Generator, fixed: Tensor | None
    ) -> Int[Tensor, "B L"]:
        u = torch.rand(x_0.shape, dtype=torch.float64, device=x_0.device, generator=generator)
        masked = u < probability[:, None]
        if fixed is not None:
            masked &= ~fixed
        return torch.where(masked, self.mask_id, x_0)

    def loss(
        self,
        denoiser: Network,
        x_0: Int[Tensor, "B L"],
        *,
        generator: Generator,
        cond: Any = None,
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, " B"]:
        """The bound at one stratified time a design, in nats a design.

        Args:
            denoiser: the network.
            x_0: clean designs.
            generator: source of times and masks.
            cond: conditioning, handed to the network.
            mask: True at real positions; others are neither masked nor counted.
        """
        t = stratified_times(len(x_0), self.min_time, generator=generator)
        fixed = None if mask is None else ~mask
        x_t = self.corrupt(x_0, t, generator=generator, fixed=fixed)
        nats = self._cross_entropy(denoiser, x_0, x_t, t, cond, mask)
        return self.schedule.weight(t).to(nats) * nats

    def _cross_entropy(
        self, denoiser: Network, x_0: Tensor, x_t: Tensor, t: Tensor, cond: Any, mask: Tensor | None
    ) -> Float[Tensor, " B"]:
        logits = denoiser(x_t, t.to(torch.get_default_dtype()), cond, mask)[..., : self.vocab_size]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        nats = F.cross_entropy(logits.flatten(0, 1), x_0.flatten(), reduction="none").view(x_0.shape)
        return (nats * (x_t == self.mask_id)).sum(-1)

    def evaluate(
        self,
        denoiser: Network,
        x_0: Int[Tensor, "B L"],
        *,
        num_times: int,
        generator: Generator,
        cond: Any = None,
        mask: Bool[Tensor, "B L"] | None = None,
    ) -> Float[Tensor, " B"]:
        """The bound on -log p, in bits a design."""
        bound = self.log_likelihood(
            denoiser, x_0, num_times=num_times, generator=generator, cond=cond, mask=mask
        )
        return -bound / math.log(2)

    @torch.no_grad()
    def log_likelihood(
        self,
        denoiser: Network,
        x_0: Int[Tensor, "B L"],
        *,
        num_times: int,
        generator: Generator,
        cond: Any = None,
        mask: Bool[Tensor, "B L"] | None = None,
        fixed: Bool[Tensor, "*B L"] | None = None,
        max_rows: int = 1024,
        alike: bool = False,
    ) -> Float[Tensor, " B"]:
        """An unbiased estimate of a lower bound on log p(x_0), in nats a design.

        The bound is the one with m_t = t on (0, 1] (the eps of a schedule is for training: it would put the figure
        below the entropy). Integrating t out, n masked tokens of L have weight 1/n:

            -log p(x_0) <= sum_n 1/n E_{|S| = n} sum_{i in S} -log p(x_0^i | x_0 outside S),

        which is estimated with n stratified over 1..L: the same expectation, without the variance of the number of
        masked tokens. A time-conditioned network is asked at a time drawn from the law of t given n.

        Args:
            denoiser: the network.
            x_0: designs.
            num_times: stratified mask counts (times) a design; the standard error falls with it.
            generator: source of counts, masks and times.
            cond: conditioning, handed to the network.
            mask: True at real positions.
            fixed: positions that are given, not modelled: the bound is then on log p(rest | fixed).
            max_rows: network rows a call.
            alike: every design meets the same noise; see `Process.log_likelihood`.
        """
        whole("num_times", num_times)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(shape, dtype=torch.float64, device=x_0.device, generator=generator)

        free = torch.ones_like(x_0, dtype=torch.bool) if fixed is None else ~fixed.expand_as(x_0)
        free = free if mask is None else free & mask
        rows = torch.arange(len(x_0), device=x_0.device).repeat_interleave(num_times)
        total = torch.zeros(len(x_0), dtype=torch.float64, device=x_0.device)
        same = (uniform(num_times), uniform(num_times, x_0.shape[1])) if alike else None
        for start in range(0, len(rows), max_rows * num_times):  # whole designs, so that strata are not torn
            block = rows[start : start + max_rows * num_times]
            stratum = torch.arange(len(block), device=x_0.device) % num_times
            u = (stratum + (uniform(len(block)) if same is None else same[0][stratum])) / num_times
            for part in torch.arange(len(block), device=x_0.device).split(max_rows):
                row = block[part]
                key = uniform(len(part), x_0.shape[1]) if same is None else same[1][stratum[part]]
                x_t, t, count = self._mask_count(x_0[row], free[row], u[part], key)
                own = None if mask is None else mask[row]
                chosen = cond[row] if isinstance(cond, Tensor) else cond
                nats = self._cross_entropy(
                    denoiser, x_0[row], x_t, self.schedule.time(t), chosen, own
                ).double()
                total.index_add_(0, row, nats * free[row].sum(-1) / count)
        return -total / num_times

    def _mask_count(
        self, x_0: Tensor, free: Tensor, u: Float[Tensor, " B"], key: Float[Tensor, "B L"]
    ) -> tuple[Int[Tensor, "B L"], Float[Tensor, " B"], Int[Tensor, " B"]]:
        """Mask the n = ceil(u L) free positions of smallest key; the n-th smallest key has the law of t given n."""
        num_free = free.sum(-1)
        count = torch.minimum((u * num_free).long() + 1, num_free.clamp(min=1))
        key = key.masked_fill(~free, 2.0)
        t = key.sort(-1).values.gather(-1, (count - 1)[:, None])
        masked = free & (key <= t)
        return torch.where(masked, self.mask_id, x_0), t.squeeze(-1).clamp(max=1.0), count

    # -- reverse ---------------------------------------------------------------------------------------------

    def num_steps(self, steps: int, num_free: int) -> int:
        return self.unmasking.num_steps(steps, num_free)

    def times(self, steps: int, *, end: float = 0.0) -> Float[Tensor, " E"]:
        """A uniform grid from 1 down to `end`.

        Args:
            steps: number of steps T.
            end: last time; above 0, each token stays masked with probability m_end.
        """
        return torch.linspace(1.0, end, whole("steps", steps) + 1, dtype=torch.float64)

    def soft(self, x: Int[Tensor, "B L"]) -> Float[Tensor, "B L V"]:
        """One-hots over the K tokens and MASK."""
        return one_hot(x, self.vocab_size + 1, torch.float64)

    def hard(self, x: Float[Tensor, "B L V"]) -> Int[Tensor, "B L"]:
        return x.argmax(-1)

    def step_noise(self, x: Tensor, *, generator: Generator) -> Float[Tensor, "B L V"]:
        """Uniforms, whose double logarithm is Gumbel noise."""
        shape = (*x.shape[:2], self.vocab_size + 1)
        u = torch.rand(shape, dtype=torch.float64, device=x.device, generator=generator)
        return u.clamp(min=torch.finfo(u.dtype).tiny)

    def event_time(
        self,
        x: Int[Tensor, "B L"] | Float[Tensor, "B L V"],
        t: Float[Tensor, " B"] | None,
        step: int,
        times: Float[Tensor, " E"],
        *,
        generator: Generator,
    ) -> Float[Tensor, " B"]:
        ids = self.hard(x) if x.is_floating_point() else x
        masked = ids == self.mask_id
        return self.unmasking.event_time(masked, t, step, times, self.schedule, generator=generator)

    def predict(
        self,
        denoiser: Network,
        x_t: Int[Tensor, "B L"] | Float[Tensor, "B L V"],
        t: Float[Tensor, " B"],
        cond: Any = None,
        mask: Bool[Tensor, "B L"] | None = None,
        template: Tensor | None = None,
    ) -> TokenPrediction:
        """Clean token probabilities; a row with no masked token is known and costs no network row.

        On relaxed states they are the network's own at every position: there the transition copies what is unmasked.
        """
        # classifier-free guidance spends two rows of the network a design
        each = getattr(denoiser, "rows_per_design", 1)
        if x_t.is_floating_point():
            logits = denoiser(x_t, t.to(torch.get_default_dtype()), cond, mask)
            log_probs = logits[..., : self.vocab_size].double().log_softmax(-1)
            return TokenPrediction(log_probs, rows=len(x_t) * each)
        masked = x_t == self.mask_id
        known = x_t.clamp(max=self.vocab_size - 1)
        nothing = torch.full(
            (*known.shape, self.vocab_size), -torch.inf, dtype=torch.float64, device=x_t.device
        )
        log_probs = nothing.scatter_(-1, known[..., None], 0.0)
        open_rows = masked.any(-1).nonzero().squeeze(-1)
        if len(open_rows):
            every = len(open_rows) == len(x_t)
            pick = slice(None) if every else open_rows
            chosen = cond[pick] if isinstance(cond, Tensor) else cond
            own = None if mask is None else mask[pick]
            logits = denoiser(x_t[pick], t[pick].to(torch.get_default_dtype()), chosen, own)
            fresh = logits[..., : self.vocab_size].double().log_softmax(-1)
            where = masked[pick][..., None]
            log_probs[pick] = torch.where(where, fresh, log_probs[pick])
        return TokenPrediction(log_probs, rows=len(open_rows) * each)

    def transition(
        self,
        prediction: TokenPrediction,
        x_t: Int[Tensor, "B L"] | Float[Tensor, "B L V"],
        t: Float[Tensor, " B"],
        s: Float[Tensor, " B"],
    ) -> Transition:
        return self.unmasking.transition(prediction.log_probs, x_t, t, s, self.schedule)


def stratified_times(num: int, min_time: float, *, generator: Generator) -> Float[Tensor, " B"]:
    """Low-discrepancy times t_i = min_time + (1 - min_time) (i + u_i) / num (arXiv 2107.00630, appendix I.1)."""
    u = torch.rand(num, dtype=torch.float64, device=generator.device, generator=generator)
    return stratify(u, min_time)


def stratify(u: Float[Tensor, " B"], min_time: float) -> Float[Tensor, " B"]:
    """One time in each of the B equal strata of [min_time, 1], at the fraction `u` of the stratum."""
    strata = torch.arange(len(u), dtype=u.dtype, device=u.device)
    return min_time + (1 - min_time) * (strata + u) / len(u)


def one_hot(x: Int[Tensor, "*B"], num: int, dtype: torch.dtype) -> Float[Tensor, "*B K"]:
    """One-hot rows in a floating dtype."""
    return F.one_hot(x, num).to(dtype)

"""Log-likelihood by the change of variables of the probability flow dx/dsigma = (x - x_hat_0(x, sigma))/sigma.

    log p(x_0) = log prior(x(sigma_max)) + N log(sigma_max/sigma_min) - int tr(d x_hat_0/dx) dsigma/sigma

along the flow that starts in x(sigma_min) = x_0, where N/sigma, the flow's divergence without a network, is integrated
in closed form. The flow has the right marginals at every augmented dimension D, and the prior is the Student-t kernel
of sigma_max. The trace is exact, by one gradient a coordinate, or Hutchinson's estimate, unbiased.

Song et al. 2021, Score-Based Generative Modeling through Stochastic Differential Equations, arXiv 2011.13456, section
4.3; Grathwohl et al. 2019, FFJORD, arXiv 1810.01367; Xu et al. 2023, PFGM++, arXiv 2302.04265.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from gendesign.diffusion.student import student_log_prob
from gendesign.diffusion.student_transition import free_sum, num_free

Mean = Callable[[Tensor, Tensor], Tensor]
"""(x, sigma of each row) -> posterior mean of x_0."""
EXACT_TRACE = 8
"""Coordinates up to which the likelihood's trace is exact: it takes a gradient a coordinate."""
PROBES = 2
"""Hutchinson's probes a design beyond them."""


def flow_log_likelihood(
    mean: Mean,
    x_0: Float[Tensor, "B N"],
    levels: Float[Tensor, " E"],
    *,
    aug_dim: float,
    generator: Generator,
    mask: Bool[Tensor, "B N"] | None = None,
    exact: bool = False,
    probes: int = 1,
    tolerance: float | None = None,
    alike: bool = False,
) -> Float[Tensor, " B"]:
    """Log-density of designs at the lowest noise level.

    Args:
        mean: the denoiser.
        x_0: designs.
        levels: noise levels from the lowest to the highest.
        aug_dim: D.
        generator: of Hutchinson's probes.
        mask: True at free coordinates; None: all free.
        exact: the exact trace, by N gradients an evaluation.
        probes: Rademacher probes a design, where the trace is not exact.
        tolerance: relative and absolute tolerance of an adaptive solver (Dormand-Prince 5); None: one step of the
            fourth-order Runge-Kutta method between neighbouring levels.
        alike: every design has the same probes.

    Returns:
        nats a design, float64.
    """
    from torchdiffeq import odeint

    free = torch.ones_like(x_0, dtype=torch.bool) if mask is None else mask
    if exact:
        directions = torch.eye(x_0.shape[1], dtype=torch.float64, device=x_0.device)[:, None] * free
    else:
        shape = (probes, 1 if alike else len(x_0), x_0.shape[1])
        signs = torch.randint(0, 2, shape, device=x_0.device, generator=generator).double() * 2 - 1
        directions = signs * free
    share = 1.0 if exact else 1 / probes

    def flow(sigma: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        # a caller's inference_mode allows no gradient, even of tensors that were made in it, but of their clones
        with torch.inference_mode(False), torch.enable_grad():
            x = state[0].detach().clone().requires_grad_()
            x_hat = mean(x, sigma.clone().expand(len(x)))
            trace = torch.zeros(len(x), dtype=torch.float64, device=x.device)
            for v in directions.clone():
                (gradient,) = torch.autograd.grad(x_hat, x, v, retain_graph=True)
                trace = trace + share * (gradient * v).sum(-1)
        return torch.where(free, x.detach() - x_hat.detach(), 0.0) / sigma, trace / sigma

    start = x_0.double()
    how = (
        {"method": "rk4"} if tolerance is None else {"method": "dopri5", "rtol": tolerance, "atol": tolerance}
    )
    path, traces = odeint(flow, (start, torch.zeros_like(start[:, 0])), levels.to(start), **how)
    dim, spread = num_free(start, mask), math.log(float(levels[-1] / levels[0]))
    squared = free_sum(path[-1] ** 2, mask)
    prior = student_log_prob(squared, dim, aug_dim, levels[-1].to(start).expand(len(start)) ** 2)
    return prior + dim * spread - traces[-1]

"""The mean of a Gaussian N(m, V) under a tilt exp(r/alpha): what continuous guidance moves the clean mean to.

With the tilt to second order, gradient g and curvature H at m, the mean moves by the d that solves

    (1/V - H) d = g.

V and H are only ever applied to vectors, by conjugate gradients preconditioned with V. Where the reward is -|e(x)|^2/2
and terms that bend little, H = -J'J with J the Jacobian of e (Gauss and Newton), which never bends up.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.backbone import Backbone
from gendesign.rewards.base import Reward

Linear = Callable[[Tensor], Tensor]
"""A linear map of rows, each for itself: Float[B N] to Float[B N]."""


def expansion(
    backbone: Backbone, reward: Reward, mean: Float[Tensor, "B N"], *, alpha: float
) -> tuple[Float[Tensor, "B N"], Linear]:
    """Gradient and curvature of r/alpha at clean means.

    Args:
        backbone: whose codec reads the means.
        reward: r.
        mean: m, encoded designs.
        alpha: temperature, in the reward's unit.

    Returns:
        The gradient, and d -> H d.
    """
    leaf = mean.detach().requires_grad_()
    with torch.enable_grad():
        relaxed = backbone.codec.relax(leaf).to(torch.get_default_dtype())
        value = reward.relaxed(relaxed).double().sum() / alpha
        (gradient,) = torch.autograd.grad(value, leaf, create_graph=True)
        e = reward.residuals(relaxed)

    def hessian(d: Tensor) -> Tensor:
        if not gradient.requires_grad:  # a linear reward
            return torch.zeros_like(d)
        (product,) = torch.autograd.grad(
            gradient, leaf, d, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        return product

    if e is None:
        return gradient.detach(), hessian
    # a product with J is the derivative, in v, of the product v'J
    with torch.enable_grad():
        v = torch.zeros_like(e, requires_grad=True)
        (pulled,) = torch.autograd.grad(e, leaf, v, create_graph=True)

    def gauss_newton(d: Tensor) -> Tensor:
        (push,) = torch.autograd.grad(pulled, v, d, retain_graph=True)
        (product,) = torch.autograd.grad(e, leaf, push, retain_graph=True)
        return -product / alpha

    return gradient.detach(), gauss_newton


def tilted_mean(
    gradient: Float[Tensor, "B N"], curvature: Linear, spread: Linear, *, iterations: int
) -> Float[Tensor, "B N"]:
    """Solve (1/V - H) d = g by conjugate gradients preconditioned with V, each row for itself.

    Args:
        gradient: g.
        curvature: d -> H d.
        spread: r -> V r; V is symmetric, and may be 0 in directions that are known.
        iterations: at most. A row stops where 1/V - H is not positive along its direction; there the reward bends up
            more than the Gaussian bends down, and the first step is that of a linear reward, d = V g.

    Returns:
        d, the change of the mean.
    """
    d, residual = torch.zeros_like(gradient), gradient
    direction, undone = (
        spread(residual),
        residual,
    )  # undone = direction / V, which is never computed by dividing
    rho = _dot(residual, direction)
    live = rho > 0
    for iteration in range(iterations):
        product = undone - curvature(direction)
        bend = _dot(direction, product)
        convex = bend > 0
        step = torch.where(convex, rho / bend, 1.0 if iteration == 0 else 0.0)
        d = d + torch.where(live, step * direction, 0.0)
        residual = residual - torch.where(live, step * product, 0.0)
        if iteration + 1 == iterations:
            break
        z = spread(residual)
        fresh = _dot(residual, z)
        live = live & convex & (fresh > 1e-24 * rho)
        if not bool(live.any()):
            break
        weight = torch.where(live, fresh / rho, 0.0)
        direction, undone, rho = z + weight * direction, residual + weight * undone, fresh
    return torch.where(gradient.isfinite().all(-1, keepdim=True), d, torch.nan)


def _dot(a: Float[Tensor, "B N"], b: Float[Tensor, "B N"]) -> Float[Tensor, "B 1"]:
    return (a * b).sum(-1, keepdim=True)

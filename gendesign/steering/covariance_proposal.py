"""Guidance with the whole posterior covariance of the clean design, correlations included.

At D = inf the covariance of p(x_0 | x_t) is the network's own Jacobian (Tweedie, to second order):

    V = sigma^2 d x_hat_0 / d x_t,

so that V r is one vector-Jacobian product of the network, and the mean of N(x_hat_0, V) exp(r/alpha), r to second
order, takes one such product an iteration of conjugate gradients. Exact where the posterior is Gaussian and r
quadratic; at finite D, where the score is not (x_hat_0 - x)/sigma^2, an approximation.

Boys et al. 2023, Tweedie Moment Projected Diffusions for Inverse Problems, arXiv 2310.06721.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gendesign.building import whole
from gendesign.diffusion.student_transition import MeanPrediction
from gendesign.steering.proposals import GuidedMean, MeanGuidance, Target, free
from gendesign.steering.tilting import expansion, tilted_mean


class CovarianceAware(MeanGuidance):
    """The mean of N(x_hat_0, V) exp(r/alpha) with V = sigma^2 times the network's Jacobian.

    Args:
        iterations: of conjugate gradients; each passes backward through the network once, which costs about as much as
            a prediction or two and is not counted among network evaluations. As many as there are numbers that the
            reward reads solve it exactly.
        sigma_floor: steps that end below this noise level are not guided.
    """

    alternative = "VarianceAware"

    def __init__(self, *, iterations: int = 4, sigma_floor: float = 0.05) -> None:
        super().__init__(sigma_floor=sigma_floor)
        self.iterations = whole("iterations", iterations)
        self.rewards_per_step = 1 + self.iterations

    def predict(
        self, target: Target, x: Tensor, t: Float[Tensor, " B"], *, template: Tensor | None = None
    ) -> GuidedMean:
        if self._below(t):
            return self._unguided(target, x, t, template)
        assert target.reward is not None
        with torch.enable_grad():
            leaf = x.detach().double().requires_grad_()
            prediction = target.backbone.predict(leaf, t, template=template)
        assert isinstance(prediction, MeanPrediction)
        gradient, curvature = expansion(target.backbone, target.reward, prediction.mean, alpha=target.alpha)
        # what is given has no variance, nor covariance: the rows of V are 0 by themselves, its columns are made so
        sigma2 = (t.double() ** 2)[:, None] * free(prediction, template)

        def spread(r: Tensor) -> Tensor:
            (product,) = torch.autograd.grad(prediction.mean, leaf, r, retain_graph=True)
            return sigma2 * product

        shift = tilted_mean(gradient, curvature, spread, iterations=self.iterations)
        return self._guided(prediction, shift, template, calls=len(x) * self.rewards_per_step)

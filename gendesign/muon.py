"""Muon for matrices, AdamW for everything else, in one optimiser.

    M <- mu M + G,      W <- (1 - lr wd) W - 0.2 lr sqrt(max(m, n)) O(G + mu M)

where O(M) = U V^T for M = U S V^T takes all directions of a matrix [m, n] equally far, by five Newton-Schulz steps. The
factor gives its steps the size that AdamW's have, so that both share learning rate and weight decay. Liu et al. report
about half the computation of AdamW for the same loss of a language model.

Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024, kellerjordan.github.io/posts/muon); the
factor: Liu et al., "Muon is scalable for LLM training" (2025, arXiv 2502.16982).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


def orthogonalised(matrix: Float[Tensor, "m n"], *, steps: int = 5) -> Float[Tensor, "m n"]:
    """About U V^T of a matrix U S V^T: its singular values are brought to between 0.7 and 1.2."""
    x = matrix.bfloat16() if matrix.shape[0] <= matrix.shape[1] else matrix.bfloat16().T
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    x = x if matrix.shape[0] <= matrix.shape[1] else x.T
    return x.to(matrix.dtype)


class Muon(torch.optim.AdamW):
    """AdamW, but Muon for the parameter groups that say `matrices`.

    Args:
        groups: of parameters; those with `matrices: True` hold nothing but matrices.
        lr: learning rate.
        betas: of AdamW.
        momentum: mu, of Muon.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.99),
        momentum: float = 0.95,
    ) -> None:
        super().__init__(groups, lr=lr, betas=betas)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both."""
        matrices = [group for group in self.param_groups if group.get("matrices")]
        taken = [[parameter.grad for parameter in group["params"]] for group in matrices]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
            taken = [[parameter.grad for parameter in group["params"]] for group in matrices]
        for group, gradients in zip(matrices, taken, strict=True):
            for weight, gradient in zip(group["params"], gradients, strict=True):
                if gradient is not None:
                    self._turn(weight, gradient, lr=group["lr"], decay=group["weight_decay"])
                weight.grad = None  # AdamW leaves it alone
        super().step()
        for group, gradients in zip(matrices, taken, strict=True):
            for weight, gradient in zip(group["params"], gradients, strict=True):
                weight.grad = gradient
        return loss

    def _turn(self, weight: Tensor, gradient: Tensor, *, lr: float, decay: float) -> None:
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
            state["step"] = torch.tensor(0.0)  # AdamW looks for one in every state that it reads
        state["momentum"].mul_(self.momentum).add_(gradient)
        update = orthogonalised(gradient + self.momentum * state["momentum"])
        weight.mul_(1 - lr * decay)
        weight.add_(update, alpha=-0.2 * lr * max(weight.shape) ** 0.5)


def is_hidden_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon is meant for a parameter: matrices between hidden layers, neither embeddings nor the output."""
    inside = not any(part in name for part in ("embedding", "positions", "neighbours", "head"))
    return parameter.ndim == 2 and inside

"""AdamW with warm-up and cosine decay, as every training run here uses it.

The rate at step k is  lr * min(1, (k+1)/warm-up) * (f + (1-f) (1 + cos(pi k / total)) / 2)  with a floor f.
Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2017, arXiv 1711.05101).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from gendesign.muon import Muon, is_hidden_matrix


def adamw_with_cosine(
    module: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    warmup_steps: int,
    total_steps: int,
    betas: tuple[float, float] = (0.9, 0.99),
    floor: float = 0.01,
    muon: bool = False,
) -> dict[str, Any]:
    """Optimiser and schedule in the form that Lightning's `configure_optimizers` returns.

    Args:
        module: whose parameters to train. Matrices decay; gains, biases and embeddings do not.
        lr: highest learning rate.
        weight_decay: decoupled weight decay.
        warmup_steps: steps over which the rate rises from 0.
        total_steps: steps of the run; 0 or less, for a run limited by time, keeps the rate constant after
            the warm-up.
        betas: of AdamW.
        floor: last rate, as a fraction of `lr`.
        muon: `gendesign.muon.Muon` for matrices of hidden layers.
    """
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            (decayed if parameter.ndim > 1 and "embedding" not in name else free).append(parameter)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas)
    if muon:
        hidden = [part for name, part in module.named_parameters() if is_hidden_matrix(name, part)]
        ids = {id(part) for part in hidden}
        groups[0]["params"] = [part for part in decayed if id(part) not in ids]
        groups.append({"params": hidden, "weight_decay": weight_decay, "matrices": True})
        optimizer = Muon([group for group in groups if group["params"]], lr=lr, betas=betas)

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / max(1, warmup_steps))
        if total_steps <= 0:
            return rise
        return rise * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / total_steps))))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

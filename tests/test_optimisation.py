"""AdamW and Muon with warm-up and cosine decay: who takes what, how far a step goes, and that both learn."""

import pytest
import torch
from torch import nn

from gendesign.models.transformer import TransformerDenoiser
from gendesign.muon import Muon, orthogonalised
from gendesign.optimisation import adamw_with_cosine


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6)])
def test_all_directions_of_a_matrix_become_equally_long(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalised(matrix)
    assert found.shape == matrix.shape and found.dtype == matrix.dtype
    length = torch.linalg.svdvals(found)
    assert bool(((length > 0.6) & (length < 1.3)).all())
    assert torch.allclose(u.T @ found @ v.T, torch.diag((u.T @ found @ v.T).diagonal()), atol=0.1)
    assert torch.allclose(orthogonalised(1e4 * matrix), found, atol=0.05)


def test_matrices_go_to_muon_and_the_rest_to_adamw() -> None:
    network = TransformerDenoiser(5, 16, depth=1, num_heads=2, length=4, reach=1)
    parts = adamw_with_cosine(network, lr=1e-2, weight_decay=0.1, warmup_steps=1, total_steps=9, muon=True)
    optimizer = parts["optimizer"]
    taken = {id(p): group.get("matrices", False) for group in optimizer.param_groups for p in group["params"]}
    assert len(taken) == len(list(network.parameters()))
    muon = {name for name, p in network.named_parameters() if taken[id(p)]}
    assert muon == {f"blocks.0.{part}.weight" for part in ("qkv", "out", "mlp.0", "mlp.2")}


def test_a_step_of_muon() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    before = weight.detach().clone()
    optimizer = Muon([{"params": [weight], "weight_decay": 0.0, "matrices": True}], lr=0.1)
    weight.grad = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    gradient = weight.grad.clone()
    optimizer.step()
    step = before - weight.detach()
    assert torch.allclose(step, 0.2 * 0.1 * 2 * orthogonalised(gradient), atol=4e-3)
    assert weight.grad is not None and torch.equal(weight.grad, gradient)  # others may still want to see it


def test_decay_shrinks_what_has_no_gradient_left() -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    weight.grad = torch.zeros(3, 3)
    Muon([{"params": [weight], "weight_decay": 0.5, "matrices": True}], lr=0.1).step()
    assert torch.allclose(weight.detach(), torch.full((3, 3), 0.95))


@pytest.mark.parametrize("muon", [False, True])
def test_both_learn(muon: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
    x = torch.randn(64, 4)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2]], dim=1)
    parts = adamw_with_cosine(network, lr=2e-2, weight_decay=0.0, warmup_steps=5, total_steps=150, muon=muon)
    optimizer, schedule = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    first = float((network(x) - y).square().mean().detach())
    for _ in range(150):
        optimizer.zero_grad()
        loss = (network(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert float(loss.detach()) < 0.4 * first


def test_muon_resumes_exactly() -> None:
    def make() -> tuple[nn.Linear, Muon]:
        torch.manual_seed(0)
        network = nn.Linear(3, 3, bias=False)
        return network, Muon([{"params": [network.weight], "weight_decay": 0.0, "matrices": True}], lr=0.1)

    def step(network: nn.Linear, optimizer: Muon, at: int) -> None:
        network.weight.grad = torch.full((3, 3), float(at)) + torch.eye(3)
        optimizer.step()

    whole, own = make()
    for at in range(4):
        step(whole, own, at)
    half, first = make()
    for at in range(2):
        step(half, first, at)
    rest, second = make()
    rest.load_state_dict(half.state_dict())
    second.load_state_dict(first.state_dict())
    for at in range(2, 4):
        step(rest, second, at)
    assert torch.equal(rest.weight, whole.weight)

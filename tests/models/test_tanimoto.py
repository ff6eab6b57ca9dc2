"""The Tanimoto kernel against its definition."""

import torch

from gendesign.models.tanimoto import TanimotoKernel

A = torch.randint(0, 4, (7, 23), generator=torch.Generator().manual_seed(0)).byte()
B = torch.randint(0, 6, (5, 23), generator=torch.Generator().manual_seed(1)).byte()


def definition(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = a[:, None].double(), b[None].double()
    return torch.minimum(a, b).sum(-1) / torch.maximum(a, b).sum(-1)


def test_it_equals_its_definition_also_beyond_the_counts_of_the_set() -> None:
    kernel = TanimotoKernel(A)
    torch.testing.assert_close(kernel(B), definition(B, A))
    torch.testing.assert_close(kernel.among(), definition(A, A))
    torch.testing.assert_close(kernel(A), kernel.among())


def test_it_is_positive_definite_and_one_for_itself() -> None:
    among = TanimotoKernel(A).among()
    torch.testing.assert_close(among.diagonal(), torch.ones(len(A), dtype=torch.float64))
    assert torch.linalg.eigvalsh(among).min() > 0


def test_molecules_that_share_nothing_or_have_nothing_are_unlike() -> None:
    kernel = TanimotoKernel(torch.tensor([[2, 0, 0]]).byte())
    assert kernel(torch.tensor([[0, 3, 1], [0, 0, 0]]).byte()).tolist() == [[0.0], [0.0]]

"""Exact laws of first-hitting sampling, against a network that knows its law, and by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from gendesign.diffusion.partial_strings import Enumerated, partial_strings
from gendesign.errors import ConfigError
from gendesign.models.tabular import TabularDenoiser

K, LENGTH = 4, 3


def exact(seed: int = 0) -> tuple[Enumerated, torch.Tensor]:
    """The table of a law's own marginals, from which any order of unmasking gives the law back."""
    p = torch.rand(K**LENGTH, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    p /= p.sum()
    return Enumerated(TabularDenoiser(K, LENGTH).set_law(p).table.detach()), p


def test_partial_strings_are_in_lexicographic_order() -> None:
    assert partial_strings(2, 3).tolist() == [list(s) for s in itertools.product(range(3), repeat=3)]


def test_exact_marginals_give_the_law_back() -> None:
    space, p = exact()
    torch.testing.assert_close(space.law(), p, rtol=1e-10, atol=0)


def test_soft_values_are_those_of_the_law() -> None:
    """alpha log E[exp(r/alpha) | x_t], the expectation over designs that agree with x_t."""
    space, p = exact(1)
    r, alpha = torch.randn(K**LENGTH, dtype=torch.float64, generator=torch.Generator().manual_seed(2)), 0.3
    designs = space.states[space.complete]
    agrees = ((space.states[:, None] == designs) | (space.states[:, None] == K)).all(-1)
    joint = agrees * p
    expected = alpha * ((joint * (r / alpha).exp()).sum(-1) / joint.sum(-1)).log()
    torch.testing.assert_close(space.soft_values(r, alpha=alpha), expected, rtol=1e-9, atol=1e-9)


def test_rare_strings_against_closed_forms() -> None:
    """L=3, p=(.4,.3,.2,.1), r=3·1[ACG], alpha=.5: MMM 1.183169, AMM 1.612344, ACM 2.200214."""
    letters = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
    space = Enumerated(letters.expand(5**3, 3, 4))
    r = torch.zeros(64, dtype=torch.float64)
    r[0 * 16 + 1 * 4 + 2] = 3.0
    value = space.soft_values(r, alpha=0.5)
    index = {"MMM": 124, "AMM": 24, "ACM": 0 * 25 + 1 * 5 + 4}
    for name, wanted in (("MMM", 1.183169), ("AMM", 1.612344), ("ACM", 2.200214)):
        assert float(value[index[name]]) == pytest.approx(wanted, abs=1e-6)
    assert float(space.law()[6]) == pytest.approx(0.024)


def test_a_network_that_contradicts_itself_has_a_law_all_the_same() -> None:
    """Whatever a network believes, first-hitting draws something: both orders of two positions, by hand."""
    g = torch.Generator().manual_seed(3)
    table = torch.randn(9, 2, 2, dtype=torch.float64, generator=g).log_softmax(-1)
    law = Enumerated(table).law()
    p = table.exp()
    masked, first_known, second_known = 8, (2, 5), (6, 7)  # MM; 0M and 1M; M0 and M1
    for a, b in itertools.product(range(2), repeat=2):
        by_hand = (
            0.5 * p[masked, 0, a] * p[first_known[a], 1, b] + 0.5 * p[masked, 1, b] * p[second_known[b], 0, a]
        )
        assert float(law[2 * a + b]) == pytest.approx(float(by_hand))
    assert float(law.sum()) == pytest.approx(1.0) and math.isfinite(float(law.log().sum()))


def test_a_table_of_the_wrong_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="125 partial strings"):
        Enumerated(torch.zeros(124, 3, 4))

"""What a run shows while it works."""

import pytest

from gendesign.command.terminal import digits


@pytest.mark.parametrize(
    ("value", "text"), [(14.7234, "14.723"), (0.0, "0.000"), (-0.05, "-0.050"), (2.5e-9, "2.5e-09")]
)
def test_a_small_value_is_not_shown_as_nothing(value: float, text: str) -> None:
    assert digits(value) == text

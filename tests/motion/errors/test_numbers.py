"""Ranges of numbers: ends, NaN and infinity, fields of a dataclass inside another."""

import math
from dataclasses import dataclass, field

import pytest

from motion.errors import InputError
from motion.errors.numbers import SEED, SHARE, Range, above, at_least, between, check_numbers


@dataclass(frozen=True)
class Inner:
    """Settings inside others."""

    rate: float = 0.5


@dataclass(frozen=True)
class Settings:
    """Settings of all kinds."""

    name: str = "a"
    count: int = 1
    share: float | None = None
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    ("allowed", "inside", "outside"),
    [
        (at_least(1), (1, 2.5), (0, 0.999)),
        (above(0), (1e-9, 7), (0, -1)),
        (between(1, 3), (1, 3), (0, 3.01)),
        (SHARE, (0, 0.999), (-0.1, 1)),
        (SEED, (0, 2**63 - 1), (-1, 2**63)),
    ],
)
def test_ends_of_ranges(allowed: Range, inside: tuple[float, ...], outside: tuple[float, ...]) -> None:
    assert all(map(allowed.holds, inside))
    assert not any(map(allowed.holds, (*outside, math.nan)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_every_float_is_finite_also_inside(value: float) -> None:
    with pytest.raises(InputError, match=f"^here: inner.rate is {value}, expected a finite number$"):
        check_numbers(Settings(inner=Inner(value)), {}, "here: ")
    with pytest.raises(InputError, match=f"^share is {value}, expected 0 or more$"):
        check_numbers(Settings(share=value), {"share": at_least(0)})


def test_values_are_named_with_their_range() -> None:
    check_numbers(Settings(), {"count": at_least(1), "share": above(0), "inner.rate": SHARE})
    with pytest.raises(InputError, match="^count is 0, expected 1 or more$"):
        check_numbers(Settings(count=0), {"count": at_least(1)})
    with pytest.raises(InputError, match="^inner.rate is 1.0, expected a share of 0 or more and below 1$"):
        check_numbers(Settings(inner=Inner(1.0)), {"inner.rate": SHARE})

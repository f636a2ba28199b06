"""Ranges of a configuration's numbers: each has to be finite, and those that are named within their range."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from operator import attrgetter

from motion.errors import InputError


@dataclass(frozen=True)
class Range:
    """Numbers that a setting may be, and the words for them."""

    words: str
    """Words of an error for what is expected, such as "1 or more"."""
    holds: Callable[[float], bool]
    """Test of a number; False for NaN."""


def at_least(low: int | float) -> Range:
    """Make the range from `low` on."""
    return Range(f"{low:g} or more", lambda value: value >= low)


def above(low: int | float) -> Range:
    """Make the range above `low`."""
    return Range(f"a number above {low:g}", lambda value: value > low)


def between(low: int | float, high: int | float) -> Range:
    """Make the range from `low` to `high`, both included."""
    return Range(f"{low:g} to {high:g}", lambda value: low <= value <= high)


SHARE = Range("a share of 0 or more and below 1", lambda value: 0 <= value < 1)
SEED = Range("0 to 2**63 - 1", lambda value: 0 <= value < 2**63)


def check_numbers(config: object, ranges: Mapping[str, Range], owner: str = "") -> None:
    """Raise InputError for a float of `config`, a dataclass, or of one inside it that is NaN, infinite or out of range.

    `ranges` are by field, that of a dataclass inside as `optim.steps`; None is in every range. `owner` opens the error.
    """
    for name, value in _floats(config):
        if not math.isfinite(value):
            raise InputError(f"{owner}{name} is {value}, expected {_words(ranges.get(name))}")
    for name, allowed in ranges.items():
        value = attrgetter(name)(config)
        if value is not None and not allowed.holds(value):
            raise InputError(f"{owner}{name} is {value}, expected {allowed.words}")


def _words(allowed: Range | None) -> str:
    return allowed.words if allowed else "a finite number"


def _floats(config: object, place: str = "") -> Iterator[tuple[str, float]]:
    """List the floats of a dataclass and of those inside it, by name."""
    for field in fields(config):  # type: ignore[arg-type]  # a dataclass, which has no type of its own
        value = getattr(config, field.name)
        if is_dataclass(value):
            yield from _floats(value, f"{place}{field.name}.")
        elif isinstance(value, float):
            yield place + field.name, value

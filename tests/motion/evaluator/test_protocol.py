"""Protocols of the evaluators, and the interval of repeated numbers."""

from dataclasses import replace

import numpy as np
import pytest

from motion.errors import InputError
from motion.evaluator.protocol import CARESCENE, interval


def test_interval_is_that_of_the_peers() -> None:
    assert interval([1.0, 3.0]) == pytest.approx((2, 1.96 / np.sqrt(2)))
    assert interval([4.0]) == (4, 0)
    with pytest.raises(InputError, match="no values"):
        interval([])


def test_a_protocol_has_positive_numbers() -> None:
    with pytest.raises(InputError, match="carescene: pool_size is 0"):
        replace(CARESCENE, pool_size=0)

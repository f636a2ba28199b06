"""MM-Dist: the peers' own numbers, a known distance, and texts without a motion refused."""

from typing import Any

import numpy as np
import pytest

from motion.errors import InputError
from motion.metrics.mm_dist import mm_dist


@pytest.mark.parametrize("peer", ["intergen", "mdm"])
def test_golden_mm_dist(inputs: dict[str, np.ndarray], values: dict[str, Any], peer: str) -> None:
    distance = values["results"][peer]["MM distance = trace/n (their evaluation loop)"]
    assert mm_dist(inputs["text"], inputs["motion"]) == pytest.approx(distance, rel=1e-6)


def test_each_text_is_compared_with_the_motion_of_its_own_row() -> None:
    texts, motions = np.array([[0.0, 0.0], [10.0, 10.0]]), np.array([[3.0, 4.0], [10.0, 11.0]])
    assert mm_dist(texts, motions) == pytest.approx((5 + 1) / 2)
    with pytest.raises(InputError, match=r"texts have shape \(1, 2\) and motions \(2, 2\)"):
        mm_dist(texts[:1], motions)

"""R-precision: texts are asked, not motions; chance levels, and pools in which no caption is twice."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.errors import InputError
from motion.metrics.r_precision import draw_pools, r_precision


@pytest.mark.parametrize("peer", ["intergen", "mdm"])
@pytest.mark.parametrize(("pool_size", "pools"), [(96, "one pool of 96"), (32, "three pools of 32")])
def test_golden_r_precision(
    inputs: dict[str, np.ndarray], values: dict[str, Any], peer: str, pool_size: int, pools: str
) -> None:
    found = r_precision(inputs["text"], inputs["motion"], pool_size)
    np.testing.assert_allclose(found, values["results"][peer][f"R_precision(top1..3), {pools}"], rtol=1e-6)


def test_r_precision_asks_texts_not_motions() -> None:
    texts, motions = np.array([[0.0], [1.0]]), np.array([[2.0], [1.5]])
    np.testing.assert_array_equal(r_precision(texts, motions, 2), [0.5, 1, 1])
    np.testing.assert_array_equal(r_precision(motions, texts, 2, top_k=2), [0.5, 1])
    np.testing.assert_array_equal(r_precision(texts, np.zeros((2, 1)), 2, top_k=1), [0.5])  # a tie: the earlier


def test_r_precision_of_shuffled_texts_is_chance(rng: np.random.Generator) -> None:
    motions = rng.normal(size=(32 * 200, 4))
    found = r_precision(rng.permutation(motions), motions, 32)
    np.testing.assert_allclose(found, np.array([1, 2, 3]) / 32, atol=0.01)  # four standard deviations
    np.testing.assert_array_equal(r_precision(motions, motions, 32), 1)


def test_a_pool_is_never_shrunk() -> None:
    with pytest.raises(InputError, match="split 40 texts into pools of 32.*pool_size in the protocol"):
        r_precision(np.ones((40, 2)), np.ones((40, 2)), 32)
    with pytest.raises(InputError, match="text embeddings are empty"):
        r_precision(np.ones((0, 2)), np.ones((0, 2)), 32)


@settings(max_examples=50)
@given(captions=st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=40), size=st.integers(1, 4))
def test_pools_hold_each_caption_once_and_are_as_many_as_can_be(captions: list[str], size: int) -> None:
    if len(set(captions)) < size:
        with pytest.raises(InputError, match=f"found {len(set(captions))} distinct captions"):
            draw_pools(captions, size, np.random.default_rng(0))
        return
    pools = draw_pools(captions, size, np.random.default_rng(0))
    assert all(len({captions[row] for row in pool}) == size for pool in pools)
    assert len(set(pools.ravel().tolist())) == pools.size
    left = [caption for row, caption in enumerate(captions) if row not in pools]
    assert len(set(left)) < size  # or another pool could be filled from what is left


def test_pools_are_random(rng: np.random.Generator) -> None:
    draws = [draw_pools([str(k) for k in range(6)], 2, rng) for _ in range(600)]
    together = np.mean([any({0, 1} == set(pool.tolist()) for pool in pools) for pools in draws])
    assert together == pytest.approx(1 / 5, abs=0.06)
    chosen = [0 in draw_pools(["a", "a", "b"], 2, rng) for _ in range(600)]
    assert np.mean(chosen) == pytest.approx(1 / 2, abs=0.08)

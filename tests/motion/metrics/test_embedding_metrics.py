"""Field's metrics: the peers' own numbers, identities, chance levels, and what a protocol refuses to do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.errors import InputError
from motion.evaluator import Protocol
from motion.evaluator.protocol import CARESCENE, HUMANML3D, INTERHUMAN, interval
from motion.metrics.diversity import diversity, draw_pairs
from motion.metrics.embedding_metrics import EmbeddedSet, draw_stratified, field_metrics
from motion.metrics.fid import fid
from motion.metrics.mm_dist import mm_dist
from motion.metrics.multimodality import draw_unlike_pairs, multimodality
from motion.metrics.r_precision import draw_pools, r_precision

PEERS = [("intergen", INTERHUMAN), ("mdm", HUMANML3D)]
SMALL = replace(CARESCENE, pool_size=4, diversity_pairs=10, repeats=3)


@pytest.fixture
def inputs(golden: Path) -> dict[str, np.ndarray]:
    return dict(np.load(golden / "metrics" / "inputs.npz"))


@pytest.fixture
def values(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "metrics" / "values.json").read_text())


@pytest.mark.parametrize(("peer", "protocol"), PEERS)
def test_golden_fid(inputs: dict[str, np.ndarray], values: dict[str, Any], peer: str, protocol: Protocol) -> None:
    scaled = {name: array * protocol.embedding_scale for name, array in inputs.items()}
    expected = values["results"][peer]
    assert fid(scaled["gt"], scaled["gen"]) == pytest.approx(expected["FID(gt, gen)"], rel=1e-6)
    assert fid(scaled["gt"], scaled["few"]) == pytest.approx(expected["FID(gt, few) rank-deficient"], rel=1e-6)
    assert fid(scaled["gt"], scaled["gt"]) < 1e-6


@pytest.mark.parametrize(("peer", "protocol"), PEERS)
def test_golden_diversity(inputs: dict[str, np.ndarray], values: dict[str, Any], peer: str, protocol: Protocol) -> None:
    first, second = np.array(values["indices_drawn"]["diversity"])
    found = diversity(inputs["gen"] * protocol.embedding_scale, first, second) / protocol.diversity_divisor
    assert found == pytest.approx(values["results"][peer]["diversity(gen, 300), np.random.seed(123)"], rel=1e-6)


@pytest.mark.parametrize("peer", ["intergen", "mdm"])
def test_golden_text_metrics_and_multimodality(
    inputs: dict[str, np.ndarray], values: dict[str, Any], peer: str
) -> None:
    texts, motions, expected = inputs["text"], inputs["motion"], values["results"][peer]
    for pool_size, pools in ((96, "one pool of 96"), (32, "three pools of 32")):
        found = r_precision(texts, motions, pool_size)
        np.testing.assert_allclose(found, expected[f"R_precision(top1..3), {pools}"], rtol=1e-6)
    distance = expected["MM distance = trace/n (their evaluation loop)"]
    assert mm_dist(texts, motions) == pytest.approx(distance, rel=1e-6)
    first, second = np.array(values["indices_drawn"]["multimodality"])
    spread = expected["multimodality(mm, 10), np.random.seed(321)"]
    assert multimodality(inputs["mm"], first, second) == pytest.approx(spread, rel=1e-6)


def test_fid_of_known_gaussians(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(50, 3))
    rows = (rows - rows.mean(axis=0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T  # covariance exactly 1
    stretched = rows * np.array([1, 2, 3]) + np.array([0, 0, 5])
    assert fid(rows, stretched) == pytest.approx(25 + 0 + 1 + 4)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 40), dim=st.integers(1, 12))
def test_fid_sees_neither_turn_nor_shift(seed: int, rows: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    real, generated = rng.normal(size=(30, dim)), rng.normal(1, 2, size=(rows, dim))
    turn, shift = np.linalg.qr(rng.normal(size=(dim, dim))).Q, rng.normal(size=dim)
    expected = fid(real, generated)
    assert fid(real @ turn + shift, generated @ turn + shift) == pytest.approx(expected, rel=1e-6)
    assert fid(generated, real) == pytest.approx(expected, rel=1e-6)
    assert fid(real, real) < 1e-6


def test_fid_of_halves_shrinks_with_the_size(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(16_000, 8))
    of_halves = [fid(rows[: size // 2], rows[size // 2 : size]) for size in (160, 1600, 16_000)]
    assert of_halves[0] > 3 * of_halves[1] > 9 * of_halves[2] > 0
    assert of_halves[2] < 0.01


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (np.ones((1, 3)), np.ones((4, 3)), "1 real embeddings, expected at least 2"),
        (np.ones((4, 3)), np.ones((4, 2)), "3 and 2 wide"),
        (np.ones((4, 3)), np.full((4, 3), np.nan), "the generated embeddings hold NaN"),
        (np.ones((4, 0)), np.ones((4, 0)), "the real embeddings are empty"),
    ],
)
def test_fid_refuses(real: np.ndarray, generated: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fid(real, generated)


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


@settings(max_examples=50, deadline=None)
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


def test_pairs_for_diversity_are_drawn_without_replacement(rng: np.random.Generator) -> None:
    first, second = draw_pairs(11, 10, rng)
    assert len(set(first.tolist())) == len(set(second.tolist())) == 10
    assert not np.array_equal(first, second)
    with pytest.raises(InputError, match="found 10 motions.*diversity_pairs in the protocol"):
        draw_pairs(10, 10, rng)


def test_pairs_for_multimodality_are_of_different_samples(rng: np.random.Generator) -> None:
    first, second = draw_unlike_pairs(3, 3000, rng)
    assert (first != second).all()
    np.testing.assert_allclose(np.bincount(first * 3 + second)[[1, 2, 3, 5, 6, 7]] / 3000, 1 / 6, atol=0.03)
    with pytest.raises(InputError, match="found 1 samples"):
        draw_unlike_pairs(1, 10, rng)


def test_interval_is_that_of_the_peers() -> None:
    assert interval([1.0, 3.0]) == pytest.approx((2, 1.96 / np.sqrt(2)))
    assert interval([4.0]) == (4, 0)
    with pytest.raises(InputError, match="no values"):
        interval([])


def test_a_protocol_has_positive_numbers() -> None:
    with pytest.raises(InputError, match="carescene: pool_size is 0"):
        replace(CARESCENE, pool_size=0)


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=8), size=st.integers(1, 40), seed=st.integers(0, 99))
def test_strata_keep_their_shares(counts: list[int], size: int, seed: int) -> None:
    captions = [str(k) for k, count in enumerate(counts) for _ in range(count)]
    rows = draw_stratified(captions, size, np.random.default_rng(seed))
    size = min(size, len(captions))
    assert len(set(rows.tolist())) == len(rows) == size
    for k, count in enumerate(counts):
        drawn = sum(captions[row] == str(k) for row in rows)
        assert abs(drawn - count * size / len(captions)) < 1


def embedded(motions: int, captions: int, seed: int, noise: float = 0.1) -> EmbeddedSet:
    """Draw motions around the embeddings of their captions, which are given out in turn."""
    names = [f"caption {k}" for k in range(captions)]
    texts = dict(zip(names, np.random.default_rng(0).normal(size=(captions, 6)).astype(np.float32), strict=True))
    own = [names[k % captions] for k in range(motions)]
    offsets = np.random.default_rng(seed).normal(0, noise, size=(motions, 6)).astype(np.float32)
    return EmbeddedSet(
        ids=tuple(f"{seed}/{k}" for k in range(motions)),
        captions=tuple((caption,) for caption in own),
        motions=np.stack([texts[caption] for caption in own]) + offsets,
        texts=texts,
    )


def shuffled(whole: EmbeddedSet) -> EmbeddedSet:
    order = np.random.default_rng(5).permutation(len(whole.ids))
    return replace(
        whole,
        ids=tuple(whole.ids[k] for k in order),
        captions=tuple(whole.captions[k] for k in order),
        motions=whole.motions[order],
    )


def test_the_order_of_motions_does_not_matter() -> None:
    real, other = embedded(40, 20, seed=1), embedded(60, 20, seed=2)
    for judged in (None, other):
        found = field_metrics(real, judged, SMALL, seed=3)
        again = field_metrics(shuffled(real), None if judged is None else shuffled(judged), SMALL, seed=3)
        assert found == again
        assert found != field_metrics(real, judged, SMALL, seed=4)
        assert len(found["r_precision_1"]) == 3
        assert len(set(found["fid"])) == 3  # each repeat draws anew


def test_close_motions_score_better_than_far_ones() -> None:
    real, near, far = embedded(40, 20, seed=1), embedded(60, 20, seed=2), embedded(60, 20, seed=2, noise=1.5)
    near_values, far_values = (field_metrics(real, other, SMALL, seed=0) for other in (near, far))
    for name in ("fid", "mm_dist", "diversity", "multimodality"):
        assert max(near_values[name]) < min(far_values[name])
    for k in (1, 2, 3):
        assert min(near_values[f"r_precision_{k}"]) > max(far_values[f"r_precision_{k}"])


def test_numbers_left_to_no_chance_have_no_spread() -> None:
    real, as_many, more = embedded(40, 40, seed=1), embedded(40, 40, seed=2), embedded(80, 40, seed=2)
    assert [len(field_metrics(real, other, SMALL, seed=0)["fid"]) for other in (None, as_many, more)] == [3, 1, 3]


def test_a_copy_of_the_real_set() -> None:
    real = embedded(40, 40, seed=1, noise=0)
    copy, truth = field_metrics(real, real, SMALL, seed=0), field_metrics(real, None, SMALL, seed=0)
    assert max(copy["fid"]) < 1e-6 < min(truth["fid"])
    assert copy["mm_dist"] == [0]
    assert copy["r_precision_1"] == [1, 1, 1]
    assert {k: v for k, v in copy.items() if k != "fid"}.keys() == truth.keys() - {"fid"}
    assert "multimodality" not in copy  # every caption has one motion


def test_scales_of_interhuman_reach_fid_and_diversity_only() -> None:
    real, other = embedded(40, 20, seed=1), embedded(40, 20, seed=2)
    plain = field_metrics(real, other, SMALL, seed=0)
    scaled = field_metrics(real, other, replace(SMALL, embedding_scale=6.0, diversity_divisor=2.0), seed=0)
    factors = {"fid": 36, "diversity": 3}
    for name, values in plain.items():
        assert scaled[name] == pytest.approx([value * factors.get(name, 1) for value in values])


def test_each_of_several_captions_counts() -> None:
    real = embedded(40, 20, seed=1, noise=0)
    twice = replace(
        real,
        captions=tuple((*captions, "other") for captions in real.captions),
        texts={**real.texts, "other": np.full(6, 9, dtype=np.float32)},
    )
    found = field_metrics(real, twice, replace(SMALL, repeats=8), seed=0)
    assert min(found["mm_dist"]) > 0
    assert len(set(found["mm_dist"])) > 1  # another of the two captions is drawn
    spread = field_metrics(real, real, SMALL, seed=0)["multimodality"]
    assert max(spread) < 1e-6 < min(found["multimodality"])  # all motions share the caption "other"


def test_what_the_protocol_cannot_do_is_refused() -> None:
    real, few = embedded(40, 20, seed=1), embedded(40, 3, seed=2)
    with pytest.raises(InputError, match="3 distinct captions.*pool_size in the protocol"):
        field_metrics(real, few, SMALL, seed=0)
    with pytest.raises(InputError, match="found 40 motions.*diversity_pairs in the protocol"):
        field_metrics(real, None, replace(SMALL, diversity_pairs=40), seed=0)


def test_a_broken_set_is_refused() -> None:
    real = embedded(4, 2, seed=1)
    for change, message in (
        ({"ids": ("a", "a", "b", "c")}, "3 distinct ids for 4 motions"),
        ({"ids": ("a", "b", "c")}, "3 ids, 4 lists of captions and 4 motions"),
        ({"captions": (*real.captions[:3], ())}, "motion 1/3 has no caption"),
        ({"captions": (*real.captions[:3], ("?",))}, "its caption '\\?' has no embedding"),
        ({"motions": real.motions * np.float32(np.nan)}, "motion embeddings hold NaN"),
        ({"texts": {**real.texts, "longer": np.zeros(7)}}, r"texts of shape \[\(6,\), \(7,\)\], expected \(6,\)"),
    ):
        with pytest.raises(InputError, match=message):
            replace(real, **change)

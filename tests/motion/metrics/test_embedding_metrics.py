"""Field's metrics of whole sets: what they must not depend on, and what a protocol refuses to do."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motion.errors import InputError
from motion.evaluator.protocol import CARESCENE
from motion.metrics.embedding_metrics import EmbeddedSet, draw_stratified, field_metrics
from tests.helpers.embedded_sets import embedded

SMALL = replace(CARESCENE, pool_size=4, diversity_pairs=10, repeats=3)


@settings(max_examples=50)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=8), size=st.integers(1, 40), seed=st.integers(0, 99))
def test_strata_keep_their_shares(counts: list[int], size: int, seed: int) -> None:
    captions = [str(k) for k, count in enumerate(counts) for _ in range(count)]
    rows = draw_stratified(captions, size, np.random.default_rng(seed))
    size = min(size, len(captions))
    assert len(set(rows.tolist())) == len(rows) == size
    for k, count in enumerate(counts):
        drawn = sum(captions[row] == str(k) for row in rows)
        assert abs(drawn - count * size / len(captions)) < 1


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

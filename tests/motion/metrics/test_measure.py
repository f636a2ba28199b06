"""Descriptions of an evaluation's numbers: one for each number there is, and the direction that it says is better."""

from dataclasses import replace

from motion.evaluator.protocol import CARESCENE
from motion.metrics.embedding_metrics import field_metrics
from motion.metrics.measure import FIELD
from tests.helpers.embedded_sets import embedded

SMALL = replace(CARESCENE, pool_size=4, diversity_pairs=10, repeats=1)


def test_each_number_is_described_and_motions_near_their_captions_are_better() -> None:
    real, near, far = (embedded(60, 20, seed, noise) for seed, noise in ((1, 0.1), (2, 0.1), (2, 1.5)))
    good, bad = (field_metrics(real, other, SMALL, seed=0) for other in (near, far))
    assert set(good) == set(FIELD)
    for name, measure in FIELD.items():
        if measure.better != "real":
            assert (good[name] < bad[name]) == (measure.better == "lower"), name
    assert {name for name, measure in FIELD.items() if measure.better == "real"} == {"diversity", "multimodality"}

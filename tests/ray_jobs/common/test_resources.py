"""A job that needs more than the cluster has is told so with the numbers, before it waits."""

import pytest
import ray

from motion.errors import InputError
from ray_jobs.common.resources import READER, check_resources


def test_what_cannot_be_had_is_told_with_the_numbers(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}}, {"Alive": True, "Resources": {"CPU": 4.0}}]
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes, {"Alive": False, "Resources": {"CPU": 64.0}}])
    check_resources("training", "--num-workers", (5, {"CPU": 1.0, "GPU": 0.2}), READER)
    for bundles, sentence in (
        ([(6, {"CPU": 1.0}), READER], "training needs 7 CPUs at once, up to 1 on a node, and this cluster has 6"),
        (
            [(1, {"CPU": 5.0})],
            "training needs 5 CPUs at once, up to 5 on a node, and .* has 6, up to 4 on a node",
        ),
        ([(2, {"GPU": 1.0})], "training needs 2 GPUs at once, .* has 1, up to 1 on a node: lower --num-workers, or"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_resources("training", "--num-workers", *bundles)

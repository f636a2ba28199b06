"""Resources that a job needs at once, compared with what the cluster has before the job waits for them."""

import ray
from ray._private.state import state

from motion.errors import InputError
from motion.errors.numbers import Range, at_least

FINEST = 0.0001
"""Smallest part of a resource that Ray counts."""
CPUS = Range(f"0, or {FINEST:g} or more", lambda number: number == 0 or number >= FINEST)
WORKER_CPUS = at_least(FINEST)
"""CPUs of a worker of Ray Train, which does not start without any."""
GPUS = Range(
    f"0, {FINEST:g} to 1, or a whole number",
    lambda number: number == 0 or FINEST <= number <= 1 or (number > 1 and number % 1 == 0),
)
READER = (1, {"CPU": 1.0})
"""Task of Ray Data that feeds a job's workers."""


def check_resources(job: str, flags: str, *bundles: tuple[int, dict[str, float]]) -> None:
    """Raise InputError where the whole cluster, and all that it can grow to, cannot hold these bundles at once.

    A bundle is a number of processes and what each takes, such as (2, {"CPU": 1, "GPU": 0.5}); each lies on one node.
    `job` and `flags` name in the error what needs them and which settings lower the need. Without this Ray waits.
    """
    if state.get_max_resources_from_cluster_config():  # an autoscaler adds nodes
        return
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for resource in ("CPU", "GPU"):
        amounts = [amount for number, each in bundles for amount in [each.get(resource, 0.0)] * number]
        has = [node.get(resource, 0.0) for node in nodes]
        if sum(amounts) > sum(has) or max(amounts) > max(has):
            raise InputError(
                f"{job} needs {sum(amounts):g} {resource}s at once, up to {max(amounts):g} on a node, and this cluster "
                f"has {sum(has):g}, up to {max(has):g} on a node: lower {flags}, or start it with more"
            )

"""Serve deployment that samples: replicas that hold a model each, used over HTTP and by bulk generation.

The cluster may be shared: an application of ours lives beside others, and ends alone.
"""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve._private.client import ServeControllerClient
from ray.serve.config import HTTPOptions
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle

from motion.errors import InputError
from motion.errors.numbers import at_least, check_numbers
from motion.generator import Generator, MotionRequest, load_model
from motion.metrics.learnt import LEARNT_FILE, Learnt, load_learnt
from motion.recipes import to_dict
from motion.sequence import MotionSequence
from ray_jobs.common import storage
from ray_jobs.common.places import settle
from ray_jobs.common.resources import CPUS, GPUS

APPLICATION = "carescene"
"""Name with which all our applications begin."""
ATTEMPTS = 3
Address = tuple[str, int]
RANGES = {
    **dict.fromkeys(("num_replicas", "max_batch_size"), at_least(1)),
    "batch_wait_s": at_least(0),
    "num_cpus": CPUS,
    "num_gpus": GPUS,
}
"""Ranges of the numbers of a SamplerConfig."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SamplerConfig:
    """Model, resources and batching of the sampler replicas."""

    model: str
    """File or URI of a training run's model.safetensors; every node must see it there."""
    num_replicas: int = 1
    """Number of replicas, each with a model of its own."""
    num_gpus: float = 0
    """GPUs of each sampler replica; 0 samples on the CPU."""
    num_cpus: float = 1
    """CPUs of each sampler replica."""
    max_batch_size: int = 16
    """Largest number of requests that are sampled together."""
    batch_wait_s: float = 0.02
    """Seconds that the first request of a batch waits for others."""

    def __post_init__(self) -> None:
        check_numbers(self, RANGES)
        settle(self, "model")


class Sampler:
    """Replica with one model; requests that arrive together are sampled together."""

    def __init__(self, model: str, use_gpu: bool, max_batch_size: int, batch_wait_s: float) -> None:
        self.generator = Generator.load(model, "cuda" if use_gpu else "cpu")
        self.learnt = learnt_beside(model, self.generator.version)
        self._sample.set_max_batch_size(max_batch_size)  # type: ignore[attr-defined]
        self._sample.set_batch_wait_timeout_s(batch_wait_s)  # type: ignore[attr-defined]

    async def generate(self, request: MotionRequest) -> MotionSequence | InputError:
        """Sample a motion, or return what is wrong with the request, which would fill Serve's log if it were raised.

        A bad request is found before batching, so it never spoils its neighbours.
        """
        try:
            self.generator.check(request)
        except InputError as error:
            return error
        return await self._sample(request)

    @serve.batch
    async def _sample(self, requests: list[MotionRequest]) -> list[MotionSequence]:
        # In a thread, so that health checks and new requests are answered meanwhile.
        return await asyncio.to_thread(self._generate, requests)

    def _generate(self, requests: list[MotionRequest]) -> list[MotionSequence]:
        motions = self.generator.generate(requests)
        if self.learnt is None:
            return motions
        return [self.learnt.tell(motion, self.generator.text_encoder) for motion in motions]

    def describe(self) -> dict[str, object]:
        """Describe the model: its version and its recipe."""
        return {"version": self.generator.version, "recipe": to_dict(self.generator.recipe)}


def learnt_beside(model: str, version: str) -> Learnt | None:
    """Read what the model was trained on, where that lies beside it; without it, answers do not tell how far they are.

    Raises InputError for a damaged file.
    """
    uri = storage.beside(model, LEARNT_FILE)
    if not storage.exists(uri):
        logger.warning("no %s beside %s: answers do not tell how far they are from what it learnt", LEARNT_FILE, model)
        return None
    learnt = load_learnt(uri)
    if learnt.model != version:
        logger.warning("%s is of the model %s, not of %s, so it is left aside", uri, learnt.model, version)
        return None
    return learnt


async def sample(sampler: DeploymentHandle[Sampler], request: MotionRequest) -> MotionSequence:
    """Ask a replica for a motion; if it dies meanwhile ask another. A seeded request gives the same motion again."""
    for attempt in range(ATTEMPTS):
        try:
            answer = await sampler.generate.remote(request)
        except RayActorError:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        if isinstance(answer, InputError):
            raise answer
        return answer
    raise AssertionError("unreachable")


def bind_sampler(config: SamplerConfig) -> serve.Application:
    """Bind the deployment of the replicas; raises InputError for a bad file here rather than in a replica."""
    learnt_beside(config.model, load_model(config.model).version)
    return serve.deployment(
        num_replicas=config.num_replicas,
        ray_actor_options={"num_cpus": config.num_cpus, "num_gpus": config.num_gpus},
        max_ongoing_requests=2 * config.max_batch_size,  # one batch in work, the next one gathering
    )(Sampler).bind(config.model, config.num_gpus > 0, config.max_batch_size, config.batch_wait_s)


@contextmanager
def deployed(
    application: serve.Application, name: str, route_prefix: str | None = None, http: Address | None = None
) -> Iterator[DeploymentHandle[Any]]:
    """Run an application beside the cluster's others and give its handle; at the end it goes, and nothing else does.

    Serve is started where it does not run, and ended where this started it and nothing is left in it. Raises InputError
    for a name or route that is taken, and for an address that `check_http` refuses.
    """
    started = start_serve(http)
    check_free(name, route_prefix)
    try:
        yield serve.run(application, name=name, route_prefix=route_prefix)
    finally:
        serve.delete(name)
        if started and not serve.status().applications:
            serve.shutdown()


def _client() -> ServeControllerClient | None:
    return _get_global_client(raise_if_no_controller_running=False)


def check_free(name: str, route_prefix: str | None) -> None:
    """Raise InputError where an application of the cluster has this name or route already."""
    running = client.get_serve_details()["applications"] if (client := _client()) else {}
    if name in running:
        raise InputError(
            f"an application {name} runs on this cluster already; choose another --name, or end it with "
            f"""`python -c "from ray import serve; serve.delete('{name}')"`"""
        )
    routes = {details["route_prefix"]: other for other, details in running.items()}
    if route_prefix and route_prefix in routes:
        raise InputError(
            f"the application {routes[route_prefix]} has the route {route_prefix} of this cluster; "
            "choose another --route-prefix, such as /motions"
        )


def start_serve(http: Address | None) -> bool:
    """Start Serve, without HTTP for None, unless it runs on this cluster; tell whether it was started."""
    if http:
        check_http(http)
    if _client():
        return False
    if http:
        serve.start(http_options=HTTPOptions(host=http[0], port=http[1]))
    else:
        serve.start(proxy_location="Disabled")
    return True


def check_http(http: Address) -> None:
    """Raise InputError for a port that another program holds, and where Serve runs without HTTP or listens elsewhere.

    A Serve without HTTP and without applications, which a job that was killed left behind, is ended.
    """
    running = _client()
    status = serve.status()
    if running and not status.proxies and not status.applications:
        serve.shutdown()
    elif running and not status.proxies:
        raise InputError(
            "Ray Serve runs on this cluster without HTTP, which it cannot add while applications such as "
            f"{next(iter(status.applications))} run: wait for their end"
        )
    elif running:
        host, port = running.http_config.host, running.http_config.port
        if (host, port) != http:
            raise InputError(
                f"Ray Serve listens on {host}:{port} on this cluster already, for all applications: "
                f"take --host {host} --port {port}"
            )
        return
    check_port(*http)


def check_port(host: str, port: int) -> None:
    """Raise InputError unless a server can listen there."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
        ) from error

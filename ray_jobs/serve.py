r"""Serve a model over HTTP with Ray Serve.

    python -m ray_jobs.serve --model runs/first/model.safetensors
    curl -s localhost:8000/v1/motions -H 'content-type: application/json' \
         -d '{"prompt": "a person walks forward", "num_frames": 40, "seed": 7}'

`Api` (FastAPI, `ray_jobs.http_api`) checks, limits and retries; `Sampler` replicas sample whole batches, both guidance
branches in one forward. Beyond loopback a bearer token is needed, taken from the environment variable CARESCENE_TOKEN;
`/docs`, `/healthz` and `/readyz` answer without it.
"""

import hashlib
import ipaddress
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from motion.errors import InputError
from motion.errors.numbers import at_least, between, check_numbers
from motion.generator import MotionRequest
from motion.sequence import MotionSequence
from ray_jobs.common import cli
from ray_jobs.common.resources import check_resources
from ray_jobs.common.sampler import APPLICATION, Sampler, SamplerConfig, bind_sampler, deployed, sample
from ray_jobs.http_api import build_api

TOKEN_VARIABLE = "CARESCENE_TOKEN"
MOST_CONNECTIONS = 10_000
"""Requests at a time that are read and answered besides those that are sampled."""
DIGEST_VARIABLE = "CARESCENE_TOKEN_SHA256"  # what replicas get to see of the token


@dataclass(frozen=True)
class ServeConfig(SamplerConfig):
    """Settings of the HTTP server."""

    host: str = "127.0.0.1"
    """Address to listen on; one beyond loopback, such as 0.0.0.0, needs a token in CARESCENE_TOKEN."""
    port: int = 8000
    """Port to listen on, 1 to 65535."""
    name: str = "carescene"
    """Name of the application among the cluster's; it begins with carescene, so that `ray_jobs.generate` finds it."""
    route_prefix: str = "/"
    """Path before the server's own, such as /motions, where another application of the cluster holds /."""
    max_in_flight: int = 64
    """Largest number of requests at a time; more are answered 503."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, {"port": between(1, 65535), "max_in_flight": at_least(1)})
        if self.route_prefix != "/" and not re.fullmatch("(/[^/{}]+)+", self.route_prefix):
            raise InputError(f"route_prefix is {self.route_prefix!r}, expected a path such as /motions")
        if not self.name.startswith(APPLICATION):
            raise InputError(f"name is {self.name!r}, expected one that begins with {APPLICATION}")


@serve.ingress()
class Api:
    """HTTP ingress: the application of `ray_jobs.http_api`, made in the replica for the model that is served."""

    def __init__(self, sampler: DeploymentHandle[Sampler], max_in_flight: int) -> None:
        self.sampler = sampler
        self.max_in_flight = max_in_flight

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the application, as Ray Serve asks for it once the replica is made."""
        token_digest = os.environ.get(DIGEST_VARIABLE, "")
        return build_api(self, await self.describe(), token_digest, self.max_in_flight)

    async def generate(self, request: MotionRequest) -> MotionSequence:
        """Sample a motion by one of the replicas; raises InputError for a bad request."""
        return await sample(self.sampler, request)

    async def describe(self) -> dict[str, Any]:
        """Describe the model: its version and its recipe."""
        return await self.sampler.describe.remote()


def build(settings: dict[str, Any]) -> serve.Application:
    """Build the Serve application; `settings` are ServeConfig's fields (also the `args` of a Serve config file).

    Raises InputError for a host beyond loopback without a token.
    """
    config = ServeConfig(**settings)
    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token.isascii():
        raise InputError(f"{TOKEN_VARIABLE} has letters beyond ASCII, which HTTP headers do not carry: take another")
    digest = hashlib.sha256(token.encode()).hexdigest() if token else ""
    if not token and not is_loopback(config.host):
        raise InputError(f"{config.host} is reachable from outside: set {TOKEN_VARIABLE} to a secret first")
    # Beyond max_in_flight the application says 503, in JSON and with Retry-After, and answers probes; Serve's own limit
    # would refuse both, in plain text. Nothing is refused while it waits in Serve's queue.
    return serve.deployment(
        max_ongoing_requests=MOST_CONNECTIONS + config.max_in_flight,
        max_queued_requests=-1,
        ray_actor_options={"num_cpus": 0, "runtime_env": {"env_vars": {DIGEST_VARIABLE: digest}}},
    )(Api).bind(bind_sampler(config), config.max_in_flight)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@contextmanager
def serving(config: ServeConfig) -> Iterator[None]:
    """Deploy the application behind HTTP; at the end it goes, and whatever else the cluster serves stays."""
    application = build(asdict(config))
    replica = {"CPU": config.num_cpus, "GPU": config.num_gpus}
    check_resources("the server", "--num-replicas, --num-cpus or --num-gpus", (config.num_replicas, replica))
    with deployed(application, config.name, config.route_prefix, (config.host, config.port)):
        yield


def main(config: ServeConfig) -> None:
    """Serve until interrupted."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)  # also while the replicas start
    with suppress(KeyboardInterrupt), serving(config):
        root = f"http://{config.host}:{config.port}{config.route_prefix.rstrip('/')}"
        print(f"serving {config.model} at {root}/docs", flush=True)
        threading.Event().wait()
    print(f"stopped serving {config.model}", flush=True)


if __name__ == "__main__":
    cli.run(main, ServeConfig, __doc__ or "")

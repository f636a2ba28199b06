r"""Serve a model over HTTP with Ray Serve.

    python -m ray_jobs.serve --model runs/first/model.safetensors
    curl -s localhost:8000/v1/motions -H 'content-type: application/json' \
         -d '{"prompt": "a person walks forward", "num_frames": 40, "seed": 7}'

`Api` (FastAPI) checks, limits and retries; `Sampler` replicas sample whole batches, both guidance branches in one
forward. Beyond loopback a bearer token is needed, taken from the environment variable CARESCENE_TOKEN.
"""

import hashlib
import hmac
import ipaddress
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from motion.errors import InputError
from motion.generator import MotionRequest
from motion.sequence import MotionSequence
from ray_jobs.common import cli
from ray_jobs.common.resources import check_resources
from ray_jobs.common.sampler import APPLICATION, Sampler, SamplerConfig, bind_sampler, deployed, sample

TOKEN_VARIABLE = "CARESCENE_TOKEN"
DIGEST_VARIABLE = "CARESCENE_TOKEN_SHA256"  # what replicas get to see of the token
MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True)
class ServeConfig(SamplerConfig):
    """Settings of the HTTP server."""

    host: str = "127.0.0.1"
    """Address to listen on; one beyond loopback, such as 0.0.0.0, needs a token in CARESCENE_TOKEN."""
    port: int = 8000
    """Port to listen on."""
    name: str = "carescene"
    """Name of the application among the cluster's; it begins with carescene, so that `ray_jobs.generate` finds it."""
    route_prefix: str = "/"
    """Path before the server's own, such as /motions, where another application of the cluster holds /."""
    max_in_flight: int = 64
    """Largest number of requests at a time; more are answered 503."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_in_flight < 1:
            raise InputError(f"max_in_flight is {self.max_in_flight}, expected a positive number")
        if not self.name.startswith(APPLICATION):
            raise InputError(f"name is {self.name!r}, expected one that begins with {APPLICATION}")


class MotionBody(BaseModel):
    """Body of POST /v1/motions."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(description="Scene caption; may be empty where person_prompts say all")
    num_frames: int = Field(description="Length at the model's fps, see GET /v1/model")
    num_persons: int = Field(1, description="Number of persons, at most the model's max_persons")
    seed: int = Field(0, description="Seed of all random numbers; the same request and seed give the same motion")
    guidance_scale: float | None = Field(None, description="Scale of classifier-free guidance; null takes the model's")
    person_class: tuple[str, ...] = Field((), description="One of the classes of persons per person, or empty")
    action: tuple[str, ...] = Field((), description="One of the actions per person for the whole motion, or empty")
    person_prompts: tuple[str, ...] = Field((), description="What each person does, beside or instead of the prompt")
    clean_up: bool = Field(True, description="Lock feet, keep the floor and push persons apart")


def to_json(sequence: MotionSequence) -> dict[str, object]:
    """Convert a record to its fields, arrays as nested lists (shapes and units: `MotionSequence`)."""
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(sequence).items()}


def failure(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Build an error response with a JSON body."""
    return JSONResponse({"detail": detail}, status, headers)


# Ray pickles the app where the ingress class is decorated, so all of it stands above that.
api = FastAPI(title="carescene", description="Text to human motion.")


@api.middleware("http")
async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Answer 401 without the token, 411 and 413 for bodies of unknown or great length."""
    if not authorised(request.headers.get("authorization", "")):
        return failure(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})
    if request.method == "POST":
        length = request.headers.get("content-length", "")
        if not length.isdigit():
            return failure(411, "a Content-Length is needed")
        if int(length) > MAX_BODY_BYTES:
            return failure(413, f"the body has {length} bytes, at most {MAX_BODY_BYTES} are read")
    return await call_next(request)


def authorised(header: str) -> bool:
    """Tell whether the header carries the token whose sha256 the replica was given; without one all may come in."""
    expected = os.environ.get(DIGEST_VARIABLE)
    if not expected:
        return True
    scheme, _, given = header.partition(" ")
    digest = hashlib.sha256(given.encode()).hexdigest()
    return scheme.lower() == "bearer" and hmac.compare_digest(expected, digest)


@serve.ingress(api)
class Api:
    """HTTP interface: authorisation, size and load limits, errors as JSON."""

    def __init__(self, sampler: DeploymentHandle[Sampler], max_in_flight: int) -> None:
        self.sampler = sampler
        self.free = max_in_flight

    @api.get("/healthz")
    async def health(self) -> dict[str, str]:
        """Answer that the server is up."""
        return {"status": "ok"}

    @api.get("/v1/model")
    async def model(self) -> dict[str, object]:
        """Describe the served model: its version and its recipe."""
        return await self.sampler.describe.remote()

    @api.post("/v1/motions")
    async def motions(self, body: MotionBody) -> Response:
        """Sample a motion; answer 400 for a bad request and 503 when full or when replicas are lost."""
        if not self.free:
            return failure(503, "all places are taken, try again", {"Retry-After": "1"})
        self.free -= 1
        try:
            sequence = await sample(self.sampler, MotionRequest(**body.model_dump()))
        except InputError as error:
            return failure(400, str(getattr(error, "cause", error)))
        except RayActorError:
            return failure(503, "the model's replicas were lost, try again", {"Retry-After": "5"})
        finally:
            self.free += 1
        return JSONResponse(to_json(sequence))


def build(settings: dict[str, Any]) -> serve.Application:
    """Build the Serve application; `settings` are ServeConfig's fields (also the `args` of a Serve config file).

    Raises InputError for a host beyond loopback without a token.
    """
    config = ServeConfig(**settings)
    token = os.environ.get(TOKEN_VARIABLE, "")
    digest = hashlib.sha256(token.encode()).hexdigest() if token else ""
    if not token and not is_loopback(config.host):
        raise InputError(f"{config.host} is reachable from outside: set {TOKEN_VARIABLE} to a secret first")
    # The ingress itself says 503 with Retry-After; Serve's own limit is a backstop behind it.
    return serve.deployment(
        max_ongoing_requests=2 * config.max_in_flight,
        max_queued_requests=2 * config.max_in_flight,
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
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with serving(config):
        root = f"http://{config.host}:{config.port}{config.route_prefix.rstrip('/')}"
        print(f"serving {config.model} at {root}/docs", flush=True)
        stop.wait()


if __name__ == "__main__":
    cli.run(main, ServeConfig, __doc__ or "")

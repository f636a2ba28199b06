"""Serve deployment that samples: replicas that hold a model each, used over HTTP and by bulk generation."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from ray import serve
from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from motion.errors import InputError
from motion.generator import Generator, MotionRequest, load_model
from motion.recipes import to_dict
from motion.sequence import MotionSequence

APPLICATION = "carescene"
ATTEMPTS = 3


@dataclass(frozen=True)
class SamplerConfig:
    """Model, resources and batching of the sampler replicas."""

    model: Path
    """File model.safetensors of a training run; every node must see it there."""
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
        if min(self.num_replicas, self.max_batch_size) < 1 or self.batch_wait_s < 0:
            raise InputError("num_replicas and max_batch_size must be positive, batch_wait_s not negative")


class Sampler:
    """Replica with one model; requests that arrive together are sampled together."""

    def __init__(self, model: str, use_gpu: bool, max_batch_size: int, batch_wait_s: float) -> None:
        self.generator = Generator.load(model, "cuda" if use_gpu else "cpu")
        self._sample.set_max_batch_size(max_batch_size)  # type: ignore[attr-defined]
        self._sample.set_batch_wait_timeout_s(batch_wait_s)  # type: ignore[attr-defined]

    async def generate(self, request: MotionRequest) -> MotionSequence:
        """Sample a motion; raises InputError before batching, so a bad request never spoils its neighbours."""
        self.generator.check(request)
        return await self._sample(request)

    @serve.batch
    async def _sample(self, requests: list[MotionRequest]) -> list[MotionSequence]:
        # In a thread, so that health checks and new requests are answered meanwhile.
        return await asyncio.to_thread(self.generator.generate, requests)

    def describe(self) -> dict[str, object]:
        """Describe the model: its version and its recipe."""
        return {"version": self.generator.version, "recipe": to_dict(self.generator.recipe)}


async def sample(sampler: DeploymentHandle[Sampler], request: MotionRequest) -> MotionSequence:
    """Ask a replica for a motion; if it dies meanwhile ask another. A seeded request gives the same motion again."""
    for attempt in range(ATTEMPTS):
        try:
            return await sampler.generate.remote(request)
        except RayActorError:
            if attempt == ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def bind_sampler(config: SamplerConfig) -> serve.Application:
    """Bind the deployment of the replicas; raises InputError for a bad model file here rather than in a replica."""
    load_model(config.model)
    return serve.deployment(
        num_replicas=config.num_replicas,
        ray_actor_options={"num_cpus": config.num_cpus, "num_gpus": config.num_gpus},
        max_ongoing_requests=2 * config.max_batch_size,  # one batch in work, the next one gathering
    )(Sampler).bind(str(config.model.absolute()), config.num_gpus > 0, config.max_batch_size, config.batch_wait_s)


def start_sampler(config: SamplerConfig) -> DeploymentHandle[Sampler]:
    """Deploy the replicas without HTTP and return their handle."""
    serve.start(http_options={"location": "NoServer"})
    return serve.run(bind_sampler(config), name=APPLICATION, route_prefix=None)

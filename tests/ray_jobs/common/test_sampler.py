"""Settings of the sampler, and requests to replicas of which some die; tests/ray_jobs/test_serve.py has real ones."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from motion.errors import InputError
from motion.generator import MotionRequest
from ray_jobs.common.sampler import ATTEMPTS, SamplerConfig, bind_sampler, sample

WALK = MotionRequest("a person walks", num_frames=9)


class Replicas:
    """Stand-in for the handle of a deployment: raises `errors` in turn, then answers the request itself."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.generate = SimpleNamespace(remote=self.answer)

    async def answer(self, request: MotionRequest) -> MotionRequest:
        if self.errors:
            raise self.errors.pop(0)
        return request


def test_a_lost_replicas_request_goes_to_another() -> None:
    lost = [RayActorError() for _ in range(ATTEMPTS - 1)]
    assert asyncio.run(sample(Replicas(*lost), WALK)) is WALK


def test_who_loses_every_replica_says_so() -> None:
    replicas = Replicas(*(RayActorError() for _ in range(ATTEMPTS + 1)))
    with pytest.raises(RayActorError):
        asyncio.run(sample(replicas, WALK))
    assert len(replicas.errors) == 1, "one attempt each"


def test_a_bad_request_is_not_tried_again() -> None:
    replicas = Replicas(InputError("too long"))
    with pytest.raises(InputError, match="too long"):
        asyncio.run(sample(replicas, WALK))


@pytest.mark.parametrize("change", [{"num_replicas": 0}, {"max_batch_size": 0}, {"batch_wait_s": -0.1}])
def test_settings_that_no_replica_could_have_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError, match="num_replicas and max_batch_size must be positive, batch_wait_s not negative"):
        SamplerConfig(Path("model"), **change)


def test_a_bad_model_is_refused_before_a_replica_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^no file of format carescene-model/3 at {tmp_path}/absent.safetensors"):
        bind_sampler(SamplerConfig(tmp_path / "absent.safetensors"))

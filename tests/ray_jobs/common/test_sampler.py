"""Settings of the sampler, and requests to replicas of which some die; tests/ray_jobs/test_serve.py has real ones."""

import asyncio
import math
import socket
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import ray
from ray import serve
from ray.exceptions import RayActorError

from motion.errors import InputError
from motion.generator import MotionRequest
from ray_jobs.common.sampler import ATTEMPTS, SamplerConfig, bind_sampler, check_http, check_port, deployed, sample
from tests.helpers.jobs import free_port

WALK = MotionRequest("a person walks", num_frames=9)


class Replicas:
    """Stand-in for the handle of a deployment: raises `errors` in turn, then answers the request itself."""

    def __init__(self, *errors: Exception, answer: InputError | None = None) -> None:
        self.errors, self.given = list(errors), answer
        self.generate = SimpleNamespace(remote=self.answer)

    async def answer(self, request: MotionRequest) -> MotionRequest | InputError:
        if self.errors:
            raise self.errors.pop(0)
        return self.given or request


def test_a_lost_replicas_request_goes_to_another() -> None:
    lost = [RayActorError() for _ in range(ATTEMPTS - 1)]
    assert asyncio.run(sample(Replicas(*lost), WALK)) is WALK


def test_who_loses_every_replica_says_so() -> None:
    replicas = Replicas(*(RayActorError() for _ in range(ATTEMPTS + 1)))
    with pytest.raises(RayActorError):
        asyncio.run(sample(replicas, WALK))
    assert len(replicas.errors) == 1, "one attempt each"


def test_a_bad_request_is_not_tried_again() -> None:
    replicas = Replicas(answer=InputError("too long"))
    with pytest.raises(InputError, match="too long"):
        asyncio.run(sample(replicas, WALK))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("num_replicas", 0, "1 or more"),
        ("max_batch_size", 0, "1 or more"),
        ("batch_wait_s", -0.1, "0 or more"),
        ("batch_wait_s", math.nan, "0 or more"),
        ("num_cpus", -1, "0, or 0.0001 or more"),
        ("num_cpus", math.nan, "0, or 0.0001 or more"),
        ("num_gpus", -1, "0, 0.0001 to 1, or a whole number"),
        ("num_gpus", 1.5, "0, 0.0001 to 1, or a whole number"),
    ],
)
def test_settings_that_no_replica_could_have_are_refused(name: str, value: float, expected: str) -> None:
    with pytest.raises(InputError, match=f"^{name} is {value}, expected {expected}$"):
        SamplerConfig(Path("model"), **{name: value})


def test_a_bad_model_is_refused_before_a_replica_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^no file of format carescene-model/3 at {tmp_path}/absent.safetensors"):
        bind_sampler(SamplerConfig(tmp_path / "absent.safetensors"))


@serve.deployment(ray_actor_options={"num_cpus": 0})
class OtherTeam:
    """Application of another team on the same cluster."""

    def __call__(self) -> str:
        return "other"


def test_an_application_lives_beside_another_teams_and_ends_alone(ray_cluster: None) -> None:
    """The cluster serves already: its address is taken over, its names and routes are respected."""
    port = free_port()
    with deployed(OtherTeam.bind(), "other_team", "/", ("127.0.0.1", port)):
        with deployed(OtherTeam.bind(), "carescene", "/motions", ("127.0.0.1", port)):
            assert set(serve.status().applications) == {"other_team", "carescene"}
        assert set(serve.status().applications) == {"other_team"}
        with deployed(OtherTeam.bind(), "carescene-bulk") as handle:
            assert handle.remote().result() == "other"
        for name, route, at, sentence in (
            ("other_team", "/motions", port, "an application other_team runs on this cluster already"),
            ("carescene", "/", port, "the application other_team has the route / of this cluster"),
            ("carescene", "/motions", port + 1, f"Ray Serve listens on 127.0.0.1:{port} on this cluster already"),
        ):
            with pytest.raises(InputError, match=sentence), deployed(OtherTeam.bind(), name, route, ("127.0.0.1", at)):
                raise AssertionError
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).text == "other"
    left = [actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True) if actor["namespace"] == "serve"]
    assert left == [], "Serve ends with the last application"


def test_serve_without_http_gets_none_while_it_is_used(ray_cluster: None) -> None:
    sentence = "runs on this cluster without HTTP, .* applications such as other_team run"
    with deployed(OtherTeam.bind(), "other_team"), pytest.raises(InputError, match=sentence):
        check_http(("127.0.0.1", free_port()))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use; choose"):
            check_http(("127.0.0.1", port))
    with pytest.raises(InputError, match=r"cannot listen on 203\.0\.113\.1:80: Cannot assign requested address"):
        check_port("203.0.113.1", 80)

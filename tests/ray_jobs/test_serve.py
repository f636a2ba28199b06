"""Real Ray Serve application, asked by a real HTTP client."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest

from motion.errors import InputError
from motion.generator import Generator, MotionRequest
from ray_jobs.http_api import Motion
from ray_jobs.serve import TOKEN_VARIABLE, ServeConfig, build, serving
from tests.helpers.browser import BROWSER, drawn
from tests.helpers.jobs import free_port, own_processes

WALK = {"prompt": "a person walks forward", "num_frames": 20, "seed": 5}


@pytest.fixture(scope="module")
def port() -> int:
    """Choose where Serve listens, just before it does: a port that is free now need not be so later."""
    return free_port()


@pytest.fixture(scope="module")
def client(model_file: Path, port: int) -> Iterator[httpx.Client]:
    config = ServeConfig(model_file, port=port, num_replicas=2, num_cpus=0.5, batch_wait_s=0.1, max_in_flight=12)
    root, limits = f"http://127.0.0.1:{port}", httpx.Limits(max_connections=None)
    with serving(config), httpx.Client(base_url=root, timeout=60, limits=limits) as connection:
        yield connection


def post(client: httpx.Client, **changes: object) -> httpx.Response:
    return client.post("/v1/motions", json=WALK | changes)


def test_a_motion_over_http_is_the_generators(client: httpx.Client, model_file: Path) -> None:
    response = post(client)
    assert response.status_code == 200
    expected = Generator.load(model_file).generate([MotionRequest(**WALK)])[0]
    body = response.json()
    np.testing.assert_allclose(body["joints"], expected.joints, atol=1e-4)
    Motion.model_validate(body, strict=True)
    assert body["id"] == expected.id
    assert body["provenance"]["model"] == expected.provenance["model"]


def test_docs_have_the_limits_of_the_model_that_is_served(client: httpx.Client) -> None:
    assert client.get("/", follow_redirects=True).url.path == "/docs"
    assert client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["MotionBody"]["properties"]["num_frames"]["maximum"] == 40


@pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome is installed")
def test_a_browser_shows_the_docs_without_internet(client: httpx.Client, tmp_path: Path) -> None:
    page = drawn(f"{client.base_url}/docs", tmp_path / "profile")
    assert 'data-path="/v1/motions"' in page
    assert f"Model {client.get('/v1/model').json()['version']}" in page


def test_alone_and_among_others(client: httpx.Client) -> None:
    """The same request and seed give the same motion in a batch of other requests."""
    alone = post(client).json()
    others = [{"seed": k, "num_frames": 10 + 3 * k, "prompt": f"a person does thing {k}"} for k in range(7)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda changes: post(client, **changes).json(), [*others[:4], {}, *others[4:]]))[4]
    np.testing.assert_allclose(together["joints"], alone["joints"], atol=1e-4)


def test_model_and_health(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
    assert client.get("/v1/model").json()["recipe"]["name"] == "test"


@pytest.mark.parametrize(
    ("changes", "status", "sentence"),
    [
        ({"num_frames": 41}, 400, "num_frames is 41, this model takes 1 to 40"),
        ({"num_persons": 3}, 400, "num_persons is 3, this model takes 1 to 2"),
        ({"prompt": ""}, 400, "the prompt is empty"),
        ({"prompt": "walk " * 400}, 400, "tokens, at most"),
        ({"action": ["flying"]}, 400, "action 'flying' is unknown"),
        ({"num_frames": "many"}, 422, "valid integer"),
        ({"speed": 2}, 422, "Extra inputs are not permitted"),
    ],
)
def test_bad_requests(client: httpx.Client, changes: dict[str, object], status: int, sentence: str) -> None:
    response = post(client, **changes)
    assert response.status_code == status
    assert sentence in str(response.json()["detail"])


def test_a_bad_request_does_not_spoil_its_neighbours(client: httpx.Client) -> None:
    with ThreadPoolExecutor(6) as pool:
        changes = [{"seed": k} if k % 2 else {"num_frames": 999} for k in range(6)]
        statuses = [r.status_code for r in pool.map(lambda change: post(client, **change), changes)]
    assert statuses == [400, 200] * 3


def test_too_many_at_once_are_told_when_to_come_back(client: httpx.Client) -> None:
    """Ten times as many as there are places: each answer is the application's own, none is Ray Serve's plain text."""
    with ThreadPoolExecutor(120) as pool:
        answers = list(pool.map(lambda k: post(client, seed=k), range(120)))
    assert {answer.status_code for answer in answers} == {200, 503}
    for full in (answer for answer in answers if answer.status_code == 503):
        assert full.headers["Retry-After"] == "1"
        assert full.json() == {"detail": "all places are taken, try again"}
    assert post(client).status_code == 200, "afterwards there is room again"


def test_bodies_that_never_end_leave_room_for_probes_and_others(client: httpx.Client, port: int) -> None:
    head = b"POST /v1/motions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    with ExitStack() as until_asked:
        for _ in range(120):
            until_asked.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(head)
        time.sleep(0.5)
        assert [client.get(path).status_code for path in ("/healthz", "/readyz")] == [200] * 2
        assert post(client).status_code == 200


def test_a_lost_replicas_requests_are_retried(client: httpx.Client) -> None:
    """One of two replicas gets SIGKILL under load: every request is answered, with the same motion as before."""
    before = [post(client, seed=k).json()["joints"] for k in range(8)]
    answers: dict[int, httpx.Response] = {}

    def ask(number: int) -> None:
        answers[number] = post(client, seed=number % 8)

    def load() -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(64)))

    asking = threading.Thread(target=load)
    asking.start()
    while asking.is_alive() and not answers:
        time.sleep(0.02)
    replicas = own_processes("ServeReplica:carescene:Sampler")
    assert len(replicas) == 2
    replicas[0].kill()
    assert asking.is_alive(), "the load ended before a replica was lost"
    asking.join()
    assert {answer.status_code for answer in answers.values()} == {200}
    assert len(answers) == 64
    for k, answer in answers.items():
        np.testing.assert_allclose(answer.json()["joints"], before[k % 8], atol=1e-4)


def test_beyond_loopback_a_token_is_needed(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(InputError, match=f"0.0.0.0 is reachable from outside: set {TOKEN_VARIABLE}"):
        build({"model": str(model_file), "host": "0.0.0.0"})


def test_under_a_path_of_its_own_and_with_a_token_only_its_bearers_come_in(
    client: httpx.Client, port: int, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second application on the same cluster: the first holds the route /."""
    monkeypatch.setitem(os.environ, TOKEN_VARIABLE, "open-sesame")
    with serving(ServeConfig(model_file, port=port, name="carescene-token", route_prefix="/token")):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "open-sesame"}):
            answer = client.post("/token/v1/motions", json=WALK, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert [client.get(f"/token{path}").status_code for path in ("/healthz", "/readyz", "/docs")] == [200] * 3
        assert client.get("/token/", follow_redirects=True).url.path == "/token/docs"
        assert client.get("/token/static-offline-docs/swagger-ui-bundle.js").status_code == 200
        right = client.post("/token/v1/motions", json=WALK, headers={"Authorization": "Bearer open-sesame"})
        assert right.status_code == 200
        assert post(client).status_code == 200, "the other application has no token"
    assert post(client).status_code == 200


@pytest.mark.parametrize("port", [0, -1, 65536, 99999])
def test_a_port_is_one_that_clients_can_reach(port: int) -> None:
    with pytest.raises(InputError, match=f"^port is {port}, expected 1 to 65535$"):
        ServeConfig("/model.safetensors", port=port)


@pytest.mark.parametrize("prefix", ["motions", "/motions/", "", "/{id}", "//"])
def test_a_route_prefix_is_a_path(prefix: str) -> None:
    with pytest.raises(InputError, match=f"route_prefix is '{prefix}', expected a path such as /motions"):
        ServeConfig("/model.safetensors", route_prefix=prefix)

"""HTTP interface of a model that needs no Ray: schema, docs without internet, probes, token, errors of one shape."""

import asyncio
import hashlib
import re
import threading
import time
from typing import Any, NoReturn

import numpy as np
import pytest
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient
from ray.exceptions import RayActorError

from motion.body import Body
from motion.errors import InputError
from motion.generator import MotionRequest
from motion.recipes import to_dict
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS, PERSON_CLASSES
from ray_jobs import http_api
from ray_jobs.http_api import MAX_BODY_BYTES, Motion, build_api, read_body
from tests.helpers.clips import random_clip
from tests.helpers.recipe import RECIPE

TOKEN = "open-sesame"
MODEL = {"version": "0123abcd", "recipe": to_dict(RECIPE)}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class FakeService:
    """Answer with one clip and remember the requests; stands in for the replicas, which test_serve.py has."""

    def __init__(self, clip: MotionSequence) -> None:
        self.clip = clip
        self.asked: list[MotionRequest] = []
        self.error: Exception | None = None
        self.delay = 0.0

    async def generate(self, request: MotionRequest) -> MotionSequence:
        await self.describe()
        self.asked.append(request)
        return self.clip

    async def describe(self) -> dict[str, Any]:
        await asyncio.sleep(self.delay)
        if self.error:
            raise self.error
        return MODEL


@pytest.fixture
def service(body: Body) -> FakeService:
    return FakeService(random_clip(body, persons=2, frames=40))


def client_of(service: FakeService, token: str = "", max_in_flight: int = 2) -> TestClient:
    digest = hashlib.sha256(token.encode()).hexdigest() if token else ""
    return TestClient(build_api(service, MODEL, digest, max_in_flight), raise_server_exceptions=False)


@pytest.fixture
def client(service: FakeService) -> TestClient:
    return client_of(service)


def schemas(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()["components"]["schemas"]


def test_a_motion_is_of_the_form_that_the_schema_promises(client: TestClient, service: FakeService) -> None:
    """Values differ from the record's by less than half of the fifth decimal."""
    answer = client.post("/v1/motions", json={"prompt": "a person walks"})
    motion = Motion.model_validate(answer.json(), strict=True)
    assert set(answer.json()) == set(Motion.model_fields) == set(vars(service.clip))
    for name in MotionSequence.ARRAYS:
        np.testing.assert_allclose(getattr(motion, name), getattr(service.clip, name), rtol=0, atol=5.1e-6)
    again = {name: np.asarray(getattr(motion, name), spec.dtype) for name, spec in MotionSequence.ARRAYS.items()}
    MotionSequence(**(motion.model_dump() | again))


def test_numbers_are_short(client: TestClient) -> None:
    text = client.post("/v1/motions", json={"prompt": "a person walks"}).text
    assert max(len(digits) for digits in re.findall(r"\.(\d+)", text)) == 5
    assert len(text) < 2 * 40 * 300 * 10  # persons, frames, numbers of a pose, letters of a number


def test_the_shortest_request_is_a_prompt(client: TestClient, service: FakeService) -> None:
    client.post("/v1/motions", json={"prompt": "a person walks"})
    assert service.asked == [MotionRequest("a person walks", num_frames=RECIPE.max_frames)]


def test_limits_and_names_stand_in_the_schema(client: TestClient) -> None:
    properties = schemas(client)["MotionBody"]["properties"]
    frames, persons = properties["num_frames"], properties["num_persons"]
    assert (frames["minimum"], frames["maximum"], frames["default"]) == (1, 40, 40)
    assert (persons["minimum"], persons["maximum"], persons["default"]) == (1, 2, 1)
    assert properties["seed"]["maximum"] == float(2**63 - 1)
    assert properties["action"]["items"]["enum"] == list(ACTIONS)
    assert properties["person_class"]["items"]["enum"] == list(PERSON_CLASSES)
    assert schemas(client)["MotionBody"]["required"] == ["prompt"]


def test_every_answer_has_a_schema(client: TestClient) -> None:
    page = client.get("/openapi.json").json()
    answers = {
        (path, status): answer["content"]["application/json"]["schema"].get("$ref", "").rpartition("/")[2]
        for path, methods in page["paths"].items()
        for method in methods.values()
        for status, answer in method["responses"].items()
    }
    good = {path: kind for (path, status), kind in answers.items() if status == "200"}
    assert good == {
        "/healthz": "Status",
        "/readyz": "Status",
        "/v1/model": "ModelDescription",
        "/v1/motions": "Motion",
    }
    assert {kind for (_, status), kind in answers.items() if status != "200"} == {"Failure"}
    assert {status for path, status in answers if path == "/v1/motions"} == {
        "200",
        "400",
        "408",
        "411",
        "413",
        "422",
        "503",
    }
    assert {"HTTPValidationError", "ValidationError"} & page["components"]["schemas"].keys() == set()


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        ({"prompt": "a", "num_frames": "many"}, "num_frames: Input should be a valid integer"),
        ({"prompt": "a", "speed": 2, "walk": 1}, "speed: Extra inputs are not permitted; walk: Extra inputs"),
        ({"prompt": "a", "num_frames": True}, "num_frames: Input should be a valid integer, found true"),
        ({"prompt": "a", "num_persons": "1"}, 'num_persons: Input should be a valid integer, found "1"'),
        ({"prompt": "a", "seed": True}, "seed: Input should be a valid integer, found true"),
        ({"prompt": "a", "guidance_scale": True}, "guidance_scale: Input should be a valid number, found true"),
        ({"prompt": "a", "clean_up": "yes"}, 'clean_up: Input should be a valid boolean, found "yes"'),
        ({}, "prompt: Field required"),
    ],
)
def test_a_malformed_body_is_answered_in_one_sentence(client: TestClient, asked: dict[str, Any], detail: str) -> None:
    answer = client.post("/v1/motions", json=asked)
    assert answer.status_code == 422
    assert answer.json().keys() == {"detail"}
    assert answer.json()["detail"].startswith(detail)


@pytest.mark.parametrize(
    ("kind", "content", "found"),
    [
        (
            "application/json",
            b'{"prompt": "x", "prompt": "y"}',
            r"the body is no JSON \(the key 'prompt' comes twice\)",
        ),
        ("application/json", b"{", r"the body is no JSON \(.*: line 1 column 2 .*\)"),
        ("application/json", b"\xff{}", r"the body is no JSON \('utf-8' codec .* in position 0.*\)"),
        pytest.param(
            "application/json", b'{"a":' * 9000 + b"1" + b"}" * 9000, "the body is nested too deeply", id="deep"
        ),
        ("application/json", b"[1, 2]", r"the body is \[1, 2\]"),
        ("application/json", b"[" + b"1, " * 99 + b"1]", r"the body is \[(1, ){13}…"),
        ("text/plain", b'{"prompt": "a"}', "the Content-Type is text/plain"),
        ("", b'{"prompt": "a"}', "the Content-Type is missing"),
    ],
)
def test_a_body_of_another_form_is_told_what_is_expected(
    client: TestClient, kind: str, content: bytes, found: str
) -> None:
    answer = client.post("/v1/motions", content=content, headers={"content-type": kind} if kind else {})
    assert answer.status_code == 422
    detail = answer.json()["detail"]
    assert re.fullmatch(f"{found}, expected a JSON object with the header Content-Type: application/json", detail)


def test_whole_numbers_are_numbers_and_json_may_name_its_encoding(client: TestClient, service: FakeService) -> None:
    headers = {"content-type": "Application/JSON; charset=utf-8"}
    client.post("/v1/motions", content=b'{"prompt": "a", "guidance_scale": 2}', headers=headers)
    assert service.asked[0].guidance_scale == 2.0


def test_a_body_that_never_ends_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing() -> NoReturn:
        await asyncio.sleep(60)
        raise AssertionError("waited for")

    async def broken() -> dict[str, str]:
        return {"type": "http.disconnect"}

    monkeypatch.setattr(http_api, "BODY_S", 0.01)
    for receive in (nothing, broken):
        with pytest.raises(HTTPException, match="408: the body did not arrive"):
            asyncio.run(read_body(Request({"type": "http", "headers": []}, receive)))


def test_bodies_of_great_or_unknown_length(client: TestClient) -> None:
    assert client.post("/v1/motions", content=b"x" * (MAX_BODY_BYTES + 1)).status_code == 413
    assert client.post("/v1/motions", content=iter([b"{}"])).status_code == 411


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (InputError("num_frames is 41"), 400, "num_frames is 41"),
        (RayActorError(), 503, "the model's replicas were lost or do not answer, try again"),
        (RuntimeError("secret"), 500, "the server made a mistake, which is in its log"),
    ],
)
def test_failures_have_one_shape(service: FakeService, error: Exception, status: int, detail: str) -> None:
    service.error = error
    answer = client_of(service).post("/v1/motions", json={"prompt": "a person walks"})
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})


def test_one_more_than_there_are_places_is_sent_away(service: FakeService) -> None:
    service.delay = 0.5
    with client_of(service, max_in_flight=1) as client:
        first = threading.Thread(target=client.post, args=("/v1/motions",), kwargs={"json": {"prompt": "a"}})
        first.start()
        time.sleep(0.2)
        second = client.post("/v1/motions", json={"prompt": "b"})
        first.join()
        assert (second.status_code, second.headers["Retry-After"]) == (503, "1")
        assert second.json() == {"detail": "all places are taken, try again"}
        assert client.post("/v1/motions", json={"prompt": "c"}).status_code == 200


def test_ready_when_the_model_answers(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(service)
    assert client.get("/readyz").json() == {"status": "ok"}
    service.error = RayActorError()
    assert client.get("/readyz").status_code == client.get("/v1/model").status_code == 503
    service.error, service.delay = None, 5.0
    monkeypatch.setattr(http_api, "READY_S", 0.1)
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").json() == {"status": "ok"}


def test_a_token_guards_the_model_alone(service: FakeService) -> None:
    client = client_of(service, TOKEN)
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200, path
    for path, body in (("/v1/model", None), ("/v1/motions", {"prompt": "a"})):
        method = "GET" if body is None else "POST"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            answer = client.request(method, path, json=body, headers=headers)
            assert (answer.status_code, answer.json()) == (401, {"detail": "a bearer token is needed"})
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert client.request(method, path, json=body, headers=BEARER).status_code == 200
    assert len(service.asked) == 1


@pytest.mark.parametrize("token", ["", TOKEN])
def test_docs_have_an_authorize_button_where_there_is_a_token(service: FakeService, token: str) -> None:
    page = client_of(service, token).get("/openapi.json").json()
    schemes = page["components"].get("securitySchemes", {})
    assert [scheme["scheme"] for scheme in schemes.values()] == (["bearer"] if token else [])
    assert ("security" in page["paths"]["/v1/motions"]["post"]) == bool(token)
    assert "security" not in page["paths"]["/healthz"]["get"]


@pytest.mark.parametrize("prefix", ["", "/motions"])
def test_all_that_the_docs_load_is_answered_by_this_server(service: FakeService, prefix: str) -> None:
    """A prefix is what Ray Serve sets where the application does not have the whole server."""
    api = build_api(service, MODEL, "", 2)
    client = TestClient(api, root_path=prefix)
    page = client.get(f"{prefix}/")
    assert page.url.path == f"{prefix}/docs"
    assert "://" not in page.text
    loaded = re.findall(r"""(?:href|src)="([^"]+)"|url: '([^']+)'""", page.text)
    assert len(loaded) == 4
    for found in loaded:
        path = "".join(found)
        assert path.startswith(f"{prefix}/")
        assert client.get(path).status_code == 200, path

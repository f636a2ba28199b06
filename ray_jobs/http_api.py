"""HTTP interface of a served model: routes, schemas of bodies, limits, bearer token and errors, without Ray Serve.

`build_api` makes the FastAPI application that `ray_jobs.serve` deploys. Every failure has the body
`{"detail": string}`. What `/docs` shows comes from the package fastapi-offline, so that it works without internet.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, Protocol

import numpy as np
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from pydantic import BaseModel, ConfigDict, Field, Strict, create_model
from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import RayServeException
from starlette.requests import ClientDisconnect

from motion.errors import InputError
from motion.errors.text_files import each_once
from motion.generator import MotionRequest
from motion.recipes import Recipe
from motion.sequence import SPLITS, MotionSequence
from motion.skeleton import ACTIONS, JOINT_NAMES, PERSON_CLASSES

MAX_BODY_BYTES = 64 * 1024
DEFAULT_FRAMES = 60
DECIMALS = 5  # a hundredth of a millimetre; all digits of a float32 would double the answer
READY_S = 10.0  # an answer that takes longer counts as none
BODY_S = 10.0  # a body that takes longer is not waited for, as it keeps a place from others
LOST = (RayActorError, RayServeException)
BROKEN = (TimeoutError, ClientDisconnect, TaskCancelledError, ExceptionGroup)  # the last from Starlette's middleware


# JSON's own types: "10" is no number, and true is none either.
Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Truth = Annotated[bool, Strict()]


class Service(Protocol):
    """Model behind the interface."""

    async def generate(self, request: MotionRequest) -> MotionSequence:
        """Sample a motion; raises InputError for a bad request."""

    async def describe(self) -> dict[str, Any]:
        """Describe the model: the fields of `ModelDescription`."""


class Failure(BaseModel):
    """Body of every answer that is no success."""

    detail: str = Field(description="One sentence: what was found, what was expected")


class Status(BaseModel):
    """Body of the answers to probes."""

    status: str = Field(description="ok")


class ModelDescription(BaseModel):
    """Model that is served."""

    version: str = Field(description="Start of the model file's sha256")
    recipe: Recipe = Field(description="Network, training, sampling, and the limits max_frames, max_persons, fps")


class MotionBody(BaseModel):
    """Body of POST /v1/motions; `limited` makes the one of a model."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"prompt": "a person walks forward", "seed": 7}}
    )

    prompt: str = Field(description="Scene caption; may be empty where person_prompts say all")
    num_frames: Integer = Field(DEFAULT_FRAMES, description="Length in frames at the model's fps")
    num_persons: Integer = Field(1, description="Number of persons")
    seed: Integer = Field(
        0,
        description="Seed of all random numbers; the same request and seed give the same motion",
        json_schema_extra={"minimum": 0, "maximum": 2**63 - 1},
    )
    guidance_scale: Number | None = Field(
        None, description="Scale of classifier-free guidance, 0 to 100; null takes the model's"
    )
    person_class: tuple[str, ...] = Field((), description="A class per person, or empty")
    action: tuple[str, ...] = Field((), description="An action per person for the whole motion, or empty")
    person_prompts: tuple[str, ...] = Field((), description="What each person does, beside or instead of the prompt")
    clean_up: Truth = Field(True, description="Lock feet, keep the floor and push persons apart")


def limited(recipe: Recipe) -> type[MotionBody]:
    """Make the body of a model, whose schema states the model's limits, names and default length.

    The limits are only stated: `Generator.check` tests them, so that there is one sentence about each.
    """
    network, frames = recipe.denoiser, min(DEFAULT_FRAMES, recipe.max_frames)
    fields: dict[str, Any] = {
        "num_frames": (Integer, _field("num_frames", frames, minimum=1, maximum=recipe.max_frames)),
        "num_persons": (Integer, _field("num_persons", 1, minimum=1, maximum=recipe.max_persons)),
        "person_class": (_one_of(network.person_classes, PERSON_CLASSES), _field("person_class", ())),
        "action": (_one_of(network.actions, ACTIONS), _field("action", ())),
    }
    return create_model("MotionBody", __base__=MotionBody, __doc__="Body of POST /v1/motions.", **fields)


def _field(name: str, default: object, **limits: int) -> Any:
    return Field(default, description=MotionBody.model_fields[name].description, json_schema_extra={**limits})


def _one_of(names: tuple[str, ...], known: tuple[str, ...]) -> Any:
    """Type of a list of some of these names, of those that this version knows."""
    name = Annotated[str, Field(json_schema_extra={"enum": [each for each in names if each in known]})]
    return tuple[name, ...]


Vector = Annotated[list[float], Field(min_length=3, max_length=3)]
Matrix = Annotated[list[Vector], Field(min_length=3, max_length=3)]


def numbered(names: tuple[str, ...]) -> str:
    """List names with their numbers, as a description says what the numbers of a field mean."""
    return ", ".join(f"{number} {name}" for number, name in enumerate(names))


class Motion(BaseModel):
    """Motion of one or more persons: SMPL parameters, the joints that follow from them, labels.

    World: right-handed, Z up, the floor at z = 0, metres. Arrays are nested lists, by person first, then by frame.
    """

    id: str = Field(description="Name that the same request to the same model always has")
    source: str = Field(description="generated")
    split: str = Field(description=f"One of {', '.join(SPLITS)}")
    fps: float = Field(description="Frames per second")
    body: str = Field(description="Body model that gave the joints")
    texts: list[str] = Field(description="Caption")
    scene_id: str | None = Field(description="Room in whose coordinates the motion lies; null without one")
    provenance: dict[str, str] = Field(
        description="Prompt, seed, guidance, model version; how far prompt and motion are from what it was trained on"
    )
    transl: list[list[Vector]] = Field(description="Translation of SMPL by person and frame, metres")
    global_orient: list[list[Matrix]] = Field(description="Rotation matrix pelvis to world by person and frame")
    body_pose: list[list[Annotated[list[Matrix], Field(min_length=23, max_length=23)]]] = Field(
        description="Rotation matrices of joints 1 to 23, each relative to its parent, by person and frame"
    )
    betas: list[Annotated[list[float], Field(min_length=10, max_length=10)]] = Field(
        description="Shape coefficients of the body by person"
    )
    joints: list[list[Annotated[list[Vector], Field(min_length=24, max_length=24)]]] = Field(
        description=f"Positions of the joints in metres by person and frame: {numbered(JOINT_NAMES)}"
    )
    valid: list[list[bool]] = Field(description="True where the person is there, by person and frame")
    person_class: list[int] = Field(description=f"Class by person: {numbered(PERSON_CLASSES)}")
    action: list[list[int]] = Field(description=f"Action by person and frame: {numbered(ACTIONS)}")


def to_json(sequence: MotionSequence) -> dict[str, object]:
    """Convert a record to its fields, arrays as nested lists of numbers with DECIMALS decimals."""
    return {name: _plain(value) for name, value in vars(sequence).items()}


def _plain(value: object) -> object:
    if not isinstance(value, np.ndarray):
        return value
    # As float64, or a rounded float32 shows all its binary digits.
    rounded = value.astype(np.float64).round(DECIMALS) if np.issubdtype(value.dtype, np.floating) else value
    return rounded.tolist()


def failure(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Build the answer of a failure."""
    return JSONResponse(Failure(detail=detail).model_dump(), status, headers)


def failures(**meanings: str) -> dict[int | str, dict[str, Any]]:
    """Describe the failures of a route for its schema, as `s400="what it means"`."""
    return {int(name[1:]): {"model": Failure, "description": meaning} for name, meaning in meanings.items()}


REFUSALS = failures(
    s400="A value that the model cannot take",
    s408=f"A body that did not arrive in {BODY_S:g} s",
    s411="No Content-Length",
    s413=f"More than {MAX_BODY_BYTES} bytes",
    s422="Not a body of this form",
    s503="All places are taken or replicas are lost; Retry-After says when to come back, in seconds",
)


def build_api(service: Service, model: dict[str, Any], token_digest: str, max_in_flight: int) -> FastAPI:
    """Build the application.

    Args:
        service: Model that answers.
        model: Its description, as `service.describe` gives it; the schema states its limits.
        token_digest: Hexadecimal sha256 of the bearer token; empty where all may come in.
        max_in_flight: Largest number of motions that are made at a time; more requests are answered 503.
    """
    described = ModelDescription(**model)
    recipe = described.recipe
    api = FastAPIOffline(
        title="carescene",
        description=f"Text to human motion. Model {described.version}, recipe {recipe.name}: up to {recipe.max_frames} "
        f"frames at {recipe.fps:g} fps of up to {recipe.max_persons} persons.",
        redoc_url=None,
    )
    api.middleware("http")(limit_length)
    api.add_exception_handler(RequestValidationError, explain_malformed)
    api.add_exception_handler(Exception, admit_mistake)
    api.include_router(open_routes(service))
    guards, refused = ([Depends(bearer_check(token_digest))], failures(s401="No token")) if token_digest else ([], {})
    api.include_router(model_routes(service, recipe, max_in_flight), dependencies=guards, responses=refused)
    return api


def bearer_check(token_digest: str) -> Callable[..., None]:
    """Make the dependency that answers 401 without the token of this sha256."""
    scheme = HTTPBearer(auto_error=False, description="Token that the server was started with")

    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        digest = hashlib.sha256(given.credentials.encode()).hexdigest() if given else ""
        if not hmac.compare_digest(token_digest, digest):
            raise HTTPException(401, "a bearer token is needed", {"WWW-Authenticate": "Bearer"})

    return check


async def limit_length(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Answer 411 and 413 for bodies of unknown or great length."""
    if request.method == "POST":
        length = request.headers.get("content-length", "")
        if not length.isdigit():
            return failure(411, "a Content-Length is needed")
        if len(length) > 12 or int(length) > MAX_BODY_BYTES:
            return failure(413, f"the body has {length} bytes, at most {MAX_BODY_BYTES} are read")
    return await call_next(request)


class JsonRoute(APIRoute):
    """Route that refuses a body that is no JSON object before FastAPI reads it, in one sentence."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Make the route's handler."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if request.method == "POST":
                refuse_other_form(request.headers.get("content-type", ""), await read_body(request))
            return await handle(request)

        return checked


async def read_body(request: Request) -> bytes:
    """Read the body, which the request then keeps; raises 408 for one that does not arrive."""
    try:
        return await asyncio.wait_for(request.body(), BODY_S)
    except BROKEN as error:
        raise HTTPException(408, f"the body did not arrive in {BODY_S:g} s, expected all of its bytes") from error


def refuse_other_form(content_type: str, body: bytes) -> None:
    """Raise 422 unless a body is a JSON object and is said to be JSON."""
    expected = "expected a JSON object with the header Content-Type: application/json"
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(422, f"the Content-Type is {content_type or 'missing'}, {expected}")
    try:
        found = json.loads(body, object_pairs_hook=each_once)
    except RecursionError:
        raise HTTPException(422, f"the body is nested too deeply, {expected}") from None
    except ValueError as error:
        raise HTTPException(422, f"the body is no JSON ({error}), {expected}") from error
    if not isinstance(found, dict):
        raise HTTPException(422, f"the body is {excerpt(found)}, {expected}")


async def explain_malformed(_: Request, error: Exception) -> Response:
    """Answer 422 with the places and faults of a body that is not of the schema's form."""
    assert isinstance(error, RequestValidationError)
    return failure(422, "; ".join(map(explain, error.errors())))


def explain(fault: dict[str, Any]) -> str:
    """Say where a body is malformed and what is expected there, in JSON's words."""
    expected = "Input should be a list, an entry a person" if fault["type"] == "tuple_type" else fault["msg"]
    found = "" if fault["type"] in ("missing", "extra_forbidden") else f", found {excerpt(fault['input'])}"
    return f"{'.'.join(map(str, fault['loc'][1:]))}: {expected}{found}"


def excerpt(value: object) -> str:
    """Show the start of a value of a body, in JSON's words."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


async def admit_mistake(_: Request, __: Exception) -> Response:
    """Answer 500; the error itself goes to the log."""
    return failure(500, "the server made a mistake, which is in its log")


def lost() -> Response:
    """Answer 503 where replicas are lost or do not answer."""
    return failure(503, "the model's replicas were lost or do not answer, try again", {"Retry-After": "5"})


async def to_docs(request: Request) -> Response:
    """Lead a person who comes to the address alone to the docs."""
    return RedirectResponse(f"{request.scope.get('root_path', '')}/docs")


def open_routes(service: Service) -> APIRouter:
    """Make the routes that need no token: the way to the docs, and probes."""
    routes = APIRouter()
    routes.add_api_route("/", to_docs, include_in_schema=False)

    @routes.get("/healthz")
    async def health() -> Status:
        """Answer that the server is up."""
        return Status(status="ok")

    @routes.get("/readyz", response_model=Status, responses=failures(s503="The model does not answer"))
    async def ready() -> Response:
        """Answer whether the model answers; under full load it may not."""
        try:
            await asyncio.wait_for(service.describe(), READY_S)
        except (TimeoutError, *LOST):
            return lost()
        return JSONResponse({"status": "ok"})

    return routes


def model_routes(service: Service, recipe: Recipe, max_in_flight: int) -> APIRouter:
    """Make the routes of the model."""
    routes, free = APIRouter(route_class=JsonRoute), asyncio.Semaphore(max_in_flight)
    Body = limited(recipe)

    @routes.get("/v1/model", response_model=ModelDescription, responses=failures(s503="Replicas are lost"))
    async def model() -> Response:
        """Describe the served model: its version and its recipe."""
        try:
            return JSONResponse(await service.describe())
        except LOST:
            return lost()

    @routes.post("/v1/motions", response_model=Motion, responses=REFUSALS)
    async def motions(body: Body) -> Response:  # type: ignore[valid-type]  # made for the model
        """Sample a motion."""
        if free.locked():
            return failure(503, "all places are taken, try again", {"Retry-After": "1"})
        async with free:
            return await make(service, body)

    return routes


async def make(service: Service, body: MotionBody) -> Response:
    """Sample the motion that a body asks for; answer 400 for a bad request, 503 when replicas are lost."""
    try:
        return JSONResponse(to_json(await service.generate(MotionRequest(**body.model_dump()))))
    except InputError as error:
        return failure(400, str(error))
    except LOST:
        return lost()

"""Generate labelled motions in bulk: a list of prompts to Parquet, through the served model.

    python -m ray_jobs.generate --model runs/first/model.safetensors --prompts prompts.txt --output generated/first

One prompt a line; a line that starts with { is a JSON object with fields of a request: prompt (required), num_frames,
num_persons, guidance_scale, person_class, action, person_prompts, clean_up (`motion.generator.MotionRequest` says what
each means; seeds are given by --seed), for example

    {"prompt": "a patient lies on the floor", "person_class": ["patient"], "action": ["laying_on_floor"]}

Instead of a list, the output folder of `ray_jobs.prepare` asks for the first caption of each clip of its test split, at
the clip's length, so that the two can be compared by `ray_jobs.evaluate`. Writes motions/*.parquet and
rejected/*.parquet (malformed lines, too), and exports/NAME/ for each of --exports; run again it makes only what is
missing.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import ray
from pydantic import TypeAdapter, ValidationError
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ApplicationStatus
from tqdm import tqdm

from motion.errors import InputError
from motion.errors.numbers import SEED, at_least, check_numbers
from motion.errors.text_files import each_once, read_text
from motion.generator import MotionRequest, load_model, request_id
from motion.parquet import iter_parquet, parquet_files
from motion.sequence import MotionSequence
from motion.skeleton import ACTIONS
from ray_jobs.common import cli, storage
from ray_jobs.common.exports import check_exports, export_motions
from ray_jobs.common.only_writer import writes_output
from ray_jobs.common.places import check_seen, settle
from ray_jobs.common.sampler import APPLICATION, Sampler, SamplerConfig, bind_sampler, deployed, sample

COUNTS = ("samples_per_prompt", "num_frames", "shard_size", "in_flight")
KNOWN: dict[str, Any] = {field.name: field.type for field in fields(MotionRequest) if field.name != "seed"}
LIST = re.compile(r"""\[\s*([{"]|$)|\]$""")  # a line of a JSON list

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GenerateConfig:
    """Settings of bulk generation."""

    model: str
    """File or URI of a training run's model.safetensors, which every node must see.

    Where `ray_jobs.serve` serves this very model on the cluster, its replicas are used; no other model's ever are.
    """
    prompts: str
    """Local text file with one prompt (or JSON request) a line, or the output folder or URI of `ray_jobs.prepare`."""
    output: str
    """Folder or URI (s3://…) to write to."""
    samples_per_prompt: int = 4
    """Motions for each prompt, each with a seed of its own."""
    num_frames: int = 60
    """Length in frames of prompts that do not say their own; 60 frames are 3 s at 20 fps."""
    seed: int = 0
    """Seed of the first sample; each next sample takes the next."""
    shard_size: int = 64
    """Motions per Parquet file; as many are lost at most when the job is stopped."""
    in_flight: int = 32
    """Requests given to the sampler at a time."""
    exports: tuple[str, ...] = ()
    """Formats of your own besides Parquet, each package.module:object.

    The object is a function that writes a motion to a file (see .github/EXTENDING.md); motions that an earlier run made
    are exported, too.
    """
    max_rejected_fraction: float = 0.05
    """Share of rejected requests and exports above which the job fails at its end; good output is kept."""

    def __post_init__(self) -> None:
        cli.check_fraction(self.max_rejected_fraction)
        check_numbers(self, {**dict.fromkeys(COUNTS, at_least(1)), "seed": SEED})
        settle(self, "model", "prompts")


@writes_output
def generate(config: GenerateConfig) -> None:
    """Generate every requested motion that the output lacks, and export those that were not exported yet."""
    check_exports(config.exports)
    requests, bad = read_requests(config)
    check_seen(config.model)
    rejected = storage.join(config.output, "rejected")
    storage.delete_folder(rejected)  # rejected requests are tried anew
    asked = len(requests) + len(bad)
    with sampler_of(config.model) as sampler:
        bad += asyncio.run(generate_missing(sampler, requests, config))
    for name in config.exports:
        count, reasons = export_motions(config.output, name)
        asked, bad = asked + count, bad + reasons
    storage.write_rejected(rejected, bad)
    cli.write_config(config, config.output)
    cli.check_rejected(
        bad, asked, "requests and exports" if config.exports else "requests", config.max_rejected_fraction, rejected
    )
    cli.conclude(f"the motions lie in {config.output}", "motion.render", storage.join(config.output, "motions"))


@contextmanager
def sampler_of(model: str) -> Iterator[DeploymentHandle[Sampler]]:
    """Give the sampler of this very model: of an application of ours that serves it on this cluster, or a new one."""
    version = load_model(model).version
    for name, running in serve.status().applications.items():
        ours = name.startswith(APPLICATION) and "Sampler" in running.deployments
        if ours and running.status == ApplicationStatus.RUNNING:
            sampler: DeploymentHandle[Sampler] = serve.get_deployment_handle("Sampler", name)
            if served_version(sampler) == version:
                logger.info("model %s is served on this cluster by %s, which is used", version, name)
                yield sampler
                return
    job = ray.get_runtime_context().get_job_id()
    with deployed(bind_sampler(SamplerConfig(model)), f"{APPLICATION}-{version}-{job}") as sampler:
        yield sampler


def served_version(sampler: DeploymentHandle[Sampler]) -> str | None:
    """Ask an application for its model's version; None, and a line in the log, where it ends or is too busy to say."""
    try:
        return str(sampler.describe.remote().result(timeout_s=60)["version"])
    except (RayError, RayServeException, TimeoutError) as error:
        logger.warning("%s does not say which model it serves (%s), so it is not used", sampler, type(error).__name__)
        return None


def read_requests(config: GenerateConfig) -> tuple[list[MotionRequest], list[tuple[str, str]]]:
    """Read every sample of every prompt, and (place, reason) for each that a malformed line lacks; seeds are kept."""
    motions = storage.join(config.prompts, "motions")
    bad: list[tuple[str, str]] = []
    if parquet_files(motions):
        asked = dict(enumerate(read_captions(motions)))
    else:
        asked, bad = read_prompts(Path(config.prompts), config.num_frames)
    count = config.samples_per_prompt
    seeds = ((request, config.seed + place * count + k) for place, request in asked.items() for k in range(count))
    return [replace(request, seed=seed) for request, seed in seeds], [row for row in bad for _ in range(count)]


def read_captions(motions: str) -> list[MotionRequest]:
    """Read requests like the captioned clips of the test split; raises InputError when there is none."""
    clips = (clip for clip in iter_parquet(MotionSequence, motions) if clip.split == "test" and clip.texts)
    asked = [like(clip) for clip in clips]
    if not asked:
        raise InputError(
            f"{motions} holds no clip of the test split that has a caption; prepare it with --held-out 0.1"
        )
    return asked


def like(clip: MotionSequence) -> MotionRequest:
    """Make the request for a motion like this clip: first caption, length, number of persons, their first actions."""
    action = tuple(ACTIONS[code] for code in clip.action[:, 0]) if clip.action[:, 0].any() else ()
    return MotionRequest(clip.texts[0], clip.num_frames, clip.num_persons, action=action)


def read_prompts(path: Path, num_frames: int) -> tuple[dict[int, MotionRequest], list[tuple[str, str]]]:
    """Read a list of prompts, of `num_frames` frames unless a line says more.

    Returns the requests by their place among the lines that are not blank, and (place, reason) of malformed lines.
    Raises InputError for a file that is missing, a table, or without any good line.
    """
    if not path.is_file():
        raise InputError(f"no prompt list at {path}, expected a text file with one prompt a line, or prepared data")
    expected = "expected one prompt or JSON object a line"
    if path.suffix.lower() in (".csv", ".tsv"):
        raise InputError(f"{path} is a table, {expected}; save its column of prompts as text")
    lines = [(n, line) for n, line in enumerate(read_text(path, expected).split("\n"), 1) if line.strip()]
    asked, bad = {}, []
    for place, (n, line) in enumerate(lines):
        try:
            asked[place] = parse_line(line, num_frames, f"{path}:{n}")
        except InputError as error:
            bad.append((f"{path.name}:{n}", str(error)))
    if not asked:
        raise InputError(bad[0][1] if bad else f"{path} holds no prompt, {expected}")
    return asked, bad


def parse_line(line: str, num_frames: int, where: str) -> MotionRequest:
    """Parse a prompt or a JSON request; `where` names the line in the InputError that is raised for a malformed one."""
    if LIST.match(line.strip()):
        raise InputError(f"{where} is part of a JSON list, expected a prompt or one JSON object a line, without commas")
    if not line.lstrip().startswith("{"):
        return MotionRequest(line.strip(), num_frames)
    try:
        values = json.loads(line, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON: {error}") from error
    return _request({"num_frames": num_frames} | values, where)


def _request(values: dict[str, Any], where: str) -> MotionRequest:
    """Check the fields of a request and build it; raises InputError that names the field."""
    if "seed" in values:
        raise InputError(f"{where} has a seed, which --seed gives: of the first sample, each next one takes the next")
    if unknown := sorted(values.keys() - KNOWN):
        raise InputError(f"{where} has the unknown field(s) {', '.join(unknown)}; known are {', '.join(sorted(KNOWN))}")
    if "prompt" not in values:
        raise InputError(f"{where} has no prompt")
    return MotionRequest(**{name: _field(name, value, where) for name, value in values.items()})


def _field(name: str, value: object, where: str) -> Any:
    """Check the type of a field, as JSON has it: true and "10" are no numbers."""
    try:
        given = tuple(value) if isinstance(value, list) else value
        return TypeAdapter(KNOWN[name]).validate_python(given, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        expected = "expected a list, an entry a person" if first["type"] == "tuple_type" else first["msg"]
        raise InputError(f"{where}: {name} is {first['input']!r}: {expected}") from error


async def generate_missing(
    sampler: DeploymentHandle[Sampler], requests: list[MotionRequest], config: GenerateConfig
) -> list[tuple[str, str]]:
    """Sample what is not in the output yet, write it shard by shard as it comes and return (id, reason) of the bad."""
    version = (await sampler.describe.remote())["version"]
    motions = storage.join(config.output, "motions")
    done = set(storage.read_column(motions, "id"))
    missing = [request for request in requests if request_id(request, version) not in done]
    bad: list[tuple[str, str]] = []
    with tqdm(total=len(requests), initial=len(requests) - len(missing), desc="generate") as bar:
        for shard in chunks(missing, config.shard_size):
            good = await sample_shard(sampler, shard, version, config.in_flight, bad, bar.update)
            storage.write_shard(motions, good)
    return bad


async def sample_shard(
    sampler: DeploymentHandle[Sampler],
    requests: list[MotionRequest],
    version: str,
    in_flight: int,
    bad: list[tuple[str, str]],
    advance: Callable[[int], object],
) -> list[MotionSequence]:
    """Sample requests; return the good motions, and append (id, reason) of bad requests to `bad`."""
    places = asyncio.Semaphore(in_flight)

    async def one(request: MotionRequest) -> MotionSequence | None:
        async with places:
            try:
                return await sample(sampler, request)
            except InputError as error:
                bad.append((request_id(request, version), str(error)))
                return None
            finally:
                advance(1)

    sampled = await asyncio.gather(*(one(request) for request in requests))
    return [sequence for sequence in sampled if sequence is not None]


def chunks(requests: list[MotionRequest], size: int) -> Iterator[list[MotionRequest]]:
    """Split requests into parts of `size`."""
    for start_index in range(0, len(requests), size):
        yield requests[start_index : start_index + size]


if __name__ == "__main__":
    cli.run(generate, GenerateConfig, __doc__ or "")

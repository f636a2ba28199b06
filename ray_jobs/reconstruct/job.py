"""The job: which sequences are missing, their way through the stages, and what is said meanwhile and at the end."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import ray
import ray.data
from PIL import Image

from motion.errors import InputError
from ray_jobs.common import cli, storage
from ray_jobs.common.attempts import ATTEMPTS, lasting
from ray_jobs.common.batcher import INSIDE
from ray_jobs.common.fetching import at_hand, list_folders
from ray_jobs.common.flow import StageUse, describe
from ray_jobs.common.only_writer import writes_output
from ray_jobs.common.parts import PARTS, ROWS, finished, publish
from ray_jobs.common.places import check_seen, require_weights
from ray_jobs.common.resources import check_resources
from ray_jobs.common.tracker import tracked
from ray_jobs.pages.reconstruction_page import render
from ray_jobs.reconstruct.config import FIXED_SETTINGS, NETWORKS, ReconstructConfig
from ray_jobs.reconstruct.plan import calibrate, count_all, describe_counts, describe_times, scratch
from ray_jobs.reconstruct.progress import Progress
from ray_jobs.reconstruct.stages import (
    KINDS,
    NO_ROOM,
    BodyActor,
    DepthActor,
    FitActor,
    Row,
    decode,
    make_bodies,
    name_of,
    sheet_uri,
    weights_at_hand,
)
from recon.teton import list_sequences, require_file_names, require_readable

ACTOR_CPUS = 0.5  # more, and a small machine has no CPU left for the tasks that feed the actors
PAGE = "reconstruction.html"
PICTURE_WIDTH = 1000

logger = logging.getLogger(__name__)


@writes_output
def reconstruct(config: ReconstructConfig) -> None:
    """Reconstruct the sequences that the output lacks; raises InputError when too many are rejected."""
    places = list_places(config.rooms)
    require_weights(config, *NETWORKS)
    require_file_names([Path(name_of(place)) for place in places])
    require_readable(_at_hand_in_turn(places))
    check_seen(config.rooms, *(str(getattr(config, name)) for name in NETWORKS))
    check_actors(config)
    if config.plan:
        make_plan(places, config)
    else:
        _reconstruct_missing(places, config)


def _reconstruct_missing(places: list[str], config: ReconstructConfig) -> None:
    cli.refuse_other_settings(config.output, config, FIXED_SETTINGS)
    published, waiting = finished(config.output, KINDS, [name_of(place) for place in places])
    crop_size = ray.get(ray.remote(num_gpus=config.num_gpus)(check_models).remote(config))
    with tracked(config) if config.tracking_uri else nullcontext() as tracker:
        cli.write_config(config, config.output)
        done = published.union(waiting)
        missing = [place for place in places if name_of(place) not in done]
        rejected, attempts = (storage.join(config.output, name) for name in ("rejected", ATTEMPTS))
        for folder in (rejected, attempts):  # what was rejected is tried anew; a killed job left its counters
            storage.delete_folder(folder)
        with Progress(len(places), len(places) - len(missing), tracker) as progress:
            for row in reconstruct_all(missing, crop_size, config):
                _require_room(row["reason"], config.output)
                progress.add(row)
                waiting += [] if row["reason"] else [row["id"]]
                if len(waiting) >= ROWS:
                    publish(config.output, KINDS, waiting)
                    waiting = []
        publish(config.output, KINDS, waiting)
        for folder in (storage.join(config.output, PARTS), attempts):
            storage.delete_folder(folder)
        reasons = storage.read_rows(rejected, ("id", "reason"))
        before = len(places) - len(missing)
        logger.info("%d sequences, %d of them there before, %d rejected", len(places), before, len(reasons))
        _write_page(config.output, progress.flow.uses(), reasons)
        cli.check_rejected(reasons, len(places), "sequences", config.max_rejected_fraction, rejected)
    look = f"motions, scenes and contact sheets (sheets/) lie in {config.output}, described by its {PAGE}"
    cli.conclude(look, "ray_jobs.prepare --output data/first --sources", f"teton:{config.output}")


def _write_page(output: str, uses: list[StageUse], reasons: list[tuple[Any, ...]]) -> None:
    """Write the page about the output, and log how the stages of this run were used."""
    if uses:
        logger.info("%s", describe(uses))
    page = render(storage.join(output, "motions"), uses, reasons, partial(picture, output))
    storage.write_bytes(storage.join(output, PAGE), page.encode())


def _require_room(reason: str, output: str) -> None:
    """Raise InputError where a disk had no room for a row."""
    if reason.startswith(NO_ROOM):
        raise InputError(
            f"{reason}; make room in {output} and in the temporary folder, and run the same command again: it goes on"
        )


def list_places(rooms: str) -> list[str]:
    """List the folders or URIs of the sequences of a Teton tree; raises InputError where there is none."""
    places = list_folders(rooms) if "://" in rooms else [str(folder) for folder in list_sequences(Path(rooms))]
    if not places:
        raise InputError(f"{rooms} holds no sequence, expected folders DEPARTMENT/DEVICE/DATE/DATETIME in it")
    return places


def _at_hand_in_turn(places: Sequence[str]) -> Iterator[Path]:
    for place in places:
        with at_hand(place) as folder:
            yield folder


def make_plan(places: list[str], config: ReconstructConfig) -> None:
    """Print what there is to do, and with a sample how long it will take; nothing of the sample is kept."""
    counts = count_all(places)
    print(describe_counts(counts))
    if not config.calibrate:
        print("--calibrate N reconstructs N of them, to say how long all will take")
        return
    place = scratch(config)
    try:
        sample = replace(config, output=place, plan=False, calibrate=0)
        crop_size = ray.get(ray.remote(num_gpus=config.num_gpus)(check_models).remote(sample))
        run = partial(reconstruct_all, crop_size=crop_size, config=sample)
        times = calibrate(places, counts, config, run, processes(config))
    finally:
        storage.delete_folder(place)
    print(describe_times(times, len(places)))


def processes(config: ReconstructConfig) -> dict[str, float]:
    """Count the processes of each stage; without GPUs the body network's actors decode, with them all free CPUs do."""
    networks, fits = config.body_actors + config.depth_actors, fit_actors(config)
    free = ray.cluster_resources().get("CPU", 1.0) - ACTOR_CPUS * (networks + fits)
    decoding = max(1.0, free / ACTOR_CPUS) if config.num_gpus else float(config.body_actors)
    return {"decode": decoding, "body": config.body_actors, "depth": config.depth_actors, "fit": fits}


def check_actors(config: ReconstructConfig) -> None:
    """Raise InputError where the cluster has too few CPUs or GPUs for the actors."""
    network, fit = ({"CPU": ACTOR_CPUS, "GPU": gpus} for gpus in (config.num_gpus, config.fit_gpus))
    flags = "--body-actors, --depth-actors, --fit-actors, --num-gpus or --fit-gpus"
    networks, decode = (config.body_actors + config.depth_actors, network), (1, {"CPU": ACTOR_CPUS})
    check_resources("reconstruction", flags, networks, (fit_actors(config), fit), decode)


def picture(output: str, name: str) -> bytes:
    """Read the contact sheet of a sequence as a JPEG for the page; empty where it was deleted."""
    uri, content = sheet_uri(output, name), BytesIO()
    if not storage.exists(uri):
        return b""
    sheet = Image.open(BytesIO(storage.read_bytes(uri))).convert("RGB")
    sheet.thumbnail((PICTURE_WIDTH, PICTURE_WIDTH))
    sheet.save(content, "JPEG", quality=80)
    return content.getvalue()


def fit_actors(config: ReconstructConfig) -> int:
    """Count the actors that fit: as many as asked for, or as the cluster has CPUs, and GPUs, that no other takes."""
    networks, there = config.body_actors + config.depth_actors, ray.cluster_resources()
    free = there.get("CPU", 0.0) - ACTOR_CPUS * (networks + 1)  # one decodes
    if config.fit_gpus:
        free = min(free, (there.get("GPU", 0.0) - config.num_gpus * networks) / config.fit_gpus)
    return config.fit_actors or max(1, int(free))


def check_models(config: ReconstructConfig) -> int:
    """Load everything once where the actors will and return the body network's crop size in pixels.

    A missing file is the job's error, not one of every sequence.
    """
    DepthActor(config)
    with weights_at_hand(config) as here:
        make_bodies(here)
    return BodyActor(config).regressor.crop_size


def reconstruct_all(places: list[str], crop_size: int, config: ReconstructConfig) -> Iterable[Row]:
    """Yield one row as each sequence is written or rejected."""
    if not places:
        return []

    def pool(actors: int, num_gpus: float) -> dict[str, Any]:
        strategy = ray.data.ActorPoolStrategy(
            size=actors,
            max_tasks_in_flight_per_actor=INSIDE,  # more would queue at the first actor that is there, for ever
            max_concurrent_calls_per_actor=INSIDE,
            enable_true_multi_threading=True,
        )
        made = {"fn_constructor_args": [config], "batch_size": 1, "compute": strategy}
        return made | {"num_cpus": ACTOR_CPUS, "num_gpus": num_gpus}

    with ray.data.DataContext.current(lasting()):
        rows = ray.data.from_items([{"folder": place} for place in places], override_num_blocks=len(places))
    return (
        rows.map(partial(decode, crop_size=crop_size, output=config.output), num_cpus=ACTOR_CPUS)
        .map_batches(BodyActor, **pool(config.body_actors, config.num_gpus))
        .map_batches(DepthActor, **pool(config.depth_actors, config.num_gpus))
        .map_batches(FitActor, **pool(fit_actors(config), config.fit_gpus))
        .iter_rows()
    )

"""Plan of the job: what there is to do, and how long the given actors will take, by a sample that is reconstructed."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import ray
from tqdm import tqdm

from motion.errors import InputError
from ray_jobs.common import storage
from ray_jobs.common.fetching import at_hand
from ray_jobs.common.flow import Flow
from ray_jobs.reconstruct.config import ReconstructConfig
from ray_jobs.reconstruct.stages import Row
from recon.teton import read_sequence

COUNTED_TOGETHER = 64
WORK = {"decode": "crops", "body": "crops", "depth": "keyframes", "fit": "crops"}
"""Work that a stage's time grows with."""
FLAGS = {"decode": "--body-actors", "body": "--body-actors", "depth": "--depth-actors", "fit": "--fit-actors"}
"""Flag that widens a stage; without GPUs the body network's actors decode, too."""
ALL_CPUS = "all CPUs"
SUMMED = ("frames", "crops", "keyframes", "bytes")


@dataclass(frozen=True)
class Count:
    """Work in one sequence."""

    frames: int = 0
    crops: int = 0
    keyframes: int = 0
    bytes: int = 0
    reason: str = ""
    """Why it cannot be read; empty where it can."""


@dataclass(frozen=True)
class StageTime:
    """Time that a stage will take for all sequences."""

    stage: str
    processes: float
    seconds: float
    """Seconds that one process would compute."""

    @property
    def hours(self) -> float:
        """Hours that all its processes take."""
        return self.seconds / self.processes / 3600


def count_all(places: Sequence[str]) -> list[Count]:
    """Count the work in all sequences, on all CPUs of the cluster."""
    asked = [_count_some.remote(places[k : k + COUNTED_TOGETHER]) for k in range(0, len(places), COUNTED_TOGETHER)]
    return [count for some in tqdm(asked, desc="count", unit="sequences × 64") for count in ray.get(some)]


@ray.remote
def _count_some(places: Sequence[str]) -> list[Count]:
    return [count(place) for place in places]


def count(place: str) -> Count:
    """Count the work in a sequence."""
    try:
        with at_hand(place) as folder:
            sequence = read_sequence(folder)
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    except InputError as error:
        return Count(reason=" ".join(str(error).split()))
    crops = int(sum(track.present.sum() for track in sequence.tracks))
    return Count(sequence.num_frames, crops, len(sequence.keyframes), size)


def describe_counts(counts: Sequence[Count]) -> str:
    """Put the sums into a sentence, with the first reason of those that cannot be read."""
    frames, crops, keyframes, size = (sum(getattr(c, name) for c in counts) for name in SUMMED)
    unread = [each.reason for each in counts if each.reason]
    lost = f"; {len(unread)} cannot be read, the first: {unread[0]}" if unread else ""
    return (
        f"{len(counts):,} sequences: {frames:,} frames, {crops:,} crops of persons, {keyframes:,} key frames, "
        f"{size / 1e9:.2f} GB{lost}"
    )


def calibrate(
    places: Sequence[str],
    counts: Sequence[Count],
    config: ReconstructConfig,
    run: Callable[[list[str]], Iterable[Row]],
    processes: dict[str, float],
) -> list[StageTime]:
    """Reconstruct a sample by `run` and scale what each stage computed to all sequences.

    `processes` are those of each stage. Raises InputError where no sequence of the sample could be reconstructed.
    """
    good = [k for k, each in enumerate(counts) if not each.reason]
    step = max(1, len(good) // config.calibrate)
    sample = good[::step][: config.calibrate]
    flow, made, reasons = Flow(), 0, [""]
    for row in tqdm(run([places[k] for k in sample]), desc="calibrate", total=len(sample), unit="sequence"):
        flow.add(row["visits"])
        made += not row["reason"]
        reasons.append(row["reason"])
    if not made:
        raise InputError(f"none of {len(sample)} sequences of the sample could be reconstructed: {max(reasons)}")
    times = []
    for use in flow.uses():
        name = WORK[use.stage]
        share = sum(getattr(counts[k], name) for k in sample) / sum(getattr(each, name) for each in counts)
        seconds = use.busy * use.workers * flow.seconds / share
        times.append(StageTime(use.stage, processes[use.stage], seconds))
    return times if config.num_gpus else [*times, _of_all_cpus(times)]


def _of_all_cpus(times: Sequence[StageTime]) -> StageTime:
    """Sum what the stages compute on CPUs, all of which decoding shares with the body network's process."""
    cpus = ray.cluster_resources().get("CPU", 1.0)
    if len(ray.nodes()) == 1:
        cpus = min(cpus, os.cpu_count() or 1)
    return StageTime(ALL_CPUS, cpus, sum(each.seconds for each in times if each.stage != "decode"))


def describe_times(times: Sequence[StageTime], sequences: int) -> str:
    """Put the stages into a table, and under it the whole time and what would make it shorter."""
    slowest = max(times, key=lambda each: each.hours)
    hours = max(slowest.hours, 1e-9)
    rows = [
        f"{each.stage:10}{each.seconds / 3600:10.2f} h of one process{each.processes:7.1f} processes{each.hours:9.2f} h"
        for each in times
    ]
    wider = "more CPUs or machines" if slowest.stage == ALL_CPUS else f"more of {FLAGS[slowest.stage]}"
    return "\n".join(
        [
            *rows,
            f"{hours:.2f} h, {sequences / hours:,.0f} sequences an hour: {slowest.stage} takes longest, and {wider} "
            "would make it shorter",
        ]
    )


def scratch(config: ReconstructConfig) -> str:
    """Name the folder of the output in which a sample is reconstructed."""
    return storage.join(config.output, "plan")

"""Plan of a job: sums of the work, and a sample's time scaled to all of it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from motion.errors import InputError
from ray_jobs.reconstruct import ReconstructConfig
from ray_jobs.reconstruct.plan import ALL_CPUS, Count, StageTime, calibrate, count, describe_counts, describe_times
from tests.helpers.rooms import render

COUNTS = [Count(10, 20, 2, 5_000_000), Count(10, 20, 2, 5_000_000), Count(reason="b: no frames"), Count(20, 60, 6, 0)]
PLACES = ["a", "b", "c", "d"]


def test_a_sequence_is_counted_or_its_reason_is(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "c" / "d"
    sequence = render(folder, 1).sequence
    found = count(str(folder))
    assert (found.frames, found.keyframes, found.reason) == (6, len(sequence.keyframes), "")
    assert found.crops == sum(track.present.sum() for track in sequence.tracks)
    assert found.bytes == sum(path.stat().st_size for path in folder.rglob("*.*") if path.is_file())
    (folder / "annotations.json").write_text("{")
    assert "annotations.json: is not JSON" in count(str(folder)).reason


def test_counts_are_one_sentence() -> None:
    assert describe_counts(COUNTS) == (
        "4 sequences: 40 frames, 100 crops of persons, 10 key frames, 0.01 GB; "
        "1 cannot be read, the first: b: no frames"
    )


def rows(places: list[str], reason: str = "") -> Iterable[dict[str, Any]]:
    """Make rows that were in each stage for ten seconds: body computed for 2 s of them, depth 1 s, the fit 8 s."""
    for _ in places:
        visits = [["body", "a", 0, 10, 0, 2], ["depth", "b", 0, 10, 0, 1], ["fit", "c", 0, 10, 0, 8]]
        yield {"reason": reason, "visits": "".join(json.dumps(visit) + "\n" for visit in visits)}


def test_a_sample_is_scaled_by_what_each_stages_time_grows_with(ray_cluster: None) -> None:
    asked: list[str] = []

    def run(places: list[str]) -> Iterable[dict[str, Any]]:
        asked.extend(places)
        return rows(places)

    config = ReconstructConfig("rooms", "out", plan=True, calibrate=1)
    times = calibrate(PLACES, COUNTS, config, run, {"body": 1, "depth": 1, "fit": 2})
    assert asked == ["a"]
    found = {each.stage: (round(each.seconds, 6), each.processes) for each in times}
    assert {name: found[name] for name in ("body", "depth", "fit")} == {
        "body": (10.0, 1),  # a fifth of the crops
        "depth": (5.0, 1),  # a fifth of the key frames
        "fit": (40.0, 2),
    }
    assert found[ALL_CPUS][0] == 55
    with_gpus = calibrate(PLACES, COUNTS, ReconstructConfig("rooms", "out", plan=True, calibrate=1, num_gpus=1), run, {
        "body": 1, "depth": 1, "fit": 2
    })  # fmt: skip
    assert [each.stage for each in with_gpus] == ["body", "depth", "fit"]


def test_a_sample_of_nothing_but_rejected_is_an_error(ray_cluster: None) -> None:
    config = ReconstructConfig("rooms", "out", plan=True, calibrate=2)
    with pytest.raises(InputError, match="none of 2 sequences of the sample could be reconstructed: no floor"):
        calibrate(PLACES, COUNTS, config, lambda places: rows(places, "no floor"), {"body": 1, "depth": 1, "fit": 2})


def test_the_slowest_stage_says_what_would_help() -> None:
    times = [StageTime("body", 1, 3600), StageTime("fit", 4, 36_000), StageTime(ALL_CPUS, 16, 39_600)]
    lines = describe_times(times, 5000).splitlines()
    assert lines[1].split() == ["fit", "10.00", "h", "of", "one", "process", "4.0", "processes", "2.50", "h"]
    assert lines[-1] == (
        "2.50 h, 2,000 sequences an hour: fit takes longest, and more of --fit-actors would make it shorter"
    )
    assert "more CPUs or machines" in describe_times([StageTime(ALL_CPUS, 2, 7200)], 10)


def test_a_sample_without_a_plan_is_refused() -> None:
    with pytest.raises(InputError, match="--calibrate is 3 without --plan, expected them together"):
        ReconstructConfig("rooms", "out", calibrate=3)

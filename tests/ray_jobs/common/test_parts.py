"""Rows that are finished one at a time and published together, by jobs that are killed anywhere between."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from motion.body import load_body
from motion.errors import InputError
from motion.parquet import parquet_files
from motion.sequence import MotionSequence
from ray_jobs.common import parts, storage
from ray_jobs.common.parts import finished, publish, write_part
from tests.helpers.clips import random_clip
from tests.helpers.object_store import bucket

KINDS = ("scenes", "motions")
IDS = ["a", "b", "c"]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with bucket() as uri:
        yield uri


@pytest.fixture(params=["local", "s3"])
def output(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a folder that does not exist yet, on this machine or in the bucket."""
    return str(tmp_path / "new") if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


@pytest.fixture(scope="module")
def clip() -> MotionSequence:
    return random_clip(load_body())


def write(output: str, clip: MotionSequence, ids: list[str]) -> None:
    """Finish rows; what is written as each kind does not matter."""
    for name in ids:
        for kind in KINDS:
            write_part(output, kind, replace(clip, id=name), name)


def read(output: str, kind: str) -> list[str]:
    return storage.read_column(storage.join(output, kind), "id")


def files(output: str, *names: str) -> int:
    return len(parquet_files(storage.join(output, *names)))


def test_rows_are_published_together_and_nowhere_else(output: str, clip: MotionSequence) -> None:
    write(output, clip, ["b", "c", "a"])
    assert finished(output, KINDS, [*IDS, "d"]) == (set(), IDS)
    assert read(output, "motions") == []
    publish(output, KINDS, ["c", "a"])
    assert [read(output, kind) for kind in KINDS] == [["a", "c"]] * 2
    assert finished(output, KINDS, [*IDS, "d"]) == ({"a", "c"}, ["b"])
    publish(output, KINDS, ["b"])
    publish(output, KINDS, [])
    assert [sorted(read(output, kind)) for kind in KINDS] == [IDS] * 2
    assert (files(output, "motions"), files(output, "parts")) == (2, 0)


def test_a_row_without_its_last_record_is_not_finished(tmp_path: Path, clip: MotionSequence) -> None:
    write_part(str(tmp_path), "scenes", replace(clip, id="a"), "a")
    assert finished(str(tmp_path), KINDS, IDS) == (set(), [])


def test_what_is_published_without_its_fellow_counts_as_lost(tmp_path: Path, clip: MotionSequence) -> None:
    output = str(tmp_path)
    write(output, clip, IDS)
    publish(output, KINDS, ["a", "b"])
    publish(output, KINDS, ["c"])
    (tmp_path / "scenes" / storage.shard_name(["a", "b"])).unlink()
    assert finished(output, KINDS, IDS) == ({"c"}, [])
    assert read(output, "motions") == ["c"]


def test_motions_of_another_job_are_left_alone_and_refused(tmp_path: Path, clip: MotionSequence) -> None:
    storage.write_shard(str(tmp_path / "motions"), [replace(clip, id="a"), replace(clip, id="generated")])
    with pytest.raises(InputError, match="holds generated and has no file of its name .* take another --output"):
        finished(str(tmp_path), KINDS, IDS)
    assert read(str(tmp_path), "motions") == ["a", "generated"]


@pytest.mark.parametrize("survived", range(8))
def test_wherever_a_job_is_killed_each_row_is_read_at_most_once_and_none_is_lost(
    survived: int, tmp_path: Path, clip: MotionSequence, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files are written and six are deleted; the job dies at the first, the second, and so on."""
    output, left = str(tmp_path), iter([True] * survived)

    def mortal(function: Callable[..., None]) -> Callable[..., None]:
        def called(*args: Any) -> None:
            if not next(left, False):
                raise KeyboardInterrupt
            function(*args)

        return called

    write(output, clip, IDS)
    with monkeypatch.context() as patched:
        patched.setattr(parts, "write_table", mortal(parts.write_table))
        patched.setattr(storage, "delete_file", mortal(storage.delete_file))
        with pytest.raises(KeyboardInterrupt):
            publish(output, KINDS, IDS)
    assert [read(output, kind) in ([], IDS) for kind in KINDS] == [True] * 2
    published, waiting = finished(output, KINDS, IDS)
    assert [set(read(output, kind)) for kind in KINDS] == [published] * 2
    assert sorted([*published, *waiting]) == IDS
    publish(output, KINDS, waiting)
    assert [read(output, kind) for kind in KINDS] == [IDS] * 2
    assert files(output, "parts") == 0

"""Files of the jobs in a local folder, behind a file:// URI, and in a bucket of an S3 server in this process."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from motion.body import load_body
from motion.parquet import parquet_files, write_table
from motion.sequence import MotionSequence, read_motions
from ray_jobs.common import storage
from tests.helpers.clips import random_clip
from tests.helpers.object_store import bucket


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with bucket() as uri:
        yield uri


@pytest.fixture(params=["path", "file"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a local folder that does not exist yet."""
    return str(tmp_path / "new") if request.param == "path" else (tmp_path / "new").as_uri()


@pytest.fixture(params=["local", "s3"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a folder that does not exist yet, on this machine or in the bucket."""
    return str(tmp_path / "new") if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


@pytest.fixture(scope="module")
def clip() -> MotionSequence:
    return random_clip(load_body())


def test_names_are_joined_with_one_slash() -> None:
    assert storage.join("s3://bucket/a/", "b", "c.txt") == "s3://bucket/a/b/c.txt"
    assert storage.join("s3://bucket/a?scheme=http", "b", "c.txt") == "s3://bucket/a/b/c.txt?scheme=http"
    assert storage.join("/what?x=1", "b") == "/what?x=1/b"
    assert storage.join(Path("/a/b"), "c") == "/a/b/c"
    assert storage.join("a") == "a"


def test_a_file_is_there_once_written_and_gone_with_its_folder(anywhere: str) -> None:
    file = storage.join(anywhere, "deep", "a.txt")
    assert not storage.exists(file)
    storage.write_bytes(file, b"first")
    storage.write_bytes(file, b"second")
    assert storage.read_bytes(file) == b"second"
    assert storage.exists(file)
    assert storage.exists(storage.join(anywhere, "deep"))
    storage.delete_folder(storage.join(anywhere, "deep"))
    assert not storage.exists(file)
    storage.delete_folder(storage.join(anywhere, "deep"))


def test_columns_and_rows_of_all_files_are_read_in_the_files_order(folder: str) -> None:
    assert storage.read_column(folder, "id") == []
    assert storage.read_rows(folder, ("id", "size")) == []
    write_table(pa.table({"id": ["c"], "size": [3]}), storage.join(folder, "b.parquet"))
    write_table(pa.table({"id": ["a", "b"], "size": [1, 2]}), storage.join(folder, "a.parquet"))
    assert storage.read_column(folder, "id") == ["a", "b", "c"]
    assert storage.read_rows(folder, ("size", "id")) == [(1, "a"), (2, "b"), (3, "c")]
    assert storage.read_rows(storage.join(folder, "b.parquet"), ("id",)) == [("c",)]


def test_a_shard_written_twice_is_one_file_named_after_its_ids(folder: str, clip: MotionSequence) -> None:
    both = [clip, replace(clip, id="other")]
    for _ in range(2):
        storage.write_shard(folder, both)
    name = hashlib.sha256(b"clip\nother").hexdigest()[:16]
    (file,) = parquet_files(folder)
    assert file.endswith(f"/{name}.parquet")
    assert [motion.id for motion in read_motions(folder)] == ["clip", "other"]
    storage.write_shard(folder, [clip])
    assert len(parquet_files(folder)) == 2


def test_nothing_is_written_for_no_records(folder: str) -> None:
    storage.write_shard(folder, [])
    storage.write_rejected(folder, [])
    assert not storage.exists(folder)


def test_motions_are_found_by_id_in_the_order_asked_for(anywhere: str, clip: MotionSequence) -> None:
    for shard in (["a", "b"], ["c", "d"]):
        storage.write_shard(anywhere, [replace(clip, id=name, texts=[f"I am {name}"]) for name in shard])
    found = storage.motions_by_id(anywhere, ["d", "a", "b"])
    assert [(motion.id, motion.texts) for motion in found] == [(name, [f"I am {name}"]) for name in "dab"]


def test_rejected_rows_come_back(folder: str) -> None:
    rows = [("b", "it is blurred"), ("a", "it has, a comma")]
    storage.write_rejected(folder, rows)
    assert storage.read_rows(folder, ("id", "reason")) == rows


def test_a_split_is_filtered_and_none_takes_all() -> None:
    rows = pa.table({"id": ["a", "b", "c"], "split": ["train", "test", "train"]})
    assert storage.of_split(rows, "train")["id"].to_pylist() == ["a", "c"]
    assert storage.of_split(rows, None)["id"].to_pylist() == ["a", "b", "c"]
    assert storage.of_split(rows, "val").num_rows == 0

"""Records in Parquet: on local disk, on an object store, read by other tools, written by killed processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from motion.body import load_body
from motion.errors import InputError
from motion.parquet import Record, find_record, from_table, iter_columns, parquet_files, write_parquet
from motion.sequence import MotionSequence, Scene, read_motions, read_scenes
from motion.skeleton import ACTIONS, PERSON_CLASSES
from tests.helpers.clips import random_clip


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URI of a bucket on a real S3 endpoint over HTTP."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1").create_bucket(Bucket="data")
    yield f"s3://data/%s?scheme=http&endpoint_override={host}:{port}&region=us-east-1"
    server.stop()


def assert_same(one: Record, other: Record) -> None:
    for name, value in vars(one).items():
        if isinstance(value, np.ndarray):
            assert value.dtype == getattr(other, name).dtype, name
            np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)
        else:
            assert value == getattr(other, name), name


def test_motion_round_trip(clip: MotionSequence, tmp_path: Path) -> None:
    other = replace(random_clip(load_body(), persons=1, frames=3, seed=1), id="other", scene_id=None, texts=[])
    write_parquet([clip, other], tmp_path / "motions" / "a.parquet")
    read = read_motions(tmp_path / "motions")
    assert len(read) == 2
    assert_same(clip, read[0])
    assert_same(other, read[1])


def test_scene_round_trip(scene: Scene, tmp_path: Path) -> None:
    write_parquet([scene], tmp_path / "scene.parquet")
    assert_same(scene, read_scenes(tmp_path / "scene.parquet")[0])


def test_round_trip_on_an_object_store(clip: MotionSequence, bucket: str) -> None:
    uri = bucket % "run/motions/a.parquet"
    write_parquet([clip], uri)
    assert_same(clip, read_motions(bucket % "run/motions")[0])
    assert parquet_files(bucket % "run/motions") == ["data/run/motions/a.parquet"]


def test_rows_are_plain_arrow_for_other_tools(clip: MotionSequence, tmp_path: Path) -> None:
    """Any reader can reshape the flat lists by the lengths beside them."""
    write_parquet([clip], tmp_path / "a.parquet")
    row = pq.read_table(tmp_path / "a.parquet").to_pylist()[0]
    joints = np.array(row["joints"], dtype=np.float32).reshape(row["num_persons"], row["num_frames"], 24, 3)
    np.testing.assert_array_equal(joints, clip.joints)


def test_records_own_their_memory(clip: MotionSequence) -> None:
    table = pa.Table.from_pylist([clip.to_row()], schema=MotionSequence.SCHEMA)
    assert next(from_table(MotionSequence, table)).joints.flags.writeable


def test_one_record_is_found_among_others(
    clip: MotionSequence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, ids in (("a", ("one", "two")), ("b", ("three", "four"))):
        write_parquet([replace(clip, id=own) for own in ids], tmp_path / f"{name}.parquet")
    made: list[str] = []
    monkeypatch.setattr(MotionSequence, "__post_init__", lambda self: made.append(self.id))
    found = find_record(MotionSequence, tmp_path, "four")
    assert found is not None
    assert_same(found, replace(clip, id="four"))
    assert made[0] == "four", "no other record was decoded"
    assert find_record(MotionSequence, tmp_path, "five") is None


def test_some_columns_are_read_without_the_arrays(clip: MotionSequence, tmp_path: Path) -> None:
    write_parquet([clip, replace(clip, id="two", texts=[])], tmp_path / "a.parquet")
    rows = list(iter_columns(MotionSequence, tmp_path, ("id", "num_frames", "texts")))
    assert rows[0] == {"id": clip.id, "num_frames": clip.num_frames, "texts": clip.texts}
    assert [row["id"] for row in rows] == [clip.id, "two"]
    assert list(iter_columns(MotionSequence, tmp_path / "nothing", ("id",))) == []


def test_foreign_and_damaged_files(clip: MotionSequence, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "foreign.parquet")
    with pytest.raises(InputError, match=r"foreign.parquet lacks the column\(s\) action"):
        read_motions(tmp_path / "foreign.parquet")
    write_parquet([clip], tmp_path / "damaged.parquet")
    content = (tmp_path / "damaged.parquet").read_bytes()
    (tmp_path / "damaged.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged.parquet is not a readable Parquet file"):
        read_motions(tmp_path / "damaged.parquet")
    with pytest.raises(InputError, match="lacks the column"):
        MotionSequence.from_row({"id": "x"})


def test_a_flipped_bit_is_no_motion(clip: MotionSequence, tmp_path: Path) -> None:
    """Whichever byte of the joints is hit, the file is refused rather than read as another motion."""
    path = tmp_path / "0.parquet"
    write_parquet([clip], path)
    column = pq.ParquetFile(path).metadata.row_group(0)
    (joints,) = (c for k in range(column.num_columns) if (c := column.column(k)).path_in_schema.startswith("joints"))
    sound = path.read_bytes()
    start = joints.dictionary_page_offset or joints.data_page_offset
    for place in range(start + 60, start + joints.total_compressed_size, 997):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 4]) + sound[place + 1 :])
        with pytest.raises(InputError, match=r"0\.parquet is not a readable Parquet file"):
            read_motions(path)
    path.write_bytes(sound)
    assert read_motions(path)[0].id == clip.id


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("transl", pa.array([["0"] * 6]), "transl is list<element: string>, expected list<item: float>"),
        ("fps", pa.array(["20"]), "fps is string, expected double"),
        ("action", pa.array([[1.0, 2.0]]), "action is list<element: double>, expected list<item: int8>"),
        ("num_frames", pa.array([2.0]), "num_frames is double, expected int32"),
    ],
)
def test_columns_of_another_kind_are_refused(
    clip: MotionSequence, tmp_path: Path, name: str, values: pa.Array, sentence: str
) -> None:
    write_parquet([clip], tmp_path / "0.parquet")
    table = pq.read_table(tmp_path / "0.parquet")
    place = table.schema.get_field_index(name)
    pq.write_table(table.set_column(place, name, values), tmp_path / "0.parquet")
    with pytest.raises(InputError, match=sentence):
        read_motions(tmp_path)


def test_numbers_of_another_width_are_read(clip: MotionSequence, tmp_path: Path) -> None:
    write_parquet([replace(clip, scene_id=None)], tmp_path / "0.parquet")
    table = pq.read_table(tmp_path / "0.parquet")
    joints = table["joints"].cast(pa.large_list(pa.float64()))
    table = table.set_column(table.schema.get_field_index("joints"), "joints", joints)
    table = table.set_column(table.schema.get_field_index("scene_id"), "scene_id", pa.nulls(1))
    pq.write_table(table, tmp_path / "0.parquet")
    assert np.array_equal(read_motions(tmp_path)[0].joints, clip.joints)


def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    """The writer gets SIGKILL between writing and moving: readers see nothing."""
    script = (
        "import os, sys\n"
        "import motion.parquet as s\n"
        "from motion.body import load_body\n"
        "from tests.helpers.clips import random_clip\n"
        "s.pq.write_table = (lambda w: lambda *a, **k: (w(*a, **k), os.kill(os.getpid(), 9)))(s.pq.write_table)\n"
        "s.write_parquet([random_clip(load_body())], sys.argv[1])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "a.parquet"], env=environment, check=False)
    assert done.returncode == -9
    assert not (tmp_path / "a.parquet").exists()
    assert parquet_files(tmp_path) == []
    assert any(tmp_path.iterdir()), "the partial file was there when the writer died"


def test_files_name_what_their_numbers_stand_for(clip: MotionSequence, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet([clip], path)
    table = pq.read_table(path)
    assert json.loads(table.schema.metadata[b"actions"]) == list(ACTIONS)
    assert json.loads(table.schema.metadata[b"person_classes"]) == list(PERSON_CLASSES)
    for names in (None, ACTIONS[:5]):  # from before there was a table, and from before actions were added
        pq.write_table(table.replace_schema_metadata(names and {"actions": json.dumps(names)}), path)
        assert_same(read_motions(path)[0], clip)
    for names in (ACTIONS[::-1], (*ACTIONS, "flying")):
        pq.write_table(table.replace_schema_metadata({"actions": json.dumps(names)}), path)
        with pytest.raises(
            InputError, match=r"a.parquet numbers the actions as .*, expected the first of unknown, lay"
        ):
            read_motions(path)
        with pytest.raises(InputError, match="a table of MotionSequences numbers the actions as"):
            next(from_table(MotionSequence, pq.read_table(path)))

"""Files of prepared motions in a local folder: their names, their notes, and what is left out of them."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.data.block import BlockAccessor

from motion.body import load_body
from motion.errors import InputError
from motion.parquet import write_table
from motion.sequence import MotionSequence, read_motions
from ray_jobs.common import storage
from ray_jobs.common.motion_sink import CLIP, SCHEMA, MotionSink, checkpoint, drop_changed, drop_rows, drop_unfinished
from tests.helpers.clips import random_clip


@pytest.fixture(scope="module")
def clip() -> MotionSequence:
    return random_clip(load_body())


def write(sink: MotionSink, task: int, *clips: MotionSequence) -> None:
    """Write clips as the write task of this number does."""
    table = pa.Table.from_pylist([{CLIP: f"listed/{clip.id}", **clip.to_row()} for clip in clips], schema=SCHEMA)
    context = SimpleNamespace(kwargs={"write_uuid": "0a1b"}, task_idx=task)
    sink.write_block(BlockAccessor.for_block(table), 0, context)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_write_task_leaves_one_file_of_records(clip: MotionSequence, tmp_path: Path) -> None:
    sink = MotionSink(str(tmp_path))
    for _ in range(2):  # a task that is run again
        write(sink, 17, clip, replace(clip, id="other"))
    assert names(tmp_path / "motions") == ["0000-000017.parquet"]
    schema = pq.read_schema(tmp_path / "motions" / "0000-000017.parquet")
    assert (schema.names, schema.metadata) == (MotionSequence.SCHEMA.names, MotionSequence.SCHEMA.metadata)
    assert [motion.id for motion in read_motions(tmp_path / "motions")] == ["clip", "other"]


@pytest.mark.parametrize("folder", ["motions", "checkpoint"])
def test_a_later_run_takes_the_next_number(clip: MotionSequence, tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "0004-000002.parquet").touch()
    write(MotionSink(str(tmp_path)), 0, clip)
    assert "0005-000000.parquet" in names(tmp_path / "motions")


def test_files_without_a_note_and_notes_without_a_file_are_removed(tmp_path: Path) -> None:
    motions, notes = tmp_path / "motions", tmp_path / "checkpoint"
    for folder in (motions, notes):
        folder.mkdir()
        (folder / "0000-000000.parquet").touch()
    (motions / "0001-000000.parquet").touch()
    (notes / "0001-000001.parquet").touch()
    drop_unfinished(str(tmp_path))
    assert names(motions) == names(notes) == ["0000-000000.parquet"]
    found = checkpoint(str(tmp_path))
    assert (found.id_column, found.checkpoint_path) == (CLIP, str(notes))


def test_a_half_written_note_is_removed_with_its_file(clip: MotionSequence, tmp_path: Path) -> None:
    """A task is killed after it wrote its file; tried again, it is killed while it notes anew what it will write."""
    write(MotionSink(str(tmp_path)), 1, clip)
    (tmp_path / "checkpoint").mkdir()
    for name in ("0000-000001.pending.parquet", "0000-000002.pending.parquet"):
        (tmp_path / "checkpoint" / name).write_bytes(b"PAR1")
    drop_unfinished(str(tmp_path))
    assert drop_changed(str(tmp_path), {"clip": "clip 1"}) == 0
    assert names(tmp_path / "motions") == names(tmp_path / "checkpoint") == []


def test_files_of_other_makers_are_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / "motions").mkdir()
    (tmp_path / "motions" / "mine.parquet").touch()
    with pytest.raises(InputError, match=r"motions holds mine.parquet, which no preparing job wrote"):
        drop_unfinished(str(tmp_path))
    assert names(tmp_path / "motions") == ["mine.parquet"]


def test_rows_are_dropped_where_they_are_and_an_empty_file_stays(clip: MotionSequence, tmp_path: Path) -> None:
    sink = MotionSink(str(tmp_path))
    for task, ids in enumerate((("a", "b"), ("c",), ("d",))):
        write(sink, task, *(replace(clip, id=name) for name in ids))
    untouched = tmp_path / "motions" / "0000-000002.parquet"
    written = untouched.stat().st_mtime_ns
    drop_rows(str(tmp_path / "motions"), {"a", "c", "absent"})
    assert [motion.id for motion in read_motions(tmp_path / "motions")] == ["b", "d"]
    assert len(names(tmp_path / "motions")) == 3
    assert untouched.stat().st_mtime_ns == written


def test_what_changed_is_forgotten_with_what_repeats_it_and_nothing_else(clip: MotionSequence, tmp_path: Path) -> None:
    """A span of a file's clip has an id like a piece of a long clip; a motion without a note is a cut job's remnant."""
    made = ["a", "a@0.25-1.75", "a@2-3", "long@0.00-9.50", "long@9.50-19.00", "kept", "gone", "remnant"]
    write(MotionSink(str(tmp_path)), 0, *(replace(clip, id=name) for name in made))
    notes = ["a 1", "a@0.25-1.75 1", "a@2-3 1", "long 1", "kept 1", "gone 1", "repeat 1", "other 1"]
    write_table(pa.table({CLIP: notes}), tmp_path / "checkpoint" / "0000-000000.parquet")
    repeats = [{"id": "repeat", "same_as": "long@0.00-9.50"}, {"id": "other", "same_as": "kept"}]
    write_table(pa.Table.from_pylist(repeats), tmp_path / "duplicates.parquet")
    keys = {"a": "a 1", "a@0.25-1.75": "a@0.25-1.75 2", "long": "long 2", "kept": "kept 1", "repeat": "repeat 1"}
    for forgotten in (4, 0):
        assert drop_changed(str(tmp_path), keys | {"other": "other 1"}) == forgotten
        assert [motion.id for motion in read_motions(tmp_path / "motions")] == ["a", "kept", "gone"]
        assert storage.read_column(str(tmp_path / "checkpoint"), CLIP) == ["a 1", "kept 1", "gone 1", "other 1"]
        assert storage.read_rows(str(tmp_path / "duplicates.parquet"), ("id", "same_as")) == [("other", "kept")]

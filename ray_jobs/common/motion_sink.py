"""Parquet files of `ray_jobs.prepare`: written exactly once by Ray Data, whole or not at all.

Ray Data's checkpoint notes which clips are done in two phases around each file (`ray.data.checkpoint`): a pending note,
the file, the committed note, all three of one name. Here the file itself appears only when complete.
"""

import re
from collections.abc import Mapping, Set
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data.block import BlockAccessor
from ray.data.checkpoint import CheckpointConfig
from ray.data.datasource import BlockBasedFileDatasink, FilenameProvider

from motion.errors import InputError
from motion.parquet import parquet_files, resolve, write_table
from motion.sequence import MotionSequence
from ray_jobs.common import storage

CLIP = "clip"
"""Column with the key of the listed clip that a row came from; it is what is checkpointed, and not written."""
SCHEMA = pa.schema([(CLIP, pa.string()), *MotionSequence.SCHEMA])


DUPLICATES = "duplicates.parquet"
REPEATS = pa.schema({"id": pa.string(), "same_as": pa.string()})

OUR_NAME = re.compile(r"\d{4}-\d{6}")


class RunNames(FilenameProvider):
    """File names made of the number of the run and of the write task.

    They sort in that order and are the same when a task is run again, unlike Ray's random ones.
    """

    def __init__(self, run: int) -> None:
        super().__init__(file_format="parquet")
        self.run = run

    def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
        """Name the file of a write task, such as 0002-000017.parquet."""
        return f"{self.run:04}-{task_index:06}.parquet"


class MotionSink(BlockBasedFileDatasink):
    """Sink that writes one file of MotionSequence rows for each write task: zstd, in row groups, atomic."""

    def __init__(self, output: str) -> None:
        self.uri = storage.join(output, "motions")
        filesystem, path = resolve(self.uri)
        folders = (self.uri, storage.join(output, "checkpoint"))
        runs = [int(PurePosixPath(file).name[:4]) for folder in folders for file in parquet_files(folder)]
        super().__init__(path, filesystem=filesystem, filename_provider=RunNames(max(runs, default=-1) + 1))

    def write_block(self, block: BlockAccessor, block_index: int, ctx: Any) -> None:
        """Write a block's rows to the write task's file, without the column `CLIP`."""
        name = self.filename_provider.get_filename_for_task(ctx.kwargs["write_uuid"], ctx.task_idx)
        table = block.to_arrow().drop_columns([CLIP]).replace_schema_metadata(MotionSequence.SCHEMA.metadata)
        write_table(table, storage.join(self.uri, name))


def drop_unfinished(output: str) -> None:
    """Remove what a killed job left in the middle, whose clips are made anew: call it before notes are read.

    That is a pending note, which may be half-written, with its file; a note whose file is gone; and a file of ours
    without a note (of a worker that outlived its job). Raises InputError for files of other makers.
    """
    filesystem, _ = resolve(output)
    files, notes = (
        {PurePosixPath(file).name.removesuffix(".parquet"): file for file in parquet_files(storage.join(output, name))}
        for name in ("motions", "checkpoint")
    )
    if foreign := [name for name in files if not OUR_NAME.fullmatch(name)]:
        raise InputError(
            f"{output}/motions holds {foreign[0]}.parquet, which no preparing job wrote: take another output"
        )
    for name in files.keys() ^ notes.keys():
        filesystem.delete_file(files.get(name) or notes[name])


def checkpoint(output: str) -> CheckpointConfig:
    """Open Ray's notes of which clips are done, kept so that a later run reads only new ones."""
    filesystem, path = resolve(storage.join(output, "checkpoint"))
    return CheckpointConfig(CLIP, path, override_filesystem=filesystem, delete_checkpoint_on_success=False)


def drop_changed(output: str, keys: Mapping[str, str]) -> int:
    """Forget what was made from clips whose content changed since, or that repeated one of these; return their number.

    `keys` are the contents' keys by id, an id, a space and a digest, as the column `CLIP` of the notes holds them. The
    notes go first: a motion without a note is a remnant of a job that was cut here, and is dropped, too.
    """
    notes, motions, duplicates = (storage.join(output, name) for name in ("checkpoint", "motions", DUPLICATES))
    known = {key: key.rpartition(" ")[0] for key in storage.read_column(notes, CLIP)}
    ids, changed = {*known.values(), *keys}, _changed(known, keys)
    repeats = storage.read_rows(duplicates, ("id", "same_as"))
    forgotten = changed | {_clip_of(repeat, ids) for repeat, first in repeats if _clip_of(first, ids) in changed}
    drop_rows(notes, {key for key, clip in known.items() if clip in forgotten}, CLIP)
    kept = set(known.values()) - forgotten
    drop_rows(motions, {name for name in storage.read_column(motions, "id") if _clip_of(name, ids) not in kept})
    left = [{"id": repeat, "same_as": first} for repeat, first in repeats if _clip_of(repeat, ids) in kept]
    if len(left) < len(repeats):
        write_table(pa.Table.from_pylist(left, schema=REPEATS), duplicates)
    return len(forgotten)


def _changed(known: Mapping[str, str], keys: Mapping[str, str]) -> set[str]:
    """Find the clips, of those known by their keys, that are of another content now.

    Clips of a listed file that are listed no more are among them: spans, or the whole, that lost their captions.
    """
    files = {_file_of(clip) for clip in keys}
    return {
        clip
        for key, clip in known.items()
        if keys.get(clip, key) != key or (clip not in keys and _file_of(clip) in files)
    }


def _file_of(clip: str) -> str:
    """Return a clip's id without the span of its file."""
    return clip.rpartition("@")[0] or clip


def _clip_of(motion: str, clips: Set[str]) -> str:
    """Return the id of the clip that a motion was made from: its own, or for a piece what stands before its span."""
    return motion if motion in clips else motion.rpartition("@")[0]


def drop_rows(folder: str, values: Set[str], column: str = "id") -> None:
    """Rewrite the files that hold any of `values` without them; a file left without rows stays, for its note's sake."""
    if not values:
        return
    filesystem, path = resolve(folder)
    for file in parquet_files(folder):
        table = pq.read_table(file, filesystem=filesystem, page_checksum_verification=True)
        kept = table.filter(pc.invert(pc.is_in(table[column], value_set=pa.array(sorted(values), pa.string()))))
        if kept.num_rows < table.num_rows:
            write_table(kept, storage.join(folder, file.removeprefix(path).lstrip("/")))

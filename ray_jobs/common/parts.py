"""Files of some hundred rows, from a job that finishes one row at a time.

A finished row has a file for each kind of record, such as motions and scenes, in parts/, which nobody reads. `publish`
puts many rows into one file of each kind and deletes their parts. Each row is read once at any moment, in a file that
is whole, and a job that was killed anywhere between continues from what `finished` finds.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from motion.errors import InputError
from motion.parquet import Record, parquet_files, resolve, write_parquet, write_table
from ray_jobs.common import storage

PARTS = "parts"
ROWS = 256
"""Rows of a published file."""


def write_part(output: str, kind: str, record: Record, record_id: str) -> None:
    """Write the record of a finished row; the row is finished once it has one of the last kind."""
    write_parquet([record], _part(output, kind, record_id))


def finished(output: str, kinds: Sequence[str], ids: Sequence[str]) -> tuple[set[str], list[str]]:
    """Return which rows are published, and which of `ids` are finished and wait to be.

    Deletes what a killed job left twice, and published files that lack their fellow of another kind: their rows count
    as not finished unless they have parts. Raises InputError where such a file holds rows that are not among `ids`,
    which no job would make again.
    """
    shards = {kind: _names(storage.join(output, kind)) for kind in kinds}
    filesystem, _ = resolve(output)
    for files in shards.values():
        for name in files.keys() - set.intersection(*(set(files) for files in shards.values())):
            _require_own(files[name], filesystem, ids)
            filesystem.delete_file(files[name])
    published = set(storage.read_column(storage.join(output, kinds[-1]), "id"))
    parts = {kind: _names(storage.join(output, PARTS, kind)) for kind in kinds}
    waiting = []
    for record_id in ids:
        name = storage.shard_name([record_id])
        if record_id in published:
            for files in parts.values():
                if name in files:
                    filesystem.delete_file(files[name])
        elif all(name in files for files in parts.values()):
            waiting.append(record_id)
    return published, waiting


def publish(output: str, kinds: Sequence[str], ids: Sequence[str]) -> None:
    """Put finished rows into one file of each kind, sorted by id, and delete their parts; nothing for no rows."""
    if not ids:
        return
    ordered = sorted(ids)
    with ThreadPoolExecutor(16) as pool:
        for kind in kinds:
            parts = [_part(output, kind, record_id) for record_id in ordered]
            table = pa.concat_tables(pool.map(storage.read_table, parts))
            write_table(table, storage.join(output, kind, storage.shard_name(ordered)))
        list(pool.map(storage.delete_file, (_part(output, kind, each) for kind in kinds for each in ordered)))


def _require_own(path: str, filesystem: pa.fs.FileSystem, ids: Sequence[str]) -> None:
    """Raise InputError where a file holds rows that are not among `ids`."""
    others = set(pq.read_table(path, filesystem=filesystem, columns=["id"])["id"].to_pylist()) - set(ids)
    if others:
        raise InputError(
            f"{path} holds {min(others)} and has no file of its name for the other kind of record, expected the output "
            "of the same job: take another --output, or move that file away"
        )


def _part(output: str, kind: str, record_id: str) -> str:
    return storage.join(output, PARTS, kind, storage.shard_name([record_id]))


def _names(folder: str) -> dict[str, str]:
    """Map the names of a folder's Parquet files to their paths."""
    return {PurePosixPath(path).name: path for path in parquet_files(folder)}

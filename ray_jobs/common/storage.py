"""Job outputs on any pyarrow filesystem: whole files only, each output exactly once."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
import ray.data

from motion.parquet import check_tables, from_table, parquet_files, resolve, whole_file, write_parquet, write_table
from motion.sequence import MotionSequence

REJECTED = pa.schema({"id": pa.string(), "reason": pa.string()})


def join(folder: str | Path, *names: str) -> str:
    """Join names to a folder or URI with slashes; a URI's options, such as ?region=eu-north-1, stay at its end."""
    place, mark, options = str(folder).partition("?") if "://" in str(folder) else (str(folder), "", "")
    return "/".join([place.rstrip("/"), *names]) + mark + options


def beside(uri: str, name: str) -> str:
    """Name what lies in the folder of a file; a URI's options stay at its end."""
    place, mark, options = uri.partition("?") if "://" in uri else (uri, "", "")
    return join(place.rpartition("/")[0] + mark + options, name)


def read_column(folder: str, name: str) -> list[Any]:
    """Read one column of all the Parquet files under `folder`.

    Raises InputError for motions that number actions or person classes otherwise. Ray Data loses the names that a file
    gives to its numbers, so a job that reads motions with it reads a column with this first.
    """
    filesystem, _ = resolve(folder)
    values = []
    for path in parquet_files(folder):
        table = pq.read_table(path, filesystem=filesystem, columns=[name], page_checksum_verification=True)
        check_tables(MotionSequence, table.schema, path)
        values += table[name].to_pylist()
    return values


def read_rows(uri: str, columns: Sequence[str]) -> list[tuple[Any, ...]]:
    """Read some columns of all the Parquet files at or under `uri`, row by row; none where there is nothing."""
    return list(zip(*(read_column(uri, name) for name in columns), strict=True))


def read_table(uri: str) -> pa.Table:
    """Read a Parquet file."""
    filesystem, path = resolve(uri)
    return pq.read_table(path, filesystem=filesystem, page_checksum_verification=True)


def dataset(uri: str) -> ray.data.Dataset:
    """Open a Parquet file, or all those of a folder, as a data set."""
    filesystem, path = resolve(uri)
    folder, name = path.rsplit("/", 1)
    inside = pa.fs.SubTreeFileSystem(folder, filesystem)  # Ray Data stumbles over a ? in a folder's path
    return ray.data.read_parquet(name, filesystem=inside, file_extensions=["parquet"])


def motions_by_id(folder: str, ids: Sequence[str]) -> list[MotionSequence]:
    """Read the motions with these ids, in this order."""
    filesystem, _ = resolve(folder)
    files = pyarrow.dataset.dataset(parquet_files(folder), filesystem=filesystem, format="parquet")
    rows = files.to_table(columns=MotionSequence.SCHEMA.names, filter=pc.field("id").isin(ids))
    found = {motion.id: motion for motion in from_table(MotionSequence, rows)}
    return [found[each] for each in ids]


def of_split(motions: pa.Table, split: str | None, times: int = 1) -> pa.Table:
    """Filter the rows of one split, or take all for None, and repeat them, all in turn; for `map_batches`."""
    return pa.concat_tables([motions if split is None else motions.filter(pc.equal(motions["split"], split))] * times)


def shard_name(ids: Sequence[str]) -> str:
    """Name a shard by its records' ids, so that a task that runs twice leaves one file."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16] + ".parquet"


def write_shard(folder: str, sequences: Sequence[MotionSequence]) -> None:
    """Write records to a file named after their ids; nothing for no records."""
    if sequences:
        write_parquet(sequences, join(folder, shard_name([sequence.id for sequence in sequences])))


def write_rejected(folder: str, rejected: Sequence[tuple[str, str]]) -> None:
    """Write (id, reason) rows to a file of `folder`, an output's rejected/, named after the ids; nothing for no rows.

    Jobs delete the rows of an earlier run (rejected/*.parquet) before they start, because all of those are tried again.
    """
    if rejected:
        rows = [{"id": record_id, "reason": reason} for record_id, reason in rejected]
        name = shard_name([record_id for record_id, _ in rejected])
        write_table(pa.Table.from_pylist(rows, schema=REJECTED), join(folder, name))


def write_bytes(uri: str, content: bytes) -> None:
    """Write a small file, which appears under its name only when complete."""
    with whole_file(uri) as (filesystem, partial), filesystem.open_output_stream(partial) as stream:
        stream.write(content)


def read_bytes(uri: str) -> bytes:
    """Read a whole file."""
    filesystem, path = resolve(uri)
    with filesystem.open_input_stream(path) as stream:
        return stream.read()


def exists(uri: str) -> bool:
    """Tell whether there is a file or folder."""
    filesystem, path = resolve(uri)
    return bool(filesystem.get_file_info(path).type != pa.fs.FileType.NotFound)


def delete_file(uri: str) -> None:
    """Delete a file."""
    filesystem, path = resolve(uri)
    filesystem.delete_file(path)


def delete_folder(uri: str) -> None:
    """Delete a folder with its content, if there is one."""
    filesystem, path = resolve(uri)
    if filesystem.get_file_info(path).type == pa.fs.FileType.Directory:
        filesystem.delete_dir(path)

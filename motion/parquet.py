"""Parquet storage of records on any filesystem that pyarrow knows; a file appears whole or not at all.

One record is one row; arrays are stored flat (C order) beside the lengths of their axes (`num_persons`, `num_frames`,
`num_points`), so that any Arrow reader can reshape them.
"""

import json
import math
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from motion.errors import InputError

ROWS_PER_GROUP = 64
R = TypeVar("R", bound="Record")


@dataclass(frozen=True)
class ArrayField:
    """Shape and type of one array: named axes first ("person frame"), then fixed ones."""

    axes: tuple[str, ...]
    """Names of the first axes, whose lengths vary."""
    fixed: tuple[int, ...]
    """Lengths of the last axes."""
    dtype: type[np.generic]
    """NumPy type of the numbers."""

    def check(self, owner: str, name: str, value: np.ndarray, lengths: dict[str, int]) -> None:
        """Raise InputError on a wrong dtype or shape; learn the lengths of axes not met before."""
        if value.dtype != self.dtype:
            raise InputError(f"{owner}: {name} is {value.dtype}, expected {np.dtype(self.dtype)}")
        found = dict(zip(self.axes, value.shape, strict=False))
        expected = tuple(lengths.setdefault(axis, found.get(axis, 0)) for axis in self.axes) + self.fixed
        if value.shape != expected:
            raise InputError(f"{owner}: {name} has shape {value.shape}, expected {expected}")


class Record:
    """Base of the two records: validation of their arrays and the way to and from a Parquet row."""

    ARRAYS: ClassVar[dict[str, ArrayField]]
    """Shape and type of each array field."""
    SCHEMA: ClassVar[pa.Schema]
    """Arrow schema of a row."""
    CONTAINERS: ClassVar[dict[str, type]]
    """Python types of the list and map columns, which Arrow hands out as lists of items."""
    id: str
    """Unique name of the record."""

    def check_arrays(self) -> dict[str, int]:
        """Check each array against `ARRAYS` and for finiteness; return the lengths of the named axes.

        Raises InputError where one does not fit.
        """
        if not self.id:
            raise InputError(f"{type(self).__name__}: id is empty, expected a unique name")
        lengths: dict[str, int] = {}
        for name, spec in self.ARRAYS.items():
            value = getattr(self, name)
            spec.check(f"{type(self).__name__} {self.id}", name, value, lengths)
            if np.issubdtype(spec.dtype, np.floating) and not np.isfinite(value).all():
                raise InputError(f"{type(self).__name__} {self.id}: {name} holds NaN or infinity")
        return lengths

    def to_row(self) -> dict[str, object]:
        """Convert the record to a Parquet row, arrays flat."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]
        for name, spec in self.ARRAYS.items():
            row.update(zip((f"num_{axis}s" for axis in spec.axes), row[name].shape, strict=False))
            row[name] = row[name].ravel()
        return row

    @classmethod
    def from_row(cls: type[R], row: Mapping[str, Any]) -> R:
        """Build the record of a Parquet row; raises InputError where a column is missing or of another length."""
        missing = [name for name in cls.SCHEMA.names if name not in row]
        if missing:
            raise InputError(f"a {cls.__name__} row lacks the column(s) {', '.join(missing)}")
        values = {f.name: row[f.name] for f in fields(cls)}  # type: ignore[arg-type]
        for name, spec in cls.ARRAYS.items():
            shape = tuple(int(row[f"num_{axis}s"]) for axis in spec.axes) + spec.fixed
            flat = np.array(row[name], dtype=spec.dtype)  # a copy: Arrow's memory is read-only
            if flat.size != math.prod(shape):
                raise InputError(f"{cls.__name__} {row['id']}: {name} holds {flat.size} values, expected shape {shape}")
            values[name] = flat.reshape(shape)
        for name, container in cls.CONTAINERS.items():
            values[name] = container(values[name])
        return cls(**values)


def arrow_schema(
    arrays: dict[str, ArrayField], scalars: dict[str, pa.DataType], tables: Mapping[str, Sequence[str]] | None = None
) -> pa.Schema:
    """Build the Arrow schema of a record: scalars, the lengths of the axes, flat arrays.

    `tables` are the names that its numbers stand for, by what they name ("actions"); they go into the metadata.
    """
    lengths = {f"num_{axis}s": pa.int32() for spec in arrays.values() for axis in spec.axes}
    lists = {name: pa.list_(pa.from_numpy_dtype(spec.dtype)) for name, spec in arrays.items()}
    metadata = {name: json.dumps(list(names)) for name, names in (tables or {}).items()}
    return pa.schema(list((scalars | lengths | lists).items()), metadata=metadata)


def check_tables(kind: type[Record], schema: pa.Schema, where: str) -> None:
    """Raise InputError unless the names that numbers in `schema` stand for are the first of today's.

    What has no such table is taken to have today's. `where` says in the error what was read.
    """
    for key, ours in (kind.SCHEMA.metadata or {}).items():
        theirs = (schema.metadata or {}).get(key, ours)
        names, today = json.loads(theirs), json.loads(ours)
        if names != today[: len(names)]:
            raise InputError(
                f"{where} numbers the {key.decode()} as {', '.join(names)}, expected the first of {', '.join(today)}"
            )


def resolve(uri: str | Path) -> tuple[pa.fs.FileSystem, str]:
    """Find the filesystem and inner path of a local path or of any URI pyarrow knows (`s3://`, `gs://` …)."""
    if "://" in str(uri):
        return pa.fs.FileSystem.from_uri(str(uri))
    return pa.fs.LocalFileSystem(), str(Path(uri).absolute())


def write_parquet(records: Sequence[Record], uri: str | Path) -> None:
    """Write records of one kind to one file, which appears under its name only when complete.

    Raises InputError if there are none.
    """
    if not records:
        raise InputError(f"no records to write to {uri}")
    table = pa.Table.from_pylist([record.to_row() for record in records], schema=records[0].SCHEMA)
    write_table(table, uri)


def write_table(table: pa.Table, uri: str | Path) -> None:
    """Write any table as zstd Parquet, whose pages have checksums."""
    with whole_file(uri) as (filesystem, partial):
        pq.write_table(
            table,
            partial,
            filesystem=filesystem,
            compression="zstd",
            row_group_size=ROWS_PER_GROUP,
            write_page_checksum=True,
        )


@contextmanager
def whole_file(uri: str | Path) -> Iterator[tuple[pa.fs.FileSystem, str]]:
    """Give a temporary path to write to, which is moved to `uri` if that succeeds and removed if it fails."""
    filesystem, path = resolve(uri)
    folder, name = path.rsplit("/", 1)
    partial = f"{folder}/.{name}.{uuid.uuid4().hex}.partial"
    filesystem.create_dir(folder, recursive=True)
    try:
        yield filesystem, partial
        filesystem.move(partial, path)
    except BaseException:
        if filesystem.get_file_info(partial).type != pa.fs.FileType.NotFound:
            filesystem.delete_file(partial)
        raise


@contextmanager
def local_file(uri: str | Path) -> Iterator[Path]:
    """Give a file as a path: its own, or for a URI that of a copy which lasts as long as the context.

    Raises FileNotFoundError where there is no such file.
    """
    filesystem, path = resolve(uri)
    if filesystem.get_file_info(path).type != pa.fs.FileType.File:
        raise FileNotFoundError(str(uri))
    if "://" not in str(uri):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / PurePosixPath(path).name
        pa.fs.copy_files(path, str(copy), source_filesystem=filesystem, destination_filesystem=pa.fs.LocalFileSystem())
        yield copy


def delete_partial_files(folder: str | Path) -> None:
    """Remove what killed writers left of `whole_file`; call it only while no process writes to the folder."""
    filesystem, path = resolve(folder)
    for info in filesystem.get_file_info(pa.fs.FileSelector(path, allow_not_found=True)):
        if info.base_name.startswith(".") and info.extension == "partial":
            filesystem.delete_file(info.path)


def parquet_files(uri: str | Path) -> list[str]:
    """List the finished Parquet files at or under `uri`, sorted; paths are inside its filesystem."""
    filesystem, path = resolve(uri)
    if filesystem.get_file_info(path).type == pa.fs.FileType.File:
        return [path]
    found = filesystem.get_file_info(pa.fs.FileSelector(path, allow_not_found=True, recursive=True))
    return sorted(i.path for i in found if i.extension == "parquet" and not i.base_name.startswith("."))


def iter_parquet(kind: type[R], uri: str | Path) -> Iterator[R]:
    """Stream the records under `uri`, file by file in sorted order; raises InputError for an unreadable file."""
    for path in parquet_files(uri):
        with _opened(kind, uri, path) as file:
            for batch in file.iter_batches(batch_size=ROWS_PER_GROUP, columns=kind.SCHEMA.names):
                yield from from_table(kind, batch)


def iter_columns(kind: type[Record], uri: str | Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Stream some columns of the records under `uri`, which costs little where no array is among them.

    Raises InputError for an unreadable file.
    """
    for path in parquet_files(uri):
        with _opened(kind, uri, path) as file:
            for batch in file.iter_batches(columns=list(columns)):
                yield from batch.to_pylist()


def find_record(kind: type[R], uri: str | Path, name: str) -> R | None:
    """Find the record under `uri` whose id is `name`; others are not decoded, so any number of them may lie there.

    Raises InputError for an unreadable file.
    """
    for path in parquet_files(uri):
        with _opened(kind, uri, path) as file:
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["id"])["id"].to_pylist()
                if name in ids:
                    rows = file.iter_batches(batch_size=1, row_groups=[group], columns=kind.SCHEMA.names)
                    return next(from_table(kind, next(islice(rows, ids.index(name), None))))
    return None


def _content(column: pa.DataType) -> str:
    """Name what a column holds, whatever the width of its numbers: "list of floating"."""
    if pa.types.is_list(column) or pa.types.is_large_list(column) or pa.types.is_fixed_size_list(column):
        return f"list of {_content(column.value_type)}"
    for name in ("floating", "integer", "string", "boolean", "map", "null"):
        if getattr(pa.types, f"is_{name}")(column) or (name == "string" and pa.types.is_large_string(column)):
            return name
    return str(column)


@contextmanager
def _opened(kind: type[Record], uri: str | Path, path: str) -> Iterator[pq.ParquetFile]:
    """Open a file under `uri` that must have the columns of this kind."""
    filesystem, _ = resolve(uri)
    try:
        file = pq.ParquetFile(path, filesystem=filesystem, page_checksum_verification=True)
        missing = set(kind.SCHEMA.names) - set(file.schema_arrow.names)
        if missing:
            raise InputError(f"{path} lacks the column(s) {', '.join(sorted(missing))}")
        for ours in kind.SCHEMA:
            theirs = file.schema_arrow.field(ours.name)
            if "null" not in _content(theirs.type) and _content(theirs.type) != _content(ours.type):
                raise InputError(f"{path}: {ours.name} is {theirs.type}, expected {ours.type}")
        check_tables(kind, file.schema_arrow, path)
        yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path} is not a readable Parquet file: {error}") from error


def from_table(kind: type[R], table: pa.Table | pa.RecordBatch) -> Iterator[R]:
    """Convert an Arrow table to records, arrays as NumPy (far faster than Arrow's own Python lists)."""
    check_tables(kind, table.schema, f"a table of {kind.__name__}s")
    for index in range(table.num_rows):
        cells = {name: table.column(name)[index] for name in table.schema.names}
        yield kind.from_row(
            {
                name: cell.values.to_numpy(zero_copy_only=False) if name in kind.ARRAYS else cell.as_py()
                for name, cell in cells.items()
            }
        )
